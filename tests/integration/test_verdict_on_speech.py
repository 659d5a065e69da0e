"""The verdict's bounds, on some 300 clips of real speech in two languages.

Every clip is spoken and coded as the provider's are, then damaged in every way
seen or imagined. A bound that is moved shows here, in one of two ways: sound
clips refused, or damage let through.
"""

from __future__ import annotations

import csv
import random
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from math import log10, pi, sin
from pathlib import Path

import lameenc
import pytest
from py_nanotts import NanoTTS

from memolist_tts.core.mp3 import decoded, join, walk
from memolist_tts.core.verdict import Verdict, judge, publishable

PHRASES = Path(__file__).parents[1] / "data" / "phrases.csv"
SPEAKERS = {"en": "en-US", "fr": "fr-FR"}
FRAME_BYTES = {128: 384, 160: 480}
RATE = 24_000
FRAME_S = 0.024


@dataclass(frozen=True, slots=True)
class Clip:
    text: str
    mp3: bytes
    frame_bytes: int
    speech_end_s: float

    @property
    def is_one_word(self) -> bool:
        return len(self.text.split()) == 1

    def first(self, share: float) -> bytes:
        """The clip cut exactly between two frames, `share` of the way to the speech's end."""
        return self.mp3[: int(share * self.speech_end_s / FRAME_S) * self.frame_bytes]


def encoded(pcm: bytes, rate: int, kbit_s: int) -> bytes:
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(1)
    encoder.set_in_sample_rate(rate)
    encoder.set_out_sample_rate(RATE)
    encoder.set_bit_rate(kbit_s)
    encoder.set_quality(5)
    return bytes(encoder.encode(pcm) + encoder.flush())


def spoken(text: str, language: str, kbit_s: int) -> Clip:
    """The provider's form: 60 ms of silence, speech, 250 ms of silence; 128 or 160 kbit/s."""
    speech = array("h", NanoTTS().speak(text, SPEAKERS[language]))
    pcm = array("h", bytes(2 * 960)) + speech + array("h", bytes(2 * 4_000))
    last_loud = max(i for i, sample in enumerate(pcm) if abs(sample) > 300)
    return Clip(
        text=text,
        mp3=encoded(pcm.tobytes(), 16_000, kbit_s),
        frame_bytes=FRAME_BYTES[kbit_s],
        speech_end_s=last_loud / 16_000,
    )


@pytest.fixture(scope="session")
def clips() -> list[Clip]:
    with PHRASES.open(encoding="utf-8", newline="") as file:
        rows = zip(csv.DictReader(file), cycle(FRAME_BYTES), strict=False)
        return [spoken(row[lang], lang, kbit_s) for row, kbit_s in rows for lang in SPEAKERS]


@pytest.fixture(scope="session")
def verdicts(clips: list[Clip]) -> list[Verdict]:
    return [judge(clip.mp3, clip.text) for clip in clips]


@pytest.fixture(scope="session")
def some(clips: list[Clip]) -> list[Clip]:
    """A third of all, both languages and bit rates, for damage that has to be decoded."""
    return clips[::3]


def sound_of(value: Callable[[int], float]) -> bytes:
    """Ten seconds, of which every prefix of whole frames is a clip."""
    samples = array("h", (int(value(i)) for i in range(10 * RATE)))
    return encoded(samples.tobytes(), RATE, 128)


@pytest.fixture(scope="session")
def replacements() -> dict[str, bytes]:
    chance = random.Random(3)
    return {
        "silent": sound_of(lambda _: 0),
        "hiss at -62 dBFS": sound_of(lambda _: chance.gauss(0, 26)),
        "noise": sound_of(lambda _: chance.gauss(0, 3_000)),
        "tone": sound_of(lambda i: 6_000 * sin(2 * pi * 440 * i / RATE)),
    }


def missed(damaged: list[tuple[str, bytes]]) -> list[str]:
    """The texts whose damaged clip passes for sound."""
    return [text for text, mp3 in damaged if judge(mp3, text).is_sound]


def test_no_sound_clip_is_refused_or_doubted(clips: list[Clip], verdicts: list[Verdict]) -> None:
    faults = [(c.text, v.reason) for c, v in zip(clips, verdicts, strict=True) if v.reason]

    assert len(clips) >= 300
    assert faults == []


def test_speech_takes_the_time_that_its_text_needs(
    clips: list[Clip], verdicts: list[Verdict]
) -> None:
    for is_one_word in (True, False):
        ratios = sorted(
            v.ratio for c, v in zip(clips, verdicts, strict=True) if c.is_one_word == is_one_word
        )
        median = ratios[len(ratios) // 2]
        print(f"{len(ratios)} clips: {ratios[0]:.2f}, {median:.2f}, {ratios[-1]:.2f}")
        assert 0.8 < median < 1.1


def test_every_published_clip_is_level(clips: list[Clip], verdicts: list[Verdict]) -> None:
    for clip, verdict in list(zip(clips, verdicts, strict=True))[::3]:
        stored = judge(publishable(clip.mp3, verdict), clip.text)
        assert stored.active_dbfs == pytest.approx(-20, abs=0.8)
        assert stored.peak_dbfs < -1
        assert stored.duration_ms == verdict.duration_ms


def test_the_level_of_speech_is_that_of_its_samples(some: list[Clip]) -> None:
    window = RATE // 50
    for clip in some:
        with decoded(clip.mp3, walk(clip.mp3)) as pcm:
            samples = array("h", pcm.samples)
        starts = range(0, len(samples) - window + 1, window)
        powers = [sum(s * s for s in samples[at : at + window]) / window for at in starts]
        active = [power for power in powers if power >= max(powers) / 10**4]
        verdict = judge(clip.mp3, clip.text)
        rms = (sum(active) / len(active)) ** 0.5 / 32_768
        assert verdict.active_dbfs == pytest.approx(20 * log10(rms), abs=0.01)
        peak = max(map(abs, samples)) / 32_768
        assert verdict.peak_dbfs == pytest.approx(20 * log10(peak), abs=0.01)


@pytest.mark.parametrize("sound", ["silent", "hiss at -62 dBFS", "noise", "tone"])
def test_a_clip_in_which_nobody_speaks_is_caught(
    some: list[Clip], replacements: dict[str, bytes], sound: str
) -> None:
    def as_long_as(clip: Clip) -> bytes:
        return replacements[sound][: walk(clip.mp3).count * FRAME_BYTES[128]]

    assert missed([(clip.text, as_long_as(clip)) for clip in some]) == []


def test_ten_seconds_of_tail_are_caught(some: list[Clip], replacements: dict[str, bytes]) -> None:
    assert missed([(c.text, join([c.mp3, replacements["silent"]])) for c in some]) == []


def cut(clip: Clip, chance: random.Random) -> bytes:
    size = chance.randrange(1, len(clip.mp3))
    return clip.mp3[: size - (size % clip.frame_bytes == 0)]


def garbled(clip: Clip, chance: random.Random) -> bytes:
    begin = chance.randrange(len(clip.mp3) - 600)
    return clip.mp3[:begin] + chance.randbytes(600) + clip.mp3[begin + 600 :]


def always(data: bytes) -> Callable[[Clip, random.Random], bytes]:
    return lambda _clip, _chance: data


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(cut, id="cut inside a frame"),
        pytest.param(garbled, id="600 bytes of garbage inside"),
        pytest.param(lambda clip, _: clip.mp3 + b"\r\n0\r\n", id="trailing bytes"),
        pytest.param(always(b'{"error": {"message": "overloaded"}}'), id="JSON"),
        pytest.param(always(b"<html><body>502</body></html>"), id="HTML"),
        pytest.param(always(b"RIFF\0\0\0\0WAVEfmt " + bytes(40_000)), id="WAV"),
        pytest.param(always(bytes(20_000)), id="zeros"),
        pytest.param(always(b""), id="empty"),
    ],
)
def test_bytes_that_are_no_whole_clip_are_caught(
    clips: list[Clip], damage: Callable[[Clip, random.Random], bytes]
) -> None:
    chance = random.Random(5)

    assert missed([(clip.text, damage(clip, chance)) for clip in clips]) == []


def twice(clip: Clip) -> bytes:
    return join([clip.mp3, clip.mp3])


@pytest.mark.parametrize(
    ("damage", "is_one_word", "floor"),
    [
        pytest.param(partial(Clip.first, share=0.6), True, 0.80, id="60 % of a word"),
        pytest.param(partial(Clip.first, share=0.6), False, 0.75, id="60 % of a phrase"),
        pytest.param(partial(Clip.first, share=0.8), True, 0.85, id="80 % of a word"),
        pytest.param(partial(Clip.first, share=0.8), False, 0.80, id="80 % of a phrase"),
        pytest.param(twice, True, 0.70, id="a word twice"),
        pytest.param(twice, False, 0.85, id="a phrase twice"),
    ],
)
def test_damage_that_looks_like_speech_is_caught_as_often_as_measured(
    clips: list[Clip], damage: Callable[[Clip], bytes], is_one_word: bool, floor: float
) -> None:
    """Duration alone can't tell these; the floors are what was measured, less a margin."""
    chosen = [clip for clip in clips if clip.is_one_word == is_one_word][::3]

    found = [judge(damage(clip), clip.text) for clip in chosen]

    hard = sum(bool(verdict.hard) for verdict in found) / len(found)
    either = sum(bool(verdict.reason) for verdict in found) / len(found)
    print(f"{len(found)} clips: hard {hard:.0%}, hard or soft {either:.0%}")
    assert either >= floor
