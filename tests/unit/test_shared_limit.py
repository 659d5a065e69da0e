"""Three workers, one account: what is accepted and refused, on a simulated clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.account import FixedWindow, Provider, Tally, TokenBucket, share

MINUTES = 5
ACCEPTED, REFUSED = 0.97, 0.005


def bucket(n: int) -> Provider:
    return TokenBucket(per_minute=n, size=n)


def counting_bucket(n: int) -> Provider:
    return TokenBucket(per_minute=n, size=n, refusals_count=True)


def second(n: int) -> Provider:
    return TokenBucket(per_minute=n, size=n / 60)


def counting_second(n: int) -> Provider:
    return TokenBucket(per_minute=n, size=n / 60, refusals_count=True)


def window(n: int) -> Provider:
    return FixedWindow(per_minute=n, begins=25)


def used(tally: Tally, n: int, minutes: range) -> tuple[float, float]:
    """Over `minutes`: accepted of what other users left of `n`, and refused of all sent."""
    accepted, refused = map(sum, zip(*map(tally.minute, minutes), strict=True))
    left = sum(n - tally.taken_by_others(minute) for minute in minutes)
    return accepted / left, refused / (accepted + refused)


def check(tally: Tally, free_per_minute: float, minutes: range = range(MINUTES)) -> None:
    for n in minutes:
        accepted, refused = tally.minute(n)
        assert accepted >= ACCEPTED * free_per_minute, f"minute {n}"
        assert refused <= REFUSED * (accepted + refused), f"minute {n}"


@pytest.mark.parametrize("n", [500, 1200, 3000])
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("make", [bucket, counting_bucket, second, counting_second])
def test_an_account_that_tells_its_limit_is_used_up_from_the_first_request_on(
    make: Callable[[int], Provider], n: int, seed: int
) -> None:
    tally, _ = share(make(n), minutes=MINUTES, seed=seed)

    check(tally, n)


@pytest.mark.parametrize(
    ("make", "n"),
    # A bucket of a second that holds one slot has no room for any network's jitter.
    [(window, 60), (window, 500), (window, 3000), (second, 300), (second, 3000), (bucket, 500)],
)
def test_an_account_whose_limit_the_operator_tells_is_used_up_from_the_first_request_on(
    make: Callable[[int], Provider], n: int
) -> None:
    provider = make(n)
    provider.has_headers = False  # type: ignore[attr-defined]

    tally, _ = share(provider, minutes=MINUTES, ceiling=n)

    check(tally, n)


def test_a_limit_that_was_run_into_is_remembered_by_the_next_run() -> None:
    _, learned = share(FixedWindow(per_minute=500), minutes=4)
    tally, _ = share(FixedWindow(per_minute=500, begins=40), minutes=4, pace=learned)

    accepted = sum(tally.minute(n)[0] for n in range(4))
    refused = sum(tally.minute(n)[1] for n in range(4))
    assert accepted >= ACCEPTED * 4 * 500
    assert refused <= REFUSED * accepted


def test_what_learning_a_limit_costs_is_a_hundredth_of_the_first_minute() -> None:
    tally, _ = share(FixedWindow(per_minute=500), minutes=1)

    accepted, refused = tally.minute(0)
    assert accepted == 500
    assert refused <= 0.015 * accepted


@pytest.mark.parametrize("n", [500, 3000])
@pytest.mark.parametrize("make", [bucket, counting_bucket])
def test_half_of_an_account_that_another_user_takes_is_left_to_him(
    make: Callable[[int], Provider], n: int
) -> None:
    tally, _ = share(make(n), minutes=MINUTES, foreign_per_s=n / 120)

    check(tally, n / 2)


@pytest.mark.parametrize("n", [500, 3000])
@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("make", [bucket, counting_bucket])
def test_what_another_user_who_comes_at_random_leaves_is_used_and_no_more(
    make: Callable[[int], Provider], n: int, seed: int
) -> None:
    tally, _ = share(make(n), minutes=MINUTES, foreign_per_s=n / 120, poisson=True, seed=seed)

    accepted, _ = used(tally, n, range(MINUTES))
    assert accepted >= ACCEPTED
    assert not tally.refused


@pytest.mark.parametrize("n", [500, 3000])
@pytest.mark.parametrize("seed", range(1, 4))
def test_another_user_of_a_bucket_of_a_second_is_found_within_a_minute(n: int, seed: int) -> None:
    tally, _ = share(second(n), minutes=MINUTES, foreign_per_s=n / 120, seed=seed)

    _, refused = used(tally, n, range(1))
    assert refused <= 0.04
    accepted, refused = used(tally, n, range(1, MINUTES))
    assert accepted >= ACCEPTED
    assert refused <= 0.007


@pytest.mark.parametrize(
    ("n", "least_accepted", "most_refused"), [(500, 0.67, 0.017), (1200, 0.88, 0.008),
                                              (3000, 0.92, 0.004)],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_bucket_of_a_second_and_another_user_who_comes_at_random(
    n: int, least_accepted: float, most_refused: float, seed: int
) -> None:
    tally, _ = share(second(n), minutes=MINUTES, foreign_per_s=n / 120, poisson=True, seed=seed)

    _, refused = used(tally, n, range(1))
    assert refused <= 0.055
    accepted, refused = used(tally, n, range(1, MINUTES))
    assert accepted >= least_accepted
    assert refused <= most_refused


@pytest.mark.parametrize(
    ("make", "n", "at_first"),
    [(bucket, 60, 0.03), (bucket, 120, 0.02), (bucket, 300, 0.0), (second, 120, 0.04),
     (second, 300, 0.007)],
)  # fmt: skip
@pytest.mark.parametrize("seed", range(1, 4))
def test_a_small_account_costs_a_refusal_or_two_before_its_limit_is_known(
    make: Callable[[int], Provider], n: int, at_first: float, seed: int
) -> None:
    tally, _ = share(make(n), minutes=MINUTES, seed=seed)

    _, refused = used(tally, n, range(1))
    assert refused <= at_first
    accepted, refused = used(tally, n, range(1, MINUTES))
    assert accepted >= ACCEPTED
    assert refused <= REFUSED


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_window_that_nothing_tells_is_stayed_under_after_the_first_minute(seed: int) -> None:
    tally, _ = share(window(500), minutes=MINUTES, seed=seed)

    accepted, refused = used(tally, 500, range(1, MINUTES))
    assert accepted >= 0.79
    assert refused <= REFUSED


def test_under_a_ceiling_of_half_another_user_s_half_is_never_touched() -> None:
    tally, _ = share(window(500), minutes=MINUTES, ceiling=250, foreign_per_s=500 / 120)

    check(tally, 250)


@pytest.mark.parametrize(
    ("make", "known"),
    [(bucket, {}), (second, {}), (counting_bucket, {}), (window, {"ceiling": 500})],
)
def test_workers_that_cannot_reach_the_row_go_on_with_their_shares(
    make: Callable[[int], Provider], known: dict[str, Any]
) -> None:
    tally, _ = share(make(500), minutes=3, down=(60, 180), **known)

    check(tally, 500, range(3))


@pytest.mark.parametrize(
    ("make", "known"), [(bucket, {}), (second, {}), (window, {"ceiling": 500})]
)
def test_three_workers_that_never_reached_the_row_take_a_quarter_each(
    make: Callable[[int], Provider], known: dict[str, Any]
) -> None:
    tally, _ = share(make(500), minutes=3, down=(0, 180), **known)

    assert not tally.refused
    accepted, _ = used(tally, 500, range(1, 3))
    assert accepted == pytest.approx(0.75, abs=0.02)


def test_a_worker_that_comes_and_one_that_goes_change_nothing() -> None:
    one, _ = share(second(500), minutes=2, workers=1)
    many, _ = share(second(500), minutes=2, workers=12)

    check(one, 500, range(2))
    check(many, 500, range(2))
