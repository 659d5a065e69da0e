"""What the core asks of the world. Adapters implement these; `assemble` wires them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from memolist_tts.core.model import (
    Clip,
    ClipId,
    Completed,
    Counts,
    Failed,
    Flushed,
    HandedBack,
    Job,
    Line,
    Reading,
    Reservation,
    Result,
    Speech,
    SpeechRequest,
)
from memolist_tts.core.pacing import Pace, Seen


class Speaker(Protocol):
    """Text to speech. Thread-safe: one instance serves all threads of a run."""

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:
        """Send one request, once (no retries), and return the audio.

        `timeout_s` bounds each wait for bytes, not the whole call: the caller
        abandons what overruns. Raises a `SpeechError`. The bytes are not judged
        here, but an answer that isn't speech at all is the verdict's business too.
        """
        ...

    def rest(self) -> None:
        """Let go of what must not outlive a run; the next `speak` starts afresh.

        Called once a run has settled. What is still being spoken then may be given up,
        so that it costs no more. Takes a second at most, and never raises.
        """
        ...


class Shelf(Protocol):
    """Where a session puts what it has paid for. Thread-safe. Raises `StorageError`."""

    def put(self, name: str, mp3: bytes) -> bool:
        """Store if absent. False: an object of that name was there and stays as it is."""
        ...

    def read(self, name: str) -> bytes | None:
        """The object's bytes, or None if there surely is none (a 403 is a fault)."""
        ...


class Storage(Shelf, Protocol):
    """Immutable objects by name. Thread-safe. Every method raises `StorageError`."""

    def size(self, name: str) -> int | None:
        """The object's bytes, counted; None if there surely is none."""
        ...

    def delete(self, name: str) -> None:
        """Remove the object, if it is there. Only an operator's rights may allow it."""
        ...

    def prove(self) -> None:
        """Make sure that clips can be kept, before one is paid for. Cheap to repeat."""
        ...

    def url(self, name: str) -> str:
        """The public address a card carries. Pure."""
        ...

    def owns(self, url: str) -> bool:
        """Whether `url` is an address this store gives out (under PUBLIC_BASE_URL). Pure."""
        ...


class Wake(Protocol):
    """The queue that wakes workers."""

    def send(self, job_id: str, *, group: str, delay_s: float = 0) -> None:
        """Ask for a run over `job_id` after `delay_s` (seconds, capped at the queue's 900).

        `group` is the user (or the job where none is known), for fair queueing.
        Raises `WakeError`.
        """
        ...

    def prove(self) -> None:
        """Make sure that the queue is there. Raises `WakeError`."""
        ...

    def hurry(self, receipt: str, delay_s: int) -> None:
        """Have a received message that is going to fail back in `delay_s` seconds."""
        ...


class Jobs(Protocol):
    """The job rows. Used from one thread; every write is guarded by the job's lease."""

    def claim(self, job_id: str, *, lease_s: float) -> Job | None:
        """Take the job for `lease_s` seconds; None: another's, resting, paused or ended.

        Raises `NoSuchJob`, and `AttemptsUsedUp` where this claim failed the job.
        """
        ...

    def read(self, job: Job) -> Reading:
        """Every card in every language (or those selected), and what this job did."""
        ...

    def flush(
        self,
        job: Job,
        results: Sequence[Result],
        clips: Sequence[Clip],
        *,
        total: int,
        renew_s: float,
    ) -> Flushed:
        """Write what ended; what landed, and whether an operator has paused the job.

        Raises `LeaseLost`: stop at once.
        """
        ...

    def counts(self, job: Job) -> tuple[Counts, list[tuple[str, str]]]:
        """The job's figures and its first few failures (code, message)."""
        ...

    def settle(
        self, job: Job, outcome: Completed | Failed | HandedBack, *, begun: Sequence[ClipId]
    ) -> None:
        """Leave the job in its next state. `begun`: clips whose call was abandoned.

        Raises `LeaseLost`.
        """
        ...

    def woken(self, job: Job) -> None:
        """Note that a handed back job's message is on the queue."""
        ...

    def others_wait(self, job: Job, turn_s: float) -> bool:
        """Whether another user waits whose turn it is before this job's user.

        Of their jobs that were worked on in the last `turn_s` seconds, theirs have less
        than half as much spoken, or they have none.
        """
        ...

    def abandon(self, job: Job, *, begun: Sequence[ClipId]) -> None:
        """Let go of a lost job's lease and clips."""
        ...


class Clips(Protocol):
    """Which clips exist, and who speaks the others."""

    def reserve(self, job: Job, lines: Sequence[Line], *, fresh: Collection[str]) -> Reservation:
        """Find the lines' stored clips, and reserve for this run what nobody speaks.

        For a key in `fresh` only a take will do that was stored since the job began.
        """
        ...

    def open(self, *, lease_s: float) -> Job:
        """A lease over no job, to reserve clips under; `close` it."""
        ...

    def close(self, job: Job, clips: Sequence[Clip], *, begun: Sequence[ClipId]) -> None:
        """Write down what was stored under an `open` lease, and let go of the rest."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A run's sums for one model, voice and language."""

    model: str
    voice: str
    language: str
    is_reported: bool
    """Priced by what the provider told; else estimated from the clip's length."""
    calls: int
    characters: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What was set aside, in US dollars, and what the budgets had left before; None: no budget."""

    usd: float = 0.0
    job_left_usd: float | None = None
    day_left_usd: float | None = None
    job_budget_usd: float | None = None
    day_budget_usd: float | None = None
    day_ends_s: float = 0.0


class Ledger(Protocol):
    """What all runs spend, and the budgets that they share."""

    @property
    def is_limited(self) -> bool:
        """Whether there is any budget."""
        ...

    def exchange(
        self, job: Job, spent: Sequence[Spent], *, held_usd: float, want_usd: float
    ) -> Granted:
        """Write this run's sums and what it holds, and set aside up to `want_usd` more.

        Sums and holds are the run's own and whole: repeating it changes nothing.
        """
        ...


class PaceBook(Protocol):
    """The rate that all workers share."""

    opening: Pace
    """The bucket before anything is known."""
    has_ceiling: bool
    """Whether the operator told what the account takes."""

    def exchange(self, provider: str, seen: Seen, count: int) -> tuple[Pace, list[float]]:
        """Tell what was seen, take `count` slots; each one's wait in seconds from now.

        Raises `DatabaseError`.
        """
        ...
