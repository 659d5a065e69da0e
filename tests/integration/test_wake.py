from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from scripted_http import Answer, ScriptedHttp

from memolist_tts.core.errors import WakeError
from memolist_tts.core.message import job_id
from memolist_tts.wake.sqs import SqsWake, queue_region, sqs_client

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

SENT = Answer(200, b'{"MessageId": "1"}')


@pytest.fixture
def queue_url(sqs: Any) -> str:
    url: str = sqs.url
    return url


def wake(queue_url: str) -> SqsWake:
    return SqsWake(queue_url, sqs_client(queue_url))


def impatient(url: str, session: boto3.session.Session | None = None) -> SQSClient:
    """A client that asks once, so that a fault is seen at once."""
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5)
    return (session or boto3.session.Session()).client("sqs", endpoint_url=url, config=config)


def received(queue_url: str) -> MessageTypeDef:
    sqs = sqs_client(queue_url)
    answer = sqs.receive_message(QueueUrl=queue_url, MessageSystemAttributeNames=["All"])
    (message,) = answer["Messages"]
    return message


def refusal(code: str, status: int = 400) -> Answer:
    body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "No."}).encode()
    return Answer(status, body, {"Content-Type": "application/x-amz-json-1.0"})


def test_a_job_sent_is_received_as_a_message_that_names_it(queue_url: str) -> None:
    wake(queue_url).send('job "é" 7', group="user-1")

    message = received(queue_url)
    assert json.loads(message["Body"]) == {"jobId": 'job "é" 7'}
    assert job_id(message["Body"]) == 'job "é" 7'
    assert message["Attributes"]["MessageGroupId"] == "user-1"


def test_a_delayed_job_is_on_the_queue_but_not_to_be_received_yet(queue_url: str) -> None:
    wake(queue_url).send("job", group="user", delay_s=4000)

    sqs = sqs_client(queue_url)
    names = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
    assert names["ApproximateNumberOfMessagesDelayed"] == "1"
    assert names["ApproximateNumberOfMessages"] == "0"


@pytest.mark.parametrize(
    ("delay_s", "sent_s"),
    [(0, 0), (-3, 0), (0.01, 1), (1, 1), (59.2, 60), (900, 900), (900.5, 900), (float("inf"), 900)],
)
def test_a_delay_is_whole_seconds_never_early_and_within_the_queues_limit(
    delay_s: float, sent_s: int
) -> None:
    with ScriptedHttp(SENT) as aws:
        wake(f"{aws.url}/1/jobs").send("job", group="user", delay_s=delay_s)

    assert json.loads(aws.requests[0].body)["DelaySeconds"] == sent_s


@pytest.mark.parametrize("group", ["user-1", "a@b.example/(1)~", "x" * 128])
def test_a_group_that_sqs_takes_is_sent_as_it_is(queue_url: str, group: str) -> None:
    wake(queue_url).send("job", group=group)

    assert received(queue_url)["Attributes"]["MessageGroupId"] == group


def test_other_groups_are_sent_apart_and_always_alike(queue_url: str) -> None:
    groups = ["", "é", "è", "two words", "x" * 129, "x" * 130, "line\nbreak"]
    for group in groups + groups:
        wake(queue_url).send("job", group=group)

    sent = [received(queue_url)["Attributes"]["MessageGroupId"] for _ in groups + groups]
    assert len(set(sent)) == len(groups)


@pytest.mark.parametrize(
    ("queue_url", "reason"),
    [
        ("https://sqs.eu-west-3.amazonaws.com/1/jobs.fifo", "FIFO"),
        ("arn:aws:sqs:eu-west-3:1:jobs", "QUEUE_URL"),
        ("jobs", "QUEUE_URL"),
        ("https://sqs.eu-west-3.amazonaws.com", "QUEUE_URL"),
        ("", "QUEUE_URL"),
    ],
)
def test_what_is_no_standard_queue_is_refused_before_anything_is_sent(
    queue_url: str, reason: str
) -> None:
    with pytest.raises(WakeError, match=reason):
        SqsWake(queue_url, impatient("http://127.0.0.1:9"))
    with pytest.raises(WakeError, match=reason):
        sqs_client(queue_url)


@pytest.mark.parametrize(
    ("queue_url", "region"),
    [
        ("https://sqs.eu-west-3.amazonaws.com/1/jobs", "eu-west-3"),
        ("https://sqs.us-gov-west-1.amazonaws.com/1/jobs", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/jobs", "cn-north-1"),
        ("https://sqs-fips.us-east-1.amazonaws.com/1/jobs", "us-east-1"),
        ("https://sqs.eu-west-1.api.aws/1/jobs", "eu-west-1"),
        ("https://eu-west-1.queue.amazonaws.com/1/jobs", "eu-west-1"),
        ("https://vpce-1a-2b.sqs.ap-southeast-2.vpce.amazonaws.com/1/jobs", "ap-southeast-2"),
        ("http://sqs.eu-west-1.localhost.example.cloud:4566/1/jobs", "eu-west-1"),
        ("http://sqs.localhost.example.cloud:4566/1/jobs", None),
        ("http://127.0.0.1:4566/1/jobs", None),
    ],
)
def test_the_region_is_the_one_in_the_queues_address(queue_url: str, region: str | None) -> None:
    assert queue_region(queue_url) == region
    assert sqs_client(queue_url).meta.region_name == (region or "eu-west-3")


def test_a_client_sends_to_the_queues_own_host_unless_told_otherwise() -> None:
    queue_url = "https://vpce-1a-2b.sqs.eu-west-1.vpce.amazonaws.com/1/jobs"

    own = sqs_client(queue_url)
    other = sqs_client(queue_url, endpoint_url="http://127.0.0.1:4566")

    assert own.meta.endpoint_url == "https://vpce-1a-2b.sqs.eu-west-1.vpce.amazonaws.com"
    assert other.meta.endpoint_url == "http://127.0.0.1:4566"


def test_a_queue_that_does_not_exist_is_named_with_the_variable(aws_url: str) -> None:
    gone = f"{aws_url}/123456789012/gone"

    with pytest.raises(WakeError) as fault:
        wake(gone).send("job-7", group="user")

    assert "job-7" in str(fault.value)
    assert gone in str(fault.value)
    assert "Set QUEUE_URL to" in str(fault.value)


@pytest.mark.parametrize(
    ("answer", "fix"),
    [
        (refusal("AccessDenied", 403), "Allow sqs:SendMessage"),
        (refusal("AccessDeniedException", 400), "Allow sqs:SendMessage"),
        (refusal("KmsAccessDenied", 400), "kms:GenerateDataKey"),
        (refusal("InvalidClientTokenId", 403), "valid AWS credentials"),
        (refusal("QueueDoesNotExist", 400), "Set QUEUE_URL to"),
        (refusal("ServiceUnavailable", 503), "the sweep wakes the job"),
        (refusal("UnsupportedOperation", 400), "Check QUEUE_URL"),
        (Answer(200, b"<html>Welcome</html>"), "Check QUEUE_URL"),
        (Answer(0), "Check the network to SQS"),
    ],
)
def test_a_refusal_names_the_queue_and_the_fix(answer: Answer, fix: str) -> None:
    with ScriptedHttp(answer) as aws, pytest.raises(WakeError) as fault:
        SqsWake(f"{aws.url}/1/jobs", impatient(aws.url)).send("job", group="user")

    assert f"QUEUE_URL {aws.url}/1/jobs" in str(fault.value)
    assert fix in str(fault.value)


def test_a_server_that_is_not_there_is_a_fault_of_the_network() -> None:
    with ScriptedHttp(SENT) as aws:
        url = aws.url

    with pytest.raises(WakeError, match="Check the network to SQS"):
        SqsWake(f"{url}/1/jobs", impatient(url)).send("job", group="user")


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    client = impatient("http://127.0.0.1:9", boto3.session.Session())

    with pytest.raises(WakeError, match="valid AWS credentials"):
        SqsWake("http://127.0.0.1:9/1/jobs", client).send("job", group="user")


def test_a_moment_of_trouble_is_retried_out_of_sight() -> None:
    with ScriptedHttp(refusal("ServiceUnavailable", 503), SENT) as aws:
        wake(f"{aws.url}/1/jobs").send("job", group="user")

    assert len(aws.requests) == 2
