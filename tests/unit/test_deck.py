"""Anyone's two columns, as the programs people keep their vocabulary in write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.deck import MAX_CARDS, SAMPLE, DeckError, Phrase, parse_deck, read_deck

CAT = Phrase("cat", "chat")


def phrases(content: bytes) -> list[Phrase]:
    return list(parse_deck(content).phrases)


@pytest.mark.parametrize(
    "content",
    [
        b"cat,chat",
        b"cat;chat\r\n",
        b"cat\tchat\n",
        b'"cat","chat"\n',
        b' cat , "chat"\n\n',
        b"cat,chat,,\n",
        b"en,fr\ncat,chat\n",
        b"Fran\xc3\xa7ais;English\nchat;cat\n",
        b"\xef\xbb\xbfEN,FR\ncat,chat\n",
        "English\tFrench\r\ncat\tchat\r\n".encode("utf-16"),
        b"cat,chat\r",
        b"Term,Definition\ncat,chat\n",
        b"word\ttranslation\ncat\tchat\n",
        b"Question;Answer\ncat;chat\n",
        b"FRONT,BACK\ncat,chat\n",
        b"Front (French),Back (English)\nchat,cat\n",
        b"French term,Definition\nchat,cat\n",
        b"Translation,text_en\nchat,cat\n",
        b"#separator:tab\n#html:true\ncat\tchat\n",
        b"#separator:Semicolon\n#columns:Back;Text (en);Text (fr)\nx;cat;chat\n",
        b"#separator:pipe\r\n#html:false\r\ncat|chat\r\n",
    ],
)
def test_the_same_card_is_read_from_every_way_to_write_it(content: bytes) -> None:
    assert parse_deck(content).phrases == (CAT,)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_accents_and_ligatures_survive_their_encoding(encoding: str) -> None:
    content = "my sister’s heart;le cœur de ma sœur, là\n".encode(encoding)

    assert phrases(content) == [Phrase("my sister’s heart", "le cœur de ma sœur, là")]


def test_bytes_that_no_older_code_page_has_are_read_as_latin_1() -> None:
    assert phrases(b"\x81t\xe9,\xe9t\xe9\n") == [Phrase("\x81té", "été")]


def test_the_separator_is_the_one_that_makes_two_columns_of_most_lines() -> None:
    content = b"Good morning, Sir;Bonjour, monsieur\nYes, well, no;Oui\nhello;salut\n"

    assert phrases(content)[0] == Phrase("Good morning, Sir", "Bonjour, monsieur")


def test_a_text_may_hold_quotes_the_separator_and_line_breaks() -> None:
    content = b'"He said ""yes"", then left","Il a dit\n""oui"""\ncat,chat\n'

    assert phrases(content) == [Phrase('He said "yes", then left', 'Il a dit "oui"'), CAT]


@pytest.mark.parametrize(
    ("content", "ignored"),
    [
        (b"cat\tchat\tanimals\n", ("column 3",)),
        (b"cat\tchat, le\tone, two\nbye\tsalut\n", ("column 3",)),
        (b"Tags;English;French\nx, y;cat;chat\n;cat;chat\n", ("column 1 (Tags)",)),
        (b"Front,Back,Tags\ncat,chat\n", ("column 3 (Tags)",)),
        (b"en,fr,en example\ncat,chat,the cat\n", ("column 3 (en example)",)),
        (
            b'#separator:tab\n#html:true\n#guid column:1\n#tags column:4\na\tcat\t"chat"\tx y\n',
            ("column 1 (guid)", "column 4 (tags)"),
        ),
    ],
)
def test_columns_beyond_the_two_are_left_and_named(content: bytes, ignored: tuple[str]) -> None:
    deck = parse_deck(content)

    assert deck.phrases[0].en == "cat"
    assert deck.phrases[0].fr.startswith("chat")
    assert deck.ignored == ignored


@pytest.mark.parametrize(
    "content",
    [
        b"French,fran\xc3\xa7ais",
        b"question,question",
        b"translation,traduction",
        b"#1,num\xc3\xa9ro un",
    ],
)
def test_a_first_line_that_only_resembles_a_header_is_a_card(content: bytes) -> None:
    assert len(phrases(content)) == 1


def test_words_that_could_be_a_header_are_a_card_below_the_first_line() -> None:
    assert phrases(b"cat,chat\nEnglish,French\n") == [CAT, Phrase("English", "French")]


@pytest.mark.parametrize(
    ("content", "line", "fix"),
    [
        (b"cat,chat\n\ndog\n", "line 3", "write both texts"),
        (b"cat,chat\na,b,c\n", "line 2", "keep two"),
        (b"a;b;c\n", "line 1", "keep two"),
        (b"cat,chat\ndog,\n", "line 2", "the second text is empty"),
        (b",chat\n", "line 1", "the first text is empty"),
        (b'"two\nlines",deux\n"dog,chien\n', "line 3", "quotation mark"),
        (b"en,fr\nyes, sir,oui\n", "line 2", "keep two"),
        (b"en,fr,tags\nyes, sir,oui,x\n", "line 2", "keep 3"),
        (b"a;b;c\n", "line 1", "name the columns English and French"),
        (b"Definition,Term\nchat,cat\n", "line 1", "write English and French"),
        (b"#html:true\ncat,chat\ndog\n", "line 3", "write both texts"),
        (b"#separator:tab\n#guid column:1\na\tcat\n", "line 3", "the second text is empty"),
        (b"", "holds no cards", "cat,chat"),
        (b"en,fr\n\n", "holds no cards", "cat,chat"),
        (b"PK\x03\x04...", "workbook", "CSV UTF-8"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_its_fix(
    content: bytes, line: str, fix: str
) -> None:
    with pytest.raises(DeckError) as caught:
        parse_deck(content, "mine.csv")

    assert "mine.csv" in str(caught.value)
    assert line in str(caught.value)
    assert fix in str(caught.value)


def test_a_job_s_limit_of_cards_is_told_before_anything_starts() -> None:
    content = b"en,fr\n" + b"cat,chat\n" * (MAX_CARDS + 3)

    with pytest.raises(DeckError, match=r"line 202: 203 cards.* 200 at most: delete 3 of them"):
        parse_deck(content)

    assert len(phrases(b"cat,chat\n" * MAX_CARDS)) == MAX_CARDS


def test_a_file_that_isn_t_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeckError, match=r"mine\.csv can't be read: No such file"):
        read_deck(tmp_path / "mine.csv")


def test_the_sample_deck_has_what_a_voice_stumbles_over() -> None:
    deck = read_deck(SAMPLE).phrases

    texts = [text for phrase in deck for text in (phrase.en, phrase.fr)]
    assert len(deck) == 20
    assert len(set(deck)) == 19
    assert {"chat", "pain", "main"} <= {p.en for p in deck} & {p.fr for p in deck}
    for mark in ("é", "ê", "À", "ë", "œ", "'", "<b>", "&nbsp;", "?"):
        assert any(mark in text for text in texts), mark
