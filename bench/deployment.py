"""The servers of a measurement, and a fresh worker on them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

from bench.servers import control, s3_process, speech_process, wait_for
from local.postgres import Postgres
from local.schema import create_tables
from memolist_tts.assemble import Worker
from memolist_tts.postgres.schema import migrate
from memolist_tts.settings import Needs, Settings

CARDS, IN_FLIGHT, LATENCY_S = 200, 32, 1.5
TEXTS = {
    "en": [f"This is phrase number {n}." for n in range(CARDS)],
    "fr": [f"Voici la phrase numéro {n}." for n in range(CARDS)],
}


@dataclass(frozen=True, slots=True)
class Servers:
    """PostgreSQL, the speech server and S3; their time isn't the worker's."""

    postgres: Postgres
    speech_url: str

    def tell(self, method: str, path: str, body: object = None) -> Any:
        """The speech server's control plane; see local/speech/control.py."""
        return control(self.speech_url, method, path, body)

    def charged(self) -> int:
        """Calls that the speech server has charged for so far."""
        return len(self.tell("GET", "/_charges"))

    def worker(self, name: str, **environ: str) -> tuple[str, Worker]:
        """A database and a bucket of that name, and a worker on both; the database's URL."""
        url = self.postgres.create(name)
        create_tables(url)
        migrate(url)
        boto3.client("s3").create_bucket(
            Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-3"}
        )
        plain = {
            "DATABASE_URL": url, "OPENAI_API_KEY": "bench", "OPENAI_BASE_URL": self.speech_url,
            "STORAGE_TYPE": "s3", "AWS_S3_BUCKET": name, "MAX_IN_FLIGHT": str(IN_FLIGHT),
        }  # fmt: skip
        return url, Worker(Settings.load(Needs.WORKER, plain | environ))


@contextmanager
def servers() -> Iterator[Servers]:
    """Start them, and end them."""
    with Postgres() as postgres, speech_process() as speech_url, s3_process() as s3_url:
        wait_for(s3_url)
        with _environment(s3_url):
            yield Servers(postgres, speech_url)


@contextmanager
def _environment(s3_url: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "eu-west-3", "AWS_ENDPOINT_URL": s3_url,
    }  # fmt: skip
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
