"""Anyone's list of phrases: a file of two columns, as spreadsheets and Anki export it."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

MAX_CARDS = 200
"""The worker's own limit on a job (MAX_PHRASES_PER_JOB)."""
SAMPLE = Path(__file__).with_name("deck.csv")

_DELIMITERS = "\t;,"
"""The one a text is least likely to hold first."""
_DIRECTIVE = re.compile(
    r"#(separator|html|columns|if matches|(?:guid|notetype|deck|tags)(?: column)?):(.*)", re.I
)
"""Anki's leading lines (https://docs.ankiweb.net/importing/text-files.html#file-headers)."""
_ANKI_DELIMITERS = {
    "comma": ",", "semicolon": ";", "tab": "\t", "space": " ", "pipe": "|", "colon": ":"
}  # fmt: skip
_HEADINGS = {
    "en": {"en", "english", "anglais", "texten"},
    "fr": {"fr", "french", "français", "francais", "textfr"},
    "first": {"front", "recto", "term", "word", "question"},
    "second": {"back", "verso", "definition", "translation", "answer"},
    "": {"text", "side"},
}
"""Words a header is made of, by what they say of their column; a language tells most."""


class DeckError(Exception):
    """The file isn't a deck; the text names the line and the fix."""


@dataclass(frozen=True, slots=True)
class Phrase:
    """One card's two texts."""

    en: str
    fr: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deck:
    """The cards of a file, in its order."""

    phrases: tuple[Phrase, ...]
    ignored: tuple[str, ...] = ()
    """The columns that weren't read: "column 3 (Tags)"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Preamble:
    """What Anki's leading lines say, and the rest of the file."""

    text: str
    lines: int = 0
    delimiter: str | None = None
    names: str | None = None
    kept_apart: Mapping[int, str] = field(default_factory=dict)
    """Columns (from 0) that hold no field of the note, and what they hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Where the two texts are, from 0."""

    en: int
    fr: int
    names: Sequence[str] = ()
    """The header's, where there is one."""


def read_deck(path: Path) -> Deck:
    """Read a deck from a file; see `parse_deck`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DeckError(f"{path} can't be read: {error.strerror}") from error
    return parse_deck(content, str(path))


def parse_deck(content: bytes, name: str = "the deck") -> Deck:
    """The phrases of a file, English in the first column unless its header says otherwise.

    Comma, semicolon or tab; UTF-8 (with or without a byte order mark), UTF-16 or what
    older spreadsheets write in Western Europe; Anki's own exports. Further columns are
    ignored where a header names them or tabs keep them apart. Raises `DeckError`.
    """
    text = _decoded(content, name)
    if (at := text.find("\0")) >= 0:
        raise DeckError(
            f"{name}, line {text.count(chr(10), 0, at) + 1}: a NUL character, which no text holds: "
            'save the file as "CSV UTF-8"'
        )
    preamble = _preamble(text)
    delimiter = preamble.delimiter or _delimiter(preamble)
    rows = list(_rows(preamble, delimiter, name))
    columns = _header(rows, preamble, delimiter, name)
    if columns and preamble.names is None:
        del rows[0]
    if not rows:
        raise DeckError(f"{name} holds no cards: write one a line, as in: cat,chat")
    if len(rows) > MAX_CARDS:
        raise DeckError(
            f"{name}, line {rows[MAX_CARDS][0]}: {len(rows)} cards, and a job takes {MAX_CARDS} "
            f"at most: delete {len(rows) - MAX_CARDS} of them or split the file"
        )
    is_plain = delimiter == "\t" or preamble.delimiter is not None
    width = None if is_plain else max(2, len(columns.names) if columns else 0)
    columns = columns or _in_order(preamble)
    phrases = tuple(_phrase(line, cells, columns, width, name) for line, cells in rows)
    return Deck(phrases=phrases, ignored=tuple(_ignored(rows, columns, preamble)))


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


def _preamble(text: str) -> _Preamble:
    """Anki's `#key:value` lines, read and taken off."""
    said: dict[str, str] = {}
    lines = text.splitlines(keepends=True)
    taken = 0
    while taken < len(lines) and (directive := _DIRECTIVE.fullmatch(lines[taken].rstrip())):
        said[directive[1].lower()] = directive[2]
        taken += 1
    separator = said.get("separator", "").strip().lower()
    apart = {
        int(value) - 1: key.removesuffix(" column")
        for key, value in said.items()
        if key.endswith(" column") and value.strip().isdecimal()
    }
    return _Preamble(
        text="".join(lines[taken:]),
        lines=taken,
        delimiter=_ANKI_DELIMITERS.get(separator, separator[:1]) or None,
        names=said.get("columns"),
        kept_apart=apart,
    )


def _delimiter(preamble: _Preamble) -> str:
    """The one that makes a header of the first line, or else the most lines two columns."""

    def fit(delimiter: str) -> tuple[bool, bool, int, int]:
        widths: Counter[int] = Counter()
        first: list[str] = []
        with contextlib.suppress(DeckError):
            for _, cells in _rows(preamble, delimiter, ""):
                first = first or cells
                widths[min(len(cells), 3)] += 1
        # Nobody writes a tab into a text.
        is_tabbed = delimiter == "\t" and widths[2] + widths[3] > widths[1]
        return len(_places(first)) > 1, is_tabbed, widths[2], widths[3]

    return max(_DELIMITERS, key=fit)


def _rows(preamble: _Preamble, delimiter: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Each row's first line and its cells: without blank rows and empty cells at the end."""
    lines = io.StringIO(preamble.text, newline="")
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    line = preamble.lines + 1
    try:
        for row in reader:
            cells = [" ".join(cell.split()) for cell in row]
            while len(cells) > 2 and not cells[-1]:
                cells.pop()
            if any(cells):
                yield line, cells
            line = preamble.lines + reader.line_num + 1
    except csv.Error as error:
        raise DeckError(
            f"{name}, line {line}: a quotation mark is missing or too many ({error}): "
            'put "..." round the whole text, and write "" for one inside it'
        ) from error


def _header(
    rows: Sequence[tuple[int, list[str]]], preamble: _Preamble, delimiter: str, name: str
) -> _Columns | None:
    """What the first line, or Anki's own, says of the columns; None where it is no header."""
    line, names = rows[0] if rows else (1, [])
    if preamble.names is not None:
        line, names = 1, [each.strip() for each in preamble.names.split(delimiter)]
    places = _places(names)
    match places:
        case {"en": en, "fr": fr}:
            return _Columns(en=en, fr=fr, names=names)
        case {"first": first, "second": second} if first > second:
            raise DeckError(
                f"{name}, line {line}: {names[second]!r} before {names[first]!r} doesn't say which "
                "column is English: write English and French instead"
            )
        case {"first": first, "second": second}:
            return _Columns(en=first, fr=second, names=names)
        case _:
            return None


def _places(names: Sequence[str]) -> dict[str, int]:
    """The column of each language; or else of "first" and "second", if no language is named.

    One language and one column of the other words name both languages.
    """
    kinds = [_kind(name) for name in names]
    places = {kind: kinds.index(kind) for kind in kinds if kind and kinds.count(kind) == 1}
    languages = places.keys() & {"en", "fr"}
    if not languages:
        return places
    others = [places[kind] for kind in ("first", "second") if kind in places]
    if len(languages) == 1 and len(others) == 1:
        (other,) = {"en", "fr"} - languages
        places[other] = others[0]
    return {kind: places[kind] for kind in ("en", "fr") if kind in places}


def _kind(name: str) -> str:
    """What a heading says of its column: a key of `_HEADINGS`; '' where it is something else."""
    words = set(re.findall(r"[^\W_]+", name.lower()))
    if not words <= set().union(*_HEADINGS.values()):
        return ""
    kinds = [kind for kind, known in _HEADINGS.items() if kind and words & known]
    is_both = kinds[:2] == ["en", "fr"]
    return kinds[0] if kinds and not is_both else ""


def _in_order(preamble: _Preamble) -> _Columns:
    """The first two columns that hold a field."""
    free = (at for at in count() if at not in preamble.kept_apart)
    return _Columns(en=next(free), fr=next(free))


def _phrase(
    line: int, cells: Sequence[str], columns: _Columns, width: int | None, name: str
) -> Phrase:
    """`width` is the most columns a row may have; None: as many as it likes."""
    if len(cells) == 1:
        raise DeckError(
            f"{name}, line {line}: one column only ({cells[0]!r}): "
            "write both texts, with a comma, a semicolon or a tab between them"
        )
    if width is not None and len(cells) > width:
        raise DeckError(
            f"{name}, line {line}: {len(cells)} columns: keep {'two' if width == 2 else width}, "
            'and put "..." round a text that holds the separator'
            + ("" if columns.names else ", or name the columns English and French in a first line")
        )
    texts = {at: cells[at] if at < len(cells) else "" for at in sorted((columns.en, columns.fr))}
    for which, text in zip(("first", "second"), texts.values(), strict=True):
        if not text:
            raise DeckError(
                f"{name}, line {line}: the {which} text is empty: write it or drop the line"
            )
    return Phrase(texts[columns.en], texts[columns.fr])


def _ignored(
    rows: Sequence[tuple[int, Sequence[str]]], columns: _Columns, preamble: _Preamble
) -> Iterator[str]:
    names = dict(enumerate(columns.names)) | dict(preamble.kept_apart)
    widest = max(len(cells) for _, cells in rows)
    for at in range(max(widest, len(columns.names))):
        if at not in (columns.en, columns.fr):
            yield f"column {at + 1}" + (f" ({names[at]})" if names.get(at) else "")
