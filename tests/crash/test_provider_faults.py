"""Every fault of the provider, by each route, singly and mixed, while real workers are at work."""

from __future__ import annotations

import random
from collections.abc import Collection

import pytest

from local.speech.faults import KINDS, Kind
from local.speech.speech import FAULT_KINDS
from memolist_tts.core import speaking
from tests.crash.field import CARDS, Field

OF_ROUTE: dict[str, Collection[Kind]] = {
    "endpoint": FAULT_KINDS,
    "chat": FAULT_KINDS | {Kind.WORDS},
    "realtime": FAULT_KINDS - {Kind.MASQUERADE, Kind.BYTES} | {Kind.WORDS, Kind.SESSION},
}
SECONDS = {"drip": 60.0, "slow": 0.5}
CALL_TIMEOUT_S, LONGEST_CALL_S = 2.0, 4.0
OF_THE_TEXT = {"refused", "too_long", "bad_audio", "not_verbatim"}
"""Codes of a text that is refused, or of which three takes were bad: all else passes, unless it
comes three times in a row."""


@pytest.fixture(params=OF_ROUTE)
def faults(
    request: pytest.FixtureRequest, field_: Field, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The faults of a route, which the field's workers take; nobody waits long for an answer."""
    monkeypatch.setattr(speaking, "CALL_TIMEOUT_S", CALL_TIMEOUT_S)
    monkeypatch.setattr(speaking, "LONGEST_CALL_S", LONGEST_CALL_S)
    field_.environ["TTS_PROVIDER"] = request.param
    return [name for name, kind in KINDS.items() if kind in OF_ROUTE[request.param]]


def texts(count: int, first: int) -> list[tuple[str, str]]:
    """That many cards, none like another; the numbers can be said otherwise."""
    return [
        (f"{first + n}: {CARDS[n % len(CARDS)][0]}", f"{first + n}: {CARDS[n % len(CARDS)][1]}")
        for n in range(count)
    ]


def said(cards: list[tuple[str, str]]) -> list[str]:
    return [text for card in cards for text in card]


def commit(field_: Field, fault: str, text: str) -> None:
    """On the next call for `text`."""
    rule = {"seconds": SECONDS[fault]} if fault in SECONDS else {}
    field_.speech.add_fault(fault, times=1, match=f"^{text}$", **rule)


def met(field_: Field) -> set[tuple[str | None, str | None]]:
    """Which text met which fault, by what the provider wrote down."""
    seen = {(each.input, each.fault) for each in field_.speech.requests}
    return seen | {(each.input, each.fault) for each in field_.speech.charges}


def ended_well(field_: Field, cards: list[tuple[str, str]]) -> None:
    """All have their audio, or an error that is their own."""
    field_.add_job(cards)
    with field_.polled():
        ends = field_.wait_for_end()
    assert field_.own_faults() <= OF_THE_TEXT
    assert ends <= {"completed", "failed"}
    assert field_.problems() == []


def test_a_job_comes_through_each_fault_of_the_provider(field_: Field, faults: list[str]) -> None:
    left = faults
    # Again: a realtime session that breaks takes what others were to meet with it.
    for first in (20, 60, 80):
        cards = texts(-(-len(left) // 2), first)
        struck = list(zip(said(cards), left, strict=False))
        for text, fault in struck:
            commit(field_, fault, text)
        ended_well(field_, cards)
        left = [fault for text, fault in struck if (text, fault) not in met(field_)]
        if not left:
            break

    assert left == []
    # Once each: only a text that is refused is its card's error.
    assert set(field_.failures().values()) <= {"refused", "too_long"}


def test_a_job_comes_through_faults_upon_faults(
    field_: Field, faults: list[str], soaks: bool
) -> None:
    for seed in range(20 if soaks else 1):
        chance = random.Random(seed)
        cards = texts(8, 20 + 10 * seed)
        struck = []
        for text in said(cards):
            first, *more = chance.sample(faults, 4)
            struck.append((text, first))
            for fault in (first, *more):
                commit(field_, fault, text)

        ended_well(field_, cards)

        assert len(met(field_) & set(struck)) > len(struck) / 2
