"""The audio key: every stored clip is found by it, so it may never move."""

from __future__ import annotations

import pytest

from memolist_tts.core.key import audio_key
from memolist_tts.core.model import ClipId, SpeechRequest

REQUEST: SpeechRequest = {
    "provider": "openai",
    "model": "gpt-4o-mini-tts-2025-12-15",
    "voice": "alloy",
    "input": "Où est l’école ?",
    "response_format": "mp3",
    "instructions": "Lis ceci en français, clairement et naturellement, comme un locuteur natif.",
}
TAIL: SpeechRequest = {**REQUEST, "input": "Elle est là-bas."}
KEY = "v1-0d66fe213ee096d0640e12595360656d2c6d798ccc4385c159c41c5d27d00921"
KEY_OF_PARTS = "v1-cfd2767a4db73a32e34bb01a8e485fb492820a456a69b1767caaec352cd64fd2"


def test_the_key_of_a_request_has_not_moved() -> None:
    assert audio_key([REQUEST]) == KEY


def test_the_key_of_a_text_in_two_parts_has_not_moved() -> None:
    assert audio_key([REQUEST, TAIL]) == KEY_OF_PARTS


def test_a_clip_lies_under_its_key_and_take() -> None:
    assert ClipId(KEY).object_name == f"{KEY}-0.mp3"
    assert ClipId(KEY, 2).object_name == f"{KEY}-2.mp3"


def test_the_order_of_a_request_s_fields_does_not_matter() -> None:
    assert audio_key([dict(reversed(list(REQUEST.items())))]) == KEY


def test_the_order_of_parts_matters() -> None:
    assert audio_key([TAIL, REQUEST]) != KEY_OF_PARTS


@pytest.mark.parametrize("field", sorted(REQUEST))
def test_whatever_would_be_heard_changes_the_key(field: str) -> None:
    assert audio_key([{**REQUEST, field: "another"}]) != KEY
    assert audio_key([{name: REQUEST[name] for name in REQUEST if name != field}]) != KEY


def test_a_speed_changes_the_key() -> None:
    assert audio_key([{**REQUEST, "speed": 0.8}]) != KEY
