"""Clips put as boto3 put one before: the same request, with another key and body."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore import exceptions as aws
from botocore.awsrequest import AWSRequest
from botocore.handlers import add_recursion_detection_header

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True, kw_only=True)
class _Made:
    """What boto3 made of a put, and who signs it."""

    folder_url: str
    """The key follows it."""
    headers: dict[str, str]
    context: dict[str, Any]
    signer: Any


class PlainPuts:
    """Puts that come to a plain end; all others are left to boto3. Thread-safe.

    What boto3 does about a put beside signing and sending it (its endpoint, events, retries and
    parsing) is almost half of its processor time, and the same for every clip. It does so
    for the first one, and again for each that has any other end than "stored" or "is there":
    so redirects, errors and retries stay its own, and the condition makes a repeat safe.
    """

    def __init__(self, client: S3Client) -> None:
        self._events: Any = client.meta.events
        # boto3 keeps the session it sends by to itself; another would need its proxies and CAs.
        self._http = client._endpoint.http_session  # type: ignore[attr-defined]
        self._made: _Made | None = None
        self._own = threading.local()
        # Before botocore's own handlers, which aren't of this operation alone: so it's learned
        # without `Expect` (a clip costs less than that round trip) and without a trace's id.
        self._events.register_last("before-call.s3.PutObject", self._learn)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """What this thread puts by the client meanwhile is the example for those that follow."""
        self._own.is_example = True
        try:
            yield
        finally:
            self._own.is_example = False

    def _learn(self, *, params: dict[str, Any], request_signer: Any, **_: object) -> None:
        if getattr(self._own, "is_example", False):
            self._made = _Made(
                folder_url=params["url"].rpartition("/")[0],
                headers=dict(params["headers"]),
                context=dict(params["context"]),
                signer=request_signer,
            )
            params["headers"] = _headers(self._made, params["body"].getbuffer().nbytes)

    def put(self, key: str, body: bytes) -> bool | None:
        """Whether `key` was free and is stored now; None where boto3 has to put it.

        `key` is an object's name, so that no letter of it is another in a URL.
        """
        made = self._made
        if made is None:
            return None
        headers = _headers(made, len(body))
        add_recursion_detection_header({"headers": headers})
        request = AWSRequest(
            method="PUT", url=f"{made.folder_url}/{key}", headers=headers, data=body
        )
        request.context = dict(made.context)
        try:
            made.signer.sign("PutObject", request)
            answer = self._sent(request.prepare())
        except aws.BotoCoreError:
            return None
        # Any 200 isn't a success: it may be a web page's, or an error's that came late.
        if answer.status_code < 300 and "ETag" in answer.headers and not answer.content:
            return True
        return False if answer.status_code == 412 else None

    def _sent(self, request: Any) -> Any:
        # Who answers in the network's place, as a mock does, answers these too.
        _, answer = self._events.emit_until_response("before-send.s3.PutObject", request=request)
        return answer or self._http.send(request)


def _headers(made: _Made, size_bytes: int) -> dict[str, str]:
    """The length first of all: a store that takes headers cut on the way for whole ones would
    keep an empty clip, and keep it for good."""
    return {"Content-Length": str(size_bytes)} | made.headers
