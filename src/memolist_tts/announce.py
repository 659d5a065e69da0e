"""What a run tells the world: its report as log lines and metrics of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from aws_lambda_powertools import Logger, Metrics

from memolist_tts import telemetry as t
from memolist_tts.core import canary
from memolist_tts.core.errors import WakeError
from memolist_tts.core.model import Completed, Failed, HandedBack, Idle, Lost, Report
from memolist_tts.route import Ending


def log_report(logger: Logger, report: Report) -> None:
    """A line for each utterance given up, and one for the run."""
    tally = report.tally
    for each in report.failed:
        t.log(
            logger,
            t.UTTERANCE_FAILED,
            job_id=report.job_id,
            card_id=each.phrase.card_id,
            language=each.phrase.language,
            code=each.code,
            problem=each.message,
        )
    counts = {
        name: getattr(tally, name) for name in ("spoken", "reused", "kept", "skipped", "failed")
    }
    told = counts | {
        "total": sum(counts.values()),
        "job_id": report.job_id,
        "seconds": round(report.seconds, 3),
        "cost_usd": round(tally.cost_usd, 6),
    }
    match report.outcome:
        case Completed():
            t.log(logger, t.JOB_COMPLETED, **told)
        case Failed(code=code, message=message):
            t.log(logger, t.JOB_FAILED, code=code, problem=message, **told)
        case HandedBack(stop=stop):
            if stop.rings:
                t.log(
                    logger,
                    t.PROVIDER_STOPPED,
                    job_id=report.job_id,
                    code=stop.code,
                    problem=stop.message,
                )
            t.log(
                logger,
                t.JOB_HANDED_BACK,
                reason=stop.code,
                problem=stop.message,
                delay_s=round(stop.delay_s, 1),
                **told,
            )
        case Idle():
            t.log(logger, t.JOB_IDLE, job_id=report.job_id)
        case Lost():
            t.log(logger, t.LEASE_LOST, job_id=report.job_id)
    if report.wake_failed:
        t.log(logger, t.WAKE_FAILED, job_id=report.job_id, problem="the queue took no message")


def log_ending(logger: Logger, ending: Ending) -> None:
    """A warning while the model's end is near."""
    if ending.is_near:
        t.log(logger, t.SHUTDOWN_NEAR, model=ending.model, days=ending.days, fix=ending.fix)


class Bus(Protocol):
    """Who is told of a job's end."""

    def tell(self, status: str, detail: Mapping[str, object]) -> None: ...


def announce(logger: Logger, bus: Bus | None, report: Report) -> None:
    """Tell the bus how a job ended, with this run's counts and the reasons."""
    if bus is None or not isinstance(report.outcome, Completed | Failed):
        return
    tally = report.tally
    detail: dict[str, object] = {
        "jobId": report.job_id,
        "spoken": tally.spoken,
        "reused": tally.reused,
        "kept": tally.kept,
        "skipped": tally.skipped,
        "failed": tally.failed,
        "failures": dict(tally.failures),
    }
    status = "completed"
    if isinstance(report.outcome, Failed):
        status = "failed"
        detail |= {"code": report.outcome.code, "message": report.outcome.message}
    _tell(logger, bus, status, detail)


def announce_exhausted(logger: Logger, bus: Bus | None, job_ids: Sequence[str]) -> None:
    """Tell the bus of jobs that the sweep failed: their attempts were used up."""
    for job_id in job_ids:
        if bus is not None:
            _tell(logger, bus, "failed", {"jobId": job_id, "code": "attempts_used_up"})


def _tell(logger: Logger, bus: Bus, status: str, detail: Mapping[str, object]) -> None:
    try:
        bus.tell(status, detail)
    except WakeError as error:
        t.log(logger, t.COMPLETION_UNANNOUNCED, job_id=detail["jobId"], problem=str(error))


def measure_report(metrics: Metrics, report: Report) -> None:
    """The metrics of a run; none for one that found nothing to do."""
    tally = report.tally
    match report.outcome:
        case Completed():
            t.measure(metrics, t.JOBS_COMPLETED, 1)
        case Failed(code=code):
            t.measure(metrics, t.JOBS_FAILED, 1, {code: 1})
        case HandedBack(stop=stop):
            t.measure(metrics, t.JOBS_HANDED_BACK, 1, {stop.code: 1})
            if stop.rings:
                t.measure(metrics, t.PROVIDER_STOPS, 1, {stop.code: 1})
        case _:
            return
    t.measure(metrics, t.CHUNK_SECONDS, report.seconds)
    t.measure(metrics, t.UTTERANCES_SPOKEN, tally.spoken)
    t.measure(metrics, t.UTTERANCES_REUSED, tally.reused)
    t.measure(metrics, t.UTTERANCES_KEPT, tally.kept)
    t.measure(metrics, t.UTTERANCES_SKIPPED, tally.skipped)
    t.measure(metrics, t.UTTERANCES_FAILED, tally.failed, dict(tally.failures))
    t.measure(metrics, t.CLIPS_RETAKEN, tally.retaken)
    t.measure(metrics, t.PROVIDER_REQUESTS, tally.requests)
    t.measure(metrics, t.REQUESTS_THROTTLED, tally.throttled)
    t.measure(metrics, t.REQUESTS_REFUSED, tally.refused)
    t.measure(metrics, t.CHARACTERS_SPOKEN, tally.characters)
    t.measure(metrics, t.COST_USD, tally.cost_usd)


def log_canary(logger: Logger, run: canary.Run) -> None:
    """A line for each golden phrase to listen to, why one wasn't measured, and the end."""
    for each in run.heard:
        if each.is_ill:
            t.log(
                logger,
                t.PHRASE_DRIFTED,
                run_id=run.id,
                language=each.language,
                said=each.said,
                voice=each.voice,
                model=each.model,
                state=each.state.value,
                problem=each.problem,
            )
    if run.shift:
        t.log(logger, t.PHRASE_DRIFTED, run_id=run.id, state="drifted", problem=run.shift)
    if run.code is not None:
        t.log(logger, t.CANARY_BROKE_OFF, run_id=run.id, code=run.code, problem=run.message)
    t.log(
        logger,
        t.CANARY_ENDED,
        run_id=run.id,
        phrases=len(run.heard),
        drifted=run.drifted,
        unmeasured=run.unmeasured,
        cost_usd=None if run.cost_usd is None else round(run.cost_usd, 6),
        seconds=round(run.seconds, 3),
    )


def measure_canary(metrics: Metrics, run: canary.Run) -> None:
    """The metrics of a canary: a drift only where something was heard, no fault in a pause."""
    t.measure(metrics, t.COST_USD, run.cost_usd or 0.0)
    if run.unmeasured < len(run.heard):
        t.measure(metrics, t.CANARY_DRIFTED, run.drifted)
    if run.code is None:
        t.measure(metrics, t.CANARY_RAN, 1)
        t.measure(metrics, t.CANARY_STOPPED, 0)
    elif run.code != "paused":
        t.measure(metrics, t.CANARY_STOPPED, 1, {run.code: 1})
