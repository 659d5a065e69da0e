"""Jobs of 400 utterances: their time and processor time against the barest code, and again."""

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
TURNS = 3
"""Of the barest code and a job of the same texts: a machine's speed changes in a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Times in seconds, of all turns but for `again_s`."""

    bare_s: float
    bare_cpu_s: float
    job_s: float
    job_cpu_s: float
    judging_cpu_s: float
    """Of the jobs': finding out whether each clip is sound, and levelling it."""
    throttled: int
    again_s: float
    again_calls: int
    again_storage: int


def measure() -> Figures:
    """Speak 400 utterances bare, then as a job, by turns; then order the last texts again."""
    with servers() as found:
        return _measure(found)


def _measure(found: Servers) -> Figures:
    url, worker = found.worker(BUCKET, TTS_PROVIDER="endpoint")
    storage_calls = _calls_of(worker)
    cards = texts.cards(TURNS * CARDS)
    decks = [cards[at : at + CARDS] for at in range(0, len(cards), CARDS)]
    requests = [
        [
            worker.request(text, worker.voice(language, Options()))
            for card in deck
            for language, text in zip(("en", "fr"), card, strict=True)
        ]
        for deck in decks
    ]
    openai = OpenAI(api_key="bench", base_url=found.speech_url, max_retries=0)
    s3 = boto3.client("s3")
    # The server renders each text once, and both clients load what they need, before it counts.
    for asked in requests:
        _bare(openai, s3, asked)
    found.tell("PUT", "/_state", {"latency_s": LATENCY_S})
    with Api(url) as api:
        warm_up = api.add_job(api.add_list(texts.cards(2, "Anna")))
        jobs = [api.add_job(api.add_list(deck)) for deck in decks]
        again = api.add_job(api.add_list(decks[-1]))
    # What the bare code has by now too: a client, and an account that has told its limit.
    _run(worker, warm_up)
    bare, spoken, throttled = _Times(), _Times(), 0
    with _judging() as judging_s:
        for job_id, asked in zip(jobs, requests, strict=True):
            with bare.measured():
                _bare(openai, s3, asked)
            with spoken.measured():
                throttled += _run(worker, job_id).tally.throttled
    calls = len(found.tell("GET", "/_requests"))
    storage_calls.clear()
    reused = _Times()
    with reused.measured():
        _run(worker, again)
    return Figures(
        bare_s=bare.wall_s,
        bare_cpu_s=bare.cpu_s,
        job_s=spoken.wall_s,
        job_cpu_s=spoken.cpu_s,
        judging_cpu_s=sum(judging_s),
        throttled=throttled,
        again_s=reused.wall_s,
        again_calls=len(found.tell("GET", "/_requests")) - calls,
        again_storage=storage_calls.total(),
    )


@dataclass(slots=True)
class _Times:
    wall_s: float = 0.0
    cpu_s: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Add what is done meanwhile."""
        began, cpu = time.monotonic(), time.process_time()
        yield
        self.wall_s += time.monotonic() - began
        self.cpu_s += time.process_time() - cpu


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
