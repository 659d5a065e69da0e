"""Requests a second, as arithmetic: a token bucket that all workers share.

Nothing here sleeps, asks the time or knows a client. The bucket copies the
provider's own: refilled continuously, its size the limit of one minute
(PROVIDER: Pace). Slots may be taken ahead; a balance below zero is time to wait.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from memolist_tts.core.model import Limits

MARGIN = 0.98
"""Of the provider's own rate: clocks and other clients of the key need some air."""
GROWTH = 1.05
"""A step, where no header tells the limit and slots ran short."""
LOWEST_RATE_PER_S = 0.2
HIGHEST_RATE_PER_S = 500.0
LONGEST_REST_S = 900.0
"""Of a Retry-After: whoever needs longer says so again, and a mistaken one ends."""
LATENCY_WEIGHT = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The shared bucket at one moment."""

    rate_per_s: float
    burst: float
    """Slots that a rested bucket holds."""
    tokens: float
    """Slots free now; below zero they are taken ahead of time."""
    limit_per_minute: float | None = None
    """What the provider's headers last said; None where they say nothing."""
    latency_s: float | None = None
    """Smoothed time of one call: what a run's last start is planned by."""
    blocked_s: float = 0.0
    """Seconds during which nothing may start (Retry-After)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a run saw of the provider since it last exchanged slots."""

    answers: int = 0
    """Calls that the provider took."""
    refusals: int = 0
    """Calls that came too fast."""
    retry_after_s: float | None = None
    limits: Limits | None = None
    latency_s: float | None = None
    in_flight: int = 0
    """Calls under way: taken from the bucket here, perhaps not yet there."""
    short: bool = False
    """Whether the run had work and room in flight but no slot."""


def opening(in_flight: int) -> Pace:
    """The bucket before anything is known: as wide as the cap, no ramp."""
    return Pace(rate_per_s=float(in_flight), burst=float(in_flight), tokens=float(in_flight))


def advance(pace: Pace, elapsed_s: float) -> Pace:
    """The bucket `elapsed_s` later."""
    elapsed_s = max(0.0, elapsed_s)
    return replace(
        pace,
        tokens=min(pace.burst, pace.tokens + pace.rate_per_s * elapsed_s),
        blocked_s=max(0.0, pace.blocked_s - elapsed_s),
    )


def learn(pace: Pace, seen: Seen) -> Pace:
    """The bucket after what a run saw: the headers' rate, growth, or a drop."""
    pace = _with_latency(pace, seen.latency_s)
    pace = _with_limits(pace, seen)
    if seen.refusals:
        return _dropped(pace, seen.retry_after_s)
    if seen.answers and pace.limit_per_minute is not None:
        full = pace.limit_per_minute / 60 * MARGIN
        return replace(pace, rate_per_s=min(full, pace.rate_per_s * GROWTH + 0.01))
    if seen.answers and seen.short:
        return replace(pace, rate_per_s=min(HIGHEST_RATE_PER_S, pace.rate_per_s * GROWTH))
    return pace


def _with_latency(pace: Pace, latency_s: float | None) -> Pace:
    if latency_s is None:
        return pace
    known = latency_s if pace.latency_s is None else pace.latency_s
    return replace(pace, latency_s=known + LATENCY_WEIGHT * (latency_s - known))


def _with_limits(pace: Pace, seen: Seen) -> Pace:
    limits = seen.limits
    if limits is None or not limits.requests_per_minute or limits.requests_per_minute <= 0:
        return pace
    limit = limits.requests_per_minute
    if limit != pace.limit_per_minute:
        pace = replace(
            pace,
            limit_per_minute=limit,
            rate_per_s=limit / 60 * MARGIN,
            burst=limit,
            # The first word on the bucket's level: before it, only the cap was known.
            tokens=float(limit),
        )
    if limits.remaining_requests is None:
        return pace
    # Of the calls under way the header has counted some: below zero it would count them twice.
    free = max(0, limits.remaining_requests - seen.in_flight)
    return replace(pace, tokens=min(pace.tokens, float(free)))


def _dropped(pace: Pace, retry_after_s: float | None) -> Pace:
    # Calls already under way are refused too: one drop for all of them.
    rate = pace.rate_per_s
    if pace.blocked_s <= 0:
        rate = min(rate, max(LOWEST_RATE_PER_S, rate / 2))
    wait_s = max(pace.blocked_s, 1 / rate if retry_after_s is None else retry_after_s)
    wait_s = min(wait_s, LONGEST_REST_S)
    return replace(pace, rate_per_s=rate, tokens=min(0.0, pace.tokens), blocked_s=wait_s)


def capped(pace: Pace, requests_per_minute: float | None) -> Pace:
    """The bucket under a ceiling that holds in every minute: burst and refill together."""
    if requests_per_minute is None:
        return pace
    burst = max(1.0, requests_per_minute / 10)
    rate = max((requests_per_minute - burst) / 60, requests_per_minute / 120)
    return replace(
        pace,
        rate_per_s=min(pace.rate_per_s, rate),
        burst=min(pace.burst, burst),
        tokens=min(pace.tokens, burst),
    )


def take(pace: Pace, count: int) -> tuple[Pace, list[float]]:
    """Take `count` slots; for each the seconds from now at which it may be used.

    A negative count gives unused slots back.
    """
    after = replace(pace, tokens=min(pace.burst, pace.tokens - count))
    waits = [
        pace.blocked_s + max(0.0, (nth - pace.tokens) / pace.rate_per_s)
        for nth in range(1, count + 1)
    ]
    return after, waits
