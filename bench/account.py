"""One provider's account and the workers that share it, on a simulated clock."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from memolist_tts.core import pacing
from memolist_tts.core.errors import DatabaseError
from memolist_tts.core.model import Limits
from memolist_tts.core.pacing import Pace, Seen
from memolist_tts.core.slots import LEASE_AHEAD_S, Slot, Slots

LATENCY_S = (1.2, 1.8)
REFUSAL_S = (0.05, 0.15)
"""A refusal is said at once: nothing is spoken."""
TRIP_S = (0.005, 0.03)
"""From a worker to the provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the provider says to one request."""

    accepted: bool
    limits: Limits | None = None
    retry_after_s: float | None = None


class Provider(Protocol):
    """An account's limit."""

    def admit(self, now: float) -> Verdict: ...


@dataclass(kw_only=True)
class TokenBucket:
    """Refilled continuously with `per_minute`; `size` of them at most."""

    per_minute: float
    size: float
    has_headers: bool = True
    refusals_count: bool = False
    level: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.size

    def admit(self, now: float) -> Verdict:
        self.level = min(self.size, self.level + (now - self.at) * self.per_minute / 60)
        self.at = now
        accepted = self.level >= 1
        if accepted or self.refusals_count:
            self.level = max(0.0, self.level - 1)
        limits = Limits(requests_per_minute=self.per_minute, remaining_requests=int(self.level))
        wait_s = None if accepted else (1 - self.level) * 60 / self.per_minute
        told = limits if self.has_headers else None
        return Verdict(accepted=accepted, limits=told, retry_after_s=wait_s)


@dataclass(kw_only=True)
class FixedWindow:
    """`per_minute` in each minute of the provider's clock, and no header about it."""

    per_minute: int
    begins: float = 0.0
    """Within its minute, when the workers begin."""
    says_when: bool = True
    """Whether a refusal carries Retry-After."""
    window: int = -1
    count: int = 0

    def admit(self, now: float) -> Verdict:
        at = now + self.begins
        if at // 60 != self.window:
            self.window, self.count = int(at // 60), 0
        self.count += 1
        accepted = self.count <= self.per_minute
        wait_s = None if accepted or not self.says_when else 60 - at % 60
        return Verdict(accepted=accepted, retry_after_s=wait_s)


class World:
    """A clock that jumps from event to event."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, time: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (max(time, self.now), next(self._count), act))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, act = heapq.heappop(self._events)
            act()
        self.now = until


class Row:
    """The row `tts.pace`, and the port `PaceBook` over it."""

    def __init__(self, world: World, pace: Pace, ceiling: float | None) -> None:
        self._world, self._at, self._ceiling = world, 0.0, ceiling
        self.pace = self.opening = pacing.capped(pace, ceiling)
        self.has_ceiling = ceiling is not None
        self.is_down = False

    def exchange(self, provider: str, seen: Seen, count: int) -> tuple[Pace, list[float]]:  # noqa: ARG002
        if self.is_down:
            raise DatabaseError("The row can't be reached.", passes=True)
        elapsed_s = self._world.now - self._at
        self._at = self._world.now
        self.pace, waits = pacing.exchange(self.pace, elapsed_s, seen, count, self._ceiling)
        return self.pace, waits


@dataclass
class Tally:
    """When requests were accepted, and when refused; and those of others that were accepted."""

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)

    def minute(self, n: int) -> tuple[int, int]:
        """Accepted and refused in minute `n` from the first request on."""
        return _within(self.accepted, n), _within(self.refused, n)

    def taken_by_others(self, n: int) -> int:
        """Accepted of others in minute `n`."""
        return _within(self.others, n)


def _within(times: list[float], minute: int) -> int:
    return sum(60 * minute <= at < 60 * minute + 60 for at in times)


class Caller:
    """A worker with more to speak than time: what `core.speaking` does with its slots."""

    def __init__(
        self, world: World, provider: Provider, slots: Slots, tally: Tally, *, in_flight: int = 32
    ) -> None:
        self._world, self._provider, self._slots, self._tally = world, provider, slots, tally
        self._free = in_flight
        self._calls: list[float] = []
        self._woken_at = -1.0

    def go_on(self) -> None:
        """Start every call that may start, and come back for the next one."""
        while self._free > 0:
            at = self._slots.lease("provider/model", self._free, self._free_soon())
            if at > self._world.now:
                if self._woken_at <= self._world.now or at < self._woken_at:
                    self._woken_at = at
                    self._world.at(at, self.go_on)
                return
            self._start(self._slots.use())

    def _free_soon(self) -> int:
        """As `Session` reckons it."""
        known = self._slots.pace.latency_s if self._slots.pace else None
        if known is None:
            return 0
        begun_by = self._world.now + LEASE_AHEAD_S - known
        return sum(started <= begun_by for started in self._calls)

    def _start(self, slot: Slot) -> None:
        self._free -= 1
        self._calls.append(self._world.now)
        arrival = self._world.now + self._world.random.uniform(*TRIP_S)
        started = self._world.now
        self._world.at(arrival, lambda: self._arrive(slot, started))

    def _arrive(self, slot: Slot, started: float) -> None:
        verdict = self._provider.admit(self._world.now)
        (self._tally.accepted if verdict.accepted else self._tally.refused).append(self._world.now)
        takes_s = self._world.random.uniform(*(LATENCY_S if verdict.accepted else REFUSAL_S))
        self._world.at(self._world.now + takes_s, lambda: self._end(slot, started, verdict))

    def _end(self, slot: Slot, started: float, verdict: Verdict) -> None:
        self._free += 1
        self._calls.remove(started)
        if verdict.accepted:
            self._slots.took(self._world.now - slot.at)
            self._slots.answered(slot, verdict.limits)
        else:
            self._slots.refused(slot, verdict.limits, verdict.retry_after_s)
        self.go_on()


def others(
    world: World, provider: Provider, tally: Tally, rate_per_s: float, *, poisson: bool = False
) -> None:
    """A foreign user of the account, for ever."""

    def call() -> None:
        if provider.admit(world.now).accepted:
            tally.others.append(world.now)
        gap_s = world.random.expovariate(rate_per_s) if poisson else 1 / rate_per_s
        world.at(world.now + gap_s, call)

    world.at(world.random.random(), call)


def share(
    provider: Provider,
    *,
    minutes: int,
    workers: int = 3,
    pace: Pace | None = None,
    ceiling: float | None = None,
    foreign_per_s: float = 0.0,
    poisson: bool = False,
    down: tuple[float, float] | None = None,
    seed: int = 1,
) -> tuple[Tally, Pace]:
    """Let `workers` speak for `minutes`; what was accepted and refused, and the row they leave.

    `foreign_per_s`: another user's calls. `down`: from when to when nobody reaches the row.
    """
    world, tally = World(seed), Tally()
    row = Row(world, pace or pacing.opening(ceiling or pacing.OPENING_PER_MINUTE), ceiling)
    if foreign_per_s:
        others(world, provider, tally, foreign_per_s, poisson=poisson)
    for at, is_down in zip(down or (), (True, False), strict=False):
        world.at(at, partial(setattr, row, "is_down", is_down))
    for _ in range(workers):
        caller = Caller(world, provider, Slots(row, lambda: world.now), tally)
        world.at(world.random.random() * 0.2, caller.go_on)
    world.run(60.0 * minutes)
    return tally, row.pace
