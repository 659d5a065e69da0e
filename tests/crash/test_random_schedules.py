"""Random lives of jobs; `pytest --seed N` plays one of them again."""

from __future__ import annotations

import pytest

from tests.crash.schedules import Schedule
from tests.crash.world import Ground

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
