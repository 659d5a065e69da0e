"""`make bench`: a job of 400 utterances against a bare thread pool over the same client.

Both speak the same texts at 1.5 s a call with 32 in flight, one after the other, to the
same speech server; the pool neither judges, stores nor writes. Prints the wall times and
their ratio, and the HEAD requests S3 saw.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import boto3
from rich.console import Console

from local.api import Api
from local.postgres import Postgres, free_port
from local.schema import create_tables
from memolist_tts.assemble import Worker
from memolist_tts.core.model import Options
from memolist_tts.postgres.schema import migrate
from memolist_tts.settings import Needs, Settings

CARDS, IN_FLIGHT, LATENCY_S = 200, 32, 1.5


def main() -> None:
    """Measure and print. The servers are processes of their own: their time isn't the job's."""
    s3_port = free_port()
    speech = [sys.executable, "-m", "local.speech", "--port", "0", "--latency-s", "0"]
    s3 = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3_port)]
    with Postgres() as postgres, _child(speech) as told, _child(s3, quiet=True):
        url = postgres.create("bench")
        create_tables(url)
        migrate(url)
        base_url = (told.stdout.readline() if told.stdout else "").split()[-1]
        _measure(Console(highlight=False), url, base_url, f"http://127.0.0.1:{s3_port}")


@contextmanager
def _child(command: list[str], *, quiet: bool = False) -> Iterator[subprocess.Popen[str]]:
    where = subprocess.DEVNULL if quiet else None
    out = subprocess.DEVNULL if quiet else subprocess.PIPE
    with subprocess.Popen(command, stdout=out, stderr=where, text=True) as child:
        try:
            yield child
        finally:
            child.terminate()


def _control(base_url: str, method: str, path: str, body: object = None) -> Any:
    request = urllib.request.Request(
        base_url.removesuffix("/v1") + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def _charged(base_url: str) -> int:
    charges = _control(base_url, "GET", "/_charges")
    return len(charges if isinstance(charges, list) else charges["charges"])


def _measure(console: Console, url: str, base_url: str, s3_url: str) -> None:
    worker = _worker(url, base_url, s3_url)
    texts = {
        "en": [f"This is phrase number {n}." for n in range(CARDS)],
        "fr": [f"Voici la phrase numéro {n}." for n in range(CARDS)],
    }
    requests = [
        worker.request(text, worker.voice(language, Options()))
        for language, each in texts.items()
        for text in each
    ]
    _pool(worker, requests)  # the server renders each text once, before anything counts
    _control(base_url, "PUT", "/_state", {"latency_s": LATENCY_S})
    bare_s = _pool(worker, requests)
    with Api(url) as api:
        job_id = api.add_job(api.add_list(zip(texts["en"], texts["fr"], strict=True)))
    before = _charged(base_url)
    started = time.monotonic()
    report = worker.run(job_id, seconds=300, halt=threading.Event())
    job_s = time.monotonic() - started
    console.print(
        f"outcome {type(report.outcome).__name__}, {report.tally.spoken} spoken, "
        f"{_charged(base_url) - before} charged, {report.tally.throttled} throttled"
    )
    console.print(
        f"bare pool of {IN_FLIGHT}: {bare_s:.2f} s; the job: {job_s:.2f} s; "
        f"ratio {job_s / bare_s:.3f} (at most 1.10)"
    )
    console.print(f"HEAD requests to S3: {HEADS['count']} (0)")


HEADS = {"count": 0}


def _worker(url: str, base_url: str, s3_url: str) -> Worker:
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "eu-west-3", "AWS_ENDPOINT_URL": s3_url,
    }  # fmt: skip
    boto3.client("s3").create_bucket(
        Bucket="bench", CreateBucketConfiguration={"LocationConstraint": "eu-west-3"}
    )
    settings = Settings.load(
        Needs.WORKER,
        {
            "DATABASE_URL": url, "OPENAI_API_KEY": "bench", "OPENAI_BASE_URL": base_url,
            "STORAGE_TYPE": "s3", "AWS_S3_BUCKET": "bench", "MAX_IN_FLIGHT": str(IN_FLIGHT),
        },
    )  # fmt: skip
    worker = Worker(settings)
    client: Any = worker.storage._client  # type: ignore[attr-defined]
    client.meta.events.register("before-send.s3", _count_heads)
    return worker


def _count_heads(request: Any, **_: Any) -> None:
    HEADS["count"] += request.method == "HEAD"


def _pool(worker: Worker, requests: list[Any]) -> float:
    speaker = worker.speaker()
    started = time.monotonic()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for _ in pool.map(lambda request: speaker.speak(request, 60), requests):
            pass
    return time.monotonic() - started


if __name__ == "__main__":
    main()
