"""The queue's front door: a record to a job id, a chunk, failed ids out."""

from __future__ import annotations

import threading
import time
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.batch import (
    BatchProcessor,
    EventType,
    process_partial_response,
)
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from memolist_tts import telemetry as t
from memolist_tts.announce import announce, log_ending, log_report, measure_report
from memolist_tts.assemble import Worker
from memolist_tts.core.errors import KeyRefused, NoSuchJob
from memolist_tts.core.message import BadMessage, job_id
from memolist_tts.core.model import HandedBack
from memolist_tts.settings import Needs, Settings

SAFETY_S = 3.0
"""Kept back from the function's timeout: a kill runs no Python code."""
ANNOUNCE_S, SHUTDOWN_S = 3.5, 15.0
"""How long telling the bus, and asking when the model closes, may take at the worst."""
LEAST_TURN_S = 5.0
"""A user's message may be on its way: what waits for it need not hurry others."""
COMES_BACK_S = 30
"""When a message is tried again whose job isn't there yet (the API may not have committed)."""

logger = Logger()
metrics = Metrics(namespace=t.NAMESPACE)
# An exception for a whole failed batch would cut the mapping's concurrency (BatchSize 1).
processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
worker = Worker(Settings.load(Needs.WORKER | Needs.QUEUE))


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> Any:
    """Speak what the messages of one SQS event ask for; report the failed ones."""

    def record_handler(record: SQSRecord) -> None:
        _handle(record, context)

    return process_partial_response(event, record_handler, processor, context)


def _handle(record: SQSRecord, context: LambdaContext) -> None:
    _measure_age(record)
    seconds = context.get_remaining_time_in_millis() / 1000 - SAFETY_S
    try:
        wanted = job_id(record.body)
    except BadMessage as error:
        t.measure(metrics, t.MESSAGES_REFUSED, 1)
        t.log(logger, t.MESSAGE_REFUSED, message_id=record.message_id, problem=str(error))
        raise
    try:
        report = worker.run(
            wanted, seconds=seconds, halt=threading.Event(), least_turn_s=LEAST_TURN_S
        )
    except NoSuchJob:
        count = record.attributes.approximate_receive_count
        t.log(
            logger,
            t.NO_SUCH_JOB,
            job_id=wanted,
            message_id=record.message_id,
            receive_count=count,
        )
        _come_back_soon(record)
        raise
    except Exception as error:
        t.measure(metrics, t.CHUNKS_BROKEN, 1)
        t.log(logger, t.CHUNK_BROKE, job_id=wanted, problem=f"{type(error).__name__}: {error}")
        worker.forget()
        raise
    log_report(logger, report)
    measure_report(metrics, report)
    # What isn't the job's own never makes a run that took its whole time overrun.
    if context.get_remaining_time_in_millis() > 1000 * ANNOUNCE_S:
        announce(logger, worker.bus, report)
    if context.get_remaining_time_in_millis() > 1000 * SHUTDOWN_S:
        _measure_shutdown()
    if isinstance(report.outcome, HandedBack) and report.outcome.stop.code == KeyRefused.code:
        worker.forget()


def _measure_age(record: SQSRecord) -> None:
    sent_s = int(record.attributes.sent_timestamp) / 1000
    t.measure(metrics, t.QUEUE_AGE_SECONDS, max(0.0, time.time() - sent_s))


def _measure_shutdown() -> None:
    """Days until the endpoint that speaks now is closed; a warning in the last sixty."""
    if (ending := worker.ending()) is None:
        return
    t.measure(metrics, t.DAYS_TO_SHUTDOWN, ending.days)
    log_ending(logger, ending)


def _come_back_soon(record: SQSRecord) -> None:
    """The queue's own visibility is six timeouts long; a commit takes milliseconds."""
    if worker.wake is not None:
        worker.wake.hurry(record.receipt_handle, COMES_BACK_S)
