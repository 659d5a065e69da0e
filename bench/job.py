"""`make bench`: a job of 400 utterances against a bare thread pool over the same client.

Both speak the same texts at 1.5 s a call with 32 in flight, one after the other, to the
same speech server; the pool neither judges, stores nor writes. Prints the wall times and
their ratio, and the HEAD requests S3 saw.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rich.console import Console

from bench.servers import IN_FLIGHT, LATENCY_S, TEXTS, Servers, servers
from local.api import Api
from memolist_tts.assemble import Worker
from memolist_tts.core.model import Options


def main() -> None:
    """Measure and print."""
    with servers() as started:
        _measure(Console(highlight=False), started)


def _measure(console: Console, servers: Servers) -> None:
    url, worker = servers.worker("bench")
    client: Any = worker.storage._client  # type: ignore[attr-defined]
    client.meta.events.register("before-send.s3", _count_heads)
    requests = [
        worker.request(text, worker.voice(language, Options()))
        for language, each in TEXTS.items()
        for text in each
    ]
    _pool(worker, requests)  # the server renders each text once, before anything counts
    servers.tell("PUT", "/_state", {"latency_s": LATENCY_S})
    bare_s = _pool(worker, requests)
    with Api(url) as api:
        job_id = api.add_job(api.add_list(zip(*TEXTS.values(), strict=True)))
    before = servers.charged()
    started = time.monotonic()
    report = worker.run(job_id, seconds=300, halt=threading.Event())
    job_s = time.monotonic() - started
    console.print(
        f"outcome {type(report.outcome).__name__}, {report.tally.spoken} spoken, "
        f"{servers.charged() - before} charged, {report.tally.throttled} throttled"
    )
    console.print(
        f"bare pool of {IN_FLIGHT}: {bare_s:.2f} s; the job: {job_s:.2f} s; "
        f"ratio {job_s / bare_s:.3f} (at most 1.10)"
    )
    console.print(f"HEAD requests to S3: {HEADS['count']} (0)")


HEADS = {"count": 0}


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
