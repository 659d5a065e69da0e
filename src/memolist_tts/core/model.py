"""The values the core works on. Frozen; units are in the names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from memolist_tts.core.prices import Price, Usage

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

SpeechRequest: TypeAlias = Mapping[str, Json]
"""What would be sent to a provider, with its identity under "provider"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """How to speak: everything but the text."""

    language: str
    """ISO 639-1, as in LANGUAGES."""
    model: str
    name: str
    """The provider's name of the voice, such as "alloy"."""
    instructions: str | None = None
    speed: float = 1.0
    price: Price | None = None
    """What the model costs; None where that isn't known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a provider's headers say of its pace; None where they don't."""

    requests_per_minute: float | None = None
    remaining_requests: int | None = None
    reset_s: float | None = None
    """Seconds until the bucket is full, not until a slot is free (PROVIDER: Pace)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """One answer of a provider, not judged yet."""

    mp3: bytes
    request_id: str | None = None
    transcript: str | None = None
    """What a model that can answer or reword says it said, "" where it doesn't tell, which
    is no proof; None for plain text to speech, which can't but read."""
    usage: Usage | None = None
    """None where the provider doesn\'t tell."""
    limits: Limits | None = None
    has_end: bool = True
    """Whether the answer said where it ends (a length, chunks): else a cut looks like the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """A language of the cards and where its text and URL live in the API's table."""

    code: str
    text_column: str
    url_column: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the API asks of one job ("options"); None leaves it to the deployment."""

    voice: str | Mapping[str, str] | None = None
    """One voice for all languages, or a voice per language code."""
    model: str | None = None
    speed: float | None = None
    force: bool = False
    """Speak again what has been spoken, as a new take. Foreign audio stays all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A claimed job: the lease that lets this run write, and what it is about."""

    id: str
    list_id: str
    lease: str
    """The token that every write must show."""
    attempts_before: int
    """Claims without progress before this one; handing back restores it."""
    group: str
    """The user, or the job's own id where none is known: for fair queueing."""
    raw_options: str | None = None
    """The row's "options", as text."""
    spoken_before: int = 0
    """Utterances that earlier chunks of this job spoke: the provider does take its texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """One card in one language, as read from the API's table."""

    card_id: str
    language: str
    shown: str | None
    url: str | None
    say: str | None = None
    """An operator's wording, instead of what is shown."""
    hint: str | None = None
    """An operator's addition to the instructions."""
    voice: str | None = None
    """Instead of the job's, where an operator chose one."""
    replaces: str | None = None
    """The audio of ours that an operator wants replaced: no other is."""


class State(StrEnum):
    """How an utterance ended."""

    SPOKEN = "spoken"
    REUSED = "reused"
    KEPT = "kept"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What this job already did with a phrase."""

    state: State
    shown: str | None
    url: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a job is about, as it is now."""

    phrases: Sequence[Phrase]
    ended: Mapping[tuple[str, str], Ended]
    """What the job already did, by card and language."""
    lexicon: Mapping[str, Mapping[str, str]]
    """Language to word to what is said for it."""


@dataclass(frozen=True, slots=True, order=True)
class ClipId:
    """A clip's address: what is said and how (`key`), and which recording of it (`take`)."""

    key: str
    take: int = 0

    @property
    def object_name(self) -> str:
        """Where the clip lies in the store. Fixed for good: URLs in cards point there."""
        return f"{self.key}-{self.take}.mp3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A stored clip."""

    id: ClipId
    size_bytes: int
    duration_ms: int
    cost_usd: float | None = None
    """What it cost, retakes included; None where the price isn't known."""
    request_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What is to be said for one or more phrases: a request and its key."""

    key: str
    spoken: str
    pieces: tuple[str, ...]
    """One, or the parts of a text too long to be read in one go."""
    voice: Voice
    provider: str
    ask: Callable[[str, Voice], SpeechRequest]
    """As `Script.request`."""

    def request(self, nth: int) -> SpeechRequest:
        """What is sent for a piece: made anew, since two thousand of them would be megabytes."""
        return self.ask(self.pieces[nth], self.voice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """A clip that this run alone may speak."""

    id: ClipId
    look_first: bool
    """A run died over it: the object may be stored though nobody wrote it down."""
    held_s: float = 0.0
    """How long a call of that run may still bring it: until then it's looked for, not spoken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What became of the lines a run asked for; a key in neither is another run's."""

    stored: Mapping[str, ClipId]
    mine: Mapping[str, Reserved]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One utterance's end, to be written."""

    phrase: Phrase
    state: State
    spoken: str = ""
    clip: ClipId | None = None
    url: str | None = None
    """What the card is to carry; None leaves the card alone."""
    code: str | None = None
    message: str | None = None
    """For a person: what happened, and the fix."""
    characters: int = 0
    """Sent to the provider for this utterance, retakes included; 0 where nothing was."""
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """What became of a flush."""

    landed: Sequence[Result]
    """What was written: a changed card's result is not."""
    paused: str | None = None
    """Why an operator wants the run to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Utterances of a job by how they ended; `total` includes those still to come."""

    total: int = 0
    spoken: int = 0
    reused: int = 0
    kept: int = 0
    skipped: int = 0
    failed: int = 0

    @property
    def done(self) -> int:
        return self.spoken + self.reused + self.kept + self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a run ends before its job does. It costs no attempt."""

    code: str
    """`out_of_time`, `turn_over`, `throttled`, `terminated`, `paused`, or a `StopRun`'s code."""
    message: str
    delay_s: float = 0.0
    """How long the job must rest before anyone claims it again."""
    rings: bool = False
    """Whether a person has to act (money, key, configuration)."""
    about: str | None = None
    """For a configuration fault: `voice` or `model`, where the provider names it."""
    pauses: bool = False
    """Whether no other job would fare better (money, key): all wait."""


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing to do: someone else's, resting, paused, or ended."""


@dataclass(frozen=True, slots=True)
class Completed:
    """Every utterance ended well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Some utterance can't be spoken, or the job itself can't be run."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedBack:
    """The rest waits for another run."""

    stop: Stop


@dataclass(frozen=True, slots=True)
class Lost:
    """The job was cancelled, deleted or taken over while this run was on it."""


Outcome: TypeAlias = Idle | Completed | Failed | HandedBack | Lost


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one run did, for metrics and logs."""

    spoken: int = 0
    reused: int = 0
    kept: int = 0
    skipped: int = 0
    failed: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    """Failed utterances by code."""
    requests: int = 0
    throttled: int = 0
    refused: int = 0
    retaken: int = 0
    characters: int = 0
    cost_usd: float = 0.0
    longest_call_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One run over one job, as it ended."""

    job_id: str
    outcome: Outcome
    tally: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    failed: Sequence[Result] = ()
    """The utterances that this run gave up."""
    wake_failed: bool = False
    """The rest could not be put on the queue; the sweep will wake it."""
