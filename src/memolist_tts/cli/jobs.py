"""Commands about jobs: enqueue, retry, cancel, pause, resume."""

from __future__ import annotations

from typing import Annotated

import typer

from memolist_tts.assemble import Worker
from memolist_tts.cli.screen import console
from memolist_tts.core.errors import MemolistError
from memolist_tts.settings import Needs, Settings

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a TtsJob row.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (enqueue, retry, cancel, pause, resume):
        app.command()(command)


def enqueue(job: JobId) -> None:
    """Put a job's id on the queue."""
    worker = Worker(Settings.load(Needs.DATABASE | Needs.QUEUE))
    if worker.wake is not None:
        worker.wake.send(job, group=worker.operator.group(job))
    console.print(f"sent {job}")


def retry(job: JobId) -> None:
    """Take up a failed job again, or one that rests: only what wasn't spoken is spoken."""
    worker = Worker(Settings.load(Needs.DATABASE))
    state, _ = worker.operator.status(job)
    if not worker.operator.retry(job):
        raise MemolistError(f"{job} is {state}: only a failed or a pending job can be retried")
    if worker.wake is not None:
        worker.wake.send(job, group=worker.operator.group(job))
    console.print(f"{job}: pending" + (", sent to the queue" if worker.wake else ""))


def cancel(job: JobId) -> None:
    """Stop a job that waits or runs; it ends as failed. Its spoken cards keep their audio."""
    worker = Worker(Settings.load(Needs.DATABASE))
    state, _ = worker.operator.status(job)
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
