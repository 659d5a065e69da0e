"""What is sound and what isn't, on speech-like sounds of known length and level."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from math import log10, pi, sin

import lameenc
import pytest

from memolist_tts.core.mp3 import decoded, walk
from memolist_tts.core.verdict import (
    FaultCode,
    Verdict,
    judge,
    marked_time_s,
    needed_time_s,
    publishable,
)

RATE = 24_000
TEXT = "the day before yesterday"
"""21 letters: needs 1.46 s."""
ID3V2 = b"ID3\x04\0\0\0\0\0\x04abcd"


def silence(seconds: float) -> array[int]:
    return array("h", bytes(2 * int(seconds * RATE)))


def speech(seconds: float, amplitude: int = 9_000) -> array[int]:
    """A buzz in syllables of 0.2 s, silent between them."""
    return array(
        "h",
        (
            int(amplitude * max(0, sin(2 * pi * 5 * i / RATE)) * sin(2 * pi * 220 * i / RATE))
            for i in range(int(seconds * RATE))
        ),
    )


def noise(seconds: float, amplitude: int) -> array[int]:
    chance = random.Random(1)
    return array("h", (chance.randint(-amplitude, amplitude) for _ in range(int(seconds * RATE))))


def mp3(*sounds: array[int], channels: int = 1) -> bytes:
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(channels)
    encoder.set_in_sample_rate(RATE)
    encoder.set_bit_rate(128)
    encoder.set_quality(7)
    pcm = b"".join(sound.tobytes() for sound in sounds)
    return bytes(encoder.encode(pcm) + encoder.flush())


@pytest.fixture(scope="module")
def clip() -> bytes:
    return mp3(silence(0.06), speech(1.4), silence(0.25))


def hard_codes(verdict: Verdict) -> list[str]:
    return [fault.code for fault in verdict.hard]


def test_a_clip_that_lasts_what_its_text_needs_is_sound(clip: bytes) -> None:
    verdict = judge(clip, TEXT)

    assert verdict.is_sound
    assert verdict.soft == ()
    assert verdict.reason == ""
    assert verdict.duration_ms == walk(clip).duration_ms
    assert verdict.needed_ms == 1_460
    assert verdict.ratio == pytest.approx(1, abs=0.1)
    assert verdict.speech_ms == pytest.approx(1_400, abs=100)
    assert verdict.active_dbfs == pytest.approx(-18, abs=1)
    assert verdict.peak_dbfs == pytest.approx(-11.2, abs=0.5)


@pytest.mark.parametrize("amplitude", [60, 500, 9_000, 32_000])
def test_levels_are_those_of_the_samples(amplitude: int) -> None:
    take = mp3(silence(0.06), speech(1.4, amplitude), silence(0.25))
    with decoded(take, walk(take)) as pcm:
        samples = array("h", pcm.samples)
    powers = [
        sum(s * s for s in samples[at : at + 480]) / 480 / 32_768**2
        for at in range(0, len(samples) - 479, 480)
    ]
    active = [power for power in powers if power >= max(powers) / 10**4]

    verdict = judge(take, TEXT)

    assert verdict.active_dbfs == pytest.approx(10 * log10(sum(active) / len(active)), abs=0.01)
    assert verdict.peak_dbfs == pytest.approx(
        20 * log10(max(map(abs, samples)) / 32_768), abs=0.01
    )


def test_a_stereo_clip_is_judged_like_a_mono_one(clip: bytes) -> None:
    both = array("h", (s for s in silence(0.06) + speech(1.4) + silence(0.25) for _ in range(2)))

    stereo, mono = judge(mp3(both, channels=2), TEXT), judge(clip, TEXT)

    assert stereo.is_sound
    assert stereo.ratio == pytest.approx(mono.ratio, abs=0.03)
    assert stereo.active_dbfs == pytest.approx(mono.active_dbfs, abs=0.2)


@pytest.mark.parametrize(
    ("sounds", "text", "code", "message"),
    [
        ([silence(1.5)], TEXT, "silent", "silent: its loudest parts reach -120 dBFS"),
        ([noise(1.5, 40)], TEXT, "silent", "silent: its loudest parts reach -6"),
        ([noise(1.5, 9_000)], TEXT, "flat", "dB only: a tone or noise, not speech"),
        ([speech(0.5)], TEXT, "too_short", "s of sound for a text that needs 1.46 s"),
        ([speech(4.0)], TEXT, "too_long_audio", "s of sound for a text that needs 1.46 s"),
        ([speech(1.5)], "où", "too_long_audio", "s of sound for a text that needs 0.32 s"),
        ([silence(1.2), speech(1.4)], TEXT, "long_lead", "1.24 s of silence"),
        ([speech(1.4), silence(2.5)], TEXT, "long_tail", "2.60 s of silence"),
    ],
    ids=["zeros", "hiss", "noise", "short", "long", "long-word", "lead", "tail"],
)
def test_a_bad_sound_is_named_with_its_numbers(
    sounds: list[array[int]], text: str, code: str, message: str
) -> None:
    verdict = judge(mp3(*sounds), text)

    assert hard_codes(verdict) == [code]
    assert message in verdict.reason
    assert not verdict.is_sound


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda clip: clip[:-100], "cut"),
        (lambda clip: clip[:2_000] + b"\0" * 600 + clip[2_600:], "damaged"),
        (lambda _: b'{"error": "no"}', "not_mp3"),
        (lambda _: b"", "not_mp3"),
    ],
    ids=["cut", "damaged", "json", "empty"],
)
def test_bytes_that_are_no_whole_mp3_are_named(
    clip: bytes, damage: Callable[[bytes], bytes], code: str
) -> None:
    verdict = judge(damage(clip), TEXT)

    assert hard_codes(verdict) == [code]
    assert verdict.duration_ms == 0


def test_frames_that_no_decoder_accepts_are_damage(clip: bytes) -> None:
    damaged = bytearray(clip)
    for frame in range(10, 14):
        # big_values 511: more lines than a granule has.
        damaged[384 * frame + 6] |= 0x07
        damaged[384 * frame + 7] |= 0xFC

    verdict = judge(bytes(damaged), TEXT)

    assert "damaged" in hard_codes(verdict)
    assert "can be decoded of frames that last" in verdict.reason


def test_a_short_flat_vowel_is_sound() -> None:
    assert judge(mp3(silence(0.06), noise(0.2, 9_000), silence(0.2)), "où").is_sound


def test_a_clip_that_stops_in_mid_sound_is_only_doubtful() -> None:
    verdict = judge(mp3(speech(1.25), noise(0.15, 9_000)), TEXT)

    assert verdict.is_sound
    assert [fault.code for fault in verdict.soft] == [FaultCode.LOUD_END]
    assert "ends in mid-sound" in verdict.reason


def test_a_clip_without_a_told_end_is_only_doubtful_and_the_longer_one_is_kept(clip: bytes) -> None:
    whole = judge(mp3(silence(0.06), speech(2.1), silence(0.25)), TEXT, has_end=False)
    cut = judge(clip, TEXT, has_end=False)

    assert whole.is_sound
    assert [fault.code for fault in whole.soft] == [FaultCode.UNSURE_END]
    # Though the shorter one is just what the text needs.
    assert min(cut, whole, key=lambda verdict: verdict.badness) is whole


def test_speed_and_pace_move_what_a_text_needs(clip: bytes) -> None:
    plain = judge(clip, TEXT).ratio

    assert judge(clip, TEXT, speed=2.0).ratio == pytest.approx(2 * plain)
    assert judge(clip, TEXT, pace=1.25).ratio == pytest.approx(plain / 1.25)


def test_a_transcript_of_other_words_is_a_hard_fault(clip: bytes) -> None:
    said = judge(clip, TEXT, language="en", transcript="The day before, yesterday.")
    verdict = judge(clip, TEXT, language="en", transcript="Sure! The day before yesterday.")

    assert said.is_sound
    assert hard_codes(verdict) == ["reworded"]
    assert "“Sure! The day before yesterday.” instead of “the day before" in verdict.reason
    assert verdict.word_fault == verdict.reason


def test_a_long_transcript_is_quoted_in_part(clip: bytes) -> None:
    verdict = judge(clip, TEXT, language="en", transcript="ha " * 1_000)

    assert len(verdict.reason) < 300


@pytest.mark.parametrize("transcript", ["", " \n"])
def test_a_model_that_tells_no_transcript_proves_nothing(clip: bytes, transcript: str) -> None:
    verdict = judge(clip, TEXT, language="en", transcript=transcript)

    assert hard_codes(verdict) == ["no_transcript"]
    assert not verdict.is_sound


@pytest.mark.parametrize(
    ("spoken", "units"),
    [
        ("chat", 4),
        ("w", 2),
        ("à la", 4),
        ("l'eau", 4),
        ("e\u0301te\u0301", 3),
        ("USA", 7.5),
        ("U.S.A.", 7.5),
        ("le TGV", 9.5),
        ("LE CHAT", 6),
        ("BONJOUR", 7),
        ("CO2", 9),
        ("1984", 16),
        ("1000", 8),
        ("1 000 000", 12),
        ("50 %", 14),
        ("salt & pepper", 16),
        ("東京", 6),
        ("?", 0),
    ],
)
def test_needed_time_counts_units(spoken: str, units: float) -> None:
    assert needed_time_s(spoken) == pytest.approx(0.20 + 0.060 * units)


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        ("I go to school.", 0),
        ("I ... to school", 2),
        ("Well... yes", 2),
        ('"Hi," she said, "come in."', 2),
        ("l'U.R.S.S.", 4),
        ("90 km/h", 1),
        ("john.doe@example.com", 3),
        ("3.5", 1),
        ("No! Never.", 1),
    ],
)
def test_marks_may_be_heard_as_pauses(text: str, marks: int) -> None:
    assert marked_time_s(text) == pytest.approx(0.65 * marks)


def test_a_gap_in_a_sentence_may_be_a_long_pause() -> None:
    slow = mp3(speech(0.5), silence(1.2), speech(1.0))

    assert judge(slow, "I ... to school").is_sound
    assert hard_codes(judge(slow, "I to school")) == ["too_long_audio"]


def test_the_better_take_is_sound_then_without_doubt_then_of_likely_length(clip: bytes) -> None:
    sound = judge(clip, TEXT)
    slow = judge(mp3(silence(0.06), speech(2.6), silence(0.2)), TEXT)
    doubtful = judge(mp3(speech(1.25), noise(0.15, 9_000)), TEXT)
    silent = judge(mp3(silence(1.5)), TEXT)
    broken = judge(b"", TEXT)

    takes = [broken, silent, doubtful, slow, sound]

    ranked = sorted(takes, key=lambda verdict: verdict.badness)

    assert ranked == [sound, slow, doubtful, silent, broken]


@pytest.mark.parametrize("amplitude", [700, 3_000, 9_000, 32_000])
def test_what_is_published_is_bare_and_level(amplitude: int) -> None:
    take = ID3V2 + mp3(silence(0.06), speech(1.4, amplitude), silence(0.25))

    stored = publishable(take, judge(take, TEXT))

    verdict = judge(stored, TEXT)
    assert verdict.active_dbfs == pytest.approx(-20, abs=0.8)
    assert verdict.peak_dbfs < -1
    assert len(stored) == len(take) - len(ID3V2)
    assert verdict.duration_ms == walk(take).duration_ms


def test_a_clip_that_is_right_is_published_byte_for_byte(clip: bytes) -> None:
    once = publishable(clip, judge(clip, TEXT))

    assert once != clip
    assert publishable(once, judge(once, TEXT)) == once


def test_a_peak_holds_the_level_down() -> None:
    click = array("h", [30_000] * 60)
    take = mp3(silence(0.06), speech(0.7, 1_500), click, speech(0.7, 1_500), silence(0.25))

    verdict = judge(publishable(take, judge(take, TEXT)), TEXT)

    assert -3 < verdict.peak_dbfs < -1
    assert verdict.active_dbfs < -21


def test_a_take_that_is_not_sound_is_never_published() -> None:
    take = mp3(silence(1.5))

    with pytest.raises(ValueError, match="not to be published: silent"):
        publishable(take, judge(take, TEXT))


def test_frames_that_cannot_be_levelled_are_published_as_they_are() -> None:
    under_crc = b"\xff\xf2\xc4\xc4".ljust(384, b"\0") * 20

    verdict = Verdict(frames=walk(under_crc), active_dbfs=-30, peak_dbfs=-20)

    assert publishable(under_crc, verdict) == under_crc


def test_a_number_may_be_said_in_a_syllable() -> None:
    short = mp3(silence(0.06), speech(0.4), silence(0.25))

    assert hard_codes(judge(short, "page 12")) == []
    assert hard_codes(judge(short, "page twelve, line")) == [FaultCode.TOO_SHORT]
