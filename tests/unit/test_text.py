"""What a voice reads of what a card shows."""

from __future__ import annotations

import csv
import random
import re
import signal
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memolist_tts.core.text import REASONS, TEXT_VERSION, Spoken, parts, spoken

TABLE = Path(__file__).parents[1] / "data" / "spoken.csv"


def _cases() -> Iterator[tuple[str, str, str]]:
    """Rows of the table; \\uXXXX in `shown` stands for what an editor wouldn't show."""
    with TABLE.open(encoding="utf-8", newline="") as lines:
        for language, shown, said, _why in list(csv.reader(lines))[1:]:
            real = re.sub(r"\\u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), shown)
            yield language, real, said


CASES = list(_cases())


@pytest.mark.parametrize(("language", "shown", "said"), CASES)
def test_a_card_is_read_as_the_table_says(language: str, shown: str, said: str) -> None:
    answer = spoken(shown, language)

    assert (answer.text or f"! {answer.code}") == said


@pytest.mark.parametrize(("language", "shown"), [case[:2] for case in CASES])
def test_a_spoken_text_is_its_own_spoken_text(language: str, shown: str) -> None:
    once = spoken(shown, language).text

    assert spoken(once, language).text == once


def test_the_table_is_the_one_of_this_version() -> None:
    assert TEXT_VERSION == 1
    assert len(CASES) >= 120


def test_a_missing_text_is_blank() -> None:
    assert spoken(None, "en") == Spoken("", "blank", REASONS["blank"])


def test_something_to_say_carries_no_reason() -> None:
    assert spoken("cat", "en") == Spoken("cat")


def test_every_reason_is_a_sentence_that_names_the_fix() -> None:
    assert all(re.fullmatch(r"The card.*; .*\.", reason) for reason in REASONS.values())


@pytest.mark.parametrize("shown", ["<b>" * 9 + "cat" + "</b>" * 9, "((((cat))))"])
def test_markup_nested_as_cards_nest_it_is_read(shown: str) -> None:
    assert spoken(shown, "en").text == "cat"


def test_clozes_are_read_at_any_depth() -> None:
    assert spoken("{{c1::a " * 5000 + "cat" + "::hint}}" * 5000, "en").text.endswith("a cat")


def test_notation_that_does_not_settle_is_refused_not_read_differently_each_time() -> None:
    assert spoken("n. " * 1000 + "cat", "en").code == "tangled"


SNIPPETS = """
a I word sth sb qqn qch. e.g. p. ex. n. v. adj m. n.m. Mr. he she and or / ( ) [ ] { } {{ }} {{c1::
:: [sound:x.mp3] <b> </b> <br> <p> <img> < > <3 <x &amp; &lt; &gt; &nbsp; &#60; amp; lt; * **
_ __ ` ~~ - – — -- = => -> → • · . .. ... … , ; : ! ? " ' « » “ ” ’ 1 2 12 1) 2. (s) (e) (n.) trice
https://a.b/c /ʃa/ ʃ 😀 ❤️ 1️⃣ 🇫🇷 # | ^ \\ \\( \\) $ + % © ® 漢 か é <script> </script> <!-- --> <rt>
:) () w/ w/o (s)he (le) se
"""
PIECES = [*SNIPPETS.split(), "e\u0301", "\u0301", "\u200b", "\u00ad", "\u00a0", "\n"]


def _random_cards(seed: int, count: int) -> Iterator[str]:
    chance = random.Random(seed)
    for _ in range(count):
        glue = chance.choice(["", " "])
        yield glue.join(chance.choices([*PIECES, " ", " ", "\n"], k=chance.randint(1, 14)))


@pytest.mark.parametrize("language", ["en", "fr", "de"])
def test_whatever_a_card_shows_ends_as_a_clean_text_or_a_reason(language: str) -> None:
    for shown in _random_cards(seed=TEXT_VERSION, count=1500):
        answer = spoken(shown, language)

        assert bool(answer.text) == (answer.code is None) == (answer.reason is None), shown
        assert answer.code is None or answer.reason == REASONS[answer.code], shown
        assert spoken(answer.text, language).text == answer.text, shown
        assert _is_clean(answer.text), (shown, answer.text)


def _is_clean(text: str) -> bool:
    return (
        text == unicodedata.normalize("NFC", " ".join(text.split()))
        and not any(unicodedata.category(c) in ("Cc", "Cs", "Co") for c in text)
        and not re.search("[\u200b-\u200f\u00ad\ufe0f]", text)
    )


@contextmanager
def _stopped_if_it_hangs() -> Iterator[None]:
    """A guard, no verdict on speed: quadratic work on these inputs takes minutes."""

    def stop(*_: object) -> None:
        raise AssertionError("more than linear work")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, 10)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


HOSTILE = (
    *("(", "()", "[", "{{", "{{c1::", "<", "<b ", '<a ="', "<a ='\"", "<!--", "<script ", "<rt>"),
    *("&amp;", "a/", "/ a", "/ʃ", "[ʃ", "a-", "a'", "a.", "a", " ", " \n", "__", "**a", "- ", "= "),
    *("1) ", ". .", ", ", "! ?", '" ', "n. ", " n.", "sth.", "[sound:", "[latex]", "\\(", "[a]("),
    *("www.", "😀\u200d", "\u0301", "漢[か]", ", -e", "(a b c d) ", " :)", ",-", "a, le", "le ("),
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_hostile_card_of_100_000_characters_is_prepared_in_linear_work(piece: str) -> None:
    shown = f"a {piece * (100_000 // len(piece))}"

    with _stopped_if_it_hangs():
        answer = spoken(shown, "fr")
        pieces = parts(answer.text)

    assert "".join(pieces).replace(" ", "") == answer.text.replace(" ", "")


def test_a_text_within_the_limit_is_one_part() -> None:
    assert parts("One. Two.", limit=9) == ["One. Two."]


def test_no_text_has_no_parts() -> None:
    assert parts("") == []


@pytest.mark.parametrize(
    ("text", "limit", "pieces"),
    [
        ("One two. Three, four.", 12, ["One two.", "Three, four."]),
        ('He said: "No!" Then he left.', 15, ['He said: "No!"', "Then he left."]),
        ("Is it? Yes! Well... good.", 12, ["Is it? Yes!", "Well...", "good."]),
        ("one two, three four", 12, ["one two,", "three four"]),
        ("one two three", 8, ["one two", "three"]),
        ("un extraordinairement long", 6, ["un", "extraordinairement", "long"]),
        ("Il voit M. Dupont. Il sort.", 20, ["Il voit M. Dupont.", "Il sort."]),
        ("I met Mr. Smith today", 12, ["I met Mr.", "Smith today"]),
        ("你好。再见。", 4, ["你好。", "再见。"]),
        ("漢字漢字漢字", 4, ["漢字漢字", "漢字"]),
    ],
)
def test_a_long_text_is_cut_at_sentences_then_clauses_then_words(
    text: str, limit: int, pieces: list[str]
) -> None:
    assert parts(text, limit) == pieces


def test_an_accent_stays_with_its_letter() -> None:
    assert parts("aaa \u0301bbb ccc", 5) == ["aaa \u0301bbb", "ccc"]


@pytest.mark.parametrize("limit", [1, 7, 40])
def test_parts_lose_nothing_and_cut_no_word(limit: int) -> None:
    for shown in _random_cards(seed=limit, count=300):
        text = spoken(shown, "fr").text

        pieces = parts(text, limit)

        assert "".join(pieces).replace(" ", "") == text.replace(" ", "")
        assert all(len(piece) <= limit or " " not in piece for piece in pieces), (text, pieces)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        parts("text", 0)
