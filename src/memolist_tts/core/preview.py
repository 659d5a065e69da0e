"""One line spoken outside any job, for a person who wants to hear it: the same session."""

from __future__ import annotations

import threading

from memolist_tts.core.chunk import GRACE_S, SETTLE_S, Ports, Rules
from memolist_tts.core.errors import MemolistError, TryAgain
from memolist_tts.core.model import Clip, ClipId, Line
from memolist_tts.core.purse import Purse
from memolist_tts.core.speaking import Given, Session, Spoken, Terms, clip_of
from memolist_tts.core.takes import Work


class NotSpoken(MemolistError):
    """The line could not be spoken; the text has the code and the reason."""


def speak_line(line: Line, ports: Ports, rules: Rules, *, seconds: float) -> ClipId:
    """The line's clip, stored: found there, or spoken, judged and kept for every job.

    Raises `NotSpoken`, `TryAgain` where another run speaks it just now, and what
    the ports raise. Dying midway leaves a reservation that the next run takes over.
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
            in_flight=1,
            flush_s=rules.flush_s,
            clock=ports.clock,
            halt=threading.Event(),
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
            purse.close()
        stored += [clip for spoken in ended if (clip := clip_of(spoken)) is not None]
        return _clip(ended, session)
    finally:
        ports.clips.close(job, stored, begun=begun)


def _clip(ended: list[Spoken], session: Session) -> ClipId:
    for spoken in ended:
        if isinstance(spoken.end, Given):
            raise NotSpoken(f"{spoken.end.code}: {spoken.end.message}")
        return spoken.end.clip.id
    stop = session.stop
    raise NotSpoken(f"{stop.code}: {stop.message}" if stop else "out_of_time: no answer in time")
