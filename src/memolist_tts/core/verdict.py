"""Whether a clip is what its text needs: bytes first, then the decoded sound.

The hard bounds refused none of 241 sounding clips of OpenAI, Kokoro and Pico. Of 67
real one-word clips of tts-1, 4 were silent while their frames and length looked
right, so only the decoded sound decides.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from math import inf, log, log10, sqrt

from memolist_tts.core.mp3 import (
    SAMPLE_BYTES,
    BrokenMp3,
    Frames,
    Pcm,
    decoded,
    gain_steps,
    level,
    walk,
)

DECODE_GAP_S = 0.060
SILENT_DBFS = -45.0
LONGEST_LEAD_S = 1.0
LONGEST_TAIL_S = 2.0
FLAT_SPREAD_DB = 4.0
FLAT_WINDOW_COUNT = 12
"""Shorter sounds, a vowel such as "où", may be flat by nature."""
LOUD_END_DROP_DB = 15.0
ONE_WORD_RATIO = (0.30, 2.8)
SHORTEST_NUMBER_RATIO = 0.20
"""How long a number is said isn't known from its digits: "11" is one syllable in French."""
SEVERAL_WORDS_RATIO = (0.50, 2.2)

_WINDOWS_A_SECOND = 50
_ACTIVE_RANGE = 100
"""40 dB."""
_COARSE_BELOW = 512
"""A whole number above it is within 0.02 dB."""
_WIDER_BITS = 16
_FULL_SCALE = 1 << 31
_FLOOR_DBFS = -120.0
_FIXED_S = 0.20
_UNIT_S = 0.060
_MARK_S = 0.65
"""A pause in a sentence or an acronym, or a sign within a word that is read out ("dot")."""
_MARKS = re.compile(r"\.{3}|[,;:.!?](?=[\"')]*\s)|(?<=\w)(?:[./@_]|-(?=\w*@))(?=\w)|(?<=\.\w)\.")
_SYMBOLS = frozenset("%€$£&+=@#°")
_LONGEST_ACRONYM = 5
_MOST_QUOTED = 200


class FaultCode(StrEnum):
    """What can be wrong with a clip; the values are stable."""

    NOT_MP3 = "not_mp3"
    CUT = "cut"
    DAMAGED = "damaged"
    SILENT = "silent"
    FLAT = "flat"
    TOO_SHORT = "too_short"
    TOO_LONG_AUDIO = "too_long_audio"
    LONG_LEAD = "long_lead"
    LONG_TAIL = "long_tail"
    REWORDED = "reworded"
    NO_TRANSCRIPT = "no_transcript"
    LOUD_END = "loud_end"
    UNSURE_END = "unsure_end"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a clip, and a sentence with the numbers measured."""

    code: FaultCode
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was found out about one take. Numbers stay at their defaults if unreadable."""

    hard: tuple[Fault, ...] = ()
    """Never publish: speak again, then give the utterance up."""
    soft: tuple[Fault, ...] = ()
    """Speak again once and keep the better take."""
    frames: Frames | None = None
    """Where in the take the sound is."""
    duration_ms: int = 0
    speech_ms: int = 0
    """From the first to the last active window: the duration less lead and tail."""
    needed_ms: int = 0
    ratio: float = 0.0
    """Speech time against needed time; 1.0 is as expected."""
    active_dbfs: float = _FLOOR_DBFS
    """RMS over the windows within 40 dB of the loudest."""
    peak_dbfs: float = _FLOOR_DBFS

    @property
    def is_sound(self) -> bool:
        """May be published."""
        return not self.hard

    @property
    def word_fault(self) -> str:
        """Why the words aren't, or may not be, those of the text; empty where they are."""
        codes = (FaultCode.REWORDED, FaultCode.NO_TRANSCRIPT)
        return next((fault.message for fault in self.hard if fault.code in codes), "")

    @property
    def reason(self) -> str:
        """Every fault in words, hard ones first; empty for a clip without any."""
        return "; ".join(fault.message for fault in self.hard + self.soft)

    @property
    def badness(self) -> tuple[int, int, float]:
        """Orders takes of one utterance: `min` by it is the take to keep."""
        distance = abs(log(self.ratio)) if self.ratio else inf
        if any(fault.code is FaultCode.UNSURE_END for fault in self.soft):
            # Of two that may be cut the longer one is less so.
            distance = 1 / self.ratio if self.ratio else inf
        return len(self.hard), len(self.soft), distance


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sound:
    lead_s: float
    speech_s: float
    tail_s: float
    window_count: int
    spread_db: float
    end_drop_db: float
    active_dbfs: float
    peak_dbfs: float


def judge(
    mp3: bytes,
    spoken: str,
    *,
    language: str = "",
    speed: float = 1.0,
    pace: float = 1.0,
    transcript: str | None = None,
    has_end: bool = True,
) -> Verdict:
    """Judge one take of the text `spoken`, in some 1 ms a 2 s clip.

    `speed` is what was asked of the provider, `pace` the voice's own usual
    `ratio` (1.25 for the gpt-4o family). Never raises on what `mp3` holds.
    `transcript` is as in `Speech`; unless it's None it must say the text, as
    `verbatim.says` has it in `language` (ISO 639-1). `has_end` is as in `Speech`: a cut
    between two frames, in a pause of the speech, can't be heard.
    """
    try:
        frames = walk(mp3)
        with decoded(mp3, frames) as pcm:
            decoded_s = len(pcm.samples) / pcm.sample_rate
            sound = _measure(pcm)
    except BrokenMp3 as broken:
        return Verdict(hard=(Fault(FaultCode(broken.code), f"not sound MP3: {broken}"),))
    needed_s = pace * needed_time_s(spoken) / speed
    ratio = sound.speech_s / needed_s
    hard = [
        *_length_faults(decoded_s, frames.duration_ms / 1000),
        *_sound_faults(sound, spoken, ratio, needed_s, pace * marked_time_s(spoken) / speed),
        *_transcript_faults(transcript, spoken, language),
    ]
    return Verdict(
        hard=tuple(hard),
        soft=tuple(_soft_faults(sound, has_end=has_end)),
        frames=frames,
        duration_ms=frames.duration_ms,
        speech_ms=round(1000 * sound.speech_s),
        needed_ms=round(1000 * needed_s),
        ratio=ratio,
        active_dbfs=sound.active_dbfs,
        peak_dbfs=sound.peak_dbfs,
    )


def publishable(mp3: bytes, verdict: Verdict) -> bytes:
    """What is stored of a sound take: bare frames, levelled without loss.

    Active speech comes as near to -20 dBFS as a peak under -1 dBFS and the
    gains' 8 bits allow; the bytes stay as they are where nothing is to change.
    Raises ValueError for a take that isn't sound.
    """
    frames = verdict.frames
    if frames is None or not verdict.is_sound:
        raise ValueError(f"not to be published: {verdict.reason}")
    lowest, highest = frames.step_room
    wanted = gain_steps(verdict.active_dbfs, verdict.peak_dbfs)
    return level(mp3, frames, max(lowest, min(highest, wanted)))


def needed_time_s(spoken: str) -> float:
    """How long a text takes at an ordinary pace: 0.20 s and 0.060 s a unit."""
    words = spoken.split()
    # A card written all in capitals isn't spelled out.
    is_shouted = spoken.isupper() and len(words) > 1
    return _FIXED_S + _UNIT_S * sum(_units(word, is_shouted=is_shouted) for word in words)


def marked_time_s(spoken: str) -> float:
    """How much longer a text may take for its punctuation, which need not be heard."""
    return _MARK_S * sum(2 if mark == "..." else 1 for mark in _MARKS.findall(spoken))


def _units(word: str, *, is_shouted: bool) -> float:
    letters = sum(map(_letter_units, word))
    if not is_shouted and _is_acronym(word):
        letters *= 2.5
    elif letters:
        letters = max(letters, 2)
    # "1 000 000" is said in two words: zeros in a row take no longer than one.
    digits = sum(map(str.isdigit, re.sub("0+", "0", word)))
    symbols = sum(char in _SYMBOLS for char in word)
    return letters + 4 * digits + 6 * symbols


def _letter_units(char: str) -> float:
    """One, but three for Chinese, Japanese and Korean signs (a syllable; an estimate)."""
    if not char.isalpha():
        return 0
    return 3 if unicodedata.east_asian_width(char) == "W" else 1


def _is_acronym(word: str) -> bool:
    letters = [char for char in word if char.isalpha()]
    return 2 <= len(letters) <= _LONGEST_ACRONYM and "".join(letters).isupper()


def _measure(pcm: Pcm) -> _Sound:
    levels, end_level = _levels(pcm)
    loudest = max(levels)
    active = [i for i, level in enumerate(levels) if level >= loudest / _ACTIVE_RANGE]
    first, last = active[0], active[-1]
    ordered = sorted(levels[first : last + 1])
    return _Sound(
        lead_s=first / _WINDOWS_A_SECOND,
        speech_s=(last + 1 - first) / _WINDOWS_A_SECOND,
        tail_s=(len(levels) - 1 - last) / _WINDOWS_A_SECOND,
        window_count=len(ordered),
        spread_db=_dbfs(_percentile(ordered, 0.9)) - _dbfs(_percentile(ordered, 0.1)),
        end_drop_db=_dbfs(loudest) - _dbfs(end_level),
        active_dbfs=_dbfs(sqrt(sum(levels[i] ** 2 for i in active) / len(active))),
        peak_dbfs=_dbfs(_peak(pcm)),
    )


def _levels(pcm: Pcm) -> tuple[list[int], int]:
    """The RMS of each whole 20 ms, and that of the last 40 ms, of `_FULL_SCALE`."""
    import audioop

    def rms(window: memoryview) -> int:
        level = audioop.rms(window, SAMPLE_BYTES)
        if level >= _COARSE_BELOW:
            return level << _WIDER_BITS
        # It's a whole number: too coarse where the samples are soft, unless they are widened.
        wide = audioop.lin2lin(window, SAMPLE_BYTES, 2 * SAMPLE_BYTES)
        return audioop.rms(wide, 2 * SAMPLE_BYTES)

    samples = pcm.samples
    size = pcm.sample_rate // _WINDOWS_A_SECOND
    starts = range(0, len(samples) - size + 1, size)
    return [rms(samples[at : at + size]) for at in starts], rms(samples[-2 * size :])


def _peak(pcm: Pcm) -> int:
    """The largest sample, of `_FULL_SCALE`."""
    import audioop

    lowest, highest = audioop.minmax(pcm.samples, SAMPLE_BYTES)
    return max(highest, -lowest) << _WIDER_BITS


def _dbfs(level: float) -> float:
    return max(_FLOOR_DBFS, 20 * log10(level / _FULL_SCALE)) if level else _FLOOR_DBFS


def _percentile(ordered: list[int], share: float) -> int:
    return ordered[round(share * (len(ordered) - 1))]


def _length_faults(decoded_s: float, walked_s: float) -> list[Fault]:
    if abs(decoded_s - walked_s) < DECODE_GAP_S:
        return []
    message = f"{decoded_s:.2f} s can be decoded of frames that last {walked_s:.2f} s"
    return [Fault(FaultCode.DAMAGED, message)]


def _sound_faults(
    sound: _Sound, spoken: str, ratio: float, needed_s: float, marked_s: float
) -> list[Fault]:
    if sound.active_dbfs < SILENT_DBFS:
        # Nothing else can be said of a clip in which nobody speaks.
        message = f"silent: its loudest parts reach {sound.active_dbfs:.0f} dBFS"
        return [Fault(FaultCode.SILENT, message)]
    lowest, highest = SEVERAL_WORDS_RATIO if len(spoken.split()) > 1 else ONE_WORD_RATIO
    if any(map(str.isdigit, spoken)):
        lowest = SHORTEST_NUMBER_RATIO
    length = f"{sound.speech_s:.2f} s of sound for a text that needs {needed_s:.2f} s"
    is_flat = sound.window_count >= FLAT_WINDOW_COUNT and sound.spread_db < FLAT_SPREAD_DB
    flat = f"its loudness varies by {sound.spread_db:.1f} dB only: a tone or noise, not speech"
    lead = f"{sound.lead_s:.2f} s of silence before the speech"
    tail = f"{sound.tail_s:.2f} s of silence after the speech"
    checks = (
        (FaultCode.FLAT, is_flat, flat),
        (FaultCode.TOO_SHORT, ratio < lowest, length),
        (FaultCode.TOO_LONG_AUDIO, sound.speech_s > highest * needed_s + marked_s, length),
        (FaultCode.LONG_LEAD, sound.lead_s > LONGEST_LEAD_S, lead),
        (FaultCode.LONG_TAIL, sound.tail_s > LONGEST_TAIL_S, tail),
    )
    return [Fault(code, message) for code, is_so, message in checks if is_so]


def _transcript_faults(transcript: str | None, spoken: str, language: str) -> list[Fault]:
    if transcript is None:
        return []
    if not transcript.strip():
        message = "no transcript came with it, so what it says isn't known"
        return [Fault(FaultCode.NO_TRANSCRIPT, message)]
    # Late: plain text to speech has no use for it.
    from memolist_tts.core.verbatim import says

    if says(transcript, spoken, language):
        return []
    message = f"it says {_quoted(transcript)} instead of {_quoted(spoken)}"
    return [Fault(FaultCode.REWORDED, message)]


def _quoted(text: str) -> str:
    return f"“{text}”" if len(text) <= _MOST_QUOTED else f"“{text[:_MOST_QUOTED]}…”"


def _soft_faults(sound: _Sound, *, has_end: bool) -> list[Fault]:
    is_loud = sound.active_dbfs >= SILENT_DBFS and sound.end_drop_db < LOUD_END_DROP_DB
    loud = f"it ends in mid-sound, {sound.end_drop_db:.0f} dB under its loudest part"
    unsure = "it came with neither a length nor chunks, so it may be cut"
    checks = (
        (FaultCode.LOUD_END, is_loud, loud),
        (FaultCode.UNSURE_END, not has_end, unsure),
    )
    return [Fault(code, message) for code, is_so, message in checks if is_so]
