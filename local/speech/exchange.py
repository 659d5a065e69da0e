"""One HTTP request from its arrival to its log entry."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.typedefs import Handler

from local.speech.bucket import Level, go_duration
from local.speech.desk import Desk
from local.speech.faults import Fault
from local.speech.ledger import Ask
from local.speech.refusals import Refusal, Refused

DESK: web.AppKey[Desk] = web.AppKey("desk", Desk)


@dataclass(slots=True)
class Exchange:
    ask: Ask
    started_s: float = field(default_factory=time.monotonic)
    levels: tuple[Level, ...] = ()
    fault: Fault | None = None
    code: str | None = None
    is_logged: bool = False

    @property
    def fault_name(self) -> str | None:
        return self.fault.fault if self.fault else None

    def headers(self) -> dict[str, str]:
        """What OpenAI adds to good and bad answers alike."""
        spent_ms = round((time.monotonic() - self.started_s) * 1000)
        headers = {
            "x-request-id": self.ask.request_id,
            "openai-processing-ms": str(spent_ms),
            "openai-version": "2020-10-01",
        }
        for level in self.levels:
            headers[f"x-ratelimit-limit-{level.kind}"] = str(level.limit)
            headers[f"x-ratelimit-remaining-{level.kind}"] = str(level.remaining)
            headers[f"x-ratelimit-reset-{level.kind}"] = go_duration(level.reset_s)
        return headers


_EXCHANGE: web.RequestKey[Exchange] = web.RequestKey("exchange", Exchange)


def exchange_of(request: web.Request) -> Exchange:
    return request[_EXCHANGE]


@web.middleware
async def attend(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Check the key, turn refusals into answers, count who is there; let who leaves go."""
    if request.path.startswith("/_"):
        return await handler(request)
    desk = request.app[DESK]
    exchange = Exchange(Ask(request_id=f"req_{uuid.uuid4().hex}", route=request.path))
    request[_EXCHANGE] = exchange
    desk.crowd.enter()
    try:
        desk.admit(request.headers.get("Authorization"))
        return await handler(request)
    except Refused as refused:
        return refusal_answer(refused.refusal, exchange)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as missing:
        message = f"Invalid URL ({request.method} {request.path})"
        return refusal_answer(Refusal(status=missing.status, message=message), exchange)
    except ConnectionError:
        # The client has gone: nobody is left to answer, and nothing of ours went wrong.
        return web.Response()
    finally:
        desk.crowd.leave()


def refusal_answer(refusal: Refusal, exchange: Exchange) -> web.Response:
    """The refusal as a client gets it."""
    exchange.code = refusal.code
    return web.json_response(refusal.body, status=refusal.status, headers=refusal.headers)


async def finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Runs as an answer's first byte is due: its headers, then its log entry."""
    if _EXCHANGE not in request:
        return
    exchange = exchange_of(request)
    changes = exchange.fault.header_changes if exchange.fault else {}
    for name, value in (exchange.headers() | changes).items():
        if value is None:
            response.headers.pop(name, None)
        else:
            response.headers[name] = value
    log(request, response.status)


def log(request: web.Request, status: int | None) -> None:
    """Note the request, once; `status` None where it gets no answer."""
    exchange = exchange_of(request)
    if exchange.is_logged:
        return
    exchange.is_logged = True
    request.app[DESK].ledger.saw(
        exchange.ask, status=status, code=exchange.code, fault=exchange.fault_name
    )
