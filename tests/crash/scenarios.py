"""Whole lives of jobs, to be broken at any call."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memolist_tts.core.errors import OutOfMoney, Throttled, UtteranceRefused
from tests.crash.parts import silent
from tests.crash.world import FOREIGN_URL, World

Service = Callable[[], None]
WORDS = [("apple", "pomme"), ("bread", "pain"), ("...", "pomme")]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`begin` sets a world up and returns what drives it; `ends` are the jobs' states at rest."""

    begin: Callable[[World], Sequence[Service]]
    ends: tuple[str, ...]

    def play(self, world: World) -> list[str]:
        """Let it happen, to rest; everything that is wrong then."""
        world.run(*self.begin(world))
        ends = tuple(sorted(world.status(job_id) for job_id in world.lists))
        return world.problems() + [f"jobs ended {ends}"] * (ends != tuple(sorted(self.ends)))


def fresh(world: World) -> Sequence[Service]:
    world.add_job(world.add_list(WORDS))
    return [world.aws]


def polled(world: World) -> Sequence[Service]:
    world.add_job(world.add_list(WORDS), is_sent=False)
    return [world.pollers_at_work()]


def reused(world: World) -> Sequence[Service]:
    """Another list with the same words, one of them new, and a card with audio from elsewhere."""
    world.add_job(world.add_list(WORDS))
    fates, world.simulation.fates = world.simulation.fates, lambda _number, _name: None
    world.run(world.aws)
    world.simulation.fates, world.simulation.calls = fates, []
    list_id = world.add_list([("apple", "pain"), ("house", "maison")])
    card = world.api.cards(list_id)[0]
    world.api.rows('UPDATE "Card" SET "audioEnUrl" = :url WHERE id = :id', url=FOREIGN_URL,
                   id=card["id"])  # fmt: skip
    world.foreign.add((card["id"], "en"))
    world.add_job(list_id)
    return [world.aws]


def forced(world: World) -> Sequence[Service]:
    """The same list once more, as new takes."""
    first = world.add_job(world.add_list(WORDS[:2]))
    fates, world.simulation.fates = world.simulation.fates, lambda _number, _name: None
    world.run(world.aws)
    world.simulation.fates, world.simulation.calls = fates, []
    world.add_job(world.lists[first], options=json.dumps({"force": True}))
    return [world.aws]


def once(world: World, text: str, answer: Exception | bytes) -> None:
    """The provider's first answer to `text`."""
    left = [answer]
    world.provider.answer = lambda said: left.pop() if said == text and left else None


def _throttled(world: World) -> None:
    once(world, "bread", Throttled("slow down", retry_after_s=120.0))


def throttled(world: World) -> Sequence[Service]:
    """The provider wants two minutes of rest: the job waits for them in the queue."""
    _throttled(world)
    return fresh(world)


def throttled_poll(world: World) -> Sequence[Service]:
    _throttled(world)
    return polled(world)


def out_of_money(world: World) -> Sequence[Service]:
    once(world, "bread", OutOfMoney("no credit"))
    return fresh(world)


def out_of_time(world: World) -> Sequence[Service]:
    """A function with hardly any time: one call, or two, in each run."""
    world.lambda_s = 6.4
    world.provider.latency_s = lambda: 1.2
    return fresh(world)


def refused(world: World) -> Sequence[Service]:
    world.provider.answer = lambda text: UtteranceRefused("no") if text == "bread" else None
    return fresh(world)


def silent_first(world: World) -> Sequence[Service]:
    once(world, "bread", silent("bread", "en"))
    return fresh(world)


def edited(world: World) -> Sequence[Service]:
    """A card changes while its old words are spoken."""
    list_id = world.add_list(WORDS)
    world.add_job(list_id)

    def edit(text: str) -> None:
        if text == "apple":
            world.api.rows("""UPDATE "Card" SET "textEn" = 'river' WHERE "textEn" = 'apple'""")

    world.provider.asked = edit
    return [world.aws]


def cancelled(world: World) -> Sequence[Service]:
    """Cancelled while it is spoken, and made pending again ten minutes later."""
    job_id = world.add_job(world.add_list(WORDS))
    world.to_come = 1

    def cancel(text: str) -> None:
        if text == "apple" and world.to_come:
            world.api.rows("""UPDATE "TtsJob" SET status = 'cancelled'""")

    def reopen() -> None:
        world.simulation.wait(600.0)
        world.api.rows("""UPDATE "TtsJob" SET status = 'pending' WHERE id = :id""", id=job_id)
        world.send(job_id)
        world.to_come = 0

    world.provider.asked = cancel
    return [world.aws, reopen]


def together(world: World) -> Sequence[Service]:
    """Two jobs at once that want the same words."""
    world.lambda_s = 15.0
    for _ in range(2):
        world.add_job(world.add_list(WORDS[:2]))
    return [world.aws]


def twice_sent(world: World) -> Sequence[Service]:
    """One job, three messages, at once."""
    job_id = world.add_job(world.add_list(WORDS[:2]))
    world.send(job_id)
    world.send(job_id)
    return [world.aws]


def unsent(world: World) -> Sequence[Service]:
    """The API's message never came: only the sweep knows of the job."""
    world.add_job(world.add_list(WORDS[:2]), is_sent=False)
    return [world.aws]


SCENARIOS = {
    "fresh": Scenario(fresh, ("completed",)),
    "polled": Scenario(polled, ("completed",)),
    "reused": Scenario(reused, ("completed", "completed")),
    "forced": Scenario(forced, ("completed", "completed")),
    "throttled": Scenario(throttled, ("completed",)),
    "throttled_poll": Scenario(throttled_poll, ("completed",)),
    "out_of_money": Scenario(out_of_money, ("completed",)),
    "out_of_time": Scenario(out_of_time, ("completed",)),
    "refused": Scenario(refused, ("failed",)),
    "silent_first": Scenario(silent_first, ("completed",)),
    "edited": Scenario(edited, ("completed",)),
    "cancelled": Scenario(cancelled, ("completed",)),
    "together": Scenario(together, ("completed", "completed")),
    "twice_sent": Scenario(twice_sent, ("completed",)),
    "unsent": Scenario(unsent, ("completed",)),
}
