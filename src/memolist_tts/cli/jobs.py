"""Commands about jobs: enqueue, status, retry, cancel, pause, resume."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from memolist_tts.assemble import Worker
from memolist_tts.core.errors import MemolistError
from memolist_tts.settings import Needs, Settings

console = Console(highlight=False, soft_wrap=True, markup=False)
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a TtsJob row.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (enqueue, status, retry, cancel, pause, resume):
        app.command()(command)


def enqueue(job: JobId) -> None:
    """Put a job's id on the queue."""
    worker = Worker(Settings.load(Needs.DATABASE | Needs.QUEUE))
    if worker.wake is not None:
        worker.wake.send(job, group=worker.operator.group(job))
    console.print(f"sent {job}")


def status(job: Annotated[str | None, typer.Argument(metavar="JOB")] = None) -> None:
    """The figures of all jobs, or one job's progress and failures."""
    worker = Worker(Settings.load(Needs.DATABASE))
    if job is None:
        _show_figures(worker.operator.figures())
        _show_pauses(worker.operator.pauses())
        return
    state, progress, failures = worker.operator.status(job)
    console.print(f"{job}: {state}")
    if state == "pending":
        _show_pauses(worker.operator.pauses())
    if progress is not None:
        _show_progress(progress)
    if failures:
        _show_failures(failures)


def retry(job: JobId) -> None:
    """Take up a failed job again, or one that rests: only what wasn't spoken is spoken."""
    worker = Worker(Settings.load(Needs.DATABASE))
    state, _, _ = worker.operator.status(job)
    if not worker.operator.retry(job):
        raise MemolistError(f"{job} is {state}: only a failed or a pending job can be retried")
    if worker.wake is not None:
        worker.wake.send(job, group=worker.operator.group(job))
    console.print(f"{job}: pending" + (", sent to the queue" if worker.wake else ""))


def cancel(job: JobId) -> None:
    """Stop a job that waits or runs; it ends as failed. Its spoken cards keep their audio."""
    worker = Worker(Settings.load(Needs.DATABASE))
    state, _, _ = worker.operator.status(job)
    if not worker.operator.cancel(job):
        raise MemolistError(f"{job} is {state}: it has ended already")
    console.print(f"{job}: cancelled")


def pause(
    message: Annotated[str, typer.Argument(help="Why.")] = "Paused by an operator.",
) -> None:
    """Let no job be claimed until `resume`; jobs being spoken go on."""
    Worker(Settings.load(Needs.DATABASE)).operator.pause(message)
    console.print("paused")


def resume() -> None:
    """Lift every pause, and take up the jobs that rest: quota, key or storage are well again."""
    pauses, jobs = Worker(Settings.load(Needs.DATABASE)).operator.resume()
    console.print(f"resumed: {pauses} pauses lifted, {jobs} resting jobs may go on")


def _show_figures(figures: dict[str, Any]) -> None:
    ended = figures["completed"] + figures["failed"]
    rate = f"{100 * figures['failed'] / ended:.1f} %" if ended else "no job has ended"
    table = Table(box=None, show_header=False)
    states = ", ".join(
        f"{figures[name]} {name}" for name in ("pending", "processing", "completed", "failed")
    )
    table.add_row("Jobs", states)
    table.add_row("Oldest pending", _seconds(figures["oldest_pending_s"]))
    table.add_row("Average time from insert to completed", _seconds(figures["average_s"]))
    table.add_row("Failure rate", rate)
    console.print(table)


def _show_pauses(pauses: list[dict[str, Any]]) -> None:
    for each in pauses:
        until = f"until {each['until']:%H:%M} UTC" if each["until"] else "until `resume`"
        console.print(f"Paused {until}: {each['code']}: {each['message']}")


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} s"


def _show_progress(progress: dict[str, Any]) -> None:
    table = Table(box=None, show_header=False)
    table.add_row("Progress", f"{progress['percent']} % of {progress['total']} utterances")
    for name in ("spoken", "reused", "kept", "skipped", "failed", "characters", "cost_usd"):
        table.add_row(name, str(progress[name]))
    for name in ("waits_until", "stop_code", "stop", "error_code", "error"):
        if progress[name] is not None:
            table.add_row(name, str(progress[name]))
    console.print(table)


def _show_failures(failures: list[dict[str, Any]]) -> None:
    table = Table("card", "language", "code", "message", box=None)
    for each in failures:
        table.add_row(each["card_id"], each["language"], each["code"], each["message"])
    console.print(table)
