"""The command that tells whether this deployment can speak."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from memolist_tts.assemble import Worker
from memolist_tts.cli import screen
from memolist_tts.cli.exits import Exit
from memolist_tts.cli.screen import JsonFlag, console
from memolist_tts.doctor import State, examine
from memolist_tts.settings import Needs, Settings

SIGNS = {State.OK: ("✓", "green"), State.WARNING: ("!", "yellow"), State.FAULT: ("✗", "red")}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    speak: Annotated[
        bool, typer.Option("--speak", help="Have each language say a word; costs under a cent.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check each part of this deployment. 3: one is at fault."""
    worker = Worker(Settings.load(Needs.WORKER))
    worst = State.OK
    for finding in examine(worker, speak=speak):
        worst = State.FAULT if State.FAULT in (worst, finding.state) else finding.state
        if as_json:
            screen.emit(asdict(finding))
            continue
        sign, colour = SIGNS[finding.state]
        line = Text.assemble((sign, colour), f" {finding.part}: {finding.told}")
        console.print(line)
    if worst is State.FAULT:
        raise typer.Exit(Exit.UNWELL)
