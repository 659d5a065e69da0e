"""`make bench-routes`: the same job of 400 utterances by each of the three routes to speech.

One after the other in one run, at 1.5 s a call with 32 in flight, each in a database and
a bucket of its own, on the same servers. With `--rounds N` by turns, N times; each figure
is then the median. Prints a table, and exits 1 where realtime is too slow.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import Any, cast
from urllib.parse import urlsplit

from rich.console import Console
from rich.table import Table

from bench.deployment import IN_FLIGHT, LATENCY_S, TEXTS, Servers, servers
from local.api import Api
from memolist_tts.assemble import Worker
from memolist_tts.core.model import Completed, Options

ROUTES = ("endpoint", "chat", "realtime")
UTTERANCES = sum(map(len, TEXTS.values()))
MOST = 1.15
"""Realtime's wall time against the endpoint's."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one job by one route."""

    wall_s: float
    cpu_s: float
    connections: int
    bytes: int
    most_threads: int
    usd: float
    """At list prices, by the tokens that the stand-in bills."""


class _Counted(socket.socket):
    """A connection to the speech server that counts what it receives."""

    opened = 0
    received = 0

    def recv(self, *args: Any) -> bytes:
        data = super().recv(*args)
        _Counted.received += len(data)
        return data


@contextmanager
def _counting(port: int) -> Iterator[None]:
    """Both clients open their connections by this one function."""
    plain = socket.create_connection

    def create_connection(address: tuple[str, int], *args: Any, **more: Any) -> socket.socket:
        opened = plain(address, *args, **more)
        if address[1] != port:
            return opened
        counted = _Counted(fileno=opened.detach())
        counted.settimeout(more.get("timeout"))
        _Counted.opened += 1
        return counted

    socket.create_connection = cast(Any, create_connection)
    _Counted.opened = _Counted.received = 0
    try:
        yield
    finally:
        socket.create_connection = plain


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.routes", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    medians = measure(parser.parse_args().rounds)
    Console(highlight=False, width=100).print(_table(medians))
    return int(medians["realtime"].wall_s / medians["endpoint"].wall_s > MOST)


def measure(rounds: int = 1) -> dict[str, Figures]:
    """By route: medians."""
    found: dict[str, list[Figures]] = {route: [] for route in ROUTES}
    with servers() as started:
        for nth in range(rounds):
            for route in ROUTES:
                found[route].append(_measure(started, route, nth))
    return {
        route: Figures(*map(statistics.median, zip(*map(astuple, each), strict=True)))
        for route, each in found.items()
    }


def _measure(servers: Servers, route: str, nth: int) -> Figures:
    url, worker = servers.worker(f"{route}-{nth}", TTS_PROVIDER=route)
    servers.tell("PUT", "/_state", {"latency_s": 0})
    _warm(worker)
    servers.tell("PUT", "/_state", {"latency_s": LATENCY_S})
    with Api(url) as api:
        job_id = api.add_job(api.add_list(zip(*TEXTS.values(), strict=True)))
    port = urlsplit(servers.speech_url).port or 0
    # A new client: the job opens its own connections.
    worker.forget()
    with _counting(port), _watching() as threads:
        wall, cpu = time.monotonic(), time.process_time()
        report = worker.run(job_id, seconds=300, halt=threading.Event())
        wall_s, cpu_s = time.monotonic() - wall, time.process_time() - cpu
    worker.database.close()
    if report.outcome != Completed() or report.tally.requests != UTTERANCES:
        raise RuntimeError(f"{route}: {report}")
    return Figures(
        wall_s, cpu_s, _Counted.opened, _Counted.received, threads[0], report.tally.cost_usd
    )


def _warm(worker: Worker) -> None:
    """The server renders each text once, and the worker loads what it needs, before it counts."""
    speaker = worker.speaker()
    requests = [
        worker.request(text, worker.voice(language, Options()))
        for language, each in TEXTS.items()
        for text in each
    ]
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for _ in pool.map(lambda request: speaker.speak(request, 60), requests):
            pass
    speaker.rest()


@contextmanager
def _watching() -> Iterator[list[int]]:
    """The most threads there were at once, looked at ten times a second."""
    most, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            most[0] = max(most[0], threading.active_count())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()


def _table(found: dict[str, Figures]) -> Table:
    table = Table(title=f"{UTTERANCES} utterances, {LATENCY_S} s a call, {IN_FLIGHT} in flight")
    table.add_column("route")
    for heading in (
        "wall s",
        "ratio",
        "calls/s",
        "CPU ms",
        "kB in",
        "connections",
        "threads",
        "USD",
    ):
        table.add_column(heading, justify="right")
    for route, each in found.items():
        table.add_row(
            route,
            f"{each.wall_s:.2f}",
            f"{each.wall_s / found['endpoint'].wall_s:.3f}",
            f"{UTTERANCES / each.wall_s:.1f}",
            f"{1000 * each.cpu_s / UTTERANCES:.1f}",
            f"{each.bytes / UTTERANCES / 1000:.1f}",
            f"{each.connections:.0f}",
            f"{each.most_threads:.0f}",
            f"{1000 * each.usd / UTTERANCES:.2f}",
        )
    table.caption = (
        f"CPU and kB in are a clip's, USD a thousand's; realtime's ratio is to be at most {MOST}"
    )
    return table


if __name__ == "__main__":
    sys.exit(main())
