"""The ground that simulated deployments stand on."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from local.postgres import Postgres
from tests.crash.world import Ground, ground


# Of a module: while it lasts, the core's threads run in virtual time.
@pytest.fixture(scope="module")
def place(postgres: Postgres) -> Iterator[Ground]:
    with ground(postgres, f"crash_{uuid.uuid4().hex}") as found:
        yield found
