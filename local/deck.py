"""Anyone's list of phrases: a file of two columns, as spreadsheets and Anki export it."""

from __future__ import annotations

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAX_CARDS = 200
"""The worker's own limit on a job (MAX_PHRASES_PER_JOB)."""
SAMPLE = Path(__file__).with_name("deck.csv")

_DELIMITERS = "\t;,"
"""The one a text is least likely to hold first."""
_ENGLISH = {"en", "english", "anglais", "texten", "text_en", "front", "recto"}
_FRENCH = {"fr", "french", "français", "francais", "textfr", "text_fr", "back", "verso"}


class DeckError(Exception):
    """The file isn't a deck; the text names the line and the fix."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """One card's two texts."""

    en: str
    fr: str


def read_deck(path: Path) -> list[Phrase]:
    """Read a deck from a file; see `parse_deck`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DeckError(f"{path} can't be read: {error.strerror}") from error
    return parse_deck(content, str(path))


def parse_deck(content: bytes, name: str = "the deck") -> list[Phrase]:
    """The phrases of a two-column file, English first unless its header says otherwise.

    Comma, semicolon or tab; UTF-8 (with or without a byte order mark), UTF-16 or what
    older spreadsheets write in Western Europe. Raises `DeckError`.
    """
    text = _decoded(content, name)
    rows = list(_rows(text, _delimiter(text), name))
    is_swapped = bool(rows) and _is_header(rows[0][1][::-1])
    if is_swapped or (rows and _is_header(rows[0][1])):
        del rows[0]
    if not rows:
        raise DeckError(f"{name} holds no cards: write one a line, as in: cat,chat")
    if len(rows) > MAX_CARDS:
        raise DeckError(
            f"{name}, line {rows[MAX_CARDS][0]}: {len(rows)} cards, and a job takes {MAX_CARDS} "
            f"at most: delete {len(rows) - MAX_CARDS} of them or split the file"
        )
    phrases = [_phrase(line, cells, name) for line, cells in rows]
    return [Phrase(phrase.fr, phrase.en) for phrase in phrases] if is_swapped else phrases


def _decoded(content: bytes, name: str) -> str:
    if content.startswith(b"PK\x03\x04"):
        raise DeckError(f'{name} is a workbook or an archive: export it as "CSV UTF-8" first')
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", errors="replace")
    for encoding in ("utf-8-sig", "cp1252", "latin-1"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("latin-1 decodes everything")


def _delimiter(text: str) -> str:
    """The one that makes the most lines two columns."""

    def fit(delimiter: str) -> tuple[int, int]:
        widths: Counter[int] = Counter()
        with contextlib.suppress(DeckError):
            for _, cells in _rows(text, delimiter, ""):
                widths[min(len(cells), 3)] += 1
        return widths[2], widths[3]

    return max(_DELIMITERS, key=fit)


def _rows(text: str, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each row's first line and its cells: without blank rows and empty cells at the end."""
    lines = io.StringIO(text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for row in reader:
            cells = [" ".join(cell.split()) for cell in row]
            while len(cells) > 2 and not cells[-1]:
                cells.pop()
            if any(cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DeckError(
            f"{name}, line {line}: a quotation mark is missing or too many ({error}): "
            'put "..." round the whole text, and write "" for one inside it'
        ) from error


def _is_header(cells: list[str]) -> bool:
    first, second = (cells[0].lower(), cells[-1].lower()) if len(cells) == 2 else ("", "")
    return first in _ENGLISH and second in _FRENCH


def _phrase(line: int, cells: list[str], name: str) -> Phrase:
    if len(cells) == 1:
        raise DeckError(
            f"{name}, line {line}: one column only ({cells[0]!r}): "
            "write both texts, with a comma, a semicolon or a tab between them"
        )
    if len(cells) > 2:
        raise DeckError(
            f"{name}, line {line}: {len(cells)} columns: "
            'keep two, and put "..." round a text that holds the separator'
        )
    if not all(cells):
        which = "first" if not cells[0] else "second"
        raise DeckError(
            f"{name}, line {line}: the {which} text is empty: write it or drop the line"
        )
    return Phrase(*cells)
