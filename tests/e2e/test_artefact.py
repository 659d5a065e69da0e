"""What `sam build` made, deployed from the real template and run by AWS's own runtime client.

ministack wakes it: its queue mapping, its schedule, its dead letters. `make e2e` builds it,
and runs this.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import command
import psutil
import pytest

from local.api import Api, audio_urls
from local.aws import Aws
from local.bridge import Bridge, Invocation
from local.job import ENDED
from local.postgres import Postgres
from local.rie import Tools
from local.schema import create_tables
from local.speech import SpeechServer
from local.stack import API_KEY, Embedded
from memolist_tts import telemetry
from memolist_tts.core import mp3
from memolist_tts.postgres.schema import migrate

# Nothing here is a test without the artefact: `make test` doesn't build it.
__test__ = "E2E_BUILT" in os.environ

EVENTS = Path(__file__).resolve().parents[2] / "events"
PATIENCE_S = 120.0
T = TypeVar("T")


def until(what: Callable[[], T], patience_s: float = PATIENCE_S) -> T:
    """Look until there is something, and give that."""
    give_up = time.monotonic() + patience_s
    while not (found := what()):
        assert time.monotonic() < give_up, "it didn't come about"
        time.sleep(0.05)
    return found


def words(count: int) -> list[tuple[str, str]]:
    """That many phrases, always the same."""
    return [(f"word number {n}", f"mot numéro {n}") for n in range(count)]


def event(name: str) -> dict[str, Any]:
    """One of the things that can arrive."""
    found: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return found


@dataclass
class Deployed:
    """A stack of one test's own."""

    embedded: Embedded
    bridge: Bridge
    speech: SpeechServer
    api: Api

    def order(self, phrases: int | list[tuple[str, str]], **columns: object) -> tuple[str, str]:
        """Insert a list and a job over it and send its message; the ids of both."""
        list_id = self.api.add_list(words(phrases) if isinstance(phrases, int) else phrases)
        job_id = self.api.add_job(list_id, **columns)
        self.embedded.send(job_id)
        return list_id, job_id

    def end_of(self, job_id: str) -> str:
        """The status in which a job ends."""
        until(lambda: self.api.job(job_id)["status"] in ENDED)
        return str(self.api.job(job_id)["status"])

    def urls(self, list_id: str) -> list[str]:
        """Every address on the cards of a list; none may lack one."""
        urls = [url for card in self.api.cards(list_id) for url in audio_urls(card)]
        assert all(urls)
        return [str(url) for url in urls]

    def call(self, function: str, event: dict[str, Any]) -> Any:
        """Invoke a function by AWS's API; what it answers, or its error."""
        answer = self.embedded.aws.client("lambda").invoke(
            FunctionName=self.name(function), Payload=json.dumps(event)
        )
        return json.loads(answer["Payload"].read())

    def sweep(self) -> dict[str, Any]:
        """Run the sweep now."""
        found: dict[str, Any] = self.call("Sweep", event("schedule"))
        return found

    def name(self, function: str) -> str:
        return self.embedded.stack.resources[f"{function}Function"]

    def runs(self, function: str = "Synthesize") -> list[Invocation]:
        return self.bridge.of(self.name(function))

    def charged(self) -> Counter[str]:
        """How often each text was paid for."""
        return Counter(charge.input for charge in self.speech.charges)

    def lines(self, function: str) -> list[dict[str, Any]]:
        """What a function logged in JSON, metrics included."""
        text = self.embedded.aws.log(self.name(function))
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def events(self, message: str, function: str = "Synthesize", **fields: object) -> list[Any]:
        """The log lines of one event of the catalogue, with these fields."""
        wanted = {"message": message, **fields}.items()
        return [line for line in self.lines(function) if wanted <= line.items()]

    def emitted(self) -> list[tuple[str, str, str, dict[str, str]]]:
        """Namespace, name, unit and dimensions of every metric in the logs."""
        return [
            (data["Namespace"], metric["Name"], metric["Unit"], {n: line[n] for n in names})
            for line in (*self.lines("Synthesize"), *self.lines("Sweep"), *self.lines("Canary"))
            for data in line.get("_aws", {}).get("CloudWatchMetrics", ())
            for metric in data["Metrics"]
            for names in data["Dimensions"]
        ]

    def letters(self, count: int) -> list[Any]:
        """The dead letters, once there are that many."""
        sqs, url = self.embedded.aws.client("sqs"), self.embedded.stack.resources["DeadLetterQueue"]
        found: list[Any] = []
        while len(found) < count:
            answer = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, MaxNumberOfMessages=10)
            assert "Messages" in answer
            found += answer["Messages"]
        return found

    def wait_until_charged(self, count: int) -> None:
        until(lambda: self.charged().total() >= count)

    def rotate(self, secret: str, text: str) -> None:
        """Give a secret of this stack another value."""
        self.embedded.aws.client("secretsmanager").put_secret_value(
            SecretId=f"{self.embedded.stack.name}-{secret}", SecretString=text
        )

    def resume(self) -> None:
        """What an operator does once the provider speaks again."""
        done = command.run("resume", DATABASE_URL=self.embedded.database_url)
        assert done.returncode == 0, done.stderr

    def runtimes(self) -> list[psutil.Process]:
        """The processes that run the worker's code."""
        return [
            process
            for process in psutil.Process().children(recursive=True)
            if process.cmdline()[1:3] == ["-m", "awslambdaric"]
            and process.environ()["AWS_LAMBDA_FUNCTION_NAME"] == self.name("Synthesize")
        ]

    def loaded(self, function: str, *job_id: str) -> dict[str, str | None]:
        """Every module that a function has loaded once it's ready (and has run a job)."""
        package = self.bridge.package(self.name(function))
        done = subprocess.run(
            package.within([os.environ["E2E_PYTHON"], "-c", LOADED, function.lower(), *job_id]),
            env=package.environment(),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        modules: dict[str, str | None] = json.loads(done.stdout)
        return modules


@pytest.fixture(scope="session")
def aws() -> Iterator[Aws]:
    with Aws() as aws:
        yield aws


@pytest.fixture
def bridge(aws: Aws) -> Iterator[Bridge]:
    tools = Tools(emulator=Path(os.environ["E2E_EMULATOR"]), python=Path(os.environ["E2E_PYTHON"]))
    with Bridge(aws, tools) as bridge:
        yield bridge


@pytest.fixture
def deploy(aws: Aws, bridge: Bridge, postgres: Postgres) -> Iterator[Callable[..., Deployed]]:
    """`deploy(timeout_s=10, MaxInFlight="2")`: the artefact with these parameters."""
    with ExitStack() as stack:

        def deploy(
            *,
            timeout_s: int = 300,
            user: str = "postgres",
            speech: SpeechServer | None = None,
            **given: str,
        ) -> Deployed:
            name = f"e2e-{uuid.uuid4().hex[:8]}"
            url = postgres.create(name)
            create_tables(url)
            migrate(url)
            speech = speech or stack.enter_context(SpeechServer(api_key=API_KEY))
            api = stack.enter_context(Api(url))
            if user != "postgres":
                api.rows(f"CREATE ROLE {user} SUPERUSER LOGIN")
            workers_url = url.replace("postgres@", f"{user}@")
            parameters = {
                "Architecture": os.environ["E2E_ARCHITECTURE"],
                "DatabaseUrlSecretArn": aws.secret(f"{name}-url", workers_url),
                "OpenAiApiKeySecretArn": aws.secret(f"{name}-key", API_KEY),
                "OpenAiBaseUrl": speech.base_url,
                "TtsProvider": "endpoint",
                **given,
            }  # fmt: skip
            deployed = aws.deploy(
                template(timeout_s, name),
                name,
                parameters=parameters,
                environment=bridge.environment,
                is_built=True,
            )
            embedded = Embedded(database_url=url, speech=speech, aws=aws, stack=deployed)
            return Deployed(embedded, bridge, speech, api)

        yield deploy


def template(timeout_s: int, name: str) -> Path:
    """The built template, with another timeout for the worker."""
    built = Path(os.environ["E2E_BUILT"], "template.yaml")
    text, count = re.subn(r"Timeout: 300\b", f"Timeout: {timeout_s}", built.read_text())
    assert count == 1
    changed = built.with_name(f"{name}.yaml")
    changed.write_text(text)
    return changed


@pytest.mark.parametrize("provider", ["auto", "endpoint", "chat", "realtime"])
def test_a_message_on_the_queue_becomes_mp3s_and_addresses_on_cards(
    deploy: Callable[..., Deployed], provider: str
) -> None:
    stack = deploy(TtsProvider=provider)

    list_id, job_id = stack.order(5)

    assert stack.end_of(job_id) == "completed"
    base, objects = stack.embedded.stack.outputs["PublicBaseUrl"], stack.embedded.objects()
    assert {url.removeprefix(f"{base}/") for url in stack.urls(list_id)} == set(objects)
    assert len(objects) == len(stack.charged()) == 10
    assert all(mp3.walk(clip).duration_ms > 100 for clip in objects.values())


def test_every_file_of_events_is_answered_as_it_should(deploy: Callable[..., Deployed]) -> None:
    stack = deploy()
    job_ids = [f"0b6f2a5e-7c1d-4e7e-9a53-{number:012}" for number in range(1, 7)]
    for job_id in job_ids:
        stack.api.add_job(
            stack.api.add_list([(f"one {job_id[-1]}", f"un {job_id[-1]}")]), id=job_id
        )
    unspoken = stack.api.add_job(stack.api.add_list([("apple", "pomme")]))
    names = {path.stem for path in EVENTS.iterdir()} - {"schedule", "canary"}

    failed = {
        name: [each["itemIdentifier"][-2:] for each in answer["batchItemFailures"]]
        for name in sorted(names)
        for answer in [stack.call("Synthesize", event(name))]
    }

    assert failed == {name: [] for name in names} | {
        "batch": ["05"], "empty": ["10"], "malformed": ["09"], "unknown-id": ["08"],
    }  # fmt: skip
    assert {stack.api.job(job_id)["status"] for job_id in job_ids} == {"completed"}
    assert set(stack.charged().values()) == {1}
    assert stack.sweep() == {"woken": 1, "failed": 0, "unsent": 0}
    assert stack.end_of(unspoken) == "completed"
    assert stack.call("Canary", event("canary")) == {"phrases": 8, "drifted": 0, "unmeasured": 0}


def test_a_job_longer_than_an_invocation_goes_on_in_the_next_and_the_next(
    deploy: Callable[..., Deployed],
) -> None:
    stack = deploy(timeout_s=9, MaxInFlight="1")
    stack.speech.set_latency(0.3)

    _, job_id = stack.order(16)

    assert stack.end_of(job_id) == "completed"
    assert len(stack.events("job_handed_back", reason="out_of_time")) >= 3
    assert not any(run.answer.is_error for run in stack.runs())
    assert set(stack.charged().values()) == {1}


def test_a_job_whose_worker_is_killed_for_its_time_is_rescued_by_the_schedule(
    deploy: Callable[..., Deployed],
) -> None:
    in_flight = 4
    stack = deploy(timeout_s=15, MaxInFlight=str(in_flight))
    stack.speech.set_latency(0.3)
    _, job_id = stack.order(8)
    stack.wait_until_charged(in_flight + 1)

    # It hangs with calls in flight, and Lambda kills it.
    [runtime] = stack.runtimes()
    runtime.suspend()

    killed = until(stack.runs)[0]
    assert (killed.answer.is_error, killed.answer.body[:14]) == (True, b"Task timed out")
    assert stack.end_of(job_id) == "completed"
    assert "aws.scheduler" in {run.event["source"] for run in stack.runs("Sweep")}
    assert len(stack.events("job_rescued", "Sweep")) == 1
    assert stack.charged().total() <= 16 + in_flight


def test_jobs_whose_runtime_is_killed_at_random_times_complete(
    deploy: Callable[..., Deployed], soaks: bool
) -> None:
    in_flight, kills = 2, 100 if soaks else 2
    stack = deploy(timeout_s=9, MaxInFlight=str(in_flight))
    stack.speech.set_latency(0.2)
    # What a killed runtime had received comes back after that: six times the function's time.
    sqs, url = stack.embedded.aws.client("sqs"), stack.embedded.stack.resources["Queue"]
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "10"})
    chance = random.Random()
    ordered: list[tuple[str, str]] = []
    for nth in range(kills):
        phrases = [(f"{nth}: {en}", f"{nth}: {fr}") for en, fr in words(6)]
        ordered += [stack.order(phrases[:3]), stack.order(phrases[3:])]
        stack.wait_until_charged(stack.charged().total() + 1)
        time.sleep(chance.uniform(0, 0.5))
        for process in stack.runtimes():
            process.kill()

    def have_ended() -> bool:
        # The schedule's minutes would be most of the test.
        time.sleep(0.5)
        stack.sweep()
        return all(stack.api.job(job_id)["status"] in ENDED for _, job_id in ordered)

    until(have_ended)

    assert {stack.end_of(job_id) for _, job_id in ordered} == {"completed"}
    assert sum(run.answer.is_error for run in stack.runs()) >= kills
    assert sum(len(stack.urls(list_id)) for list_id, _ in ordered) == 12 * kills
    # Two jobs at once, and what each had in flight.
    assert stack.charged().total() <= 12 * kills + 2 * in_flight * kills


def test_what_fails_time_and_again_becomes_a_dead_letter_and_is_redriven(
    deploy: Callable[..., Deployed],
) -> None:
    stack = deploy()
    sqs, queues = stack.embedded.aws.client("sqs"), stack.embedded.stack.resources
    sqs.set_queue_attributes(QueueUrl=queues["Queue"], Attributes={"VisibilityTimeout": "1"})
    stack.api.rows('ALTER TABLE "TtsJob" RENAME TO "Elsewhere"')
    job_id = str(uuid.uuid4())
    stack.embedded.send(job_id)
    sqs.send_message(QueueUrl=queues["Queue"], MessageBody="no job", MessageGroupId="user-1")

    dead = stack.letters(2)

    bodies = [json.dumps({"jobId": job_id}), "no job"]
    assert sorted(letter["Body"] for letter in dead) == sorted(bodies)
    received = Counter(run.event["Records"][0]["body"] for run in stack.runs())
    assert received == dict.fromkeys(bodies, 5)

    # What was wrong is put right, and the letters go back.
    stack.api.rows('ALTER TABLE "Elsewhere" RENAME TO "TtsJob"')
    stack.api.add_job(stack.api.add_list([("apple", "pomme")]), id=job_id)
    for letter in dead:
        sqs.send_message(QueueUrl=queues["Queue"], MessageBody=letter["Body"])
        sqs.delete_message(
            QueueUrl=queues["DeadLetterQueue"], ReceiptHandle=letter["ReceiptHandle"]
        )

    assert stack.end_of(job_id) == "completed"
    assert [letter["Body"] for letter in stack.letters(1)] == ["no job"]


def test_a_provider_that_throttles_delays_a_job_and_fails_nothing(
    deploy: Callable[..., Deployed],
) -> None:
    stack = deploy()
    stack.speech.set_limits(requests_per_minute=100)
    stack.speech.add_fault("throttled", times=3)

    _, job_id = stack.order(11)

    assert stack.end_of(job_id) == "completed"
    assert stack.charged().total() == 22
    assert Counter(seen.status for seen in stack.speech.requests if seen.input) == {200: 22, 429: 3}


NEW_KEY = "sk-after-the-rotation"


def test_a_key_revoked_in_mid_job_stops_it_and_the_new_one_ends_it(
    deploy: Callable[..., Deployed],
) -> None:
    with SpeechServer(api_key=API_KEY) as old:
        stack = deploy(speech=old, MaxInFlight="2")
        old.set_latency(0.3)
        list_id, job_id = stack.order(6)
        until(lambda: len(old.charges) > 2)
    with SpeechServer(api_key=NEW_KEY, port=int(old.root_url.rsplit(":")[-1])) as new:
        until(lambda: stack.events("job_handed_back", reason="key_refused"))
        stack.rotate("key", NEW_KEY)
        stack.resume()
        stack.sweep()

        assert stack.end_of(job_id) == "completed"

    assert len(stack.urls(list_id)) == 12
    assert len(new.charges) >= 6
    assert max(Counter(c.input for c in old.charges + new.charges).values()) <= 2


def test_a_database_user_revoked_in_mid_job_is_replaced_by_the_new_one(
    deploy: Callable[..., Deployed],
) -> None:
    stack = deploy(timeout_s=9, user="before", MaxInFlight="2")
    stack.sweep()
    stack.speech.set_latency(0.3)
    _, job_id = stack.order(8)
    stack.wait_until_charged(3)

    stack.api.rows("CREATE ROLE after SUPERUSER LOGIN")
    stack.rotate("url", stack.embedded.database_url.replace("postgres@", "after@"))
    stack.api.rows("ALTER ROLE before NOLOGIN")
    stack.api.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'before'"
    )

    until(lambda: stack.events("chunk_broke"))
    # Once the lease has run out. The sweep, too, was warm with the old user.
    until(lambda: stack.sweep().get("woken"))
    assert stack.end_of(job_id) == "completed"
    assert stack.charged().total() <= 16 + 2


def test_every_metric_goes_out_as_the_catalogue_has_it_and_reaches_cloudwatch(
    deploy: Callable[..., Deployed],
) -> None:
    stack = deploy()
    stack.call("Canary", event("canary"))
    stack.speech.add_fault("refused", match="apple")
    stack.speech.add_fault("silent", match="pear", times=1)
    stack.speech.add_fault("throttled", times=1)
    _, job_id = stack.order([("bread", "pain"), ("apple", "pomme"), ("pear", "poire"), ("…", "ok")])
    assert stack.end_of(job_id) == "failed"
    stack.call("Synthesize", event("malformed"))
    stack.sweep()

    emitted = stack.emitted()

    assert {namespace for namespace, _, _, _ in emitted} == {telemetry.NAMESPACE}
    assert {dimensions["service"] for _, _, _, dimensions in emitted} == {stack.embedded.stack.name}
    for _, name, unit, dimensions in emitted:
        assert unit == telemetry.METRICS[name].unit.value
        assert frozenset(dimensions) in telemetry.METRICS[name].dimensions
    assert set(telemetry.METRICS) - {name for _, name, _, _ in emitted} == {
        "ChunksBroken", "JobsCompleted", "JobsHandedBack", "ProviderStops",
    }  # fmt: skip
    kept = stack.embedded.aws.client("cloudwatch").get_paginator("list_metrics")
    kept_names = {
        (each["MetricName"], frozenset(d["Name"] for d in each["Dimensions"]))
        for page in kept.paginate(Namespace=telemetry.NAMESPACE)
        for each in page["Metrics"]
    }
    assert {(name, frozenset(dimensions)) for _, name, _, dimensions in emitted} <= kept_names


LOADED = """
import importlib, json, sys, threading
door = importlib.import_module("memolist_tts.lambdas." + sys.argv[1])
for job_id in sys.argv[2:]:
    door.worker.run(job_id, seconds=60, halt=threading.Event())
print(json.dumps({name: getattr(each, "__file__", None) for name, each in sys.modules.items()}))
"""


@pytest.mark.parametrize("function", ["Sweep", "Synthesize", "Canary"])
def test_a_function_starts_from_its_own_artefact_without_openai(
    deploy: Callable[..., Deployed], function: str
) -> None:
    stack = deploy()

    loaded = stack.loaded(function)

    assert "openai" not in loaded
    places = {name.partition(".")[0]: file or "" for name, file in loaded.items()}
    assert places["memolist_tts"].startswith("/var/task/memolist_tts/")
    for name in ("pg8000", "pydantic", "aws_lambda_powertools"):
        assert places[name].startswith("/opt/python/")


def test_a_job_whose_clips_are_all_stored_loads_no_openai(deploy: Callable[..., Deployed]) -> None:
    stack = deploy()
    assert stack.end_of(stack.order(2)[1]) == "completed"
    list_id = stack.api.add_list(words(2))
    job_id = stack.api.add_job(list_id)

    loaded = stack.loaded("Synthesize", job_id)

    assert stack.api.job(job_id)["status"] == "completed"
    assert stack.charged().total() == len(stack.urls(list_id)) == 4
    assert "openai" not in loaded
