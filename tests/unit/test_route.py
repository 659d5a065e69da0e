"""Which API speaks, before OpenAI's speech endpoint closes and after."""

from __future__ import annotations

from datetime import date

import pytest

from memolist_tts.assemble import identity, model, route
from memolist_tts.settings import Needs, Settings

LAST_DAY, CLOSED = date(2027, 1, 5), date(2027, 1, 6)
OWN_SERVER = "http://speech.example:8000/v1"


def chosen(today: date, **environ: str) -> tuple[str, str]:
    """Route and model."""
    environ = {"OPENAI_API_KEY": "sk-test"} | environ
    settings = Settings.load(Needs.SPEECH, environ=environ)
    return route(settings, today), model(settings, today)


def test_the_endpoint_speaks_until_its_last_day() -> None:
    assert chosen(LAST_DAY) == ("endpoint", "gpt-4o-mini-tts-2025-12-15")


def test_chat_speaks_from_the_day_the_endpoint_closes() -> None:
    assert chosen(CLOSED) == ("chat", "gpt-audio-1.5")


def test_a_model_set_for_the_endpoint_does_not_outlive_it() -> None:
    assert chosen(LAST_DAY, TTS_MODEL="tts-1") == ("endpoint", "tts-1")
    assert chosen(CLOSED, TTS_MODEL="tts-1") == ("chat", "gpt-audio-1.5")


def test_a_compatible_server_goes_on_after_that_day() -> None:
    own = {"OPENAI_BASE_URL": OWN_SERVER, "TTS_MODEL": "kokoro"}

    assert chosen(CLOSED, **own) == ("endpoint", "kokoro")


@pytest.mark.parametrize("today", [LAST_DAY, CLOSED])
@pytest.mark.parametrize(
    ("provider", "plain"),
    [
        ("endpoint", "gpt-4o-mini-tts-2025-12-15"),
        ("chat", "gpt-audio-1.5"),
        ("realtime", "gpt-realtime-2.1-mini"),
    ],
)
def test_a_route_set_by_hand_holds_on_any_day(today: date, provider: str, plain: str) -> None:
    assert chosen(today, TTS_PROVIDER=provider) == (provider, plain)
    assert chosen(today, TTS_PROVIDER=provider, TTS_MODEL="mine") == (provider, "mine")


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
    environ = {"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": base_url}

    assert identity(Settings.load(Needs.SPEECH, environ=environ)) == whose
