from __future__ import annotations

from datetime import UTC, datetime

import httpx2
import pytest

from memolist_tts.core.model import Limits
from memolist_tts.speech.limits import go_duration_s, limits, retry_after_s, told_wait_s

NOW = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("120ms", 0.12),
        ("7.66s", 7.66),
        ("6m0s", 360.0),
        ("1h23m31s", 5011.0),
        ("2m59.56s", 179.56),
        ("17ms", 0.017),
        ("1.5h", 5400.0),
        ("500us", 0.0005),
        ("500µs", 0.0005),
        ("3ns", 3e-9),
        ("0s", 0.0),
        ("0", 0.0),
        (" 1s ", 1.0),
    ],
)
def test_a_go_duration_is_read_in_seconds(written: str, seconds: float) -> None:
    assert go_duration_s(written) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "written",
    [
        None,
        "",
        "soon",
        "7.66",
        "-1s",
        "1s!",
        "1 s",
        "s",
        "1x",
        "1s 2",
        "9" * 400 + "s",
        "nan",
        "۳s",
    ],
)
def test_what_is_not_a_go_duration_is_no_number(written: str | None) -> None:
    assert go_duration_s(written) is None


def test_the_headers_tell_the_limit_what_remains_and_when_the_bucket_is_full() -> None:
    headers = httpx2.Headers(
        {
            "X-RateLimit-Limit-Requests": "500",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-limit-tokens": "200000",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "6m0s",
        }
    )

    assert limits(headers) == Limits(
        requests_per_minute=500.0, remaining_requests=499, reset_s=0.12
    )


def test_a_header_that_is_missing_or_malformed_leaves_the_others_readable() -> None:
    headers = {
        "x-ratelimit-limit-requests": "many",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "",
    }

    assert limits(headers) == Limits(remaining_requests=0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-limit-requests": "0"},
        {"x-ratelimit-limit-requests": "-1", "x-ratelimit-remaining-requests": "-1"},
        {"x-ratelimit-limit-requests": "inf", "x-ratelimit-reset-requests": "1"},
        {"x-ratelimit-limit-requests": "nan"},
        {"x-ratelimit-limit-tokens": "200000"},
    ],
)
def test_headers_that_say_nothing_of_requests_are_no_limits(headers: dict[str, str]) -> None:
    assert limits(headers) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500", "retry-after": "20"}, 1.5),
        ({"retry-after-ms": "?", "retry-after": "20"}, 20.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "Tue, 24 Nov 2026 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 09:00:30 +0100"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 08:00:30 -0000"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 07:00:00 GMT"}, 0.0),
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": "Tue, 99 Nov 2026 08:00:30 GMT"}, None),
    ],
)
def test_the_wait_asked_for_is_read_in_seconds(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Limit 1000, Used 1000. Please try again in 1m26.4s. Visit https://example.com", 86.4),
        ("Please try again in 120ms.", 0.12),
        ("Try again in 30 seconds.", 30.0),
        ("Please retry after 1 second.", 1.0),
        ("Please try again in a while.", None),
        ("Please try again in 30 minutes.", None),
        ("Too Many Requests", None),
        ("", None),
    ],
)
def test_the_wait_may_be_asked_for_in_words(words: str, seconds: float | None) -> None:
    assert told_wait_s(words) == (None if seconds is None else pytest.approx(seconds))
