"""What a command shows: tables for a person at 80 columns, JSON for a script."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from memolist_tts.core.counting import counted

console = Console(highlight=False, soft_wrap=True, markup=False)
"""Standard output: what was asked for, and nothing else."""
aside = Console(highlight=False, soft_wrap=True, markup=False, stderr=True)
"""Standard error: progress, and remarks that a script must not take for the answer."""

JsonFlag = Annotated[
    bool, typer.Option("--json", help="For scripts: JSON on standard output, nothing else.")
]
FOREVER = "until `resume`"
LEAST_WRAPPED = 12
"""Columns of the screen that a wrapped column of a table keeps."""
MOST_SHOWN = 200
"""Characters of a card's text."""
GAP = 2
"""Between the columns of a table."""
LONGEST_S = 5_300 * 604_800.0
"""A hundred years and a little."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WORDS = {"d": "day", "h": "hour", "m": "minute", "s": "second"}


def seconds(text: str) -> float:
    """`90s`, `30m`, `2h`, `1d` or `1w`, in seconds; an option's parser."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} isn't a time such as 90s, 30m, 2h, 1d or 1w")
    found = float(match[1]) * _UNITS[match[2]]
    if found > LONGEST_S:
        raise typer.BadParameter(f"{text!r} is longer than a hundred years (5200w)")
    return found


def emit(value: object) -> None:
    """One JSON value on a line of its own."""
    typer.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def short(text: str) -> str:
    """A text as far as a table or a line has room for it."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def answer(as_json: bool, told: object, *lines: str) -> None:
    """What a command did: `told` for a script, else `lines` for a person."""
    if as_json:
        emit(told)
        return
    for line in lines:
        console.print(line)


def _plain(value: object) -> object:
    match value:
        case Decimal():
            return float(value)
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case _:
            return str(value)


def table(*heads: str) -> Table:
    """A table without lines: its columns share the screen, and long texts wrap."""
    made = Table(box=None, pad_edge=False, show_header=bool(heads), header_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold")
    return made


def show(made: Table) -> None:
    """Print a table as wide as the screen; an id in a `no_wrap` column is whole at any width."""
    needed = sum(_least_width(column) + GAP for column in made.columns)
    if needed > console.width:
        made.width = needed
    console.print(made, soft_wrap=False, crop=False)


def _least_width(column: Column) -> int:
    lines = [line for cell in (column.header, *column.cells) for line in str(cell).split("\n")]
    widest = max(map(cell_len, lines), default=0)
    return widest if column.no_wrap else min(widest, LEAST_WRAPPED)


def pairs(rows: Iterable[tuple[str, str]]) -> None:
    """Names and values, one a line; a URL too long for that has the next line for its own."""
    told = list(rows)
    left = max((cell_len(name) for name, _ in told), default=0)
    made = _pairs(left)
    for name, value in told:
        if " " in value or left + GAP + cell_len(value) <= console.width:
            made.add_row(name, Text(value))
            continue
        made.add_row(name, "")
        show(made)
        made = _pairs(left)
        console.print(Text(value))
    if made.rows:
        show(made)


def _pairs(left: int) -> Table:
    made = table()
    made.add_column(no_wrap=True, min_width=left)
    made.add_column(overflow="fold")
    return made


def ended(count: int, noun: str, limit: int) -> None:
    """Say that there may be more than was shown."""
    if count >= limit:
        aside.print(f"The first {counted(limit, noun)}; --limit shows more.")


def when(value: datetime | None) -> str:
    """A time as a person reads it, in UTC."""
    return "" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"


def span(value: float) -> str:
    """A time in words: `90 days`."""
    unit = next((unit for unit in _WORDS if value >= _UNITS[unit]), "s")
    number = f"{value / _UNITS[unit]:g}"
    return f"{number} {_WORDS[unit]}" + ("" if number == "1" else "s")


def took(value: float | None) -> str:
    """Seconds, as `12.3 s`."""
    return "none" if value is None else f"{value:.1f} s"


def usd(value: Decimal | float | None) -> str:
    """Dollars, to what a short word costs; `?` where nobody knows."""
    if value is None:
        return "?"
    return f"{value:.2f} USD" if value == 0 or value >= 1 else f"{value:.4f} USD"


def pause_line(pause: Mapping[str, Any]) -> str:
    """Why no job is claimed, and until when."""
    until = f"until {when(pause['until'])} UTC" if pause["until"] else FOREVER
    whose = "" if pause["user_id"] is None else f" for user {pause['user_id']}"
    return f"Paused{whose} {until}: {pause['code'].partition(':')[0]}: {pause['message']}"


def progress(*, as_json: bool) -> Progress:
    """A bar on a terminal's standard error for work of more than a second; gone when it's done.

    A script that was started on a terminal gets none.
    """
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        console=aside,
        transient=True,
        disable=as_json or not aside.is_terminal,
    )
