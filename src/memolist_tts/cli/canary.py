"""The command that has the golden phrases spoken, and tells whether the voices have drifted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from memolist_tts.assemble import Worker
from memolist_tts.cli import screen
from memolist_tts.cli.exits import Exit
from memolist_tts.cli.screen import JsonFlag, console
from memolist_tts.core.canary import Run
from memolist_tts.core.errors import MemolistError
from memolist_tts.poll import halt_on_signals
from memolist_tts.settings import Needs, Settings

SECONDS = 120.0
"""For a canary, at most: a slow model needs some ten."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(canary)


def canary(
    accept: Annotated[
        bool,
        typer.Option(
            "--accept", help="Speak nothing: the last run is what later ones are held to."
        ),
    ] = False,
    last: Annotated[bool, typer.Option("--last", help="Speak nothing: show the last run.")] = False,
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="With --accept or --last: that run.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Write the recordings to FOLDER/RUN, each run to its own."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Have the voices drifted? Golden phrases are spoken and compared with the accepted; 3: yes.

    What is sound and was never heard before becomes the baseline. A drift never does by itself.
    """
    if accept and last:
        raise typer.BadParameter("--accept and --last exclude each other")
    if run is not None and not (accept or last):
        raise typer.BadParameter("--run goes with --accept or --last")
    if out is not None and (accept or last):
        raise typer.BadParameter("--out goes with a run that speaks: recordings aren't kept")
    if accept:
        _accept(run, as_json=as_json)
    elif last:
        _show_last(run, as_json=as_json)
    else:
        _speak(out, as_json=as_json)


def _accept(run_id: str | None, *, as_json: bool) -> None:
    book = Worker(Settings.load(Needs.DATABASE)).canaries
    found = book.run(run_id, is_heard=True)
    if not (count := book.accept(found["run_id"])):
        raise MemolistError(f"canary {found['run_id']} measured nothing that could be accepted")
    told = {"run": found["run_id"], "accepted": count, "phrases": found["phrases"]}
    lines = [
        f"accepted: {count} of {found['phrases']} phrases of the run of "
        f"{screen.when(found['started_at'])} UTC ({found['run_id']})"
    ]
    if count < found["phrases"]:
        lines.append("The others had no sound recording: they stay as they were.")
    screen.answer(as_json, told, *lines)


def _show_last(run_id: str | None, *, as_json: bool) -> None:
    found = Worker(Settings.load(Needs.DATABASE)).canaries.run(run_id)
    if as_json:
        screen.emit(found)
    else:
        _show(found)
    if found["to_hear"]:
        raise typer.Exit(Exit.UNWELL)


def _speak(out: Path | None, *, as_json: bool) -> None:
    worker = Worker(Settings.load(Needs.DATABASE | Needs.SPEECH))
    if out is not None:
        _make(out)
    with halt_on_signals() as halt, screen.progress(as_json=as_json) as bar:
        task = bar.add_task("golden phrases", total=None)
        run = worker.canary(
            seconds=SECONDS,
            halt=halt,
            tell=lambda ended, total: bar.update(task, completed=ended, total=total),
        )
    files = _write(out / run.id, run) if out is not None else []
    found = worker.canaries.run(run.id)
    if as_json:
        screen.emit(found | {"retaken": run.retaken, "seconds": run.seconds, "files": files})
    else:
        _show(found)
        for file in files:
            console.print(file)
        if files and found["to_hear"]:
            console.print(f"If that sounds right: memolist-tts canary --accept --run {run.id}")
    if run.drifted:
        raise typer.Exit(Exit.UNWELL)
    if run.code is not None:
        if run.code == "terminated":
            raise typer.Exit(Exit.INTERRUPTED)
        raise typer.Exit(Exit.REFUSED if run.must_act else Exit.AWAY)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MemolistError(f"--out {folder} can't be made: {error.strerror}") from error


def _write(folder: Path, run: Run) -> list[str]:
    """The recordings, as the provider sent them: a job levels what it publishes."""
    if any(each.audio for each in run.heard):
        _make(folder)
    files = []
    for number, each in enumerate(run.heard, 1):
        if not each.audio:
            continue
        file = folder / f"{number:02}-{each.language}-{each.state.value}.mp3"
        try:
            file.write_bytes(each.audio)
        except OSError as error:
            raise MemolistError(f"--out {file} can't be written: {error.strerror}") from error
        files.append(str(file.resolve()))
    return files


def _show(found: Mapping[str, Any]) -> None:
    heard: Sequence[Mapping[str, Any]] = found["heard"]
    if found["phrases"] > found["unmeasured"]:
        table = screen.table("in", "said", "voice", "s", "was", "dBFS", "was", "state")
        for column in (*table.columns[3:], table.columns[0]):
            column.no_wrap = True
        for column in table.columns[3:7]:
            column.justify = "right"
        for each in heard:
            table.add_row(
                each["language"], Text(each["said"]), each["voice"],
                _s(each["speech_ms"]), _s(each["accepted_speech_ms"]),
                _dbfs(each["active_dbfs"]), _dbfs(each["accepted_dbfs"]), each["state"],
            )  # fmt: skip
        screen.show(table)
    for each in heard:
        if each["problem"] and each["state"] != "unmeasured":
            console.print(f"{each['language']} {each['said']!r}: {each['problem']}")
    if found["shift"]:
        console.print(found["shift"])
    console.print(summary(found))


def _s(milliseconds: int | None) -> str:
    return "" if milliseconds is None else f"{milliseconds / 1000:.2f}"


def _dbfs(level: float | None) -> str:
    return "" if level is None else f"{level:.1f}"


def summary(found: Mapping[str, Any]) -> str:
    """A run in a line, with what to do."""
    told = f"{screen.when(found['started_at'])} UTC"
    if found["phrases"] > found["unmeasured"]:
        told += f", {found['phrases']} phrases, {screen.usd(found['cost_usd'])}: {_ending(found)}"
    if not found["code"]:
        return told
    reason = f"{found['code']}: {found['message']}"
    if found["phrases"] == found["unmeasured"]:
        return f"{told}: nothing could be measured: {reason}"
    return f"{told}; {found['unmeasured']} not measured: {reason}"


def _ending(found: Mapping[str, Any]) -> str:
    """What was heard."""
    told = [f"{found['added']} new, the baseline from now on"] if found["added"] else []
    if found["to_hear"]:
        told.append(
            f"{found['to_hear']} to hear: `canary --out FOLDER` speaks them anew and tells "
            "how to accept what is heard"
        )
    elif found["drifted"]:
        told.append(f"{found['drifted']} drifted, accepted since")
    elif found["added"] < found["phrases"] - found["unmeasured"]:
        told.append("no drift")
    return "; ".join(told)
