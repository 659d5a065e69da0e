"""The slots that one run has leased of the shared bucket, and what it saw since it last did."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from memolist_tts.core import pacing
from memolist_tts.core.errors import DatabaseError
from memolist_tts.core.model import Limits
from memolist_tts.core.pacing import SAFE_SHARE, Pace, Seen
from memolist_tts.core.ports import PaceBook

LEASE_AHEAD_S = 0.5
"""Of slots, taken at once."""
CAREFUL_AHEAD_S = 0.2
"""Where no header warns of the limit: what is leased doesn't hear of a refusal elsewhere."""

APART_S = 5.0
"""How long a bucket that couldn't be reached is left alone."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Leave to start one call."""

    at: float
    """On the run's clock."""
    place: float | None
    """How many slots all runs were given before it; None where that isn't known."""


@dataclass(slots=True)
class _Window:
    """What was seen since slots were last exchanged."""

    answers: int = 0
    refusals: int = 0
    refused_age_s: float = 0.0
    retry_after_s: float | None = None
    limits: Limits | None = None
    began: float = -math.inf
    used: float | None = None
    latency_s: float | None = None


@dataclass(slots=True, kw_only=True)
class _Apart:
    """A run's own bucket, while it can't reach the shared one."""

    pace: Pace
    share: float
    ceiling: float
    at: float
    """When it was last exchanged."""
    until: float = 0.0
    """Then the shared one is tried again."""


class Slots:
    """Leases slots as they are needed. One thread uses it.

    A run that can't reach the shared bucket goes on with the part of it that it had.
    """

    def __init__(self, book: PaceBook, clock: Callable[[], float]) -> None:
        self._book = book
        self._clock = clock
        self._leased: deque[Slot] = deque()
        self._window = _Window()
        self._name = ""
        self._own = 0
        self._others_from = 0.0
        self._apart: _Apart | None = None
        self.pace: Pace | None = None
        self._exchanged_at = clock()

    @property
    def next_at(self) -> float | None:
        """When the next leased slot may be used; None where none is leased."""
        return self._leased[0].at if self._leased else None

    @property
    def is_blocked(self) -> bool:
        """Whether the provider asked for a rest when last heard of."""
        return self.pace is not None and self.pace.blocked_s > 0

    def lease(self, name: str, wanted: int, soon: int = 0) -> float:
        """Have at least one slot of the bucket `name`; when it may be used (on the clock).

        `wanted`: calls that could start now. `soon`: those that likely could within
        `LEASE_AHEAD_S`.
        """
        self._name = name
        if not self._leased:
            at_once, ahead = self._parts()
            self._exchange(max(1, min(wanted, max(at_once, ahead)), min(wanted + soon, ahead)))
        return self._leased[0].at

    def _parts(self) -> tuple[int, int]:
        """This run's part of what is free at once, and of what comes in a moment."""
        pace = self.pace
        if pace is None:
            return 1, 1
        share = self._part
        is_known = pace.limit_per_minute is not None or self._book.has_ceiling
        ahead_s = LEASE_AHEAD_S if is_known else CAREFUL_AHEAD_S
        return math.ceil(share * pace.tokens), math.ceil(share * pace.rate_per_s * ahead_s)

    @property
    def _part(self) -> float:
        """Its part of `pace`: of its own bucket, all."""
        return 1.0 if self._apart is not None else self.share

    @property
    def share(self) -> float:
        """This run's part of all slots that were taken since it began."""
        if self._apart is not None:
            return self._apart.share
        if self.pace is None:
            return SAFE_SHARE
        return min(1.0, max(1, self._own) / max(1.0, self.pace.taken - self._others_from))

    def wait_s(self, count: int) -> float:
        """How long until this run has had `count` slots beside those in hand; 0 if unknown."""
        if self.pace is None:
            return 0.0
        share = self._part
        since = self._clock() - self._exchanged_at
        wait_s = (count - share * self.pace.tokens) / (share * self.pace.rate_per_s) - since
        return max(0.0, wait_s)

    def use(self) -> Slot:
        """The next slot, as a call starts in it."""
        slot = self._leased.popleft()
        now = self._clock()
        # Used late: the others didn't wait.
        late = max(0.0, now - slot.at) * (self.pace.rate_per_s if self.pace else 0.0)
        return Slot(now, None if slot.place is None else slot.place + late)

    def answered(self, slot: Slot, limits: Limits | None) -> None:
        """A call that began in `slot` was taken."""
        self._window.answers += 1
        self._saw(slot, limits)

    def refused(self, slot: Slot, limits: Limits | None, retry_after_s: float | None) -> None:
        """A call that began in `slot` came too fast: what is leased was leased too fast."""
        self._window.refusals += 1
        self._window.refused_age_s = self._clock() - slot.at
        if retry_after_s is not None:
            asked = self._window.retry_after_s
            self._window.retry_after_s = max(asked or 0.0, retry_after_s)
        self._saw(slot, limits)
        self._exchange(0)
        self._put_off()

    def _put_off(self) -> None:
        """What is in hand was leased too fast: it keeps its order, not its times."""
        if self.pace is None:
            return
        begin = self._clock() + self.pace.blocked_s
        gap_s = 1 / (self.pace.rate_per_s * self._part)
        self._leased = deque(
            Slot(max(slot.at, begin + (n + 1) * gap_s), slot.place)
            for n, slot in enumerate(self._leased)
        )

    def failed(self, slot: Slot, limits: Limits | None) -> None:
        """A call that began in `slot` ended in another way."""
        self._saw(slot, limits)

    def took(self, seconds: float) -> None:
        """A call lasted that long."""
        self._window.latency_s = max(self._window.latency_s or 0.0, seconds)

    def _saw(self, slot: Slot, limits: Limits | None) -> None:
        if limits is not None and slot.at >= self._window.began:
            self._window.limits, self._window.began = limits, slot.at
            self._window.used = slot.place

    def give_back(self) -> None:
        """Return what is left over, and tell what was seen."""
        if self._name:
            unused = len(self._leased)
            self._leased.clear()
            self._exchange(-unused)

    def _exchange(self, count: int) -> None:
        window, now = self._window, self._clock()
        self._window = _Window()
        seen = Seen(
            answers=window.answers,
            refusals=window.refusals,
            refused_age_s=window.refused_age_s,
            retry_after_s=window.retry_after_s,
            limits=window.limits,
            used=window.used,
            age_s=now - window.began if window.limits else 0.0,
            latency_s=window.latency_s,
            short=count > 0,
            apart=self._apart is not None,
        )
        pace, waits = self._shared(seen, count, now) or self._own_part(seen, count, now)
        self.pace, self._exchanged_at = pace, now
        first = None if self._apart else pace.taken - max(0, count)
        self._leased.extend(
            Slot(now + wait, None if first is None else first + nth)
            for nth, wait in enumerate(waits)
        )

    def _shared(self, seen: Seen, count: int, now: float) -> tuple[Pace, list[float]] | None:
        if self._apart is not None and now < self._apart.until:
            return None
        try:
            pace, waits = self._book.exchange(self._name, seen, count)
        except DatabaseError:
            self._apart = self._apart or self._parted(now)
            self._apart.until = now + APART_S
            return None
        if self.pace is None or self._apart is not None:
            self._own, self._others_from = 0, pace.taken - count
        self._apart = None
        self._own += count
        return pace, waits

    def _parted(self, now: float) -> _Apart:
        pace = pacing.alone(self.pace or self._book.opening, self.share)
        return _Apart(pace=pace, share=self.share, at=now, ceiling=pace.rate_per_s * 60)

    def _own_part(self, seen: Seen, count: int, now: float) -> tuple[Pace, list[float]]:
        """Go on with the part of the rate that this run had."""
        apart = self._apart
        assert apart is not None
        mine = pacing.seen_alone(seen, apart.share)
        pace, waits = pacing.exchange(apart.pace, now - apart.at, mine, count, apart.ceiling)
        apart.pace, apart.at = pace, now
        return pace, waits
