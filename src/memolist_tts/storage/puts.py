"""Clips put as boto3 put one before: the same request, with another key and body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore import exceptions as aws
from botocore.awsrequest import AWSRequest

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
    """Puts to one bucket that come to a plain end; all others are left to boto3. Thread-safe.

    What boto3 does about a put beside signing and sending it (its endpoint, events, retries and
    parsing) is almost half of its processor time, and the same for every clip. It does so
    for the first one, and again for each that has any other end than "stored" or "is there":
    so redirects, errors and retries stay its own, and the condition makes a repeat safe.
    """

    def __init__(self, client: S3Client) -> None:
        # boto3 keeps the session it sends by to itself; another would need its proxies and CAs.
        self._http = client._endpoint.http_session  # type: ignore[attr-defined]
        self._made: _Made | None = None
        client.meta.events.register_last("before-call.s3.PutObject", self._learn)

    def _learn(self, *, params: dict[str, Any], request_signer: Any, **_: object) -> None:
        # A copy: boto3 goes on with its own. The proof of a store has another condition.
        if (headers := dict(params["headers"])).get("If-None-Match") == "*":
            self._made = _Made(
                folder_url=params["url"].rpartition("/")[0],
                headers=headers,
                context=dict(params["context"]),
                signer=request_signer,
            )

    def put(self, key: str, body: bytes) -> bool | None:
        """Whether `key` was free and is stored now; None where boto3 has to put it.

        `key` is an object's name, so that no letter of it is another in a URL.
        """
        made = self._made
        if made is None:
            return None
        request = AWSRequest(
            method="PUT",
            url=f"{made.folder_url}/{key}",
            # First of all: a store that takes headers cut on the way for whole ones would keep an
            # empty clip, and keep it for good. Nor is it asked first whether a body may come: a
            # clip costs less than that round trip.
            headers={"Content-Length": str(len(body))} | made.headers,
            data=body,
        )
        request.context = dict(made.context)
        try:
            made.signer.sign("PutObject", request)
            answer = self._http.send(request.prepare())
        except aws.BotoCoreError:
            return None
        # Any 200 isn't a success: it may be a web page's.
        if answer.status_code == 200 and "ETag" in answer.headers:
            return True
        return False if answer.status_code == 412 else None
