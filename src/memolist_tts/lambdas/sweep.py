"""The schedule's front door: one sweep over all jobs."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from memolist_tts import telemetry as t
from memolist_tts.announce import announce_exhausted
from memolist_tts.assemble import Worker
from memolist_tts.core.errors import AttemptsUsedUp, MemolistError
from memolist_tts.core.sweep import Swept, run_sweep
from memolist_tts.settings import Needs, Settings

logger = Logger()
metrics = Metrics(namespace=t.NAMESPACE)
worker = Worker(Settings.load(Needs.DATABASE | Needs.QUEUE))


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:  # noqa: ARG001
    """Wake what waits, rescue what died, publish the gauges."""
    if worker.wake is None:
        raise MemolistError("QUEUE_URL is not set")
    try:
        swept = run_sweep(worker.operator, worker.jobs, worker.wake)
    except MemolistError:
        # The next sweep reads the secret again: it may have been rotated.
        worker.forget()
        raise
    _tell(swept)
    announce_exhausted(logger, worker.bus, swept.failed)
    return {"woken": len(swept.woken), "failed": len(swept.failed), "unsent": swept.unsent}


def _tell(swept: Swept) -> None:
    gauges, rescued = swept.gauges, [due for due in swept.woken if due.died]
    for due in rescued:
        t.log(logger, t.JOB_RESCUED, job_id=due.job_id, attempts=due.attempts)
    t.log(
        logger,
        t.SWEPT,
        woken=len(swept.woken),
        rescued=len(rescued),
        pending=gauges.pending,
        stalled=gauges.stalled,
        paused=gauges.is_paused,
    )
    t.measure(metrics, t.JOBS_WOKEN, len(swept.woken))
    t.measure(metrics, t.JOBS_RESCUED, len(rescued))
    t.measure(metrics, t.PENDING_JOBS, gauges.pending)
    t.measure(metrics, t.OLDEST_PENDING_SECONDS, gauges.oldest_pending_s)
    t.measure(metrics, t.STALLED_JOBS, gauges.stalled)
    t.measure(metrics, t.PAUSED, int(gauges.is_paused))
    t.measure(metrics, t.FAILURE_RATE_1H, 100 * gauges.failure_rate_1h)
    for job_id in swept.failed:
        t.log(logger, t.JOB_FAILED, job_id=job_id, code=AttemptsUsedUp.code)
    if count := len(swept.failed):
        t.measure(metrics, t.JOBS_FAILED, count, {"attempts_used_up": count})
    t.measure(metrics, t.SWEEP_RAN, 1)
