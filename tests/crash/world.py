"""One deployment in the simulation: jobs come, workers run and die, and what is left is checked."""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pg8000.native

import memolist_tts
from local import api
from local.api import Api, audio_urls
from local.postgres import connect
from local.schema import Shape
from memolist_tts import assemble
from memolist_tts.assemble import Worker
from memolist_tts.core import crew, speaking, takes, text
from memolist_tts.core.errors import MemolistError
from memolist_tts.core.model import HandedBack, Lost, Report
from memolist_tts.core.verdict import judge, publishable
from memolist_tts.poll import poll
from memolist_tts.postgres import clips, connection, jobs, operator
from memolist_tts.postgres.schema import inspect, migrate
from memolist_tts.settings import Needs, Settings
from tests.crash import parts
from tests.crash.parts import Message, Provider, Queue, SimDatabase, Store
from tests.crash.simulation import Dice, Fate, Flag, Ids, Process, Queues, Simulation, Threading

ENVIRON = {
    "DATABASE_URL": "postgresql://simulated@127.0.0.1/simulated",
    "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
    "TTS_PROVIDER": "endpoint",
    "QUEUE_URL": "https://sqs.eu-west-3.amazonaws.com/123456789012/simulated",
    "PUBLIC_BASE_URL": parts.BASE_URL,
    "MAX_IN_FLIGHT": "3",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    "POWERTOOLS_METRICS_DISABLED": "true",
}
SWEEP_EVERY_S, FIRST_SWEEP_S = 120.0, 31.0
LAMBDA_S = 60.0
SLOTS = 4
"""How many instances a function can have at once."""
MOST_ATTEMPTS = 3
LONGEST_S = 6 * 3600.0
LATE_S = 11.0
"""What is half said, or was asked for in vain, so close to a run's end may not be finished: a
call lasts 8 s at most, and waits 5 s for its slot where the provider was throttling."""
STATUSES = ("pending", "processing", "completed", "failed", "cancelled")
FOREIGN_URL = "https://elsewhere.example.com/recording.mp3"
FRENCH = {
    "apple": "pomme", "bread": "pain", "house": "maison", "table": "fenêtre", "river": "rivière",
    "mountain": "montagne",
}  # fmt: skip
LONG = "The river runs past the house. " * 40
"""Read in two parts."""


@dataclass(frozen=True, slots=True)
class Plain:
    """The context of one invocation."""

    left_s: Callable[[], float]
    function_name: str = "memolist"
    memory_limit_in_mb: str = "1024"
    invoked_function_arn: str = "arn:aws:lambda:eu-west-3:123456789012:function:memolist"
    aws_request_id: str = "request"

    def get_remaining_time_in_millis(self) -> int:
        return int(1000 * self.left_s())


@dataclass(eq=False)
class Run:
    """One run over one job: whose, when, and what it said of itself."""

    process: Process
    began: float
    deadline: float
    ended: float = math.inf
    report: Report | None = None

    def may_drop_half(
        self, charge: parts.Charge, pieces: Sequence[str], provider: Provider
    ) -> bool:
        """Whether the rest of a text, of which `charge` paid for a part, may be left unsaid."""
        tried = [
            at
            for text, process, at in provider.in_vain
            if text in pieces and process is self.process and self.began <= at <= self.ended
        ]
        latest = max([charge.heard_at, *tried])
        if self.report is None or latest > min(self.ended, self.deadline - LATE_S):
            return True
        if " ".join(pieces) in {result.spoken for result in self.report.failed}:
            return True
        match self.report.outcome:
            case Lost():
                return True
            case HandedBack(stop=stop):
                return stop.rings or stop.code in ("database_down", "throttled")
            case _:
                return False


class SimWorker(Worker):
    """The product's wiring, over simulated parts."""

    def __init__(self, world: World, process: Process, settings: Settings) -> None:
        super().__init__(settings)
        self.world = world
        self.process = process
        simulation, database = world.simulation, world.database_of(process)
        self.__dict__.update(
            database=database,
            api=world.api_shape,
            jobs=parts.SimJobs(database, world.api_shape, max_attempts=settings.MAX_ATTEMPTS),
            storage=parts.SimStorage(simulation, world.store, world.provider, process),
            wake=parts.SimWake(simulation, world.queue) if settings.QUEUE_URL else None,
            bus=parts.SimBus(simulation, world.told),
        )

    def run(self, job_id: str, *, seconds: float, **how: Any) -> Report:
        simulation = self.world.simulation
        run = Run(self.process, simulation.now, deadline=simulation.now + seconds)
        self.world.runs.append(run)
        try:
            run.report = super().run(job_id, seconds=seconds, **how)
        finally:
            run.ended = simulation.now
        return run.report

    def speaker(self) -> parts.SimSpeaker:  # type: ignore[override]
        return parts.SimSpeaker(self.world.provider, self.process)

    def forget(self) -> None:
        """What would be opened again is the same."""


@dataclass
class Ground:
    """A database for one world after another."""

    url: str
    api: Api
    shape: Any
    connections: list[Any] = field(default_factory=list)
    simulation: Simulation | None = None

    @cached_property
    def tables(self) -> list[str]:
        """The API's and ours."""
        rows = self.api.rows(
            "SELECT relid::regclass::text AS name FROM pg_stat_user_tables ORDER BY relid"
        )
        return [row["name"] for row in rows]

    def clear(self) -> None:
        """Nothing has happened yet."""
        self.api.rows("; ".join(f"DELETE FROM {table}" for table in self.tables))

    def renew(self) -> None:
        """Nothing ever was here: what earlier worlds left would change the queries' plans."""
        self.api.rows(f"TRUNCATE {', '.join(self.tables)}")

    def rows(self) -> dict[str, list[str]]:
        """Everything that is written down, by table."""
        written = "SELECT t::text AS row FROM {table} t ORDER BY 1"
        return {
            table: [found["row"] for found in self.api.rows(written.format(table=table))]
            for table in self.tables
        }


ENDED_WELL = ("spoken", "reused", "kept", "skipped")


@contextmanager
def ground(server: Any, name: str) -> Iterator[Ground]:
    """A database with virtual time on `server`, and the core's threads under the simulation."""
    from local.schema import create_tables

    shape = Shape(statuses=STATUSES)
    url = server.create(name)
    create_tables(url, shape)
    setup = connect(url)
    for statement in parts.VIRTUAL_TIME.format(database=name).split(";\n"):
        setup.run(statement)
    setup.close()
    migrate(url)
    place = Ground(url, Api(url, shape), None)
    database = connection.Database(url)
    place.shape = inspect(database, Settings.load(Needs(0), {}).LANGUAGES)
    database.close()

    def current() -> Simulation:
        assert place.simulation is not None
        return place.simulation

    def clock() -> float:
        process = current().process
        return current().now * (1 + process.drift) + process.skew

    for table in place.tables:
        place.api.rows(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    with ExitStack() as stack:
        for module, name, instead in (
            (api, "uuid", Ids(current)),
            (jobs, "uuid", Ids(current)),
            (clips, "uuid", Ids(current)),
            (operator, "uuid", Ids(current)),
            (speaking, "random", Dice(current)),
            # Parsing each statement anew is a quarter of a life's time.
            (pg8000.native, "to_statement", cache(pg8000.native.to_statement)),
            (crew, "threading", Threading(current)),
            (crew, "queue", Queues(current)),
            (assemble, "clock", clock),
            (connection, "BETWEEN_TRIES_S", 0.0),
            (takes, "verdict", _Cached()),
        ):
            stack.enter_context(mock.patch.object(module, name, instead))
        stack.enter_context(mock.patch.dict(os.environ, ENVIRON))
        yield place


class _Cached:
    """The module `verdict`, whose answers to the same clips are remembered."""

    judge = staticmethod(cache(judge))
    publishable = staticmethod(cache(publishable))


@cache
def _function(name: str, slot: int) -> ModuleType:
    """An instance of its own of a Lambda function's module."""
    path = Path(memolist_tts.__file__).parent / "lambdas" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"simulated_{name}_{slot}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(os.environ, ENVIRON):
        spec.loader.exec_module(module)
    return module


@dataclass(frozen=True, slots=True)
class Life:
    """Of one world, to be compared with another's."""

    calls: list[tuple[float, str, str, Fate | None]]
    charges: list[tuple[str, str]]
    objects: dict[str, bytes]
    told: dict[str, list[Mapping[str, object]]]
    rows: dict[str, list[str]]


class World:
    """A fresh deployment on `place`. `choose` picks among threads, messages and the like."""

    def __init__(
        self,
        place: Ground,
        choose: Callable[[Sequence[Any]], Any] | None = None,
        seed: int = 0,
        **environ: str,
    ) -> None:
        self.place = place
        place.clear()
        self.simulation = place.simulation = Simulation(choose, seed)
        self.choose = choose or (lambda options: options[0])
        self.api, self.api_shape = place.api, place.shape
        self.settings = Settings.load(Needs(0), ENVIRON | environ)
        self.provider = Provider(self.simulation)
        self.store = Store()
        self.queue = Queue(self.simulation)
        self.told: defaultdict[str, list[Mapping[str, object]]] = defaultdict(list)
        self.lists: dict[str, str] = {}
        self.foreign: set[tuple[str, str]] = set()
        self.edited: set[str] = set()
        """Cards whose text was changed."""
        self.forced = 0
        """Jobs that want new takes."""
        self.lambda_s = LAMBDA_S
        self.processes: list[Process] = []
        self.busy: set[int] = set()
        self.sweeping: Process | None = None
        self.runs: list[Run] = []
        self.errors: list[BaseException] = []
        self.halt = Flag(self.simulation)
        self.pollers: list[Process] = []
        self.at_work: Callable[[], None] = self.aws
        """What runs the jobs until all is at rest."""
        self.has_queue = True
        self.new_process: Callable[[str], Process] = Process
        self.to_come = 0
        """What the API is still going to do."""
        self.abandons_calls = False
        """Runs give calls up: nobody puts their clips a second time, and beside them are others."""
        self.found: list[str] = []
        self._runs: Counter[str] = Counter()
        self._events = 0

    # The API's side

    def add_list(self, phrases: Sequence[tuple[str, str]]) -> str:
        for english, french in phrases:
            self.provider.languages[text.spoken(french, "fr").text] = "fr"
            pieces = text.parts(text.spoken(english, "en").text)
            self.provider.wholes |= dict.fromkeys(pieces, pieces)
        return self.api.add_list(phrases)

    def add_job(self, list_id: str, *, is_sent: bool = True, **columns: Any) -> str:
        # A millisecond apart, which is what the API's times can tell.
        at = parts.EPOCH + timedelta(seconds=self.simulation.now, milliseconds=len(self.lists))
        plain = {"userId": "user-1"} | dict.fromkeys(("createdAt", "updatedAt"), _as_api(at))
        job_id = self.api.add_job(list_id, **(plain | columns))
        self.lists[job_id] = list_id
        self.forced += "force" in (columns.get("options") or "")
        if is_sent:
            self.send(job_id)
        return job_id

    def edit(self, card_id: str, english: str) -> None:
        """Change a card's English text."""
        self.edited.add(card_id)
        self.api.rows('UPDATE "Card" SET "textEn" = :text WHERE id = :id', text=english, id=card_id)

    def poll(self, count: int = 1) -> None:
        """Nobody sends messages: so many pollers look for the jobs."""
        self.has_queue = False
        self.at_work = self.pollers_at_work(count)

    def send(self, job_id: str) -> None:
        if not self.has_queue:
            return
        self.queue.send(json.dumps({"jobId": job_id}))
        self._events += 1

    def status(self, job_id: str) -> str:
        return str(self.api.job(job_id)["status"])

    # Running

    def database_of(self, process: Process) -> SimDatabase:  # noqa: ARG002
        """The adapter of a new process; connections carry no session, so they are kept."""
        database = SimDatabase(self.simulation, self.place.url)
        if self.place.connections:
            database._connection = self.place.connections.pop()
        return database

    def worker(self, process: Process, **environ: str) -> SimWorker:
        settings = self.settings
        if environ:
            settings = settings.model_copy(update=environ)
        return SimWorker(self, process, settings)

    def spawn(
        self, process: Process, work: Callable[[SimWorker], object], worker: SimWorker
    ) -> None:
        """Run `work` in `process`; whatever it raises is kept."""
        self.processes.append(process)

        def serve() -> None:
            try:
                work(worker)
            except Exception as error:
                self.errors.append(error)
            finally:
                self._events += 1
                if (found := worker.database._connection) is not None:
                    self.place.connections.append(found)
                    worker.database._connection = None

        self.simulation.spawn(process, process.name, serve)

    def run(self, *services: Callable[[], None]) -> None:
        """Run the services (and what they start) until all is at rest."""
        around = Process("around")
        for service in services:
            self.simulation.spawn(around, service.__name__, service)
        self.simulation.run()

    def aws(self) -> None:
        """The queue's and the schedule's triggers, until all is at rest."""
        sweep_at = FIRST_SWEEP_S
        while True:
            is_over = self._are_jobs_over()
            for message in self.queue.visible():
                if len(self.busy) < SLOTS:
                    self._invoke(message)
            if self.simulation.now >= sweep_at and not is_over:
                self._sweep()
                sweep_at = self.simulation.now + SWEEP_EVERY_S
            if is_over and not self.queue.messages and not self._is_busy():
                return
            self._rest(min(self.queue.next_at(), math.inf if is_over else sweep_at))

    def pollers_at_work(self, count: int = 1) -> Callable[[], None]:
        """Pollers, each started again when it dies, until all is at rest."""

        def supervise() -> None:
            self.halt, self.pollers = Flag(self.simulation), []
            while not self._are_jobs_over():
                self.pollers = [each for each in self.pollers if not each.is_dead]
                while len(self.pollers) < count:
                    self.pollers.append(self._poller())
                self._rest(self.simulation.now + 20.0)
            self.halt.set()

        return supervise

    def _poller(self) -> Process:
        process = self.new_process("poller")
        worker = self.worker(process, QUEUE_URL=None)  # type: ignore[arg-type]

        def tell(what: Report | Exception) -> None:
            self._events += 1
            if not isinstance(what, Report | MemolistError):
                raise what

        self.spawn(process, lambda worker: poll(worker, self.halt, tell), worker)  # type: ignore[arg-type]
        return process

    def _invoke(self, message: Message) -> None:
        slot = next(n for n in range(SLOTS) if n not in self.busy)
        self.busy.add(slot)
        self.queue.receive(message)
        module = _function("synthesize", slot)
        process = self.new_process("synthesize")
        ends = self.simulation.now + self.lambda_s
        module.worker = self.worker(process)  # type: ignore[attr-defined]
        module.threading = Threading(lambda: self.simulation)  # type: ignore[attr-defined]
        worker: SimWorker = module.worker  # type: ignore[attr-defined]

        def work(_: SimWorker) -> None:
            try:
                # Bound here: another instance of the slot may be started meanwhile.
                context = Plain(lambda: ends - self.simulation.now)
                self._runs[message.body] += 1
                answer = module.handler(_event(message), context)
                if not answer["batchItemFailures"]:
                    self._acknowledge(message)
            finally:
                self.busy.discard(slot)

        self.spawn(process, work, worker)

    def _acknowledge(self, message: Message) -> None:
        self.simulation.call(
            "acknowledge", lambda: self.queue.delete(message), lambda fate: OSError(fate.value)
        )

    def _sweep(self) -> None:
        if self.sweeping is not None:
            return
        module = _function("sweep", 0)
        process = self.sweeping = self.new_process("sweep")
        module.worker = self.worker(process)  # type: ignore[attr-defined]

        def work(_: SimWorker) -> None:
            try:
                module.handler({}, Plain(lambda: 60.0))
            finally:
                self.sweeping = None

        self.spawn(process, work, module.worker)  # type: ignore[attr-defined]

    def _rest(self, until: float) -> None:
        """Until then, or until something happens."""
        assert self.simulation.now < LONGEST_S, f"never at rest: {self._statuses()}"
        seen = self._events
        self.simulation.wait(
            max(1.0, min(until, self.simulation.now + 1800.0) - self.simulation.now),
            lambda: self._events != seen,
        )

    def _is_busy(self) -> bool:
        return bool(self.busy) or self.sweeping is not None

    def _statuses(self) -> dict[str, str]:
        return {
            str(r["id"]): r["s"] for r in self.api.rows('SELECT id, status::text s FROM "TtsJob"')
        }

    def _are_jobs_over(self) -> bool:
        return not self.to_come and not set(self._statuses().values()) & {"pending", "processing"}

    @property
    def life(self) -> Life:
        """Everything that happened, and what is left of it."""
        return Life(
            calls=list(self.simulation.trace),
            charges=[(each.key, each.process.name) for each in self.provider.charges],
            objects=dict(self.store.objects),
            told=dict(self.told),
            rows=self.place.rows(),
        )

    # What must hold at rest

    def problems(self, *, may_be_unvoiced: Mapping[str, str] | None = None) -> list[str]:
        """Everything that is wrong now; `may_be_unvoiced` are jobs that were cancelled."""
        found: list[str] = []
        for job_id, list_id in self.lists.items():
            found += self._job_problems(job_id, list_id, job_id in (may_be_unvoiced or ()))
        found += self.simulation.wrongs
        found += self._clip_problems()
        found += self._charge_problems()
        found += [f"{len(self.queue.messages)} messages left"] * bool(self.queue.messages)
        found += [f"dead letter: {each.body}" for each in self.queue.dead]
        found += [f"raised: {error!r}" for error in self.errors if not _is_expected(error)]
        return found

    def untold(self) -> list[str]:
        """Jobs of whose end, or of whose last run's utterances, the bus was told nothing true."""
        found = []
        for job_id in self.lists:
            end, told = self.status(job_id), self.told[job_id]
            if not told or told[-1]["status"] != end:
                found.append(f"told {told} of a job that {end}")
            elif self._runs[json.dumps({"jobId": job_id})] == 1:
                job = self.api.job(job_id)
                counts = sum(told[-1][name] for name in ENDED_WELL), told[-1]["failed"]
                if counts != (job["doneCount"], job["failedCount"]):
                    found.append(f"told {counts}, done {job['doneCount']}, {job['failedCount']}")
        return found

    def _job_problems(self, job_id: str, list_id: str, is_cut: bool) -> list[str]:
        job, found = self.api.job(job_id), []
        ours = self.api.rows("SELECT * FROM tts.job WHERE job_id = :id", id=job_id)
        if job["status"] not in ("completed", "failed", "cancelled"):
            found.append(f"job is {job['status']}")
        found += [f"a lease is left: {row}" for row in ours if self._is_leased(job, row)]
        if is_cut or job["status"] == "cancelled":
            return found
        if ours and ours[0]["error_code"] == "attempts_used_up":
            # Each attempt is a death, or a database that went away before the lease was let go.
            has_reason = self.simulation.troubles >= MOST_ATTEMPTS
            return found + ["attempts used up without a reason"] * (not has_reason)
        ends = {
            (r["card_id"], r["language"]): r
            for r in self.api.rows("SELECT * FROM tts.utterance WHERE job_id = :id", id=job_id)
        }
        for card in self.api.cards(list_id):
            for language, url in zip(("en", "fr"), audio_urls(card), strict=True):
                shown = card["textEn" if language == "en" else "textFr"]
                end = ends.get((card["id"], language))
                found += self._card_problem(card["id"], language, shown, url, end)
        counts = Counter(r["state"] for r in ends.values())
        done = sum(counts.values()) - counts["failed"]
        if (job["doneCount"], job["failedCount"]) != (done, counts["failed"]):
            found.append(f"counts {job['doneCount']}, {job['failedCount']} for {dict(counts)}")
        status = "failed" if counts["failed"] else "completed"
        if ends and job["status"] != status:
            found.append(f"job is {job['status']} with {dict(counts)}: {job['errorMessage']}")
        return found

    def _is_leased(self, job: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
        """Whoever settles a job lets go of all; of one that the API ended, the time runs out."""
        if job["status"] == "completed" or row["finished_at"]:
            return bool(row["lease_token"] or row["lease_until"])
        now = parts.EPOCH.timestamp() + self.simulation.now
        return bool(row["lease_until"] and row["lease_until"].timestamp() > now)

    def _card_problem(
        self,
        card_id: str,
        language: str,
        shown: str,
        url: str | None,
        end: Mapping[str, Any] | None,
    ) -> list[str]:
        where = f"{shown} ({language})"
        if (card_id, language) in self.foreign:
            return [] if url == FOREIGN_URL else [f"{where}: foreign audio replaced by {url}"]
        if end is None:
            return [f"{where}: no end is written, url {url}"]
        if end["code"] == "internal":
            return [f"{where}: a fault of ours: {end['message']}"]
        if url is None:
            return [] if end["state"] in ("skipped", "failed") else [f"{where}: no audio: {end}"]
        name = url.removeprefix(f"{parts.BASE_URL}/")
        audio = self.store.objects.get(name)
        if audio is None:
            return [f"{where}: no object at {url}"]
        # Audio of the words that a card had before is the API's to remove, when it edits the card.
        is_as_read = end["state"] not in ("failed", "kept") and end["shown_text"] == shown
        if card_id in self.edited and not (is_as_read and end["url"] == url):
            return []
        if audio != parts.published(text.spoken(shown, language).text, language):
            return [f"{where}: the audio of another text"]
        return []

    def _clip_problems(self) -> list[str]:
        found = []
        for row in self.api.rows(
            "SELECT c.*, t.lease_until FROM tts.clip c LEFT JOIN tts.job t "
            "ON t.job_id = c.speaker_job AND t.lease_token = c.speaker"
        ):
            if row["stored_at"] is not None and row["object_name"] not in self.store.objects:
                found.append(f"a clip without an object: {row['spoken_text']}")
            now = parts.EPOCH.timestamp() + self.simulation.now
            is_leased = row["lease_until"] and row["lease_until"].timestamp() > now
            if row["stored_at"] is None and is_leased:
                found.append(f"reserved for good: {row['spoken_text']}")
        return found

    def _charge_problems(self) -> list[str]:
        """One charge a take, and one more for each that its process died or stood still over."""
        found, twice = [], 0
        by_part: defaultdict[str, defaultdict[int, list[parts.Charge]]]
        by_part = defaultdict(lambda: defaultdict(list))
        for charge in self.provider.charges:
            if charge.is_sound:
                by_part[charge.key][charge.part].append(charge)
        for key, charges in by_part.items():
            kept = [
                [each.name for each in of if not self._was_lost(each)] for of in charges.values()
            ]
            takes = {name for name in self.store.objects if name.rsplit("-", 1)[0] == key}
            if len(takes) > 1 + self.forced:
                found.append(f"{key[:12]} has {len(takes)} takes")
            # One that reached the store under no name was paid for in vain; of a text that a
            # process stood still over all its parts were.
            twice += max(len(names) - len(set(names) - {None}) for names in kept)
            if twice > self.settings.MAX_IN_FLIGHT * self.simulation.freezes:
                found.append(f"{key[:12]} is kept, part by part, as {kept}")
        died_over = Counter(
            charge.process
            for charge in self.provider.charges
            if charge.process.is_dead and charge.name is None and not charge.is_cut
        )
        most = max(died_over.values(), default=0)
        if most > self.settings.MAX_IN_FLIGHT and not self.abandons_calls:
            found.append(f"a process died over {most} charges")
        return found

    def _was_lost(self, charge: parts.Charge) -> bool:
        if charge.name is not None:
            return False
        if self.abandons_calls and charge.is_refused:
            return True
        return charge.process.is_dead or charge.is_cut or self._is_half_dropped(charge)

    def _is_half_dropped(self, charge: parts.Charge) -> bool:
        """The rest of its text was left unsaid, by a run that had to."""
        pieces = self.provider.wholes.get(charge.text, [])
        return len(pieces) > 1 and any(
            run.may_drop_half(charge, pieces, self.provider)
            for run in self.runs
            if run.process is charge.process and run.began <= charge.asked_at <= run.ended
        )


def _as_api(at: datetime) -> datetime:
    return at.replace(tzinfo=None)


def _is_expected(error: BaseException) -> bool:
    return isinstance(error, MemolistError | OSError)


def _event(message: Message) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": message.id,
                "receiptHandle": message.id,
                "body": message.body,
                "attributes": {
                    "ApproximateReceiveCount": str(message.receives),
                    "SentTimestamp": "1772323200000",
                    "MessageGroupId": "user-1",
                },
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:eu-west-3:123456789012:simulated",
                "awsRegion": "eu-west-3",
            }
        ]
    }
