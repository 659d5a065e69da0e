"""One contract over every store, then what only one of them can show."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Lock, Thread
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from moto import mock_aws
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from scripted_http import Answer, Request, ScriptedHttp
from werkzeug.serving import make_server

from memolist_tts.core.errors import StorageError
from memolist_tts.core.ports import Storage
from memolist_tts.storage import PublicBase
from memolist_tts.storage.folder import FolderStorage, folder_public_base_url
from memolist_tts.storage.s3 import S3Storage, s3_client, s3_public_base_url

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

BASE = "https://cdn.example.com/audio"
NAME = "v1-0a1b2c.mp3"
MP3 = b"\xff\xfb\x90\xc4" + bytes(range(256)) * 40


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    # The one region where a bucket needs no location.
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@dataclass
class Emulator:
    """moto's S3 over HTTP, one request at a time, and the methods it was asked for.

    S3's conditional put is one step; moto looks and then writes, so that two
    threads of its server could both win.
    """

    url: str = ""
    methods: list[str] = field(default_factory=list)
    app: Any = field(default_factory=lambda: DomainDispatcherApplication(create_backend_app))
    lock: Any = field(default_factory=Lock)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with self.lock:
            self.methods.append(environ["REQUEST_METHOD"])
            return list(self.app(environ, start_response))


@pytest.fixture(scope="module")
def aws() -> Iterator[Emulator]:
    emulator = Emulator()
    server = make_server("127.0.0.1", 0, emulator, threaded=True)
    emulator.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield emulator
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def bucket(aws: Emulator) -> Iterator[str]:
    s3 = boto3.client("s3", endpoint_url=aws.url)
    s3.create_bucket(Bucket="clips")
    yield "clips"
    for item in s3.list_objects_v2(Bucket="clips").get("Contents", []):
        s3.delete_object(Bucket="clips", Key=item["Key"])
    s3.delete_bucket(Bucket="clips")


def s3_storage(url: str, bucket: str = "clips", base: str = BASE) -> S3Storage:
    return S3Storage(bucket, base, s3_client(max_in_flight=8, endpoint_url=url))


@pytest.fixture(params=["s3", "folder"])
def storage(request: pytest.FixtureRequest) -> Storage:
    if request.param == "folder":
        return FolderStorage(request.getfixturevalue("tmp_path") / "audio", BASE)
    request.getfixturevalue("bucket")
    return s3_storage(request.getfixturevalue("aws").url)


@pytest.fixture(params=["s3", "folder"])
def gone(request: pytest.FixtureRequest) -> Storage:
    """A store whose bucket or folder was taken away."""
    if request.param == "folder":
        root = request.getfixturevalue("tmp_path") / "audio"
        storage = FolderStorage(root, BASE)
        root.rmdir()
        return storage
    return s3_storage(request.getfixturevalue("aws").url, bucket="gone-clips")


# The contract


@pytest.mark.parametrize("mp3", [MP3, b"", b"\r\n\0", os.urandom(300_000)], ids=len)
def test_what_was_put_is_read_byte_for_byte(storage: Storage, mp3: bytes) -> None:
    assert storage.put(NAME, mp3) is True

    assert storage.read(NAME) == mp3


def test_what_was_never_put_is_read_as_none(storage: Storage) -> None:
    assert storage.read(NAME) is None


def test_a_second_put_is_false_and_changes_nothing(storage: Storage) -> None:
    storage.put(NAME, MP3)

    assert storage.put(NAME, b"another take") is False
    assert storage.put(NAME, MP3) is False
    assert storage.read(NAME) == MP3


def test_of_many_puts_at_once_one_wins_and_all_see_its_bytes(storage: Storage) -> None:
    takes = [bytes([n]) * 50_000 for n in range(8)]
    start = Barrier(len(takes))

    def put_and_read(take: bytes) -> tuple[bool, bytes | None]:
        start.wait()
        return storage.put(NAME, take), storage.read(NAME)

    with ThreadPoolExecutor(len(takes)) as pool:
        results = list(pool.map(put_and_read, takes))

    (winner,) = [take for take, (won, _) in zip(takes, results, strict=True) if won]
    assert {seen for _, seen in results} == {winner}


def test_clips_of_other_names_do_not_touch_each_other(storage: Storage) -> None:
    names = ["a", "a.mp3", "a.mp3.mp3", "v1-a_b", "0", "x" * 200]
    for name in names:
        assert storage.put(name, name.encode())

    assert [storage.read(name) for name in names] == [name.encode() for name in names]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../v1.mp3",
        "/etc/passwd",
        "v1/a.mp3",
        "v1\\a.mp3",
        ".hidden.mp3",
        "-dash.mp3",
        "été.mp3",
        "v1 a.mp3",
        "v1%2e.mp3",
        "v1?.mp3",
        "v1#.mp3",
        "a\0b",
        "a.mp3\n",
        "x" * 201,
    ],
)
def test_a_name_not_every_store_can_keep_is_refused_by_all_methods(
    storage: Storage, name: str
) -> None:
    for act in (
        lambda: storage.put(name, MP3),
        lambda: storage.read(name),
        lambda: storage.url(name),
    ):
        with pytest.raises(StorageError, match="can't name a clip: use letters"):
            act()


def test_a_card_carries_the_public_base_and_the_name(storage: Storage) -> None:
    assert storage.url(NAME) == f"{BASE}/{NAME}"
    assert storage.owns(storage.url(NAME))
    assert not storage.owns("https://elsewhere.example.com/a.mp3")


def test_a_store_that_has_gone_is_a_fault_never_an_absent_clip(gone: Storage) -> None:
    for act in (lambda: gone.put(NAME, MP3), lambda: gone.read(NAME)):
        with pytest.raises(StorageError, match=r"AWS_S3_BUCKET|create it"):
            act()


# Addresses


@pytest.mark.parametrize(
    ("base", "url"),
    [
        (BASE, f"{BASE}/1.mp3"),
        (BASE, f"{BASE}/old/2024/1.mp3"),
        (BASE, f"{BASE}/1.mp3?v=2#t=1"),
        (BASE, "HTTPS://CDN.Example.com/audio/1.mp3"),
        (BASE, "https://cdn.example.com:443/audio/1.mp3"),
        (BASE, "https://cdn.example.com/%61udio/1.mp3"),
        (BASE + "/", f"{BASE}/1.mp3"),
        (BASE + "//", f"{BASE}/1.mp3"),
        (" " + BASE, f"{BASE}/1.mp3"),
        ("https://CDN.example.com", "https://cdn.example.com/1.mp3"),
        ("https://cdn.example.com:8443/a", "https://cdn.example.com:8443/a/1.mp3"),
        ("https://cdn.example.com/my%20audio", "https://cdn.example.com/my audio/1.mp3"),
        ("https://cdn.example.com/été", "https://cdn.example.com/%C3%A9t%C3%A9/1.mp3"),
        ("file:///srv/audio", "file:///srv/audio/1.mp3"),
    ],
)
def test_a_url_under_the_base_is_ours(base: str, url: str) -> None:
    assert PublicBase(base).owns(url)


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        " ",
        "1.mp3",
        "/audio/1.mp3",
        BASE,
        f"{BASE}/",
        "https://cdn.example.com/audio-old/1.mp3",
        "https://cdn.example.com/AUDIO/1.mp3",
        "https://cdn.example.com/1.mp3",
        "https://cdn.example.com/other/audio/1.mp3",
        "http://cdn.example.com/audio/1.mp3",
        "https://cdn.example.com:8443/audio/1.mp3",
        "https://cdn.example.com.evil.example/audio/1.mp3",
        "https://me@cdn.example.com/audio/1.mp3",
        "https://cdn.example.com/audio%2F1.mp3",
        f"{BASE}/../theirs/1.mp3",
        f"{BASE}/%2e%2e/theirs/1.mp3",
        "https://[cdn/audio/1.mp3",
    ],
)
def test_any_other_url_is_foreign(url: str | None) -> None:
    assert not PublicBase(BASE).owns(url)


@pytest.mark.parametrize(
    "base",
    ["", "  ", "cdn.example.com/audio", "https://", "https://x/a?b", "https://x/#a", "https://[x"],
)
def test_a_base_that_is_no_url_is_refused_by_name(base: str) -> None:
    with pytest.raises(StorageError, match="PUBLIC_BASE_URL"):
        PublicBase(base)


@pytest.mark.parametrize(
    ("bucket", "region", "base"),
    [
        ("clips", "eu-west-3", "https://clips.s3.eu-west-3.amazonaws.com"),
        ("clips", "cn-north-1", "https://clips.s3.cn-north-1.amazonaws.com.cn"),
        ("a.clips", "eu-west-3", "https://s3.eu-west-3.amazonaws.com/a.clips"),
    ],
)
def test_a_bucket_has_a_public_base_of_its_own(bucket: str, region: str, base: str) -> None:
    assert s3_public_base_url(bucket, region) == base
    assert PublicBase(base).owns(f"{base}/{NAME}")


def test_a_folder_has_a_public_base_that_opens_its_clips(tmp_path: Path) -> None:
    root = tmp_path / "mes clips été"
    storage = FolderStorage(root, folder_public_base_url(root))
    storage.put(NAME, MP3)

    url = storage.url(NAME)
    assert url == (root.resolve() / NAME).as_uri()
    assert storage.owns(url)


# S3


def impatient(url: str, session: boto3.session.Session | None = None) -> S3Client:
    """A client that asks once, so that a fault is seen at once."""
    config = Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=5)
    return (session or boto3.session.Session()).client("s3", endpoint_url=url, config=config)


def refusal(code: str, status: int) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
    return Answer(status, body, {"Content-Type": "application/xml"})


def put(storage: Storage) -> object:
    return storage.put(NAME, MP3)


def read(storage: Storage) -> object:
    return storage.read(NAME)


STORED = Answer(200, headers={"ETag": '"0"'})
CONFLICT = refusal("ConditionalRequestConflict", 409)


def test_a_clip_in_the_bucket_says_what_it_is_and_may_be_kept_for_a_year(
    aws: Emulator, bucket: str
) -> None:
    s3_storage(aws.url).put(NAME, MP3)

    stored = boto3.client("s3", endpoint_url=aws.url).get_object(Bucket=bucket, Key=NAME)
    assert stored["ContentType"] == "audio/mpeg"
    assert stored["CacheControl"] == "public, max-age=31536000, immutable"


@pytest.mark.usefixtures("bucket")
def test_a_put_is_one_request_and_nothing_is_ever_asked_by_head(aws: Emulator) -> None:
    storage = s3_storage(aws.url)
    aws.methods.clear()

    storage.put(NAME, MP3)
    storage.put(NAME, MP3)
    storage.read(NAME)
    storage.read("absent.mp3")

    assert aws.methods == ["PUT", "PUT", "GET", "GET"]


def test_a_put_goes_by_path_with_a_signed_digest_and_its_condition() -> None:
    with ScriptedHttp(STORED) as s3:
        s3_storage(s3.url.replace("127.0.0.1", "localhost"), bucket="my-clips").put(NAME, MP3)

    (request,) = s3.requests
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert request.path == f"/my-clips/{NAME}"
    assert request.body == MP3
    assert headers["if-none-match"] == "*"
    assert len(headers["x-amz-content-sha256"]) == 64
    assert not [name for name in headers if "checksum" in name or "trailer" in name]


def is_signed(request: Request, region: str = "us-east-1") -> bool:
    """Whether the signature is that of what came."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    told = re.search("SignedHeaders=([^,]+), Signature=(.+)", headers["authorization"])
    assert told is not None
    url = f"http://{headers['host']}{request.path}"
    again = AWSRequest("PUT", url, {name: headers[name] for name in told[1].split(";")})
    again.context["timestamp"] = headers["x-amz-date"]
    keys = Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
    auth = S3SigV4Auth(keys, "s3", region)
    is_its_digest = headers["x-amz-content-sha256"] == sha256(request.body).hexdigest()
    signature = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    return is_its_digest and signature == told[2]


def test_a_later_put_is_as_the_first_was_and_signed_for_its_own_clip() -> None:
    with ScriptedHttp(STORED) as s3:
        storage = s3_storage(s3.url)
        storage.prove()
        storage.put(NAME, MP3)
        storage.put("v1-other.mp3", b"another clip")

    _, first, later = s3.requests
    assert is_signed(first)
    assert is_signed(later)
    assert (later.path, later.body) == ("/clips/v1-other.mp3", b"another clip")
    for name in ("If-None-Match", "Content-Type", "Cache-Control"):
        assert later.headers[name] == first.headers[name]
    assert "Expect" not in later.headers
    # Headers that are cut have their length at least.
    for names in (list(first.headers), list(later.headers)):
        assert names.index("Content-Length") < names.index("If-None-Match")


def test_two_stores_of_one_client_keep_their_clips_apart(aws: Emulator, bucket: str) -> None:
    client = s3_client(max_in_flight=8, endpoint_url=aws.url)
    client.create_bucket(Bucket="previews")
    clips, previews = S3Storage(bucket, BASE, client), S3Storage("previews", BASE, client)
    for name in ("v1-a.mp3", "v1-b.mp3"):
        assert clips.put(name, MP3) is True
        assert previews.put(name, b"a preview") is True
        client.put_object(Bucket=bucket, Key=f"theirs/{name}", Body=b"theirs", IfNoneMatch="*")

    assert [clips.read("v1-b.mp3"), previews.read("v1-b.mp3")] == [MP3, b"a preview"]
    for name in ("v1-a.mp3", "v1-b.mp3"):
        client.delete_object(Bucket="previews", Key=name)
    client.delete_bucket(Bucket="previews")


@pytest.mark.parametrize(
    "late", [Answer(200, b"<Error/>", {"ETag": '"0"'}), refusal("SlowDown", 503)]
)
def test_a_later_put_that_ends_otherwise_is_put_again_by_boto3(late: Answer) -> None:
    with ScriptedHttp(STORED, late, STORED) as s3:
        storage = s3_storage(s3.url)
        storage.put("v1-a.mp3", MP3)

        assert storage.put(NAME, MP3) is True

    assert [request.path for request in s3.requests[1:]] == [f"/clips/{NAME}"] * 2


def test_lambda_tells_its_trace_with_each_put(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "synthesize")
    with ScriptedHttp(STORED) as s3:
        storage = s3_storage(s3.url)
        for trace in ("Root=1-a", "Root=1-b", "Root=1-c"):
            monkeypatch.setenv("_X_AMZN_TRACE_ID", trace)
            storage.put(f"v1-{trace[-1]}.mp3", MP3)

    told = [request.headers["X-Amzn-Trace-Id"] for request in s3.requests]
    assert told == ["Root=1-a", "Root=1-b", "Root=1-c"]


@mock_aws
def test_a_mock_of_aws_answers_every_put() -> None:
    client = s3_client(max_in_flight=1)
    client.create_bucket(Bucket="clips")
    storage = S3Storage("clips", BASE, client)
    names = ["v1-a.mp3", "v1-b.mp3", "v1-c.mp3"]

    with patch.object(client._endpoint.http_session, "send") as network:
        assert [storage.put(name, MP3) for name in [*names, names[0]]] == [True, True, True, False]
        assert [storage.read(name) for name in names] == [MP3] * 3

    network.assert_not_called()


def test_puts_follow_a_bucket_to_its_own_region() -> None:
    moved = replace(refusal("PermanentRedirect", 301), headers={"x-amz-bucket-region": "eu-west-3"})
    with ScriptedHttp(STORED, moved, moved, STORED, moved, STORED) as s3:
        storage = s3_storage(s3.url)
        for name in ("v1-a.mp3", "v1-b.mp3", "v1-c.mp3", "v1-d.mp3"):
            assert storage.put(name, MP3) is True

    paris = [is_signed(request, "eu-west-3") for request in s3.requests]
    # Of the third clip too the first request goes astray: boto3 tells of its next put where to.
    assert paris == [False, False, False, True, False, True, True]


def test_a_conflict_is_tried_again_until_it_is_stored_or_found() -> None:
    with ScriptedHttp(CONFLICT, CONFLICT, STORED) as s3:
        assert s3_storage(s3.url).put(NAME, MP3) is True
    with ScriptedHttp(CONFLICT, refusal("PreconditionFailed", 412)) as s3:
        assert s3_storage(s3.url).put(NAME, MP3) is False


def test_a_conflict_without_end_is_a_fault() -> None:
    with ScriptedHttp(CONFLICT) as s3, pytest.raises(StorageError, match="collided"):
        s3_storage(s3.url).put(NAME, MP3)

    # Five that boto3 made, and before each but the first one as boto3's last.
    assert len(s3.requests) == 5 + 4


@pytest.mark.parametrize(
    "cut",
    [
        {"missing_bytes": 7},
        {"has_length": False},
        {"has_length": False, "headers": {"Content-Length": ""}},
    ],
    ids=["in_the_body", "in_the_headers", "in_the_length"],
)
def test_an_answer_that_breaks_off_is_asked_for_again_and_never_taken_for_the_clip(
    cut: dict[str, Any],
) -> None:
    whole, part = Answer(200, b"the whole clip"), Answer(200, b"the who", **cut)

    with ScriptedHttp(part, part, whole) as s3:
        assert s3_storage(s3.url).read(NAME) == whole.body
    with ScriptedHttp(part) as s3, pytest.raises(StorageError, match="each answer broke off"):
        s3_storage(s3.url).read(NAME)


def test_a_moment_of_trouble_is_retried_out_of_sight() -> None:
    with ScriptedHttp(refusal("SlowDown", 503), STORED) as s3:
        assert s3_storage(s3.url).put(NAME, MP3) is True

    assert [request.body for request in s3.requests] == [MP3, MP3]


@pytest.mark.parametrize(
    ("act", "answer", "fix"),
    [
        (put, refusal("AccessDenied", 403), "Allow s3:PutObject on arn:aws:s3:::clips/*"),
        (read, refusal("AccessDenied", 403), "s3:ListBucket on arn:aws:s3:::clips"),
        (read, Answer(403), "Allow s3:GetObject on arn:aws:s3:::clips/*"),
        (put, refusal("NoSuchBucket", 404), "Set AWS_S3_BUCKET to a bucket that exists"),
        (read, refusal("NoSuchBucket", 404), "Set AWS_S3_BUCKET to a bucket that exists"),
        (read, Answer(404, b"<html>nginx</html>"), "Check AWS_S3_BUCKET"),
        (put, refusal("InvalidAccessKeyId", 403), "valid AWS credentials"),
        (put, refusal("ExpiredToken", 400), "valid AWS credentials"),
        (put, refusal("RequestTimeTooSkewed", 403), "Set this machine's clock"),
        (put, refusal("NotImplemented", 501), "doesn't know If-None-Match"),
        (put, refusal("SlowDown", 503), "busy or down"),
        (read, refusal("InternalError", 500), "busy or down"),
        (read, Answer(200, MP3, missing_bytes=500), "Check the network to S3"),
        (put, Answer(0), "Check the network to S3"),
        (put, Answer(200, b"<html>Welcome</html>"), "AWS_ENDPOINT_URL"),
    ],
)
def test_a_refusal_names_the_clip_and_the_fix(
    act: Callable[[Storage], object], answer: Answer, fix: str
) -> None:
    with ScriptedHttp(answer) as s3, pytest.raises(StorageError) as fault:
        act(S3Storage("clips", BASE, impatient(s3.url)))

    assert f"s3://clips/{NAME}" in str(fault.value)
    assert fix in str(fault.value)


@pytest.mark.parametrize("act", [put, read])
def test_a_server_that_is_not_there_is_a_fault_of_the_network(
    act: Callable[[Storage], object],
) -> None:
    with ScriptedHttp(STORED) as s3:
        url = s3.url

    with pytest.raises(StorageError, match="Check the network to S3"):
        act(S3Storage("clips", BASE, impatient(url)))


def test_a_bucket_given_as_a_url_is_named_with_the_variable() -> None:
    with pytest.raises(StorageError, match="Set AWS_S3_BUCKET to a bucket's name"):
        S3Storage("https://clips.s3", BASE, impatient("http://127.0.0.1:9")).put(NAME, MP3)


def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    client = impatient("http://127.0.0.1:9", boto3.session.Session())

    with pytest.raises(StorageError, match="valid AWS credentials"):
        S3Storage("clips", BASE, client).put(NAME, MP3)


def test_an_endpoint_that_is_no_url_is_a_fault_at_the_start() -> None:
    with pytest.raises(StorageError, match="AWS_ENDPOINT_URL"):
        s3_client(max_in_flight=1, endpoint_url="not a url")


def test_the_client_has_a_connection_for_every_clip_in_flight() -> None:
    config: Any = s3_client(max_in_flight=64).meta.config

    assert config.max_pool_connections == 64


# The folder


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@contextmanager
def umask(mode: int) -> Iterator[None]:
    before = os.umask(mode)
    try:
        yield
    finally:
        os.umask(before)


def test_a_clip_and_its_new_folder_can_be_read_by_a_web_server(tmp_path: Path) -> None:
    root = tmp_path / "new" / "audio"
    with umask(0o077):
        FolderStorage(root, BASE).put(NAME, MP3)

    assert stat.S_IMODE(root.stat().st_mode) == 0o755
    assert stat.S_IMODE((root / NAME).stat().st_mode) == 0o644


def test_a_folder_that_was_there_keeps_its_rights_and_its_files(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "theirs.txt").write_text("theirs")

    FolderStorage(tmp_path, BASE).put(NAME, MP3)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert sorted(os.listdir(tmp_path)) == ["theirs.txt", NAME]


def test_neither_a_put_nor_a_refused_put_leaves_anything_behind(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path, BASE)

    storage.put(NAME, MP3)
    storage.put(NAME, MP3)

    assert os.listdir(tmp_path) == [NAME]


def test_a_clip_outlives_a_change_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = FolderStorage(Path("audio"), BASE)
    monkeypatch.chdir("/")

    storage.put(NAME, MP3)

    assert (tmp_path / "audio" / NAME).read_bytes() == MP3


def test_a_folder_that_is_a_file_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    for root in (tmp_path / "file", tmp_path / "file" / "audio"):
        with pytest.raises(StorageError, match="set LOCAL_STORAGE_PATH to a folder") as fault:
            FolderStorage(root, BASE)
        assert str(root) in str(fault.value)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user can reach, which pytest's own can't be."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_may_not_be_written_is_refused_at_the_start(shared: Path) -> None:
    shared.chmod(0o555)

    with as_nobody():
        for root in (shared, shared / "audio"):
            with pytest.raises(StorageError, match="let the worker's user write there"):
                FolderStorage(root, BASE)


def test_a_clip_that_may_not_be_read_is_a_fault_never_absent(shared: Path) -> None:
    storage = FolderStorage(shared, BASE)
    storage.put(NAME, MP3)
    (shared / NAME).chmod(0)

    with as_nobody(), pytest.raises(StorageError, match="Permission denied"):
        storage.read(NAME)


FULL_DISK = """
import resource, sys
from pathlib import Path
from memolist_tts.core.errors import StorageError
from memolist_tts.storage.folder import FolderStorage

storage = FolderStorage(Path(sys.argv[1]), "file:///audio")
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    storage.put("clip.mp3", bytes(20_000))
except StorageError as error:
    print(error)
"""

CRASH_ON_EACH_LINE = """
import os, sys
from pathlib import Path
from memolist_tts.storage import folder

root, mp3 = Path(sys.argv[1]), b"mp3" * 7000
line = crashed = whole = 0
while True:
    line += 1
    storage = folder.FolderStorage(root / str(line), "file:///audio")
    child = os.fork()
    if not child:
        def trace(frame, event, _arg):
            global line
            if frame.f_code.co_filename != folder.__file__:
                return None
            if event == "line":
                line -= 1
                if line == 0:
                    os._exit(9)
            return trace
        sys.settrace(trace)
        storage.put("clip.mp3", mp3)
        os._exit(0)
    survived = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    left = storage.read("clip.mp3")
    assert left in (None, mp3), (line, left)
    whole += left is not None
    crashed += not survived
    # The next worker finds it whole or free.
    assert storage.put("clip.mp3", mp3) is (left is None)
    assert storage.read("clip.mp3") == mp3
    if survived:
        print(crashed, whole - 1)
        break
"""


def run(script: str, root: Path) -> str:
    command = [sys.executable, "-c", script, str(root)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_disk_that_fills_up_mid_clip_leaves_nothing_and_names_the_fix(tmp_path: Path) -> None:
    printed = run(FULL_DISK, tmp_path)

    assert str(tmp_path / "clip.mp3") in printed
    assert "free some space" in printed
    assert os.listdir(tmp_path) == []


def test_a_crash_on_any_line_leaves_a_whole_clip_or_none(tmp_path: Path) -> None:
    crashes, after_the_clip_was_there = run(CRASH_ON_EACH_LINE, tmp_path).split()

    assert int(crashes) > 10
    assert int(after_the_clip_was_there) > 0
