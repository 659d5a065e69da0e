"""The two speech engines behind one method. Both optional, one needed."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from importlib import import_module, util
from typing import Any, ClassVar, Protocol

import miniaudio  # type: ignore[import-untyped,unused-ignore]

SAMPLE_RATE_HZ = 24_000
"""Of all PCM in this package: 16-bit little-endian, mono."""


class Engine(Protocol):
    name: ClassVar[str]

    def speaks(self, language: str) -> bool:
        """Whether it has a voice for this ISO 639-1 code."""
        ...

    def say(self, text: str, language: str, pitch: float, speed: float) -> bytes:
        """PCM, without added silence; empty where nothing in `text` can be said."""
        ...


class Pico:
    """SVOX Pico by py-nanotts (Apache-2.0): the better French."""

    name: ClassVar = "SVOX Pico"
    _voices: ClassVar = {"en": "en-US", "fr": "fr-FR", "de": "de-DE", "es": "es-ES", "it": "it-IT"}
    _own_rate_hz = 16_000
    _volume = 0.5  # at its own volume English clips: 502 samples of a 3 s sentence, measured

    def __init__(self) -> None:
        self._tts = import_module("py_nanotts").NanoTTS()

    def speaks(self, language: str) -> bool:
        return language in self._voices

    def say(self, text: str, language: str, pitch: float, speed: float) -> bytes:
        # Pico reads <…> as markup of its own; OpenAI has none.
        plain = text.replace("<", " ").replace(">", " ")
        pcm = self._tts.speak(
            plain, voice=self._voices[language], speed=speed, pitch=pitch, volume=self._volume
        )
        return resampled(pcm, self._own_rate_hz)


class Espeak:
    """espeak-ng by espeakng-loader (GPL-3, so never a dependency of what is deployed)."""

    name: ClassVar = "eSpeak NG"
    _synchronous, _rate, _pitch = 2, 1, 3
    _utf8 = 1
    _words_per_minute = 150
    _callback_type = ctypes.CFUNCTYPE(
        ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
    )

    def __init__(self) -> None:
        loader = import_module("espeakng_loader")
        self._library: Any = ctypes.CDLL(loader.get_library_path())
        self._lock = threading.Lock()  # one synthesizer per process, with global state
        self._said = bytearray()
        self._callback = self._callback_type(self._collect)  # kept: C calls it later
        data = loader.get_data_path().encode()
        self._own_rate_hz = self._library.espeak_Initialize(self._synchronous, 0, data, 0)
        self._library.espeak_SetSynthCallback(self._callback)

    def speaks(self, language: str) -> bool:
        return language in ("en", "fr", "de", "es", "it", "nl", "pt")

    def say(self, text: str, language: str, pitch: float, speed: float) -> bytes:
        voice = {"en": "en-us", "fr": "fr-fr"}.get(language, language)
        raw = text.encode()
        with self._lock:
            self._said.clear()
            self._library.espeak_SetVoiceByName(voice.encode())
            rate = max(80, min(450, round(self._words_per_minute * speed)))
            self._library.espeak_SetParameter(self._rate, rate, 0)
            self._library.espeak_SetParameter(self._pitch, min(99, round(50 * pitch)), 0)
            self._library.espeak_Synth(raw, len(raw) + 1, 0, 0, 0, self._utf8, None, None)
            return resampled(bytes(self._said), self._own_rate_hz)

    def _collect(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count:
            self._said += ctypes.string_at(samples, 2 * count)
        return 0


def resampled(pcm: bytes, rate_hz: int) -> bytes:
    """`pcm` (16-bit mono at `rate_hz`) at this package's rate."""
    signed = miniaudio.SampleFormat.SIGNED16
    return bytes(miniaudio.convert_frames(signed, 1, rate_hz, pcm, signed, 1, SAMPLE_RATE_HZ))


@cache
def engines() -> tuple[Engine, ...]:
    """What is installed, best first. Raises RuntimeError where nothing is."""
    found: list[Engine] = []
    if util.find_spec("py_nanotts"):
        found.append(Pico())
    if util.find_spec("espeakng_loader"):
        found.append(Espeak())
    if not found:
        raise RuntimeError("no speech engine: pip install py-nanotts, or espeakng-loader")
    return tuple(found)
