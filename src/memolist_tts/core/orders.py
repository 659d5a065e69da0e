"""What an operator has spoken anew: which utterances, at which price, in which jobs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from memolist_tts.core import prices, verdict
from memolist_tts.core.model import Line, Phrase, Result
from memolist_tts.core.plan import Script, line_of

SILENCE_S = 0.7
"""Before and after the speech of a clip, together.

With it the clips of the local voice's phrases of 1 to 3 s are guessed within 6 %; of a
voice that is slower and leaves less silence, as gpt-4o's do, it is about as near.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A card in one language that may want audio, and the clip it carries."""

    list_id: str
    phrase: Phrase
    clip_voice: str | None = None
    clip_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """An utterance that a job is to speak."""

    card_id: str
    language: str
    shown: str | None
    old_url: str | None
    voice: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A job to be: some utterances of one list."""

    list_id: str
    picks: Sequence[Pick]


@dataclass(slots=True, kw_only=True)
class Estimate:
    """What speaking would take, at list prices and without retakes."""

    utterances: int = 0
    reused: int = 0
    """Of them free, for their clip is stored or is spoken for another."""
    calls: int = 0
    characters: int = 0
    audio_s: float = 0.0
    usd: float | None = 0.0
    """None where a model's price isn't known."""
    codes: dict[str, int] = field(default_factory=dict)
    """Utterances that can't be spoken, by their code."""


def line_seconds(line: Line) -> float:
    """How long the clip of a line is likely to be."""
    return verdict.needed_time_s(line.spoken) / line.voice.speed + SILENCE_S


def line_usd(line: Line) -> float | None:
    """What one take of a line is likely to cost; None where the price isn't known."""
    price = line.voice.price
    if price is None:
        return None
    seconds = line_seconds(line)
    told = len(line.voice.instructions or "")
    return price.usd(
        characters=len(line.spoken),
        duration_ms=round(1000 * seconds),
        usage=prices.guess([len(piece) for piece in line.pieces], told, seconds),
    )


def estimate(said: Iterable[Line | Result], stored: Mapping[str, object]) -> Estimate:
    """What `said` would take; `stored` holds the keys that cost nothing."""
    told = Estimate()
    seen = set(stored)
    for each in said:
        if isinstance(each, Result):
            code = each.code or "unknown"
            told.codes[code] = told.codes.get(code, 0) + 1
            continue
        told.utterances += 1
        if each.key in seen:
            told.reused += 1
            continue
        seen.add(each.key)
        told.calls += len(each.pieces)
        told.characters += len(each.spoken)
        told.audio_s += line_seconds(each)
        usd = line_usd(each)
        told.usd = None if usd is None or told.usd is None else told.usd + usd
    return told


def said(found: Sequence[Found], script: Script) -> list[tuple[Found, Line | Result]]:
    """What would be sent for each."""
    return [(each, line_of(each.phrase, script)) for each in found]


def orders(found: Iterable[Found], most_cards: int) -> list[Order]:
    """Jobs list by list, each of at most `most_cards` cards."""
    lists: dict[str, dict[str, list[Pick]]] = {}
    for each in found:
        phrase = each.phrase
        pick = Pick(
            card_id=phrase.card_id,
            language=phrase.language,
            shown=phrase.shown,
            old_url=phrase.url,
            voice=phrase.voice,
        )
        lists.setdefault(each.list_id, {}).setdefault(phrase.card_id, []).append(pick)
    made = []
    for list_id, cards in lists.items():
        groups = list(cards.values())
        for at in range(0, len(groups), most_cards):
            picks = [pick for group in groups[at : at + most_cards] for pick in group]
            made.append(Order(list_id=list_id, picks=picks))
    return made
