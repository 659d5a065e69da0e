"""The sweep: wake what waits, rescue what died, tell how things stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from memolist_tts.core.errors import WakeError
from memolist_tts.core.ports import Wake

AGAIN_S = 1800.0
"""How long a message may be on its way (the queue's visibility timeout) before it's lost."""
MOST = 500


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
    time until a message counts as lost.
    """
    failed = jobs.exhaust()
    gauges = overview.gauges()
    due = overview.due(again_s=AGAIN_S, limit=MOST)
    unsent = sum(not _woken(overview, wake, each) for each in due)
    return Swept(woken=due, failed=failed, unsent=unsent, gauges=gauges)


def _woken(overview: Overview, wake: Wake, due: Due) -> bool:
    try:
        wake.send(due.job_id, group=due.group)
    except WakeError:
        overview.unmark(due.job_id)
        return False
    return True
