"""Which language a text is to be spoken in. An honest guess: it can be wrong, as life's is."""

from __future__ import annotations

import re

NAMES = {
    "en": r"english|anglaise?s?|british|american|englisch\w*",
    "fr": r"french|fran[cç]aise?s?|francophone|französisch\w*",
    "de": r"german|allemande?s?|deutsch\w*",
    "es": r"spanish|espagnole?s?|español",
    "it": r"italian|italienn?e?s?|italiano",
    "nl": r"dutch|néerlandaise?s?|nederlands",
    "pt": r"portuguese|portugaise?s?|português",
}
"""What instructions call a language, by ISO 639-1 code."""

_NAMED = {
    code: re.compile(rf"\b(?:{names})\b|[\"'“]{code}[\"'”]", re.I) for code, names in NAMES.items()
}
_DENIED = re.compile(r"\b(?:no|not|without|avoid|never|sans|pas|aucun)(?:\W+\w+){0,2}\W*$", re.I)

_FRENCH_WORDS = """
le la les un une des du de et est sont au aux ce cette ces je tu il elle nous vous ils elles
ne pas que qui dans pour avec sur mon ma mes ton ta tes son sa ses leur où mais ou donc
être avoir faire aller bonjour merci oui non se en par plus très bien ça y puis comment hui chez
"""
_ENGLISH_WORDS = """
the a an of to and is are in at it he she we you they my your his her our their this that
these those not for with be have do i was were has had can will would there what when where
hello thank yes no or but if so up out by from as me him them its
"""


def _any_of(words: str) -> str:
    return rf"\b(?:{'|'.join(words.split())})\b"


_SIGNS = {
    "fr": {
        _any_of(_FRENCH_WORDS): 2,
        r"[àâæçéèêëîïôœùûÿ]": 2,
        r"\b(?:[cdjlmnst]|qu|jusqu|lorsqu)['\u2019](?=[aeiouyhàâéèêîôû])": 2,
        r"\w(?:eaux?|eux|euse|oire?|ique|[es]tte|elle|quer|ouille|ons|ez)\b": 1,
    },
    "en": {
        _any_of(_ENGLISH_WORDS): 2,
        r"\w['\u2019](?:s|t|re|ll|ve|d|m)\b": 2,
        r"\b(?:wh|th|kn|wr|sh)\w": 1,
        r"\w(?:ing|ness|ght|ship|ful|less|ly|ck)\b": 1,
        r"\w(?:oo|ee|sh|wh)\w|[kw]": 1,
    },
}
"""What a language looks like: patterns, and how much each occurrence tells."""


def guess(text: str, instructions: str | None, default: str) -> str:
    """ISO 639-1 code: what the instructions name, else what the text looks like, else `default`."""
    return named(instructions or "") or looks(text) or default


def named(instructions: str) -> str | None:
    """The first language that `instructions` name, in words or as a quoted code ("fr").

    "No English accent" names none.
    """
    asked = [
        (found.start(), code)
        for code, pattern in _NAMED.items()
        for found in pattern.finditer(instructions)
        if not _DENIED.search(instructions[: found.start()])
    ]
    return min(asked)[1] if asked else None


def looks(text: str) -> str | None:
    """ "en" or "fr" by accents, function words and spelling; None where they don't tell."""
    scores = {
        code: sum(weight * len(re.findall(sign, text, re.I)) for sign, weight in signs.items())
        for code, signs in _SIGNS.items()
    }
    if scores["fr"] == scores["en"]:
        return None
    return max(scores, key=lambda code: scores[code])
