"""The real client over a WebSocket, against a server that follows the test's script.

What every route does alike is in test_speech_contract.py.
"""

from __future__ import annotations

import base64
import json
import math
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import miniaudio
import openai
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

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
from memolist_tts.speech import realtime, requests
from memolist_tts.speech.client import open_client
from memolist_tts.speech.realtime import TEXTS, RealtimeSpeaker

KEY = "sk-proj-abcdefgh12345678"
PATIENCE_S = 5.0
SOON_S = 0.2
"""How long a test waits for what never comes."""

Event = dict[str, Any]


class Provider:
    """A realtime server. `answer` is given each response.create and sends what it likes."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.heard = threading.Condition()
        self.sessions: list[Event] = []
        self.asked: list[Event] = []
        """Each response.create, with the number of its session under "session"."""
        self.cancelled: list[str] = []
        self.closed: list[int | None] = []
        """The code with which each session that ended was closed."""
        self.paths: list[str] = []
        self.answer: Callable[[ServerConnection, Event], None] = spoken
        self.on_update: Callable[[ServerConnection, Event], None] = updated
        self.refusal: tuple[int, str] | None = None
        self.farewell: Event | None = None
        self.server: Server = serve(
            self._talk, "127.0.0.1", 0, process_request=self._greet, ssl=tls
        )
        self.port = self.server.socket.getsockname()[1]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Provider:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()

    def waits_for(self, what: list[Any], count: int) -> bool:
        """Whether `what` gets `count` entries in time."""
        with self.heard:
            return self.heard.wait_for(lambda: len(what) >= count, PATIENCE_S)

    def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        return connection.respond(*self.refusal) if self.refusal else None

    def _talk(self, connection: ServerConnection) -> None:
        if self.farewell:
            send(connection, **self.farewell)
            connection.close(4000, "invalid_request_error")
        with suppress(ConnectionClosed):
            if not self.farewell:
                send(connection, type="session.created", session={})
            for message in connection:
                self._hear(connection, json.loads(message))
        self._note(self.closed, connection.close_code)

    def _hear(self, connection: ServerConnection, event: Event) -> None:
        answer = self.answer  # as it is before anyone can know of the event
        match event["type"]:
            case "session.update":
                self._note(self.sessions, event)
                self.on_update(connection, event)
            case "response.cancel":
                self._note(self.cancelled, event["response_id"])
            case _:
                self._note(self.asked, {**event, "session": connection.id})
                answer(connection, event)

    def _note(self, what: list[Any], entry: object) -> None:
        with self.heard:
            what.append(entry)
            self.heard.notify_all()


def send(connection: ServerConnection, **event: object) -> None:
    connection.send(json.dumps({"event_id": "e", **event}))


def updated(connection: ServerConnection, event: Event) -> None:
    send(connection, type="session.updated", session=event["session"])


def text_of(event: Event) -> str:
    return str(event["response"]["input"][0]["content"][0]["text"])


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
    words = text_of(event)
    told = {"response_id": response_id, "transcript": words}
    send(connection, type="response.output_audio_transcript.done", **told)
    usage = {"input_tokens": 80, "output_tokens": 19, "output_token_details": {"audio_tokens": 10}}
    finish(connection, response_id, usage=usage)


def refused(**error: object) -> Event:
    return {"type": "error", "error": {"message": "No.", "type": "invalid_request_error", **error}}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def client(provider: Provider) -> Iterator[openai.OpenAI]:
    with open_client(KEY, base_url=provider.url, max_in_flight=1) as client:
        yield client


@pytest.fixture
def speaker(client: openai.OpenAI) -> Iterator[RealtimeSpeaker]:
    speaker = RealtimeSpeaker(client)
    yield speaker
    speaker.rest()


def request_for(text: str, voice: str = "cedar") -> dict[str, Any]:
    how = Voice(language="fr", model="gpt-realtime-2.1-mini", name=voice)
    return dict(requests.realtime(text, how, identity="openai-realtime"))


def speak(
    speaker: RealtimeSpeaker, text: str, voice: str = "cedar", timeout_s: float = PATIENCE_S
) -> Speech:
    return speaker.speak(request_for(text, voice), timeout_s)


def spoken_at_once(speaker: RealtimeSpeaker, texts: list[str]) -> list[Speech]:
    """All of them, each on a thread of its own."""
    with ThreadPoolExecutor(len(texts)) as pool:
        return list(pool.map(lambda text: speak(speaker, text), texts))


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


# Many texts, few sessions


def test_many_texts_share_one_session_and_none_gets_anothers_audio(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    waiting: list[tuple[str, float]] = []

    def all_at_once(connection: ServerConnection, event: Event) -> None:
        text = text_of(event)
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


class Held:
    """A provider's answers, held back until `release`."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._held: list[tuple[ServerConnection, Event]] = []
        provider.answer = lambda connection, event: self._held.append((connection, event))

    def release(self) -> None:
        self._provider.answer = spoken
        for connection, event in self._held:
            spoken(connection, event)


def test_a_session_more_is_opened_for_each_so_many_texts(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    held, count = Held(provider), 2 * TEXTS + 1
    with ThreadPoolExecutor(count) as pool:
        texts = [pool.submit(speak, speaker, str(n)) for n in range(count)]
        assert provider.waits_for(provider.asked, count)
        held.release()
        said = {text.result().transcript for text in texts}

    sessions = [event["session"] for event in provider.asked]
    assert said == {str(n) for n in range(count)}
    assert sorted(sessions.count(each) for each in set(sessions)) == [1, TEXTS, TEXTS]


def test_beyond_the_most_sessions_each_takes_more_texts(
    provider: Provider, speaker: RealtimeSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime, "SESSIONS", 2)
    held, count = Held(provider), 2 * TEXTS + 4
    with ThreadPoolExecutor(count) as pool:
        texts = [pool.submit(speak, speaker, str(n)) for n in range(count)]
        assert provider.waits_for(provider.asked, count)
        held.release()
        assert len({text.result().transcript for text in texts}) == count

    assert len(provider.sessions) == 2


def test_a_session_that_is_slow_to_open_holds_up_nobody_else(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    go_on = threading.Event()

    def slow_for_marin(connection: ServerConnection, event: Event) -> None:
        if event["session"]["audio"]["output"]["voice"] == "marin":
            assert go_on.wait(PATIENCE_S)
        updated(connection, event)

    provider.on_update = slow_for_marin
    with ThreadPoolExecutor(TEXTS) as pool:
        waiting = [pool.submit(speak, speaker, str(n), "marin") for n in range(TEXTS)]
        assert provider.waits_for(provider.sessions, 1)

        assert speak(speaker, "le pain", "cedar").transcript == "le pain"

        assert [event["session"] for event in provider.asked] == [provider.asked[0]["session"]]
        go_on.set()
        assert {text.result().transcript for text in waiting} == {str(n) for n in range(TEXTS)}
    assert len(provider.sessions) == 2


def test_nothing_is_asked_before_the_session_has_its_voice(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    provider.on_update = lambda *_: None

    fault = failed(speaker, SOON_S)

    assert isinstance(fault, NetworkFault)
    assert not fault.maybe_billed
    assert "no session.updated" in str(fault)
    assert provider.asked == []


class Crowded:
    """Takes `most` texts at once in a session and refuses the others. Inside a `with` block
    it ends by and by what it took."""

    def __init__(self, provider: Provider, most: int, **error: object) -> None:
        self._most = most
        self._error = error
        self._lock = threading.Lock()
        self._begun: list[tuple[ServerConnection, str, Event]] = []
        self._is_over = threading.Event()
        self._ending = threading.Thread(target=self._end)
        self.refused = 0
        provider.answer = self._answer

    def __enter__(self) -> Crowded:
        self._ending.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._ending.join()

    def _answer(self, connection: ServerConnection, event: Event) -> None:
        with self._lock:
            if sum(whose is connection for whose, _, _ in self._begun) >= self._most:
                self.refused += 1
                send(connection, **refused(**{"event_id": event["event_id"], **self._error}))
            else:
                self._begun.append((connection, begin(connection, event), event))

    def _end(self) -> None:
        while not self._is_over.wait(0.02):
            with self._lock:
                for connection, response_id, event in self._begun:
                    sound(connection, response_id, 0.25)
                    told = {"response_id": response_id, "transcript": text_of(event)}
                    send(connection, type="response.output_audio_transcript.done", **told)
                    finish(connection, response_id)
                self._begun.clear()


@pytest.mark.parametrize(
    "error",
    [
        {"code": "conversation_already_has_active_response"},
        {"message": "Conversation already has an active response in progress: resp_1."},
        {"message": "Too many concurrent responses in this session."},
    ],
)
@pytest.mark.parametrize("most", [1, 3])
def test_a_session_gets_no_more_texts_at_once_than_the_api_takes(
    provider: Provider, speaker: RealtimeSpeaker, most: int, error: Event
) -> None:
    texts = [str(n) for n in range(12)]
    with Crowded(provider, most, **error) as crowded:
        said = [speech.transcript for speech in spoken_at_once(speaker, texts)]
        learnt = crowded.refused
        spoken_at_once(speaker, texts)

    assert said == texts
    assert 0 < learnt == crowded.refused
    # Each text was answered once and none was cancelled.
    assert len(provider.asked) == 2 * len(texts) + learnt
    assert provider.cancelled == []


def test_a_session_that_is_crowded_may_not_say_which_text_is_too_many(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    texts = [str(n) for n in range(12)]
    code = "conversation_already_has_active_response"
    with Crowded(provider, 2, code=code, event_id=None):
        said = [speech.transcript for speech in spoken_at_once(speaker, texts)]

    assert said == texts


def test_a_text_that_finds_no_place_in_time_is_a_throttle_and_was_not_sent(
    provider: Provider, speaker: RealtimeSpeaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realtime, "SESSIONS", 1)
    crowded = Crowded(provider, 1, code="conversation_already_has_active_response")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(speak, speaker, "le pain")
        assert provider.waits_for(provider.asked, 1)

        fault = failed(speaker, SOON_S)

        with crowded:
            assert first.result().transcript == "le pain"
    assert isinstance(fault, Throttled)
    assert "takes 1 texts at once" in str(fault)
    assert len(provider.asked) == 1 + crowded.refused


def test_a_session_that_is_crowded_with_nothing_in_it_is_a_throttle(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    Crowded(provider, 0, code="conversation_already_has_active_response")

    assert type(failed(speaker)) is Throttled
    assert len(provider.asked) == 1


# Ends of a session


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

    assert provider.waits_for(provider.closed, 1)
    assert len(provider.sessions) == 2
    speaker.rest()


def test_a_session_that_expires_with_a_text_in_it_fails_it_and_the_next_opens_anew(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    def expire(connection: ServerConnection, event: Event) -> None:
        begin(connection, event)
        told = "Your session hit the maximum duration of 60 minutes."
        send(connection, **refused(code="session_expired", message=told))
        connection.close(1001, told)

    provider.answer = expire
    fault = failed(speaker)
    provider.answer = spoken

    assert isinstance(fault, NetworkFault)
    assert fault.maybe_billed
    assert "maximum duration" in str(fault)
    assert speak(speaker, "le pain").transcript == "le pain"
    assert len(provider.sessions) == 2


def test_an_idle_session_that_has_ended_costs_no_text(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    connections: list[ServerConnection] = []

    def remember(connection: ServerConnection, event: Event) -> None:
        connections.append(connection)
        spoken(connection, event)

    provider.answer = remember
    speak(speaker, "le pain")
    connections[0].close(1001, "going away")
    assert provider.waits_for(provider.closed, 1)

    said = speak(speaker, "le chat").transcript

    assert said == "le chat"
    assert len(provider.asked) == 2


def test_rest_cancels_what_is_in_flight_and_says_goodbye(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    provider.answer = begin
    with ThreadPoolExecutor(1) as pool:
        fault = pool.submit(failed, speaker)
        assert provider.waits_for(provider.asked, 1)
        # The provider's word that the answer has begun must have arrived.
        provider.answer = spoken
        speak(speaker, "le chat")
        speaker.rest()

    assert isinstance(fault.result(), NetworkFault)
    assert "the run is over" in str(fault.result())
    assert provider.waits_for(provider.closed, 1)
    assert provider.cancelled == ["resp_1"]
    assert provider.closed == [1000]
    assert speak(speaker, "le pain").transcript == "le pain"
    assert len(provider.sessions) == 2


def test_rest_also_ends_a_session_that_is_still_opening(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    provider.on_update = lambda *_: None
    with ThreadPoolExecutor(1) as pool:
        fault = pool.submit(failed, speaker)
        assert provider.waits_for(provider.sessions, 1)
        speaker.rest()

    assert isinstance(fault.result(), NetworkFault)
    assert provider.waits_for(provider.closed, 1)
    assert provider.asked == []


def test_no_thread_and_no_connection_outlives_a_run(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    def run() -> int:
        spoken_at_once(speaker, [str(n) for n in range(2 * TEXTS)])
        speaker.rest()
        ours = [each for each in threading.enumerate() if each.name.startswith("realtime")]
        for each in ours:
            each.join(PATIENCE_S)
        assert provider.waits_for(provider.closed, len(provider.sessions))
        return sum(each.is_alive() for each in ours)

    left = [run() for _ in range(5)]

    assert left == [0] * 5
    assert set(provider.closed) == {1000}


class Line:
    """A TCP connection to the provider that can be frozen: nothing passes, nothing closes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self.is_frozen = threading.Event()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._ends):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                if not self.is_frozen.is_set():
                    target.sendall(data)


@pytest.fixture
def line(provider: Provider) -> Iterator[Line]:
    with Line(provider.port) as line:
        yield line


def test_a_dead_peer_is_noticed_by_its_missing_pong(provider: Provider, line: Line) -> None:
    provider.answer = lambda *_: line.is_frozen.set()
    with open_client(KEY, base_url=line.url, max_in_flight=1) as client:
        speaker = RealtimeSpeaker(client, keepalive_s=0.1)

        fault = failed(speaker, timeout_s=60)

        assert isinstance(fault, NetworkFault)
        assert fault.maybe_billed
        assert "keepalive ping timeout" in str(fault)
        line.is_frozen.clear()
        provider.answer = spoken
        assert speak(speaker, "le pain").transcript == "le pain"
        speaker.rest()


def test_rest_does_not_wait_for_a_dead_peer(line: Line) -> None:
    with open_client(KEY, base_url=line.url, max_in_flight=1) as client:
        speaker = RealtimeSpeaker(client)
        speak(speaker, "le pain")
        line.is_frozen.set()

        speaker.rest()

    goodbyes = [each for each in threading.enumerate() if each.name == "realtime-close"]
    for each in goodbyes:
        each.join(PATIENCE_S)
    assert not any(each.is_alive() for each in goodbyes)


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes a certificate with openssl")
def test_a_session_is_encrypted_and_trusts_whom_the_other_routes_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with (
        Provider(tls) as provider,
        open_client(KEY, base_url=provider.url, max_in_flight=1) as client,
    ):
        untrusted = failed(RealtimeSpeaker(client))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        speaker = RealtimeSpeaker(client)
        said = speak(speaker, "le pain").transcript
        speaker.rest()

    assert isinstance(untrusted, NetworkFault)
    assert "CERTIFICATE_VERIFY_FAILED" in str(untrusted)
    assert said == "le pain"


# Answers


def test_an_answer_nobody_waits_for_is_cancelled_and_reaches_no_other_text(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    late: list[str] = []

    def after_the_next(connection: ServerConnection, event: Event) -> None:
        if not late:
            late.append(begin(connection, event))
            return
        sound(connection, late[0], 2.0)
        finish(connection, late[0])
        spoken(connection, event)

    provider.answer = after_the_next
    fault = failed(speaker, SOON_S)

    assert isinstance(fault, NetworkFault)
    assert fault.maybe_billed
    assert provider.waits_for(provider.cancelled, 1)
    assert provider.cancelled == late
    speech = speak(speaker, "le chat")
    assert speech.transcript == "le chat"
    assert len(speech.mp3) // 384 * 0.024 < 0.7


def test_an_answer_that_begins_after_its_text_was_given_up_is_cancelled(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    held = Held(provider)
    failed(speaker, SOON_S)

    held.release()

    assert provider.waits_for(provider.cancelled, 1)
    assert provider.cancelled == ["resp_1"]


def test_a_text_has_one_answer_and_a_second_one_is_cancelled(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    def twice(connection: ServerConnection, event: Event) -> None:
        begin(connection, event)
        second = {"id": "resp_second", "metadata": event["response"]["metadata"]}
        send(connection, type="response.created", response=second)
        sound(connection, "resp_second", 3.0)
        finish(connection, "resp_second", metadata=event["response"]["metadata"])
        spoken(connection, event)

    provider.answer = twice

    assert len(speak(speaker, "le pain").mp3) // 384 * 0.024 < 0.7
    assert provider.waits_for(provider.cancelled, 1)
    assert provider.cancelled == ["resp_second"]


def test_an_answer_without_its_metadata_is_given_to_nobody(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    def unnamed(connection: ServerConnection, _: Event) -> None:
        send(connection, type="response.created", response={"id": "resp_x", "metadata": None})
        sound(connection, "resp_x", 0.5)
        finish(connection, "resp_x")

    provider.answer = unnamed

    fault = failed(speaker, SOON_S)

    assert isinstance(fault, NetworkFault)
    assert "an answer came without its metadata" in str(fault)
    assert provider.waits_for(provider.cancelled, 1)
    assert provider.cancelled == ["resp_x"]


STRANGE: dict[str, list[Event]] = {
    "an unknown type": [{"type": "response.output_hologram.delta", "delta": 1}],
    "a part of an unknown answer": [
        {"type": "response.output_audio.delta", "response_id": "resp_x", "delta": "AAAA"}
    ],
    "words of an unknown answer": [
        {
            "type": "response.output_audio_transcript.done",
            "response_id": "resp_x",
            "transcript": "no",
        }
    ],
    "the end of an unknown answer": [
        {"type": "response.done", "response": {"id": "resp_x", "status": "completed"}}
    ],
    "the end of an answer of that name": [
        {"type": "response.done", "response": {"id": "resp_x", "metadata": {"utterance": "7"}}}
    ],
    "an answer with other metadata": [
        {"type": "response.created", "response": {"id": "resp_x", "metadata": {"topic": "1"}}}
    ],
    "an answer without an id": [{"type": "response.created", "response": {}}],
    "an answer that begins twice": [
        {
            "type": "response.created",
            "response": {"id": "resp_1", "metadata": {"utterance": "1"}},
        }
    ],
    "limits without fields": [
        {"type": "rate_limits.updated", "rate_limits": [{}, {"name": "requests"}]},
        {"type": "rate_limits.updated", "rate_limits": None},
        {"type": "rate_limits.updated"},
    ],
    "limits of other types": [
        {
            "type": "rate_limits.updated",
            "rate_limits": [{"name": "requests", "limit": "many", "remaining": {}}],
        },
        {"type": "rate_limits.updated", "rate_limits": [{"name": "requests", "remaining": -1}]},
    ],
    "an error about a cancel": [
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "code": "response_cancel_not_active"},
        },
        {"type": "error", "error": {"type": "invalid_request_error", "event_id": "cancel"}},
    ],
    "an error about a text nobody waits for": [
        {"type": "error", "error": {"type": "invalid_request_error", "event_id": "99"}}
    ],
    "the session once more": [{"type": "session.updated"}, {"type": "session.created"}],
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_event_does_no_harm(
    provider: Provider, speaker: RealtimeSpeaker, name: str
) -> None:
    def strange(connection: ServerConnection, event: Event) -> None:
        for each in STRANGE[name]:
            send(connection, **each)
        spoken(connection, event)
        for each in STRANGE[name]:
            send(connection, **each)

    provider.answer = strange

    speeches = [speak(speaker, text) for text in ("le pain", "le chat")]

    assert [speech.transcript for speech in speeches] == ["le pain", "le chat"]
    assert {len(speech.mp3) for speech in speeches} == {len(speeches[0].mp3)}
    assert [speech.limits for speech in speeches] == [
        Limits(requests_per_minute=200, remaining_requests=199, reset_s=0.3)
    ] * 2
    assert len(provider.sessions) == 1


def test_limits_of_tokens_alone_are_none(provider: Provider, speaker: RealtimeSpeaker) -> None:
    def tokens_alone(connection: ServerConnection, event: Event) -> None:
        pace = [{"name": "tokens", "limit": 40_000, "remaining": 1, "reset_seconds": 1.0}]
        send(connection, type="rate_limits.updated", rate_limits=pace)
        response_id = begin(connection, event)
        sound(connection, response_id, 0.5)
        finish(connection, response_id)

    provider.answer = tokens_alone

    assert speak(speaker, "le pain").limits is None


def missing_its_beginning(connection: ServerConnection, event: Event) -> None:
    sound(connection, f"resp_{event['event_id']}", 0.5)
    spoken(connection, event)


def without_a_beginning(connection: ServerConnection, event: Event) -> None:
    sound(connection, "resp_1", 0.5)
    finish(connection, "resp_1", metadata=event["response"]["metadata"])


def of_half_a_sample(connection: ServerConnection, event: Event) -> None:
    response_id = begin(connection, event)
    delta = {"response_id": response_id, "delta": base64.b64encode(bytes(4801)).decode()}
    send(connection, type="response.output_audio.delta", **delta)
    finish(connection, response_id)


def that_is_no_base64(connection: ServerConnection, event: Event) -> None:
    response_id = begin(connection, event)
    for delta in ("A", None):
        send(connection, type="response.output_audio.delta", response_id=response_id, delta=delta)
    spoken(connection, event)


@pytest.mark.parametrize(
    "answer",
    [missing_its_beginning, without_a_beginning, of_half_a_sample, that_is_no_base64],
)
def test_audio_that_isnt_whole_is_not_given_out(
    provider: Provider,
    speaker: RealtimeSpeaker,
    answer: Callable[[ServerConnection, Event], None],
) -> None:
    provider.answer = answer
    fault = failed(speaker)
    provider.answer = spoken

    assert isinstance(fault, NetworkFault | ProviderBusy)
    assert speak(speaker, "le pain").transcript == "le pain"
    assert len(provider.sessions) == 1


def test_an_event_that_cant_be_read_ends_the_session(
    provider: Provider, speaker: RealtimeSpeaker
) -> None:
    provider.answer = lambda connection, _: connection.send("{")

    fault = failed(speaker)

    assert isinstance(fault, NetworkFault)
    assert fault.maybe_billed
    assert provider.waits_for(provider.closed, 1)


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
    assert provider.waits_for(provider.closed, 1)


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


def test_without_an_encoder_the_route_is_refused_before_anything_is_paid(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lameenc", None)

    with pytest.raises(Misconfigured, match="Install the package lameenc"):
        RealtimeSpeaker(client)
