"""Whether a model that can answer or reword has read the text and nothing else.

The text of a card and the transcript of what was said are compared by how they are
*said*: each becomes the lattice of all its readings, and they agree if one reading is
common to both. So "14" is "quatorze" and never "quinze", "1998" is "nineteen
ninety-eight" in whichever of the two the digits are, and "Mr." is "mister". Case,
accents, ligatures, punctuation and spaces don't count. A word more, a word less, a
translation, or a word that only sounds alike ("their", "there") is something else.

English and French numbers, signs and abbreviations are known. In any other language
only what is written alike agrees: digits must come back as digits, signs as signs.
"""

from __future__ import annotations

from memolist_tts.core.verbatim.english import ENGLISH
from memolist_tts.core.verbatim.french import FRENCH
from memolist_tts.core.verbatim.lattice import agree
from memolist_tts.core.verbatim.readings import READ_SIGNS, lattice

_TONGUES = {"en": ENGLISH, "fr": FRENCH}


def says(transcript: str, spoken: str, language: str) -> bool:
    """Whether `transcript` is what a reader of `spoken` says, all of it and no more.

    `language` is the text's ISO 639-1 code. An empty transcript says nothing, so it's no.
    """
    if not any(char.isalnum() or char in READ_SIGNS for char in transcript):
        return False
    tongue = _TONGUES.get(language)
    return agree(lattice(transcript, tongue), lattice(spoken, tongue))
