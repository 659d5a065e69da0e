"""The token bucket that all workers share: numbers in, numbers out.

What it comes to for an account is in test_shared_limit.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from memolist_tts.core.model import Limits
from memolist_tts.core.pacing import (
    FIRST_REST_S,
    HIGHEST_RATE_PER_S,
    LONGEST_REST_S,
    LOWEST_RATE_PER_S,
    MARGIN,
    Pace,
    Seen,
    advance,
    alone,
    capped,
    exchange,
    learn,
    opening,
    seen_alone,
    take,
)

PACE = Pace(rate_per_s=2.0, burst=10.0, tokens=4.0)
KNOWN = Pace(rate_per_s=9.9, burst=500.0, tokens=100.0, limit_per_minute=600, taken=1000.0)


def told(per_minute: float | None, remaining: int | None = None) -> Limits:
    return Limits(requests_per_minute=per_minute, remaining_requests=remaining)


def answered(remaining: int, *, used: float, age_s: float = 0.0) -> Seen:
    return Seen(answers=1, limits=told(600, remaining), used=used, age_s=age_s)


def test_before_anything_is_known_slots_come_evenly() -> None:
    _, waits = take(opening(600), 4)

    assert waits == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_a_bucket_refills_at_its_rate() -> None:
    assert advance(PACE, 1.5).tokens == pytest.approx(7.0)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    assert advance(PACE, 3600).tokens == 10.0


def test_a_clock_that_goes_back_changes_nothing() -> None:
    assert exchange(PACE, -5, Seen(), 0)[0] == PACE


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


def test_slots_given_back_keep_their_place_in_the_order_of_all() -> None:
    assert take(replace(PACE, taken=50), -3)[0].taken == 50


def test_the_provider_s_limit_sets_the_rate_with_a_margin_and_the_level_a_reserve() -> None:
    learned = learn(PACE, Seen(answers=1, limits=told(600, 599), used=0.0), 1.0)

    assert learned.rate_per_s == pytest.approx(600 / 60 * MARGIN)
    assert learned.limit_per_minute == 600
    assert 500 < learned.burst < 600
    assert learned.tokens <= learned.burst


def test_a_level_below_what_was_reckoned_is_another_user_s_and_lowers_the_rate() -> None:
    # The call that told it was the 1000th, a second ago; since then nobody took a slot.
    level = learn(KNOWN, answered(60, used=999.0, age_s=1.0), 1.0)

    assert level.tokens < KNOWN.tokens
    assert level.rate_per_s < KNOWN.rate_per_s


def test_a_level_above_what_was_reckoned_raises_the_rate_up_to_the_limit() -> None:
    slow = replace(KNOWN, rate_per_s=3.0)

    assert slow.rate_per_s < learn(slow, answered(200, used=999.0), 1.0).rate_per_s <= 9.9


def test_slots_taken_since_a_call_began_are_not_free_though_its_header_has_them() -> None:
    early, late = (learn(KNOWN, answered(120, used=used), 1.0) for used in (949.0, 999.0))

    assert late.tokens - early.tokens == pytest.approx(50, rel=0.2)


def test_a_share_is_kept_however_much_others_take() -> None:
    pace = KNOWN
    for _ in range(100):
        pace, _ = exchange(pace, 0.5, answered(0, used=pace.taken - 1), 0)

    assert pace.rate_per_s == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize("limits", [None, told(None), told(0), told(-1), told(None, 3)])
def test_headers_that_name_no_limit_teach_nothing(limits: Limits | None) -> None:
    assert learn(PACE, Seen(limits=limits), 1.0) == PACE


def test_without_headers_the_rate_grows_only_when_slots_ran_short() -> None:
    assert learn(PACE, Seen(answers=3, short=True), 1.0).rate_per_s == pytest.approx(2.1)
    assert learn(PACE, Seen(answers=3), 1.0).rate_per_s == 2.0
    assert learn(PACE, Seen(short=True), 1.0).rate_per_s == 2.0


def test_growth_without_headers_has_a_ceiling() -> None:
    fast = replace(PACE, rate_per_s=HIGHEST_RATE_PER_S)

    assert learn(fast, Seen(answers=1, short=True), 1.0).rate_per_s == HIGHEST_RATE_PER_S


def test_a_refusal_lowers_the_rate_empties_the_bucket_and_blocks() -> None:
    dropped = learn(PACE, Seen(refusals=1), 0.0)

    assert dropped.rate_per_s < PACE.rate_per_s
    assert dropped.tokens == 0.0
    assert dropped.blocked_s == FIRST_REST_S


def test_the_wait_the_provider_asked_for_is_kept_within_reason() -> None:
    assert learn(PACE, Seen(refusals=1, retry_after_s=20), 0.0).blocked_s == 20
    assert learn(PACE, Seen(refusals=1, retry_after_s=1e9), 0.0).blocked_s == LONGEST_REST_S


def test_refusals_of_calls_already_under_way_drop_the_rate_once() -> None:
    dropped = learn(PACE, Seen(refusals=5, retry_after_s=4), 0.0)
    again = learn(advance(dropped, 1), Seen(refusals=5, refused_age_s=1.2, retry_after_s=1), 1.0)

    assert again.rate_per_s == dropped.rate_per_s
    assert again.blocked_s == pytest.approx(3)


def test_a_window_that_stays_closed_is_tried_ever_more_rarely() -> None:
    pace, rests = PACE, []
    for _ in range(4):
        pace = learn(pace, Seen(refusals=1), 0.0)
        rests.append(pace.blocked_s)
        pace = advance(pace, pace.blocked_s + 1)

    assert rests == [2, 4, 8, 16]


def test_what_a_closed_window_took_is_the_rate_from_then_on() -> None:
    # 500 slots in the 40 s since the first; the window opens again in 20 s.
    full = replace(PACE, rate_per_s=14.0, minute_s=40.0, minute_taken=501.0)

    learned = learn(full, Seen(refusals=1, retry_after_s=20), 0.0)

    assert learned.learned_per_minute == pytest.approx(500)
    assert learned.rate_per_s == pytest.approx(500 / 60)


def test_a_learned_rate_stays_below_the_refused_one_for_minutes_and_then_tries_more() -> None:
    pace = replace(PACE, learned_per_minute=600, calm_s=0.0)
    rates = []
    for _ in range(1000):
        pace = learn(pace, Seen(answers=1, short=True), 1.0)
        rates.append(pace.rate_per_s)

    assert rates == sorted(rates)
    assert 9.7 < rates[0] < rates[180] < 10.0 < rates[300]
    assert rates[-1] > 15


def test_rest_without_work_is_no_calm() -> None:
    pace = replace(PACE, learned_per_minute=600, calm_s=10.0)

    assert exchange(pace, 3600, Seen(), 0)[0].calm_s == 10.0


def test_a_refusal_does_not_forgive_slots_taken_ahead() -> None:
    assert learn(replace(PACE, tokens=-3), Seen(refusals=1), 0.0).tokens == -3


def test_the_rate_never_falls_to_a_standstill() -> None:
    slow = replace(PACE, rate_per_s=LOWEST_RATE_PER_S)

    assert learn(slow, Seen(refusals=1, retry_after_s=1), 0.0).rate_per_s == LOWEST_RATE_PER_S


def test_the_time_of_a_call_is_smoothed_from_the_first_one_on() -> None:
    first = learn(PACE, Seen(latency_s=2.0), 0.0)

    assert first.latency_s == 2.0
    assert learn(first, Seen(latency_s=3.0), 0.0).latency_s == pytest.approx(2.2)
    assert learn(first, Seen(), 0.0).latency_s == 2.0


def test_no_ceiling_leaves_the_bucket_alone() -> None:
    assert capped(PACE, None) is PACE


@pytest.mark.parametrize("per_minute", [10, 60, 500])
def test_under_a_ceiling_no_minute_starts_more_calls(per_minute: float) -> None:
    pace = capped(Pace(rate_per_s=512, burst=512, tokens=512), per_minute)

    assert pace.tokens == pace.burst
    assert pace.burst + 60 * pace.rate_per_s <= per_minute + 1e-9


def test_a_ceiling_above_the_pace_changes_nothing() -> None:
    assert capped(PACE, 100_000) == PACE


def test_the_lowest_ceiling_still_lets_calls_start() -> None:
    _, waits = take(capped(opening(), 1), 2)

    assert waits == pytest.approx([0, 120])


def test_a_run_of_its_own_takes_its_part_and_no_burst() -> None:
    mine = alone(KNOWN, 0.25)

    assert mine.rate_per_s == pytest.approx(9.9 / 4)
    assert (mine.tokens, mine.burst, mine.limit_per_minute) == (0.0, 1.0, 150)
    assert seen_alone(Seen(limits=told(600, 300)), 0.25).limits == told(150)


def test_what_a_run_took_by_itself_is_not_in_the_bucket_when_it_comes_back() -> None:
    assert learn(KNOWN, Seen(apart=True), 0.0).tokens == 0.0
