"""Fixtures of the tests over real parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from deployment import Deployment

from local.api import Api
from local.speech import SpeechServer


@pytest.fixture
def deployment(database: str, speech_server: SpeechServer, tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of this test's own."""
    with Api(database) as api:
        made = Deployment(database, api, speech_server, tmp_path / "audio")
        with made.stack:
            yield made
