"""Requests a second, as arithmetic: a token bucket that all workers share.

Nothing here sleeps, asks the time or knows a client. What is known of the
provider's own limit decides how the bucket is steered:

- its headers say it (limit and remaining): each answer tells how full the provider's
  bucket was when that call began. What flowed in and was taken since is known, so
  the level now is too. A level below what was reckoned is somebody else's use of
  the account: the rate gives way to it, and comes back when it ends.
- no headers: slots come evenly. A refusal shows what a minute takes; from then on
  the rate stays just under it, and tries more the longer nothing is refused
  (the curve of TCP CUBIC, RFC 9438). The row remembers it for the next run.
- nothing yet: the rate that a provider's smallest account has, without a burst.

Slots may be taken ahead; a balance below zero is time to wait.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from memolist_tts.core.model import Limits

OPENING_PER_MINUTE = 500.0
"""Until an answer has come: what OpenAI's lowest paid tier grants a speech model."""
MARGIN = 0.99
"""Of a known limit: a window that isn't ours may begin at any moment."""
RESERVE_S = 2.0
RESERVE = 3.0
"""So much of the provider's refill and so many slots (a quarter of a small bucket) are left in
it: for other clients, whose calls show only when ours are answered."""
YIELD = 0.05
"""How much the rate (1/s) follows a slot that others took; small, so as not to swing."""
GROWTH_PER_S = 1.05
"""Where nothing is known."""
RECOVERY_PER_S = 1.005
"""Under a known limit, beyond what the level in the headers explains."""
LEAST_SHARE = 0.1
"""Of a known limit: what is kept when others seem to take it all."""
FURTHEST_AHEAD_S = 2.0
FURTHEST_AHEAD = 4.0
"""Of a known limit's slots, and so many more, may be taken ahead."""
PLATEAU_S = 240.0
"""Work without a refusal until the rate is again what was once refused."""
HIGHEST_RATE_PER_S = 500.0
LOWEST_RATE_PER_S = 0.2
FIRST_REST_S = 2.0
"""After a refusal that names no time; doubled while refusals go on."""
STALE_S = 0.5
"""After a drop, slots leased before it are still used."""
WAVE_S = 2.0
"""Of answers, since a refusal, until it counts as over."""
NEVER_S = 3600.0
SOON_S = 30.0
"""After a refusal, no bursts for so long, whatever the headers say is there."""
SMALLEST_TOLD = 4.0
"""Slots of a bucket whose level, told in whole ones, still says something."""
PROBE_PER_S = 1.0
"""After a rest that nobody had asked for: is it over?"""
LONGEST_REST_S = 900.0
"""Of a Retry-After: whoever needs longer says so again, and a mistaken one ends."""
LATENCY_WEIGHT = 0.2
SAFE_SHARE = 0.25
"""Of the rate: what a run takes that can't reach the row and doesn't know its part."""
MINUTE_S = 60.0


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
    taken: float = 0.0
    """Slots ever taken, given back or not: a slot's place in the order of all."""
    learned_per_minute: float | None = None
    """What a minute took when there was a refusal and no header; None before."""
    calm_s: float = NEVER_S
    """Time of work, in which answers came, since the last refusal."""
    dropped_s: float = NEVER_S
    """Time since the last drop of the rate."""
    rest_s: float = 0.0
    """The last rest that nobody had asked for."""
    minute_s: float = 0.0
    """Age of the minute that is counted, its slots, and those of the one before."""
    minute_taken: float = 0.0
    minute_before: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a run saw of the provider since it last exchanged slots."""

    answers: int = 0
    """Calls that the provider took."""
    refusals: int = 0
    """Calls that came too fast."""
    refused_age_s: float = 0.0
    """Seconds since the last of them began."""
    retry_after_s: float | None = None
    limits: Limits | None = None
    """Of the call that began last."""
    used: float | None = None
    """The place of that call's slot."""
    age_s: float = 0.0
    """Seconds since that call began."""
    latency_s: float | None = None
    short: bool = False
    """Whether the run had work and room in flight but no slot."""
    apart: bool = False
    """Whether it went on by itself meanwhile: what the bucket holds has been used."""


def opening(requests_per_minute: float = OPENING_PER_MINUTE) -> Pace:
    """The bucket before anything is known: slots come evenly from the first one on."""
    return Pace(rate_per_s=requests_per_minute / MINUTE_S, burst=1.0, tokens=1.0)


def exchange(
    pace: Pace, elapsed_s: float, seen: Seen, count: int, ceiling: float | None = None
) -> tuple[Pace, list[float]]:
    """The bucket `elapsed_s` after its last exchange: learn what was seen, take `count` slots.

    Returns for each slot the seconds from now at which it may be used. A negative
    count gives unused ones back. `ceiling`: requests a minute, whatever is learned.
    """
    elapsed_s = max(0.0, elapsed_s)
    pace = learn(advance(pace, elapsed_s), seen, elapsed_s)
    return take(capped(pace, ceiling), count)


def alone(pace: Pace, share: float) -> Pace:
    """A run's own bucket for as long as it can't reach the shared one: its part of it."""
    limit, learned = pace.limit_per_minute, pace.learned_per_minute
    return replace(
        pace,
        rate_per_s=max(LOWEST_RATE_PER_S, pace.rate_per_s * share),
        burst=1.0,
        tokens=min(0.0, pace.tokens * share),
        limit_per_minute=None if limit is None else limit * share,
        learned_per_minute=None if learned is None else learned * share,
        minute_taken=pace.minute_taken * share,
        minute_before=pace.minute_before * share,
    )


def seen_alone(seen: Seen, share: float) -> Seen:
    """What a run saw, as its own bucket takes it: the headers tell of the whole account."""
    limits = seen.limits
    if limits is None or limits.requests_per_minute is None:
        return seen
    # What remains is everybody's: only the refusals say that a part is too large.
    per_minute = limits.requests_per_minute * share
    return replace(seen, limits=Limits(requests_per_minute=per_minute))


def advance(pace: Pace, elapsed_s: float) -> Pace:
    """The bucket `elapsed_s` later."""
    minute_s = pace.minute_s + elapsed_s
    pace = replace(
        pace,
        tokens=min(pace.burst, pace.tokens + pace.rate_per_s * elapsed_s),
        blocked_s=max(0.0, pace.blocked_s - elapsed_s),
        dropped_s=min(NEVER_S, pace.dropped_s + elapsed_s),
        minute_s=minute_s,
    )
    if minute_s < MINUTE_S:
        return pace
    before = pace.minute_taken if minute_s < 2 * MINUTE_S else 0.0
    return replace(pace, minute_s=minute_s % MINUTE_S, minute_taken=0.0, minute_before=before)


def take(pace: Pace, count: int) -> tuple[Pace, list[float]]:
    """Take `count` slots; for each the seconds from now at which it may be used."""
    waits = [
        pace.blocked_s + max(0.0, (nth - pace.tokens) / pace.rate_per_s)
        for nth in range(1, count + 1)
    ]
    after = replace(
        pace,
        tokens=min(pace.burst, pace.tokens - count),
        taken=pace.taken + max(0, count),
        minute_taken=pace.minute_taken + count,
    )
    return after, waits


def capped(pace: Pace, requests_per_minute: float | None) -> Pace:
    """The bucket under a ceiling that holds in every minute: burst and refill together."""
    if requests_per_minute is None:
        return pace
    burst = max(1.0, requests_per_minute * (1 - MARGIN))
    rate = max((requests_per_minute - burst) / MINUTE_S, requests_per_minute / (2 * MINUTE_S))
    return replace(
        pace,
        rate_per_s=min(pace.rate_per_s, rate),
        burst=min(pace.burst, burst),
        tokens=min(pace.tokens, burst),
    )


def learn(pace: Pace, seen: Seen, elapsed_s: float) -> Pace:
    """The bucket after what a run saw."""
    if seen.apart:
        pace = replace(pace, tokens=min(0.0, pace.tokens))
    pace = _with_latency(pace, seen.latency_s)
    pace = _with_limits(pace, seen)
    if seen.refusals:
        return _dropped(pace, seen)
    if not seen.answers:
        return pace
    elapsed_s = min(elapsed_s, WAVE_S)
    return _grown(replace(pace, calm_s=pace.calm_s + elapsed_s), elapsed_s, is_short=seen.short)


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
    full = limit / MINUTE_S
    is_new = limit != pace.limit_per_minute
    if is_new:
        pace = replace(pace, limit_per_minute=limit, rate_per_s=full * MARGIN, burst=1.0)
    if limits.remaining_requests is None or seen.used is None:
        return pace
    return _levelled(pace, limits.remaining_requests, seen, full, is_new=is_new)


def _levelled(pace: Pace, remaining: float, seen: Seen, full: float, *, is_new: bool) -> Pace:
    """The level as the provider's answer puts it, and the rate that explains the difference."""
    air = RESERVE_S * full + RESERVE
    size = pace.burst + min(air, pace.burst / 3)
    if is_new or (remaining + 1 > size and pace.calm_s >= SOON_S):
        size = remaining + 1
    reserve = min(air, size / 4)
    pace = replace(pace, burst=max(1.0, size - reserve))
    if size < SMALLEST_TOLD:
        return pace
    since = max(0.0, pace.taken - (seen.used or 0.0) - 1)
    level = remaining - reserve + pace.rate_per_s * seen.age_s - since
    error = max(level, -FURTHEST_AHEAD_S * full - FURTHEST_AHEAD) - pace.tokens
    if error > 0 and not is_new:
        # A small bucket runs over while a call lasts: what it told is no more there.
        error *= max(0.0 if remaining + 2 > size else LEAST_SHARE, 1 - full * seen.age_s / size)
    rate = pace.rate_per_s + YIELD * error
    return replace(
        pace,
        tokens=min(pace.burst, pace.tokens + error),
        rate_per_s=min(full * MARGIN, max(full * LEAST_SHARE, rate)),
    )


def _grown(pace: Pace, elapsed_s: float, *, is_short: bool) -> Pace:
    """More, as far as is known to be free."""
    if pace.limit_per_minute is not None:
        full = pace.limit_per_minute / MINUTE_S * MARGIN
        return replace(pace, rate_per_s=min(full, pace.rate_per_s * RECOVERY_PER_S**elapsed_s))
    if pace.learned_per_minute is not None:
        past = (pace.calm_s / PLATEAU_S) ** 3
        rate = pace.learned_per_minute / MINUTE_S * (2 * MARGIN - 1 + 2 * (1 - MARGIN) * past)
        return replace(pace, rate_per_s=min(HIGHEST_RATE_PER_S, max(LOWEST_RATE_PER_S, rate)))
    if not is_short:
        return pace
    grown = pace.rate_per_s * GROWTH_PER_S**elapsed_s
    return replace(pace, rate_per_s=min(HIGHEST_RATE_PER_S, grown))


def _dropped(pace: Pace, seen: Seen) -> Pace:
    taken = max(0.0, pace.minute_taken - seen.refusals)
    pace = replace(pace, tokens=min(0.0, pace.tokens), minute_taken=taken)
    if pace.dropped_s - seen.refused_age_s < STALE_S:
        # A call under way, or in a slot that was leased: one drop for all of them.
        return replace(pace, blocked_s=max(pace.blocked_s, _rest(seen, 0.0)))
    if seen.retry_after_s is None and pace.calm_s < WAVE_S and pace.rest_s:
        # Still closed.
        rest_s = 2 * pace.rest_s
        return replace(pace, blocked_s=rest_s, rest_s=rest_s, dropped_s=0.0)
    # The sooner again, the deeper.
    rate = max(pace.rate_per_s, (pace.learned_per_minute or 0.0) / MINUTE_S)
    rate *= 1 - 6 / (20 + pace.calm_s)
    if pace.limit_per_minute is not None:
        # The headers' limit stands; something they don't tell was short.
        rest_s, learned = 1 / rate, pace.learned_per_minute
    else:
        rest_s = FIRST_REST_S
        learned = rate * MINUTE_S
        if (wait_s := _rest(seen, rest_s)) >= WAVE_S:
            # A window has closed: what it took is known.
            learned = min(learned, _accepted_per_minute(pace, wait_s))
        rate = learned / MINUTE_S if seen.retry_after_s is not None else PROBE_PER_S
    return replace(
        pace,
        learned_per_minute=learned,
        rate_per_s=max(LOWEST_RATE_PER_S, rate),
        burst=1.0,
        calm_s=0.0,
        dropped_s=0.0,
        blocked_s=_rest(seen, rest_s),
        rest_s=rest_s,
    )


def _rest(seen: Seen, otherwise_s: float) -> float:
    return min(LONGEST_REST_S, otherwise_s if seen.retry_after_s is None else seen.retry_after_s)


def _accepted_per_minute(pace: Pace, wait_s: float) -> float:
    """What was accepted in the last minute, over it and the rest asked for."""
    accepted = pace.minute_taken + pace.minute_before * (1 - pace.minute_s / MINUTE_S)
    span_s = MINUTE_S if pace.minute_before else min(MINUTE_S, pace.minute_s + wait_s)
    return accepted * MINUTE_S / max(1.0, span_s)
