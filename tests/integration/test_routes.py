"""One deployment that moves from one route to another, and the day the speech endpoint closes."""

from __future__ import annotations

import json
from datetime import date
from itertools import permutations

import pytest
from test_worker import BASE_URL, Place, new_place, place

from local.api import audio_urls
from memolist_tts.core.model import Completed, Failed, HandedBack
from memolist_tts.speech.models import table

__all__ = ["new_place", "place"]

ROUTES = ("endpoint", "chat", "realtime")
WORDS = [("apple", "pomme"), ("bread", "pain"), ("cheese", "fromage")]
CLOSED = date(2027, 1, 6)


def models_of(place: Place, list_id: str) -> dict[str, str]:
    """Which model speaks each text of a list, by the clip at its card's URL."""
    rows = place.api.rows("SELECT object_name, spoken_text, model FROM tts.clip")
    by_url = {f"{BASE_URL}/{row['object_name']}": row for row in rows}
    clips = [by_url[url] for card in place.api.cards(list_id) for url in audio_urls(card) if url]
    return {clip["spoken_text"]: clip["model"] for clip in clips}


@pytest.mark.parametrize(("first", "second"), list(permutations(ROUTES, 2)))
def test_a_deck_half_spoken_by_one_route_goes_on_with_another(
    place: Place, first: str, second: str
) -> None:
    list_id, job_id = place.job_over(WORDS[:1])
    assert place.run(job_id, TTS_PROVIDER=first).outcome == Completed()
    urls = [audio_urls(card) for card in place.api.cards(list_id)]
    objects = {path.name: path.read_bytes() for path in place.folder.iterdir()}
    place.api.add_cards(list_id, WORDS[1:], first_position=1)
    charged = len(place.speech.charges)

    report = place.run(place.api.add_job(list_id), TTS_PROVIDER=second)

    assert report.outcome == Completed()
    models = table().default_models
    spoken = models_of(place, list_id)
    assert {spoken["apple"], spoken["pomme"]} == {models[first]}
    assert {spoken["bread"], spoken["fromage"]} == {models[second]}
    assert [audio_urls(card) for card in place.api.cards(list_id)][:1] == urls
    assert {name: (place.folder / name).read_bytes() for name in objects} == objects
    assert len(place.speech.charges) - charged == 4


def test_a_route_left_and_taken_again_finds_its_clips(place: Place) -> None:
    for route in (*ROUTES, *ROUTES):
        _, job_id = place.job_over(WORDS)
        assert place.run(job_id, TTS_PROVIDER=route).outcome == Completed()

    assert len(place.speech.charges) == len(ROUTES) * 2 * len(WORDS)


def test_on_the_day_the_endpoint_closes_the_run_stops_and_no_card_gets_an_error(
    place: Place,
) -> None:
    place.speech.set_today(CLOSED)
    list_id, job_id = place.job_over(WORDS)

    report = place.run(job_id, TTS_PROVIDER="endpoint")

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "misconfigured"
    assert report.outcome.stop.rings
    assert "Set TTS_PROVIDER" in report.outcome.stop.message
    assert place.api.job(job_id)["status"] == "pending"
    assert place.ends(job_id) == {}
    assert place.ours(job_id)["attempts"] == 0
    assert all(url is None for card in place.api.cards(list_id) for url in audio_urls(card))


def test_the_one_variable_that_moves_it_has_the_same_job_spoken(place: Place) -> None:
    place.speech.set_today(CLOSED)
    _, job_id = place.job_over(WORDS)
    place.run(job_id, TTS_PROVIDER="endpoint")
    place.api.rows("UPDATE tts.job SET not_before = NULL")

    report = place.run(job_id, TTS_PROVIDER="chat")

    assert report.outcome == Completed()
    assert {charge.model for charge in place.speech.charges} == {"gpt-audio-1.5"}


@pytest.mark.parametrize("today", [date(2026, 11, 24), CLOSED, date(2028, 1, 1)])
def test_the_default_speaks_on_any_day(place: Place, today: date) -> None:
    place.speech.set_today(today)
    _, job_id = place.job_over(WORDS)

    assert place.run(job_id, TTS_PROVIDER="").outcome == Completed()


@pytest.mark.parametrize(
    ("route", "options", "told"),
    [
        ("chat", {"model": "tts-1"}, "options.model: tts-1 isn't spoken by this deployment's way"),
        ("endpoint", {"model": "tts-1", "voice": "marin"}, "tts-1 has no voice 'marin'"),
        ("realtime", {"voice": {"fr": "nova"}}, "gpt-realtime-2.1-mini has no voice 'nova'"),
        ("realtime", {"speed": 2}, "options.speed: gpt-realtime-2.1-mini speaks at 0.25 to 1.5"),
    ],
)
def test_a_job_that_asks_for_what_its_route_lacks_fails_with_the_fix_and_pays_nothing(
    place: Place, route: str, options: dict[str, object], told: str
) -> None:
    _, job_id = place.job_over(WORDS, options=json.dumps(options))

    report = place.run(job_id, TTS_PROVIDER=route)

    assert isinstance(report.outcome, Failed)
    assert report.outcome.code == "bad_options"
    assert told in report.outcome.message
    assert place.speech.charges == []
