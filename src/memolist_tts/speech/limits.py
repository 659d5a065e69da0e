"""What a provider's headers say of its pace. Any may be missing or malformed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from memolist_tts.core.model import Limits

_UNIT_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5 and U+03BC: Go reads both
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_WORDS = re.compile(
    r"(?:try again in|retry after) (?:([0-9.]+) seconds?\b|((?:[0-9.]+(?:ns|us|µs|μs|ms|s|m|h))+))",
    re.IGNORECASE,
)
_PART = re.compile(rf"([0-9]+\.?[0-9]*|\.[0-9]+)({'|'.join(_UNIT_S)})")


def limits(headers: Mapping[str, str]) -> Limits | None:
    """The x-ratelimit headers for requests; None if none of them can be read.

    `headers` looks names up without regard to case (as the client's do).
    """
    per_minute = _number(headers.get("x-ratelimit-limit-requests"))
    remaining = _number(headers.get("x-ratelimit-remaining-requests"))
    found = Limits(
        # A limit of 0 can't be meant: nothing would ever be answered.
        requests_per_minute=per_minute or None,
        remaining_requests=None if remaining is None else int(remaining),
        reset_s=go_duration_s(headers.get("x-ratelimit-reset-requests")),
    )
    return None if found == Limits() else found


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds the provider asks to wait, never negative: retry-after-ms, else retry-after.

    The latter is seconds (a float is accepted) or an HTTP date, compared with the
    aware time `now`.
    """
    wait_ms = _number(headers.get("retry-after-ms"))
    if wait_ms is not None:
        return wait_ms / 1000
    written = headers.get("retry-after")
    wait_s = _number(written)
    return _until(written, now) if wait_s is None else wait_s


def told_wait_s(words: str) -> float | None:
    """Seconds that an error's words ask to wait: "Please try again in 1m26.4s."

    All that a realtime session tells, whose events have no headers.
    """
    found = _WORDS.search(words)
    if found is None:
        return None
    return _number(found[1]) if found[1] else go_duration_s(found[2])


def go_duration_s(written: str | None) -> float | None:
    """Seconds of a Go duration such as `120ms`, `7.66s` or `1h23m31s`; None if it isn't one."""
    text = (written or "").strip()
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return _finite(sum(float(number) * _UNIT_S[unit] for number, unit in parts))


def _until(written: str | None, now: datetime) -> float | None:
    try:
        then = parsedate_to_datetime(written or "")
    except ValueError:
        return None
    if then.tzinfo is None:  # "-0000" is UTC without a zone
        then = then.replace(tzinfo=UTC)
    return max(0.0, (then - now).total_seconds())


def _number(written: str | None) -> float | None:
    try:
        return _finite(float(written or ""))
    except ValueError:
        return None


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) and number >= 0 else None
