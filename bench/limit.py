"""Three real `poll` processes, one real PostgreSQL, one account of a limit they don't know."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import texts
from bench.servers import control, speech_process
from local.api import Api
from local.postgres import Postgres
from local.schema import create_tables
from memolist_tts.postgres.schema import migrate

WORKERS, PER_MINUTE, SECONDS, CARDS = 3, 600, 40, 100
COMMAND = [sys.executable, "-c", "from memolist_tts.cli import main; main()", "poll"]
NAMES = ("Anna", "Paul", "Clara", "Victor", "Emma", "Martin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Of what the account allows in the time: accepted; of all sent: refused. 0 to 1."""

    accepted: float
    refused: float


def measure() -> dict[str, Share]:
    """From the first request on, for a bucket of a second, and a limit only the operator knows."""
    return {
        "a bucket of one second, unknown": _share({}, headers=True),
        "no headers, ceiling set": _share({"REQUESTS_PER_MINUTE": str(PER_MINUTE)}, headers=False),
    }


def _share(variables: dict[str, str], *, headers: bool) -> Share:
    options = ("--requests-per-minute", str(PER_MINUTE), "--burst-s", "1", "--latency-s", "0.8")
    with Postgres() as postgres, speech_process(*options) as base_url, ExitStack() as stack:
        url = postgres.create("limit")
        create_tables(url)
        migrate(url)
        with Api(url) as api:
            for name in NAMES:
                api.add_job(api.add_list(texts.cards(CARDS, name)), userId="bench")
        if not headers:
            control(base_url, "POST", "/_faults", {"fault": "headers_missing"})
        folder = stack.enter_context(TemporaryDirectory())
        environment = os.environ | variables | {
            "DATABASE_URL": url, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "bench",
            "STORAGE_TYPE": "local", "LOCAL_STORAGE_PATH": str(Path(folder)),
            "POLL_INTERVAL_MS": "100",
        }  # fmt: skip
        for _ in range(WORKERS):
            stack.enter_context(_poller(environment))
        return _counted(base_url)


@contextmanager
def _poller(environment: dict[str, str]) -> Iterator[None]:
    with subprocess.Popen(COMMAND, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def _counted(base_url: str) -> Share:
    """Wait for the first request, and then `SECONDS`; every request by when it was sent."""
    while not control(base_url, "GET", "/_requests"):
        time.sleep(0.1)
    time.sleep(SECONDS + 3)
    seen: list[dict[str, Any]] = control(base_url, "GET", "/_requests")
    began = min(each["time"] for each in seen)
    seen = [each for each in seen if each["time"] < began + SECONDS]
    accepted = sum(each["status"] == 200 for each in seen)
    return Share(accepted=accepted / (PER_MINUTE / 60 * SECONDS), refused=1 - accepted / len(seen))
