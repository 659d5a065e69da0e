"""One job of 400 utterances: its time and processor time against the barest code, and again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from openai import OpenAI

from bench import texts
from bench.deployment import CARDS, IN_FLIGHT, LATENCY_S, Servers, servers
from local.api import Api
from memolist_tts.assemble import Worker
from memolist_tts.core import verdict
from memolist_tts.core.model import Completed, Options, Report, SpeechRequest

BUCKET = "bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one run; times in seconds."""

    bare_s: float
    bare_cpu_s: float
    job_s: float
    job_cpu_s: float
    judging_cpu_s: float
    """Of the job's: finding out whether each clip is sound, and levelling it."""
    throttled: int
    again_s: float
    again_calls: int
    again_storage: int


def measure() -> Figures:
    """Speak 400 utterances bare, then as a job, then order the same texts again."""
    with servers() as found:
        return _measure(found)


def _measure(found: Servers) -> Figures:
    url, worker = found.worker(BUCKET, TTS_PROVIDER="endpoint")
    storage_calls = _calls_of(worker)
    cards = texts.cards(CARDS)
    requests = [
        worker.request(text, worker.voice(language, Options()))
        for card in cards
        for language, text in zip(("en", "fr"), card, strict=True)
    ]
    openai = OpenAI(api_key="bench", base_url=found.speech_url, max_retries=0)
    s3 = boto3.client("s3")
    # The server renders each text once, and both clients load what they need, before it counts.
    _bare(openai, s3, requests)
    found.tell("PUT", "/_state", {"latency_s": LATENCY_S})
    _, bare_s, bare_cpu_s = _timed(lambda: _bare(openai, s3, requests))
    with Api(url) as api:
        warm_up = api.add_job(api.add_list(texts.cards(2, "Anna")))
        first, second = (api.add_job(api.add_list(cards)) for _ in range(2))
    # What the bare code has by now too: a client, and an account that has told its limit.
    _run(worker, warm_up)
    with _judging() as judging_s:
        report, job_s, job_cpu_s = _timed(lambda: _run(worker, first))
    calls = len(found.tell("GET", "/_requests"))
    storage_calls.clear()
    _, again_s, _ = _timed(lambda: _run(worker, second))
    return Figures(
        bare_s=bare_s,
        bare_cpu_s=bare_cpu_s,
        job_s=job_s,
        job_cpu_s=job_cpu_s,
        judging_cpu_s=sum(judging_s),
        throttled=report.tally.throttled,
        again_s=again_s,
        again_calls=len(found.tell("GET", "/_requests")) - calls,
        again_storage=storage_calls.total(),
    )


def _calls_of(worker: Worker) -> Counter[str]:
    """What its store is asked from now on, by method."""
    calls: Counter[str] = Counter()
    http: Any = worker.storage._client._endpoint.http_session  # type: ignore[attr-defined]
    send = http.send

    def counted(request: Any) -> Any:
        calls[request.method] += 1
        return send(request)

    http.send = counted
    return calls


@contextmanager
def _judging() -> Iterator[list[float]]:
    """The processor seconds of each judgement and levelling meanwhile."""
    spent: list[float] = []
    plain = verdict.judge, verdict.publishable

    def timed(act: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            began = time.thread_time()
            try:
                return act(*args, **more)
            finally:
                spent.append(time.thread_time() - began)

        return call

    verdict.judge, verdict.publishable = timed(plain[0]), timed(plain[1])
    try:
        yield spent
    finally:
        verdict.judge, verdict.publishable = plain


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


def _bare(openai: OpenAI, s3: Any, requests: list[SpeechRequest]) -> None:
    """What anybody would write: a thread pool, openai, boto3."""

    def speak(numbered: tuple[int, SpeechRequest]) -> None:
        number, request = numbered
        body: dict[str, Any] = {name: request[name] for name in request if name != "provider"}
        answer = openai.audio.speech.create(**body)
        s3.put_object(
            Bucket=BUCKET, Key=f"bare/{number}.mp3", Body=answer.content,
            ContentType="audio/mpeg",
        )  # fmt: skip

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for _ in pool.map(speak, enumerate(requests)):
            pass
