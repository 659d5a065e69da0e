"""Commands about all clips: verify, gc."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import typer

from memolist_tts.assemble import Worker
from memolist_tts.cli import screen
from memolist_tts.cli.exits import Exit
from memolist_tts.cli.screen import JsonFlag, console
from memolist_tts.core.counting import counted
from memolist_tts.settings import Needs, Settings

AT_ONCE = 8
"""Questions to the store."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (verify, gc):
        app.command()(command)


def verify(
    since: Annotated[
        float | None,
        typer.Option(parser=screen.seconds, metavar="TIME", help="Stored within; else all."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Ask the store for every clip. 3: one that is written down is missing or of another size."""
    worker = Worker(Settings.load(Needs.DATABASE | Needs.STORAGE))
    checked, faults = 0, 0
    with screen.progress(as_json=as_json) as bar, ThreadPoolExecutor(AT_ONCE) as pool:
        task = bar.add_task("clips checked", total=None)
        for page in worker.stock.stored(since_s=since or screen.LONGEST_S):
            sizes = pool.map(worker.storage.size, [row["object_name"] for row in page])
            found = _faults(page, list(sizes))
            checked, faults = checked + len(page), faults + len(found)
            bar.update(task, completed=checked)
            for each in found:
                _show_fault(each, as_json=as_json)
    if as_json:
        screen.emit({"checked": checked, "faults": faults})
    else:
        console.print(f"{counted(checked, 'clip')} checked, {faults} at fault")
        if faults:
            screen.aside.print(
                "Their cards' URLs end with these names: `memolist-tts retake CARD fr` mends one."
            )
    if faults:
        raise typer.Exit(Exit.UNWELL)


def _faults(page: Sequence[dict[str, Any]], sizes: Sequence[int | None]) -> list[dict[str, Any]]:
    return [
        {
            "object_name": row["object_name"],
            "fault": "missing" if size is None else "size",
            "size_bytes": row["size_bytes"],
            "stored_bytes": size,
            "said": row["spoken_text"],
            "voice": row["voice"],
            "stored_at": row["stored_at"],
        }
        for row, size in zip(page, sizes, strict=True)
        if size != row["size_bytes"]
    ]


def _show_fault(fault: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        screen.emit(fault)
        return
    told = (
        "is missing"
        if fault["fault"] == "missing"
        else (f"has {counted(fault['stored_bytes'], 'byte')}, not {fault['size_bytes']}")
    )
    console.print(f"{fault['object_name']} {told}: {fault['said']!r} ({fault['voice']})")


def gc(
    older: Annotated[
        float, typer.Option(parser=screen.seconds, metavar="TIME", help="Stored before.")
    ] = "90d",  # type: ignore[assignment]
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")] = 10_000,
    yes: Annotated[bool, typer.Option("--yes", help="Mark and delete; else only counted.")] = (
        False
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; as without --yes.")] = (
        False
    ),
    as_json: JsonFlag = False,
) -> None:
    """Delete clips that no card carries. Counted; with --yes marked, and a day later deleted."""
    worker = Worker(Settings.load(Needs.DATABASE | Needs.STORAGE))
    found = worker.stock.unused(older_s=older)
    told = {
        "unused": found["clips"], "size_bytes": found["size_bytes"], "due": found["due"],
        "marked": 0, "deleted": 0,
    }  # fmt: skip
    if yes and not dry_run:
        told["marked"] = worker.stock.mark(older_s=older, limit=limit)
        worker.stock.delete(older_s=older, limit=limit)
        told["deleted"] = _delete(worker, limit, as_json=as_json)
    unused = counted(told["unused"], "clip")
    stored = f"stored over {screen.span(older)} ago and "
    line = f"{stored}carried by no card: {unused}, {told['size_bytes'] / 1e6:.1f} MB"
    did = f"{told['marked']} marked, {told['deleted']} deleted"
    todo = f"{told['due']} of them may be deleted. Nothing was done; --yes does it."
    screen.answer(as_json, told, line, did if yes and not dry_run else todo)


def _delete(worker: Worker, limit: int, *, as_json: bool) -> int:
    """Object, then row: dying in between costs the next `gc` a deletion of nothing."""
    rows = worker.stock.deleted(limit)
    with screen.progress(as_json=as_json) as bar:
        for row in bar.track(rows, description="clips deleted"):
            worker.storage.delete(row["object_name"])
            worker.stock.gone(row["object_name"])
    return len(rows)
