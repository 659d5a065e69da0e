"""Where every route comes together: models, pace, faults, the two logs, the voice."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

from local.speech import language, refusals
from local.speech.bucket import Level, Pace
from local.speech.catalogue import MODELS, PITCHES, Model
from local.speech.clips import heard, share, spoilt_pcm
from local.speech.faults import Fault, FaultBook, Kind
from local.speech.ledger import Ask, Charge, Ledger
from local.speech.refusals import Refused
from local.speech.sound import duration_s, spoken, uneven
from local.speech.words import Utterance, utter

T = TypeVar("T")

AUDIO_TOKENS_PER_S = 20
"""One audio token is 50 ms of output (OpenAI's realtime guide on costs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    api_key: str | None = field(default=None, repr=False)
    """The one key that is accepted; None: any that isn't empty."""
    latency_s: float = 0.02
    """From a request to the first byte of its answer, at least; waiting costs no CPU."""
    requests_per_minute: float = 10_000
    tokens_per_minute: float = 2_000_000
    burst_s: float = 60.0
    """How many seconds' requests may come at once: a minute's, or a second's."""
    refusals_count: bool = True
    """Whether a refused attempt uses up the limit, as OpenAI says of its own."""
    today: date | None = None
    """What the server takes for the day; None: before any model's shutdown."""
    session_s: float = 3600.0
    """How long a realtime session lives."""
    responses_per_session: int | None = None
    """How many a realtime session gives at once; None: any number."""
    default_language: str = "en"
    is_uneven: bool = False
    """Whether voices and takes differ in loudness as real ones do; else they are all alike."""
    charges_path: Path | None = None
    """A JSON-lines file that gets every charge, and survives the server."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, for the rate limit alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is about to be sent: the sound, and the words a model says it said, if it does."""

    pcm: bytes
    transcript: str
    charge: Charge

    @property
    def audio_tokens(self) -> int:
        return math.ceil(len(self.pcm) / 48_000 * AUDIO_TOKENS_PER_S)


class Crowd:
    """How many requests are being answered. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.now = 0
        self.most = 0

    def enter(self) -> None:
        with self._changed:
            self.now += 1
            self.most = max(self.most, self.now)
            self._changed.notify_all()

    def leave(self) -> None:
        with self._changed:
            self.now -= 1
            self._changed.notify_all()

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Block until exactly `count` are there; False if they never were."""
        with self._changed:
            return self._changed.wait_for(lambda: self.now == count, timeout_s)


class Desk:
    """The provider's state. Reached from the server's loop and from other threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.today = settings.today
        self.latency_s = settings.latency_s
        self.session_s = settings.session_s
        self.responses_per_session = settings.responses_per_session
        self.faults = FaultBook()
        self.ledger = Ledger(settings.charges_path)
        self.crowd = Crowd()
        self.pace = Pace(
            settings.requests_per_minute,
            settings.tokens_per_minute,
            settings.clock,
            settings.refusals_count,
            settings.burst_s,
        )
        # One thread: the engines hold the interpreter's lock anyway.
        self.studio = ThreadPoolExecutor(1, thread_name_prefix="speech-studio")

    def admit(self, authorization: str | None) -> None:
        """Raises `Refused` unless the Authorization header carries a good key."""
        scheme, _, key = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Refused(refusals.missing_key())
        if self.settings.api_key is not None and key.strip() != self.settings.api_key:
            raise Refused(refusals.wrong_key())

    def open_models(self) -> list[Model]:
        return [model for model in MODELS.values() if not model.is_closed(self.today)]

    def model(self, name: object, route: str | None = None) -> Model:
        """Raises `Refused` where no such model is open (on this route)."""
        for model in self.open_models():
            if model.id == name and route in (None, model.route):
                return model
        raise Refused(refusals.unknown_model(str(name)))

    def meter(self, model: Model, text: str) -> tuple[tuple[Level, Level], refusals.Refusal | None]:
        """Count an attempt: the buckets as they are now, and the 429 where one is empty."""
        levels = self.pace.take(model.id, text_tokens(text))
        worst = max(levels, key=lambda level: level.wait_s)
        if not worst.wait_s:
            return levels, None
        return levels, refusals.throttled(model.id, worst.kind, worst.limit, worst.wait_s)

    def fault_for(self, ask: Ask, kinds: Collection[Kind]) -> Fault | None:
        text, tongue = ask.input or "", self._tongue(ask)

        def can(rule: Fault) -> bool:
            return rule.kind is not Kind.WORDS or utter(text, tongue, rule.fault) is not None

        return self.faults.pick(text, ask.model or "", kinds, can)

    def _tongue(self, ask: Ask) -> str:
        return language.guess(ask.input or "", ask.instructions, self.settings.default_language)

    async def read(self, ask: Ask, fault: Fault | None, tokens: int | None = None) -> Reading:
        """Synthesize and charge. Raises `Refused` where nothing can be said.

        `tokens`, where given, is the most audio tokens the sound may last.
        """
        tongue, text = self._tongue(ask), ask.input or ""
        utterance = utter(text, tongue, fault.fault if fault else None) or Utterance(text, text)
        pitch = PITCHES[ask.voice or "alloy"]
        pcm = await self.in_studio(spoken, utterance.said, tongue, pitch, ask.speed)
        if pcm is None:
            raise Refused(
                refusals.bad_argument(
                    "The local voice finds nothing to speak in it: it reads Latin script alone.",
                    "input",
                )
            )
        if self.settings.is_uneven:
            pcm = await self.in_studio(uneven, pcm, text, ask.voice or "alloy")
        sound = await self.in_studio(spoilt_pcm, pcm, fault, tongue)
        if tokens is not None:
            sound = sound[: 48_000 * tokens // AUDIO_TOKENS_PER_S]
        if fault and fault.fault == "incomplete":
            sound = share(sound, fault.at)
        charge = self.ledger.charge(
            ask,
            status=200,
            language=tongue,
            fault=fault.fault if fault else None,
            said=heard(utterance.said, fault, tongue),
            seconds=duration_s(sound),
        )
        return Reading(pcm=sound, transcript=utterance.transcript, charge=charge)

    async def in_studio(self, work: Callable[..., T], *arguments: object) -> T:
        """Do `work` off the event loop, which has others to serve."""
        return await asyncio.get_running_loop().run_in_executor(self.studio, work, *arguments)

    async def wait_out(self, started_s: float) -> None:
        """The rest of the latency of a request that came at `started_s` (time.monotonic)."""
        await asyncio.sleep(max(0.0, started_s + self.latency_s - time.monotonic()))


def text_tokens(text: str) -> int:
    """A rule of thumb (4 characters a token), enough for a limit."""
    return math.ceil(len(text) / 4)
