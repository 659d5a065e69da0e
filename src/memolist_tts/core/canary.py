"""The drift canary: golden phrases spoken outside any job, compared with what was accepted.

It speaks by a job's own session, so pace, retakes, budget and faults are a job's. Only
nothing is stored: no clip, no card and no job knows of it.
"""

from __future__ import annotations

import contextlib
import threading
import tomllib
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Protocol

from memolist_tts.core import drift
from memolist_tts.core.chunk import GRACE_S, SETTLE_S
from memolist_tts.core.counting import counted
from memolist_tts.core.drift import Measures, Pair
from memolist_tts.core.errors import DatabaseError, MemolistError, StopRun, TryAgain
from memolist_tts.core.key import audio_key
from memolist_tts.core.model import ClipId, Job, Line, Phrase, Speech, SpeechRequest, Stop
from memolist_tts.core.plan import Script, line_of
from memolist_tts.core.ports import Ledger, PaceBook, Speaker
from memolist_tts.core.purse import Purse
from memolist_tts.core.speaking import Given, Session, Spoken, Terms, stopped_by
from memolist_tts.core.takes import Stored, Work, judged
from memolist_tts.core.verdict import Verdict

NAME = "canary"
"""Under which its money is written down, where a job's has the job's id."""
REFUSED = ("refused", "too_long")
"""Codes by which the provider takes no text that it took before."""


class CanaryBusy(TryAgain):
    """Another canary speaks just now."""


class State(StrEnum):
    """How a golden phrase is."""

    SAME = "same"
    """As accepted, but for what differs between any two takes."""
    NEW = "new"
    """Sound, and nothing was accepted: it is the baseline now."""
    DRIFTED = "drifted"
    UNSOUND = "unsound"
    """No take could be published, or the provider refused the text."""
    UNMEASURED = "unmeasured"
    """Nothing is known of the voice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """One golden phrase, as it came out."""

    key: str
    """The audio key: the text, the language's voice, and all else that is sent."""
    language: str
    said: str
    voice: str
    model: str
    state: State
    now: Measures | None = None
    accepted: Measures | None = None
    problem: str = ""
    audio: bytes = field(default=b"", repr=False)
    """The recording as the provider sent it."""

    @property
    def is_ill(self) -> bool:
        """Whether a person has to listen."""
        return self.state in (State.DRIFTED, State.UNSOUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One canary, as it ended."""

    id: str
    heard: Sequence[Heard]
    shift: str = ""
    """How the voices have moved as a whole; empty where they haven't."""
    code: str | None = None
    """Why not every phrase was measured: a `Stop`'s code, or an utterance's."""
    message: str | None = None
    must_act: bool = False
    """Whether trying again won't do: money, key, configuration, or a pause."""
    cost_usd: float | None = None
    retaken: int = 0
    seconds: float = 0.0

    @property
    def drifted(self) -> int:
        """What a person has to listen to: phrases, or all where only the whole has moved."""
        return sum(each.is_ill for each in self.heard) + (
            self.count(State.SAME) if self.shift else 0
        )

    def count(self, state: State) -> int:
        """How many phrases are so."""
        return sum(each.state is state for each in self.heard)

    @property
    def unmeasured(self) -> int:
        return self.count(State.UNMEASURED)


class Book(Protocol):
    """What canaries measured, and what of it was accepted. Raises `DatabaseError`."""

    def begin(self, run_id: str, *, lease_s: float) -> bool:
        """Let no other canary speak for `lease_s` seconds; False: one does just now."""
        ...

    def accepted(self, keys: Collection[str]) -> Mapping[str, Measures]:
        """The accepted recordings, by audio key."""
        ...

    def finish(self, run: Run) -> None:
        """Write a run down; what is `new` in it becomes the baseline, if there still is none."""
        ...

    def abandon(self, run_id: str) -> None:
        """Let go of a run that broke."""
        ...

    def pause(self) -> str | None:
        """Why an operator, or the worker, has paused all work; None where nobody has."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What a canary works with. One thread uses it."""

    book: Book
    pace: PaceBook
    ledger: Ledger
    script: Callable[[], Script]
    speaker: Callable[[], Speaker]
    clock: Callable[[], float]
    in_flight: int
    flush_s: float


@cache
def golden() -> Mapping[str, Sequence[str]]:
    """golden.toml: the phrases of each language."""
    path = Path(__file__).with_name("golden.toml")
    phrases: dict[str, list[str]] = tomllib.loads(path.read_text(encoding="utf-8"))["phrases"]
    return phrases


def run_canary(
    languages: Sequence[str],
    ports: Ports,
    *,
    seconds: float,
    halt: threading.Event,
    tell: Callable[[int, int], None] = lambda *_: None,
) -> Run:
    """Speak the golden phrases of `languages`, over within `seconds`, and compare.

    `tell` hears how many of how many have ended. Money, key and configuration are told by
    the run's code, not raised. Raises `CanaryBusy`, `DatabaseError`, and `MemolistError`
    where there is nothing to speak. Dying midway leaves the run's lease, which runs out,
    and the money it had set aside.
    """
    phrases = [(code, text) for code in languages for text in golden().get(code, ())]
    if not phrases:
        raise MemolistError(f"golden.toml has no phrases of {', '.join(languages)}: add some")
    began, run_id = ports.clock(), str(uuid.uuid4())
    if not ports.book.begin(run_id, lease_s=seconds + GRACE_S):
        raise CanaryBusy("Another canary speaks just now: look at it with `canary --last`.")
    try:
        run = _Canary(ports, began + seconds - SETTLE_S, halt, tell).speak(run_id, phrases)
        run = replace(run, seconds=ports.clock() - began)
        ports.book.finish(run)
    except BaseException:
        with contextlib.suppress(DatabaseError):
            ports.book.abandon(run_id)
        raise
    return run


class _Nowhere:
    """The shelf of a session whose recordings nobody keeps."""

    def put(self, name: str, mp3: bytes) -> bool:  # noqa: ARG002
        return True

    def read(self, name: str) -> bytes | None:  # noqa: ARG002
        return None


class _Overheard:
    """A speaker whose answers are kept, by the key of what was asked."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._lock = threading.Lock()
        self._answers: defaultdict[str, list[Speech]] = defaultdict(list)

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:
        speech = self._speaker.speak(request, timeout_s)
        with self._lock:
            self._answers[audio_key([request])].append(speech)
        return speech

    def rest(self) -> None:
        self._speaker.rest()

    def answers(self, key: str) -> list[Speech]:
        with self._lock:
            return list(self._answers[key])


@dataclass(slots=True)
class _Canary:
    ports: Ports
    deadline: float
    halt: threading.Event
    tell: Callable[[int, int], None]

    def speak(self, run_id: str, phrases: Sequence[tuple[str, str]]) -> Run:
        if (why := self.ports.book.pause()) is not None:
            return Run(id=run_id, heard=(), code="paused", message=why, must_act=True)
        try:
            lines = _lines(phrases, self.ports.script())
            speaker = _Overheard(self.ports.speaker())
        except StopRun as error:
            return _stopped(Run(id=run_id, heard=()), stopped_by(error))
        accepted = self.ports.book.accepted([line.key for line in lines])
        works = [Work(line=line, clip=ClipId(line.key)) for line in lines]
        session, ends = self._session(run_id, works, speaker, has_spoken=bool(accepted))
        heard = [
            _heard(line, ends.get(line.key), speaker.answers(line.key), accepted.get(line.key))
            for line in lines
        ]
        is_priced = all(line.voice.price is not None for line in lines)
        run = Run(
            id=run_id,
            heard=heard,
            shift=drift.shift([pair for each in heard if (pair := _pair(each)) is not None]),
            cost_usd=sum(work.cost_usd or 0.0 for work in works) if is_priced else None,
            retaken=session.figures.retaken,
        )
        return _stopped(run, session.stop)

    def _session(
        self, run_id: str, works: Sequence[Work], speaker: Speaker, *, has_spoken: bool
    ) -> tuple[Session, dict[str, Spoken]]:
        """A job's session over these lines, and how each ended."""
        ports = self.ports
        job = Job(id=NAME, list_id="", lease=run_id, attempts_before=0, group=NAME)
        purse = Purse(job, ports.ledger)
        terms = Terms(
            deadline=self.deadline,
            run_s=self.deadline - ports.clock(),
            in_flight=ports.in_flight,
            flush_s=ports.flush_s,
            clock=ports.clock,
            halt=self.halt,
            purse=purse,
            leased_until=lambda: self.deadline + GRACE_S,
            has_spoken=has_spoken,
        )
        session = Session(works, speaker, _Nowhere(), ports.pace, terms)
        ends: dict[str, Spoken] = {}
        try:
            for batch in session:
                ends |= {spoken.line.key: spoken for spoken in batch or ()}
                self.tell(len(ends), len(works))
                purse.write()
                if (why := ports.book.pause()) is not None:
                    session.end(Stop(code="paused", message=why))
        finally:
            speaker.rest()
            purse.close()
        return session, ends


def _lines(phrases: Sequence[tuple[str, str]], script: Script) -> list[Line]:
    """What a job would send for the phrases. Raises `MemolistError` where one can't be said."""
    lines: dict[str, Line] = {}
    for language, text in phrases:
        said = line_of(Phrase(card_id="", language=language, shown=text, url=None), script)
        if not isinstance(said, Line):
            raise MemolistError(f"golden.toml: {text!r} can't be spoken: {said.message}")
        lines.setdefault(said.key, said)
    return list(lines.values())


def _stopped(run: Run, stop: Stop | None) -> Run:
    """`run` with the reason why it, or a phrase of it, was not measured."""
    if stop is not None and (run.unmeasured or not run.heard):
        must_act = stop.code == "paused" or (stop.rings and stop.code != "provider_down")
        return replace(run, code=stop.code, message=stop.message, must_act=must_act)
    for each in run.heard:
        if each.state is State.UNMEASURED:
            code, _, message = each.problem.partition(": ")
            return replace(run, code=code, message=message)
    return run


def _heard(
    line: Line, end: Spoken | None, answers: Sequence[Speech], accepted: Measures | None
) -> Heard:
    found = Heard(
        key=line.key,
        language=line.voice.language,
        said=line.spoken,
        voice=line.voice.name,
        model=line.voice.model,
        state=State.UNMEASURED,
        accepted=accepted,
    )
    if end is None:
        return replace(found, problem="out_of_time: The run's time was up.")
    best = _best(line, answers)
    if isinstance(end.end, Given) or best is None:
        return _unspoken(found, end.end, best, len(answers))
    verdict, speech = best
    now = Measures(
        speech_ms=verdict.speech_ms,
        active_dbfs=round(verdict.active_dbfs, 2),
        transcript=speech.transcript,
    )
    found = replace(found, now=now, audio=speech.mp3)
    if accepted is None:
        return replace(found, state=State.NEW)
    problem = drift.drift(Pair(language=found.language, now=now, accepted=accepted))
    return replace(found, state=State.DRIFTED if problem else State.SAME, problem=problem)


def _unspoken(
    found: Heard, end: Given | Stored, best: tuple[Verdict, Speech] | None, takes: int
) -> Heard:
    """A phrase that no take could be published of."""
    if not isinstance(end, Given):
        return replace(found, problem="internal: its recording was lost")
    if best is not None and not best[0].is_sound:
        verdict, speech = best
        told = f"{end.code}: {counted(takes, 'take')}, none sound: {verdict.reason}"
        return replace(found, state=State.UNSOUND, problem=told, audio=speech.mp3)
    state = State.UNSOUND if end.code in REFUSED else State.UNMEASURED
    return replace(found, state=state, problem=f"{end.code}: {end.message}")


def _best(line: Line, answers: Sequence[Speech]) -> tuple[Verdict, Speech] | None:
    """The take that a job would publish, or the least bad one; None where there is none."""
    heard = ((judged(line, speech.mp3, speech.transcript), speech) for speech in answers)
    return min(heard, key=lambda each: each[0].badness, default=None)


def _pair(heard: Heard) -> Pair | None:
    """What says something of the voice as a whole: no phrase that has drifted by itself."""
    if heard.state is not State.SAME or heard.now is None or heard.accepted is None:
        return None
    return Pair(language=heard.language, now=heard.now, accepted=heard.accepted)
