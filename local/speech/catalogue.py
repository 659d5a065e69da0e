"""The models and voices that the server knows, as OpenAI publishes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

SPEECH, CHAT, REALTIME = "speech", "chat", "realtime"

SHUTDOWN = date(2027, 1, 6)
"""The day every /v1/audio/speech model closes (OpenAI's deprecations page)."""

PITCHES = {
    "alloy": 1.0,
    "ash": 0.88,
    "ballad": 0.94,
    "coral": 1.14,
    "echo": 0.91,
    "fable": 1.06,
    "onyx": 0.8,
    "nova": 1.21,
    "sage": 1.1,
    "shimmer": 1.28,
    "verse": 0.97,
    "marin": 1.17,
    "cedar": 0.84,
}
"""Voice names, and the pitch that tells each from the others here (1 = the engine's own)."""

ALL_VOICES = tuple(PITCHES)
TTS_1_VOICES = ("nova", "shimmer", "echo", "onyx", "fable", "alloy", "ash", "sage", "coral")
REALTIME_VOICES = tuple(name for name in ALL_VOICES if name not in ("fable", "onyx", "nova"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    id: str
    route: str
    voices: tuple[str, ...]
    bit_rate_kbps: int
    """Of its MP3s; measured on real clips (AUDIO: 160 for tts-1, 128 for the gpt-4o family)."""
    shutdown: date | None = None
    takes_instructions: bool = True

    def is_closed(self, today: date | None) -> bool:
        """Whether the model is gone on `today`; None is a day before any shutdown."""
        return today is not None and self.shutdown is not None and today >= self.shutdown


def _models() -> Iterable[Model]:
    for name in ("tts-1", "tts-1-hd"):
        yield Model(
            id=name,
            route=SPEECH,
            voices=TTS_1_VOICES,
            bit_rate_kbps=160,
            shutdown=SHUTDOWN,
            takes_instructions=False,
        )
    for name in ("gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"):
        yield Model(id=name, route=SPEECH, voices=ALL_VOICES, bit_rate_kbps=128, shutdown=SHUTDOWN)
    for name in ("gpt-audio-1.5", "gpt-audio-mini", "gpt-audio-mini-2025-12-15"):
        yield Model(id=name, route=CHAT, voices=ALL_VOICES, bit_rate_kbps=128)
    for name in ("gpt-realtime-2.1-mini", "gpt-realtime-2.1", "gpt-realtime-mini"):
        yield Model(id=name, route=REALTIME, voices=REALTIME_VOICES, bit_rate_kbps=128)


MODELS = {model.id: model for model in _models()}
