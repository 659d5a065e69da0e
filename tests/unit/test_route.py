"""Which API speaks with which model, before OpenAI's speech endpoint closes and after."""

from __future__ import annotations

from datetime import date

import pytest

from memolist_tts.assemble import Worker, identity
from memolist_tts.route import Way, choose, move
from memolist_tts.settings import Needs, Settings, SettingsError
from memolist_tts.speech.models import table

TODAY, LAST_DAY, CLOSED = date(2026, 11, 24), date(2027, 1, 5), date(2027, 1, 6)
DAYS = (TODAY, LAST_DAY, CLOSED)
OWN_SERVER = "http://speech.example:8000/v1"
MINI = "gpt-4o-mini-tts-2025-12-15"


def load(**environ: str) -> Settings:
    return Settings.load(Needs.SPEECH, environ={"OPENAI_API_KEY": "sk-test"} | environ)


def chosen(today: date, *, offered: bool | None = None, **environ: str) -> Way:
    """The way, from a server that answers `offered` when asked for a model."""
    return choose(load(**environ), today, lambda _: offered)


def fault(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**environ)
    _, line = str(caught.value).splitlines()
    return line.removeprefix("  - ")


@pytest.mark.parametrize("today", DAYS)
def test_the_default_speaks_before_and_after_the_endpoint_closes(today: date) -> None:
    way = chosen(today)

    assert way == Way("chat", "gpt-audio-1.5")
    (model,) = [each for each in table().models if way.model in each.names]
    assert model.closes is None


def test_a_regional_address_of_openai_is_openai() -> None:
    europe = {"OPENAI_BASE_URL": "https://eu.api.openai.com/v1"}

    assert chosen(CLOSED, TTS_MODEL="tts-1", **europe) == Way("chat", "gpt-audio-1.5")
    assert fault(OPENAI_API_KEY="", **europe).startswith("OPENAI_API_KEY is not set")
    assert not load(OPENAI_BASE_URL="https://notapi.openai.com/v1").is_openai


def test_one_way_holds_for_a_whole_run_though_the_server_answers_in_between() -> None:
    worker = Worker(load(OPENAI_BASE_URL=OWN_SERVER))
    answers = iter([None, True])
    worker._offers = lambda _: next(answers)  # type: ignore[method-assign]

    during = [worker.way() for _ in range(3)]
    worker._renew_way()

    assert during == [Way("endpoint", MINI, is_sure=False)] * 3
    assert worker.way() == Way("chat", "gpt-audio-1.5")


@pytest.mark.parametrize("today", [TODAY, LAST_DAY])
def test_a_model_set_by_hand_speaks_its_own_way_while_it_lives(today: date) -> None:
    assert chosen(today, TTS_MODEL="tts-1") == Way("endpoint", "tts-1")
    assert chosen(today, TTS_MODEL="gpt-realtime-2.1-mini").route == "realtime"


def test_a_model_that_openai_has_closed_gives_way_to_the_default() -> None:
    assert chosen(CLOSED, TTS_MODEL="tts-1") == Way("chat", "gpt-audio-1.5")
    assert chosen(date(2027, 1, 20), TTS_MODEL="gpt-realtime-mini").model == "gpt-audio-1.5"


@pytest.mark.parametrize("today", DAYS)
@pytest.mark.parametrize("name", ["kokoro", "tts-1"])
def test_a_model_of_another_server_keeps_its_way_on_any_day(today: date, name: str) -> None:
    way = chosen(today, offered=True, OPENAI_BASE_URL=OWN_SERVER, TTS_MODEL=name)

    assert way == Way("endpoint", name)


@pytest.mark.parametrize(
    ("offered", "way"),
    [
        (True, Way("chat", "gpt-audio-1.5")),
        (False, Way("endpoint", MINI)),
        (None, Way("endpoint", MINI, is_sure=False)),
    ],
)
def test_another_server_speaks_as_it_says_it_can(offered: bool | None, way: Way) -> None:
    assert chosen(TODAY, offered=offered, OPENAI_BASE_URL=OWN_SERVER) == way


@pytest.mark.parametrize("today", DAYS)
@pytest.mark.parametrize(
    ("provider", "plain"),
    [("endpoint", MINI), ("chat", "gpt-audio-1.5"), ("realtime", "gpt-realtime-2.1-mini")],
)
def test_a_route_set_by_hand_holds_on_any_day(today: date, provider: str, plain: str) -> None:
    own = {"TTS_PROVIDER": provider, "OPENAI_BASE_URL": OWN_SERVER}

    assert chosen(today, TTS_PROVIDER=provider) == Way(provider, plain)  # type: ignore[arg-type]
    assert chosen(today, TTS_MODEL="mine", **own) == Way(provider, "mine")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        (
            {"TTS_PROVIDER": "chat", "TTS_MODEL": "tts-1"},
            "TTS_MODEL: tts-1 speaks by TTS_PROVIDER=endpoint, not chat; set that, or a model of "
            "chat, such as gpt-audio-1.5",
        ),
        (
            {"TTS_MODEL": "tts-1", "INSTRUCTIONS_FR": "Lis lentement."},
            "INSTRUCTIONS_FR: tts-1 takes no instructions; unset it, or set "
            "TTS_MODEL=gpt-4o-mini-tts-2025-12-15",
        ),
        (
            {"TTS_PROVIDER": "realtime", "VOICE_FR": "nova"},
            "VOICE_FR: gpt-realtime-2.1-mini has no voice 'nova'. It has: alloy, ash, ballad, "
            "coral, echo, sage, shimmer, verse, marin, cedar",
        ),
        (
            {"VOICE_EN": "Alloy"},
            "VOICE_EN: gpt-audio-1.5 has no voice 'Alloy'. It has: alloy, ash, ballad, coral, "
            "echo, fable, onyx, nova, sage, shimmer, verse, marin, cedar",
        ),
        (
            {"TTS_PROVIDER": "realtime", "TTS_SPEED": "2"},
            "TTS_SPEED: gpt-realtime-2.1-mini speaks at 0.25 to 1.5, not 2",
        ),
        (
            {"TTS_MODEL": "gpt-audio-9"},
            "TTS_PROVIDER: the way to speak with TTS_MODEL=gpt-audio-9 isn't known; set endpoint, "
            "chat or realtime",
        ),
    ],
)
def test_a_pair_that_cant_work_is_refused_at_the_start_with_its_fix(
    environ: dict[str, str], told: str
) -> None:
    assert fault(**environ) == told


def test_another_server_may_bring_voices_of_its_own_under_openais_model_names() -> None:
    own = {"OPENAI_BASE_URL": OWN_SERVER, "TTS_MODEL": "tts-1"}

    assert load(VOICE_FR="ff_siwis", **own).voices == {"fr": "ff_siwis"}
    assert fault(VOICE_FR="marin", **own).startswith("VOICE_FR: tts-1 has no voice 'marin'")


def test_what_only_speaking_needs_stops_no_other_command() -> None:
    environ = {"DATABASE_URL": "postgresql://u@h/d", "VOICE_EN": "Alloy"}

    assert Settings.load(Needs.DATABASE, environ=environ).voices == {"en": "Alloy"}


@pytest.mark.parametrize(
    ("environ", "fix"),
    [
        ({"TTS_PROVIDER": "endpoint"}, "Set TTS_PROVIDER=chat."),
        ({"TTS_MODEL": "tts-1"}, "Set TTS_PROVIDER=chat and unset TTS_MODEL."),
        ({"TTS_MODEL": "gpt-audio-mini"}, "Set TTS_MODEL=gpt-audio-1.5."),
        ({"TTS_MODEL": "gpt-realtime-mini"}, "Set TTS_MODEL=gpt-realtime-2.1-mini."),
    ],
)
def test_the_move_off_a_model_that_ends_names_the_variable(
    environ: dict[str, str], fix: str
) -> None:
    settings = load(**environ)

    assert move(settings, chosen(TODAY, **environ)) == fix
    # Whoever follows it has a deployment that starts, and goes on.
    followed = {
        name: "" if f"unset {name}" in fix else value for name, value in environ.items()
    } | dict(part.rstrip(".").split("=") for part in fix.split() if "=" in part)
    after = chosen(date(2027, 2, 1), **followed)
    assert next(each for each in table().models if after.model in each.names).closes is None


def test_the_move_never_names_the_very_model_that_ends() -> None:
    settings = load(TTS_PROVIDER="realtime")

    assert "newer model" in move(settings, chosen(TODAY, TTS_PROVIDER="realtime"))


def test_the_table_names_each_model_once_and_a_default_for_each_route() -> None:
    names = [name for model in table().models for name in model.names]

    assert len(names) == len(set(names))
    for route, name in table().default_models.items():
        (model,) = [model for model in table().models if name in model.names]
        assert model.route == route
        assert "alloy" in model.voices


@pytest.mark.parametrize(
    ("base_url", "whose"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://api.openai.com/v1/", "openai"),
        (OWN_SERVER, "speech.example"),
        ("http://speech.example:9000/other", "speech.example"),
    ],
)
def test_a_server_is_known_by_its_host_and_not_by_its_port(base_url: str, whose: str) -> None:
    assert identity(load(OPENAI_BASE_URL=base_url)) == whose
