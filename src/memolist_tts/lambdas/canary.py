"""The schedule's other front door: the golden phrases, spoken and compared."""

from __future__ import annotations

import threading
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from memolist_tts import telemetry as t
from memolist_tts.announce import log_canary, measure_canary
from memolist_tts.assemble import Worker
from memolist_tts.core.canary import CanaryBusy
from memolist_tts.settings import Needs, Settings

SAFETY_S = 5.0
"""Kept back from the function's timeout: a kill runs no Python code."""

logger = Logger()
metrics = Metrics(namespace=t.NAMESPACE)
worker = Worker(Settings.load(Needs.DATABASE | Needs.SPEECH))


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, int]:  # noqa: ARG001
    """Speak, compare, tell. What breaks over the database is the function's own error."""
    seconds = context.get_remaining_time_in_millis() / 1000 - SAFETY_S
    try:
        run = worker.canary(seconds=seconds, halt=threading.Event())
    except CanaryBusy as busy:
        # A schedule may come twice; the other one measures.
        t.log(logger, t.CANARY_BUSY, problem=str(busy))
        return {"phrases": 0, "drifted": 0, "unmeasured": 0}
    except Exception:
        worker.forget()
        raise
    log_canary(logger, run)
    measure_canary(metrics, run)
    if run.code is not None:
        # The next one reads the secrets again: the key may have been rotated.
        worker.forget()
    return {"phrases": len(run.heard), "drifted": run.drifted, "unmeasured": run.unmeasured}
