"""One call to the provider and what becomes of it. Runs on a thread; owns no state."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from memolist_tts.core import mp3, verdict
from memolist_tts.core.errors import MemolistError
from memolist_tts.core.model import Clip, ClipId, Limits, Line, Speech
from memolist_tts.core.ports import Shelf, Speaker
from memolist_tts.core.prices import Usage
from memolist_tts.core.verdict import FaultCode, Verdict

_JUDGE = ThreadPoolExecutor(1, thread_name_prefix="judge")
"""Judging is computation: several at once would all end late, and start the next wave as one.
In one thread its buffers, half a megabyte, are one thread's, and stay in the processor's cache."""
MOST_TAKES = 3
"""The first and two more: a third bad one is no accident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One judged recording of a line."""

    audio: bytes = field(repr=False)
    verdict: Verdict
    request_id: str | None = None


@dataclass(slots=True, kw_only=True)
class Work:
    """A line on its way to a clip. One thread at a time holds it."""

    line: Line
    clip: ClipId
    look_first: bool = False
    look_until: float = 0.0
    """On the run's clock: an abandoned call may store the clip until then."""
    parts: tuple[Speech, ...] = ()
    """What this take has of a text read in parts."""
    takes: tuple[Take, ...] = ()
    calls: int = 0
    """That brought something, for this take or one before."""
    calls_s: float = 0.0
    """What they lasted together."""
    tries: int = 0
    """Failed calls for the part at hand."""
    overloads: int = 0
    """Calls that timed out while the session had too many in flight: not this line's fault."""
    store_tries: int = 0
    ready_at: float = 0.0
    characters: int = 0
    cost_usd: float | None = None
    is_reported: bool = False
    """The last take's cost is by the tokens that the provider told."""
    booked_characters: int = 0
    booked_usd: float = 0.0
    """What the purse has of these."""

    @property
    def has_sound_take(self) -> bool:
        """Whether there is a recording that may be published."""
        return any(take.verdict.is_sound for take in self.takes)

    @property
    def mean_call_s(self) -> float:
        """How long its calls lasted, on average; 0 before one has brought something."""
        return self.calls_s / max(1, self.calls)

    def let_go(self) -> None:
        """Drop the recordings: the line has ended."""
        self.parts = self.takes = ()

    def apart(self) -> Work:
        """The same work for another thread, while one that hangs may still touch this."""
        return replace(self)

    @property
    def characters_next(self) -> int:
        """What the next call will be charged for."""
        return len(self.line.pieces[len(self.parts)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The clip is in the store."""

    clip: Clip
    found: bool = False
    """Left there by a run that died before it could write it down; nobody was asked."""


@dataclass(frozen=True, slots=True)
class Unfinished:
    """Another call is due: the next part, or another take."""

    is_retake: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """No take can be published."""

    code: str
    """`not_verbatim` where most takes say other words than the text's, else `bad_audio`."""
    reason: str
    lacks: str | None = None
    """What no take had, "MP3" or "transcript": perhaps the server never sends it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A call that brought something, and what the provider said of its pace."""

    ending: Stored | Unfinished | Rejected
    limits: Limits | None = None


def look(work: Work, storage: Shelf) -> Stored | None:
    """The clip, if a dead run stored it before it could be written down."""
    audio = storage.read(work.clip.object_name)
    if audio is None:
        return None
    # It was judged before it was stored.
    return Stored(clip=_clip(work, audio, _duration_ms(work.clip, audio), None), found=True)


def call(work: Work, speaker: Speaker, storage: Shelf, timeout_s: float) -> Answer:
    """Make one call; with the last part, judge the take and store the clip if it's sound."""
    speech = _ask(work, speaker, timeout_s)
    if len(work.parts) < len(work.line.pieces):
        return Answer(ending=Unfinished(is_retake=False), limits=speech.limits)
    return Answer(ending=_conclude(work, storage), limits=speech.limits)


def hear(work: Work, speaker: Speaker, timeout_s: float) -> Verdict:
    """Make the one call of a line in one part and judge what it brings; nothing is stored."""
    _ask(work, speaker, timeout_s)
    heard = _take(work).verdict
    work.parts = ()
    return heard


def _ask(work: Work, speaker: Speaker, timeout_s: float) -> Speech:
    work.characters += work.characters_next
    speech = speaker.speak(work.line.request(len(work.parts)), timeout_s)
    work.parts += (speech,)
    return speech


def _conclude(work: Work, storage: Shelf) -> Stored | Unfinished | Rejected:
    """Judge a whole take: publish the best, take again, or give up; the numbers are AUDIO's."""
    work.takes += (_JUDGE.submit(_take, work).result(),)
    work.parts = ()
    newest = work.takes[-1].verdict
    if newest.is_sound and not newest.soft:
        return _store(work, work.takes[-1], storage)
    sound = [take for take in work.takes if take.verdict.is_sound]
    if len(work.takes) < MOST_TAKES and len(sound) < 2:
        return Unfinished(is_retake=True)
    if sound:
        return _store(work, min(sound, key=_badness), storage)
    return rejected(work)


def rejected(work: Work) -> Rejected:
    """Why none of a line's takes can be published."""
    found = [take.verdict for take in work.takes]
    wrong = [each for each in found if each.word_fault]
    lacks = next((what for what, code in _LACKS.items() if _all_have(code, found)), None)
    if 2 * len(wrong) > len(found):
        return Rejected(code="not_verbatim", reason=wrong[-1].word_fault, lacks=lacks)
    rest = [each for each in found if not each.word_fault]
    reason = min(rest, key=lambda each: each.badness).reason
    return Rejected(code="bad_audio", reason=reason, lacks=lacks)


_LACKS = {"MP3": FaultCode.NOT_MP3, "transcript": FaultCode.NO_TRANSCRIPT}


def _all_have(code: FaultCode, found: list[Verdict]) -> bool:
    return all(any(fault.code is code for fault in each.hard) for each in found)


def keep_best(work: Work, storage: Shelf) -> Stored:
    """Store the best sound take there is, where no time is left for a better one."""
    best = min((take for take in work.takes if take.verdict.is_sound), key=_badness)
    return _store(work, best, storage)


def _badness(take: Take) -> tuple[int, int, float]:
    return take.verdict.badness


def _take(work: Work) -> Take:
    parts = work.parts
    told = [part.transcript for part in parts]
    audio = _joined([part.mp3 for part in parts])
    # A part that isn't told leaves a gap in the whole.
    transcript = None if told.count(None) == len(told) else " ".join(filter(None, told))
    has_end = all(part.has_end for part in parts)
    found = judged(work.line, audio, transcript, has_end=has_end)
    if (price := work.line.voice.price) is not None:
        usage = _billed(parts)
        work.is_reported = usage is not None and price.per_million_audio_tokens is not None
        cost = price.usd(
            characters=len(work.line.spoken), duration_ms=found.duration_ms, usage=usage
        )
        work.cost_usd = work.cost_usd if cost is None else (work.cost_usd or 0.0) + cost
    return Take(audio=audio, verdict=found, request_id=parts[-1].request_id)


def judged(line: Line, audio: bytes, transcript: str | None, *, has_end: bool = True) -> Verdict:
    """What a recording of a line is like, at the speed that was asked for."""
    voice = line.voice
    return verdict.judge(
        audio, line.spoken, language=voice.language, speed=voice.speed, transcript=transcript,
        has_end=has_end,
    )  # fmt: skip


def _billed(parts: Sequence[Speech]) -> Usage | None:
    """The bill of all parts; None if one of them came without."""
    bills = [part.usage for part in parts if part.usage is not None]
    if len(bills) < len(parts):
        return None
    return Usage(
        audio_out=sum(bill.audio_out for bill in bills),
        text_in=sum(bill.text_in for bill in bills),
        text_out=sum(bill.text_out for bill in bills),
    )


def _joined(parts: list[bytes]) -> bytes:
    if len(parts) == 1:
        return parts[0]
    try:
        return mp3.join(parts)
    except mp3.BrokenMp3:
        # The verdict names what is wrong with the whole.
        return b"".join(parts)


def _store(work: Work, take: Take, storage: Shelf) -> Stored:
    audio = verdict.publishable(take.audio, take.verdict)
    duration_ms = take.verdict.duration_ms
    if not storage.put(work.clip.object_name, audio):
        # Another run's recording of the same words was first: what is there counts.
        stored = storage.read(work.clip.object_name)
        if stored is not None and stored != audio:
            audio, duration_ms = stored, _duration_ms(work.clip, stored)
    return Stored(clip=_clip(work, audio, duration_ms, take.request_id))


def _duration_ms(clip: ClipId, stored: bytes) -> int:
    """Raises `MemolistError` for an object that can't be a clip: a store cut it as it came."""
    try:
        return mp3.walk(stored).duration_ms
    except mp3.BrokenMp3 as broken:
        raise MemolistError(
            f"the store keeps no sound MP3 as {clip.object_name} ({broken}), and never overwrites. "
            "Delete that object, then retry the job."
        ) from broken


def _clip(work: Work, audio: bytes, duration_ms: int, request_id: str | None) -> Clip:
    return Clip(
        id=work.clip,
        size_bytes=len(audio),
        duration_ms=duration_ms,
        cost_usd=work.cost_usd,
        request_id=request_id,
    )
