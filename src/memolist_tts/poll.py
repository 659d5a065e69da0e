"""The old worker's way to run: a process that looks for pending jobs every few seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from memolist_tts.assemble import Worker
from memolist_tts.core.errors import DatabaseError, NoSuchJob
from memolist_tts.core.model import Idle, Report

LOOK_AT = 10
"""Jobs looked at a time: another worker may be quicker with the first ones."""


def poll(worker: Worker, halt: threading.Event, tell: Callable[[Report | Exception], None]) -> None:
    """Speak pending jobs, the users by turns, until `halt` is set; then hand back and return.

    A database that goes away is waited for; each such fault goes to `tell`.
    """
    interval_s = worker.settings.POLL_INTERVAL_MS / 1000
    while not halt.is_set():
        try:
            did_any = _round(worker, halt, tell)
        except DatabaseError as error:
            tell(error)
            did_any = False
        if not did_any:
            halt.wait(interval_s)


def _round(
    worker: Worker, halt: threading.Event, tell: Callable[[Report | Exception], None]
) -> bool:
    """Run the first job that can be had; whose turn it is next may be another user's then."""
    for job_id in worker.jobs.waiting(LOOK_AT):
        if halt.is_set():
            break
        try:
            report = worker.run(
                job_id,
                seconds=worker.settings.CHUNK_SECONDS,
                halt=halt,
                lease_s=worker.settings.LEASE_SECONDS,
            )
        except NoSuchJob:
            continue
        except Exception as error:
            # Whatever is wrong with one job, the others go on; its lease runs out.
            tell(error)
            continue
        if not isinstance(report.outcome, Idle):
            tell(report)
            return True
    return False


@contextmanager
def halt_on_signals(told: str = "") -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; `told` is said on standard error then, once."""
    halt = threading.Event()

    def ask(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if told and not halt.is_set():
            # Past the buffers: the signal may have come in the middle of a write.
            os.write(sys.stderr.fileno(), f"{told}\n".encode())
        halt.set()

    before = {each: signal.signal(each, ask) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield halt
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
