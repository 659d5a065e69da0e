"""GET /v1/realtime: a WebSocket session whose responses run in parallel.

Only responses outside the conversation (`conversation: "none"`) are served; the text
of the last user message in `input` is read aloud. Events, their order and fields are
those of openai 3.54's types and docstrings; what users report besides is named here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any, TypeVar

from aiohttp import WSMsgType, web
from pydantic import BaseModel, ValidationError

from local.speech import refusals
from local.speech.catalogue import REALTIME, Model
from local.speech.desk import Desk
from local.speech.exchange import DESK, exchange_of
from local.speech.refusals import Refusal, Refused
from local.speech.response import PCM, Response
from local.speech.wanted import ResponseCreate, SessionUpdate, refusal_of

M = TypeVar("M", bound=BaseModel)

_CLOSED_BY_SERVER = 4000
_GOING_AWAY = 1001
_NOT_ACTIVE = Refusal(
    status=400,
    message="Cancellation failed: no active response found",
    code="response_cancel_not_active",
)
_VOICE_STAYS = Refusal(
    status=400,
    message="Cannot update a conversation's voice if assistant audio is present.",
    code="cannot_update_voice",
)


async def session(request: web.Request) -> web.StreamResponse:
    """Serve one session until the client leaves, or a fault ends it."""
    # Uncompressed: the library packs large frames in tasks of its own, which complain of a
    # client that has left when nobody awaits them any more.
    socket = web.WebSocketResponse(max_msg_size=0, compress=False)
    exchange = exchange_of(request)
    name = request.query.get("model")
    await socket.prepare(request)
    try:
        model = request.app[DESK].model(name, REALTIME)
    except Refused as refused:
        await socket.send_json(_error_event(refused.refusal, None))
        reason = f"invalid_request_error.{refused.refusal.code}"
        await socket.close(code=_CLOSED_BY_SERVER, message=reason.encode())
        return socket
    await Session(request, socket, model, exchange.ask.request_id).serve()
    return socket


class Session:
    """One connection: its settings, and the responses under way."""

    def __init__(
        self, request: web.Request, socket: web.WebSocketResponse, model: Model, id: str
    ) -> None:
        self.desk: Desk = request.app[DESK]
        self.model = model
        self._request = request
        self._socket = socket
        self._spoken_voice: str | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._settings = _settings(id, model, time.time() + self.desk.session_s)

    @property
    def output(self) -> dict[str, Any]:
        """Voice and speed as the session has them."""
        found = self._settings["audio"]["output"]
        assert isinstance(found, dict)
        return found

    @property
    def instructions(self) -> str:
        return str(self._settings["instructions"])

    async def serve(self) -> None:
        end = asyncio.create_task(self._expire_later())
        try:
            await self.send("session.created", session=self._settings)
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(message.data)
        finally:
            for task in (end, *self._tasks.values()):
                task.cancel()

    async def send(self, type: str, **fields: Any) -> None:
        """One event; nothing where the client has gone."""
        await self._send({"type": type, "event_id": f"event_{uuid.uuid4().hex}", **fields})

    def spoke(self, voice: str) -> None:
        """From its first sound on a session keeps its voice."""
        self._spoken_voice = self._spoken_voice or voice

    def hang_up(self) -> None:
        """Close without a goodbye."""
        if self._request.transport:
            self._request.transport.abort()

    async def close(self, code: int, reason: str) -> None:
        """Close with a goodbye, whatever is under way."""
        await self._socket.close(code=code, message=reason.encode())

    async def expire(self) -> None:
        """As users see it: livekit/agents issue 2358, reachy_mini_conversation_app issue 134."""
        minutes = self.desk.session_s / 60
        told = f"Your session hit the maximum duration of {minutes:g} minutes."
        await self.complain(Refusal(status=400, message=told, code="session_expired"), None)
        await self.close(_GOING_AWAY, told)

    async def complain(self, refusal: Refusal, event_id: str | None) -> None:
        """An error event about the client's event of that id."""
        await self._send(_error_event(refusal, event_id))

    async def _expire_later(self) -> None:
        await asyncio.sleep(self.desk.session_s)
        await self.expire()

    async def _take(self, raw: str) -> None:
        event: Any = None
        try:
            event = json.loads(raw)
            match event.get("type"):
                case "session.update":
                    await self._update(_read(SessionUpdate, event, "session"))
                case "response.create":
                    wanted = _read(ResponseCreate, event, "response")
                    self._respond(wanted, _event_id(event))
                case "response.cancel":
                    self._cancel(event.get("response_id"))
                case other:
                    message = f"Invalid value: '{other}': this local server doesn't serve it."
                    raise Refused(refusals.bad_argument(message, "type"))
        except (ValueError, AttributeError) as invalid:
            await self.complain(refusals.bad_argument(str(invalid), "event"), _event_id(event))
        except Refused as refused:
            await self.complain(refused.refusal, _event_id(event))

    async def _send(self, event: Mapping[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            await self._socket.send_json(event)

    async def _update(self, update: SessionUpdate) -> None:
        output = update.audio.output
        if output.voice is not None:
            self._check_voice(output.voice, "session.audio.output.voice")
        self.output.update(output.model_dump(exclude_none=True))
        self._settings["audio"]["input"].update(update.audio.input.model_dump(exclude_unset=True))
        if update.instructions is not None:
            self._settings["instructions"] = update.instructions
        await self.send("session.updated", session=self._settings)

    def _check_voice(self, voice: str, param: str) -> None:
        if voice not in self.model.voices:
            known = ", ".join(self.model.voices)
            message = f"Invalid value: '{voice}'. Supported values are: {known}."
            raise Refused(refusals.bad_argument(message, param))
        if self._spoken_voice not in (None, voice):
            raise Refused(_VOICE_STAYS)

    def _respond(self, wanted: ResponseCreate, event_id: str | None) -> None:
        if wanted.conversation != "none":
            message = "This local server only serves responses with conversation 'none'."
            raise Refused(refusals.bad_argument(message, "response.conversation"))
        if not wanted.text:
            raise Refused(refusals.bad_argument("No user text to read.", "response.input"))
        voice = wanted.audio.output.voice or self.output["voice"]
        self._check_voice(voice, "response.audio.output.voice")
        most = self.desk.responses_per_session
        if most is not None and len(self._tasks) >= most:
            raise Refused(refusals.active_response(next(iter(self._tasks))))
        response = Response(self, wanted, voice, event_id)
        task = asyncio.create_task(response.run())
        self._tasks[response.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(response.id, None))

    def _cancel(self, response_id: object) -> None:
        """One that is named: none of those served here is the conversation's own."""
        task = self._tasks.get(response_id) if isinstance(response_id, str) else None
        if task is None:
            raise Refused(_NOT_ACTIVE)
        task.cancel("client_cancelled")


def _settings(id: str, model: Model, expires_at: float) -> dict[str, Any]:
    """A new session's, as the reference shows them in session.created."""
    heard = {
        "format": PCM,
        "transcription": None,
        "noise_reduction": None,
        "turn_detection": {
            "type": "server_vad",
            "threshold": 0.5,
            "prefix_padding_ms": 300,
            "silence_duration_ms": 200,
            "idle_timeout_ms": None,
            "create_response": True,
            "interrupt_response": True,
        },
    }
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": f"sess_{id.removeprefix('req_')}",
        "model": model.id,
        "output_modalities": ["audio"],
        "instructions": "",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "prompt": None,
        "expires_at": int(expires_at),
        "audio": {"input": heard, "output": {"format": PCM, "voice": "marin", "speed": 1.0}},
        "include": None,
    }


def _read(model: type[M], event: Mapping[str, Any], name: str) -> M:
    """What an event carries under `name`. Raises `Refused` with OpenAI's kind of complaint."""
    try:
        return model.model_validate(event.get(name) or {})
    except ValidationError as invalid:
        raise Refused(refusal_of(invalid, name)) from None


def _error_event(refusal: Refusal, event_id: str | None) -> Mapping[str, Any]:
    error = {**refusal.error, "type": refusal.type or "server_error", "event_id": event_id}
    return {"type": "error", "event_id": f"event_{uuid.uuid4().hex}", "error": error}


def _event_id(event: object) -> str | None:
    found = event.get("event_id") if isinstance(event, dict) else None
    return found if isinstance(found, str) else None
