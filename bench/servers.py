"""What a measurement needs: servers that are processes of their own, and a fresh worker on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3

from local.postgres import Postgres, free_port
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
        request = urllib.request.Request(
            self.speech_url.removesuffix("/v1") + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

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
    s3_port = free_port()
    speech = [sys.executable, "-m", "local.speech", "--port", "0", "--latency-s", "0"]
    s3 = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3_port)]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "eu-west-3", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
    }  # fmt: skip
    with Postgres() as postgres, _child(speech) as told, _child(s3, quiet=True):
        line = told.stdout.readline() if told.stdout else ""
        yield Servers(postgres, line.split()[-1])


@contextmanager
def _child(command: list[str], *, quiet: bool = False) -> Iterator[subprocess.Popen[str]]:
    where = subprocess.DEVNULL if quiet else None
    out = subprocess.DEVNULL if quiet else subprocess.PIPE
    with subprocess.Popen(command, stdout=out, stderr=where, text=True) as child:
        try:
            yield child
        finally:
            child.terminate()
