"""Two hours of the service with everything that can go wrong, in seconds, and what it emits.

Real jobs go through the handlers over real servers. Only time is compressed: after each
sweep, whatever the database remembers is moved five minutes into the past.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import boto3

from local.api import Api
from local.cloudwatch import STEP_S, Key, Samples
from local.deck import read_deck
from local.doors import Doors
from local.speech import SpeechServer

REGION = "eu-west-3"
DECK = Path(__file__).with_name("deck.csv")
RUNS_A_STEP = 6
"""Messages that are received between two sweeps, at most; so a burst of jobs is seen to wait."""
HIDDEN_STEPS = 6
"""How long a message stays hidden that a worker didn't end: the queue's visibility timeout."""
RECEIVED_AT_MOST = 3
PLENTY_MS = 60_000
SHORT_MS = 6_600
"""Enough for a part of a job: five seconds are kept back for its end."""

PASSING = (
    'UPDATE "TtsJob" SET "createdAt" = "createdAt" - {by}',
    "UPDATE tts.job SET lease_until = lease_until - {by}, not_before = not_before - {by},"
    " woken_at = woken_at - {by}, finished_at = finished_at - {by}",
    "UPDATE tts.pace SET blocked_until = blocked_until - {by}, updated_at = updated_at - {by}",
    "UPDATE tts.pause SET until = until - {by}",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What the functions wrote, and what AWS itself would have measured of them."""

    stack: str
    samples: Samples
    lines: Mapping[str, Sequence[Mapping[str, Any]]]
    """Log lines, `synthesize`, `sweep` and `canary` apart."""


@dataclass
class _Service:
    """One deployment and its API."""

    stack: str
    api: Api
    speech: SpeechServer
    sqs: Any
    queue_url: str
    dead_letters_url: str
    doors: Doors = field(default_factory=Doors)
    samples: Samples = field(default_factory=Samples)
    lines: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {"synthesize": [], "sweep": [], "canary": []}
    )
    moved: list[float] = field(default_factory=list)
    """When time was moved on, by this machine's clock: at the end of each step."""
    failed: list[tuple[int, str]] = field(default_factory=list)
    """Messages that come back: in which step, and their receipts."""
    printed: io.StringIO = field(default_factory=io.StringIO)

    def job(
        self, phrases: Sequence[Sequence[str]], *, is_sent: bool = True, **columns: object
    ) -> str:
        """What the API does: cards, a job, a message. The list's id."""
        list_id = self.api.add_list(phrases)
        job_id = self.api.add_job(list_id, userId=f"user-{len(phrases)}", **columns)
        if is_sent:
            self.send(json.dumps({"jobId": job_id}))
        return list_id

    def send(self, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def step(self, *, left_ms: int = PLENTY_MS) -> None:
        """Five minutes: messages, each with `left_ms` for its run, then a sweep."""
        self.samples.begin_step()
        self._measure_queues()
        for _ in range(RUNS_A_STEP):
            if (message := self._received()) is None:
                break
            self._deliver(message, left_ms)
        self._call("sweep", {"source": "aws.scheduler"})
        self._pass_time()

    def canary(self) -> None:
        """What its schedule does, in the step under way."""
        self._call("canary", {"source": "aws.scheduler"})

    def _pass_time(self) -> None:
        by = f"interval '{STEP_S} seconds'"
        for statement in PASSING:
            self.api.rows(statement.format(by=by))
        self.moved.append(time.time())
        for receipt in [receipt for step, receipt in self.failed if step == len(self.moved)]:
            self.sqs.change_message_visibility(
                QueueUrl=self.queue_url, ReceiptHandle=receipt, VisibilityTimeout=0
            )

    def _received(self) -> dict[str, Any] | None:
        found = self.sqs.receive_message(
            QueueUrl=self.queue_url,
            MaxNumberOfMessages=1,
            VisibilityTimeout=1800,
            AttributeNames=["All"],
        ).get("Messages", [None])
        message: dict[str, Any] | None = found[0]
        return message

    def _deliver(self, message: Mapping[str, Any], left_ms: int) -> None:
        sent_ms = self._sent_ms(message)
        age_s = max(0.0, time.time() - sent_ms / 1000)
        self._aws("SQS", "ApproximateAgeOfOldestMessage", self._name(self.queue_url), age_s)
        attributes = message["Attributes"] | {"SentTimestamp": str(sent_ms)}
        record = {
            "messageId": message["MessageId"],
            "receiptHandle": message["ReceiptHandle"],
            "body": message["Body"],
            "attributes": attributes,
            "messageAttributes": {},
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:{self._name(self.queue_url)}",
            "awsRegion": REGION,
        }
        answer = self._call("synthesize", {"Records": [record]}, left_ms=left_ms)
        if answer["batchItemFailures"]:
            self.failed.append((len(self.moved) + HIDDEN_STEPS, message["ReceiptHandle"]))
        else:
            self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])

    def _sent_ms(self, message: Mapping[str, Any]) -> int:
        """When the message was sent, had the steps since then lasted their five minutes."""
        sent_ms = int(message["Attributes"]["SentTimestamp"])
        # Whole milliseconds: what is sent right after the move may seem to come before it.
        steps = len(self.moved) - bisect_right(self.moved, (sent_ms + 1) / 1000)
        return sent_ms - steps * STEP_S * 1000

    def _call(self, name: str, event: Mapping[str, Any], **context: Any) -> Any:
        function = f"{self.stack}-{name}"
        with contextlib.redirect_stdout(self.printed):
            answer = self.doors.call(name, event, function_name=function, **context)
        self._keep(name, self.printed.getvalue())
        self.printed.seek(0)
        self.printed.truncate()
        # A run that broke would have ended this one, and one call follows the other.
        figures = {"Invocations": 1, "ConcurrentExecutions": 1, "Errors": 0, "Throttles": 0}
        for metric, value in figures.items():
            self._aws("Lambda", metric, function, value)
        return answer

    def _keep(self, name: str, printed: str) -> None:
        for line in printed.splitlines():
            self.samples.add_printed(line)
            written = json.loads(line)
            if "_aws" not in written:
                self.lines[name].append(written)

    def _measure_queues(self) -> None:
        asked = "ApproximateNumberOfMessages"
        for url in (self.queue_url, self.dead_letters_url):
            told = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=[asked])
            count = int(told["Attributes"][asked])
            self._aws("SQS", "ApproximateNumberOfMessagesVisible", self._name(url), count)

    def _aws(self, service: str, metric: str, resource: str, value: float) -> None:
        dimension = {"SQS": "QueueName", "Lambda": "FunctionName"}[service]
        self.samples.add(Key(f"AWS/{service}", metric, frozenset({(dimension, resource)})), [value])

    @staticmethod
    def _name(url: str) -> str:
        return url.rpartition("/")[2]


def record(database_url: str, aws_url: str, folder: Path, stack: str) -> Recording:
    """Play it all as the stack named `stack`, its clips in `folder`; takes some ten seconds.

    `database_url` is of an empty database with the API's tables and ours, `aws_url` of an SQS.
    """
    with SpeechServer() as speech, _environment(aws_url), Api(database_url) as api:
        sqs = boto3.client("sqs", endpoint_url=aws_url)
        queue_url, dead_letters_url = _queues(sqs, stack)
        os.environ |= {
            "DATABASE_URL": database_url,
            "OPENAI_BASE_URL": speech.base_url,
            # The catalogue is to be complete, and only a model with an end has days left.
            "TTS_PROVIDER": "endpoint",
            "STORAGE_TYPE": "local",
            "LOCAL_STORAGE_PATH": str(folder),
            "QUEUE_URL": queue_url,
            "POWERTOOLS_SERVICE_NAME": stack,
        }
        service = _Service(stack, api, speech, sqs, queue_url, dead_letters_url)
        try:
            _play(service)
        finally:
            service.doors.close()
    return Recording(stack=stack, samples=service.samples, lines=service.lines)


@contextlib.contextmanager
def _environment(aws_url: str) -> Iterator[None]:
    """This process's variables, without any AWS account of whoever runs it; restored after."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": aws_url,
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before


def _queues(sqs: Any, stack: str) -> tuple[str, str]:
    dead = sqs.create_queue(QueueName=f"{stack}-dead-letters")["QueueUrl"]
    asked = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])
    redrive = {
        "deadLetterTargetArn": asked["Attributes"]["QueueArn"],
        "maxReceiveCount": RECEIVED_AT_MOST,
    }
    attributes = {"RedrivePolicy": json.dumps(redrive)}
    url = sqs.create_queue(QueueName=f"{stack}-jobs", Attributes=attributes)["QueueUrl"]
    return url, dead


def _play(service: _Service) -> None:
    decks = _decks()
    for trouble in (
        _nothing, _quiet, _bad_messages, _busy, _quiet, _bad_recordings, _quiet, _bad_texts,
        _quiet, _throttled, _quiet, _drifted, _quiet, _broken, _quiet, _long_job, _quiet,
        _no_money, _quiet, _quiet, _nothing,
    ):  # fmt: skip
        trouble(service, partial(next, decks))
        service.speech.clear_faults()


Deck: TypeAlias = Sequence[Sequence[str]]
Deal: TypeAlias = Callable[[], Deck]


def _decks() -> Iterator[Deck]:
    """Small decks without end, no phrase in two of them."""
    phrases = read_deck(DECK).phrases
    for number in itertools.count(2):
        for at in range(0, len(phrases), 4):
            yield [[f"{each.en} {number}", f"{each.fr} {number}"] for each in phrases[at : at + 4]]


def _nothing(service: _Service, deal: Deal) -> None:  # noqa: ARG001
    service.step()


def _quiet(service: _Service, deal: Deal) -> None:
    """A job that speaks, then one of the same phrases: nothing to be spoken."""
    deck = deal()
    service.job(deck)
    service.job(deck[:3])
    service.step()


def _busy(service: _Service, deal: Deal) -> None:
    """More jobs than are received between two sweeps."""
    for _ in range(10):
        service.job(deal())
    for _ in range(3):
        service.step()


def _bad_messages(service: _Service, deal: Deal) -> None:
    """One names no job, one a job that isn't there, and a job has no message at all."""
    service.send('{"job": 1}')
    service.send(json.dumps({"jobId": "a-job-that-never-was"}))
    service.job(deal(), is_sent=False)
    service.step()


def _bad_recordings(service: _Service, deal: Deal) -> None:
    """Some clips are silent, and taken again. Cards without words; cards with others' audio."""
    service.speech.add_fault("silent", times=3)
    service.speech.add_fault("slow", times=2, seconds=1.0)
    list_id = service.job([*deal(), ["…", "!"], ["(?)", "—"]])
    service.api.rows(
        'UPDATE "Card" SET "audioFrUrl" = :url WHERE "listId"::text = :list_id AND position < 2',
        url="https://elsewhere.example/a.mp3",
        list_id=list_id,
    )
    service.step()


def _bad_texts(service: _Service, deal: Deal) -> None:
    """The provider refuses a card of each of two jobs."""
    service.speech.add_fault("refused", match="unspeakable|indicible")
    for number in (1, 2):
        service.job([*deal(), [f"unspeakable {number}", f"indicible {number}"]])
    service.step()


def _throttled(service: _Service, deal: Deal) -> None:
    """Too many requests, soon over; then a rest that is longer than a run waits."""
    service.speech.add_fault("throttled", times=8, retry_after="0", retry_after_ms="50")
    service.job([*deal(), *deal()])
    service.step()
    service.speech.add_fault("throttled", times=1, retry_after="240", retry_after_ms="240000")
    service.job(deal())
    service.step()


def _drifted(service: _Service, deal: Deal) -> None:
    """The canary finds its baseline; then a voice is softer; then nobody pays."""
    for fault in (None, "faint", "insufficient_quota"):
        if fault is not None:
            service.speech.add_fault(fault)
        service.job(deal(), is_sent=False)
        service.canary()
        service.speech.clear_faults()
        service.step()


def _broken(service: _Service, deal: Deal) -> None:
    """The database loses a table in the middle of a job: its lease ends, a sweep rescues it."""
    service.job(deal())
    service.api.rows("ALTER TABLE tts.clip RENAME TO clip_away")
    service.step()
    service.api.rows("ALTER TABLE tts.clip_away RENAME TO clip")
    service.step()


def _long_job(service: _Service, deal: Deal) -> None:
    """Longer than a run: each leaves the rest to the next."""
    service.speech.set_latency(0.6)
    service.job([card for _ in range(12) for card in deal()])
    service.step(left_ms=SHORT_MS)
    service.speech.set_latency(0.0)


def _no_money(service: _Service, deal: Deal) -> None:
    """The quota is used up: all is paused for a while, and jobs wait."""
    service.speech.add_fault("insufficient_quota", times=1)
    for _ in range(4):
        service.job(deal())
        service.step()
