"""Commands that act on jobs: enqueue, retry, cancel, pause, resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from memolist_tts.assemble import Worker
from memolist_tts.cli import screen
from memolist_tts.cli.screen import JsonFlag
from memolist_tts.core.counting import counted
from memolist_tts.core.errors import MemolistError, WakeError
from memolist_tts.settings import Needs, Settings

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a TtsJob row.")]
BATCH = 100
"""Jobs made pending in one transaction."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (enqueue, retry, cancel, pause, resume):
        app.command()(command)


def enqueue(job: JobId, as_json: JsonFlag = False) -> None:
    """Put a job's id on the queue."""
    worker = Worker(Settings.load(Needs.DATABASE | Needs.QUEUE))
    found = worker.operator.look(job)
    if worker.wake is not None:
        worker.wake.send(found.id, group=found.group)
    screen.answer(as_json, {"sent": found.id}, f"sent {found.id}")


def retry(
    job: Annotated[
        str | None, typer.Argument(metavar="JOB", help="The id of a TtsJob row.")
    ] = None,
    code: Annotated[
        str | None, typer.Option(help="Only what failed with this code; without JOB, in any job.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="All failed jobs but those an operator cancelled.")
    ] = False,
    since: Annotated[
        float, typer.Option(parser=screen.seconds, metavar="TIME", help="Failed within.")
    ] = "7d",  # type: ignore[assignment]
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many jobs.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list the jobs.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Take up failed jobs again, or one that rests. Only what wasn't spoken is spoken."""
    worker = Worker(Settings.load(Needs.DATABASE))
    if job is not None and not every:
        _retry_one(worker, job, code, dry_run=dry_run, as_json=as_json)
        return
    if job is not None or every == (code is not None):
        raise typer.BadParameter("name one: JOB, --code CODE or --all")
    found = worker.operator.retryable(code=code, since_s=since, limit=limit)
    taken, sent = ([], 0) if dry_run else _retry_many(worker, found, code, as_json=as_json)
    told = {"found": found, "retried": taken, "sent": sent, "dry_run": dry_run}
    screen.answer(as_json, told, *_retried(found, taken, sent, dry_run=dry_run))
    screen.ended(len(found), "job", limit)
    if code is not None and not found:
        screen.aside.print(
            f"No failure with {code!r} stands: `memolist-tts failures` lists those that do."
        )


def _retry_one(worker: Worker, job: str, code: str | None, *, dry_run: bool, as_json: bool) -> None:
    found = worker.operator.look(job)
    job, state = found.id, found.status
    if state not in ("failed", "pending"):
        raise MemolistError(f"{job} is {state}: only a failed or a pending job can be retried")
    if code is not None and not worker.operator.has_failed_with(job, code):
        raise MemolistError(f"nothing of {job} failed with {code!r}: `memolist-tts status {job}`")
    if dry_run:
        told = {"found": [job], "retried": [], "sent": 0, "dry_run": True}
        screen.answer(as_json, told, f"{job} would be pending")
        return
    if not (taken := worker.operator.retry([job], code=code)):
        raise MemolistError(f"{job} has just changed its state: look at it again")
    sent = _send(worker, taken)
    told = {"found": [job], "retried": [job], "sent": sent, "dry_run": False}
    screen.answer(as_json, told, f"{job}: pending" + (", sent to the queue" if sent else ""))


def _retry_many(
    worker: Worker, found: list[str], code: str | None, *, as_json: bool
) -> tuple[list[str], int]:
    """Batch by batch, each one whole: what a broken connection leaves, the next `retry` finds."""
    taken: list[str] = []
    sent = 0
    with screen.progress(as_json=as_json) as bar:
        for at in bar.track(range(0, len(found), BATCH), description="jobs, by the hundred"):
            batch = worker.operator.retry(found[at : at + BATCH], code=code)
            taken += batch
            sent += _send(worker, batch)
    return taken, sent


def _send(worker: Worker, groups: Mapping[str, str]) -> int:
    """How many could be put on the queue; the sweep wakes the others."""
    if worker.wake is None:
        return 0
    sent = 0
    for job, group in groups.items():
        try:
            worker.wake.send(job, group=group)
            sent += 1
        except WakeError as error:
            screen.aside.print(f"{job}: not sent, the sweep will wake it: {error}")
    return sent


def _retried(found: list[str], taken: list[str], sent: int, *, dry_run: bool) -> list[str]:
    if dry_run:
        return [*found, f"would be pending again: {counted(len(found), 'job')}"]
    queue = f", {sent} sent to the queue" if sent else ""
    return [*taken, f"pending again: {counted(len(taken), 'job')}{queue}"]


def cancel(job: JobId, as_json: JsonFlag = False) -> None:
    """Stop a job that waits or runs; it ends as failed. Its spoken cards keep their audio."""
    worker = Worker(Settings.load(Needs.DATABASE))
    found = worker.operator.look(job)
    if not worker.operator.cancel(found.id):
        raise MemolistError(f"{found.id} is {found.status}: it has ended already")
    screen.answer(as_json, {"cancelled": found.id}, f"{found.id}: cancelled")


def pause(
    why: Annotated[str, typer.Option(help="Shown by `status` and kept with the jobs.")] = (
        "Paused by an operator."
    ),
    user: Annotated[str | None, typer.Option(help='Only this user\'s jobs ("userId").')] = None,
    duration: Annotated[
        float | None,
        typer.Option(
            "--for", parser=screen.seconds, metavar="TIME", help="Such as 2h; else until `resume`."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Let no job be claimed or go on. What is being spoken ends, the rest is handed back."""
    if user is not None and not user.strip():
        raise typer.BadParameter("--user names nobody: leave it out to pause everybody's jobs")
    operator = Worker(Settings.load(Needs.DATABASE)).operator
    operator.pause(why, user=user, for_s=duration)
    pauses = operator.pauses()
    lines = (screen.pause_line(each) for each in pauses)
    screen.answer(as_json, {"pauses": pauses}, *lines)


def resume(
    user: Annotated[str | None, typer.Option(help="Lift only the pause of this user.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Lift every pause, take up what rests. Quota, key or storage are well again."""
    operator = Worker(Settings.load(Needs.DATABASE)).operator
    if user is not None:
        if not (lifted := operator.resume_user(user)):
            raise MemolistError(f"{user!r} isn't paused; `memolist-tts status` lists who is")
        screen.answer(as_json, {"pauses": lifted, "jobs": 0}, f"resumed: jobs of {user}")
        return
    pauses, jobs = operator.resume()
    line = f"resumed: {counted(pauses, 'pause')} lifted, {counted(jobs, 'resting job')} may go on"
    screen.answer(as_json, {"pauses": pauses, "jobs": jobs}, line)
