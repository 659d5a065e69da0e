"""Real servers for the tests: started once, used by many, shared by none at a time.

Each is started by the first test that asks for it. Every test owns its database, bucket
and queue; so any order will do, and any number at once.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from deployment import Deployment
from hypothesis import settings

from local.api import Api
from local.postgres import Postgres
from local.schema import Shape, create_tables
from local.speech import SpeechServer

REGION = "eu-west-3"
# `make test TTS_PROVIDER=chat`: jobs are spoken by that route.
ROUTE = os.environ.get("TTS_PROVIDER") or "endpoint"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="play this random schedule alone")
    parser.addoption("--soak", action="store_true", help="run the long variants (`make soak`)")


def pytest_configure(config: pytest.Config) -> None:
    # No deadline: the machine may be busy.
    settings.register_profile("proof", deadline=None, database=None)
    settings.register_profile("soak", settings.get_profile("proof"), max_examples=5000)
    settings.load_profile("soak" if config.getoption("--soak") else "proof")
    config.addinivalue_line("markers", "chromium: opens a page in headless Chromium")
    # No test may reach an AWS account of whoever runs it.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ["AWS_ACCESS_KEY_ID"] = os.environ["AWS_SECRET_ACCESS_KEY"] = "testing"
    os.environ["AWS_DEFAULT_REGION"] = REGION
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"


@pytest.fixture(scope="session")
def soaks(request: pytest.FixtureRequest) -> bool:
    """Whether the long variants are asked for (`make soak`)."""
    return bool(request.config.getoption("--soak"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server."""
    with Postgres() as server:
        yield server


@dataclass
class Databases:
    """Databases of one server, each a copy of a template that is made once a shape."""

    server: Postgres
    templates: dict[tuple[Shape, bool], str] = field(default_factory=dict)

    def create(self, shape: Shape, *, is_migrated: bool) -> str:
        """A new database; its name."""
        what = (shape, is_migrated)
        if what not in self.templates:
            self.templates[what] = self._template(shape, is_migrated)
        name = f"test_{uuid.uuid4().hex}"
        self.server.create(name, template=self.templates[what])
        return name

    def _template(self, shape: Shape, is_migrated: bool) -> str:
        from memolist_tts.postgres.schema import migrate

        name = f"template_{len(self.templates)}"
        url = self.server.create(name)
        create_tables(url, shape)
        if is_migrated:
            migrate(url)
        return name


@pytest.fixture(scope="session")
def databases(postgres: Postgres) -> Databases:
    return Databases(postgres)


@pytest.fixture
def new_database(postgres: Postgres, databases: Databases) -> Iterator[Callable[..., str]]:
    """`new_database(Shape(id_type="uuid"))`: the URL of a database of this test's own.

    It has the API's tables in that shape and, unless `is_migrated=False`, ours; in a
    schema other than public, the URL names it with ?schema=.
    """
    names: list[str] = []

    def create(shape: Shape | None = None, *, is_migrated: bool = True) -> str:
        shape = shape or Shape()
        names.append(databases.create(shape, is_migrated=is_migrated))
        query = "" if shape.schema == "public" else f"?schema={shape.schema}"
        return postgres.url(names[-1]) + query

    yield create
    for name in names:
        postgres.drop(name)


@pytest.fixture
def database(new_database: Callable[..., str]) -> str:
    """The URL of a database of this test's own: the API's tables and ours, all empty."""
    return new_database()


@pytest.fixture
def speech_server() -> Iterator[SpeechServer]:
    """A speech server of this test's own, nothing charged yet."""
    with SpeechServer() as server:
        yield server


@pytest.fixture(scope="session")
def aws_url() -> Iterator[str]:
    """S3 and SQS by moto, over HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of one test's own."""

    client: Any
    name: str
    endpoint_url: str

    def objects(self) -> dict[str, bytes]:
        """Everything in it, by name."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        names = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {n: self.client.get_object(Bucket=self.name, Key=n)["Body"].read() for n in names}


@pytest.fixture
def s3(aws_url: str) -> Bucket:
    client: Any = boto3.client("s3", endpoint_url=aws_url)
    name = f"test-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return Bucket(client, name, aws_url)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of one test's own, without a consumer."""

    client: Any
    url: str
    endpoint_url: str

    def bodies(self) -> list[str]:
        """What waits in it now and may be received; receiving hides it for 30 seconds."""
        found: list[str] = []
        while batch := self.client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            found += [message["Body"] for message in batch]
        return found


@pytest.fixture
def sqs(aws_url: str) -> Queue:
    client = boto3.client("sqs", endpoint_url=aws_url)
    url = client.create_queue(QueueName=f"test-{uuid.uuid4().hex}")["QueueUrl"]
    return Queue(client, url, aws_url)


@pytest.fixture
def deployment(database: str, speech_server: SpeechServer, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of this test's own, and its command line."""
    with Api(database) as api:
        made = Deployment(database, api, speech_server, tmp_path / "audio")
        with made.stack:
            yield made
