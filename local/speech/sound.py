"""Text to the sound OpenAI would send: PCM with its silences, and MP3 in its very format."""

from __future__ import annotations

import io
import wave
from array import array
from functools import lru_cache

import lameenc  # type: ignore[import-not-found,unused-ignore]

from local.speech.engines import SAMPLE_RATE_HZ, engines

LEAD_S, TAIL_S = 0.06, 0.25
"""Silence round the speech, as in real clips (AUDIO, section 5)."""

_AUDIBLE = 300
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
