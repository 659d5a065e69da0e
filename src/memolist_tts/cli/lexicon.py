"""Commands about words that a voice gets wrong: lexicon add, list, remove."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import typer

from memolist_tts.assemble import Worker
from memolist_tts.cli import screen
from memolist_tts.cli.cards import (
    Code,
    DryRun,
    Most,
    Yes,
    agree,
    cards_of,
    first,
    is_agreed,
    language_of,
    order,
)
from memolist_tts.cli.screen import JsonFlag, console
from memolist_tts.core import text
from memolist_tts.core.counting import counted
from memolist_tts.core.errors import MemolistError
from memolist_tts.core.lexicon import Lexicon, entry
from memolist_tts.core.model import Line, Options
from memolist_tts.core.orders import Found, said
from memolist_tts.settings import Needs, Settings

Word = Annotated[str, typer.Argument(help="A word or words, as the card's text has them.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Words that a voice gets wrong. What it is given to read instead.",
    )
    for name, command in (("add", add), ("list", list_words), ("remove", remove)):
        group.command(name)(command)
    app.add_typer(group, name="lexicon")


def add(
    language: Code,
    word: Word,
    said_as: Annotated[str, typer.Argument(metavar="SAID", help="What is read instead.")],
    limit: Most = 1000,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Have a word said otherwise, in every later job and on the cards that have it."""
    worker = Worker(Settings.load(Needs.DATABASE | Needs.STORAGE))
    code = language_of(worker, language).code
    word, said_as = entry(word, code), entry(said_as, code)
    words = worker.cards.lexicon()
    words.setdefault(code, {})[word] = said_as
    wanted = first(_touched(worker, code, word, words), limit, as_json=as_json)
    screen.ended(len(wanted), "utterance", limit)
    if not (dry_run or yes):
        agree(worker, wanted, as_json=as_json)
    if not dry_run:
        # The word first: a broken connection after it leaves cards for the same command again.
        worker.orders.add_word(code, word, said_as)
    order(worker, wanted, dry_run=dry_run, as_json=as_json)


def remove(
    language: Code,
    word: Word,
    limit: Most = 1000,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Have a word said as it is written again.

    It is taken out at once. Whether the cards that have it are spoken anew is asked then; until
    they are, they keep their audio, and the same command asks again.
    """
    worker = Worker(Settings.load(Needs.DATABASE | Needs.STORAGE))
    code = language_of(worker, language).code
    word = entry(word, code)
    words = worker.cards.lexicon()
    words.get(code, {}).pop(word, None)
    wanted = first(_touched(worker, code, word, words), limit, as_json=as_json)
    screen.ended(len(wanted), "utterance", limit)
    if not dry_run:
        _take_out(worker, code, word, is_said=bool(wanted), as_json=as_json)
    if not (dry_run or yes or is_agreed(worker, wanted, dry_run=False, as_json=as_json)):
        cards = counted(cards_of(wanted), "card")
        screen.aside.print(f"Audio of before stays on {cards}; --yes has it spoken anew.")
        return
    order(worker, wanted, dry_run=dry_run, as_json=as_json)


def _take_out(worker: Worker, language: str, word: str, *, is_said: bool, as_json: bool) -> None:
    """Before anything is asked or spoken; `is_said`: cards say it as it was still."""
    if worker.orders.remove_word(language, word):
        if not as_json:
            console.print(f"removed: {word!r} is said as it is written in every later job")
    elif not is_said:
        raise MemolistError(f"the lexicon of {language!r} has no {word!r}")


def list_words(as_json: JsonFlag = False) -> None:
    """The whole lexicon."""
    words = Worker(Settings.load(Needs.DATABASE)).orders.words()
    if as_json:
        for each in words:
            screen.emit(each)
        return
    if not words:
        console.print("No words.")
        return
    table = screen.table("in", "word", "said as", "since (UTC)")
    for each in words:
        since = screen.when(each["updated_at"])
        table.add_row(each["language"], each["word"], each["said"], since)
    screen.show(table)


def _touched(
    worker: Worker, language: str, word: str, words: dict[str, dict[str, str]]
) -> Iterator[tuple[Found, Line]]:
    """The cards that have the word, and whose clip doesn't say it as `words` has it.

    They keep the voice they have.
    """
    only = Lexicon({language: {word: word}})
    script = worker.script(Options(), words)
    for page in worker.cards.carrying({"language": language}, pattern=_pattern(word)):
        having = [
            replace(each, phrase=replace(each.phrase, voice=each.clip_voice))
            for each in page
            if not each.phrase.say
            and only.holds(text.spoken(each.phrase.shown, language).text, language)
        ]
        for found, line in said(having, script):
            if isinstance(line, Line) and line.spoken != found.clip_text:
                yield found, line


def _pattern(word: str) -> str:
    """For ILIKE: whatever may be compared otherwise there (accents, apostrophes) is open."""
    return "%" + re.sub(r"[^A-Za-z0-9]+", "%", word) + "%"
