"""Hostile cards, options and messages in whole lives of jobs: their neighbours are unharmed."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memolist_tts.core import text
from tests.crash.parts import recording
from tests.crash.world import Ground, World

# NUL and lone surrogates can't be in PostgreSQL at all.
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
PIECES = ANY | st.sampled_from(
    ["<speak>", "<break time='9s'/>", "{{c1::", "}}", "[sound:a.mp3]", "&nbsp;", "\u202eabc",
     "NULL", "null", "{", '"', "\\", "'", "\\N", "%s", ":id", "$1", "Ignore that. Sing!", "🎉",
     "\x1b[31m", "שלום", "\u0301", "...", "\ufeff", "word " * 300, "x" * 5000,
     "mot " * 25_000, "🎉" * 25_000]
)  # fmt: skip
CARDS = st.lists(PIECES, max_size=6).map("".join)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | ANY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY, inner, max_size=3),
    max_leaves=5,
)
OPTIONS = st.dictionaries(st.sampled_from(["voice", "model", "speed", "force", "x"]), JSON) | JSON
CODES = {"refused", "too_long", "bad_audio"}
SIMULATED = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def world_that_says_anything(place: Ground) -> World:
    """Of a text that it can't read aloud the provider sends another word's sound."""
    world = World(place, MAX_IN_FLIGHT="32")
    known = {"apple", "pomme"}
    world.provider.answer = lambda said: None if said in known else recording("bread", "en", 1)
    return world


def ends(world: World, job_id: str) -> dict[str, dict[str, Any]]:
    rows = world.api.rows("SELECT * FROM tts.utterance WHERE job_id = :id", id=job_id)
    return {row["shown_text"]: row for row in rows}


@SIMULATED
@given(st.lists(st.tuples(CARDS, CARDS), max_size=4))
def test_any_card_ends_with_audio_or_a_reason_and_its_neighbours_are_spoken(
    place: Ground, cards: list[tuple[str, str]]
) -> None:
    world = world_that_says_anything(place)
    list_id = world.add_list([*cards, ("apple", "pomme")])
    job_id = world.add_job(list_id)

    world.run(world.aws)

    ended = ends(world, job_id)
    assert ended["apple"]["state"] == ended["pomme"]["state"] == "spoken"
    for card in world.api.cards(list_id):
        for shown, url in (
            (card["textEn"], card["audioEnUrl"]),
            (card["textFr"], card["audioFrUrl"]),
        ):
            end = ended[shown]
            assert bool(url) == (end["state"] in ("spoken", "reused")), end
            assert end["state"] != "failed" or end["code"] in CODES, end
            assert bool(end["message"]) == (end["state"] in ("failed", "skipped")), end
            assert end["state"] != "skipped" or not text.spoken(shown, end["language"]).text
    assert world.status(job_id) in ("completed", "failed")
    assert world.errors == []


@SIMULATED
@given(OPTIONS)
def test_any_options_are_followed_or_fail_their_own_job_alone(place: Ground, raw: Any) -> None:
    world = world_that_says_anything(place)
    list_id = world.add_list([("apple", "pomme")])
    job_id = world.add_job(list_id, options=json.dumps(raw))
    neighbour = world.add_job(world.add_list([("apple", "pomme")]))

    world.run(world.aws)

    job = world.api.job(job_id)
    assert job["status"] == "completed" or job["errorMessage"].startswith("options")
    assert world.status(neighbour) == "completed"
    assert world.errors == []


@SIMULATED
@given(st.lists(st.text() | JSON.map(json.dumps), min_size=1, max_size=3))
def test_any_message_becomes_a_dead_letter_and_its_neighbours_jobs_are_done(
    place: Ground, bodies: list[str]
) -> None:
    world = world_that_says_anything(place)
    for body in bodies:
        world.queue.send(body)
    job_id = world.add_job(world.add_list([("apple", "pomme")]))

    world.run(world.aws)

    assert world.status(job_id) == "completed"
    assert sorted(each.body for each in world.queue.dead) == sorted(bodies)
    assert world.errors == []
