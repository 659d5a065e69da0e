"""One response of a realtime session: its events, from response.created to response.done."""

from __future__ import annotations

import asyncio
import base64
import copy
import time
import uuid
from typing import TYPE_CHECKING, Any

from local.speech import refusals
from local.speech.bucket import Level
from local.speech.catalogue import REALTIME
from local.speech.clips import share
from local.speech.desk import AUDIO_TOKENS_PER_S, Reading, text_tokens
from local.speech.faults import Fault, Kind
from local.speech.ledger import Ask
from local.speech.refusals import Refusal, Refused
from local.speech.wanted import ResponseCreate

if TYPE_CHECKING:
    from local.speech.realtime import Session

PCM = {"type": "audio/pcm", "rate": 24_000}
_KINDS = frozenset(
    {Kind.REFUSAL, Kind.TRANSPORT, Kind.CLIP, Kind.WORDS, Kind.SESSION, Kind.HEADERS}
)
_DELTA_BYTES = 9_600
_PARTIAL = frozenset(
    {"cut", "cut_length", "cut_unframed", "stall", "closed", "session_expired", "cancelled"}
)
"""Faults that come after `at` of the audio."""
_INTERNAL_ERROR = 1011


class Response:
    """One reading aloud."""

    def __init__(
        self, session: Session, wanted: ResponseCreate, voice: str, event_id: str | None
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
        self._fault: Fault | None = None
        self._is_item_open = False
        self._is_logged = False
        self._said = ""
        self._sent_bytes = 0
        self._ask = Ask(
            request_id=self.id,
            route=REALTIME,
            model=session.model.id,
            voice=voice,
            input=wanted.text,
            instructions=wanted.instructions or session.instructions or None,
            speed=float(session.output["speed"]),
        )

    @property
    def _name(self) -> str | None:
        return self._fault.fault if self._fault else None

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
            if not self._is_logged:
                # The client has gone, or wants it no more.
                self._log(None, None)

    async def _run(self) -> None:
        desk = self._session.desk
        heard = f"{self._ask.instructions or ''}{self._ask.input}"
        levels, refusal = desk.meter(self._session.model, heard)
        self._fault = None if refusal else desk.fault_for(self._ask, _KINDS)
        if self._name in ("error_event", "full"):
            await self._reject()
            return
        if self._name == "drop_early":
            self._drop()
            return
        await self._session.send("response.created", response=self._shown("in_progress"))
        await self._tell_limits(levels)
        refusal = refusal or self._refusal()
        if refusal:
            self._log(refusal.status, refusal.code)
            raise Refused(refusal)
        await self._speak()

    async def _tell_limits(self, levels: tuple[Level, ...]) -> None:
        shown: list[dict[str, Any]] = [
            {
                "name": level.kind,
                "limit": level.limit,
                "remaining": level.remaining,
                "reset_seconds": round(level.reset_s, 3),
            }
            for level in levels
        ]
        if self._name == "headers_malformed":
            shown = [{"name": "requests", "limit": None, "remaining": "soon"}, {}]
        if self._name != "headers_missing":
            await self._session.send("rate_limits.updated", rate_limits=shown)

    async def _reject(self) -> None:
        fault = self._fault
        assert fault is not None
        refusal = refusals.active_response(f"resp_{uuid.uuid4().hex}")
        if fault.fault == "error_event":
            refusal = _failure(fault)
        self._log(refusal.status, refusal.code)
        await self._session.complain(refusal, self._event_id)

    def _drop(self) -> None:
        self._log(None, None)
        self._session.hang_up()

    def _refusal(self) -> Refusal | None:
        """What a fault that ends in status failed has to say; None for the others."""
        fault = self._fault
        if fault is None:
            return None
        if fault.kind is Kind.REFUSAL:
            return fault.refusal()
        return _failure(fault) if fault.fault == "failed" else None

    async def _speak(self) -> None:
        most = self._wanted.max_output_tokens
        limit = None if most == "inf" else most
        desk = self._session.desk
        reading = await desk.read(self._ask, self._fault, tokens=limit)
        await desk.wait_out(self._started_s)
        if self._name == "drop":
            self._drop()
            return
        self._log(200, None)
        if self._name == "no_audio":
            await self._end("completed", words="I'm sorry, I can't help with that.")
            return
        await self._stream(reading)
        await self._conclude(reading, limit)

    async def _stream(self, reading: Reading) -> None:
        send = self._session.send
        pcm = reading.pcm
        if self._fault and self._name in _PARTIAL:
            pcm = share(pcm, self._fault.at)
        item = self._item("in_progress")
        added = {"response_id": self.id, "output_index": 0, "item": item}
        await send("response.output_item.added", **added)
        self._is_item_open = True
        part = {"type": "audio", "transcript": ""}
        await send("response.content_part.added", **self._place, part=part)
        await self._tarry()
        await self._send_deltas(pcm, reading.transcript)

    async def _tarry(self) -> None:
        fault = self._fault
        if fault and fault.fault == "slow":
            await asyncio.sleep(fault.duration_s)
        if self._name == "hang":
            await asyncio.Event().wait()
        while fault and fault.fault == "hold" and self._session.desk.faults.stands(fault):
            await asyncio.sleep(0.01)

    async def _send_deltas(self, pcm: bytes, transcript: str) -> None:
        """Words and sound by turns, one delta a turn; so parallel responses mix."""
        words = transcript.split(" ")
        pieces = [pcm[at : at + _DELTA_BYTES] for at in range(0, len(pcm), _DELTA_BYTES)]
        gap_s = 0.0
        if self._fault and self._name == "drip":
            gap_s = self._fault.duration_s / max(1, len(pieces))
        for turn in range(max(len(words), len(pieces))):
            if turn < len(words):
                await self._send_word(f" {words[turn]}" if turn else words[turn])
            if turn < len(pieces):
                await self._send_sound(pieces[turn])
            await asyncio.sleep(gap_s)

    async def _send_word(self, word: str) -> None:
        self._said += word
        kind = "response.output_audio_transcript.delta"
        await self._session.send(kind, **self._place, delta=word)

    async def _send_sound(self, piece: bytes) -> None:
        self._session.spoke(self._ask.voice or "")
        self._sent_bytes += len(piece)
        delta = base64.b64encode(piece).decode()
        await self._session.send("response.output_audio.delta", **self._place, delta=delta)

    async def _conclude(self, reading: Reading, limit: int | None) -> None:
        """However it ends once the audio is sent, or as much of it as the fault lets through."""
        fault = self._fault
        match self._name:
            case "cut" | "cut_length" | "cut_unframed":
                self._session.hang_up()
            case "stall":
                await asyncio.Event().wait()
            case "closed":
                await self._session.close(_INTERNAL_ERROR, "internal error")
            case "session_expired":
                await self._session.expire()
            case "cancelled" if fault:
                await self._end("cancelled", reason=fault.code or "turn_detected")
            case "incomplete" if fault:
                await self._end("incomplete", reason=fault.code or "max_output_tokens")
            case _ if limit is not None and reading.audio_tokens >= limit:
                await self._end("incomplete", reason="max_output_tokens")
            case _:
                await self._end("completed")

    async def _end(
        self,
        status: str,
        *,
        error: Refusal | None = None,
        reason: str | None = None,
        words: str | None = None,
    ) -> None:
        """Close what is open, then tell the end; both come whatever the status."""
        item_status = "completed" if status == "completed" else "incomplete"
        output = [self._item(item_status, words)] if words or self._is_item_open else []
        if self._is_item_open:
            await self._close_item(item_status)
        details: dict[str, Any] = {"type": status}
        if error:
            details["error"] = {k: v for k, v in error.error.items() if k != "param"}
        if reason:
            details["reason"] = reason
        shown = self._shown(status) | {
            "status_details": details if error or reason else None,
            "output": output,
            "usage": self._usage(words or self._said),
        }
        await self._session.send("response.done", response=shown)

    async def _close_item(self, status: str) -> None:
        send, place = self._session.send, self._place
        await send("response.output_audio.done", **place)
        await send("response.output_audio_transcript.done", **place, transcript=self._said)
        part = {"type": "audio", "transcript": self._said}
        await send("response.content_part.done", **place, part=part)
        done = {"response_id": self.id, "output_index": 0, "item": self._item(status)}
        await send("response.output_item.done", **done)

    def _item(self, status: str, words: str | None = None) -> dict[str, Any]:
        content = {"type": "output_audio", "transcript": self._said}
        if words is not None:
            content = {"type": "output_text", "text": words}
        return {
            "id": self._item_id,
            "object": "realtime.item",
            "type": "message",
            "role": "assistant",
            "status": status,
            "content": [] if status == "in_progress" else [content],
        }

    def _shown(self, status: str) -> dict[str, Any]:
        is_named = self._name != "unnamed"
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": [],
            "conversation_id": None,
            "output_modalities": ["audio"],
            "max_output_tokens": self._wanted.max_output_tokens,
            "audio": {"output": {"format": PCM, "voice": self._ask.voice}},
            "metadata": copy.copy(self._wanted.metadata) if is_named else None,
            "usage": None,
        }

    def _usage(self, words: str) -> dict[str, Any]:
        """Of what was said so far; a response that failed at once has cost nothing."""
        if not words:
            return {"total_tokens": 0, "input_tokens": 0, "output_tokens": 0}
        heard = text_tokens(f"{self._ask.instructions or ''}{self._ask.input}")
        said = text_tokens(words)
        sound = -(-self._sent_bytes * AUDIO_TOKENS_PER_S // 48_000)
        return {
            "total_tokens": heard + said + sound,
            "input_tokens": heard,
            "output_tokens": said + sound,
            "input_token_details": {"text_tokens": heard, "audio_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": said, "audio_tokens": sound},
        }

    def _log(self, status: int | None, code: str | None) -> None:
        self._is_logged = True
        self._session.desk.ledger.saw(self._ask, status=status, code=code, fault=self._name)


def _failure(fault: Fault) -> Refusal:
    return Refusal(
        status=500,
        message=fault.message or "The server had an error while processing your request.",
        type=fault.type or "server_error",
        code=fault.code,
    )
