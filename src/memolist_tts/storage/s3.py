"""Clips in a bucket: S3, or a store that speaks its language and knows `If-None-Match`."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import boto3
from botocore import exceptions as aws
from botocore.config import Config

from memolist_tts.core.errors import StorageError
from memolist_tts.storage import PublicBase, object_name
from memolist_tts.storage.puts import PlainPuts

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

CACHE_CONTROL = "public, max-age=31536000, immutable"
CONFLICT_ATTEMPTS = 5
CONFLICT_DELAY_S = 0.05
READ_ATTEMPTS = 3

_PUT = "s3:PutObject on arn:aws:s3:::{bucket}/* (and kms:GenerateDataKey where a KMS key encrypts)"
# Without ListBucket, S3 answers 403 for an object that isn't there (AWS: 1.6).
_GET = "s3:GetObject on arn:aws:s3:::{bucket}/* and s3:ListBucket on arn:aws:s3:::{bucket}"

_DELETE = "s3:DeleteObject on arn:aws:s3:::{bucket}/*"

_CREDENTIALS = "Give the worker valid AWS credentials (a role, a profile or AWS_ACCESS_KEY_ID)"
_REGION = "Set AWS_DEFAULT_REGION to the bucket's region"
_NETWORK = "Check the network to S3 (a VPC endpoint or NAT) and AWS_ENDPOINT_URL"
_LATER = "Nothing to repair here: it is busy or down, and the job goes on later"
_UNCONDITIONAL = (
    "This store doesn't know If-None-Match, and a clip must never change once it is public:"
    " use S3, or a store with conditional writes"
)
_FIXES_BY_CODE = {
    "NoSuchBucket": "Set AWS_S3_BUCKET to a bucket that exists, or create {bucket}",
    "InvalidBucketName": "Set AWS_S3_BUCKET to a bucket's name (no URL, no folder)",
    "AllAccessDisabled": "Set AWS_S3_BUCKET to a bucket of your own",
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "ExpiredToken": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "RequestTimeTooSkewed": "Set this machine's clock",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": _UNCONDITIONAL,
}
_FIXES_BY_STATUS = {
    301: _REGION,
    403: "Allow {permission}",
    409: "Several writers collided on this name again and again; the job goes on later",
    429: _LATER,
    500: _LATER,
    501: _UNCONDITIONAL,
    502: _LATER,
    503: _LATER,
    504: _LATER,
}
_FIXES_BY_TYPE: tuple[tuple[type[aws.BotoCoreError], str], ...] = (
    (aws.NoCredentialsError, _CREDENTIALS),
    (aws.PartialCredentialsError, _CREDENTIALS),
    (aws.CredentialRetrievalError, _CREDENTIALS),
    (aws.SSOError, _CREDENTIALS),
    (aws.NoRegionError, "Set AWS_DEFAULT_REGION"),
    (aws.ParamValidationError, "Set AWS_S3_BUCKET to a bucket's name (no URL, no folder)"),
    (aws.SSLError, "Check AWS_CA_BUNDLE and AWS_ENDPOINT_URL"),
    (aws.HTTPClientError, _NETWORK),
    (aws.ConnectionError, _NETWORK),
)
_OTHERWISE = "Check AWS_S3_BUCKET, AWS_DEFAULT_REGION and AWS_ENDPOINT_URL"


PROOF = "write-check"
"""Never stored: the answer to putting it shows whether clips can be kept."""


class S3Storage:
    """`Storage` in a bucket. A clip is written once, for ever, and cached for a year.

    A put asks S3 itself whether the name is free: no HEAD request. A store that
    answers 501 to `If-None-Match` is refused rather than overwritten; one that
    silently ignores the header can't be told apart, and isn't supported.

    `put` is also False when an earlier attempt of the same call was stored and
    its answer lost on the way.
    """

    def __init__(
        self, bucket: str, public_base_url: str, client: S3Client, *, probe: S3Client | None = None
    ) -> None:
        """`probe` is the client that `prove` asks with: one that gives up soon."""
        self._bucket = bucket
        self._public = PublicBase(public_base_url)
        self._client = client
        self._plain_puts = PlainPuts(client)
        self._probe = probe or client
        self._is_proven = False

    def prove(self) -> None:
        """As `Storage.prove`: a put whose condition can't hold, once, and again after a fault.

        Permission is checked before the condition (S3 API reference, PutObject:
        If-Match on an absent key answers 404), so nothing is stored.
        """
        if self._is_proven:
            return
        try:
            self._probe.put_object(Bucket=self._bucket, Key=PROOF, Body=b"", IfMatch='"0"')
        except aws.ClientError as error:
            code = error.response.get("Error", {}).get("Code")
            # 501: a store that knows no conditions refuses the first clip by itself.
            if code == "NoSuchBucket" or _status(error) not in (404, 409, 412, 501):
                raise self._fault(error, PROOF, "stored", self._fix(error, _PUT)) from error
        except aws.BotoCoreError as error:
            raise self._fault(error, PROOF, "stored", self._fix(error, _PUT)) from error
        self._is_proven = True

    def put(self, name: str, mp3: bytes) -> bool:
        key = object_name(name)
        attempt = 1
        while True:
            try:
                return self._put(key, mp3)
            except aws.ClientError as error:
                # A conflict says that somebody is writing it, not that it is there.
                if _status(error) != 409 or attempt == CONFLICT_ATTEMPTS:
                    raise self._fault(error, key, "stored", self._fix(error, _PUT)) from error
            except (aws.BotoCoreError, ValueError) as error:
                raise self._fault(error, key, "stored", self._fix(error, _PUT)) from error
            time.sleep(random.uniform(0, CONFLICT_DELAY_S * 2**attempt))
            attempt += 1

    def _put(self, key: str, mp3: bytes) -> bool:
        if (is_new := self._plain_puts.put(key, mp3)) is not None:
            return is_new
        try:
            with self._plain_puts.learning():
                answer = self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=mp3,
                    IfNoneMatch="*",
                    ContentType="audio/mpeg",
                    CacheControl=CACHE_CONTROL,
                )
        except aws.ClientError as error:
            if _status(error) == 412:
                return False
            raise
        # botocore takes any 200 for success, a web page's too: the clip would be lost.
        if "ETag" not in answer:
            raise self._fault("the answer holds no ETag", key, "stored", _OTHERWISE)
        return True

    def read(self, name: str) -> bytes | None:
        key = object_name(name)
        # boto3 asks again where no answer comes, but not where its body breaks off.
        for _ in range(READ_ATTEMPTS):
            try:
                if (whole := self._whole(key)) is not None:
                    return whole
            except self._client.exceptions.NoSuchKey:
                return None
            except (aws.ClientError, aws.BotoCoreError) as error:
                raise self._fault(error, key, "read", self._fix(error, _GET)) from error
            except ValueError:
                # An answer cut within a header: botocore reads what is left of its number.
                continue
        raise self._fault("each answer broke off", key, "read", _NETWORK)

    def _whole(self, key: str) -> bytes | None:
        """The object; None where it broke off on the way."""
        answer = self._client.get_object(Bucket=self._bucket, Key=key)
        try:
            body = answer["Body"].read()
        except (aws.IncompleteReadError, aws.ResponseStreamingError):
            return None
        # An answer cut in its headers tells no length, and nothing of the body misses it.
        is_whole = answer.get("ContentLength") == len(body)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        return body if is_whole or "transfer-encoding" in headers else None

    def size(self, name: str) -> int | None:
        key = object_name(name)
        try:
            # Unlike a HEAD, a listing tells a missing object from a missing bucket.
            found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=1)
        except (aws.ClientError, aws.BotoCoreError) as error:
            raise self._fault(error, key, "read", self._fix(error, _GET)) from error
        return next((one["Size"] for one in found.get("Contents", ()) if one["Key"] == key), None)

    def delete(self, name: str) -> None:
        key = object_name(name)
        try:
            self._client.delete_object(Bucket=self._bucket, Key=key)
        except (aws.ClientError, aws.BotoCoreError) as error:
            raise self._fault(error, key, "deleted", self._fix(error, _DELETE)) from error

    def url(self, name: str) -> str:
        return self._public.url(name)

    def owns(self, url: str | None) -> bool:
        return self._public.owns(url)

    def _fault(self, reason: object, key: str, done: str, fix: str) -> StorageError:
        self._is_proven = False
        return StorageError(f"s3://{self._bucket}/{key} could not be {done}: {reason}. {fix}.")

    def _fix(self, error: Exception, permission: str) -> str:
        allow = permission.format(bucket=self._bucket)
        return _fix(error).format(bucket=self._bucket, permission=allow)


def s3_client(
    *,
    max_in_flight: int,
    region: str | None = None,
    endpoint_url: str | None = None,
    is_probe: bool = False,
) -> S3Client:
    """A client for `max_in_flight` threads that gives up within the time of a clip.

    `region` and `endpoint_url` default to AWS_DEFAULT_REGION and AWS_ENDPOINT_URL
    (or the profile); any endpoint that isn't AWS is addressed by path, without
    DNS names for buckets. Raises `StorageError`.
    """
    config = Config(
        # A probe is made while a lease runs: it must be over well before.
        # One more of a put: see `PlainPuts`.
        retries={"mode": "standard", "total_max_attempts": 2 if is_probe else 3},
        connect_timeout=2 if is_probe else 3,
        read_timeout=3 if is_probe else 10,
        max_pool_connections=max(10, max_in_flight),
        tcp_keepalive=True,
        # The body's SHA-256 is signed and checked then; the CRC trailers of the
        # default are what compatible stores choke on.
        request_checksum_calculation="when_required",
        # botocore builds its own for each request, of 32 parts: 5 % of a put's processor time.
        user_agent=f"memolist-tts Boto3/{boto3.__version__}",
        # What is sent is held to S3's model by its types; a bucket's name is still checked.
        parameter_validation=False,
    )
    try:
        client = boto3.client("s3", region_name=region, endpoint_url=endpoint_url, config=config)
    except (aws.BotoCoreError, ValueError) as error:
        raise StorageError(f"No S3 client: {error}. {_OTHERWISE}.") from error
    return client


def s3_public_base_url(bucket: str, region: str) -> str:
    """The public base of a bucket when PUBLIC_BASE_URL is unset: its own HTTPS address."""
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    # A dot in the name is a host of two labels, which S3's certificate doesn't cover.
    if "." in bucket:
        return f"https://s3.{region}.{domain}/{bucket}"
    return f"https://{bucket}.s3.{region}.{domain}"


def _status(error: aws.ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _fix(error: Exception) -> str:
    if isinstance(error, aws.ClientError):
        by_code = _FIXES_BY_CODE.get(error.response["Error"].get("Code", ""))
        return by_code or _FIXES_BY_STATUS.get(_status(error), _OTHERWISE)
    return next((fix for kind, fix in _FIXES_BY_TYPE if isinstance(error, kind)), _OTHERWISE)
