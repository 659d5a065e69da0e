"""Clips that a provider should not have sent: faults on PCM and faults on MP3 bytes."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable, Mapping

from local.speech.engines import SAMPLE_RATE_HZ, resampled
from local.speech.faults import Fault
from local.speech.sound import frame_size_bytes, silence, spoken, wav

_OTHER_TEXT = {"fr": "un parapluie violet", "en": "a purple umbrella"}

_ID3 = b"ID3\x04\x00\x00\x00\x00\x00\x23" + b"TSSE\x00\x00\x00\x0f\x00\x00\x03Lavf60.16.100\x00"
ID3_TAG = _ID3.ljust(45, b"\x00")
"""As one gpt-4o-mini-tts file in the wild starts with (AUDIO, section 5)."""


def _noise(pcm: bytes, peak: int) -> bytes:
    raw = array("h", random.randbytes(len(pcm)))
    return array("h", (sample * peak >> 15 for sample in raw)).tobytes()


def _scaled(pcm: bytes, by: float) -> bytes:
    return array("h", (round(sample * by) for sample in array("h", pcm))).tobytes()


def _tone(pcm: bytes) -> bytes:
    step = 2 * math.pi * 440 / SAMPLE_RATE_HZ
    return array("h", (round(6000 * math.sin(step * i)) for i in range(len(pcm) // 2))).tobytes()


def _of_other_text(language: str) -> bytes:
    return spoken(_OTHER_TEXT.get(language, _OTHER_TEXT["en"]), language, 1.0, 1.0) or b""


_ON_PCM: Mapping[str, Callable[[bytes, Fault, str], bytes]] = {
    "silent": lambda pcm, _fault, _language: bytes(len(pcm)),
    # Evenly spread noise has an RMS of its peak / sqrt(3): 45 is -62 dBFS.
    "hiss": lambda pcm, _fault, _language: _noise(pcm, 45),
    "noise": lambda pcm, _fault, _language: _noise(pcm, 8000),
    "tone": lambda pcm, _fault, _language: _tone(pcm),
    "padded": lambda pcm, fault, _language: pcm + silence(fault.duration_s),
    "late": lambda pcm, fault, _language: silence(fault.duration_s) + pcm,
    "doubled": lambda pcm, _fault, _language: pcm + pcm,
    "wrong_word": lambda _pcm, _fault, language: _of_other_text(language),
    "faint": lambda pcm, _fault, _language: _scaled(pcm, 0.125),
    "drawled": lambda pcm, _fault, _language: resampled(pcm, SAMPLE_RATE_HZ * 5 // 8),
    "cut_speech": lambda pcm, fault, _language: share(pcm, fault.at),
}


def share(pcm: bytes, at: float) -> bytes:
    """The first `at` (0-1) of the samples."""
    return pcm[: 2 * int(len(pcm) // 2 * at)]


def spoilt_pcm(pcm: bytes, fault: Fault | None, language: str) -> bytes:
    """`pcm` with the fault in it, if it is one of PCM."""
    spoil = _ON_PCM.get(fault.fault) if fault else None
    return spoil(pcm, fault, language) if spoil and fault else pcm


def heard(said: str, fault: Fault | None, language: str) -> str | None:
    """What a listener would hear where `said` was to be: None where it ends in mid-word."""
    match fault.fault if fault else None:
        case "silent" | "hiss" | "noise" | "tone":
            return ""
        case "doubled":
            return f"{said} {said}"
        case "wrong_word":
            return _OTHER_TEXT.get(language, _OTHER_TEXT["en"])
        case "cut_speech" | "incomplete" | "cut_frame" | "cut_mid_frame" | "garbage":
            return None
        case _:
            return said


def spoilt_mp3(frames: bytes, pcm: bytes, bit_rate_kbps: int, fault: Fault | None) -> bytes:
    """`frames` with the fault in them, if it is one of bytes."""
    if fault is None:
        return frames
    size = frame_size_bytes(bit_rate_kbps)
    whole = int(len(frames) // size * fault.at) * size
    match fault.fault:
        case "id3":
            return ID3_TAG + frames
        case "cut_frame":
            return frames[:whole]
        case "cut_mid_frame":
            return frames[: whole + size // 2]
        case "garbage":
            return frames[:whole] + random.randbytes(600) + frames[whole + 600 :]
        case "trailing":
            return frames + b"<!-- end of stream -->".ljust(100)
        case "wav":
            return wav(pcm)
        case _:
            return frames
