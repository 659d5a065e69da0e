"""What is drift, and what is only another take."""

from __future__ import annotations

import random
from math import exp

import pytest

from memolist_tts.core import text
from memolist_tts.core.canary import golden
from memolist_tts.core.drift import (
    TAKES_DB_SD,
    TAKES_LN_SD,
    Measures,
    Pair,
    drift,
    longest_ratio,
    most_db,
    shift,
)
from memolist_tts.instructions import INSTRUCTIONS


def pair(
    speech_ms: int = 1000,
    active_dbfs: float = -20.0,
    said: str | None = None,
    was: str | None = None,
    language: str = "en",
) -> Pair:
    """A phrase now, where 1 s at -20 dBFS was accepted."""
    return Pair(
        language=language,
        now=Measures(speech_ms=speech_ms, active_dbfs=active_dbfs, transcript=said),
        accepted=Measures(speech_ms=1000, active_dbfs=-20.0, transcript=was),
    )


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (pair(), ""),
        (pair(2500), ""),
        (pair(2700), "lasts 2.70 times as long as accepted"),
        (pair(400), ""),
        (pair(370), "lasts 0.37 times as long as accepted"),
        (pair(active_dbfs=-32.0), ""),
        (pair(active_dbfs=-33.0), "13.0 dB softer than accepted"),
        (pair(active_dbfs=-7.0), "13.0 dB louder than accepted"),
        (
            pair(2700, -33.0),
            "lasts 2.70 times as long as accepted; 13.0 dB softer than accepted",
        ),
    ],
)
def test_a_phrase_drifts_only_beyond_what_takes_differ_by(now: Pair, told: str) -> None:
    assert drift(now) == told


@pytest.mark.parametrize(
    ("said", "was", "is_drift"),
    [
        ("It costs 42 dollars.", "it costs forty-two dollars", False),
        (None, "It costs 42 dollars.", False),
        ("It costs 42 dollars.", None, False),
        ("It costs 43 dollars.", "It costs 42 dollars.", True),
        ("", "It costs 42 dollars.", True),
    ],
)
def test_other_words_are_drift_and_another_spelling_is_not(
    said: str | None, was: str | None, is_drift: bool
) -> None:
    assert bool(drift(pair(said=said, was=was))) is is_drift


def test_a_voice_that_moves_as_a_whole_is_found_where_no_phrase_shows_it() -> None:
    slower = [pair(1600, language=language) for language in ("en", "fr") for _ in range(4)]

    assert not any(drift(each) for each in slower)
    assert shift(slower) == "all languages, 8 phrases: lasts 1.60 times as long as accepted"


def test_a_language_whose_voice_alone_has_moved_is_named() -> None:
    softer = [pair(active_dbfs=-28.0, language="fr") for _ in range(4)]
    same = [pair(active_dbfs=-19.5) for _ in range(4)]

    assert shift(same + softer) == "fr, 4 phrases: 8.0 dB softer than accepted"


def test_one_phrase_is_no_whole_and_none_is_nothing() -> None:
    assert shift([pair(3000)]) == ""
    assert shift([]) == ""


def test_a_single_phrase_that_differs_much_does_not_move_the_whole() -> None:
    assert shift([pair(2500), *[pair() for _ in range(7)]]) == ""


def test_many_phrases_are_held_to_less_than_one() -> None:
    assert longest_ratio(8) < longest_ratio(4) < longest_ratio(1)
    assert most_db(8) < most_db(4) < most_db(1)
    assert longest_ratio(8) == pytest.approx(1.40, abs=0.01)
    assert most_db(8) == pytest.approx(4.5)


def test_takes_that_spread_as_measured_ring_less_than_once_in_ten_years() -> None:
    chance = random.Random(1)
    alarms = 0
    for _ in range(10 * 365):
        pairs = [
            Pair(language=language, now=take(chance), accepted=take(chance))
            for language in ("en", "fr")
            for _ in range(4)
        ]
        alarms += bool(shift(pairs)) or any(map(drift, pairs))

    assert alarms <= 1


def take(chance: random.Random) -> Measures:
    return Measures(
        speech_ms=round(1500 * exp(chance.gauss(0, TAKES_LN_SD))),
        active_dbfs=chance.gauss(-20, TAKES_DB_SD),
    )


def test_the_golden_phrases_are_spoken_as_written_and_no_two_are_alike() -> None:
    phrases = [(code, each) for code, texts in golden().items() for each in texts]

    assert set(golden()) == set(INSTRUCTIONS)
    assert len(phrases) == len(set(phrases)) == 8
    for code, each in phrases:
        assert text.spoken(each, code).text.replace(" ?", "?") == each.replace(" ?", "?")
