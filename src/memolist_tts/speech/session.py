"""A realtime session: one WebSocket, one voice, several texts read aloud in parallel on it."""

from __future__ import annotations

import binascii
import copy
import itertools
import json
import math
import re
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, cast

import httpx2
import openai
from openai.resources.realtime.realtime import RealtimeConnection
from openai.types.realtime import (
    RateLimitsUpdatedEvent,
    RealtimeError,
    RealtimeErrorEvent,
    RealtimeResponse,
    RealtimeResponseUsage,
    ResponseCreatedEvent,
    ResponseDoneEvent,
)
from openai.types.realtime.realtime_response_status import Error as ResponseFault
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from memolist_tts.core.errors import (
    Misconfigured,
    NetworkFault,
    ProviderBusy,
    SpeechError,
    UtteranceRefused,
)
from memolist_tts.core.model import Limits, Speech
from memolist_tts.core.prices import Usage
from memolist_tts.speech import encoder
from memolist_tts.speech.faults import as_body, refusal, shown

LIFETIME_S = 50 * 60.0
"""A session ends at 60 minutes, whatever is in flight: none takes new work after 50."""
_SESSION_UPDATE, _CANCEL = "session", "cancel"

_CROWDED_CODE = "conversation_already_has_active_response"
_CROWDED = re.compile(
    r"already has an active response|(?:concurrent|parallel|simultaneous) responses", re.IGNORECASE
)
# How the API words its kinds of errors, as the HTTP status of the like. What is
# unknown counts as the provider's fault: no card may suffer for it.
_STATUS = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
}


class SessionFull(Exception):
    """The session was already speaking `active` texts and took no other; nothing is billed."""

    def __init__(self, active: int) -> None:
        super().__init__(active)
        self.active = active


_Part: TypeAlias = bytes | str | RealtimeResponse | SpeechError | SessionFull
"""PCM, words, the end of an answer, or what went wrong."""


class Session:
    """A connection and its listener, which hands each event to the reading it belongs to.

    Made closed: whoever made it calls `open`, and whoever `read`s waits for that. The
    connection never reconnects by itself: what was in flight on a lost one may be billed,
    and is reported so. Thread-safe.
    """

    def __init__(
        self,
        connect: Callable[[float], RealtimeConnection],
        setup: Any,
        *,
        secret: str,
        lifetime_s: float = LIFETIME_S,
    ) -> None:
        self._connect = connect
        self._setup = setup
        self._secret = secret
        self._lifetime_s = lifetime_s
        self._ends_at = math.inf
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._told = threading.Event()
        self._connection: RealtimeConnection | None = None
        self._fault: SpeechError | None = None
        self._limits: Limits | None = None
        self._readings: dict[str, _Reading] = {}
        self._active: dict[str, _Reading | None] = {}
        """Responses that the provider began and has not ended; None: nobody waits for it."""
        self._strays: set[str] = set()
        """Responses of which something came before their beginning."""
        self._is_unnamed = False

    @property
    def is_open(self) -> bool:
        """Whether the provider has answered: it has the voice, or it's over."""
        return self._told.is_set()

    def is_usable(self, now: float) -> bool:
        """Whether it may take new work at `now` (seconds, monotonic)."""
        return self._fault is None and now < self._ends_at

    def open(self, timeout_s: float) -> None:
        """Connect and set the voice. Never raises: a fault reaches whoever reads."""
        try:
            connection = self._connect(timeout_s)
        except InvalidStatus as error:
            answer = error.response
            headers = httpx2.Headers(list(answer.headers.raw_items()))
            fault = refusal(answer.status_code, as_body(answer.body), headers, secret=self._secret)
            return self._end(_of_session(fault))
        except (OSError, WebSocketException, openai.OpenAIError) as error:
            return self._end(_unopened(shown(_words(error), self._secret)))
        with self._lock:
            self._connection = connection
            is_over = self._fault is not None
        if is_over:
            return connection.close()
        self._ends_at = time.monotonic() + self._lifetime_s
        threading.Thread(target=self._listen, name="realtime", daemon=True).start()
        # A session that the provider ends at once has told its listener why.
        with suppress(OSError, ConnectionClosed):
            connection.session.update(session=self._setup, event_id=_SESSION_UPDATE)
        # Not before it has the voice: what it said with another one would be paid for.
        if not self._told.wait(timeout_s):
            self._end(_unopened(f"no session.updated for {timeout_s:g} s"))
        return None

    def read(self, response: Any, timeout_s: float) -> Speech:
        """Have one text read, `timeout_s` at most between two parts of the answer.

        Raises `SessionFull`, and a `SpeechError` otherwise. Whoever gives up has the
        answer cancelled, so that it costs no more.
        """
        if not self._told.wait(timeout_s):
            raise _unopened(f"not open after {timeout_s:g} s")
        reading = self._expect()
        try:
            self._ask(reading, response, timeout_s)
            return self._gather(reading, timeout_s)
        except SpeechError as error:
            error.limits = error.limits or self._limits
            raise
        finally:
            self._forget(reading)

    def close(self) -> threading.Thread:
        """Cancel what is in flight, which gets a `NetworkFault`, and say goodbye.

        Returns at once with the thread that does: a dead peer answers no goodbye.
        """
        self._end(_lost("the run is over"))
        goodbye = threading.Thread(target=self._leave, name="realtime-close", daemon=True)
        goodbye.start()
        return goodbye

    # What is asked

    def _expect(self) -> _Reading:
        """A reading that gets its events from now on."""
        with self._lock:
            if self._fault:
                raise _unsent(self._fault)
            reading = _Reading(str(next(self._numbers)))
            self._readings[reading.number] = reading
        return reading

    def _ask(self, reading: _Reading, response: Any, timeout_s: float) -> None:
        asked: Any = {**response, "metadata": {"utterance": reading.number}}
        assert self._connection is not None
        try:
            self._connection.response.create(response=asked, event_id=reading.number)
        except (OSError, ConnectionClosed):
            # The listener learns why the session ended, perhaps a moment later.
            fault = self._next(reading, timeout_s)
            raise _unsent(fault if isinstance(fault, SpeechError) else None) from None

    def _gather(self, reading: _Reading, timeout_s: float) -> Speech:
        pcm, words = bytearray(), list[str]()
        while True:
            match self._next(reading, timeout_s):
                case bytes() as sound:
                    pcm += sound
                case str() as transcript:
                    words.append(transcript)
                case RealtimeResponse() as response:
                    return self._speech(bytes(pcm), " ".join(words), response)
                case fault:
                    # One fault may end many readings, and raising writes on it.
                    raise copy.copy(fault)

    def _next(self, reading: _Reading, timeout_s: float) -> _Part:
        try:
            return reading.parts.get(timeout=timeout_s)
        except Empty:
            unnamed = "; an answer came without its metadata" if self._is_unnamed else ""
            raise _lost(f"nothing came for {timeout_s:g} s{unnamed}") from None

    def _speech(self, pcm: bytes, transcript: str, response: RealtimeResponse) -> Speech:
        if response.status != "completed" or not pcm:
            raise self._unspoken(response)
        if len(pcm) % 2:
            raise _lost("its audio ends within a sample")
        return Speech(
            mp3=encoder.mp3(pcm),
            request_id=response.id,
            transcript=transcript,
            usage=_billed(response.usage),
            limits=self._limits,
        )

    def _unspoken(self, response: RealtimeResponse) -> SpeechError:
        details = response.status_details
        if details and details.error:
            return self._fault_of(details.error)
        reason = (details and details.reason) or "no audio"
        if reason == "content_filter":
            return UtteranceRefused(
                f"The provider's filter stopped this text (response {response.id}). "
                "Change the text of the card.",
                signature=(200, reason),
                request_id=response.id,
            )
        return ProviderBusy(
            f"The answer ended {response.status} ({reason}). It is asked again.",
            request_id=response.id,
        )

    def _forget(self, reading: _Reading) -> None:
        """No one waits for this reading any more: what it still costs is in vain."""
        with self._lock:
            self._readings.pop(reading.number, None)
            begun = [id for id, whose in self._active.items() if whose is reading]
            self._active.update(dict.fromkeys(begun))
            is_over = self._fault is not None
        for response_id in begun if not is_over else ():
            self._cancel(response_id)

    def _cancel(self, response_id: str) -> None:
        # Always by its id: without one only the default conversation's would be cancelled.
        if self._connection is not None:
            with suppress(OSError, ConnectionClosed):
                self._connection.response.cancel(response_id=response_id, event_id=_CANCEL)

    def _leave(self) -> None:
        with self._lock:
            connection, active = self._connection, list(self._active)
        for response_id in active:
            self._cancel(response_id)
        if connection is not None:
            with suppress(OSError, WebSocketException):
                connection.close()

    # What comes

    def _listen(self) -> None:
        assert self._connection is not None
        try:
            while True:
                self._take(self._connection, self._connection.recv_bytes())
        except Exception as error:  # whatever ends the listening, no one may wait on
            told = shown(_words(error), self._secret)
        self._end(_lost(told) if self.is_open else _unopened(told))
        self._leave()

    def _take(self, connection: RealtimeConnection, raw: bytes) -> None:
        event = json.loads(raw)
        match event["type"]:
            case "response.output_audio.delta":
                # The client's own type for it costs five times the rest of the work.
                self._hand(event["response_id"], _pcm(event["delta"]))
            case "response.output_audio_transcript.done":
                self._hand(event["response_id"], str(event["transcript"]))
            case "response.created":
                self._begin(cast(ResponseCreatedEvent, connection.parse_event(raw)).response)
            case "response.done":
                self._finish(cast(ResponseDoneEvent, connection.parse_event(raw)).response)
            case "rate_limits.updated":
                limits = _limits(cast(RateLimitsUpdatedEvent, connection.parse_event(raw)))
                self._limits = limits or self._limits
            case "session.updated":
                self._told.set()
            case "error":
                self._complain(cast(RealtimeErrorEvent, connection.parse_event(raw)).error)
            case _:
                pass

    def _hand(self, response_id: str, part: _Part) -> None:
        with self._lock:
            if response_id not in self._active:
                self._strays.add(response_id)
            reading = self._active.get(response_id)
        if reading:
            reading.parts.put(part)

    def _begin(self, response: RealtimeResponse) -> None:
        """An answer belongs to the reading it names, and each reading to its first answer."""
        if response.id is None:
            return
        with self._lock:
            reading = self._readings.get(_number(response))
            self._is_unnamed |= not response.metadata
            if response.id in self._active:
                return
            is_first = reading is not None and reading not in self._active.values()
            self._active[response.id] = reading if is_first else None
        if reading is None or not is_first:
            self._cancel(response.id)
        elif response.id in self._strays:
            reading.parts.put(_lost("a part came before its beginning"))

    def _finish(self, response: RealtimeResponse) -> None:
        with self._lock:
            if response.id in self._active:
                reading = self._active.pop(response.id)
            else:
                reading = self._readings.get(_number(response))
                if reading in self._active.values():
                    reading = None
        if reading:
            reading.parts.put(response)

    def _complain(self, error: RealtimeError) -> None:
        if error.code == "session_expired":
            self._end(_lost(error.message))
        elif error.event_id == _CANCEL or error.code == "response_cancel_not_active":
            # The answer had just ended.
            pass
        elif error.event_id == _SESSION_UPDATE or not self.is_open:
            # Without its settings a session would speak with the wrong voice.
            self._end(_of_session(self._fault_of(error)))
        else:
            self._refuse(error)

    def _refuse(self, error: RealtimeError) -> None:
        """An error that names no event is every reading's that hasn't begun."""
        with self._lock:
            begun = self._active.values()
            blamed = [
                reading
                for number, reading in self._readings.items()
                if (number == error.event_id if error.event_id else reading not in begun)
            ]
            active = len(begun)
        fault: _Part
        if active and _is_crowded(error):
            fault = SessionFull(active)
        elif error.event_id:
            fault = self._fault_of(error)
        else:
            fault = _of_session(self._fault_of(error))
            self._ends_at = -math.inf
        for reading in blamed:
            reading.parts.put(fault)

    def _end(self, fault: SpeechError) -> None:
        with self._lock:
            if self._fault is None:
                self._fault = fault
            readings = list(self._readings.values())
        for reading in readings:
            reading.parts.put(self._fault)
        self._told.set()

    def _fault_of(self, error: RealtimeError | ResponseFault) -> SpeechError:
        """What the API's account of an error means; it knows no HTTP status."""
        status = _STATUS.get(error.code or "") or _STATUS.get(error.type or "", 500)
        status = 429 if _is_crowded(error) else status
        return refusal(status, error.to_dict(), {}, secret=self._secret)


class _Reading:
    """One text in flight."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.parts: SimpleQueue[_Part] = SimpleQueue()


def _billed(usage: RealtimeResponseUsage | None) -> Usage | None:
    details = usage.output_token_details if usage else None
    if usage is None or details is None or details.audio_tokens is None:
        return None
    return Usage(
        audio_out=details.audio_tokens,
        text_in=usage.input_tokens or 0,
        text_out=max(0, (usage.output_tokens or 0) - details.audio_tokens),
    )


def _number(response: RealtimeResponse) -> str:
    return (response.metadata or {}).get("utterance", "")


def _pcm(delta: str) -> bytes | SpeechError:
    try:
        return b64decode(delta, validate=True)
    except (binascii.Error, TypeError):
        return _lost("audio that can't be decoded")


def _is_crowded(error: RealtimeError | ResponseFault) -> bool:
    """Whether only the number of texts at once was wrong."""
    return error.code == _CROWDED_CODE or bool(_CROWDED.search(error.message or ""))


def _of_session(fault: SpeechError) -> SpeechError:
    """No text is to blame for what the session can't do."""
    return Misconfigured(str(fault)) if isinstance(fault, UtteranceRefused) else fault


def _lost(told: str) -> NetworkFault:
    return NetworkFault(
        f"No whole answer came in the session ({told}). It may be billed, and is asked again."
    )


def _unopened(told: str) -> NetworkFault:
    return NetworkFault(
        f"No session could be opened ({told}). It is tried again; check the network and "
        "OPENAI_BASE_URL if this stays.",
        maybe_billed=False,
    )


def _unsent(fault: SpeechError | None) -> SpeechError:
    """What the end of a session means for a text that was never sent."""
    if fault is not None and not (isinstance(fault, NetworkFault) and fault.maybe_billed):
        return copy.copy(fault)
    return NetworkFault(
        "The session ended before the text was sent. It is asked again in a new one.",
        maybe_billed=False,
    )


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _limits(event: RateLimitsUpdatedEvent) -> Limits | None:
    """OpenAI often tells of tokens alone (openai-agents-js, issue 1022)."""
    for limit in event.rate_limits or ():
        if limit.name == "requests":
            remaining = _amount(limit.remaining)
            found = Limits(
                requests_per_minute=_amount(limit.limit) or None,
                remaining_requests=None if remaining is None else int(remaining),
                reset_s=_amount(limit.reset_seconds),
            )
            return None if found == Limits() else found
    return None


def _amount(value: object) -> float | None:
    """The client checks no types, and arithmetic is done with these."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None
