"""The real client over a WebSocket, against a server that follows the test's script."""

from __future__ import annotations

import base64
import json
import math
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import miniaudio
import openai
import pytest
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from memolist_tts.core.errors import (
    KeyRefused,
    Misconfigured,
    NetworkFault,
    OutOfMoney,
    ProviderBusy,
    SpeechError,
    Throttled,
    UtteranceRefused,
)
from memolist_tts.core.model import Limits, Speech, Voice
from memolist_tts.core.prices import Usage
from memolist_tts.speech import requests
from memolist_tts.speech.client import open_client
from memolist_tts.speech.realtime import RealtimeSpeaker

KEY = "sk-proj-abcdefgh12345678"
PATIENCE_S = 5.0
SOON_S = 0.2
"""How long a test waits for what never comes."""

Event = dict[str, Any]


class Provider:
    """A realtime server. `answer` is given each response.create and sends what it likes."""

    def __init__(self) -> None:
        self.sessions: list[Event] = []
        self.asked: list[Event] = []
        self.paths: list[str] = []
        self.answer: Callable[[ServerConnection, Event], None] = spoken
        self.on_update: Callable[[ServerConnection, Event], None] = lambda *_: None
        self.refusal: tuple[int, str] | None = None
        self.farewell: Event | None = None
        self.closed = threading.Semaphore(0)
        self.server = serve(self._talk, "127.0.0.1", 0, process_request=self._greet)
        self.url = f"http://127.0.0.1:{self.server.socket.getsockname()[1]}/v1"

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        return connection.respond(*self.refusal) if self.refusal else None

    def _talk(self, connection: ServerConnection) -> None:
        if self.farewell:
            send(connection, **self.farewell)
            connection.close(4000, "invalid_request_error")
        else:
            send(connection, type="session.created", session={})
        for message in connection:
            event = json.loads(message)
            if event["type"] == "session.update":
                self.sessions.append(event)
                self.on_update(connection, event)
            else:
                self.asked.append(event)
                self.answer(connection, event)
        self.closed.release()


def send(connection: ServerConnection, **event: object) -> None:
    connection.send(json.dumps({"event_id": "e", **event}))


def begin(connection: ServerConnection, event: Event) -> str:
    """Tell that a response was created; its id."""
    number = event["response"]["metadata"]["utterance"]
    response = {"id": f"resp_{number}", "metadata": {"utterance": number}}
    send(connection, type="response.created", response=response)
    return f"resp_{number}"


def sound(connection: ServerConnection, response_id: str, seconds: float) -> None:
    samples = array("h", (int(8000 * math.sin(i / 10)) for i in range(int(seconds * 24_000))))
    delta = base64.b64encode(samples.tobytes()).decode()
    send(connection, type="response.output_audio.delta", response_id=response_id, delta=delta)


def finish(connection: ServerConnection, response_id: str, **more: object) -> None:
    response = {"id": response_id, "status": "completed", **more}
    send(connection, type="response.done", response=response)


def spoken(connection: ServerConnection, event: Event) -> None:
    """Half a second of sound in two parts, the words, usage, and the pace."""
    response_id = begin(connection, event)
    pace = [
        {"name": "tokens", "limit": 40_000, "remaining": 1, "reset_seconds": 1.0},
        {"name": "requests", "limit": 200, "remaining": 199, "reset_seconds": 0.3},
    ]
    send(connection, type="rate_limits.updated", rate_limits=pace)
    send(connection, type="response.something.new", response_id=response_id)
    for _ in range(2):
        sound(connection, response_id, 0.25)
    words = event["response"]["input"][0]["content"][0]["text"]
    told = {"response_id": response_id, "transcript": words}
    send(connection, type="response.output_audio_transcript.done", **told)
    usage = {"input_tokens": 80, "output_tokens": 19, "output_token_details": {"audio_tokens": 10}}
    finish(connection, response_id, usage=usage)


def refused(**error: object) -> Event:
    return {"type": "error", "error": {"message": "No.", "type": "invalid_request_error", **error}}


@pytest.fixture
def provider() -> Iterator[Provider]:
    provider = Provider()
    with provider.server:
        threading.Thread(target=provider.server.serve_forever, daemon=True).start()
        yield provider


@pytest.fixture
def client(provider: Provider) -> Iterator[openai.OpenAI]:
    with open_client(KEY, base_url=provider.url, max_in_flight=1) as client:
        yield client


@pytest.fixture
def speaker(client: openai.OpenAI) -> Iterator[RealtimeSpeaker]:
    speaker = RealtimeSpeaker(client)
    yield speaker
    speaker.close()


def speak(
    speaker: RealtimeSpeaker, text: str, voice: str = "cedar", timeout_s: float = PATIENCE_S
) -> Speech:
    how = Voice(language="fr", model="gpt-realtime-2.1-mini", name=voice)
    request = requests.realtime(text, how, identity="openai-realtime")
    return speaker.speak(request, timeout_s)


def failed(speaker: RealtimeSpeaker, timeout_s: float = PATIENCE_S) -> SpeechError:
    with pytest.raises(SpeechError) as caught:
        speak(speaker, "le pain", timeout_s=timeout_s)
    return caught.value


def test_a_text_comes_back_as_mp3_with_words_tokens_id_and_pace(speaker: RealtimeSpeaker) -> None:
    speech = speak(speaker, "le pain")

    info, decoded = miniaudio.mp3_get_info(speech.mp3), miniaudio.decode(speech.mp3)
    assert speech.mp3[:3].hex() == "fff3c4"  # MPEG-2, layer III, 128 kbit/s, 24 kHz
    assert (info.sample_rate, info.nchannels) == (24_000, 1)
    assert max(decoded.samples) > 6000
    assert 0.5 <= len(speech.mp3) // 384 * 0.024 < 0.6
    assert (speech.transcript, speech.request_id) == ("le pain", "resp_1")
    assert speech.usage == Usage(audio_out=10, text_in=80, text_out=9)
    assert speech.limits == Limits(requests_per_minute=200, remaining_requests=199, reset_s=0.3)


def test_what_is_sent_is_the_request_and_a_number(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    voice = Voice(language="fr", model="gpt-realtime-2.1-mini", name="cedar", speed=0.85)
    request = requests.realtime("le pain", voice, identity="openai-realtime")

    speaker.speak(request, PATIENCE_S)

    asked = provider.asked[0]["response"]
    assert provider.paths == ["/v1/realtime?model=gpt-realtime-2.1-mini"]
    assert [event["session"] for event in provider.sessions] == [request["session"]]
    assert asked.pop("metadata") == {"utterance": "1"}
    assert asked == request["response"]


def test_many_texts_share_one_session_and_none_gets_anothers_audio(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    waiting: list[tuple[str, float]] = []

    def all_at_once(connection: ServerConnection, event: Event) -> None:
        text = event["response"]["input"][0]["content"][0]["text"]
        waiting.append((begin(connection, event), float(text)))
        if len(waiting) < 8:
            return
        for response_id, seconds in waiting * 2:
            sound(connection, response_id, seconds)
        for response_id, _ in reversed(waiting):
            finish(connection, response_id)

    provider.answer = all_at_once
    texts = [f"0.{number}" for number in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        clips = list(pool.map(lambda text: speak(speaker, text).mp3, texts))

    durations_s = [len(clip) // 384 * 0.024 for clip in clips]
    assert durations_s == pytest.approx([2 * float(text) for text in texts], abs=0.1)
    assert len(provider.sessions) == 1


def test_each_voice_has_a_session_of_its_own(provider: Provider, speaker: RealtimeSpeaker) -> None:
    for voice in ("cedar", "marin", "cedar", "marin"):
        speak(speaker, "le pain", voice)

    outputs = [event["session"]["audio"]["output"] for event in provider.sessions]
    assert [output["voice"] for output in outputs] == ["cedar", "marin"]


def test_a_lost_connection_fails_all_in_flight_as_maybe_billed_and_the_next_opens_anew(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    def hang_up_on_the_second(connection: ServerConnection, event: Event) -> None:
        begin(connection, event)
        if len(provider.asked) == 2:
            connection.close(1011, "going down")

    provider.answer = hang_up_on_the_second
    with ThreadPoolExecutor(2) as pool:
        lost = [fault.result() for fault in [pool.submit(failed, speaker) for _ in range(2)]]
    provider.answer = spoken

    assert [type(fault) for fault in lost] == [NetworkFault] * 2
    assert all(isinstance(fault, NetworkFault) and fault.maybe_billed for fault in lost)
    assert "going down" in str(lost[0])
    assert lost[0] is not lost[1]
    assert speak(speaker, "le pain").transcript == "le pain"
    assert len(provider.sessions) == 2


def test_a_session_past_its_life_ends_once_its_last_text_is_spoken(
    provider: Provider, client: openai.OpenAI
) -> None:
    speaker = RealtimeSpeaker(client, lifetime_s=0)
    first_asked, go_on = threading.Event(), threading.Event()

    def hold_the_first(connection: ServerConnection, event: Event) -> None:
        if len(provider.asked) == 1:
            first_asked.set()
            assert go_on.wait(PATIENCE_S)
        spoken(connection, event)

    provider.answer = hold_the_first
    with ThreadPoolExecutor(1) as pool:
        first: Future[Speech] = pool.submit(speak, speaker, "le pain")
        assert first_asked.wait(PATIENCE_S)
        assert speak(speaker, "le chat").transcript == "le chat"
        go_on.set()
        assert first.result().transcript == "le pain"

    assert provider.closed.acquire(timeout=PATIENCE_S)
    assert len(provider.sessions) == 2
    speaker.close()


def test_closing_fails_what_is_in_flight(provider: Provider, speaker: RealtimeSpeaker) -> None:
    asked = threading.Event()
    provider.answer = lambda *_: asked.set()
    with ThreadPoolExecutor(1) as pool:
        fault = pool.submit(failed, speaker)
        assert asked.wait(PATIENCE_S)
        speaker.close()

    assert isinstance(fault.result(), NetworkFault)


def test_an_answer_that_never_comes_may_be_billed(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    provider.answer = lambda *_: None

    fault = failed(speaker, SOON_S)

    assert isinstance(fault, NetworkFault)
    assert fault.maybe_billed


def test_a_late_answer_reaches_no_other_text(provider: Provider, speaker: RealtimeSpeaker) -> None:
    late: list[str] = []

    def after_the_next(connection: ServerConnection, event: Event) -> None:
        if not late:
            late.append(begin(connection, event))
            return
        sound(connection, late[0], 2.0)
        finish(connection, late[0])
        spoken(connection, event)

    provider.answer = after_the_next
    failed(speaker, SOON_S)

    assert speak(speaker, "le chat").transcript == "le chat"


def test_an_event_that_cant_be_read_ends_the_session(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    provider.answer = lambda connection, _: connection.send("{")

    fault = failed(speaker)

    assert isinstance(fault, NetworkFault)
    assert fault.maybe_billed
    assert provider.closed.acquire(timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        ({"status": "completed"}, ProviderBusy),
        ({"status": "cancelled", "status_details": {"reason": "client_cancelled"}}, ProviderBusy),
        ({"status": "incomplete", "status_details": {"reason": "max_output_tokens"}}, ProviderBusy),
        (
            {"status": "incomplete", "status_details": {"reason": "content_filter"}},
            UtteranceRefused,
        ),
        ({"status": "failed"}, ProviderBusy),
        ({"status": "failed", "status_details": {"error": {"type": "server_error"}}}, ProviderBusy),
        ({"status": "failed", "status_details": {"error": {"type": "new_kind"}}}, ProviderBusy),
        (
            {"status": "failed", "status_details": {"error": {"code": "rate_limit_exceeded"}}},
            Throttled,
        ),
        (
            {"status": "failed", "status_details": {"error": {"code": "insufficient_quota"}}},
            OutOfMoney,
        ),
        (
            {"status": "failed", "status_details": {"error": {"type": "invalid_request_error"}}},
            UtteranceRefused,
        ),
    ],
)
def test_an_answer_that_did_not_complete_is_an_error_by_its_cause(
    provider: Provider, speaker: RealtimeSpeaker, ending: Event, expected: type[SpeechError]
) -> None:
    provider.answer = lambda connection, event: finish(
        connection, begin(connection, event), **ending
    )

    assert type(failed(speaker)) is expected


def test_audio_that_did_not_complete_is_not_given_out(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    def cut(connection: ServerConnection, event: Event) -> None:
        response_id = begin(connection, event)
        sound(connection, response_id, 1.0)
        details = {"reason": "max_output_tokens"}
        finish(connection, response_id, status="incomplete", status_details=details)

    provider.answer = cut

    assert "max_output_tokens" in str(failed(speaker))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"param": "response.input"}, UtteranceRefused),
        ({"param": "response.audio.output.voice"}, Misconfigured),
        ({"code": "rate_limit_exceeded"}, Throttled),
        ({"type": "server_error"}, ProviderBusy),
        ({"code": "billing_hard_limit_reached"}, OutOfMoney),
    ],
)
def test_an_error_event_fails_its_own_text_and_the_session_goes_on(
    provider: Provider, speaker: RealtimeSpeaker, error: Event, expected: type[SpeechError]
) -> None:
    provider.answer = lambda connection, event: send(
        connection, **refused(event_id=event["event_id"], **error)
    )
    fault = failed(speaker)
    provider.answer = spoken

    assert type(fault) is expected
    assert speak(speaker, "le pain").transcript == "le pain"
    assert len(provider.sessions) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"param": "session.audio.output.speed"}, Misconfigured),
        ({"param": "session.audio.output.voice"}, Misconfigured),
        ({"code": "model_not_found"}, Misconfigured),
        ({"code": "invalid_api_key"}, KeyRefused),
        ({"code": "insufficient_quota"}, OutOfMoney),
        ({"type": "server_error"}, ProviderBusy),
        ({"code": "session_expired"}, NetworkFault),
    ],
)
@pytest.mark.parametrize("event_id", [None, "session"])
def test_an_error_of_the_session_speaks_with_no_other_voice_and_blames_no_text(
    provider: Provider,
    speaker: RealtimeSpeaker,
    error: Event,
    expected: type[SpeechError],
    event_id: str | None,
) -> None:
    provider.on_update = lambda connection, _: send(
        connection, **refused(event_id=event_id, **error)
    )
    provider.answer = lambda *_: None

    fault = failed(speaker)

    assert type(fault) is expected
    assert provider.closed.acquire(timeout=PATIENCE_S)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"code": "model_not_found"}, Misconfigured),
        ({"code": "invalid_api_key"}, KeyRefused),
        ({"code": "insufficient_quota"}, OutOfMoney),
    ],
)
def test_a_session_that_is_ended_at_once_tells_why(
    provider: Provider, speaker: RealtimeSpeaker, error: Event, expected: type[SpeechError]
) -> None:
    provider.farewell = refused(**error)

    assert type(failed(speaker)) is expected


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, '{"error": {"message": "Bad key"}}', KeyRefused),
        (403, "", KeyRefused),
        (404, "Not Found", Misconfigured),
        (400, '{"error": {"message": "Bad request"}}', Misconfigured),
        (429, '{"error": {"message": "Slow down"}}', Throttled),
        (429, '{"error": {"code": "insufficient_quota"}}', OutOfMoney),
        (503, "<html>down</html>", ProviderBusy),
    ],
)
def test_a_session_refused_at_the_door_is_an_error_by_its_cause(
    provider: Provider,
    speaker: RealtimeSpeaker,
    status: int,
    body: str,
    expected: type[SpeechError],
) -> None:
    provider.refusal = (status, body)

    assert type(failed(speaker)) is expected


def test_a_server_that_is_not_there_bills_nothing(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    provider.server.shutdown()

    fault = failed(speaker)

    assert isinstance(fault, NetworkFault)
    assert not fault.maybe_billed


def test_the_key_is_never_shown_even_if_the_provider_echoes_it(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    provider.refusal = (401, json.dumps({"error": {"message": f"Incorrect key: {KEY}"}}))

    message = str(failed(speaker))

    assert "Incorrect key" in message
    assert KEY not in message


def test_without_an_encoder_the_route_is_refused_before_anything_is_paid(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lameenc", None)

    with pytest.raises(Misconfigured, match="Install the package lameenc"):
        RealtimeSpeaker(client)
