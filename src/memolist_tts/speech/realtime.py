"""OpenAI's Realtime API: one WebSocket per voice, many readings in parallel on it."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import threading
import time
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
    RealtimeServerEvent,
    ResponseAudioDeltaEvent,
    ResponseAudioTranscriptDoneEvent,
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
from memolist_tts.core.model import Limits, Speech, SpeechRequest
from memolist_tts.core.prices import Usage
from memolist_tts.speech.faults import as_body, refusal, shown
from memolist_tts.speech.requests import SAMPLE_RATE_HZ

# A session ends without warning at 60 minutes: none takes new work after 50.
SESSION_LIFETIME_S = 50 * 60.0
MP3_KBIT_S = 128
_SESSION_UPDATE = "session"

# How the API words its kinds of errors, as the HTTP status of the like. What is
# unknown counts as the provider's fault: no card may suffer for it.
_STATUS = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "invalid_request_error": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
}

_Part: TypeAlias = bytes | str | RealtimeResponse | SpeechError
"""PCM, words, the end of an answer, or what went wrong."""


class RealtimeSpeaker:
    """A `Speaker` over realtime sessions. Thread-safe; `close` ends the sessions.

    A voice can't change once a session has spoken, so there is a session for each
    model, voice and speed, opened when first needed. The connection never
    reconnects by itself: what was in flight on a lost one may be billed and is
    reported so; the next utterance opens a new one. Audio comes as PCM and is
    encoded here (24 kHz mono, 128 kbit/s).
    """

    def __init__(self, client: openai.OpenAI, *, lifetime_s: float = SESSION_LIFETIME_S) -> None:
        _require_encoder()
        self._client = client
        self._lifetime_s = lifetime_s
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:
        """As `Speaker.speak`. A session that can't start is `Misconfigured`, not the card's."""
        with self._lock:
            session = self._session(request)
            reading = session.expect()
        return reading.finish(cast(Any, request["response"]), timeout_s)

    def close(self) -> None:
        """End every session; what is in flight gets a `NetworkFault`. May be called again."""
        with self._lock:
            sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.close()

    def _session(self, request: SpeechRequest) -> _Session:
        key = json.dumps([request["model"], request["session"]], sort_keys=True)
        session = self._sessions.get(key)
        if session is None or not session.is_usable(time.monotonic()):
            if session:
                session.retire()
            session = self._sessions[key] = self._open(request)
        return session

    def _open(self, request: SpeechRequest) -> _Session:
        secret, setup = self._client.api_key, cast(Any, request["session"])
        try:
            connection = self._client.realtime.connect(model=str(request["model"])).enter()
        except InvalidStatus as error:
            answer = error.response
            headers = httpx2.Headers(list(answer.headers.raw_items()))
            fault = refusal(answer.status_code, as_body(answer.body), headers, secret=secret)
            raise _of_session(fault) from None
        except (OSError, WebSocketException) as error:
            raise NetworkFault(
                f"No session could be opened ({shown(_told(error), secret)}). It is tried again; "
                "check the network and OPENAI_BASE_URL if this stays.",
                maybe_billed=False,
            ) from None
        session = _Session(connection, secret=secret, ends_at=time.monotonic() + self._lifetime_s)
        # A session that the provider ends at once has told its listener why.
        with suppress(OSError, ConnectionClosed):
            connection.session.update(session=setup, event_id=_SESSION_UPDATE)
        return session


class _Session:
    """A connection and its listener, which hands each event to the reading it belongs to."""

    def __init__(self, connection: RealtimeConnection, *, secret: str, ends_at: float) -> None:
        self.limits: Limits | None = None
        self._connection = connection
        self._secret = secret
        self._ends_at = ends_at
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._readings: dict[str, _Reading] = {}
        self._fault: SpeechError | None = None
        self._is_retired = False
        # Only the listener uses it: the API's response ids, as our numbers.
        self._number_of: dict[str | None, str] = {}
        threading.Thread(target=self._listen, name="realtime", daemon=True).start()

    def is_usable(self, now: float) -> bool:
        """Whether it may take new work at `now` (seconds, monotonic)."""
        return self._fault is None and now < self._ends_at

    def expect(self) -> _Reading:
        """A new reading that gets its events, and keeps the session open, from now on."""
        with self._lock:
            number = str(next(self._numbers))
            reading = self._readings[number] = _Reading(self, number)
            if self._fault:
                reading.parts.put(self._fault)
        return reading

    def send(self, number: str, response: Any) -> None:
        """Ask for one reading. Raises `ConnectionClosed` or `OSError` if it isn't sent."""
        asked: Any = {**response, "metadata": {"utterance": number}}
        self._connection.response.create(response=asked, event_id=number)

    def forget(self, number: str) -> None:
        """No one waits for this reading any more."""
        with self._lock:
            self._readings.pop(number, None)
            is_over = self._is_retired and not self._readings
        if is_over:
            self.close()

    def retire(self) -> None:
        """Close as soon as what is in flight has ended."""
        with self._lock:
            self._is_retired = True
            is_over = not self._readings
        if is_over:
            self.close()

    def close(self) -> None:
        self._connection.close()

    def fault_of(self, error: RealtimeError | ResponseFault) -> SpeechError:
        """What the API's account of an error means; it knows no HTTP status."""
        status = _STATUS.get(error.code or "") or _STATUS.get(error.type or "", 500)
        return refusal(status, error.to_dict(), {}, secret=self._secret)

    def _listen(self) -> None:
        told = "closed by the provider"
        try:
            for event in self._connection:
                self._take(event)
        except Exception as error:  # whatever ends the listening, no one may wait on
            told = shown(_told(error), self._secret)
        self._end(_lost(told))

    def _take(self, event: RealtimeServerEvent) -> None:
        match event:
            case ResponseCreatedEvent(response=response):
                self._number_of[response.id] = (response.metadata or {}).get("utterance", "")
            case ResponseAudioDeltaEvent():
                self._hand(self._number_of.get(event.response_id), base64.b64decode(event.delta))
            case ResponseAudioTranscriptDoneEvent():
                self._hand(self._number_of.get(event.response_id), event.transcript)
            case ResponseDoneEvent(response=response):
                self._hand(self._number_of.pop(response.id, None), response)
            case RateLimitsUpdatedEvent():
                self.limits = _limits(event)
            case RealtimeErrorEvent(error=error):
                self._complain(error)
            case _:
                pass

    def _hand(self, number: str | None, part: _Part) -> None:
        with self._lock:
            reading = self._readings.get(number or "")
        if reading:
            reading.parts.put(part)

    def _complain(self, error: RealtimeError) -> None:
        if error.code == "session_expired":
            self._end(_lost(error.message))
        elif error.event_id in (None, _SESSION_UPDATE):
            # Without its settings a session would speak with the wrong voice.
            self._end(_of_session(self.fault_of(error)))
        else:
            self._hand(error.event_id, self.fault_of(error))

    def _end(self, fault: SpeechError) -> None:
        with self._lock:
            if self._fault:
                return
            self._fault = fault
            readings = list(self._readings.values())
        for reading in readings:
            reading.parts.put(fault)
        self.close()


class _Reading:
    """One utterance in flight."""

    def __init__(self, session: _Session, number: str) -> None:
        self.parts: SimpleQueue[_Part] = SimpleQueue()
        self._session = session
        self._number = number

    def finish(self, response: Any, timeout_s: float) -> Speech:
        """Ask for it and gather the answer, `timeout_s` at most between two parts."""
        try:
            self._ask(response, timeout_s)
            return self._gather(timeout_s)
        except SpeechError as error:
            error.limits = error.limits or self._session.limits
            raise
        finally:
            self._session.forget(self._number)

    def _ask(self, response: Any, timeout_s: float) -> None:
        try:
            self._session.send(self._number, response)
        except (OSError, ConnectionClosed):
            # The listener learns why the session ended, perhaps a moment later.
            fault = self._next(timeout_s)
            if isinstance(fault, SpeechError) and not isinstance(fault, NetworkFault):
                raise copy.copy(fault) from None
            raise NetworkFault(
                "The session ended before the text was sent. It is asked again in a new one.",
                maybe_billed=False,
            ) from None

    def _gather(self, timeout_s: float) -> Speech:
        pcm, words = bytearray(), list[str]()
        while True:
            match self._next(timeout_s):
                case bytes() as sound:
                    pcm += sound
                case str() as transcript:
                    words.append(transcript)
                case RealtimeResponse() as response:
                    return self._speech(bytes(pcm), " ".join(words), response)
                case fault:
                    # One fault may end many readings, and raising writes on it.
                    raise copy.copy(fault)

    def _next(self, timeout_s: float) -> _Part:
        try:
            return self.parts.get(timeout=timeout_s)
        except Empty:
            raise _lost(f"nothing came for {timeout_s:g} s") from None

    def _speech(self, pcm: bytes, transcript: str, response: RealtimeResponse) -> Speech:
        if response.status != "completed" or not pcm:
            raise self._unspoken(response)
        return Speech(
            mp3=_mp3(pcm),
            request_id=response.id,
            transcript=transcript,
            usage=_billed(response.usage),
            limits=self._session.limits,
        )

    def _unspoken(self, response: RealtimeResponse) -> SpeechError:
        details = response.status_details
        if details and details.error:
            return self._session.fault_of(details.error)
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


def _billed(usage: RealtimeResponseUsage | None) -> Usage | None:
    details = usage.output_token_details if usage else None
    if usage is None or details is None or details.audio_tokens is None:
        return None
    return Usage(
        audio_out=details.audio_tokens,
        text_in=usage.input_tokens or 0,
        text_out=(usage.output_tokens or details.audio_tokens) - details.audio_tokens,
    )


def _of_session(fault: SpeechError) -> SpeechError:
    """No text is to blame for a session that can't start."""
    return Misconfigured(str(fault)) if isinstance(fault, UtteranceRefused) else fault


def _lost(told: str) -> NetworkFault:
    return NetworkFault(
        f"No whole answer came in the session ({told}). It may be billed, and is asked again."
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _limits(event: RateLimitsUpdatedEvent) -> Limits | None:
    for limit in event.rate_limits:
        if limit.name == "requests":
            return Limits(
                requests_per_minute=limit.limit or None,
                remaining_requests=limit.remaining,
                reset_s=limit.reset_seconds,
            )
    return None


def _require_encoder() -> None:
    try:
        import lameenc  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError:
        raise Misconfigured(
            "The realtime route answers in PCM and needs an MP3 encoder. "
            "Install the package lameenc, or choose another TTS_PROVIDER."
        ) from None


def _mp3(pcm: bytes) -> bytes:
    import lameenc  # lazily: only this route needs it

    encoder = lameenc.Encoder()
    encoder.set_bit_rate(MP3_KBIT_S)
    encoder.set_in_sample_rate(SAMPLE_RATE_HZ)
    encoder.set_channels(1)
    encoder.set_quality(5)
    encoder.silence()
    return bytes(encoder.encode(pcm)) + bytes(encoder.flush())
