"""A session: many lines to clips, in parallel, at the provider's pace, until a deadline.

Threads call, judge and store; this loop, in the caller's thread, decides what
starts when and what a failure means. It waits for ends, slots and the next
flush, never for a call that overruns.
"""

from __future__ import annotations

import math
import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial

from memolist_tts.core import takes
from memolist_tts.core.counting import counted
from memolist_tts.core.crew import Crew
from memolist_tts.core.errors import (
    DatabaseError,
    MemolistError,
    Misconfigured,
    NetworkFault,
    SpeechError,
    StopRun,
    StorageError,
    Throttled,
    TryAgain,
    UtteranceRefused,
)
from memolist_tts.core.model import Clip, ClipId, Line, Stop
from memolist_tts.core.ports import PaceBook, Shelf, Speaker
from memolist_tts.core.purse import Purse
from memolist_tts.core.slots import LEASE_AHEAD_S, Slot, Slots
from memolist_tts.core.takes import Answer, Rejected, Stored, Unfinished, Work

TRIES = 3
"""Failed calls before an utterance is given up (a gateway may hide a 4xx in a 500)."""
BACK_OFF_S = 1.0
ALIKE = 3
"""Texts refused alike without a success: that is no text's fault."""
OUTAGE = 8
"""Lines given up since a call was answered: that is the provider's outage, not the lines'."""
CONTENT_CODES = ("content_policy_violation", "content_filter", "moderation_blocked")
"""Refusals that are surely about the text."""
LONGEST_IDLE_S = 20.0
"""A rest that the provider wants is waited for in the queue if it's longer, not by a run."""
LOOK_AGAIN_S = 1.0
TURN_OVER = Stop(code="turn_over", message="Another user waits; the rest follows.")
OUT_OF_TIME = Stop(code="out_of_time", message="The run's time is up; the rest follows.")
FIRST_CALL_S = 5.0
"""How long a call is thought to take before one has been seen."""
CALL_TIMEOUT_S = 20.0
"""Without a byte."""
LONGEST_CALL_S = 60.0
"""A body that drips is never done: past this the call has failed."""
STORE_TRIES = 5
"""For a clip that is paid for: 1, 2, 4 and 8 s apart."""
MOST_OVERLOADS = 2
SAME_WAVE_S = 5.0
"""Calls that time out together show once that too many are in flight."""
LONG_DELAY_S = 900.0
OUTAGE_DELAY_S = 60.0
TERMINATION_GRACE_S = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A line given up: what its utterances carry."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """A line's end."""

    line: Line
    end: Stored | Given
    characters: int
    cost_usd: float | None


@dataclass(slots=True)
class Figures:
    """What the session asked of the provider."""

    requests: int = 0
    throttled: int = 0
    refused: int = 0
    retaken: int = 0
    longest_call_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Terms:
    """What a session works under."""

    deadline: float
    """On `clock`: everything is over by then."""
    run_s: float
    """Of the whole run, of which the session may be the last moments."""
    has_asked: bool = False
    """Whether the run asked the provider for something before."""
    in_flight: int
    flush_s: float
    look_s: float = math.inf
    clock: Callable[[], float]
    halt: threading.Event
    """Set when the process is asked to end."""
    purse: Purse
    leased_until: Callable[[], float]
    """On `clock`: past it another run may speak the same, and nothing is to be paid for."""
    has_spoken: bool = False
    """Whether the provider took any text of this job before."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    """What a thread has in hand."""

    work: Work
    started: float
    slot: Slot | None = None
    """Of a call; None for what asks nothing of the provider."""


class Session:
    """Iterate to get the lines that ended, every `flush_s`; then see `stop`.

    Between them comes None, every `look_s`, for a look at what else goes on.

    An iterator that is closed early starts nothing more, and stores what is under way.
    """

    def __init__(
        self,
        works: Iterable[Work],
        speaker: Speaker,
        storage: Shelf,
        pace: PaceBook,
        terms: Terms,
    ) -> None:
        self._speaker = speaker
        self._storage = storage
        self._terms = terms
        self._crew: Crew[_Ticket, Answer | Stored | None] = Crew(terms.in_flight)
        self._calls: dict[_Ticket, None] = {}
        self._cap = terms.in_flight
        self._cut_at = -math.inf
        self._answered_since = 0
        self._unstored = 0
        self._ready: deque[Work] = deque()
        self._to_look: deque[Work] = deque()
        for work in works:
            (self._to_look if work.look_first else self._ready).append(work)
        self._unended = len(self._to_look) + len(self._ready)
        self._resting: list[Work] = []
        self._under_way: dict[ClipId, Work] = {}
        self.started: set[ClipId] = set()
        self._ended: list[Spoken] = []
        self._refusals: list[Spoken] = []
        self._failing: list[Spoken] = []
        self._foreign: list[Spoken] = []
        self._has_stored = terms.has_spoken
        self._refused: defaultdict[tuple[int, str | None], set[str]] = defaultdict(set)
        self._slots = Slots(pace, terms.clock)
        self._finish_by = terms.deadline
        self._has_spoken = terms.has_spoken
        self._has_no_taker = False
        self._perhaps_stored: set[ClipId] = set()
        self.stop: Stop | None = None
        self.figures = Figures()

    @property
    def _free(self) -> int:
        return self._cap - len(self._calls)

    @property
    def begun(self) -> list[ClipId]:
        """Clips that may be in the store, or may come there: a call abandoned, a put unheard."""
        return [*self._under_way, *self._perhaps_stored.difference(self._under_way)]

    def end_turn(self) -> None:
        """Start nothing more: somebody else's job is to go on."""
        self._stop(TURN_OVER)

    def end(self, stop: Stop) -> None:
        """Start nothing more; what is under way has a moment to end."""
        if self.stop is None:
            self._stop(stop)
            self._finish_by = min(self._finish_by, self._terms.clock() + TERMINATION_GRACE_S)

    def __iter__(self) -> Generator[list[Spoken] | None, None, None]:
        clock, flush_s, look_s = self._terms.clock, self._terms.flush_s, self._terms.look_s
        flush_at, look_at = clock() + flush_s, clock() + look_s
        try:
            while self._has_more():
                self._step(min(flush_at, look_at))
                if clock() >= flush_at:
                    yield self._take_ended()
                    flush_at, look_at = clock() + flush_s, clock() + look_s
                elif clock() >= look_at:
                    yield None
                    look_at = clock() + look_s
        except (GeneratorExit, DatabaseError):
            self._see_out()
            raise
        finally:
            # Nobody waits for these, but a clip that is paid for gets its last chance.
            self._keeps_paid()
            self._crew.dismiss()
            for work in (*self._ready, *self._resting):
                self._terms.purse.let_go(work)
        self._slots.give_back()
        self._give_up_what_outlasts_runs()
        if self.stop is not None:
            # Whether these lines are at fault isn't known: the next run tries them.
            self._failing.clear()
            self._foreign.clear()
        self._ended += self._foreign
        self._release_held()
        yield self._take_ended()

    def _give_up_what_outlasts_runs(self) -> None:
        """Texts for which no run has time: each would pay for their first parts, or takes, anew."""
        if self.stop is not OUT_OF_TIME:
            return
        for work in (*self._ready, *self._resting):
            if (end := self._outlasts(work)) is not None:
                self._ended.append(_spoken(work, end))
                work.let_go()

    def _outlasts(self, work: Work) -> Given | None:
        """Its error, if as many calls as it may take, as long as its own were, outlast a run."""
        run_s, parts = self._terms.run_s, len(work.line.pieces)
        whole_s = parts * work.mean_call_s
        if work.takes and takes.MOST_TAKES * whole_s > run_s:
            return _unsound(work, takes.rejected(work))
        if work.parts and whole_s > run_s:
            message = (
                f"Its {counted(parts, 'part')} take {whole_s:.0f} s to speak, and a run has "
                f"{run_s:.0f} s. Shorten the text, or give runs more time."
            )
            return Given(code="too_long", message=message)
        return None

    def _see_out(self) -> None:
        """Nobody takes the ends any more: what is under way is stored for the next run."""
        self._has_no_taker = True
        self._stop(OUT_OF_TIME)
        self._finish_by = min(self._finish_by, self._terms.clock() + TERMINATION_GRACE_S)
        while self._has_more():
            self._step(self._finish_by)

    def _step(self, until: float) -> None:
        self._watch()
        self._start_what_may()
        self._hear(min(self._next_event(), until) - self._terms.clock())

    def _has_more(self) -> bool:
        return self._goes_on() or (self._terms.clock() < self._finish_by and self._keeps_paid())

    def _goes_on(self) -> bool:
        if self._under_way or self._unstored:
            return self._terms.clock() < self._finish_by
        if self.stop is None:
            return bool(self._waiting())
        return any(
            self._is_half_paid(work) and self._lasts_for(work)
            for work in (*self._ready, *self._resting)
        )

    def _is_half_paid(self, work: Work) -> bool:
        """Whether the rest of a text is asked for though the run is to stop."""
        is_ours = not self._has_no_taker and self._is_leased()
        can_go_on = self.stop is not None and not self.stop.rings
        return bool(work.parts) and not work.has_sound_take and can_go_on and is_ours

    def _keeps_paid(self) -> bool:
        """Store the sound takes whose lines wait, when they won't have their turn; if there are."""
        paid = [work for work in (*self._ready, *self._resting) if work.has_sound_take]
        for work in paid:
            (self._ready if work in self._ready else self._resting).remove(work)
            self._start(work, partial(takes.keep_best, work, self._storage))
        return bool(paid)

    def _waiting(self) -> int:
        return len(self._ready) + len(self._to_look) + len(self._resting)

    def _take_ended(self) -> list[Spoken]:
        ended, self._ended = self._ended, []
        self._unended -= len(ended)
        if not self._unended:
            # There is nothing to go on with: whatever was to stop it, the job isn't to wait.
            self.stop = None
        return ended

    # What may start

    def _watch(self) -> None:
        """Notice a request to end, and wake lines that have rested."""
        now = self._terms.clock()
        if self._terms.halt.is_set():
            self.end(Stop(code="terminated", message="The worker was asked to end."))
        if now >= self._terms.deadline:
            self._stop(OUT_OF_TIME)
        for ticket in [t for t in self._calls if now - t.started > LONGEST_CALL_S]:
            self._give_up_on(ticket)
        for work in [work for work in self._resting if work.ready_at <= now]:
            self._resting.remove(work)
            self._resume(work)

    def _resume(self, work: Work) -> None:
        if work.store_tries:
            self._start(work, partial(takes.keep_best, work, self._storage))
        elif work.parts:
            self._go_next(work)
        else:
            (self._to_look if work.look_first else self._ready).append(work)

    def _give_up_on(self, ticket: _Ticket) -> None:
        """A call that drips: whatever it still brings is stored, but not waited for."""
        del self._calls[ticket]
        self._under_way.pop(ticket.work.clip, None)
        self._terms.purse.abandon(ticket.work)
        self._crew.give_up_on_one()
        told = f"no end after {LONGEST_CALL_S:.0f} s"
        self._fell(ticket.work.apart(), NetworkFault(f"The provider's answer has {told}."))

    def _start_what_may(self) -> None:
        while self.stop is None and self._to_look:
            work = self._to_look.popleft()
            self._start(work, partial(takes.look, work, self._storage))
        while (
            self._has_next()
            and not self._unstored
            and self._free > 0
            and self._has_time()
            and self._has_money()
            and self._has_slot()
            # Again: with a session's first slot it learns how long calls take.
            and self._has_time()
            # Last: what stands still in any of these learns of it before it pays.
            and self._is_leased()
        ):
            self._start_call(self._ready.popleft(), self._slots.use())

    def _has_next(self) -> bool:
        return any(map(self._may_start, self._ready))

    def _may_start(self, work: Work) -> bool:
        return self.stop is None or self._is_half_paid(work)

    def _start_call(self, work: Work, slot: Slot) -> None:
        left_s = max(1.0, self._terms.deadline - self._terms.clock())
        timeout_s = min(CALL_TIMEOUT_S, left_s)
        self.figures.requests += 1
        self._terms.purse.start(work)
        task = partial(takes.call, work, self._speaker, self._storage, timeout_s)
        self._start(work, task, slot)

    def _start(
        self, work: Work, task: Callable[[], Answer | Stored | None], slot: Slot | None = None
    ) -> None:
        self._under_way[work.clip] = work
        self.started.add(work.clip)
        ticket = _Ticket(work, self._terms.clock(), slot)
        if slot is not None:
            self._calls[ticket] = None
        self._crew.start(ticket, task)

    def _call_s(self) -> float:
        known = self._latency_s()
        return FIRST_CALL_S if known is None else min(CALL_TIMEOUT_S, 2 * known + 0.2)

    def _latency_s(self) -> float | None:
        """How long calls took of late; None where that isn't known yet."""
        return self._slots.pace.latency_s if self._slots.pace else None

    def _has_time(self) -> bool:
        """Nothing starts that can't be finished; a run's first call only needs half of the run."""
        # A text in parts that is too long for what is left holds up none of the others.
        work = next(filter(self._lasts_for, filter(self._may_start, self._ready)), None)
        if work is not None:
            if work is not self._ready[0]:
                self._ready.remove(work)
                self._ready.appendleft(work)
            return True
        is_first = self.figures.requests == 0 and not self._terms.has_asked
        if is_first and self._terms.deadline - self._terms.clock() > self._terms.run_s / 2:
            return True
        self._stop(OUT_OF_TIME)
        return False

    def _lasts_for(self, work: Work) -> bool:
        """Whether what is missing of a text can be had in time, in the provider's pace.

        Of one that is half paid even if it's close, going by its own calls: else that half is
        lost for sure.
        """
        left_s = self._finish_by - self._terms.clock()
        missing = len(work.line.pieces) - len(work.parts)
        if work.parts:
            return left_s > work.mean_call_s * missing
        call_s = self._call_s()
        if missing == 1:
            return left_s > call_s
        # Texts that are begun go on before this one does.
        owed = sum(len(each.line.pieces) - len(each.parts) - 1 for each in self._begun_texts())
        slots_s = self._slots.wait_s(missing - 1 + owed)
        return left_s > call_s + max(call_s * (missing - 1), slots_s)

    def _begun_texts(self) -> list[Work]:
        """Texts of which a part is asked for, or has come."""
        waiting = [work for work in (*self._ready, *self._resting) if work.parts]
        return [*self._under_way.values(), *waiting]

    def _has_money(self) -> bool:
        covers = self._terms.purse.covers(self._ready)
        if isinstance(covers, Stop):
            self._stop(covers)
            return False
        return covers

    def _is_leased(self) -> bool:
        """If not, the next flush tells whether the job is another's."""
        return self._terms.clock() < self._terms.leased_until()

    def _has_slot(self) -> bool:
        line = self._ready[0].line
        wanted = min(self._free, len(self._ready))
        soon = min(self._free_soon(), len(self._ready) - wanted)
        at = self._slots.lease(f"{line.provider}/{line.voice.model}", wanted, soon)
        wait_s = at - self._terms.clock()
        is_late = wait_s > LONGEST_IDLE_S or at + self._call_s() > self._terms.deadline
        if is_late and self._slots.is_blocked:
            self._stop(
                Stop(
                    code="throttled",
                    message=f"The provider wants {wait_s:.0f} s of rest.",
                    delay_s=wait_s,
                )
            )
            return False
        return wait_s <= 0

    def _free_soon(self) -> int:
        """Calls under way that will likely have ended while the slots leased now are used."""
        known = self._latency_s()
        if known is None:
            return 0
        begun_by = self._terms.clock() + LEASE_AHEAD_S - known
        return sum(ticket.started <= begun_by for ticket in self._calls)

    def _next_event(self) -> float:
        """When something may start without anything having ended."""
        times = [work.ready_at for work in self._resting]
        slot_at = self._slots.next_at
        may_start = self._has_next() and self._free > 0 and not self._terms.purse.is_waiting
        if slot_at is not None and may_start and self._is_leased():
            # One that is there already isn't what is waited for.
            times += [slot_at] if slot_at > self._terms.clock() else []
        return min(times, default=math.inf)

    # What ends

    def _hear(self, timeout_s: float) -> None:
        for ticket, report in self._crew.reports(timeout_s):
            if ticket.slot is not None and ticket not in self._calls:
                continue
            self._under_way.pop(ticket.work.clip, None)
            if ticket.slot is not None:
                del self._calls[ticket]
                self._terms.purse.end(ticket.work)
                self._note(ticket, ticket.slot, report)
            if isinstance(report, Exception):
                self._fell(ticket.work, report)
            else:
                self._ended_well(ticket.work, report)

    def _note(self, ticket: _Ticket, slot: Slot, report: object) -> None:
        """Tell the pace how a call ended."""
        match report:
            case Answer(limits=limits):
                self._slots.answered(slot, limits)
            case Throttled(retry_after_s=asked, limits=limits):
                self._slots.refused(slot, limits, asked)
            case SpeechError(limits=limits):
                self._slots.failed(slot, limits)
        if not isinstance(report, Exception):
            seconds = self._terms.clock() - ticket.started
            self.figures.longest_call_s = max(self.figures.longest_call_s, seconds)
            self._slots.took(seconds)
            ticket.work.calls += 1
            ticket.work.calls_s += seconds

    def _ended_well(self, work: Work, report: Answer | Stored | None) -> None:
        match report:
            case None:
                self._not_found(work)
            case Stored():
                self._stored(work, report)
            case Answer(ending=ending):
                work.tries = 0
                self._widen()
                self._succeeded()
                self._concluded(work, ending)

    def _concluded(self, work: Work, ending: Stored | Unfinished | Rejected) -> None:
        match ending:
            case Stored():
                self._stored(work, ending)
            case Rejected():
                self._rejected(work, ending)
            case Unfinished(is_retake=is_retake):
                self.figures.retaken += is_retake
                self._again(work)

    def _stored(self, work: Work, stored: Stored) -> None:
        self._has_stored = True
        self._perhaps_stored.discard(work.clip)
        self._ended += self._foreign
        self._foreign.clear()
        self._end(work, stored)

    def _rejected(self, work: Work, ending: Rejected) -> None:
        spoken = self._told(work, _unsound(work, ending))
        if ending.lacks is None or self._has_stored:
            self._ended.append(spoken)
            return
        # Nothing had it yet: this may be what the server sends for every text.
        self._foreign.append(spoken)
        if len(self._foreign) >= ALIKE:
            self._foreign.clear()
            told = f"the provider sends no {ending.lacks} for any of {ALIKE} texts: {ending.reason}"
            fix = "Use a server, or a TTS_PROVIDER, that sends it."
            fault = Misconfigured(f"OPENAI_BASE_URL: {told}. {fix}")
            self._stop(stopped_by(fault))

    def _not_found(self, work: Work) -> None:
        """Not stored: look again while an abandoned call may bring it, then speak it."""
        now = self._terms.clock()
        if work.look_until > now:
            work.ready_at = min(now + LOOK_AGAIN_S, work.look_until)
            self._resting.append(work)
        else:
            work.look_first = False
            self._ready.append(work)

    def _again(self, work: Work) -> None:
        if self.stop is not None and work.has_sound_take:
            # No time for a better one; what was paid for is good enough.
            self._start(work, partial(takes.keep_best, work, self._storage))
        else:
            self._go_next(work)

    def _go_next(self, work: Work) -> None:
        """Before all others; past a stop, only the rest of what is half paid still has a turn."""
        if work.parts or self.stop is None:
            self._ready.appendleft(work)
        else:
            self._ready.append(work)

    def _end(self, work: Work, end: Stored | Given) -> None:
        self._unstored -= bool(work.store_tries)
        self._ended.append(self._told(work, end))
        work.let_go()

    def _told(self, work: Work, end: Stored | Given) -> Spoken:
        self._terms.purse.let_go(work)
        return _spoken(work, end)

    def _fell(self, work: Work, error: Exception) -> None:
        match error:
            case Throttled():
                self._throttled(work)
            case TryAgain():
                self._try_again(work, error)
            case UtteranceRefused():
                self._refuse(work, error)
            case StopRun():
                self._stop(stopped_by(error))
            case StorageError():
                self._not_stored(work, error)
            case _:
                reason = str(error) if isinstance(error, MemolistError) else repr(error)
                self._end(work, Given(code="internal", message=f"The worker failed: {reason}"))

    def _throttled(self, work: Work) -> None:
        self.figures.throttled += 1
        self._go_next(work)

    def _not_stored(self, work: Work, error: StorageError) -> None:
        """A clip that is paid for is put again; meanwhile nothing more is paid for."""
        self._unstored += not work.store_tries
        work.store_tries += 1
        if work.has_sound_take:
            self._perhaps_stored.add(work.clip)
        if not work.has_sound_take or work.store_tries >= STORE_TRIES:
            self._unstored -= 1
            self._stop(storage_down(error))
            return
        work.ready_at = self._terms.clock() + 2.0 ** (work.store_tries - 1)
        self._resting.append(work)

    def _narrow(self, work: Work) -> bool:
        """Fewer in flight, where calls time out for being too many; whether that is why."""
        now = self._terms.clock()
        if now - self._cut_at > SAME_WAVE_S and self._cap > 1:
            self._cap, self._cut_at, self._answered_since = self._cap // 2, now, 0
        work.overloads += 1
        return now - self._cut_at <= SAME_WAVE_S and work.overloads <= MOST_OVERLOADS

    def _widen(self) -> None:
        self._answered_since += 1
        if self._answered_since >= self._cap and self._cap < self._terms.in_flight:
            self._cap, self._answered_since = self._cap + 1, 0

    def _try_again(self, work: Work, error: TryAgain) -> None:
        is_timeout = isinstance(error, NetworkFault) and error.maybe_billed
        if not (is_timeout and self._narrow(work)):
            work.tries += 1
        if work.tries < TRIES:
            pause_s = BACK_OFF_S * 2 ** max(0, work.tries - 1) * random.uniform(0.8, 1.2)
            work.ready_at = self._terms.clock() + pause_s
            self._resting.append(work)
            return
        if isinstance(error, NetworkFault) and not error.maybe_billed:
            # Nobody could be reached: that is no line's fault.
            self._stop_for_outage(error)
            return
        message = f"Failed {TRIES} times, last: {error}. Retry the job once the provider is well."
        # Held until another call is answered: only then it is this line's fault.
        self._failing.append(self._told(work, Given(code=error.code, message=message)))
        if len(self._failing) >= OUTAGE:
            self._failing.clear()
            self._stop_for_outage(error)

    def _stop_for_outage(self, error: TryAgain) -> None:
        self._stop(
            Stop(code="provider_down", message=str(error), delay_s=OUTAGE_DELAY_S, rings=True)
        )

    def _refuse(self, work: Work, error: UtteranceRefused) -> None:
        self.figures.refused += 1
        spoken = self._told(work, Given(code=error.code, message=str(error)))
        if self._has_spoken:
            self._ended.append(spoken)
            return
        # Nothing has been spoken yet: it may not be this text's fault at all.
        self._refusals.append(spoken)
        alike = self._refused[error.signature]
        alike.add(work.line.spoken)
        if len(alike) >= ALIKE and error.signature[1] not in CONTENT_CODES:
            self._refusals.clear()
            fault = Misconfigured(f"{len(alike)} texts were refused alike: {error}")
            self._stop(stopped_by(fault))

    def _succeeded(self) -> None:
        self._has_spoken = True
        self._release_held()

    def _release_held(self) -> None:
        """What was held as perhaps not the line's own fault is, after all."""
        self._ended += self._refusals + self._failing
        self._refusals.clear()
        self._failing.clear()

    def _stop(self, stop: Stop) -> None:
        # The first reason stands, unless a person has to act.
        if self._unended and (self.stop is None or (stop.rings and not self.stop.rings)):
            self.stop = stop


def stopped_by(error: StopRun) -> Stop:
    """Money, key or configuration: nothing goes on until a person has acted."""
    return Stop(
        code=error.code,
        message=str(error),
        delay_s=LONG_DELAY_S,
        rings=True,
        pauses=not isinstance(error, Misconfigured),
        about=error.about if isinstance(error, Misconfigured) else None,
    )


def storage_down(error: StorageError) -> Stop:
    """Clips can't be kept: nothing is paid for until they can."""
    return Stop(
        code="storage_down", message=str(error), delay_s=OUTAGE_DELAY_S, rings=True, pauses=True
    )


def _unsound(work: Work, ending: Rejected) -> Given:
    """Why no take of a text can be published, and what to do."""
    takes_made = counted(len(work.takes), "take")
    message = f"No sound recording in {takes_made}: {ending.reason}. Retry the job."
    if ending.code == "not_verbatim":
        message = (
            f"The model did not read the text as it is in {takes_made}; in the last such one "
            f"{ending.reason}. Reword the card, or use another voice, model or TTS_PROVIDER."
        )
    return Given(code=ending.code, message=message)


def _spoken(work: Work, end: Stored | Given) -> Spoken:
    was_found = isinstance(end, Stored) and end.found
    return Spoken(
        line=work.line,
        end=end,
        characters=0 if was_found else work.characters,
        cost_usd=None if was_found else work.cost_usd,
    )


def clip_of(spoken: Spoken) -> Clip | None:
    """The stored clip of a line, if it has one."""
    return spoken.end.clip if isinstance(spoken.end, Stored) else None
