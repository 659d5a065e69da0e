"""The ground that simulated deployments stand on, and a field of real servers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from local.api import Api
from local.postgres import Postgres
from local.speech import SpeechServer
from tests.conftest import Bucket
from tests.crash.field import Field
from tests.crash.network import Network
from tests.crash.world import Ground, ground


# Of a module: while it lasts, the core's threads run in virtual time.
@pytest.fixture(scope="module")
def place(postgres: Postgres) -> Iterator[Ground]:
    with ground(postgres, f"crash_{uuid.uuid4().hex}") as found:
        yield found


@pytest.fixture
def field_(
    database: str, speech_server: SpeechServer, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Field]:
    ports = {
        "postgres": urlsplit(database).port,
        "provider": urlsplit(speech_server.base_url).port,
        "s3": urlsplit(s3.endpoint_url).port,
    }
    with ExitStack() as stack:
        links = {name: stack.enter_context(Network(port or 0)) for name, port in ports.items()}
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{links['s3'].port}")
        speech_server.set_latency(0.02)
        api = stack.enter_context(Api(database))
        yield Field(api, database, speech_server, s3, links)
