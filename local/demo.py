"""`python -m local.demo [DECK.csv]`: a deck is spoken, end to end, on real parts.

What it printed and wrote stays when everything has stopped: `.demo/audio` plays the part
of the CDN, and `.demo/index.html` has a player for every clip.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
import webbrowser
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from local.api import Api
from local.check import AUDIBLE, faults
from local.deck import SAMPLE, DeckError, Phrase, read_deck
from local.job import JobStalled, Utterance, follow, order, utterances
from local.page import Clip, write_page
from local.stack import Embedded, embedded

PIPED_WIDTH = 240
"""Where no terminal says how wide it is: each URL on one line."""


class DemoError(Exception):
    """The job didn't complete; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit status."""
    options = _options(arguments)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)
    try:
        phrases = read_deck(Path(options.deck or SAMPLE))
        wrong = _run(console, phrases, Path(options.folder).resolve(), options.check)
    except (DeckError, DemoError) as error:
        wrong = [str(error)]
    except KeyboardInterrupt:
        return 130
    for each in wrong:
        console.print(f"✗ {each}", style="red", markup=False)
    return 1 if wrong else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.demo", description="Speak a deck.")
    parser.add_argument("deck", nargs="?", help="a file of two columns, English and French")
    parser.add_argument("--check", action="store_true", help="verify rows, objects and audio")
    parser.add_argument("--folder", default=".demo", help="for the page and its clips")
    return parser.parse_args(arguments)


def _run(console: Console, phrases: Sequence[Phrase], folder: Path, is_checked: bool) -> list[str]:
    """Speak the deck and show it; what `--check` found wrong."""
    started = time.monotonic()
    audio = _emptied(folder / "audio")
    with ExitStack() as running:
        with console.status("Starting PostgreSQL, an AWS emulator and a speech server"):
            stack = running.enter_context(embedded(public_base_url=audio.as_uri()))
            api = running.enter_context(Api(stack.database_url))
        _tell_left_out(console, stack)
        list_id = api.add_list((phrase.en, phrase.fr) for phrase in phrases)
        job_id = order(stack, api, list_id)
        _watch(console, stack, api, job_id)
        heard = utterances(api, job_id)
        _copy(stack.objects(), audio)
        page = folder / "index.html"
        write_page(page, "A deck, spoken", _clips(heard, audio))
        _show(console, heard, page, time.monotonic() - started)
        wrong = faults(stack, api, list_id, job_id, audio) if is_checked else []
    if is_checked and not wrong:
        console.print("✓ Checked: rows, objects, audio and charges.", style="green")
    if _has_screen():
        webbrowser.open(page.as_uri())
    return wrong


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _tell_left_out(console: Console, stack: Embedded) -> None:
    if stack.stack.left_out:
        names = ", ".join(stack.stack.left_out)
        console.print(f"Not deployed, the emulator doesn't know it: {names}", style="dim")


def _watch(console: Console, stack: Embedded, api: Api, job_id: str) -> None:
    """Show a job's progress until it is completed. Raises `DemoError`, the log printed."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
            task = bar.add_task("queued", total=None)
            for now in follow(api, job_id):
                bar.update(
                    task, description=now.status, completed=now.done, total=now.total or None
                )
    except JobStalled as stalled:
        console.print(stack.log(), style="dim", markup=False)
        raise DemoError(str(stalled)) from stalled
    if now.status != "completed":
        console.print(stack.log(), style="dim", markup=False)
        raise DemoError(f"the job ended as {now.status}: {now.why}")


def _copy(objects: dict[str, bytes], audio: Path) -> None:
    """What a CDN does, so that every URL plays after the bucket is gone."""
    for name, mp3 in objects.items():
        target = audio / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(mp3)


def _clips(heard: Sequence[Utterance], audio: Path) -> list[list[Clip]]:
    base = audio.parent.as_uri() + "/"
    audible = [each for each in heard if each.state in AUDIBLE]
    return [
        [
            Clip(
                language=each.language,
                text=each.spoken,
                shown_text=each.shown,
                duration_s=each.duration_ms / 1000,
                path=(each.url or "").removeprefix(base),
            )
            for each in card
        ]
        for _, card in groupby(audible, key=lambda each: each.card)
    ]


def _show(console: Console, heard: Sequence[Utterance], page: Path, elapsed_s: float) -> None:
    table = Table("card", "", "text", "seconds", "URL", box=None, pad_edge=False)
    table.columns[0].justify = table.columns[3].justify = "right"
    for each in heard:
        link = Text(each.url or each.message, overflow="ellipsis", no_wrap=True)
        if each.url:
            link.stylize(f"link {each.url}")
        seconds = f"{each.duration_ms / 1000:.2f}" if each.duration_ms else each.state
        table.add_row(str(each.card), each.language, Text(each.spoken), seconds, link)
    console.print(table)
    states = Counter(each.state for each in heard)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    console.print(f"{len(heard)} utterances in {elapsed_s:.1f} s: {counts}.", style="bold")
    console.print("The voices are synthetic (AI); whoever listens must be told so.")
    console.print("Listen:", Text(str(page), style=f"link {page.as_uri()}"))


def _has_screen() -> bool:
    """Whether somebody sits before this terminal with a screen to open a page on."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or any(
        os.environ.get(d) for d in ("DISPLAY", "WAYLAND_DISPLAY")
    )


if __name__ == "__main__":
    sys.exit(main())
