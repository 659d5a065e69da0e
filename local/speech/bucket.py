"""The rate limit: arithmetic over a clock that is passed in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

_ROUNDING = 1e-6
"""Of a slot: whoever waits exactly as long as told must get it."""


@dataclass(slots=True)
class Bucket:
    """Refills continuously, `per_minute` a minute, and holds what comes in `burst_s` at most."""

    per_minute: float
    at_s: float
    burst_s: float = 60.0
    level: float = field(init=False)

    def __post_init__(self) -> None:
        self.level = self.size

    @property
    def size(self) -> float:
        return max(1.0, self.per_minute * self.burst_s / 60)

    def refill(self, now_s: float) -> None:
        gained = (now_s - self.at_s) * self.per_minute / 60
        self.level = min(self.size, self.level + gained)
        self.at_s = now_s

    def wait_s(self, amount: float) -> float:
        """Until `amount` is there (a demand above the capacity waits for a full bucket)."""
        missing = min(amount, self.size) - self.level
        return missing * 60 / self.per_minute if missing > _ROUNDING else 0.0

    def drain(self, amount: float) -> None:
        self.level = max(0.0, self.level - amount)

    @property
    def reset_s(self) -> float:
        """Until full: (limit - remaining) x 60 s / limit."""
        return (self.size - self.level) * 60 / self.per_minute


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One bucket as an answer shows it."""

    kind: str
    """"requests" or "tokens"."""
    limit: int
    remaining: int
    reset_s: float
    wait_s: float
    """0 = granted."""


class Pace:
    """A pair of buckets for each model. Thread-safe."""

    def __init__(
        self,
        requests_per_minute: float,
        tokens_per_minute: float,
        clock: Callable[[], float],
        refusals_count: bool = True,
        burst_s: float = 60.0,
    ) -> None:
        self._clock = clock
        self._refusals_count = refusals_count
        self._burst_s = burst_s
        self._lock = threading.Lock()
        self._default = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._of_model: dict[str, dict[str, float]] = {}
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def set(
        self,
        *,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        model: str | None = None,
    ) -> None:
        """New limits for `model`, or all models without their own; every bucket is full again."""
        given = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        new = {kind: limit for kind, limit in given.items() if limit is not None}
        if any(limit <= 0 for limit in new.values()):
            raise ValueError("a limit must be above 0")
        with self._lock:
            target = self._default if model is None else self._of_model.setdefault(model, {})
            target.update(new)
            self._buckets.clear()

    def limits(self) -> dict[str, dict[str, float]]:
        """Per minute, by model; "*" is every model without its own."""
        with self._lock:
            return {"*": dict(self._default), **{k: dict(v) for k, v in self._of_model.items()}}

    def take(self, model: str, tokens: int) -> tuple[Level, Level]:
        """Take one request and its tokens, or, where either lacks, refuse both.

        A refused attempt counts against the requests too, as OpenAI says of its own
        limits, so hammering never gets through.
        """
        with self._lock:
            requests, amounts = self._bucket(model, "requests"), self._bucket(model, "tokens")
            granted = not (requests.wait_s(1) or amounts.wait_s(tokens))
            if granted:
                amounts.drain(tokens)
            if granted or self._refusals_count:
                requests.drain(1)
            # After the drain: what a refusal cost is part of the wait it announces.
            waits = (0.0, 0.0) if granted else (requests.wait_s(1), amounts.wait_s(tokens))
            return _level("requests", requests, waits[0]), _level("tokens", amounts, waits[1])

    def _bucket(self, model: str, kind: str) -> Bucket:
        now_s = self._clock()
        limit = self._of_model.get(model, {}).get(kind, self._default[kind])
        # Of tokens a single long text may need more than a second brings.
        burst_s = self._burst_s if kind == "requests" else 60.0
        bucket = self._buckets.setdefault((model, kind), Bucket(limit, now_s, burst_s))
        bucket.refill(now_s)
        return bucket


def _level(kind: str, bucket: Bucket, wait_s: float) -> Level:
    return Level(
        kind=kind,
        limit=int(bucket.per_minute),
        remaining=int(bucket.level),
        reset_s=bucket.reset_s,
        wait_s=wait_s,
    )


def go_duration(seconds: float) -> str:
    """As Go prints it and OpenAI sends it: `120ms`, `7.66s`, `6m0s`, `1h23m31s`."""
    milliseconds = round(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{tail}"
    return f"{minutes}m{tail}" if minutes else tail
