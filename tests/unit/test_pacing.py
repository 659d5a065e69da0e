"""The token bucket that all workers share: numbers in, numbers out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memolist_tts.core.model import Limits
from memolist_tts.core.pacing import (
    HIGHEST_RATE_PER_S,
    LOWEST_RATE_PER_S,
    Pace,
    Seen,
    advance,
    capped,
    learn,
    opening,
    take,
)

PACE = Pace(rate_per_s=2.0, burst=10.0, tokens=4.0)


def told(per_minute: float | None, remaining: int | None = None) -> Limits:
    return Limits(requests_per_minute=per_minute, remaining_requests=remaining)


def test_a_bucket_opens_as_wide_as_the_cap_on_calls_in_flight() -> None:
    _, waits = take(opening(8), 9)

    assert waits == [0.0] * 8 + [pytest.approx(1 / 8)]


def test_a_bucket_refills_at_its_rate() -> None:
    assert advance(PACE, 1.5).tokens == pytest.approx(7.0)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    assert advance(PACE, 3600).tokens == 10.0


def test_a_clock_that_goes_back_changes_nothing() -> None:
    assert advance(PACE, -5) == PACE


def test_a_block_runs_out_with_time() -> None:
    assert advance(replace(PACE, blocked_s=3), 2).blocked_s == pytest.approx(1)
    assert advance(replace(PACE, blocked_s=3), 9).blocked_s == 0


def test_free_slots_are_used_at_once_and_further_ones_at_the_rate() -> None:
    after, waits = take(PACE, 6)

    assert waits == pytest.approx([0, 0, 0, 0, 0.5, 1.0])
    assert after.tokens == -2


def test_who_comes_after_slots_taken_ahead_waits_for_them() -> None:
    ahead, _ = take(PACE, 6)
    _, waits = take(ahead, 1)

    assert waits == pytest.approx([1.5])


def test_nothing_starts_before_a_block_has_run_out() -> None:
    _, waits = take(replace(PACE, tokens=1, blocked_s=7), 2)

    assert waits == pytest.approx([7.0, 7.5])


def test_slots_given_back_are_free_again_and_never_exceed_the_burst() -> None:
    assert take(PACE, -3)[0].tokens == 7
    assert take(PACE, -30)[0].tokens == 10


def test_the_provider_s_limit_sets_the_rate_with_a_margin_and_the_level() -> None:
    learned = learn(PACE, Seen(limits=told(600)))

    assert learned.rate_per_s == pytest.approx(600 / 60 * 0.98)
    assert (learned.burst, learned.tokens, learned.limit_per_minute) == (600, 600, 600)


def test_a_limit_already_known_leaves_the_level_alone() -> None:
    known = replace(PACE, limit_per_minute=600, burst=600)

    assert learn(known, Seen(limits=told(600))).tokens == known.tokens


def test_what_the_provider_has_left_lowers_the_level_by_calls_under_way() -> None:
    known = replace(PACE, limit_per_minute=600, burst=600, tokens=500)

    assert learn(known, Seen(limits=told(600, 100), in_flight=30)).tokens == 70


def test_what_the_provider_has_left_never_raises_the_level() -> None:
    known = replace(PACE, limit_per_minute=600, burst=600, tokens=5)

    assert learn(known, Seen(limits=told(600, 100))).tokens == 5


@pytest.mark.parametrize("limits", [None, told(None), told(0), told(-1), told(None, 3)])
def test_headers_that_name_no_limit_teach_nothing(limits: Limits | None) -> None:
    assert learn(PACE, Seen(limits=limits)) == PACE


def test_a_refusal_halves_the_rate_empties_the_bucket_and_blocks() -> None:
    dropped = learn(PACE, Seen(refusals=1))

    assert (dropped.rate_per_s, dropped.tokens) == (1.0, 0.0)
    assert dropped.blocked_s == pytest.approx(1.0)


def test_the_wait_the_provider_asked_for_is_kept() -> None:
    assert learn(PACE, Seen(refusals=1, retry_after_s=20)).blocked_s == 20


def test_refusals_of_calls_already_under_way_drop_the_rate_once() -> None:
    dropped = learn(PACE, Seen(refusals=5, retry_after_s=4))
    again = learn(advance(dropped, 1), Seen(refusals=5, retry_after_s=1))

    assert again.rate_per_s == dropped.rate_per_s
    assert again.blocked_s == pytest.approx(3)


def test_a_refusal_does_not_forgive_slots_taken_ahead() -> None:
    assert learn(replace(PACE, tokens=-3), Seen(refusals=1)).tokens == -3


def test_the_rate_never_falls_to_a_standstill() -> None:
    slow = replace(PACE, rate_per_s=LOWEST_RATE_PER_S)

    assert learn(slow, Seen(refusals=1)).rate_per_s == LOWEST_RATE_PER_S


def test_without_headers_the_rate_grows_only_when_slots_ran_short() -> None:
    assert learn(PACE, Seen(answers=3, short=True)).rate_per_s == pytest.approx(2.1)
    assert learn(PACE, Seen(answers=3)).rate_per_s == 2.0
    assert learn(PACE, Seen(short=True)).rate_per_s == 2.0


def test_growth_without_headers_has_a_ceiling() -> None:
    fast = replace(PACE, rate_per_s=HIGHEST_RATE_PER_S)

    assert learn(fast, Seen(answers=1, short=True)).rate_per_s == HIGHEST_RATE_PER_S


def test_after_a_drop_the_rate_climbs_back_to_the_provider_s_and_no_further() -> None:
    pace = replace(PACE, limit_per_minute=600)
    rates = []
    for _ in range(60):
        pace = learn(pace, Seen(answers=1))
        rates.append(pace.rate_per_s)

    assert rates[0] > 2
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(9.8)


def test_the_time_of_a_call_is_smoothed_from_the_first_one_on() -> None:
    first = learn(PACE, Seen(latency_s=2.0))

    assert first.latency_s == 2.0
    assert learn(first, Seen(latency_s=3.0)).latency_s == pytest.approx(2.2)
    assert learn(first, Seen()).latency_s == 2.0


def test_no_ceiling_leaves_the_bucket_alone() -> None:
    assert capped(PACE, None) is PACE


@pytest.mark.parametrize("per_minute", [10, 60, 500])
def test_under_a_ceiling_no_minute_starts_more_calls(per_minute: float) -> None:
    pace = capped(opening(512), per_minute)

    assert pace.tokens == pace.burst
    assert pace.burst + 60 * pace.rate_per_s <= per_minute + 1e-9


def test_a_ceiling_above_the_pace_changes_nothing() -> None:
    assert capped(PACE, 100_000) == PACE


def test_the_lowest_ceiling_still_lets_calls_start() -> None:
    _, waits = take(capped(opening(8), 1), 2)

    assert waits == pytest.approx([0, 120])
