"""Every metric and log event, once. Dashboard, alarms, queries and tests read it from here.

Metrics go out as CloudWatch's embedded metric format, under NAMESPACE and the dimension
`service`: the stack's name, so that two stages in one account stay apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

from aws_lambda_powertools import Logger, Metrics, single_metric
from aws_lambda_powertools.metrics import MetricUnit

NAMESPACE = "memolist-tts"

Level: TypeAlias = Literal["info", "warning", "error"]


class Source(StrEnum):
    """Which function emits."""

    SYNTHESIZE = "synthesize"
    SWEEP = "sweep"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure; `by` is the dimension under which it is emitted a second time, split up."""

    name: str
    unit: MetricUnit
    source: Source
    meaning: str
    by: str | None = None

    @property
    def dimensions(self) -> tuple[frozenset[str], ...]:
        """The dimension sets under which CloudWatch knows it."""
        total = frozenset({"service"})
        return (total,) if self.by is None else (total, total | {self.by})


@dataclass(frozen=True, slots=True)
class Event:
    """A log line: its `message` is the name, and `fields` are all it may carry besides."""

    name: str
    level: Level
    fields: frozenset[str]
    meaning: str


def measure(
    metrics: Metrics, metric: Metric, value: float, by: Mapping[str, float] | None = None
) -> None:
    """Add `metric` to what `metrics` flushes at the end of the invocation.

    `by` maps a label of `metric.by`, such as an error code, to its share of `value`;
    each goes out at once on a line of its own, since dimensions hold for a whole line.
    """
    metrics.add_metric(name=metric.name, unit=metric.unit, value=value)
    for label, share in (by or {}).items():
        with single_metric(metric.name, metric.unit, share, namespace=NAMESPACE) as one:
            one.add_dimension("service", metrics.service or NAMESPACE)
            one.add_dimension(metric.by or "", label)


def log(logger: Logger, event: Event, **fields: object) -> None:
    """Write one line of the catalogue; its `location` is the caller's."""
    write = {"info": logger.info, "warning": logger.warning, "error": logger.error}[event.level]
    write(event.name, extra=fields, stacklevel=3)


def _worker(name: str, unit: MetricUnit, meaning: str, by: str | None = None) -> Metric:
    return Metric(name, unit, Source.SYNTHESIZE, meaning, by)


def _sweep(name: str, unit: MetricUnit, meaning: str) -> Metric:
    return Metric(name, unit, Source.SWEEP, meaning)


def _canary(name: str, unit: MetricUnit, meaning: str, by: str | None = None) -> Metric:
    return Metric(name, unit, Source.CANARY, meaning, by)


def _event(name: str, level: Level, fields: str, meaning: str) -> Event:
    return Event(name, level, frozenset(fields.split()), meaning)


JOBS_COMPLETED = _worker("JobsCompleted", MetricUnit.Count, "Jobs whose utterances all ended well")
JOBS_FAILED = _worker(
    "JobsFailed", MetricUnit.Count, "Jobs that ended with errors, or can't run", "code"
)
JOBS_HANDED_BACK = _worker(
    "JobsHandedBack", MetricUnit.Count, "Chunks that left the rest to another run", "reason"
)
MESSAGES_REFUSED = _worker(
    "MessagesRefused", MetricUnit.Count, "Messages that name no job; they become dead letters"
)
QUEUE_AGE_SECONDS = _worker(
    "QueueAgeSeconds", MetricUnit.Seconds, "How old a message was when a worker received it"
)
CHUNKS_BROKEN = _worker(
    "ChunksBroken", MetricUnit.Count, "Runs that broke over the database or a fault of the worker"
)
CHUNK_SECONDS = _worker("ChunkSeconds", MetricUnit.Seconds, "One run over one job, claim to settle")
UTTERANCES_SPOKEN = _worker("UtterancesSpoken", MetricUnit.Count, "Spoken anew, and stored")
UTTERANCES_REUSED = _worker("UtterancesReused", MetricUnit.Count, "Given a clip that was stored")
UTTERANCES_KEPT = _worker("UtterancesKept", MetricUnit.Count, "Left alone: audio that isn't ours")
UTTERANCES_SKIPPED = _worker("UtterancesSkipped", MetricUnit.Count, "Nothing speakable in the text")
UTTERANCES_FAILED = _worker(
    "UtterancesFailed", MetricUnit.Count, "Can't be spoken; the error is the utterance's", "code"
)
CLIPS_RETAKEN = _worker("ClipsRetaken", MetricUnit.Count, "Clips judged bad and taken again")
PROVIDER_REQUESTS = _worker("ProviderRequests", MetricUnit.Count, "Requests sent to the provider")
REQUESTS_THROTTLED = _worker(
    "RequestsThrottled", MetricUnit.Count, "Requests answered with: too many"
)
REQUESTS_REFUSED = _worker(
    "RequestsRefused", MetricUnit.Count, "Requests refused for their text or parameters"
)
PROVIDER_STOPS = _worker(
    "ProviderStops", MetricUnit.Count, "Runs stopped: money, key, configuration", "code"
)
CHARACTERS_SPOKEN = _worker("CharactersSpoken", MetricUnit.Count, "Characters sent and answered")
COST_USD = _worker("CostUsd", MetricUnit.NoUnit, "US dollars at list prices, retakes included")
DAYS_TO_SHUTDOWN = _worker(
    "DaysToShutdown", MetricUnit.NoUnit, "Days until the provider closes the model, where it tells"
)
SWEEP_RAN = _sweep("SweepRan", MetricUnit.Count, "Sweeps that ran to their end")
JOBS_WOKEN = _sweep("JobsWoken", MetricUnit.Count, "Waiting jobs sent to the queue again")
JOBS_RESCUED = _sweep("JobsRescued", MetricUnit.Count, "Jobs taken from a worker that died")
PENDING_JOBS = _sweep("PendingJobs", MetricUnit.Count, "Jobs that wait and may be claimed now")
OLDEST_PENDING_SECONDS = _sweep(
    "OldestPendingSeconds", MetricUnit.Seconds, "How long the oldest of them has waited"
)
STALLED_JOBS = _sweep("StalledJobs", MetricUnit.Count, "Jobs in work whose lease ran out unnoticed")
PAUSED = _sweep("Paused", MetricUnit.NoUnit, "1 while all work, or a user's, is paused, else 0")
FAILURE_RATE_1H = _sweep(
    "FailureRate1h", MetricUnit.Percent, "Jobs failed of those that ended within the last hour"
)
CANARY_RAN = _canary("CanaryRan", MetricUnit.Count, "Canaries that measured every golden phrase")
CANARY_DRIFTED = _canary(
    "CanaryDrifted", MetricUnit.Count, "Golden phrases that aren't spoken as they were accepted"
)
CANARY_STOPPED = _canary(
    "CanaryStopped", MetricUnit.Count, "Canaries that could not measure every phrase", "code"
)

METRICS: Mapping[str, Metric] = {
    metric.name: metric for metric in list(globals().values()) if isinstance(metric, Metric)
}

COUNTS = "total spoken reused kept skipped failed"

JOB_COMPLETED = _event(
    "job_completed", "info", f"job_id seconds cost_usd {COUNTS}", "Every utterance ended well"
)
JOB_FAILED = _event(
    "job_failed",
    "error",
    f"job_id code problem seconds cost_usd {COUNTS}",
    "The job ended with errors",
)
JOB_HANDED_BACK = _event(
    "job_handed_back",
    "info",
    f"job_id reason problem delay_s seconds cost_usd {COUNTS}",
    "The rest of the job waits for another run",
)
JOB_IDLE = _event("job_idle", "info", "job_id", "Nothing to do: taken, resting, or ended")
LEASE_LOST = _event("lease_lost", "warning", "job_id", "Cancelled, deleted or taken over")
NO_SUCH_JOB = _event(
    "no_such_job", "warning", "job_id message_id receive_count", "No row has this id (yet)"
)
MESSAGE_REFUSED = _event(
    "message_refused", "error", "message_id problem", "The message names no job"
)
CHUNK_BROKE = _event(
    "chunk_broke", "error", "job_id problem", "Database or storage failed; the lease runs out"
)
UTTERANCE_FAILED = _event(
    "utterance_failed",
    "warning",
    "job_id card_id language code problem",
    "One card in one language can't be spoken",
)
PROVIDER_STOPPED = _event(
    "provider_stopped", "error", "job_id code problem", "Money, key or configuration: act"
)
SHUTDOWN_NEAR = _event(
    "shutdown_near", "warning", "model days fix", "The provider closes the model soon"
)
WAKE_FAILED = _event(
    "wake_failed", "warning", "job_id problem", "Not sent to the queue; the sweep will"
)
COMPLETION_UNANNOUNCED = _event(
    "completion_unannounced", "warning", "job_id problem", "The event bus took no event"
)
SWEPT = _event("swept", "info", "woken rescued pending stalled paused", "One sweep, its end")
JOB_RESCUED = _event(
    "job_rescued", "warning", "job_id attempts", "Its worker died; it may be claimed again"
)
CANARY_ENDED = _event(
    "canary_ended",
    "info",
    "run_id phrases drifted unmeasured cost_usd seconds",
    "One canary, its end",
)
PHRASE_DRIFTED = _event(
    "phrase_drifted",
    "error",
    "run_id language said voice model state problem",
    "A golden phrase, or all together, isn't spoken as accepted: listen",
)
CANARY_BROKE_OFF = _event(
    "canary_broke_off", "error", "run_id code problem", "Not every golden phrase could be measured"
)
CANARY_BUSY = _event("canary_busy", "info", "problem", "Another canary speaks just now")

EVENTS: Mapping[str, Event] = {
    event.name: event for event in list(globals().values()) if isinstance(event, Event)
}
