"""Threads that do tasks and report; none of them is ever waited for."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Ticket = TypeVar("Ticket")
Outcome = TypeVar("Outcome")


class Crew(Generic[Ticket, Outcome]):
    """At most `size` daemon threads, started as needed.

    `concurrent.futures` joins its threads when the interpreter exits: one call
    that hangs would keep the process alive. Here a task past its time is
    abandoned: its thread still ends it, and nobody hears.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._tasks: queue.SimpleQueue[tuple[Ticket, Callable[[], Outcome]] | None] = (
            queue.SimpleQueue()
        )
        self._reports: queue.SimpleQueue[tuple[Ticket, Outcome | Exception]] = queue.SimpleQueue()
        self._threads = 0
        self.busy = 0
        """Tasks given out and not reported yet."""

    def start(self, ticket: Ticket, task: Callable[[], Outcome]) -> None:
        """Have `task` done, at once while fewer than `size` are; its end comes with `ticket`."""
        self.busy += 1
        if self._threads < min(self.busy, self._size):
            self._threads += 1
            threading.Thread(target=self._serve, name=f"speak-{self._threads}", daemon=True).start()
        self._tasks.put((ticket, task))

    def _serve(self) -> None:
        while (job := self._tasks.get()) is not None:
            ticket, task = job
            try:
                report: Outcome | Exception = task()
            except Exception as error:
                report = error
            self._reports.put((ticket, report))

    def reports(self, timeout_s: float) -> list[tuple[Ticket, Outcome | Exception]]:
        """Wait up to `timeout_s` for an end, then return all there are."""
        found = []
        with contextlib.suppress(queue.Empty):
            found.append(self._reports.get(timeout=max(0.0, timeout_s)))
            while True:
                found.append(self._reports.get_nowait())
        self.busy -= len(found)
        return found

    def give_up_on_one(self) -> None:
        """A task hangs: its thread is replaced, and its end, if it ever comes, isn't counted."""
        self._size += 1

    def dismiss(self) -> None:
        """Let the threads go as they finish."""
        for _ in range(self._threads):
            self._tasks.put(None)
