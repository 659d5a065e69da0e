"""Words that a voice gets wrong, and what it is given to read instead."""

from __future__ import annotations

import re
from collections.abc import Mapping

from memolist_tts.core import text
from memolist_tts.core.errors import BadInput

LONGEST = 200


class Lexicon:
    """Language to word to what is said. Without words it changes nothing, and no audio key."""

    def __init__(self, words: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._words = words or {}
        self._patterns = {code: _pattern(each) for code, each in self._words.items() if each}

    def said(self, spoken: str, language: str) -> str:
        """`spoken` with each whole word replaced, the longest first, and none twice.

        A word without capitals is meant in any case ("chat" and "Chat"); one with
        capitals only as it is written ("US" isn't "us").
        """
        pattern = self._patterns.get(language)
        if pattern is None:
            return spoken
        words = self._words[language]
        return pattern.sub(lambda m: words.get(m[0]) or words[m[0].lower()], spoken)

    def holds(self, spoken: str, language: str) -> bool:
        """Whether any of the words is in `spoken`."""
        pattern = self._patterns.get(language)
        return pattern is not None and pattern.search(spoken) is not None


def _pattern(words: Mapping[str, str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    exact = [
        rf"(?i:{re.escape(word)})" if word == word.lower() else re.escape(word)
        for word in longest_first
    ]
    return re.compile(rf"(?<!\w)(?:{'|'.join(exact)})(?!\w)")


def entry(word: str, language: str) -> str:
    """A word, or what is said for it, as texts are spoken. Raises `BadInput`."""
    spoken = text.spoken(word, language).text
    if not spoken:
        raise BadInput(f"{word!r} holds nothing that could be said")
    if len(spoken) > LONGEST:
        raise BadInput(f"a word has {LONGEST} characters at most, this one {len(spoken)}")
    return spoken
