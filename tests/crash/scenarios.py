"""Whole lives of jobs, to be broken at any call."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from local.api import audio_urls
from memolist_tts.core.errors import OutOfMoney, Throttled, UtteranceRefused
from tests.crash.parts import LATENCY_S, silent
from tests.crash.simulation import Fate, Flag
from tests.crash.world import FOREIGN_URL, LONG, World

Service = Callable[[], None]
WORDS = [("apple", "pomme"), ("bread", "pain"), ("...", "pomme")]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`begin` sets a world up and returns what drives it; `ends` are the jobs' states at rest."""

    begin: Callable[[World], Sequence[Service]]
    ends: tuple[str, ...]
    also: Callable[[World], list[str]] = lambda _world: []
    """What else is wrong at rest."""
    is_polled: bool = False
    """Nobody sends messages: a poller looks for the jobs."""

    def play(self, world: World) -> list[str]:
        """Let it happen, to rest; everything that is wrong then."""
        if self.is_polled:
            world.poll()
        world.run(*self.begin(world))
        ends = tuple(sorted(world.status(job_id) for job_id in world.lists))
        wrong_ends = [f"jobs ended {ends}"] * (ends != tuple(sorted(self.ends)))
        return world.problems() + wrong_ends + self.also(world)


def fresh(world: World) -> Sequence[Service]:
    world.add_job(world.add_list(WORDS))
    return [world.at_work]


def _undisturbed(world: World) -> None:
    """What was begun comes to its end; the numbering begins after it."""
    fates, world.simulation.fates = world.simulation.fates, lambda _number, _name: None
    world.run(world.at_work)
    world.simulation.fates, world.simulation.calls = fates, []


def reused(world: World) -> Sequence[Service]:
    """Another list with the same words, one of them new, and a card with audio from elsewhere."""
    world.add_job(world.add_list(WORDS))
    _undisturbed(world)
    list_id = world.add_list([("apple", "pain"), ("house", "maison"), ("bread", "pomme")])
    card = world.api.cards(list_id)[0]
    world.api.rows('UPDATE "Card" SET "audioEnUrl" = :url WHERE id = :id', url=FOREIGN_URL,
                   id=card["id"])  # fmt: skip
    world.foreign.add((card["id"], "en"))
    world.add_job(list_id)
    return [world.at_work]


def forced(world: World) -> Sequence[Service]:
    """The same list once more, as new takes."""
    first = world.add_job(world.add_list(WORDS[:2]))
    _undisturbed(world)
    world.add_job(world.lists[first], options=json.dumps({"force": True}))
    return [world.at_work]


def paid_anew(world: World) -> list[str]:
    """Words of the first list that were paid for again, or that the second one's job spoke."""
    old = {word for words in WORDS for word in words if word != "..."}
    paid = Counter(charge.text for charge in world.provider.charges)
    found = [f"{word} paid {paid[word]} times" for word in sorted(old) if paid[word] != 1]
    states = {
        row["shown_text"]: row["state"]
        for row in world.api.rows(
            "SELECT * FROM tts.utterance WHERE job_id = :id", id=list(world.lists)[-1]
        )
    }
    wanted = {"apple": "kept", "pain": "reused", "bread": "reused", "pomme": "reused"}
    ended = {word: states.get(word) for word in wanted}
    return found + [f"ended {ended}"] * (ended != wanted)


def lacking_takes(world: World) -> list[str]:
    """Words that have other than two takes, or whose cards carry the first."""
    words = {word for words in WORDS[:2] for word in words}
    list_id = next(iter(world.lists.values()))
    urls = [url for card in world.api.cards(list_id) for url in audio_urls(card)]
    found = [f"{url} is the first take" for url in urls if not str(url).endswith("-1.mp3")]
    objects = len(world.store.objects)
    return found + [f"{objects} objects"] * (objects != 2 * len(words))


def once(world: World, text: str, answer: Exception | bytes) -> None:
    """The provider's first answer to `text`."""
    left = [answer]
    world.provider.answer = lambda said: left.pop() if said == text and left else None


def throttled(world: World) -> Sequence[Service]:
    """The provider wants two minutes of rest: the job waits for them, in the queue if it can."""
    once(world, "bread", Throttled("slow down", retry_after_s=120.0))
    return fresh(world)


def out_of_money(world: World) -> Sequence[Service]:
    once(world, "bread", OutOfMoney("no credit"))
    return fresh(world)


def out_of_time(world: World) -> Sequence[Service]:
    """A function with hardly any time: one call, or two, in each run."""
    world.lambda_s = 6.4
    world.provider.latency_s = lambda _text: 1.2
    return fresh(world)


def in_parts(world: World) -> Sequence[Service]:
    """A text of two calls, among others."""
    world.add_job(world.add_list([("apple", "pomme"), (LONG, "pain")]))
    return [world.at_work]


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
        card = world.api.cards(list_id)[0]
        if text == card["textEn"] == "apple":
            world.edit(card["id"], "river")

    world.provider.asked = edit
    return [world.at_work]


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
    return [world.at_work, reopen]


def before(world: World, name: str, act: Callable[[], object]) -> None:
    """Have `act` happen once, right before the first call of that name."""
    fates, left = world.simulation.fates, [act]

    def fate(number: int, each: str) -> Fate | None:
        if each == name and left:
            left.pop()()
        return fates(number, each)

    world.simulation.fates = fate


def cancelled_last(world: World) -> Sequence[Service]:
    """Cancelled as a run lets go, with a call on its way; wanted again while it still is."""
    world.lambda_s = 15.0
    world.abandons_calls = True
    latencies = [18.0]
    world.provider.latency_s = lambda _text: latencies.pop() if latencies else LATENCY_S
    job_id = world.add_job(world.add_list(WORDS))
    world.to_come = 1
    is_cancelled = Flag(world.simulation)

    def cancel() -> None:
        world.api.rows("""UPDATE "TtsJob" SET status = 'cancelled'""")
        is_cancelled.set()

    def reopen() -> None:
        is_cancelled.wait()
        world.simulation.wait(2.0)
        world.api.rows("""UPDATE "TtsJob" SET status = 'pending' WHERE id = :id""", id=job_id)
        world.send(job_id)
        world.to_come = 0

    before(world, "transaction Jobs.settle", cancel)
    return [world.at_work, reopen]


def together(world: World) -> Sequence[Service]:
    """Two jobs at once that want the same words."""
    world.lambda_s = 15.0
    for _ in range(2):
        world.add_job(world.add_list(WORDS[:2]))
    return [world.at_work]


def twice_sent(world: World) -> Sequence[Service]:
    """One job, three messages, at once."""
    job_id = world.add_job(world.add_list(WORDS[:2]))
    world.send(job_id)
    world.send(job_id)
    return [world.at_work]


def unsent(world: World) -> Sequence[Service]:
    """The API's message never came: only the sweep knows of the job."""
    world.add_job(world.add_list(WORDS[:2]), is_sent=False)
    return [world.at_work]


BY_QUEUE = {
    "fresh": Scenario(fresh, ("completed",)),
    "reused": Scenario(reused, ("completed", "completed"), paid_anew),
    "forced": Scenario(forced, ("completed", "completed"), lacking_takes),
    "throttled": Scenario(throttled, ("completed",)),
    "out_of_money": Scenario(out_of_money, ("completed",)),
    "out_of_time": Scenario(out_of_time, ("completed",)),
    "in_parts": Scenario(in_parts, ("completed",)),
    "refused": Scenario(refused, ("failed",)),
    "silent_first": Scenario(silent_first, ("completed",)),
    "edited": Scenario(edited, ("completed",)),
    "cancelled": Scenario(cancelled, ("completed",)),
    "cancelled_last": Scenario(cancelled_last, ("completed",)),
    "together": Scenario(together, ("completed", "completed")),
    "twice_sent": Scenario(twice_sent, ("completed",)),
    "unsent": Scenario(unsent, ("completed",)),
}
BY_BOTH_DOORS = ("fresh", "reused", "throttled", "edited", "cancelled")
BY_POLL = {f"{name}_poll": replace(BY_QUEUE[name], is_polled=True) for name in BY_BOTH_DOORS}
SCENARIOS = BY_QUEUE | BY_POLL
