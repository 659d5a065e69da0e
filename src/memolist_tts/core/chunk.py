"""One run over one job: claim, speak what fits, write as it goes, settle, wake the rest."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from memolist_tts.core import options as job_options
from memolist_tts.core import plan
from memolist_tts.core.counting import counted
from memolist_tts.core.errors import (
    AttemptsUsedUp,
    DatabaseError,
    LeaseLost,
    Misconfigured,
    StopRun,
    StorageError,
    WakeError,
)
from memolist_tts.core.model import (
    Clip,
    ClipId,
    Completed,
    Counts,
    Failed,
    HandedBack,
    Idle,
    Job,
    Lost,
    Options,
    Outcome,
    Phrase,
    Report,
    Reservation,
    Result,
    State,
    Stop,
    Tally,
)
from memolist_tts.core.options import BadOptions
from memolist_tts.core.plan import Plan, Script
from memolist_tts.core.ports import Clips, Jobs, Ledger, PaceBook, Speaker, Storage, Wake
from memolist_tts.core.purse import Purse
from memolist_tts.core.speaking import (
    TURN_OVER,
    Given,
    Session,
    Spoken,
    Terms,
    clip_of,
    stopped_by,
    storage_down,
)
from memolist_tts.core.takes import Work

SETTLE_S = 2.0
"""Kept back from a run's deadline for the last flush, the settling and the message."""
DATABASE_DELAY_S = 30.0
GRACE_S = 10.0
"""How much a lease outlives the run's hard deadline."""
TURN_S = 20.0
"""A user who waits has their turn once nobody has served them for so long, or less of theirs
was spoken in it: two who have much to be spoken change places so often."""
LOOK_S = 0.5
"""How often a run looks whether it is; half of FLUSH_SECONDS' default."""
MOST_CHANGES = 5
"""How often a card may change under our hands before its utterance is given up."""
LONGEST_QUEUE_DELAY_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """The world of one worker."""

    jobs: Jobs
    clips: Clips
    pace: PaceBook
    script: Callable[[Options, Mapping[str, Mapping[str, str]]], Script]
    """How phrases become requests under a job's options, with the lexicon's words by language."""
    speaker: Callable[[], Speaker]
    """Asked for only where something is to be spoken: it costs a client to make."""
    ledger: Ledger
    storage: Storage
    wake: Wake | None
    clock: Callable[[], float]
    """Monotonic seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a deployment sets."""

    in_flight: int
    flush_s: float
    max_phrases: int
    lease_s: float | None = None
    """Renewed at every flush; None: one lease for the whole run and GRACE_S more."""
    least_turn_s: float = 0.0
    """How long a run speaks before another user who waits may end its turn."""


@dataclass(slots=True)
class _Run:
    """What one run has in hand."""

    job: Job
    options: Options
    purse: Purse
    began: float
    """On the clock."""
    leased_until: float
    """On the clock: until then, surely, nobody else speaks this job."""
    counted: Counter[str] = field(default_factory=Counter)
    failed: list[Result] = field(default_factory=list)
    cost_usd: float = 0.0
    longest_call_s: float = 0.0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    total: int = 0
    speaker: Speaker | None = None
    """Whom it asked; rests when it ends."""
    turn_until: float = 0.0
    """On the clock: before that, nobody ends this run's turn."""
    begun: list[ClipId] = field(default_factory=list)
    """Clips whose call was abandoned."""
    started: set[ClipId] = field(default_factory=set)
    """Clips that may have been stored, written down or not."""
    voices: set[str] = field(default_factory=set)
    """Voices that an operator chose for single cards."""
    paused: Stop | None = None
    """An operator has paused the job: no call starts any more."""


def run_chunk(
    job_id: str, deadline: float, ports: Ports, rules: Rules, halt: threading.Event
) -> Report:
    """Speak what fits of one job before `deadline` (seconds on `ports.clock`).

    Two runs at once are safe: the second claims nothing and gets `Idle`; a run
    whose job is cancelled or taken over gives `Lost`, and what it flushed stays.
    Setting `halt` hands the rest back. Raises `NoSuchJob` (the API may not have
    committed yet) and `DatabaseError`: then the lease runs out and the sweep rescues.
    """
    began = ports.clock()
    lease_s = rules.lease_s or deadline - began + GRACE_S
    try:
        job = ports.jobs.claim(job_id, lease_s=lease_s)
    except AttemptsUsedUp as error:
        return Report(job_id=job_id, outcome=Failed(code=error.code, message=str(error)))
    if job is None:
        return Report(job_id=job_id, outcome=Idle())
    run = _Run(
        job=job,
        options=Options(),
        began=began,
        leased_until=began + lease_s,
        turn_until=began + rules.least_turn_s,
        purse=Purse(job, ports.ledger),
    )
    try:
        outcome = _outcome(run, deadline - SETTLE_S, ports, rules, halt)
        # Again: at the session's end the ledger may have been out of reach.
        with suppress(DatabaseError):
            run.purse.close()
        ports.jobs.settle(job, outcome, begun=run.begun)
        # Row, then message: dying in between costs one sweep, never work.
        woken = _wake_rest(job, outcome, ports)
    except LeaseLost:
        ports.jobs.abandon(job, begun=list(run.started))
        return _report(run, Lost(), ports.clock() - began)
    finally:
        if run.speaker is not None:
            run.speaker.rest()
    return _report(run, outcome, ports.clock() - began, wake_failed=not woken)


def _outcome(
    run: _Run, deadline: float, ports: Ports, rules: Rules, halt: threading.Event
) -> Completed | Failed | HandedBack:
    """What becomes of the job; a database away for a moment is nobody's death."""
    try:
        return _speak_job(run, deadline, ports, rules, halt)
    except BadOptions as error:
        return Failed(code="bad_options", message=str(error))
    except DatabaseError as error:
        if not error.passes:
            raise
        run.begun = list(run.started)
        stop = Stop(code="database_down", message=str(error), delay_s=DATABASE_DELAY_S)
        return HandedBack(stop=stop)


def _speak_job(
    run: _Run, deadline: float, ports: Ports, rules: Rules, halt: threading.Event
) -> Completed | Failed | HandedBack:
    run.options = job_options.parse(run.job.raw_options)
    while (end := _speak_round(run, deadline, ports, rules, halt)) is None:
        pass
    return end


def _speak_round(
    run: _Run, deadline: float, ports: Ports, rules: Rules, halt: threading.Event
) -> Completed | Failed | HandedBack | None:
    """What is left of the job, as its cards are now; None where another round is due."""
    left = _draw_up(run, ports)
    if left.cards > rules.max_phrases:
        return _too_many(left.cards, rules.max_phrases)
    _write(run, left.ended, [], ports, rules)
    if not left.lines:
        return _verdict(run, None, ports.jobs.counts(run.job))
    stop = _speak_lines(run, left, deadline, ports, rules, halt)
    return None if stop is None else _verdict(run, stop, ports.jobs.counts(run.job))


def _draw_up(run: _Run, ports: Ports) -> Plan:
    reading = ports.jobs.read(run.job)
    script = ports.script(run.options, reading.lexicon)
    run.voices = {phrase.voice for phrase in reading.phrases if phrase.voice}
    left = plan.draw_up(reading.phrases, reading.ended, script)
    run.total = left.total
    return left


def _speak_lines(
    run: _Run, left: Plan, deadline: float, ports: Ports, rules: Rules, halt: threading.Event
) -> Stop | None:
    """Reuse what is stored, speak what is ours, wait for what others speak."""
    reserved = ports.clips.reserve(run.job, list(left.lines.values()), fresh=left.fresh)
    _write(run, _reused(left, reserved, ports.storage), [], ports, rules)
    if run.paused is not None and len(reserved.stored) < len(left.lines):
        return run.paused
    if reserved.mine:
        if (stop := _storage_fault(ports.storage)) is not None:
            return stop
        return _speak_mine(run, left, reserved, deadline, ports, rules, halt)
    if len(reserved.stored) < len(left.lines):
        return _await_others(run, deadline, ports, rules, halt)
    return None


def _storage_fault(storage: Storage) -> Stop | None:
    """Clips are paid for only where they can be kept."""
    try:
        storage.prove()
    except StorageError as error:
        return storage_down(error)
    return None


def _await_others(
    run: _Run, deadline: float, ports: Ports, rules: Rules, halt: threading.Event
) -> Stop | None:
    if halt.wait(rules.flush_s):
        return Stop(code="terminated", message="The worker was asked to end.")
    if ports.clock() >= deadline:
        message = "Another job speaks the same phrases; this one picks them up."
        return Stop(code="out_of_time", message=message, delay_s=5.0)
    if _is_turn_over(run, ports):
        return TURN_OVER
    return None


def _is_turn_over(run: _Run, ports: Ports) -> bool:
    return ports.clock() >= run.turn_until and ports.jobs.others_wait(run.job, TURN_S)


def _speak_mine(
    run: _Run,
    left: Plan,
    reserved: Reservation,
    deadline: float,
    ports: Ports,
    rules: Rules,
    halt: threading.Event,
) -> Stop | None:
    terms = Terms(
        deadline=deadline,
        run_s=deadline - run.began,
        has_asked=run.counted["requests"] > 0,
        in_flight=rules.in_flight,
        flush_s=rules.flush_s,
        look_s=LOOK_S,
        clock=ports.clock,
        halt=halt,
        purse=run.purse,
        leased_until=lambda: run.leased_until,
        has_spoken=run.job.spoken_before + run.counted["spoken"] + len(reserved.stored) > 0,
    )
    try:
        speaker = run.speaker = ports.speaker()
    except StopRun as error:
        return stopped_by(error)
    works = _works(left, reserved, ports.clock())
    session = Session(works, speaker, ports.storage, ports.pace, terms)
    try:
        with closing(iter(session)) as batches:
            for batch in batches:
                if batch is not None:
                    # Only this thread writes: a cancel shows here, and leaving stops the rest.
                    _write_spoken(run, batch, left, ports, rules)
                if run.paused is not None:
                    session.end(run.paused)
                elif _is_turn_over(run, ports):
                    session.end_turn()
    finally:
        run.begun += session.begun
        run.started |= session.started
        _note(run, session)
        # What can't be written now stays set aside, and counts as spent.
        with suppress(DatabaseError):
            run.purse.close()
    return session.stop


def _works(left: Plan, reserved: Reservation, now: float) -> Iterator[Work]:
    """In the order of the cards: who waits listens from the first."""
    for key, line in left.lines.items():
        if (mine := reserved.mine.get(key)) is not None:
            yield Work(
                line=line,
                clip=mine.id,
                look_first=mine.look_first,
                look_until=now + mine.held_s,
            )


def _write_spoken(
    run: _Run, batch: Sequence[Spoken], left: Plan, ports: Ports, rules: Rules
) -> None:
    results = [
        result
        for spoken in batch
        for result in _results(spoken, left.take(spoken.line.key), ports.storage)
    ]
    clips = [clip for spoken in batch if (clip := clip_of(spoken)) is not None]
    _write(run, results, clips, ports, rules)
    run.purse.write()


def _note(run: _Run, session: Session) -> None:
    figures = session.figures
    run.counted["requests"] += figures.requests
    run.counted["throttled"] += figures.throttled
    run.counted["refused"] += figures.refused
    run.counted["retaken"] += figures.retaken
    run.longest_call_s = max(run.longest_call_s, figures.longest_call_s)


def _reused(left: Plan, reserved: Reservation, storage: Storage) -> list[Result]:
    return [
        _ended(phrase, left.lines[key].spoken, State.REUSED, clip, storage)
        for key, clip in reserved.stored.items()
        for phrase in left.phrases[key]
    ]


def _results(spoken: Spoken, phrases: Sequence[Phrase], storage: Storage) -> list[Result]:
    """What a line's end means for each phrase; the first one carries the cost."""
    results = []
    for nth, phrase in enumerate(phrases):
        characters = spoken.characters if nth == 0 else 0
        cost = spoken.cost_usd if nth == 0 else None
        match spoken.end:
            case Given(code=code, message=message):
                result = Result(
                    phrase=phrase, state=State.FAILED, spoken=spoken.line.spoken,
                    code=code, message=message, characters=characters, cost_usd=cost,
                )  # fmt: skip
            case stored:
                is_first = nth == 0 and not stored.found
                state = State.SPOKEN if is_first else State.REUSED
                clip = stored.clip.id
                result = _ended(phrase, spoken.line.spoken, state, clip, storage, characters, cost)
        results.append(result)
    return results


def _ended(
    phrase: Phrase,
    spoken: str,
    state: State,
    clip: ClipId,
    storage: Storage,
    characters: int = 0,
    cost_usd: float | None = None,
) -> Result:
    return Result(
        phrase=phrase,
        state=state,
        spoken=spoken,
        clip=clip,
        url=storage.url(clip.object_name),
        characters=characters,
        cost_usd=cost_usd,
    )


def _write(
    run: _Run, results: Sequence[Result], clips: Sequence[Clip], ports: Ports, rules: Rules
) -> None:
    """Flush, count what landed, and give up on cards that keep changing."""
    results = [_given_up(r) if run.changes[_place(r)] >= MOST_CHANGES else r for r in results]
    renew_s, asked_at = rules.lease_s or 0.0, ports.clock()
    flushed = ports.jobs.flush(run.job, results, clips, total=run.total, renew_s=renew_s)
    run.leased_until = max(run.leased_until, asked_at + renew_s)
    if flushed.paused is not None:
        run.paused = Stop(code="paused", message=flushed.paused)
    landed = flushed.landed
    missed = {_place(r) for r in results} - {_place(r) for r in landed}
    run.changes.update(missed)
    for result in landed:
        run.counted[result.state] += 1
        run.counted["characters"] += result.characters
        run.cost_usd += result.cost_usd or 0.0
        if result.state is State.FAILED:
            run.failed.append(result)


def _place(result: Result) -> tuple[str, str]:
    return result.phrase.card_id, result.phrase.language


def _given_up(result: Result) -> Result:
    message = "The card changed at every try to write its audio. Retry the job when it rests."
    return Result(
        phrase=result.phrase,
        state=State.FAILED,
        spoken=result.spoken,
        code="card_keeps_changing",
        message=message,
    )


def _too_many(cards: int, most: int) -> Failed:
    return Failed(
        code="too_many_phrases",
        message=(
            f"The list has {cards} cards to speak, and a job may hold {most} "
            "(MAX_PHRASES_PER_JOB). Split the list, or raise the limit. Nothing was spoken."
        ),
    )


def _verdict(
    run: _Run, stop: Stop | None, figures: tuple[Counts, list[tuple[str, str]]]
) -> Completed | Failed | HandedBack:
    """The state a chunk leaves behind."""
    if stop is not None:
        return _stopped(run, stop)
    counts, failures = figures
    if not counts.failed:
        return Completed()
    named = "; ".join(f"{code}: {message}" for code, message in failures)
    more = f" (and {counts.failed - len(failures)} more)" if counts.failed > len(failures) else ""
    return Failed(
        code="utterances_failed",
        message=(
            f"{counts.failed} of {counted(counts.total, 'utterance')} could not be spoken. "
            f"{named}{more}"
        ),
    )


def _stopped(run: _Run, stop: Stop) -> Failed | HandedBack:
    """A job whose own options can't be spoken fails alone; anything else is handed back."""
    options = run.options
    chosen = options.voice or ", ".join(sorted(run.voices))
    asked = {"voice": chosen, "model": options.model}.get(stop.about or "")
    if asked:
        # The deployment's variables aren't at fault, and whoever made the job can't set them.
        told = stop.message.removesuffix(Misconfigured.fix).rstrip()
        message = (
            f"The provider refuses options.{stop.about} = {asked}: {told} "
            f"Set options.{stop.about} to one that it offers, or leave it out."
        )
        return Failed(code="bad_options", message=message)
    return HandedBack(stop=stop)


def _wake_rest(job: Job, outcome: Outcome, ports: Ports) -> bool:
    if ports.wake is None or not isinstance(outcome, HandedBack):
        return True
    stop = outcome.stop
    if stop.delay_s > LONGEST_QUEUE_DELAY_S or stop.rings or stop.code == "paused":
        # The queue can't wait that long, or a person must act first; the sweep will wake it.
        return True
    try:
        ports.wake.send(job.id, group=job.group, delay_s=stop.delay_s)
    except WakeError:
        return False
    ports.jobs.woken(job)
    return True


def _report(run: _Run, outcome: Outcome, seconds: float, *, wake_failed: bool = False) -> Report:
    counted = run.counted
    tally = Tally(
        **{name: counted[name] for name in ("spoken", "reused", "kept", "skipped", "failed")},
        **{name: counted[name] for name in ("requests", "throttled", "refused", "retaken")},
        failures=dict(Counter(result.code or "unknown" for result in run.failed)),
        characters=counted["characters"],
        cost_usd=run.cost_usd,
        longest_call_s=run.longest_call_s,
    )
    return Report(
        job_id=run.job.id,
        outcome=outcome,
        tally=tally,
        seconds=seconds,
        failed=run.failed,
        wake_failed=wake_failed,
    )
