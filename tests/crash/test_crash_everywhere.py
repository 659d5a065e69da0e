"""Every call that a worker makes to a port goes wrong once, in whole lives of jobs."""

from __future__ import annotations

import pytest

from tests.crash.scenarios import BY_BOTH_DOORS, BY_POLL, BY_QUEUE, SCENARIOS, Scenario
from tests.crash.simulation import Fate
from tests.crash.world import Ground, World

SHARE = 5
"""Outside `make soak`: one call of so many, where it isn't each one."""
WRITES = ("transaction Jobs.flush", "transaction Jobs.settle")
EACH_DIES = {*BY_BOTH_DOORS, *BY_POLL} - {"cancelled_poll"}
"""Not where a poller mostly looks for work, again and again: five times the calls of the others."""


def play(place: Ground, scenario: Scenario, number: int = 0, fate: Fate | None = None) -> World:
    """One life, in which the call of that number has that fate."""
    world = World(place)
    world.simulation.fates = lambda each, _name: fate if each == number else None
    world.found = scenario.play(world)
    return world


def broken(
    place: Ground, scenario: Scenario, fate: Fate, share: int, first: int = 1
) -> dict[str, list[str]]:
    """What is wrong at rest, by the call that went wrong."""
    calls = play(place, scenario).simulation.calls
    found = {}
    for number in range(min(first, share), len(calls) + 1, share):
        world = play(place, scenario, number, fate)
        if problems := world.found:
            found[f"{fate.name} {number} {calls[number - 1]}"] = problems
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_job_whose_worker_lives_ends_as_it_should(place: Ground, name: str) -> None:
    world = play(place, SCENARIOS[name])

    assert world.found == []
    # So that a call's number means the same call in each life.
    assert play(place, SCENARIOS[name]).simulation.trace == world.simulation.trace


@pytest.mark.parametrize("fate", [Fate.DIE_BEFORE, Fate.DIE_AFTER], ids=lambda fate: fate.name)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_worker_may_die_at_any_call(place: Ground, soaks: bool, name: str, fate: Fate) -> None:
    # Who dies before a call mostly leaves what one leaves who dies after the call before.
    is_each = soaks or (fate is Fate.DIE_AFTER and name in EACH_DIES)
    share = 1 if is_each else 3 if fate is Fate.DIE_AFTER else SHARE

    assert broken(place, SCENARIOS[name], fate, share) == {}


@pytest.mark.parametrize("fate", [Fate.FAIL_BEFORE, Fate.FAIL_AFTER], ids=lambda fate: fate.name)
@pytest.mark.parametrize("name", SCENARIOS)
def test_any_call_may_fail_with_or_without_its_effect(
    place: Ground, soaks: bool, name: str, fate: Fate
) -> None:
    first = 1 if fate is Fate.FAIL_BEFORE else 3

    assert broken(place, SCENARIOS[name], fate, 1 if soaks else SHARE, first) == {}


@pytest.mark.parametrize("name", BY_QUEUE)
def test_a_commit_whose_answer_is_lost_costs_no_time_and_what_is_told_stays_true(
    place: Ground, soaks: bool, name: str
) -> None:
    whole = play(place, SCENARIOS[name])
    calls = whole.simulation.calls

    transactions = [n for n, each in enumerate(calls, 1) if each.startswith("transaction")]
    # From the end: the last ones settle and wake.
    for number in transactions[:: -1 if soaks else -2]:
        world = play(place, SCENARIOS[name], number, Fate.UNHEARD)
        assert world.found + world.untold() == [], (number, calls[number - 1])
        assert world.simulation.now < whole.simulation.now + 60, (number, calls[number - 1])


@pytest.mark.parametrize(("name", "pollers"), [("fresh", 2), ("fresh", 0), ("out_of_time", 0)])
def test_a_worker_that_stood_still_learns_that_others_went_on(
    place: Ground, soaks: bool, name: str, pollers: int
) -> None:
    def life(number: int = 0) -> World:
        world = World(place, MAX_IN_FLIGHT="1")
        fate = Fate.FREEZE
        world.simulation.fates = lambda each, _name: fate if each == number else None
        if pollers:
            world.poll(pollers)
        world.found = SCENARIOS[name].play(world)
        return world

    calls = dict(enumerate(life().simulation.calls, 1))
    if name != "fresh" and not soaks:
        calls = {number: call for number, call in calls.items() if call in WRITES}
    found = {number: life(number).found for number in calls}
    assert {f"{number} {calls[number]}": each for number, each in found.items() if each} == {}
