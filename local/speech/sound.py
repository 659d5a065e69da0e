"""Text to the sound OpenAI would send: PCM with its silences, and MP3 in its very format."""

from __future__ import annotations

import io
import math
import random
import wave
from array import array
from functools import lru_cache

import lameenc  # type: ignore[import-not-found,unused-ignore]

from local.speech.engines import SAMPLE_RATE_HZ, engines

LEAD_S, TAIL_S = 0.06, 0.25
"""Silence round the speech, as in real clips (AUDIO, section 5)."""

_AUDIBLE = 300
_SOFTER_DB = {"alloy": 0.0, "onyx": 1.0, "coral": 4.0, "nova": 9.0}
_OTHERS_SOFTER_DB = 2.0
_MOST_MORE_DB = 4.0
_POPPING_SHARE = 1 / 12
_POP_DB, _POP_S = (8.0, 13.0), 0.005
"""How far a pop's peak is above that of the speech, and how long it lasts."""
FRAME_S = 0.024
_STAMP_BITS = 16


def silence(duration_s: float) -> bytes:
    return bytes(2 * round(duration_s * SAMPLE_RATE_HZ))


def duration_s(pcm: bytes) -> float:
    return len(pcm) / 2 / SAMPLE_RATE_HZ


@lru_cache(maxsize=512)
def spoken(text: str, language: str, pitch: float, speed: float) -> bytes | None:
    """PCM of `text`; None where there is nothing to say (punctuation, emoji, a script unknown).

    A language that no engine has is spoken by the best engine as if it were English.
    """
    engine = next((each for each in engines() if each.speaks(language)), None)
    pcm = (
        engine.say(text, language, pitch, speed)
        if engine
        else engines()[0].say(text, "en", pitch, speed)
    )
    if not pcm or max(array("h", pcm)) < _AUDIBLE:
        return None
    return silence(LEAD_S) + pcm + silence(TAIL_S)


def uneven(pcm: bytes, text: str, voice: str) -> bytes:
    """`pcm` as loud as its voice is, up to 4 dB softer, and one in 12 with a pop: by its text.

    Real takes spread from -33 to -16 dBFS of active speech, and the peaks of 7 in 125 are
    19 dB and more above it (AUDIO, section 2); the local voice is within 3 dB of -18, its
    peaks never 17 dB above.
    """
    chance = random.Random(f"{voice} {text}")
    softer_db = _SOFTER_DB.get(voice, _OTHERS_SOFTER_DB) + chance.uniform(0, _MOST_MORE_DB)
    pop_db = chance.uniform(*_POP_DB) if chance.random() < _POPPING_SHARE else 0.0
    speech = array("h", pcm)
    sounds = _louder(speech, -softer_db - pop_db)
    if pop_db:
        loudest = max(range(len(speech)), key=lambda at: abs(speech[at]))
        peak = max(map(abs, _louder(speech[loudest : loudest + 1], -softer_db)))
        size = round(_POP_S * SAMPLE_RATE_HZ)
        for n in range(min(size, len(sounds) - loudest)):
            sounds[loudest + n] = round(peak * math.sin(math.pi * n / size))
    return sounds.tobytes()


def _louder(samples: array[int], db: float) -> array[int]:
    factor = 10 ** (db / 20)
    return array("h", (round(factor * sample) for sample in samples))


@lru_cache(maxsize=1024)
def mp3(pcm: bytes, bit_rate_kbps: int) -> bytes:
    """24 kHz mono CBR, no Xing, no ID3, nothing kept in the bit reservoir of frame 0."""
    encoder = lameenc.Encoder()
    encoder.set_channels(1)
    encoder.set_in_sample_rate(SAMPLE_RATE_HZ)
    encoder.set_out_sample_rate(SAMPLE_RATE_HZ)
    encoder.set_bit_rate(bit_rate_kbps)
    encoder.set_quality(5)
    encoder.silence()
    return bytes(encoder.encode(pcm)) + bytes(encoder.flush())


def frame_size_bytes(bit_rate_kbps: int) -> int:
    """Of one MPEG-2 layer III frame at 24 kHz: 24 ms, 576 samples."""
    return 3 * bit_rate_kbps


def stamped(frames: bytes, bit_rate_kbps: int, take: int) -> bytes:
    """The same sound in other bytes: `take` written into the frames' private bits.

    A provider's takes never equal each other; encoding each anew would cost 8 ms.
    The first frame stays as it is, and takes repeat after 65,535.
    """
    marked = bytearray(frames)
    size = frame_size_bytes(bit_rate_kbps)
    for bit in range(_STAMP_BITS):
        header = (bit + 1) * size + 2
        if header < len(marked) and take >> bit & 1:
            marked[header] |= 1
    return bytes(marked)


def wav(pcm: bytes) -> bytes:
    """`pcm` in a RIFF file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE_HZ)
        writer.writeframes(pcm)
    return file.getvalue()
