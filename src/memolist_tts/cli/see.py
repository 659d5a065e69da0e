"""Commands that only look: status, watch, failures, clips."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from memolist_tts.assemble import Worker
from memolist_tts.cli import screen
from memolist_tts.cli.canary import summary
from memolist_tts.cli.exits import Exit
from memolist_tts.cli.screen import JsonFlag, console
from memolist_tts.core.counting import counted
from memolist_tts.postgres.operator import Standing
from memolist_tts.settings import Needs, Settings

COUNTS = ("spoken", "reused", "kept", "skipped", "failed")
ENDS = ("completed", "failed")
REASONS = ("waits_until", "stop_code", "stop", "error_code", "error")
"""Of a job's progress: why it waits and until when, or why it failed."""
MOST_OPEN = 10
"""Jobs that wait or run, as `status` lists them."""
WINDOW_S = 15.0
"""Over which a job's pace is measured."""
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many rows.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (status, watch, failures, clips, costs):
        app.command()(command)


def open_worker() -> Worker:
    """What a command that only needs the database works with."""
    return Worker(Settings.load(Needs.DATABASE))


# ── status ───────────────────────────────────────────────────────────────────


def status(
    job: Annotated[str | None, typer.Argument(metavar="JOB")] = None, as_json: JsonFlag = False
) -> None:
    """All jobs in figures, and which wait; or one JOB. Of that its progress and each utterance."""
    worker = open_worker()
    told = _overview(worker) if job is None else _job(worker, job)
    if as_json:
        screen.emit(told)
    elif job is None:
        _show_overview(told)
    else:
        _show_job(told)


def _overview(worker: Worker) -> dict[str, Any]:
    figures = worker.operator.figures()
    ended = figures["completed"] + figures["failed"]
    return {
        "jobs": {name: figures[name] for name in ("pending", "processing", "completed", "failed")},
        "oldest_pending_s": figures["oldest_pending_s"],
        "average_s": figures["average_s"],
        "failure_rate": figures["failed"] / ended if ended else None,
        "today": worker.ledger.today() | {"budget_usd": worker.settings.DAILY_BUDGET_USD},
        "rates": worker.operator.rates(),
        "pauses": worker.operator.pauses(),
        "canary": worker.canaries.last(),
        "open": worker.operator.open(MOST_OPEN),
    }


def _show_overview(told: dict[str, Any]) -> None:
    rate = told["failure_rate"]
    screen.pairs(
        [
            ("Jobs", ", ".join(f"{count} {state}" for state, count in told["jobs"].items())),
            ("Oldest pending", screen.took(told["oldest_pending_s"])),
            ("Average time to completed", screen.took(told["average_s"])),
            ("Failure rate", "no job has ended" if rate is None else f"{100 * rate:.1f} %"),
            ("Money today", _money(told["today"])),
            *((f"Pace {each['provider']}", _pace(each)) for each in told["rates"]),
            ("Canary", summary(told["canary"]) if told["canary"] else "none has run"),
        ]
    )
    for pause in told["pauses"]:
        console.print(screen.pause_line(pause))
    if told["open"]:
        _show_open(told["open"])
    if (more := told["jobs"]["pending"] + told["jobs"]["processing"] - len(told["open"])) > 0:
        console.print(f"and {counted(more, 'job')} more that wait or run")


def _show_open(jobs: Sequence[dict[str, Any]]) -> None:
    table = screen.table("job", "state", "ended", "why it waits")
    for column in table.columns[:3]:
        column.no_wrap = True
    for each in jobs:
        ended = f"{each['ended']}/{each['total']}" if each["total"] else ""
        table.add_row(each["job"], each["status"], ended, Text(_waits(each)))
    screen.show(table)


def _waits(job: Mapping[str, Any]) -> str:
    if job["status"] != "pending" or job["stop_code"] is None:
        return ""
    until = f", until {screen.when(job['waits_until'])} UTC" if job["waits_until"] else ""
    return f"{job['stop_code']}{until}"


def _money(today: dict[str, Any]) -> str:
    told = screen.usd(today["spent_usd"])
    if today["held_usd"]:
        told += f", {screen.usd(today['held_usd'])} set aside"
    return told + (f" of {today['budget_usd']:g}" if today["budget_usd"] else "")


def _pace(each: dict[str, Any]) -> str:
    told = f"{each['rate_per_s']:.1f} a second"
    if each["limit_per_minute"] is not None:
        told += f" of the provider's {each['limit_per_minute'] / 60:.1f}"
    if each["blocked_until"] is not None:
        told += f", none before {each['blocked_until']:%H:%M:%S} UTC"
    return told


def _job(worker: Worker, job: str) -> dict[str, Any]:
    found = worker.operator.look(job)
    return {
        "job": found.id,
        "status": found.status,
        "reason": _foreign_reason(found),
        "progress": found.progress,
        "utterances": worker.records.utterances(found.id),
        "pauses": worker.operator.pauses(user=found.group) if found.status == "pending" else [],
    }


def _foreign_reason(found: Standing) -> str | None:
    """Why a job is failed that this worker hasn't failed: then no code tells."""
    if found.status != "failed" or (found.progress and found.progress["error_code"]):
        return None
    who = "cancelled by the API" if found.progress else "ended by the API or another worker"
    return f"{who}: {found.message}" if found.message else who


def _because(told: Mapping[str, Any]) -> str:
    return f", {told['reason']}" if told["reason"] else ""


def _show_job(told: dict[str, Any]) -> None:
    console.print(Text(f"{told['job']}: {told['status']}{_because(told)}"))
    for pause in told["pauses"]:
        console.print(screen.pause_line(pause))
    if (progress := told["progress"]) is None:
        return
    rows = [("Progress", f"{progress['percent']} % of {counted(progress['total'], 'utterance')}")]
    rows += [(name, str(progress[name])) for name in (*COUNTS, "characters", "cost_usd")]
    rows += [(name, str(progress[name])) for name in REASONS if progress[name] is not None]
    screen.pairs(rows)
    if told["utterances"]:
        _show_utterances(told["utterances"])


def _show_utterances(utterances: Sequence[dict[str, Any]]) -> None:
    table = screen.table("card", "in", "state", "said, or why not")
    for column in table.columns[:3]:
        column.no_wrap = True
    for each in utterances:
        said = screen.short(each["spoken_text"] or "")
        if each["code"] is not None:
            said = f"{each['code']}: {each['message']}" + (f" [{said}]" if said else "")
        table.add_row(each["card_id"], each["language"], each["state"], Text(said))
    screen.show(table)


# ── watch ────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Pace:
    """How fast a job's utterances end, over the last seconds."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, now: float, ended: int) -> float:
        """Utterances a second."""
        self.seen.append((now, ended))
        while now - self.seen[0][0] > WINDOW_S:
            self.seen.popleft()
        first_at, first = self.seen[0]
        return (ended - first) / (now - first_at) if now > first_at else 0.0


def watch(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The id of a TtsJob row.")],
    every: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds between looks.")] = 1.0,
    as_json: JsonFlag = False,
) -> None:
    """Follow a job to its end. Spoken, reused, failed, left, a second, time left; 3: it failed."""
    worker = open_worker()
    seen = looks(worker, job, every)
    state = ""
    if as_json:
        for look in seen:
            state = look["status"]
            screen.emit(look)
    else:
        state = _show_looks(job, seen)
    if state != "completed":
        raise typer.Exit(Exit.UNWELL)


def looks(
    worker: Worker, job: str, every: float, *, rest: Callable[[float], object] = time.sleep
) -> Iterator[dict[str, Any]]:
    """How the job stands, whenever that has changed, to its end or until `rest` says true."""
    pace, before = _Pace(), None
    while True:
        look = _look(worker, job, pace)
        if look != before:
            yield look
        before = look
        if look["status"] not in ("pending", "processing"):
            return
        if rest(every):
            return


def _look(worker: Worker, job: str, pace: _Pace) -> dict[str, Any]:
    found = worker.operator.look(job)
    state, progress = found.status, found.progress
    counts = {name: progress[name] if progress else 0 for name in COUNTS}
    total = progress["total"] if progress else 0
    ended = sum(counts.values())
    rate = pace.note(time.monotonic(), ended)
    look = {
        "job": found.id, "status": state, "total": total, **counts, "left": max(0, total - ended),
        "per_s": round(rate, 2), "left_s": round((total - ended) / rate, 1) if rate > 0 else None,
        "reason": _foreign_reason(found),
        **{name: progress[name] if progress else None for name in REASONS},
    }  # fmt: skip
    if state == "pending":
        pauses = worker.operator.pauses(user=found.group)
        look["pauses"] = [each["message"] for each in pauses]
    return look


def _show_looks(job: str, looks: Iterator[dict[str, Any]]) -> str:
    bar = Progress(
        BarColumn(bar_width=20), TextColumn("{task.description}"), TimeElapsedColumn(),
        console=console, disable=not console.is_terminal,
    )  # fmt: skip
    last: dict[str, Any] = {}
    with bar:
        task: TaskID = bar.add_task("", total=None)
        for look in looks:
            last, line = look, _line(look)
            done = look["total"] - look["left"]
            bar.update(task, total=look["total"] or None, completed=done, description=line)
            if not console.is_terminal:
                console.print(line)
    console.print(Text(f"{job}: {last['status']}{_because(last)}{_why_failed(last)}"))
    return str(last["status"])


def _why_failed(look: dict[str, Any]) -> str:
    """What its utterances don't tell."""
    if look["status"] != "failed" or look["error_code"] in (None, "utterances_failed"):
        return ""
    return f": {look['error_code']}: {look['error']}"


def _line(look: dict[str, Any]) -> str:
    """A job's state in less than 60 characters."""
    if look["status"] == "pending":
        reasons = [*look["pauses"], look["stop"] or "waits for a worker"]
        return f"pending: {reasons[0]}"
    told = ", ".join(f"{look[name]} {name}" for name in COUNTS if look[name])
    if look["status"] in ENDS:
        return told or ("nothing to say" if look["status"] == "completed" else "nothing was spoken")
    told = f"{told}, {look['left']} left" if told else f"{look['left']} left"
    if look["left_s"] is not None and look["left"]:
        told += f", {look['per_s']:.1f}/s, {_minutes(look['left_s'])}"
    return told


def _minutes(value: float) -> str:
    return f"{value:.0f} s" if value < 90 else f"{value / 60:.0f} min"


# ── failures, clips ──────────────────────────────────────────────────────────


def failures(
    code: Annotated[str | None, typer.Option(help="Only this code (docs/api.md).")] = None,
    since: Annotated[float, typer.Option(parser=screen.seconds, metavar="TIME")] = "7d",  # type: ignore[assignment]
    limit: Limit = 50,
    as_json: JsonFlag = False,
) -> None:
    """What failed and still stands, by code and one by one. `retry --code` takes it up again."""
    records = open_worker().records
    rows = records.failures(code=code, since_s=since, limit=limit)
    if as_json:
        for row in rows:
            screen.emit(row)
        return
    if not rows:
        console.print("No failures.")
        return
    sums = screen.table("code", "failures", "jobs")
    for each in records.failure_codes(code=code, since_s=since):
        sums.add_row(each["code"], str(each["count"]), str(each["jobs"]))
    screen.show(sums)
    for row in rows:
        _show_failure(row)
    screen.ended(len(rows), "failure", limit)


def _show_failure(row: dict[str, Any]) -> None:
    where = f"card {row['card_id']} {row['language']}" if row["card_id"] else "the whole job"
    console.print(f"\n{screen.when(row['updated_at'])}  {row['code']}  {where}")
    console.print(f"  job {row['job_id']}")
    if row["shown_text"]:
        console.print(f"  shows {screen.short(row['shown_text'])!r}")
    console.print(Padding(Text(row["message"] or ""), (0, 0, 0, 2)), soft_wrap=False)


def clips(
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="voice, model, provider, language, take, text (part of it), card, job, key; "
            "may be repeated.",
        ),
    ] = None,
    limit: Limit = 50,
    as_json: JsonFlag = False,
) -> None:
    """Which voice made what, the newest first. Text said, voice, model, take, seconds, cost."""
    rows = open_worker().records.clips(asked(where or ()), limit)
    if as_json:
        for row in rows:
            screen.emit(row)
        return
    if not rows:
        console.print("No clips.")
        return
    table = screen.table("said", "in", "voice", "model", "take", "s", "USD", "made (UTC)")
    for column in (*table.columns[4:], table.columns[1]):
        column.no_wrap = True
    for row in rows:
        cost = "?" if row["cost_usd"] is None else f"{row['cost_usd']:.4f}"
        table.add_row(
            Text(row["said"]), row["language"], row["voice"], row["model"], str(row["take"]),
            f"{row['seconds']:.1f}", cost, screen.when(row["stored_at"]),
        )  # fmt: skip
    screen.show(table)
    screen.ended(len(rows), "clip", limit)


class By(StrEnum):
    """What costs can be summed by."""

    DAY = "day"
    JOB = "job"
    USER = "user"
    VOICE = "voice"
    MODEL = "model"
    LANGUAGE = "language"


def costs(
    by: Annotated[By, typer.Option(help="What to sum by.")] = By.DAY,
    days: Annotated[int, typer.Option(min=1, max=3660, help="Today and the days before.")] = 30,
    limit: Limit = 50,
    as_json: JsonFlag = False,
) -> None:
    """What was spent, retakes and failures too. As the provider reported it, or estimated."""
    rows = open_worker().ledger.costs(by.value, days=days, limit=limit)
    if as_json:
        for row in rows:
            screen.emit({by.value: row.pop("name"), **row})
        return
    if not rows:
        console.print("Nothing was spent.")
        return
    table = screen.table(by.value, "calls", "characters", "reported\nUSD", "estimated\nUSD")
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        reported, estimated = f"{row['reported_usd']:.4f}", f"{row['estimated_usd']:.4f}"
        calls, characters = f"{row['calls']:,}", f"{row['characters']:,}"
        table.add_row(row["name"], calls, characters, reported, estimated)
    screen.show(table)
    screen.ended(len(rows), "row", limit)


def asked(where: Sequence[str]) -> dict[str, str]:
    """`FIELD=VALUE` words as a mapping, each field once: all must be true."""
    found: dict[str, str] = {}
    for word in where:
        name, sign, value = word.partition("=")
        name = name.strip()
        if not sign or not name:
            raise typer.BadParameter(f"{word!r} isn't FIELD=VALUE, such as voice=nova")
        if name in found:
            raise typer.BadParameter(
                f"{name} is asked for twice, and all must be true: name it once"
            )
        found[name] = value
    return found
