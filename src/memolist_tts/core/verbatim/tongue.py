"""What `readings` must know of a language to read its numbers, signs and abbreviations."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from memolist_tts.core.verbatim.lattice import Saying

Read: TypeAlias = "Callable[[re.Match[str]], Saying | None]"
"""How what was found may also be said; None where it may not after all."""
Rule: TypeAlias = "tuple[re.Pattern[str], Read]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tongue:
    """A language. Numbers come as their digits, for "007" isn't 7."""

    integer: Callable[[str], Saying]
    """Every way to say a whole number: cardinal, as a year, digit by digit."""
    ordinal: Callable[[int], Saying]
    decimals: Callable[[str], Saying]
    """The digits behind the decimal mark."""
    fraction: Callable[[int, int], Saying | None]
    clock: Callable[[str, str], Saying]
    date: Callable[[int, int, str], Saying]
    """Day, month (1-12) and the digits of the year."""
    amount: Callable[[str, str, tuple[Saying, Saying]], Saying]
    """Whole units, hundredths (two digits), and the unit's and the hundredth's names."""
    grouping: str
    """What may stand between thousands, as for a regular expression's set."""
    decimal_mark: str
    ordinal_mark: str
    """Behind digits, as a regular expression: "st|nd|rd|th"."""
    roman: Callable[[int], Saying]
    """A Roman number, such as that of a king."""
    point: Saying
    minus: Saying
    and_: str
    ranges: Sequence[str]
    """What a dash or a colon between two numbers may be said as."""
    signs: Mapping[str, Saying]
    units: Mapping[str, Saying]
    """Behind a number."""
    currencies: Mapping[str, tuple[Saying, Saying]]
    """A unit and its hundredth."""
    magnitudes: Mapping[str, Saying]
    """Between an amount and its currency: millions."""
    short: Mapping[str, Saying]
    """Abbreviations and other spellings of one word, in lower case and without a full stop."""
    web: Mapping[str, Saying]
    """The signs of an address."""
    rules: Sequence[Rule]
    """What else only this language has."""


def one_by_one(digits: str, names: Sequence[Saying]) -> Saying:
    """Digit by digit, by the `names` of 0 to 9; "double" and "triple" for two and three alike."""
    said: list[Saying] = []
    for digit, same in groupby(digits):
        name, count = names[int(digit)], len(list(same))
        ways: list[Saying] = [(name,) * count]
        if count in (2, 3):
            ways.append((["double", "triple"][count - 2], name))
        said.append(ways)
    return tuple(said)


def listed(words: str) -> list[str]:
    """The words of a line, for tables."""
    return words.split()
