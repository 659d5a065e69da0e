"""Words that are said otherwise."""

from __future__ import annotations

import pytest

from memolist_tts.core.errors import MemolistError
from memolist_tts.core.lexicon import Lexicon, entry

WORDS = Lexicon({"fr": {"chat": "cha", "petit chat": "minou", "US": "u s", "l'os": "loss"}})


@pytest.mark.parametrize(
    ("spoken", "said"),
    [
        ("le chat", "le cha"),
        ("Chat noir", "cha noir"),
        ("le chaton, le château", "le chaton, le château"),
        ("un petit chat", "un minou"),
        ("chat, chat!", "cha, cha!"),
        ("US et us", "u s et us"),
        ("C'est l'os.", "C'est loss."),
        ("éch", "éch"),
    ],
)
def test_whole_words_are_said_otherwise_the_longest_first(spoken: str, said: str) -> None:
    assert WORDS.said(spoken, "fr") == said


def test_a_word_is_replaced_once() -> None:
    swap = Lexicon({"en": {"lead": "led", "led": "l e d"}})

    assert swap.said("lead led", "en") == "led l e d"


def test_another_language_and_an_empty_lexicon_change_nothing() -> None:
    assert WORDS.said("chat", "en") == "chat"
    assert Lexicon().said("chat", "fr") == "chat"
    assert not Lexicon({"fr": {}}).holds("chat", "fr")


def test_an_entry_is_kept_as_texts_are_spoken() -> None:
    assert entry(" l’eau ", "fr") == "l'eau"


@pytest.mark.parametrize("word", ["", "…", "[sound:x.mp3]", "x" * 201])
def test_an_entry_that_can_not_be_said_is_refused(word: str) -> None:
    with pytest.raises(MemolistError):
        entry(word, "fr")
