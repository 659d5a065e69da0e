"""Verbatim or not published: whole jobs over phrases that tempt a model to do otherwise."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_worker import Place

from local.api import Api, Row, audio_urls
from local.schema import Shape
from local.speech import SpeechServer
from memolist_tts.core.model import Completed, Failed, HandedBack
from memolist_tts.core.mp3 import walk
from memolist_tts.core.text import spoken

DATA = Path(__file__).resolve().parents[1] / "data"
ROUTES = ["chat", "realtime"]
SPOILT = {
    "other_number": 0.12,
    "translated": 0.08,
    "dropped_word": 0.08,
    "extra_word": 0.05,
    "prefaced": 0.05,
    "answered": 0.05,
    "reworded": 0.05,
    "no_transcript": 0.05,
}
"""Each fault of words with its share of the answers that it can spoil; 30 % in all."""


@pytest.fixture
def place(database: str, speech_server: SpeechServer, tmp_path: Path) -> Iterator[Place]:
    with Api(database, Shape()) as api:
        place = Place(database, api, speech_server, tmp_path / "audio")
        with place.stack:
            yield place


@dataclass(frozen=True)
class Spoken:
    """One hard phrase after its job: the text to be read, and how it ended."""

    text: str
    url: str | None
    code: str | None
    message: str | None


def hard_phrases() -> list[tuple[str, str]]:
    with (DATA / "hard_phrases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ([row["shown"] for row in rows if row["language"] == code] for code in ("en", "fr"))
    return list(zip(*columns, strict=True))


def utterances(place: Place, list_id: str, job_id: str) -> list[Spoken]:
    rows = place.api.rows("SELECT * FROM tts.utterance WHERE job_id = :id", id=job_id)
    ends = {(row["card_id"], row["language"]): row for row in rows}
    found = []
    for card in place.api.cards(list_id):
        shown = {"en": card["textEn"], "fr": card["textFr"]}
        for language, url in zip(shown, audio_urls(card), strict=True):
            end = ends[card["id"], language]
            text = spoken(shown[language], language).text
            found.append(Spoken(text, url, end["code"], end["message"]))
    return found


def heard(place: Place, clips: dict[str, Row], url: str) -> tuple[str | None, str | None]:
    """What the server's own books say of the recording that is stored at `url`."""
    name = url.rsplit("/", 1)[1]
    [charge] = [c for c in place.speech.charges if c.request_id == clips[name]["request_id"]]
    stored = walk((place.folder / name).read_bytes())
    assert stored.duration_ms / 1000 == pytest.approx(charge.seconds, abs=0.15)
    return charge.said, charge.fault


def clips_of(place: Place) -> dict[str, Row]:
    return {row["object_name"]: row for row in place.api.rows("SELECT * FROM tts.clip")}


@pytest.mark.parametrize("route", ROUTES)
def test_nothing_is_published_that_a_misbehaving_model_did_not_read_word_for_word(
    place: Place, route: str
) -> None:
    for fault, share in SPOILT.items():
        place.speech.add_fault(fault, share=share, seed=2027)
    place.speech.add_fault("respelled", share=0.5)
    list_id, job_id = place.job_over(hard_phrases())

    report = place.run(job_id, seconds=300, TTS_PROVIDER=route)

    assert isinstance(report.outcome, Failed)
    ended = utterances(place, list_id, job_id)
    clips, published = clips_of(place), [each for each in ended if each.url]
    told = [heard(place, clips, each.url or "") for each in published]
    assert [said for said, _ in told] == [each.text for each in published]
    assert {fault for _, fault in told} == {None, "respelled"}
    given_up = [each for each in ended if not each.url]
    assert len(ended) == 200
    assert 0 < len(given_up) < 20
    assert {each.code for each in given_up} == {"not_verbatim"}
    assert all("Reword the card" in (each.message or "") for each in given_up)
    assert set(SPOILT) <= {charge.fault for charge in place.speech.charges}
    spoilt = [charge for charge in place.speech.charges if charge.fault in SPOILT]
    assert 0.25 < len(spoilt) / len(place.speech.charges) < 0.35
    takes = Counter((charge.language, charge.input) for charge in place.speech.charges)
    assert max(takes.values()) == 3


@pytest.mark.parametrize("route", ROUTES)
def test_an_honest_model_is_never_refused_however_it_spells_numbers(
    place: Place, route: str
) -> None:
    place.speech.add_fault("respelled", share=0.5)
    list_id, job_id = place.job_over(hard_phrases())

    report = place.run(job_id, seconds=300, TTS_PROVIDER=route)

    ended = utterances(place, list_id, job_id)
    assert [each for each in ended if not each.url] == []
    assert report.outcome == Completed()
    assert "respelled" in {charge.fault for charge in place.speech.charges}
    assert len({(charge.language, charge.input) for charge in place.speech.charges}) == 200


@pytest.mark.parametrize("route", ROUTES)
def test_a_card_that_the_model_answers_says_so_and_how_to_mend_it(place: Place, route: str) -> None:
    place.speech.add_fault("answered", match="time")
    list_id, job_id = place.job_over([("What time is it?", "chat")])

    place.run(job_id, TTS_PROVIDER=route)

    asked, other = utterances(place, list_id, job_id)
    assert (asked.url, asked.code) == (None, "not_verbatim")
    assert asked.message == (
        "The model did not read the text as it is in 3 takes; in the last such one it says "
        "“Hello! How can I help you today?” instead of “What time is it?”. Reword the card, or "
        "use another voice, model or TTS_PROVIDER."
    )
    assert other.url is not None
    assert place.api.job(job_id)["failedCount"] == 1


def test_the_code_is_that_of_most_takes(place: Place) -> None:
    place.speech.add_fault("silent", match="apple", times=1)
    place.speech.add_fault("answered", match="apple")
    place.speech.add_fault("answered", match="pomme", times=1)
    place.speech.add_fault("silent", match="pomme")
    _, job_id = place.job_over([("apple", "pomme")])

    place.run(job_id, TTS_PROVIDER="chat")

    assert place.ends(job_id) == {
        "apple": ("failed", "not_verbatim"),
        "pomme": ("failed", "bad_audio"),
    }


@pytest.mark.parametrize("route", ROUTES)
def test_a_model_that_never_tells_what_it_says_is_the_deployments_fault(
    place: Place, route: str
) -> None:
    place.speech.add_fault("no_transcript")
    list_id, job_id = place.job_over([("apple", "pomme"), ("bread", "pain")])

    report = place.run(job_id, TTS_PROVIDER=route)

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "misconfigured"
    assert "no transcript for any of 3 texts" in report.outcome.stop.message
    assert not any(url for card in place.api.cards(list_id) for url in audio_urls(card))
    assert place.api.rows("SELECT * FROM tts.utterance") == []
