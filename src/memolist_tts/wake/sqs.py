"""Waking through an SQS standard queue."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from memolist_tts.core.errors import WakeError

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

MAX_DELAY_S = 900
# Letters, digits and punctuation of ASCII (SQS API reference, SendMessage: MessageGroupId).
_GROUP = re.compile(r"[!-~]{1,128}")
_REGION_NAME = r"([a-z]{2,4}(?:-[a-z]+)+-\d+)"
_REGION = re.compile(rf"(?:^|\.)sqs(?:-fips)?\.{_REGION_NAME}\.|^{_REGION_NAME}\.queue\.")

_CREDENTIALS = "Give the worker valid AWS credentials (a role, a profile or AWS_ACCESS_KEY_ID)"
_NO_QUEUE = "Set QUEUE_URL to the URL of a queue that exists (the stack's output)"
_ACCESS = "Allow sqs:SendMessage on the queue (and kms:GenerateDataKey where a KMS key encrypts it)"
_NETWORK = "Check the network to SQS (a VPC endpoint or NAT) and the host in QUEUE_URL"
_LATER = "Nothing to repair here: SQS is busy or down, and the sweep wakes the job"
_FIXES_BY_CODE = {
    "AWS.SimpleQueueService.NonExistentQueue": _NO_QUEUE,
    "QueueDoesNotExist": _NO_QUEUE,
    "InvalidAddress": _NO_QUEUE,
    "AccessDenied": _ACCESS,
    "AccessDeniedException": _ACCESS,
    "KmsAccessDenied": _ACCESS,
    "RequestThrottled": _LATER,
    "ThrottlingException": _LATER,
    "InvalidClientTokenId": _CREDENTIALS,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "ExpiredTokenException": _CREDENTIALS,
    "UnrecognizedClientException": _CREDENTIALS,
}
_FIXES_BY_STATUS = {
    403: _ACCESS,
    404: _NO_QUEUE,
    429: _LATER,
    500: _LATER,
    503: _LATER,
}
_FIXES_BY_TYPE: tuple[tuple[type[aws.BotoCoreError], str], ...] = (
    (aws.NoCredentialsError, _CREDENTIALS),
    (aws.PartialCredentialsError, _CREDENTIALS),
    (aws.CredentialRetrievalError, _CREDENTIALS),
    (aws.SSOError, _CREDENTIALS),
    (aws.HTTPClientError, _NETWORK),
    (aws.ConnectionError, _NETWORK),
)
_OTHERWISE = "Check QUEUE_URL and the worker's AWS credentials"


class SqsWake:
    """`Wake` on the queue at `queue_url`, which must be a standard one.

    A FIFO queue is refused: it takes no delay for one message, and drops an id
    sent again within five minutes, which is just what handing back does.
    """

    def __init__(self, queue_url: str, client: SQSClient) -> None:
        """Raises `WakeError` where `queue_url` isn't the URL of a standard queue."""
        self._queue_url = _standard_queue(queue_url)
        self._client = client

    def send(self, job_id: str, *, group: str, delay_s: float = 0) -> None:
        """As `Wake.send`. A group that SQS wouldn't take is sent as its SHA-256."""
        try:
            answer = self._client.send_message(
                QueueUrl=self._queue_url,
                MessageBody=json.dumps({"jobId": job_id}),
                # Up, never down: earlier than asked finds the job not ready yet.
                DelaySeconds=math.ceil(min(max(delay_s, 0), MAX_DELAY_S)),
                MessageGroupId=_group_id(group),
            )
        except (aws.ClientError, aws.BotoCoreError) as error:
            raise self._fault(job_id, str(error), _fix(error)) from error
        # botocore takes any 200 for success, a web page's or half an answer too.
        if not answer.get("MessageId"):
            raise self._fault(job_id, "the answer holds no message id", _OTHERWISE)

    def prove(self) -> None:
        """As `Wake.prove`; needs sqs:GetQueueAttributes."""
        try:
            self._client.get_queue_attributes(
                QueueUrl=self._queue_url, AttributeNames=["ApproximateNumberOfMessages"]
            )
        except (aws.ClientError, aws.BotoCoreError) as error:
            told = f"QUEUE_URL {self._queue_url} can't be asked: {error}. {_fix(error)}."
            raise WakeError(told) from error

    def hurry(self, receipt: str, delay_s: int) -> None:
        """As `Wake.hurry`: the message's visibility, shortened."""
        try:
            self._client.change_message_visibility(
                QueueUrl=self._queue_url, ReceiptHandle=receipt, VisibilityTimeout=delay_s
            )
        except (aws.ClientError, aws.BotoCoreError):
            # It comes back by itself, only later.
            return

    def _fault(self, job_id: str, reason: str, fix: str) -> WakeError:
        return WakeError(
            f"Job {job_id} could not be put on QUEUE_URL {self._queue_url}: {reason}. {fix}."
        )


def sqs_client(
    queue_url: str, *, region: str | None = None, endpoint_url: str | None = None
) -> SQSClient:
    """A client that sends to the very host of `queue_url`, or to `endpoint_url` if given.

    The region is the one in the host's name; else `region`, else AWS_DEFAULT_REGION
    (a local queue's host names none). Raises `WakeError`.
    """
    parts = urlsplit(_standard_queue(queue_url))
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 4},
        connect_timeout=3,
        read_timeout=10,
        tcp_keepalive=True,
    )
    try:
        return boto3.client(
            "sqs",
            region_name=queue_region(queue_url) or region,
            endpoint_url=endpoint_url or f"{parts.scheme}://{parts.netloc}",
            config=config,
        )
    except (aws.BotoCoreError, ValueError) as error:
        raise WakeError(
            f"No SQS client: {error}. Check QUEUE_URL and AWS_DEFAULT_REGION."
        ) from error


def queue_region(queue_url: str) -> str | None:
    """The AWS region in the host of `queue_url`, or None where it names none."""
    found = _REGION.search(urlsplit(queue_url).hostname or "")
    return (found[1] or found[2]) if found else None


def _standard_queue(queue_url: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+/\S+", queue_url):
        raise WakeError(
            f"QUEUE_URL {queue_url!r} isn't the URL of a queue (an ARN or a name isn't enough):"
            " https://sqs.<region>.amazonaws.com/<account>/<name>"
        )
    if queue_url.endswith(".fifo"):
        raise WakeError(
            f"QUEUE_URL {queue_url} is a FIFO queue, which can't delay one message and drops an"
            " id that is sent again: create a standard queue"
        )
    return queue_url


def _group_id(group: str) -> str:
    # A digest keeps users apart, where replaced or cut characters would merge them.
    return group if _GROUP.fullmatch(group) else hashlib.sha256(group.encode()).hexdigest()


def _fix(error: Exception) -> str:
    if isinstance(error, aws.ClientError):
        by_code = _FIXES_BY_CODE.get(error.response["Error"].get("Code", ""))
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return by_code or _FIXES_BY_STATUS.get(status, _OTHERWISE)
    return next((fix for kind, fix in _FIXES_BY_TYPE if isinstance(error, kind)), _OTHERWISE)
