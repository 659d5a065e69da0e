"""Texts of several calls in runs that are short for them, and runs that wait for others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

import pytest

from memolist_tts.core import speaking, takes, text
from memolist_tts.core.counting import counted
from memolist_tts.core.errors import Throttled
from memolist_tts.core.verdict import Fault, FaultCode
from tests.crash.parts import silent
from tests.crash.simulation import Fate
from tests.crash.world import LONG, Ground, World

OTHER = "The house stands at the river. " * 40
"""In two parts, too."""
LONGEST = " ".join(f"The river runs past house {n:03d}." for n in range(130))
"""In five, no two of them alike."""


def paid(world: World) -> Counter[str]:
    """How often each text, or part of one, was."""
    return Counter(charge.text for charge in world.provider.charges)


def failures(world: World) -> list[tuple[str, str]]:
    rows = world.api.rows("SELECT code, message FROM tts.failure ORDER BY code")
    return [(row["code"], row["message"]) for row in rows]


@pytest.mark.parametrize("last", ["pain", "..."])
def test_a_text_whose_later_slots_come_past_the_run_s_end_is_left_to_the_next(
    place: Ground, last: str
) -> None:
    # A slot every five seconds, in runs of 20; how long calls take is known.
    world = World(place, REQUESTS_PER_MINUTE="12")
    world.add_job(world.add_list([("bread", "...")]))
    world.run(world.at_work)
    world.provider.charges.clear()
    world.runs.clear()
    world.lambda_s = 25.0
    job_id = world.add_job(world.add_list([("apple", "pomme"), (LONG, last)]))

    world.run(world.at_work)

    assert world.problems() == []
    assert world.status(job_id) == "completed"
    # What was behind it was spoken in the first run all the same.
    spoken = [charge.text for charge in world.provider.charges]
    assert spoken[:3] == ["apple", "pomme", "pain" if last == "pain" else spoken[2]]
    assert set(paid(world).values()) == {1}
    assert len(world.runs) == 2


def test_a_text_that_outlasts_a_whole_run_is_not_paid_for_in_the_next(place: Ground) -> None:
    world = World(place, DAILY_BUDGET_USD="10", TTS_MODEL="tts-1")
    world.lambda_s = 15.0
    world.provider.latency_s = lambda _text: 8.0
    job_id = world.add_job(world.add_list([("apple", "pomme"), (LONG, "pain")]))

    world.run(world.at_work)

    assert world.problems() == []
    ((code, message),) = failures(world)
    assert code == "too_long"
    assert message.startswith("Its 2 parts take 16 s to speak, and a run has 10 s. Shorten")
    assert world.status(job_id) == "failed"
    assert set(paid(world).values()) == {1}
    # The part that was paid for in vain is in the ledger, and nothing is set aside for it.
    spent = world.api.rows("SELECT cost_usd FROM tts.spend WHERE characters = 991")
    assert [float(row["cost_usd"]) > 0 for row in spent] == [True]
    assert world.api.rows("SELECT * FROM tts.hold") == []


def test_a_text_that_a_run_has_too_little_left_for_is_not_given_up(place: Ground) -> None:
    """Its card is edited while it is spoken: what it shows now is left for the run's end."""
    world = World(place, MAX_IN_FLIGHT="1")
    world.lambda_s = 300.0
    world.provider.latency_s = lambda said: 12.0 if len(said) > 100 else 5.0
    list_id = world.add_list([(f"apple {n}", "...") for n in range(50)])
    pieces = text.parts(LONGEST)
    world.provider.wholes |= dict.fromkeys(pieces, pieces)
    job_id = world.add_job(list_id)

    def edit(said: str) -> None:
        card = next(each for each in world.api.cards(list_id) if each["textEn"] == said)
        if said == "apple 25":
            world.edit(card["id"], LONGEST)

    world.provider.asked = lambda said: edit(said) if said.startswith("apple") else None

    world.run(world.at_work)

    assert world.problems() == []
    assert world.status(job_id) == "completed"
    assert {each: count for each, count in paid(world).items() if count > 1} == {}


@pytest.mark.parametrize(
    ("said", "call_s", "run_s", "made"), [(LONGEST, 20.0, 300.0, 2), ("bread", 4.0, 15.0, 1)]
)
def test_a_text_whose_takes_outlast_a_run_is_judged_by_those_it_has(
    place: Ground, said: str, call_s: float, run_s: float, made: int
) -> None:
    world = World(place)
    world.lambda_s = run_s
    world.provider.latency_s = lambda _text: call_s
    pieces = text.parts(said)
    world.provider.answer = lambda asked: silent(asked, "en") if asked in pieces else None
    world.add_job(world.add_list([(said, "...")]))

    world.run(world.at_work)

    ((code, message),) = failures(world)
    assert code == "bad_audio"
    assert message.startswith(f"No sound recording in {counted(made, 'take')}: silent")
    assert len(world.runs) == 1
    assert {paid(world)[piece] for piece in pieces} == {made}


@contextmanager
def doubtful(beginning: str) -> Iterator[None]:
    """Every take of a text that begins so is sound, and another is made all the same."""
    real = takes.verdict

    class Doubtful:
        publishable = staticmethod(real.publishable)

        @staticmethod
        def judge(audio: bytes, spoken: str, **more: object) -> object:
            found = real.judge(audio, spoken, **more)  # type: ignore[arg-type]
            doubt = (Fault(FaultCode.LONG_TAIL, "doubtful"),)
            return replace(found, soft=doubt) if spoken.startswith(beginning) else found

    with mock.patch.object(takes, "verdict", Doubtful):
        yield


def test_a_half_paid_text_goes_on_behind_one_that_waits_for_another_take(place: Ground) -> None:
    world = World(place, MAX_IN_FLIGHT="2", REQUESTS_PER_MINUTE="600")
    world.poll()
    first_parts = {text.parts(OTHER.strip())[0]: 3.0, text.parts(LONG.strip())[0]: 6.5}
    world.provider.latency_s = lambda said: first_parts.get(said, 1.0)
    asked: dict[str, float] = {}
    world.provider.asked = lambda said: asked.setdefault(said, world.simulation.now)
    rests = [Throttled("slow", retry_after_s=15.0)]
    world.provider.answer = lambda said: (
        rests.pop() if rests and said.startswith("The river") and len(said) < 500 else None
    )
    world.add_job(world.add_list([(OTHER, "..."), (LONG, "...")]), userId="user-1")
    world.to_come = 1

    def come() -> None:
        world.simulation.wait(12.0)
        world.add_job(world.add_list([("apple", "...")]), userId="user-2")
        world.to_come = 0

    with doubtful("The house"):
        world.run(world.at_work, come)

    # Not at the end of the run, which would have been idle for four minutes.
    assert asked["apple"] < 40
    assert [count for said, count in paid(world).items() if said.startswith("The river")] == [1, 1]


@pytest.mark.parametrize("is_first", [False, True])
def test_a_run_that_waits_for_another_job_s_clips_gives_its_turn_too(
    place: Ground, is_first: bool
) -> None:
    world = World(place, MAX_IN_FLIGHT="1")
    world.poll(2)
    world.provider.latency_s = lambda _text: 5.0
    phrases = [(f"apple {n}", "...") for n in range(48)]
    ours = world.add_job(world.add_list(phrases), userId="user-1")
    same = world.add_job(world.add_list(phrases), userId="user-1")
    # Which of the two gives way is decided by their ids.
    while is_first != (same < ours):
        world.api.rows('DELETE FROM "TtsJob" WHERE id = :id', id=same)
        del world.lists[same]
        same = world.add_job(world.add_list(phrases), userId="user-1")
    # Whoever hears a preview speaks for no job.
    world.api.rows(
        """INSERT INTO tts.job (job_id, lease_token, lease_until)
           VALUES ('alone:x', gen_random_uuid(), '2026-03-01T00:02:00Z')"""
    )
    asked: dict[str, float] = {}
    world.provider.asked = lambda said: asked.setdefault(said, world.simulation.now)
    world.to_come = 1

    def come() -> None:
        world.simulation.wait(30.0)
        world.add_job(world.add_list([("house", "...")]), userId="user-2")
        world.to_come = 0

    world.run(world.at_work, come)

    assert asked["house"] < 45
    assert world.status(same) == "completed"


def test_a_run_rests_while_it_waits_for_the_store(place: Ground) -> None:
    world = World(place, REQUESTS_PER_MINUTE="60")
    puts: list[int] = []

    def fate(number: int, name: str) -> Fate | None:
        if name == "put":
            puts.append(number)
        return Fate.FAIL_BEFORE if name == "put" and 2 <= len(puts) <= 5 else None

    world.simulation.fates = fate
    steps: list[float] = []
    real = speaking.Session._step

    def step(session: speaking.Session, until: float) -> None:
        steps.append(world.simulation.now)
        real(session, until)

    world.add_job(world.add_list([(f"apple {n}", "...") for n in range(6)]))
    with mock.patch.object(speaking.Session, "_step", step):
        world.run(world.at_work)

    assert world.problems() == []
    assert len(puts) == 10
    # A few a second.
    assert len(steps) < 8 * world.simulation.now
