"""The sweep: wake what waits, rescue what died, tell how things stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memolist_tts.core.errors import WakeError
from memolist_tts.core.ports import Wake

AGAIN_S = 1800.0
"""How long a message may be on its way (the queue's visibility timeout) before it's lost."""
PAGE = 500
MOST_PAGES = 5
"""Of one sweep: its function has a minute."""
QUEUE_IS_DOWN = 10
"""Messages in a row that can't be sent: the others are left for the next sweep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A job to be woken."""

    job_id: str
    group: str
    attempts: int
    died: bool
    """Its last run never let go of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """How things stand."""

    pending: int
    oldest_pending_s: float
    stalled: int
    is_paused: bool
    failure_rate_1h: float
    """Of the jobs that ended within the hour, 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What one sweep did."""

    woken: Sequence[Due]
    failed: Sequence[str]
    """Jobs whose attempts were used up."""
    unsent: int
    gauges: Gauges


class Overview(Protocol):
    """All jobs at once."""

    def due(self, *, again_s: float, limit: int) -> list[Due]: ...

    def unmark(self, job_id: str) -> None: ...

    def gauges(self) -> Gauges: ...


class Exhausts(Protocol):
    def exhaust(self, job_id: str | None = None) -> list[str]: ...


def run_sweep(overview: Overview, jobs: Exhausts, wake: Wake) -> Swept:
    """Fail what died too often, wake the rest, and measure. Raises `DatabaseError`.

    A job is marked before its message is sent: dying in between costs it the
    time until a message counts as lost. What can't be woken is passed over, and
    unmarked at the end: it never stands before the others.
    """
    failed = jobs.exhaust()
    gauges = overview.gauges()
    due: list[Due] = []
    unsent: list[Due] = []
    for _ in range(MOST_PAGES):
        page = overview.due(again_s=AGAIN_S, limit=PAGE)
        due += page
        left = _wake(wake, page)
        unsent += left
        if len(page) < PAGE or len(left) >= QUEUE_IS_DOWN:
            break
    for each in unsent:
        overview.unmark(each.job_id)
    return Swept(woken=due, failed=failed, unsent=len(unsent), gauges=gauges)


def _wake(wake: Wake, page: Sequence[Due]) -> list[Due]:
    """Send each job's message; those that weren't sent."""
    unsent: list[Due] = []
    in_a_row = 0
    for nth, each in enumerate(page):
        if in_a_row >= QUEUE_IS_DOWN:
            return unsent + list(page[nth:])
        try:
            wake.send(each.job_id, group=each.group)
        except WakeError:
            unsent.append(each)
            in_a_row += 1
        else:
            in_a_row = 0
    return unsent
