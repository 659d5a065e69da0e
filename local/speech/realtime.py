"""GET /v1/realtime: a WebSocket session whose responses run in parallel.

Only responses outside the conversation (`conversation: "none"`) are served; the text
of the last user message in `input` is read aloud.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

from aiohttp import WSMsgType, web
from pydantic import BaseModel, Field, ValidationError

from local.speech import refusals
from local.speech.bucket import Level
from local.speech.catalogue import REALTIME, Model
from local.speech.desk import Desk, Reading, text_tokens
from local.speech.exchange import DESK, exchange_of
from local.speech.faults import Fault, Kind
from local.speech.ledger import Ask
from local.speech.refusals import Refusal, Refused

_KINDS = frozenset({Kind.REFUSAL, Kind.TRANSPORT, Kind.CLIP, Kind.WORDS, Kind.SESSION})
_DELTA_BYTES = 9_600
_CLOSED_BY_SERVER = 4000
_PCM = {"type": "audio/pcm", "rate": 24_000}


class _Output(BaseModel):
    voice: str | None = None
    speed: float | None = Field(default=None, ge=0.25, le=1.5)
    format: dict[str, Any] | None = None


class _Audio(BaseModel):
    output: _Output = _Output()


class _SessionUpdate(BaseModel):
    type: Literal["realtime"]
    instructions: str | None = None
    output_modalities: list[str] | None = None
    audio: _Audio = _Audio()


class _Content(BaseModel):
    type: str
    text: str = ""


class _Item(BaseModel):
    type: str
    role: str = ""
    content: list[_Content] = []


class _ResponseCreate(BaseModel):
    conversation: str = "auto"
    instructions: str | None = None
    input: list[_Item] = []
    metadata: dict[str, str] | None = None
    max_output_tokens: int | Literal["inf"] = "inf"
    audio: _Audio = _Audio()

    @property
    def text(self) -> str:
        users = [item for item in self.input if item.role == "user"]
        return "".join(part.text for part in users[-1].content) if users else ""


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
    await _Session(request, socket, model, exchange.ask.request_id).serve()
    return socket


class _Session:
    def __init__(
        self, request: web.Request, socket: web.WebSocketResponse, model: Model, id: str
    ) -> None:
        self.desk: Desk = request.app[DESK]
        self.model = model
        self._request = request
        self._socket = socket
        self._has_spoken = False
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._settings: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": f"sess_{id}",
            "model": model.id,
            "output_modalities": ["audio"],
            "instructions": "",
            "audio": {"output": {"format": _PCM, "voice": "marin", "speed": 1.0}},
        }

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
        await self.send("session.created", session=self._settings)
        try:
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    await self._take(message.data)
        finally:
            for task in self._tasks.values():
                task.cancel()

    async def send(self, type: str, **fields: Any) -> None:
        """One event; nothing where the client has gone."""
        await self._send({"type": type, "event_id": f"event_{uuid.uuid4().hex}", **fields})

    def hang_up(self) -> None:
        """Close without a goodbye."""
        if self._request.transport:
            self._request.transport.abort()

    async def _take(self, raw: str) -> None:
        event: Any = None
        try:
            event = json.loads(raw)
            match event.get("type"):
                case "session.update":
                    await self._update(_SessionUpdate.model_validate(event.get("session")))
                case "response.create":
                    self._respond(
                        _ResponseCreate.model_validate(event.get("response") or {}),
                        event.get("event_id"),
                    )
                case "response.cancel":
                    self._cancel(event.get("response_id"))
                case other:
                    message = f"Invalid value: '{other}': this local server doesn't serve it."
                    raise Refused(refusals.bad_argument(message, "type"))
        except (ValueError, AttributeError, ValidationError) as invalid:
            await self.complain(refusals.bad_argument(str(invalid), "event"), _event_id(event))
        except Refused as refused:
            await self.complain(refused.refusal, _event_id(event))

    async def complain(self, refusal: Refusal, event_id: str | None) -> None:
        """An error event about the client's event of that id."""
        await self._send(_error_event(refusal, event_id))

    async def _send(self, event: Mapping[str, Any]) -> None:
        with contextlib.suppress(ConnectionError):
            await self._socket.send_json(event)

    async def _update(self, update: _SessionUpdate) -> None:
        output = update.audio.output
        if output.voice is not None and output.voice not in self.model.voices:
            raise Refused(_unknown_voice(output.voice, self.model, "session.audio.output.voice"))
        if output.voice not in (None, self.output["voice"]) and self._has_spoken:
            raise Refused(
                Refusal(
                    status=400,
                    message="Cannot update a conversation's voice if assistant audio is present.",
                    code="cannot_update_voice",
                )
            )
        self.output.update(output.model_dump(exclude_none=True))
        if update.instructions is not None:
            self._settings["instructions"] = update.instructions
        await self.send("session.updated", session=self._settings)

    def _respond(self, wanted: _ResponseCreate, event_id: str | None) -> None:
        if wanted.conversation != "none":
            message = "This local server only serves responses with conversation 'none'."
            raise Refused(refusals.bad_argument(message, "response.conversation"))
        if not wanted.text:
            raise Refused(refusals.bad_argument("No user text to read.", "response.input"))
        voice = wanted.audio.output.voice or self.output["voice"]
        if voice not in self.model.voices:
            raise Refused(_unknown_voice(voice, self.model, "response.audio.output.voice"))
        self._has_spoken = True
        response = _Response(self, wanted, voice, event_id)
        task = asyncio.create_task(response.run())
        self._tasks[response.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(response.id, None))

    def _cancel(self, response_id: str | None) -> None:
        """One response, or all where none is named."""
        for id_ in [response_id] if response_id else list(self._tasks):
            if id_ not in self._tasks:
                raise Refused(
                    Refusal(
                        status=400,
                        message="Cancellation failed: no active response found",
                        code="response_cancel_not_active",
                    )
                )
            self._tasks[id_].cancel("client_cancelled")


class _Response:
    """One reading: its events, from response.created to response.done."""

    def __init__(
        self, session: _Session, wanted: _ResponseCreate, voice: str, event_id: str | None
    ) -> None:
        self.id = f"resp_{uuid.uuid4().hex}"
        self._session = session
        self._wanted = wanted
        self._event_id = event_id
        self._started_s = time.monotonic()
        self._item_id = f"item_{uuid.uuid4().hex}"
        self._place = {
            "response_id": self.id,
            "item_id": self._item_id,
            "output_index": 0,
            "content_index": 0,
        }
        speed = wanted.audio.output.speed or session.output["speed"]
        self._ask = Ask(
            request_id=self.id,
            route=REALTIME,
            model=session.model.id,
            voice=voice,
            input=wanted.text,
            instructions=wanted.instructions or session.instructions or None,
            speed=float(speed),
        )

    async def run(self) -> None:
        crowd = self._session.desk.crowd
        crowd.enter()
        try:
            await self._run()
        except Refused as refused:
            await self._end("failed", error=refused.refusal)
        except asyncio.CancelledError as cancelled:
            if "client_cancelled" not in cancelled.args:
                raise
            await self._end("cancelled", reason="client_cancelled")
        finally:
            crowd.leave()

    async def _run(self) -> None:
        desk = self._session.desk
        levels, refusal = desk.meter(
            self._session.model, f"{self._ask.instructions or ''}{self._ask.input}"
        )
        fault = None if refusal else desk.fault_for(self._ask, _KINDS)
        if fault and fault.fault == "error_event":
            await self._reject(fault)
            return
        if fault and fault.fault == "drop_early":
            self._drop(fault)
            return
        await self._session.send("response.created", response=self._shown("in_progress"))
        await self._session.send("rate_limits.updated", rate_limits=_rate_limits(levels))
        if refusal is None and fault:
            refusal = _refusal_of(fault)
        if refusal:
            self._log(refusal.status, refusal.code, fault)
            raise Refused(refusal)
        await self._speak(fault)

    async def _reject(self, fault: Fault) -> None:
        refusal = Refusal(
            status=500,
            message=fault.message or "The server had an error while processing your request.",
            type=fault.type or "server_error",
            code=fault.code,
        )
        self._log(refusal.status, refusal.code, fault)
        await self._session.complain(refusal, self._event_id)

    def _drop(self, fault: Fault) -> None:
        self._log(None, None, fault)
        self._session.hang_up()

    async def _speak(self, fault: Fault | None) -> None:
        wanted = self._wanted.max_output_tokens
        limit = None if wanted == "inf" else wanted
        desk = self._session.desk
        reading = await desk.read(self._ask, fault, tokens=limit)
        await desk.wait_out(self._started_s)
        if fault and fault.fault == "drop":
            self._drop(fault)
            return
        self._log(200, None, fault)
        if fault and fault.fault == "no_audio":
            await self._end(
                "completed", reading=reading, words="I'm sorry, I can't help with that."
            )
            return
        await self._stream(reading, fault)
        is_short = (limit is not None and reading.audio_tokens >= limit) or (
            fault is not None and fault.fault == "incomplete"
        )
        if is_short:
            await self._end("incomplete", reading=reading, reason="max_output_tokens")
        else:
            await self._end("completed", reading=reading)

    async def _stream(self, reading: Reading, fault: Fault | None) -> None:
        send, place = self._session.send, self._place
        out = {"response_id": self.id, "output_index": 0}
        part = {"type": "audio", "transcript": ""}
        await send("response.output_item.added", **out, item=self._item("in_progress", ""))
        await send("response.content_part.added", **place, part=part)
        await send("response.output_audio_transcript.delta", **place, delta=reading.transcript)
        await self._send_audio(reading.pcm, fault)
        await send("response.output_audio.done", **place)
        await send("response.output_audio_transcript.done", **place, transcript=reading.transcript)
        part = {"type": "audio", "transcript": reading.transcript}
        await send("response.content_part.done", **place, part=part)
        item = self._item("completed", reading.transcript)
        await send("response.output_item.done", **out, item=item)

    async def _send_audio(self, pcm: bytes, fault: Fault | None) -> None:
        name = fault.fault if fault else None
        if name in ("cut", "cut_length", "cut_unframed", "stall") and fault:
            pcm = pcm[: int(len(pcm) * fault.at)]
        if name == "slow" and fault:
            await asyncio.sleep(fault.duration_s)
        while name == "hold" and fault and self._session.desk.faults.stands(fault):
            await asyncio.sleep(0.01)
        pieces = [pcm[at : at + _DELTA_BYTES] for at in range(0, len(pcm), _DELTA_BYTES)]
        for piece in [] if name == "hang" else pieces:
            delta = base64.b64encode(piece).decode()
            await self._session.send("response.output_audio.delta", **self._place, delta=delta)
            if name == "drip" and fault:
                await asyncio.sleep(fault.duration_s / len(pieces))
        if name in ("hang", "stall"):
            await asyncio.Event().wait()
        if name in ("cut", "cut_length", "cut_unframed"):
            self._session.hang_up()

    async def _end(
        self,
        status: str,
        *,
        reading: Reading | None = None,
        error: Refusal | None = None,
        reason: str | None = None,
        words: str | None = None,
    ) -> None:
        details: dict[str, Any] = {"type": status}
        if error:
            details["error"] = {k: v for k, v in error.error.items() if k != "param"}
        if reason:
            details["reason"] = reason
        shown = self._shown(status) | {
            "status_details": details if error or reason else None,
            "output": self._output(status, reading, words),
            "usage": self._usage(reading, 0 if words else None),
        }
        await self._session.send("response.done", response=shown)

    def _output(
        self, status: str, reading: Reading | None, words: str | None
    ) -> list[dict[str, Any]]:
        if reading is None:
            return []
        if words is None:
            state = "completed" if status == "completed" else "incomplete"
            return [self._item(state, reading.transcript)]
        refusing = self._item("completed", "")
        refusing["content"] = [{"type": "output_text", "text": words}]
        return [refusing]

    def _item(self, status: str, transcript: str) -> dict[str, Any]:
        return {
            "id": self._item_id,
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [{"type": "output_audio", "transcript": transcript}] if transcript else [],
        }

    def _shown(self, status: str) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": [],
            "conversation_id": None,
            "output_modalities": ["audio"],
            "max_output_tokens": self._wanted.max_output_tokens,
            "audio": {"output": {"format": _PCM, "voice": self._ask.voice}},
            "metadata": copy.copy(self._wanted.metadata),
            "usage": None,
        }

    def _usage(self, reading: Reading | None, audio: int | None) -> dict[str, Any]:
        if reading is None:
            return {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}
        heard = text_tokens(f"{self._ask.instructions or ''}{self._ask.input}")
        said = text_tokens(reading.transcript)
        sound = reading.audio_tokens if audio is None else audio
        return {
            "total_tokens": heard + said + sound,
            "input_tokens": heard,
            "output_tokens": said + sound,
            "input_token_details": {"text_tokens": heard, "audio_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": said, "audio_tokens": sound},
        }

    def _log(self, status: int | None, code: str | None, fault: Fault | None) -> None:
        self._session.desk.ledger.saw(
            self._ask, status=status, code=code, fault=fault.fault if fault else None
        )


def _refusal_of(fault: Fault) -> Refusal | None:
    """What a fault that ends in status failed has to say; None for the others."""
    if fault.kind is Kind.REFUSAL:
        return fault.refusal()
    if fault.fault == "failed":
        return Refusal(
            status=500,
            message=fault.message or "The server had an error while processing your request.",
            type=fault.type or "server_error",
            code=fault.code,
        )
    return None


def _unknown_voice(voice: str, model: Model, param: str) -> Refusal:
    message = f"Invalid value: '{voice}'. Supported values are: {', '.join(model.voices)}."
    return refusals.bad_argument(message, param)


def _rate_limits(levels: tuple[Level, ...]) -> list[dict[str, Any]]:
    return [
        {
            "name": level.kind,
            "limit": level.limit,
            "remaining": level.remaining,
            "reset_seconds": round(level.reset_s, 3),
        }
        for level in levels
    ]


def _error_event(refusal: Refusal, event_id: str | None) -> Mapping[str, Any]:
    error = {**refusal.error, "type": refusal.type or "server_error", "event_id": event_id}
    return {"type": "error", "event_id": f"event_{uuid.uuid4().hex}", "error": error}


def _event_id(event: object) -> str | None:
    found = event.get("event_id") if isinstance(event, dict) else None
    return found if isinstance(found, str) else None
