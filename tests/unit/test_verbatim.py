"""Which transcripts say the text: honest spellings do, other words and numbers don't."""

from __future__ import annotations

import csv
import random
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from memolist_tts.core.text import spoken
from memolist_tts.core.verbatim import says

DATA = Path(__file__).resolve().parents[1] / "data"


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cases(verdict: str) -> list[object]:
    return [
        pytest.param(row["language"], row["spoken"], row["transcript"], id=row["spoken"])
        for row in rows("verbatim.csv")
        if row["says"] == verdict
    ]


HARD = [(r["language"], spoken(r["shown"], r["language"]).text) for r in rows("hard_phrases.csv")]


@pytest.mark.parametrize(("language", "text", "transcript"), cases("yes"))
def test_a_transcript_that_says_the_text(language: str, text: str, transcript: str) -> None:
    assert says(transcript, text, language)
    assert says(text, transcript, language)


@pytest.mark.parametrize(("language", "text", "transcript"), cases("no"))
def test_a_transcript_that_says_something_else(language: str, text: str, transcript: str) -> None:
    assert not says(transcript, text, language)


def test_there_are_200_hard_phrases_and_each_has_something_to_read() -> None:
    assert len(HARD) == len(set(HARD)) == 200
    assert all(text for _, text in HARD)


@pytest.mark.parametrize(
    "spelled",
    [
        pytest.param(str.upper, id="capitals"),
        pytest.param(str.lower, id="no capitals"),
        pytest.param(lambda text: text.rstrip(".!?") + ".", id="another end"),
        pytest.param(lambda text: text.replace("'", "’").replace(" ", "\u00a0"), id="typography"),
        pytest.param(lambda text: unicodedata.normalize("NFD", text), id="decomposed"),
        pytest.param(lambda text: re.sub(r"[!?;\"…()]", " ", text), id="less punctuation"),
    ],
)
def test_no_hard_phrase_is_refused_for_how_it_is_spelled(spelled: Callable[[str], str]) -> None:
    refused = [text for language, text in HARD if not says(spelled(text), text, language)]

    assert refused == []


def test_no_hard_phrase_is_taken_for_another_of_its_kind() -> None:
    taken = {
        frozenset({text, other})
        for nth, (language, text) in enumerate(HARD)
        for of, other in HARD[nth + 1 : nth + 16]
        if of == language and says(other, text, language)
    }

    assert taken == {
        frozenset({"pêcheur", "pécheur"}),
        frozenset({"101", "a hundred and one"}),
        frozenset({"21", "vingt et un"}),
        frozenset({"A", "à"}),
    }


def test_no_digit_of_a_hard_phrase_may_be_another() -> None:
    changed = [
        (language, text, f"{text[: found.start()]}{digit}{text[found.end() :]}")
        for language, text in HARD
        for found in re.finditer(r"\d", text)
        for digit in "0123456789"
        if digit != found[0]
    ]

    assert len(changed) > 1_000
    assert [each for each in changed if says(each[2], each[1], each[0])] == []


@pytest.mark.parametrize("language", ["en", "fr", "de"])
def test_no_number_is_another(language: str) -> None:
    chance = random.Random(7)
    numbers = [chance.randrange(10 ** chance.randint(1, 7)) for _ in range(3_000)]
    pairs = {(number, chance.choice(numbers)) for number in numbers}

    taken = [(n, m) for n, m in pairs if says(str(n), str(m), language) != (n == m)]

    assert taken == []


@pytest.mark.parametrize("text", ["1 " * 2_000, "a" * 4_000, "11" * 2_000, "100 " * 1_000])
def test_the_longest_texts_are_compared_too(text: str) -> None:
    assert says(text, text, "fr")
    assert not says(text + "1", text, "fr")
