"""Texts of several calls in runs that are short for them."""

from __future__ import annotations

from collections import Counter

from tests.crash.world import LONG, Ground, World

GIVEN_UP = "Its 2 parts take longer to speak than a run has, 10 s. Shorten the text, or give runs"


def paid(world: World) -> Counter[str]:
    """How often each text, or part of one, was."""
    return Counter(charge.text for charge in world.provider.charges)


def test_a_text_whose_later_slots_come_past_the_run_s_end_is_left_to_the_next(
    place: Ground,
) -> None:
    # A slot every five seconds, in runs of 15.
    world = World(place, REQUESTS_PER_MINUTE="12")
    world.lambda_s = 20.0
    job_id = world.add_job(world.add_list([("apple", "pomme"), (LONG, "pain")]))

    world.run(world.at_work)

    assert world.problems() == []
    assert world.status(job_id) == "completed"
    # What was in its way was spoken in the first run all the same.
    order = [charge.text for charge in world.provider.charges]
    assert order[:3] == ["apple", "pomme", "pain"]
    assert set(paid(world).values()) == {1}
    assert len(order) == 5


def test_a_text_that_outlasts_a_whole_run_is_not_paid_for_in_the_next(place: Ground) -> None:
    world = World(place)
    world.lambda_s = 15.0
    world.provider.latency_s = lambda: 8.0
    job_id = world.add_job(world.add_list([("apple", "pomme"), (LONG, "pain")]))

    world.run(world.at_work)

    assert world.problems() == []
    failed = world.api.rows("SELECT code, message FROM tts.failure WHERE job_id = :id", id=job_id)
    assert [row["code"] for row in failed] == ["too_long"]
    assert failed[0]["message"].startswith(GIVEN_UP)
    assert world.status(job_id) == "failed"
    assert set(paid(world).values()) == {1}
    assert len(world.store.objects) == 3
