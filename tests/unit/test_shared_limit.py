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
def test_another_user_of_a_bucket_of_a_second_is_found_within_a_minute(n: int) -> None:
    tally, _ = share(second(n), minutes=MINUTES, foreign_per_s=n / 120)

    check(tally, n / 2, range(1, MINUTES))


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


def test_workers_that_never_reached_the_row_stay_under_the_ceiling() -> None:
    tally, _ = share(window(500), minutes=2, ceiling=500, down=(0, 120))

    assert not tally.refused
    assert tally.minute(1)[0] > 0.7 * 500


def test_a_worker_that_comes_and_one_that_goes_change_nothing() -> None:
    one, _ = share(second(500), minutes=2, workers=1)
    many, _ = share(second(500), minutes=2, workers=12)

    check(one, 500, range(2))
    check(many, 500, range(2))
