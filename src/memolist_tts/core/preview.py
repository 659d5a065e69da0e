"""One line spoken outside any job, for a person: the same session, and the same books."""

from __future__ import annotations

import threading
from contextlib import suppress

from memolist_tts.core import takes
from memolist_tts.core.chunk import GRACE_S, SETTLE_S, Ports, Rules
from memolist_tts.core.errors import DatabaseError, MemolistError, SpeechError, TryAgain
from memolist_tts.core.model import Clip, ClipId, Line, Stop
from memolist_tts.core.ports import Clips, Ledger, Speaker
from memolist_tts.core.purse import Purse
from memolist_tts.core.speaking import Given, Session, Spoken, Terms, clip_of
from memolist_tts.core.takes import Work
from memolist_tts.core.verdict import Verdict


class NotSpoken(MemolistError):
    """The line could not be spoken; the text has the code and the reason."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code


def speak_line(
    line: Line, ports: Ports, rules: Rules, *, seconds: float, halt: threading.Event
) -> ClipId:
    """The line's clip, stored: found there, or spoken, judged and kept for every job.

    Setting `halt` starts no more calls; one under way is stored. Raises `NotSpoken`,
    `TryAgain` where another run speaks it just now, and what the ports raise. Dying
    midway leaves a reservation that the next run takes over.
    """
    deadline = ports.clock() + seconds
    job = ports.clips.open(lease_s=seconds + GRACE_S)
    stored: list[Clip] = []
    begun: list[ClipId] = []
    try:
        reserved = ports.clips.reserve(job, [line], fresh=())
        if (found := reserved.stored.get(line.key)) is not None:
            return found
        if (mine := reserved.mine.get(line.key)) is None:
            raise TryAgain("A job speaks this text just now: try again in a moment.")
        ports.storage.prove()
        work = Work(
            line=line,
            clip=mine.id,
            look_first=mine.look_first,
            look_until=ports.clock() + mine.held_s,
        )
        purse = Purse(job, ports.ledger)
        terms = Terms(
            deadline=deadline - SETTLE_S,
            run_s=seconds - SETTLE_S,
            in_flight=1,
            flush_s=rules.flush_s,
            clock=ports.clock,
            halt=halt,
            purse=purse,
            leased_until=lambda: deadline + GRACE_S,
            has_spoken=True,
        )
        speaker = ports.speaker()
        session = Session([work], speaker, ports.storage, ports.pace, terms)
        try:
            ended = [spoken for batch in session for spoken in batch or ()]
        finally:
            begun += session.begun
            speaker.rest()
            # What can't be written now stays set aside, and counts as spent; the clip is kept.
            with suppress(DatabaseError):
                purse.close()
        stored += [clip for spoken in ended if (clip := clip_of(spoken)) is not None]
        return _clip(ended, session)
    finally:
        ports.clips.close(job, stored, begun=begun)


def _clip(ended: list[Spoken], session: Session) -> ClipId:
    for spoken in ended:
        if isinstance(spoken.end, Given):
            raise NotSpoken(spoken.end.code, spoken.end.message)
        return spoken.end.clip.id
    if (stop := session.stop) is not None:
        raise NotSpoken(stop.code, stop.message)
    raise NotSpoken("out_of_time", "no answer in time")


def hear(
    line: Line, speaker: Speaker, clips: Clips, ledger: Ledger, *, timeout_s: float
) -> Verdict:
    """What one take of a short line is like: paid for as any other, and stored nowhere.

    Raises `NotSpoken` where no money is left, and what the speaker and the ports raise.
    Dying midway leaves the money set aside: the call may be billed.
    """
    job = clips.open(lease_s=timeout_s + GRACE_S)
    purse = Purse(job, ledger)
    work = Work(line=line, clip=ClipId(line.key, 0))
    try:
        if isinstance(stop := purse.covers([work]), Stop):
            raise NotSpoken(stop.code, stop.message)
        purse.start(work)
        try:
            heard = takes.hear(work, speaker, timeout_s)
        except SpeechError:
            purse.end(work)
            raise
        purse.end(work)
        return heard
    finally:
        speaker.rest()
        purse.close()
        clips.close(job, [], begun=())
