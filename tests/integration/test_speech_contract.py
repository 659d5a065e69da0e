"""One contract for the three routes to speech: the worker's own wiring, the local provider."""

from __future__ import annotations

import random
import threading
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from local.postgres import free_port
from local.speech import SpeechServer
from memolist_tts.assemble import Worker
from memolist_tts.core.errors import (
    KeyRefused,
    Misconfigured,
    NetworkFault,
    OutOfMoney,
    ProviderBusy,
    SpeechError,
    Throttled,
    TryAgain,
    UtteranceRefused,
)
from memolist_tts.core.model import Options, Speech
from memolist_tts.core.mp3 import walk
from memolist_tts.core.verdict import FaultCode, judge
from memolist_tts.settings import Needs, Settings

KEY = "sk-proj-abcdefgh12345678"
TEXT = "The bread is on the table."
ROUTES = ("endpoint", "chat", "realtime")
READERS = ("chat", "realtime")
"""Models that read aloud, and so could do something else."""
PATIENCE_S, SOON_S = 20.0, 0.5


@dataclass
class Route:
    """One way to speech, as a worker has it under these settings."""

    name: str
    server: SpeechServer
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain = {
            "TTS_PROVIDER": self.name,
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": self.server.base_url,
        }
        self.worker = Worker(Settings.load(Needs.SPEECH, environ=plain | self.settings))

    def with_settings(self, **settings: str) -> Route:
        return Route(self.name, self.server, settings)

    def speak(
        self, text: str = TEXT, language: str = "en", timeout_s: float = PATIENCE_S
    ) -> Speech:
        request = self.worker.request(text, self.worker.voice(language, Options()))
        return self.worker.speaker().speak(request, timeout_s)

    def failed(self, text: str = TEXT, timeout_s: float = PATIENCE_S) -> SpeechError:
        with pytest.raises(SpeechError) as caught:
            self.speak(text, timeout_s=timeout_s)
        return caught.value

    @property
    def asked(self) -> list[str]:
        """Every text that the provider was asked for, refused or not."""
        return [seen.input for seen in self.server.requests if seen.input is not None]

    @property
    def charged(self) -> list[str]:
        return [charge.input for charge in self.server.charges]


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest, speech_server: SpeechServer) -> Iterator[Route]:
    route = Route(request.param, speech_server)
    yield route
    speech_server.clear_faults()
    if "speakers" in route.worker.__dict__:
        route.worker.speaker().rest()


readers = pytest.mark.parametrize("route", READERS, indirect=True)


# Speech


@pytest.mark.parametrize(("language", "text"), [("en", TEXT), ("fr", "Le pain est sur la table.")])
def test_a_text_is_spoken_once_in_its_language_as_sound_mp3(
    route: Route, language: str, text: str
) -> None:
    speech = route.speak(text, language)

    verdict = judge(speech.mp3, text, transcript=speech.transcript)
    assert (verdict.hard, verdict.soft) == ((), ())
    assert -35 < verdict.active_dbfs < -12
    assert [charge.language for charge in route.server.charges] == [language]
    assert route.asked == [text]


def test_an_answer_carries_its_id_and_the_pace(route: Route) -> None:
    route.server.set_limits(requests_per_minute=500)

    speech = route.speak()

    assert speech.request_id == route.server.charges[0].request_id
    assert speech.limits is not None
    assert (speech.limits.requests_per_minute, speech.limits.remaining_requests) == (500, 499)
    assert speech.limits.reset_s == pytest.approx(60 / 500, abs=0.05)


def test_a_model_that_reads_tells_its_words_and_its_cost(route: Route) -> None:
    speech = route.speak()

    if route.name in READERS:
        assert speech.transcript == TEXT
        assert speech.usage is not None
        assert 50 * speech.usage.audio_out == pytest.approx(walk(speech.mp3).duration_ms, abs=150)
        assert speech.usage.text_in > len(TEXT) / 5
        assert speech.usage.text_out > 0
    else:
        assert (speech.transcript, speech.usage) == (None, None)


def test_voice_and_speed_are_the_settings(route: Route) -> None:
    speed = "1.25"
    chosen = route.with_settings(VOICE_EN="coral", TTS_SPEED=speed)

    chosen.speak()
    chosen.worker.speaker().rest()

    charge = route.server.charges[0]
    assert charge.voice == "coral"
    # Chat audio has no parameter for it and is asked in words.
    assert "1.25 times" in (charge.instructions or "") or charge.speed == 1.25


def test_many_threads_at_once_never_get_each_others_audio(route: Route) -> None:
    words = ["bread", "butter", "cheese", "apple", "onion", "garlic", "lemon", "cherry"]
    texts = [" ".join(words[:count]) for count in range(1, len(words) + 1)]
    alone = {text: walk(route.speak(text).mp3).duration_ms for text in texts}
    assert len(set(alone.values())) == len(texts)
    route.server.set_latency(0.1)
    many = random.Random(7).sample(texts * 4, 4 * len(texts))

    with ThreadPoolExecutor(len(many)) as pool:
        together = [
            (text, walk(speech.mp3).duration_ms)
            for text, speech in zip(many, pool.map(route.speak, many), strict=True)
        ]

    assert together == [(text, alone[text]) for text in many]
    assert sorted(route.asked) == sorted(texts * 5)


# Faults


REFUSALS: dict[str, type[SpeechError]] = {
    "insufficient_quota": OutOfMoney,
    "credit_balance_exhausted": OutOfMoney,
    "organization_spend_limit_exceeded": OutOfMoney,
    "project_spend_limit_exceeded": OutOfMoney,
    "organization_usage_limit_exceeded": OutOfMoney,
    "billing_hard_limit_reached": OutOfMoney,
    "unauthorized": KeyRefused,
    "model_not_found": Misconfigured,
    "refused": UtteranceRefused,
    "throttled": Throttled,
    "server_error": ProviderBusy,
    "unavailable": ProviderBusy,
    "overloaded": ProviderBusy,
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_a_refusal_is_what_to_do_next_and_is_asked_for_and_billed_no_second_time(
    route: Route, fault: str
) -> None:
    route.server.add_fault(fault)

    error = route.failed()

    assert type(error) is REFUSALS[fault], error
    assert route.asked == [TEXT]
    assert route.charged == []


def test_after_a_fault_the_next_text_is_spoken(route: Route) -> None:
    for fault in ("server_error", "throttled", "drop_early", "cut", "hang"):
        route.server.add_fault(fault, times=1)
        assert isinstance(
            route.failed(timeout_s=SOON_S if fault == "hang" else PATIENCE_S), TryAgain
        )

        assert judge(route.speak().mp3, TEXT).is_sound


def test_a_throttle_carries_the_wait_and_the_pace(route: Route) -> None:
    route.server.set_limits(requests_per_minute=1)
    route.speak()

    fault = route.failed()

    assert isinstance(fault, Throttled)
    assert fault.retry_after_s == pytest.approx(60, abs=5)
    assert fault.limits is not None
    assert (fault.limits.requests_per_minute, fault.limits.remaining_requests) == (1, 0)
    assert len(route.charged) == 1


@pytest.mark.parametrize("fault", ["headers_missing", "headers_malformed"])
def test_a_provider_that_says_nothing_of_its_pace_has_no_limits(route: Route, fault: str) -> None:
    route.server.add_fault(fault)

    assert route.speak().limits is None


def test_a_wrong_key_stops_the_run(route: Route) -> None:
    with SpeechServer(api_key="another") as server:
        fault = Route(route.name, server).failed()

    assert isinstance(fault, KeyRefused)
    assert "Set OPENAI_API_KEY" in str(fault)


@pytest.mark.parametrize(
    ("setting", "about"),
    [({"TTS_MODEL": "no-such-model"}, "model"), ({"VOICE_EN": "bob"}, "voice")],
)
def test_a_model_or_voice_that_isnt_there_stops_the_run_and_is_named(
    route: Route, setting: dict[str, str], about: str
) -> None:
    fault = route.with_settings(**setting).failed()

    assert isinstance(fault, Misconfigured)
    assert fault.about == about
    assert "Set TTS_PROVIDER, TTS_MODEL, the voices or OPENAI_BASE_URL" in str(fault)
    assert route.charged == []


@pytest.mark.parametrize(("text", "code"), [("a" * 4097, "too_long"), ("🙂", "refused")])
def test_a_text_that_cant_be_spoken_is_the_cards_fault(route: Route, text: str, code: str) -> None:
    fault = route.failed(text)

    assert isinstance(fault, UtteranceRefused)
    assert fault.code == code
    assert route.charged == []


@pytest.mark.parametrize(
    ("fault", "charges"), [("drop_early", 0), ("drop", 1), ("cut", 1), ("hang", 1), ("stall", 1)]
)
def test_an_answer_that_isnt_whole_may_be_billed_and_is_asked_for_once(
    route: Route, fault: str, charges: int
) -> None:
    route.speak()  # so that the local provider has it ready, well within the wait
    route.server.add_fault(fault)

    error = route.failed(timeout_s=SOON_S if fault in ("hang", "stall") else PATIENCE_S)

    assert isinstance(error, NetworkFault)
    assert error.maybe_billed
    assert route.asked == [TEXT] * 2
    assert route.charged == [TEXT] * (1 + charges)


def test_a_server_that_isnt_there_bills_nothing(route: Route) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/v1"

    fault = route.with_settings(OPENAI_BASE_URL=nobody).failed()

    assert isinstance(fault, NetworkFault)
    assert not fault.maybe_billed
    assert "OPENAI_BASE_URL" in str(fault)


@pytest.mark.parametrize("echoed", [KEY, f"Bearer {KEY}", "sk-proj-****5678"])
@pytest.mark.parametrize("fault", ["unauthorized", "server_error"])
def test_the_key_is_never_shown_even_if_the_provider_echoes_it(
    route: Route, fault: str, echoed: str
) -> None:
    route.server.add_fault(fault, message=f"Incorrect API key provided: {echoed}.")

    written = "".join(traceback.format_exception(route.failed()))

    assert "Incorrect API key provided" in written
    assert "5678" not in written


# Answers that are no speech


@pytest.mark.parametrize(
    ("fault", "found"), [("silent", FaultCode.SILENT), ("noise", FaultCode.FLAT)]
)
def test_what_the_sound_is_worth_is_the_verdicts_business(
    route: Route, fault: str, found: FaultCode
) -> None:
    route.server.add_fault(fault)

    speech = route.speak()

    assert found in {each.code for each in judge(speech.mp3, TEXT).hard}


@readers
@pytest.mark.parametrize("fault", ["reworded", "answered"])
def test_a_model_that_doesnt_read_gives_itself_away(route: Route, fault: str) -> None:
    route.server.add_fault(fault)

    speech = route.speak()

    assert speech.transcript not in (None, TEXT)
    hard = {each.code for each in judge(speech.mp3, TEXT, transcript=speech.transcript).hard}
    assert FaultCode.REWORDED in hard


@readers
def test_a_model_that_gives_no_audio_is_asked_again(route: Route) -> None:
    route.server.add_fault("no_audio")

    assert type(route.failed()) is ProviderBusy


# Rest


def test_after_a_rest_it_speaks_again(route: Route) -> None:
    for _ in range(2):
        assert judge(route.speak().mp3, TEXT).is_sound
        route.worker.speaker().rest()


def test_rest_waits_for_no_text_in_flight(route: Route) -> None:
    route.server.add_fault("hold")
    ended = threading.Event()

    def abandoned() -> None:
        try:
            route.speak()
        except SpeechError:
            pass
        finally:
            ended.set()

    threading.Thread(target=abandoned, daemon=True).start()
    in_flight = 2 if route.name == "realtime" else 1  # a session is a request too
    assert route.server.wait_for_in_flight(in_flight, PATIENCE_S)

    route.worker.speaker().rest()

    # A session's text is cancelled; a call of the others still brings its clip.
    assert ended.wait(PATIENCE_S) if route.name == "realtime" else not ended.is_set()
    route.server.clear_faults()
    assert ended.wait(PATIENCE_S)
