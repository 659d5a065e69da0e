"""What a simulated worker works with: a provider that counts, a store, a queue, and real SQL."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, TypeVar
from unittest import mock

import pg8000.exceptions

from local.speech import sound
from memolist_tts.core import verdict
from memolist_tts.core.errors import (
    DatabaseError,
    NetworkFault,
    ProviderBusy,
    SpeechError,
    StorageError,
    WakeError,
)
from memolist_tts.core.key import audio_key
from memolist_tts.core.model import Flushed, Job, Speech, SpeechRequest
from memolist_tts.core.mp3 import join
from memolist_tts.core.text import parts
from memolist_tts.postgres import connection
from memolist_tts.postgres.connection import BEGIN, Database, Transaction
from memolist_tts.postgres.jobs import Jobs
from memolist_tts.storage import PublicBase
from tests.crash.simulation import Fate, Process, Simulation

T = TypeVar("T")
LATENCY_S, DATABASE_S, STORE_S = 0.4, 0.002, 0.03
VISIBILITY_S, MOST_RECEIVES = 1800.0, 5
BASE_URL = "https://cdn.example.com/audio"
EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
# Unqualified, it is found before pg_catalog's: the SQL is the product's, the time the simulation's.
VIRTUAL_TIME = """
CREATE SCHEMA sim;
CREATE FUNCTION sim.clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
AS $$ SELECT current_setting('sim.now')::timestamptz $$;
CREATE FUNCTION sim.now() RETURNS timestamptz STABLE LANGUAGE sql
AS $$ SELECT current_setting('sim.now')::timestamptz $$;
ALTER DATABASE "{database}" SET search_path = sim, pg_catalog, public;
ALTER DATABASE "{database}" SET sim.now = '2026-03-01T00:00:00Z'
"""
KBPS = 128


@cache
def recording(text: str, language: str, take: int) -> bytes:
    """A sound clip of `text`."""
    pcm = sound.spoken(text, language, 1.0, 1.0)
    assert pcm is not None
    return sound.stamped(sound.mp3(pcm, KBPS), KBPS, take)


@cache
def silent(text: str, language: str) -> bytes:
    """A clip of that length in which nothing is said."""
    pcm = sound.spoken(text, language, 1.0, 1.0)
    assert pcm is not None
    return sound.mp3(bytes(len(pcm)), KBPS)


@cache
def published(spoken: str, language: str) -> bytes:
    """What is stored of the sound clip of a spoken text."""
    said = [recording(piece, language, 1) for piece in parts(spoken)]
    mp3 = said[0] if len(said) == 1 else join(said)
    return verdict.publishable(mp3, verdict.judge(mp3, spoken, language=language, speed=1.0))


@dataclass
class Charge:
    """One answer that the provider bills."""

    key: str
    """Of the clip that it is for."""
    part: int
    """Which of its parts was said."""
    text: str
    process: Process
    is_sound: bool
    asked_at: float
    heard_at: float = math.inf
    """When its answer reached the process."""
    is_cut: bool = False
    """Its answer broke off on the way."""
    is_refused: bool = False
    """The store refused its clip."""
    name: str | None = None
    """Its clip reached the store under that name, or another's was found there."""

    @property
    def is_heard(self) -> bool:
        return self.heard_at < math.inf


@dataclass
class Provider:
    """Says what it is asked, or what `answer` decides: an error (not billed), or other bytes."""

    simulation: Simulation
    answer: Callable[[str], Exception | bytes | None] = field(default=lambda _text: None)
    asked: Callable[[str], None] = field(default=lambda _text: None)
    charges: list[Charge] = field(default_factory=list)
    in_vain: list[tuple[str, Process, float]] = field(default_factory=list)
    """Texts that weren't said: who asked, and when they learned of it."""
    languages: dict[str, str] = field(default_factory=dict)
    wholes: dict[str, list[str]] = field(default_factory=dict)
    """By each part of a text that is read in parts, all of them."""
    latency_s: Callable[[str], float] = field(default=lambda _text: LATENCY_S)
    """By the text, or the part of one."""

    def said(self, text: str) -> bytes:
        return recording(text, self.languages.get(text, "en"), 1)


class SimSpeaker:
    """The port `Speaker`."""

    def __init__(self, provider: Provider, process: Process) -> None:
        self._provider = provider
        self._process = process

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:  # noqa: ARG002
        provider, text = self._provider, str(request["input"])
        charge: list[Charge] = []

        def effect() -> Speech:
            provider.asked(text)
            answer = provider.answer(text)
            if isinstance(answer, Exception):
                raise answer
            mp3 = answer if answer is not None else provider.said(text)
            pieces = provider.wholes.get(text, [text])
            key = audio_key([{**request, "input": piece} for piece in pieces])
            part = pieces.index(text)
            now = provider.simulation.now
            charge.append(Charge(key, part, text, self._process, answer is None, now))
            provider.charges += charge
            return Speech(mp3=mp3, request_id=f"req-{len(provider.charges)}")

        def failure(fate: Fate) -> Exception:
            if fate is Fate.FAIL_BEFORE:
                return ProviderBusy("503")
            charge[0].is_cut = True
            return NetworkFault("the answer was cut", maybe_billed=True)

        takes_s = provider.latency_s(text)
        try:
            speech = provider.simulation.call("speak", effect, failure, takes_s=takes_s)
        except SpeechError:
            provider.in_vain.append((text, self._process, provider.simulation.now))
            raise
        charge[0].heard_at = provider.simulation.now
        return speech

    def rest(self) -> None:
        """Nothing is kept between two runs."""


@dataclass
class Store:
    """Objects by name."""

    objects: dict[str, bytes] = field(default_factory=dict)


class SimStorage:
    """The port `Storage`."""

    def __init__(
        self, simulation: Simulation, store: Store, provider: Provider, process: Process
    ) -> None:
        self._simulation = simulation
        self._store = store
        self._provider = provider
        self._process = process
        self._public = PublicBase(BASE_URL)
        self.url, self.owns = self._public.url, self._public.owns

    def _call(self, name: str, effect: Callable[[], T]) -> T:
        return self._simulation.call(name, effect, _storage_error, takes_s=STORE_S)

    def put(self, name: str, mp3: bytes) -> bool:
        def effect() -> bool:
            is_new = name not in self._store.objects
            self._store.objects.setdefault(name, mp3)
            for charge in self._paid(name):
                charge.name = name
            return is_new

        def failure(fate: Fate) -> Exception:
            for charge in self._paid(name):
                charge.is_refused = True
            return _storage_error(fate)

        return self._simulation.call("put", effect, failure, takes_s=STORE_S)

    def _paid(self, name: str) -> list[Charge]:
        """This process's last charge for each part of the clip of that name."""
        key = name.rsplit("-", 1)[0]
        mine = {
            charge.part: charge
            for charge in self._provider.charges
            if charge.process is self._process and charge.key == key and charge.is_heard
        }
        return list(mine.values())

    def read(self, name: str) -> bytes | None:
        return self._call("read", lambda: self._store.objects.get(name))

    def prove(self) -> None:
        self._call("prove", lambda: None)


def _storage_error(fate: Fate) -> Exception:
    return StorageError(f"S3: {fate.value}")


class SimDatabase(Database):
    """The real adapter on the real server, its transactions numbered and on virtual time."""

    def __init__(self, simulation: Simulation, url: str) -> None:
        super().__init__(url)
        self._simulation = simulation
        self._is_unheard = False
        self.writes_for: Job | None = None
        """Whose run writes now, and so needs its lease."""

    def transaction(self, work: Callable[[Transaction], T]) -> T:
        simulation = self._simulation
        name = f"transaction {work.__qualname__.split('.<', 1)[0]}"

        def failure(fate: Fate) -> Exception:
            return DatabaseError(f"PostgreSQL: {fate.value}", passes=True)

        def effect() -> T:
            may_write = self._may_write()
            result = super(SimDatabase, self).transaction(work)
            if not may_write:
                simulation.wrongs.append(f"{name} without a lease")
            return result

        return simulation.call(name, effect, failure, unheard=self._lose_answer)

    def _may_write(self) -> bool:
        job = self.writes_for
        if job is None:
            return True
        sql = "SELECT lease_until > clock_timestamp() AS may FROM tts.job WHERE job_id = :id"
        sql += " AND lease_token = cast(:lease AS uuid)"
        found = super().transaction(lambda tx: tx.rows(sql, id=job.id, lease=job.lease))
        return bool(found and found[0]["may"])

    def _lose_answer(self) -> None:
        self._is_unheard = True

    def _once(self, work: Callable[[Transaction], T], *, is_repeat: bool) -> T:
        self._simulation.now += DATABASE_S
        now = f"{BEGIN}; SET LOCAL sim.now = '{moment(self._simulation.now)}'"
        with mock.patch.object(connection, "BEGIN", now):
            result = super()._once(work, is_repeat=is_repeat)
        if self._is_unheard:
            self._is_unheard = False
            raise pg8000.exceptions.InterfaceError("network error")
        return result


class SimJobs(Jobs):
    """The real adapter; what it may only write under its run's lease is watched."""

    _database: SimDatabase

    @contextmanager
    def _watched(self, job: Job) -> Iterator[None]:
        self._database.writes_for = job
        try:
            yield
        finally:
            self._database.writes_for = None

    def flush(self, job: Job, *given: Any, **named: Any) -> Flushed:
        with self._watched(job):
            return super().flush(job, *given, **named)

    def settle(self, job: Job, *given: Any, **named: Any) -> None:
        with self._watched(job):
            super().settle(job, *given, **named)


def moment(now: float) -> str:
    """The simulation's time as PostgreSQL takes it."""
    return (EPOCH + timedelta(seconds=now)).isoformat()


@dataclass(eq=False)
class Message:
    """One message of the queue."""

    body: str
    visible_at: float
    id: str
    receives: int = 0


@dataclass
class Queue:
    """At least once: what is received is hidden, and comes back unless it is deleted."""

    simulation: Simulation
    messages: list[Message] = field(default_factory=list)
    dead: list[Message] = field(default_factory=list)
    _sent: int = 0

    def send(self, body: str, delay_s: float = 0.0) -> None:
        visible_at = self.simulation.now + math.ceil(min(delay_s, 900))
        self._sent += 1
        self.messages.append(Message(body, visible_at, f"message-{self._sent}"))

    def visible(self) -> list[Message]:
        """What may be received now; what was received too often is a dead letter."""
        due = [each for each in self.messages if each.visible_at <= self.simulation.now]
        for each in [each for each in due if each.receives >= MOST_RECEIVES]:
            self.messages.remove(each)
            self.dead.append(each)
            due.remove(each)
        return due

    def receive(self, message: Message) -> None:
        message.receives += 1
        message.visible_at = self.simulation.now + VISIBILITY_S

    def delete(self, message: Message) -> None:
        if message in self.messages:
            self.messages.remove(message)

    def next_at(self) -> float:
        return min((each.visible_at for each in self.messages), default=math.inf)


class SimWake:
    """The port `Wake`."""

    def __init__(self, simulation: Simulation, queue: Queue) -> None:
        self._simulation = simulation
        self._queue = queue

    def send(self, job_id: str, *, group: str, delay_s: float = 0) -> None:  # noqa: ARG002
        def effect() -> None:
            self._queue.send(json.dumps({"jobId": job_id}), delay_s)

        self._simulation.call("send", effect, lambda fate: WakeError(f"SQS: {fate.value}"))

    def hurry(self, receipt: str, delay_s: int) -> None:
        def effect() -> None:
            for message in self._queue.messages:
                if message.id == receipt:
                    message.visible_at = self._simulation.now + delay_s

        self._simulation.call("hurry", effect, lambda fate: WakeError(f"SQS: {fate.value}"))


class SimBus:
    """Who is told of ends; `told` by job."""

    def __init__(
        self, simulation: Simulation, told: defaultdict[str, list[Mapping[str, object]]]
    ) -> None:
        self._simulation = simulation
        self._told = told

    def tell(self, status: str, detail: dict[str, object]) -> None:
        def effect() -> None:
            self._told[str(detail["jobId"])].append(detail | {"status": status})

        self._simulation.call("tell", effect, lambda fate: WakeError(f"bus: {fate.value}"))
