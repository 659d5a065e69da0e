"""What the core asks of the world. Adapters implement these; `assemble` wires them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from memolist_tts.core.model import (
    Clip,
    ClipId,
    Completed,
    Counts,
    Ended,
    Failed,
    HandedBack,
    Job,
    Line,
    Phrase,
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


class Storage(Protocol):
    """Immutable objects by name. Thread-safe. Every method raises `StorageError`."""

    def put(self, name: str, mp3: bytes) -> bool:
        """Store if absent. False: an object of that name was there and stays as it is."""
        ...

    def read(self, name: str) -> bytes | None:
        """The object's bytes, or None if there surely is none (a 403 is a fault)."""
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

    def read(self, job: Job) -> tuple[list[Phrase], dict[tuple[str, str], Ended]]:
        """Every card in every language as it is now, and what this job did, by both."""
        ...

    def flush(
        self,
        job: Job,
        results: Sequence[Result],
        clips: Sequence[Clip],
        *,
        total: int,
        renew_s: float,
    ) -> list[Result]:
        """Write what ended; the results that landed (a changed card's doesn't).

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
        """Whether another user waits whom nobody has served for `turn_s` seconds."""
        ...

    def abandon(self, job: Job, *, begun: Sequence[ClipId]) -> None:
        """Let go of a lost job's lease and clips."""
        ...


class Clips(Protocol):
    """Which clips exist, and who speaks the others."""

    def reserve(self, job: Job, lines: Sequence[Line], *, force: bool) -> Reservation:
        """Find the lines' stored clips, and reserve for this run what nobody speaks."""
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
