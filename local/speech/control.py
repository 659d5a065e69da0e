"""The control plane, without a key: /_faults, /_charges, /_requests, /_limits, /_state."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from local.speech.exchange import DESK
from local.speech.faults import Fault

_RULES: TypeAdapter[list[Fault]] = TypeAdapter(list[Fault])


class LimitsBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    requests_per_minute: float | None = Field(default=None, gt=0)
    tokens_per_minute: float | None = Field(default=None, gt=0)
    model: str | None = None


class StateBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    today: date | None = None
    latency_s: float | None = Field(default=None, ge=0)
    session_s: float | None = Field(default=None, gt=0)
    responses_per_session: int | None = Field(default=None, ge=1)


async def add_faults(request: web.Request) -> web.Response:
    """One rule or a list of them."""
    raw = await request.json()
    request.app[DESK].faults.add(*_RULES.validate_python(raw if isinstance(raw, list) else [raw]))
    return await list_faults(request)


async def list_faults(request: web.Request) -> web.Response:
    return web.json_response(request.app[DESK].faults.listed())


async def clear_faults(request: web.Request) -> web.Response:
    request.app[DESK].faults.clear()
    return await list_faults(request)


async def charges(request: web.Request) -> web.Response:
    return web.json_response([asdict(charge) for charge in request.app[DESK].ledger.charges])


async def requests(request: web.Request) -> web.Response:
    return web.json_response([asdict(seen) for seen in request.app[DESK].ledger.seen])


async def set_limits(request: web.Request) -> web.Response:
    pace = request.app[DESK].pace
    pace.set(**LimitsBody.model_validate(await request.json()).model_dump())
    return web.json_response(pace.limits())


async def limits(request: web.Request) -> web.Response:
    return web.json_response(request.app[DESK].pace.limits())


async def set_state(request: web.Request) -> web.Response:
    """Only what is given changes."""
    desk = request.app[DESK]
    body = StateBody.model_validate(await request.json())
    if "today" in body.model_fields_set:
        desk.today = body.today
    if body.latency_s is not None:
        desk.latency_s = body.latency_s
    if body.session_s is not None:
        desk.session_s = body.session_s
    if "responses_per_session" in body.model_fields_set:
        desk.responses_per_session = body.responses_per_session
    return await state(request)


async def state(request: web.Request) -> web.Response:
    desk = request.app[DESK]
    return web.json_response(
        {
            "in_flight": desk.crowd.now,
            "most_in_flight": desk.crowd.most,
            "today": desk.today.isoformat() if desk.today else None,
            "latency_s": desk.latency_s,
            "session_s": desk.session_s,
            "responses_per_session": desk.responses_per_session,
        }
    )


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """A rule or a limit that makes no sense is a 400 that says why."""
    try:
        return await handler(request)
    except (ValidationError, ValueError) as invalid:
        if not request.path.startswith("/_"):
            raise
        return web.json_response({"error": {"message": str(invalid)}}, status=400)


ROUTES = [
    web.get("/_faults", list_faults),
    web.post("/_faults", add_faults),
    web.delete("/_faults", clear_faults),
    web.get("/_charges", charges),
    web.get("/_requests", requests),
    web.get("/_limits", limits),
    web.put("/_limits", set_limits),
    web.get("/_state", state),
    web.put("/_state", set_state),
]
