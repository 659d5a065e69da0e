"""Lambda's two handlers over real servers: the files of events/ in; rows, messages, metrics out."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from command import ROOT
from samtranslator.yaml_helper import yaml_parse

from local.api import Api, audio_urls
from local.bridge import metric_data
from local.doors import Doors as Functions
from local.speech import SpeechServer
from memolist_tts import telemetry
from memolist_tts.core.errors import DatabaseError
from tests.conftest import ROUTE, Queue

EVENTS = Path(__file__).resolve().parents[2] / "events"


@dataclass
class Doors(Functions):
    """The two functions of one deployment, and what is around them."""

    api: Api
    speech: SpeechServer
    queue: Queue
    capsys: pytest.CaptureFixture[str]

    def synthesize(self, event: str, **context: Any) -> list[str]:
        """Ids of the messages that are reported failed."""
        answer = self.call("synthesize", json.loads((EVENTS / event).read_text()), **context)
        return [failed["itemIdentifier"] for failed in answer["batchItemFailures"]]

    def sweep(self) -> dict[str, int]:
        answer: dict[str, int] = self.call(
            "sweep", json.loads((EVENTS / "schedule.json").read_text())
        )
        return answer

    def job(self, job_id: str, **columns: object) -> str:
        list_id = self.api.add_list([("apple", "pomme")])
        self.api.add_job(list_id, id=job_id, **columns)
        return list_id

    def emitted(self) -> dict[str, list[float]]:
        """The metrics written so far, by name."""
        found: dict[str, list[float]] = {}
        for line in self.capsys.readouterr().out.splitlines():
            for _, data in metric_data(line):
                for metric in data:
                    found.setdefault(metric["MetricName"], []).extend(metric["Values"])
        return found


@pytest.fixture
def doors(
    database: str,
    speech_server: SpeechServer,
    sqs: Queue,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Doors]:
    variables = {
        "DATABASE_URL": database,
        "OPENAI_BASE_URL": speech_server.base_url,
        "TTS_PROVIDER": ROUTE,
        "STORAGE_TYPE": "local",
        "LOCAL_STORAGE_PATH": str(tmp_path),
        "QUEUE_URL": sqs.url,
        "AWS_ENDPOINT_URL": sqs.endpoint_url,
        "POWERTOOLS_SERVICE_NAME": "memolist-test",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with Api(database) as api:
        found = Doors(api, speech_server, sqs, capsys)
        yield found
    found.close()


def job_id(number: int) -> str:
    return f"0b6f2a5e-7c1d-4e7e-9a53-{number:012}"


def test_a_models_end_is_measured_and_warned_of(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TTS_PROVIDER", "endpoint")
    doors.job(job_id(1))

    assert doors.synthesize("object.json") == []

    lines = [json.loads(each) for each in doors.capsys.readouterr().out.splitlines()]
    (warned,) = [line for line in lines if line.get("message") == "shutdown_near"]
    (days,) = [line["DaysToShutdown"] for line in lines if "DaysToShutdown" in line]
    assert (warned["fix"], [warned["days"]]) == ("Set TTS_PROVIDER=chat.", days)


@pytest.mark.parametrize(
    ("event", "number"), [("object.json", 1), ("string.json", 2), ("bare-id.json", 3)]
)
def test_each_form_of_a_message_has_its_job_spoken(doors: Doors, event: str, number: int) -> None:
    list_id = doors.job(job_id(number))

    assert doors.synthesize(event) == []

    assert doors.api.job(job_id(number))["status"] == "completed"
    assert all(url for card in doors.api.cards(list_id) for url in audio_urls(card))


def test_a_bad_message_fails_alone_and_its_neighbours_are_spoken(doors: Doors) -> None:
    doors.job(job_id(4))
    doors.job(job_id(5))

    failed = doors.synthesize("batch.json")

    assert failed == ["6d1f0c3a-51b2-4c77-8f10-000000000005"]
    assert {doors.api.job(job_id(n))["status"] for n in (4, 5)} == {"completed"}


def test_a_message_delivered_twice_is_charged_once(doors: Doors) -> None:
    doors.job(job_id(6))

    assert doors.synthesize("duplicate.json") == []

    assert len(doors.speech.charges) == 2


@pytest.mark.parametrize("event", ["malformed.json", "empty.json", "unknown-id.json"])
def test_a_message_without_a_job_is_reported_failed(doors: Doors, event: str) -> None:
    records = json.loads((EVENTS / event).read_text())["Records"]

    assert doors.synthesize(event) == [record["messageId"] for record in records]


def test_a_message_whose_row_is_not_there_yet_comes_back_before_its_visibility_ends(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors.queue.client.send_message(QueueUrl=doors.queue.url, MessageBody=job_id(9))
    received = doors.queue.client.receive_message(QueueUrl=doors.queue.url, VisibilityTimeout=1800)
    record = json.loads((EVENTS / "bare-id.json").read_text())["Records"][0]
    record |= {
        "body": job_id(9), "receiptHandle": received["Messages"][0]["ReceiptHandle"],
    }  # fmt: skip
    doors.call("sweep", {})  # imports the package
    module = importlib.import_module("memolist_tts.lambdas.synthesize")
    doors.modules["synthesize"] = importlib.reload(module)
    monkeypatch.setattr(module, "COMES_BACK_S", 0)

    answer = doors.call("synthesize", {"Records": [record]})

    assert len(answer["batchItemFailures"]) == 1
    assert doors.queue.bodies() == [job_id(9)]


def test_a_run_out_of_time_puts_its_job_back_on_the_queue_and_the_next_ends_it(
    doors: Doors,
) -> None:
    doors.job(job_id(1), userId="user-1")

    assert doors.synthesize("object.json", left_ms=5_500) == []

    assert doors.api.job(job_id(1))["status"] == "pending"
    assert doors.queue.bodies() == [json.dumps({"jobId": job_id(1)})]
    assert doors.synthesize("object.json") == []
    assert doors.api.job(job_id(1))["status"] == "completed"


IN_A_PROCESS_OF_ITS_OWN = """
import json, pathlib, sys
from local.doors import Doors
answer = Doors().call("synthesize", json.loads(pathlib.Path(sys.argv[1]).read_text()))
print(json.dumps([answer["batchItemFailures"], "openai" in sys.modules]))
"""


@pytest.mark.parametrize(("shown", "is_loaded"), [("apple", False), ("pear", True)])
def test_openai_is_loaded_only_for_a_job_that_speaks(
    doors: Doors, shown: str, is_loaded: bool
) -> None:
    doors.job(job_id(1))
    assert doors.synthesize("object.json") == []
    list_id = doors.api.add_list([(shown, "pomme")])
    doors.api.add_job(list_id, id=job_id(2))

    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS_OF_ITS_OWN, EVENTS / "string.json"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout.splitlines()[-1]) == [[], is_loaded]
    assert doors.api.job(job_id(2))["status"] == "completed"
    assert all(url for card in doors.api.cards(list_id) for url in audio_urls(card))


def test_what_a_job_did_is_measured_under_the_catalogues_names(doors: Doors) -> None:
    doors.job(job_id(1))

    doors.synthesize("object.json")

    emitted = doors.emitted()
    assert emitted["JobsCompleted"] == [1]
    assert emitted["UtterancesSpoken"] == [2]
    assert emitted["CharactersSpoken"] == [len("apple") + len("pomme")]
    assert set(emitted) <= set(telemetry.METRICS)


def test_a_sweep_wakes_a_pending_job_once(doors: Doors) -> None:
    doors.job(job_id(1))

    assert [doors.sweep()["woken"], doors.sweep()["woken"]] == [1, 0]

    assert doors.queue.bodies() == [json.dumps({"jobId": job_id(1)})]
    assert doors.emitted()["PendingJobs"] == [1, 1]


LEASED = """
INSERT INTO tts.job (job_id, lease_token, lease_until, attempts, woken_at)
VALUES (:id, gen_random_uuid(), now() + cast(:lease AS interval), :attempts,
        now() - interval '1 hour')
"""


@pytest.mark.parametrize(
    ("lease", "woken", "status"), [("-1 second", 1, "processing"), ("1 hour", 0, "processing")]
)
def test_a_sweep_wakes_a_job_only_once_its_worker_is_dead(
    doors: Doors, lease: str, woken: int, status: str
) -> None:
    doors.job(job_id(1), status="processing")
    doors.api.rows(LEASED, id=job_id(1), lease=lease, attempts=1)

    assert doors.sweep()["woken"] == woken

    assert doors.api.job(job_id(1))["status"] == status
    if woken:
        assert doors.synthesize("object.json") == []
        assert doors.api.job(job_id(1))["status"] == "completed"


@pytest.mark.parametrize("door", ["sweep", "synthesize"])
def test_a_job_whose_attempts_are_used_up_fails_with_the_reason(doors: Doors, door: str) -> None:
    doors.job(job_id(1), status="processing")
    doors.api.rows(LEASED, id=job_id(1), lease="-1 second", attempts=3)

    if door == "sweep":
        assert doors.sweep()["failed"] == 1
    else:
        assert doors.synthesize("object.json") == []

    job = doors.api.job(job_id(1))
    assert job["status"] == "failed"
    assert "died 3 times" in job["errorMessage"]
    assert doors.speech.charges == []
    assert sum(doors.emitted()["JobsFailed"]) == 2  # once in all, once by its code


RESTING = "INSERT INTO tts.job (job_id, woken_at, not_before) VALUES (:id, now(), {})"


@pytest.mark.parametrize(
    ("not_before", "woken"),
    [("now() + interval '1 hour'", 0), ("now() + interval '1 microsecond'", 1)],
)
def test_a_sweep_lets_a_job_rest_until_its_time(doors: Doors, not_before: str, woken: int) -> None:
    doors.job(job_id(1))
    doors.api.rows(RESTING.format(not_before), id=job_id(1))

    assert doors.sweep()["woken"] == woken


def test_nothing_is_woken_while_all_is_paused(doors: Doors) -> None:
    doors.job(job_id(1))
    doors.api.rows("INSERT INTO tts.pause VALUES ('operator', 'lunch', 'infinity')")

    assert doors.sweep()["woken"] == 0

    assert doors.emitted()["Paused"] == [1]


API_PAGE = (EVENTS.parent / "docs" / "api.md").read_text()


def block(kind: str) -> str:
    """The page's only block of that kind."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", API_PAGE, re.M | re.S)
    return str(found)


@pytest.fixture
def bus(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> str:
    """An event bus with the page's rule, which puts what it is told on the queue of `doors`."""
    events = boto3.client("events", endpoint_url=doors.queue.endpoint_url)
    name = f"bus-{uuid.uuid4().hex}"
    events.create_event_bus(Name=name)
    rule = yaml_parse(block("yaml"))["JobEnds"]["Properties"]
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", *rule["EventPattern"]["detail"]["service"])
    pattern = json.dumps(rule["EventPattern"])
    events.put_rule(Name="ends", EventBusName=name, EventPattern=pattern)
    arn = doors.queue.client.get_queue_attributes(
        QueueUrl=doors.queue.url, AttributeNames=["QueueArn"]
    )["Attributes"]["QueueArn"]
    target = {"Id": rule["Targets"][0]["Id"], "Arn": arn}
    events.put_targets(Rule="ends", EventBusName=name, Targets=[target])
    monkeypatch.setenv("EVENT_BUS_NAME", name)
    return name


@pytest.mark.usefixtures("bus")
def test_a_jobs_end_is_told_on_the_bus_as_the_page_shows_it(doors: Doors) -> None:
    shown = json.loads(block("json"))
    doors.speech.add_fault("refused", match="apple")
    doors.job(job_id(1))

    doors.synthesize("object.json")

    (body,) = doors.queue.bodies()
    told = json.loads(body)
    # The emulator leaves the account out.
    assert told.keys() | {"account"} == shown.keys()
    assert [told[name] for name in ("source", "detail-type", "resources")] == [
        shown[name] for name in ("source", "detail-type", "resources")
    ]
    message = told["detail"].pop("message")
    assert message.startswith(shown["detail"].pop("message").removesuffix("…"))
    assert told["detail"] == shown["detail"]


@pytest.mark.usefixtures("bus")
def test_a_good_end_is_told_without_code_and_message(doors: Doors) -> None:
    shown = json.loads(block("json"))["detail"]
    doors.job(job_id(1))

    doors.synthesize("object.json")

    (body,) = doors.queue.bodies()
    told = json.loads(body)
    assert told["detail-type"] == "TtsJob completed"
    assert shown.keys() - told["detail"].keys() == {"code", "message"}
    assert (told["detail"]["spoken"], told["detail"]["failures"]) == (2, {})


@pytest.mark.usefixtures("bus")
def test_the_rule_lets_another_stacks_ends_pass_by(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "memolist-development")
    doors.job(job_id(1))

    doors.synthesize("object.json")

    assert doors.api.job(job_id(1))["status"] == "completed"
    assert doors.queue.bodies() == []


@pytest.mark.usefixtures("bus")
def test_a_job_that_the_sweep_fails_is_told_on_the_bus(doors: Doors) -> None:
    doors.job(job_id(1), status="processing")
    doors.api.rows(LEASED, id=job_id(1), lease="-1 second", attempts=3)

    doors.sweep()

    told = json.loads(doors.queue.bodies()[0])
    assert told["detail-type"] == "TtsJob failed"
    assert told["detail"] == {
        "service": "memolist-production", "jobId": job_id(1), "code": "attempts_used_up",
    }  # fmt: skip


def test_a_bus_that_takes_no_event_costs_the_job_nothing(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENT_BUS_NAME", "no-such-bus")
    doors.job(job_id(1))

    assert doors.synthesize("object.json") == []

    assert doors.api.job(job_id(1))["status"] == "completed"


def test_a_database_that_comes_back_with_another_password_is_found_by_the_next_run(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    doors.job(job_id(1))
    assert doors.synthesize("unknown-id.json") != []
    worker = doors.modules["synthesize"].worker
    first = worker.database
    monkeypatch.setattr(first, "transaction", _refuses)

    assert doors.synthesize("object.json") != []

    assert worker.database is not first
    assert doors.synthesize("object.json") == []
    assert doors.emitted()["ChunksBroken"] == [1]


def _refuses(work: object) -> None:  # noqa: ARG001
    raise DatabaseError("password authentication failed")


def test_an_api_key_that_cant_be_read_hands_the_job_back_and_pauses(
    doors: Doors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY_SECRET_ARN", "no-such-secret")
    doors.job(job_id(1))

    assert doors.synthesize("object.json") == []

    assert doors.api.job(job_id(1))["status"] == "pending"
    row = doors.api.rows("SELECT stop_code, attempts FROM tts.job")[0]
    assert row == {"stop_code": "key_refused", "attempts": 0}
