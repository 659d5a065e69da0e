"""The judge over what the local speech server says: every phrase, both languages, over HTTP."""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.speech import SpeechServer
from memolist_tts.core.model import Voice
from memolist_tts.core.text import spoken
from memolist_tts.core.verdict import judge
from memolist_tts.instructions import INSTRUCTIONS
from memolist_tts.speech import requests
from memolist_tts.speech.client import open_client
from memolist_tts.speech.endpoint import EndpointSpeaker

PHRASES = Path(__file__).resolve().parents[1] / "data" / "phrases.csv"
NUMBERS = [str(n) for n in range(1, 31)]


@pytest.mark.parametrize("language", ["en", "fr"])
def test_no_phrase_or_number_is_refused(language: str, speech_server: SpeechServer) -> None:
    with PHRASES.open(encoding="utf-8", newline="") as file:
        shown = [row[language] for row in csv.DictReader(file)]
    word = {"en": "word", "fr": "mot"}[language]
    texts = [spoken(text, language).text for text in shown]
    texts += NUMBERS + [f"{word} {number}" for number in NUMBERS]
    client = open_client("any", base_url=speech_server.base_url, max_in_flight=8)
    speaker = EndpointSpeaker(client)
    voice = Voice(
        language=language, model="gpt-4o-mini-tts", name="alloy",
        instructions=INSTRUCTIONS[language],
    )  # fmt: skip

    def speak(text: str) -> bytes:
        return speaker.speak(requests.endpoint(text, voice, identity="local"), 60).mp3

    with ThreadPoolExecutor(8) as pool:
        clips = dict(zip(texts, pool.map(speak, texts), strict=True))

    assert len(clips) > 200
    assert {
        text: found.reason for text, mp3 in clips.items() if (found := judge(mp3, text)).hard
    } == {}
