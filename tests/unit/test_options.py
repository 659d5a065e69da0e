"""What the API may ask of one job."""

from __future__ import annotations

import json

import pytest

from memolist_tts.core.model import Json, Options
from memolist_tts.core.options import BadOptions, parse


@pytest.mark.parametrize("raw", [None, {}, {"voice": None, "speed": None, "force": None}])
def test_a_job_that_asks_nothing_leaves_all_to_the_deployment(raw: Json) -> None:
    assert parse(json.dumps(raw)) == Options()


def test_a_job_may_ask_for_a_voice_a_model_a_speed_and_a_new_take() -> None:
    raw: Json = {"voice": " nova ", "model": "tts-1-hd", "speed": 2, "force": True}

    assert parse(json.dumps(raw)) == Options(voice="nova", model="tts-1-hd", speed=2.0, force=True)


def test_a_job_may_ask_for_a_voice_per_language() -> None:
    assert parse('{"voice": {"EN": "nova", "fr": null}}').voice == {"en": "nova"}


def test_fields_of_a_newer_api_are_left_alone() -> None:
    assert parse('{"colour": "red"}') == Options()


@pytest.mark.parametrize("speed", [0.25, 4])
def test_the_slowest_and_the_fastest_speed_are_taken(speed: float) -> None:
    assert parse(json.dumps({"speed": speed})).speed == speed


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        ([], "options"),
        ("fast", "options"),
        ({"voice": 3}, "options.voice"),
        ({"voice": "  "}, "options.voice"),
        ({"voice": {"fr": 3}}, "options.voice.fr"),
        ({"model": True}, "options.model"),
        ({"speed": 0.2}, "options.speed"),
        ({"speed": 4.1}, "options.speed"),
        ({"speed": "1"}, "options.speed"),
        ({"speed": True}, "options.speed"),
        ({"speed": float("nan")}, "options.speed"),
        ({"force": "yes"}, "options.force"),
        ({"force": 1}, "options.force"),
    ],
)
def test_options_that_can_not_be_followed_are_refused_by_name(raw: Json, field: str) -> None:
    with pytest.raises(BadOptions) as caught:
        parse(json.dumps(raw))

    assert str(caught.value).startswith(f"{field} must be ")


def test_a_refusal_repeats_no_more_than_a_line_of_what_was_given() -> None:
    with pytest.raises(BadOptions) as caught:
        parse(json.dumps({"model": ["x" * 10_000]}))

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["", "  ", None, "null"])
def test_blank_options_are_none(text: str | None) -> None:
    assert parse(text) == Options()


@pytest.mark.parametrize("text", ["{voice: x}", "nova", '{"voice": ', '"nova"'])
def test_options_that_are_no_json_object_are_refused(text: str) -> None:
    with pytest.raises(BadOptions, match="options must be"):
        parse(text)
