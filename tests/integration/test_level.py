"""How even the clips of one voice are: jobs on a provider whose takes are as uneven as in life."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.level import NEAR_DB, VOICES, Pair, Spread, measure
from local.postgres import Postgres
from local.schema import Shape
from local.speech import SpeechServer

CARDS = 10
Voices = dict[str, list[Pair]]


@pytest.fixture(scope="module")
def voices(
    postgres: Postgres, databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Voices]:
    name = databases.create(Shape(), is_migrated=True)
    with SpeechServer(is_uneven=True, latency_s=0) as server:
        folder = tmp_path_factory.mktemp("clips")
        yield measure(postgres.url(name), server.base_url, folder, CARDS)
    postgres.drop(name)


@pytest.fixture(scope="module")
def pairs(voices: Voices) -> list[Pair]:
    return [pair for each in voices.values() for pair in each]


def test_takes_come_as_uneven_as_in_life(voices: Voices, pairs: list[Pair]) -> None:
    assert {voice: len(each) for voice, each in voices.items()} == dict.fromkeys(VOICES, 2 * CARDS)
    assert Spread.of([pair.take for pair in pairs]).sd > 4
    assert all(Spread.of([pair.take for pair in each]).sd > 2 for each in voices.values())


@pytest.mark.parametrize("voice", VOICES)
def test_clips_of_a_voice_are_even(voices: Voices, voice: str) -> None:
    even = Spread.of([pair.clip for pair in voices[voice] if not pair.is_held])

    assert even.sd < 0.6
    assert even.range < NEAR_DB + 0.1


def test_only_a_peak_keeps_a_clip_away_from_the_target(pairs: list[Pair]) -> None:
    held = [pair for pair in pairs if pair.is_held]

    assert all(pair.distance_db < 0.8 for pair in pairs if not pair.is_held)
    assert 1 <= len(held) <= len(pairs) / 10
    assert sum(pair.distance_db <= NEAR_DB for pair in pairs) >= 0.95 * len(pairs)


def test_nothing_is_clipped_and_nothing_encoded_anew(pairs: list[Pair]) -> None:
    assert not any(pair.is_clipped for pair in pairs)
    assert not any(pair.is_resized for pair in pairs)
