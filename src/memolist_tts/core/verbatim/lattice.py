"""All the ways in which a text can be said, as one graph, and whether two texts share a way."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Saying: TypeAlias = "str | tuple[Saying, ...] | list[Saying]"
"""Some words, several things one after the other (tuple), or any one of several (list)."""

_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae", "ø": "o", "ł": "l", "đ": "d"})


def fold(text: str) -> str:
    """The letters and digits of `text`, without case, accents, ligatures, spaces, punctuation.

    Only the accents of Latin, Greek and Cyrillic and the vowel points of Hebrew and Arabic
    go: elsewhere a mark tells one syllable from another.
    """
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(filter(_is_told, decomposed.translate(_LIGATURES)))


def _is_told(char: str) -> bool:
    if char.isalnum():
        return True
    is_accent = "\u0300" <= char <= "\u036f" or "\u0591" <= char <= "\u0670"
    return unicodedata.category(char).startswith("M") and not is_accent


class Lattice:
    """Steps of one letter, or none (""), between states; whatever leads from 0 to `end` is said."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.steps: list[list[tuple[str, int]]] = [[] for _ in range(end + 1)]

    def add(self, start: int, end: int, saying: Saying) -> None:
        """Let `saying` lead from `start` to `end`, besides whatever does so already."""
        match saying:
            case list():
                for each in saying:
                    self.add(start, end, each)
            case tuple():
                self._chain(start, end, saying, self.add)
            case str():
                self.spell(start, end, fold(saying))

    def spell(self, start: int, end: int, signs: Sequence[str]) -> None:
        """Let `signs` lead from `start` to `end` as they are, none of them folded."""
        self._chain(start, end, signs, self._step)

    def _step(self, start: int, end: int, sign: str) -> None:
        self.steps[start].append((sign, end))

    def _chain(
        self, start: int, end: int, parts: Sequence[Any], link: Callable[[int, int, Any], None]
    ) -> None:
        if not parts:
            self._step(start, end, "")
            return
        first = len(self.steps)
        self.steps += [[] for _ in parts[1:]]
        between = range(first, len(self.steps))
        for part, here, there in zip(parts, (start, *between), (*between, end), strict=True):
            link(here, there, part)


def agree(first: Lattice, second: Lattice) -> bool:
    """Whether something can be said that is a way to say either."""
    goal = (first.end, second.end)
    found, seen = [(0, 0)], {(0, 0)}
    while found:
        here = found.pop()
        if here == goal:
            return True
        for there in _onward(first.steps[here[0]], second.steps[here[1]], here):
            if there not in seen:
                seen.add(there)
                found.append(there)
    return False


def _onward(
    first: list[tuple[str, int]], second: list[tuple[str, int]], here: tuple[int, int]
) -> list[tuple[int, int]]:
    silent = [(after, here[1]) for sign, after in first if not sign]
    silent += [(here[0], after) for sign, after in second if not sign]
    return silent + [
        (one, other) for sign, one in first if sign for same, other in second if same == sign
    ]
