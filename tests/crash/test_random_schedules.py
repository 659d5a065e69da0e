"""Random lives of jobs; `pytest --seed N` plays one of them again."""

from __future__ import annotations

import pytest

from tests.crash.schedules import Schedule
from tests.crash.world import Ground, Life

BLOCK = 50


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        one = metafunc.config.getoption("--seed")
        count = 10_000 if metafunc.config.getoption("--soak") else 200
        blocks = [range(first, first + BLOCK) for first in range(0, count, BLOCK)]
        metafunc.parametrize("seeds", blocks if one is None else [range(one, one + 1)], ids=str)


def test_whatever_happens_every_card_has_its_audio_and_nothing_is_paid_twice(
    place: Ground, seeds: range
) -> None:
    assert {seed: found for seed in seeds if (found := Schedule(place, seed).play())} == {}


def test_a_seed_decides_every_call_and_death_and_what_is_left(place: Ground, soaks: bool) -> None:
    def life(seed: int) -> Life:
        schedule = Schedule(place, seed)
        schedule.play()
        return schedule.world.life

    seeds = range(100 if soaks else 8)
    lives = {seed: life(seed) for seed in seeds}

    assert any(fate and fate.kills for each in lives.values() for *_, fate in each.calls)
    # The other way round: what came before must not matter.
    for seed in reversed(seeds):
        assert life(seed) == lives[seed]
