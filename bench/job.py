"""One job of 400 utterances: its time and processor time against the barest code, and again."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import boto3
from openai import OpenAI

from bench import texts
from bench.servers import control, s3_process, speech_process, wait_for
from local.api import Api
from local.postgres import Postgres
from local.schema import create_tables
from memolist_tts.assemble import Worker
from memolist_tts.core.model import Completed, Options, Report, SpeechRequest
from memolist_tts.postgres.schema import migrate
from memolist_tts.settings import Needs, Settings

CARDS, IN_FLIGHT, LATENCY_S = 200, 32, 1.5
REGION: Final = "eu-west-3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one run; times in seconds."""

    bare_s: float
    bare_cpu_s: float
    job_s: float
    job_cpu_s: float
    throttled: int
    again_s: float
    again_calls: int
    again_storage: int


def measure() -> Figures:
    """Speak 400 utterances bare, then as a job, then order the same texts again."""
    with Postgres() as postgres, speech_process() as base_url, s3_process() as s3_url:
        url = postgres.create("bench")
        create_tables(url)
        migrate(url)
        wait_for(s3_url)
        with _environment(s3_url):
            return _measure(url, base_url)


@contextmanager
def _environment(s3_url: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": s3_url,
    }  # fmt: skip
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _measure(url: str, base_url: str) -> Figures:
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="bench", CreateBucketConfiguration={"LocationConstraint": REGION})
    worker, storage_calls = _worker(url, base_url)
    cards = texts.cards(CARDS)
    requests = [
        worker.request(text, worker.voice(language, Options()))
        for card in cards
        for language, text in zip(("en", "fr"), card, strict=True)
    ]
    _bare(base_url, requests, s3)  # the server renders each text once, before anything counts
    control(base_url, "PUT", "/_state", {"latency_s": LATENCY_S})
    _, bare_s, bare_cpu_s = _timed(lambda: _bare(base_url, requests, s3))
    with Api(url) as api:
        warm_up = api.add_job(api.add_list(texts.cards(2, "Anna")))
        first, second = (api.add_job(api.add_list(cards)) for _ in range(2))
    # What the bare code has by now too: a client, and an account that has told its limit.
    _run(worker, warm_up)
    report, job_s, job_cpu_s = _timed(lambda: _run(worker, first))
    calls = len(control(base_url, "GET", "/_requests"))
    storage_calls.clear()
    _, again_s, _ = _timed(lambda: _run(worker, second))
    return Figures(
        bare_s=bare_s,
        bare_cpu_s=bare_cpu_s,
        job_s=job_s,
        job_cpu_s=job_cpu_s,
        throttled=report.tally.throttled,
        again_s=again_s,
        again_calls=len(control(base_url, "GET", "/_requests")) - calls,
        again_storage=storage_calls.total(),
    )


def _worker(url: str, base_url: str) -> tuple[Worker, Counter[str]]:
    settings = Settings.load(
        Needs.WORKER,
        {
            "DATABASE_URL": url, "OPENAI_API_KEY": "bench", "OPENAI_BASE_URL": base_url,
            "TTS_PROVIDER": "endpoint",
            "STORAGE_TYPE": "s3", "AWS_S3_BUCKET": "bench", "MAX_IN_FLIGHT": str(IN_FLIGHT),
        },
    )  # fmt: skip
    worker = Worker(settings)
    calls: Counter[str] = Counter()
    client: Any = worker.storage._client  # type: ignore[attr-defined]

    def count(request: Any, **_: Any) -> None:
        calls[request.method] += 1

    client.meta.events.register("before-send.s3", count)
    return worker, calls


def _run(worker: Worker, job_id: str) -> Report:
    report = worker.run(job_id, seconds=300, halt=threading.Event())
    if not isinstance(report.outcome, Completed):
        raise SystemExit(f"The job did not complete: {report.outcome}")
    return report


def _timed(act: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `act` returns, its seconds, and its processor's."""
    began, cpu = time.monotonic(), time.process_time()
    result = act()
    return result, time.monotonic() - began, time.process_time() - cpu


def _bare(base_url: str, requests: list[SpeechRequest], s3: Any) -> None:
    """What anybody would write: a thread pool, openai, boto3."""
    client = OpenAI(api_key="bench", base_url=base_url, max_retries=0)

    def speak(numbered: tuple[int, SpeechRequest]) -> None:
        number, request = numbered
        body: dict[str, Any] = {name: request[name] for name in request if name != "provider"}
        answer = client.audio.speech.create(**body)
        s3.put_object(
            Bucket="bench", Key=f"bare/{number}.mp3", Body=answer.content,
            ContentType="audio/mpeg",
        )  # fmt: skip

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for _ in pool.map(speak, enumerate(requests)):
            pass
