"""Whether a voice speaks as it did when a person last accepted it: pure comparison."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

TAKES_LN_SD = 0.15
"""Natural spread of the speech time of a voice's takes, as sd of ln: 0.10 to 0.15 was
measured over phrases (AUDIO, section 4), and takes of one phrase differ less."""
TAKES_DB_SD = 2.0
"""The same of the level: a voice's active speech lay within 6 to 8 dB over 26 to 63 clips."""
MOST_SD = 4.5
"""Beyond this many sd of the mean difference it is no accident: 7 in a million. A daily run
over two languages compares some 8,000 pairs and means a year: a false alarm in 18 years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What is measured of one recording."""

    speech_ms: int
    """From the first to the last active window."""
    active_dbfs: float
    transcript: str | None = None
    """What the model told it said; None where plain text to speech doesn't tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One phrase as it is spoken now, and as it was accepted."""

    language: str
    now: Measures
    accepted: Measures

    @property
    def length_ln(self) -> float:
        """How much longer it is: the logarithm of the ratio."""
        return log(max(1, self.now.speech_ms) / max(1, self.accepted.speech_ms))

    @property
    def level_db(self) -> float:
        """How much louder it is."""
        return self.now.active_dbfs - self.accepted.active_dbfs


def drift(pair: Pair) -> str:
    """Why this phrase is no mere other take of the accepted one; empty where it may be."""
    told = [*_shifts([pair]), *_other_words(pair)]
    return "; ".join(told)


def shift(pairs: Sequence[Pair]) -> str:
    """How a voice has moved as a whole, where no phrase alone shows it; empty where it hasn't.

    Each language has its own voice, and all have one model: the mean over several phrases
    spreads less than one of them, so it is held to less.
    """
    groups: defaultdict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.language].append(pair)
    if len(groups) > 1:
        groups["all languages"] = list(pairs)
    return "; ".join(
        f"{name}, {len(group)} phrases: {told}"
        for name, group in groups.items()
        if len(group) > 1
        for told in _shifts(group)
    )


def longest_ratio(count: int) -> float:
    """By which factor `count` phrases may be longer, or shorter, in the mean."""
    return exp(MOST_SD * _difference_sd(TAKES_LN_SD, count))


def most_db(count: int) -> float:
    """By how much `count` phrases may be louder, or softer, in the mean."""
    return MOST_SD * _difference_sd(TAKES_DB_SD, count)


def _difference_sd(takes_sd: float, count: int) -> float:
    """Of the mean difference of `count` pairs of takes: both takes of a pair spread."""
    return takes_sd * sqrt(2 / count)


def _shifts(pairs: Sequence[Pair]) -> Iterator[str]:
    count = len(pairs)
    ratio = exp(sum(pair.length_ln for pair in pairs) / count)
    if max(ratio, 1 / ratio) > longest_ratio(count):
        yield f"lasts {ratio:.2f} times as long as accepted"
    db = sum(pair.level_db for pair in pairs) / count
    if abs(db) > most_db(count):
        yield f"{abs(db):.1f} dB {'louder' if db > 0 else 'softer'} than accepted"


def _other_words(pair: Pair) -> Iterator[str]:
    now, accepted = pair.now.transcript, pair.accepted.transcript
    if now is None or accepted is None:
        return
    # Late: plain text to speech has no use for it.
    from memolist_tts.core.verbatim import says

    if not says(now, accepted, pair.language):
        yield f"says “{now}”, and “{accepted}” was accepted"
