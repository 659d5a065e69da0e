"""Real servers that go away, refuse, cut and lag, while real workers are at work."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pg8000.exceptions
import pytest

from local.api import Api, audio_urls
from local.postgres import Postgres, connect, free_port
from local.schema import create_tables
from local.speech import SpeechServer
from local.speech.faults import KINDS, Kind
from memolist_tts.assemble import Worker
from memolist_tts.core.errors import DatabaseError
from memolist_tts.core.model import Completed, HandedBack, Outcome
from memolist_tts.core.sweep import run_sweep
from memolist_tts.poll import poll
from memolist_tts.postgres.connection import Database, Transaction
from memolist_tts.postgres.schema import migrate
from memolist_tts.settings import Needs, Settings
from tests.conftest import Bucket, Queue
from tests.crash.network import Network

PATIENCE_S = 120.0
CDN = "https://cdn.example.com/audio"
NOUNS = (("house", "maison"), ("table", "table"), ("window", "fenêtre"), ("door", "porte"))
COLOURS = (("red", "rouge"), ("green", "verte"), ("white", "blanche"), ("black", "noire"))
CARDS = [
    (f"The {noun} is {colour}.", f"La {nom} est {couleur}.")
    for noun, nom in NOUNS
    for colour, couleur in COLOURS
]
TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
HUNG = ("drip", "stall", "hang", "hold", "slow")
"""Answers that take longer than a test has."""


@dataclass
class Field:
    """A deployment whose links to its servers can be troubled."""

    api: Api
    url: str
    speech: SpeechServer
    s3: Bucket
    links: dict[str, Network]

    def worker(self, **environ: str) -> Worker:
        database = urlsplit(self.url)
        netloc = f"postgres@127.0.0.1:{self.links['postgres'].port}"
        plain = {
            "DATABASE_URL": database._replace(netloc=netloc).geturl(),
            "OPENAI_BASE_URL": f"http://127.0.0.1:{self.links['provider'].port}/v1",
            "OPENAI_API_KEY": "sk-test",
            "STORAGE_TYPE": "s3",
            "AWS_S3_BUCKET": self.s3.name,
            "PUBLIC_BASE_URL": CDN,
            "FLUSH_SECONDS": "0.1",
            "LEASE_SECONDS": "3",
            "POLL_INTERVAL_MS": "100",
            "MAX_IN_FLIGHT": "4",
            "MAX_ATTEMPTS": "1000",
        }
        return Worker(Settings.load(Needs.WORKER, environ=plain | environ))

    @contextmanager
    def polled(self, count: int = 1) -> Iterator[None]:
        """Pollers at work, in threads."""
        halt = threading.Event()
        workers = [self.worker() for _ in range(count)]
        with ThreadPoolExecutor(count) as pool:
            ends = [pool.submit(poll, worker, halt, lambda _: None) for worker in workers]
            try:
                yield
            finally:
                halt.set()
                for end in ends:
                    end.result(PATIENCE_S)
                for worker in workers:
                    worker.database.close()

    def wait_for_end(self, job_id: str) -> str:
        """The state in which the job ends; rests and pauses are cut short."""
        give_up = time.monotonic() + PATIENCE_S
        while (status := self.api.job(job_id)["status"]) in ("pending", "processing"):
            assert time.monotonic() < give_up, self.api.rows("SELECT * FROM tts.job")
            self.api.rows("DELETE FROM tts.pause")
            self.api.rows("UPDATE tts.job SET not_before = NULL WHERE lease_token IS NULL")
            self.api.rows("UPDATE tts.pace SET blocked_until = NULL")
            time.sleep(0.05)
        return str(status)

    def wait_until_charged(self, count: int) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while len(self.speech.charges) < count:
            assert time.monotonic() < give_up
            time.sleep(0.005)

    def problems(self, list_id: str) -> list[str]:
        """Cards without their audio, objects that aren't there, what is left over."""
        objects, found = self.s3.objects(), []
        said = {
            f"{CDN}/{row['object_name']}": row["spoken_text"]
            for row in self.api.rows("SELECT object_name, spoken_text FROM tts.clip")
        }
        for card in self.api.cards(list_id):
            for text, url in zip((card["textEn"], card["textFr"]), audio_urls(card), strict=True):
                if said.get(url) != text or url.removeprefix(f"{CDN}/") not in objects:
                    found.append(f"{text}: {url} says {said.get(url)}")
        leases = "SELECT job_id FROM tts.job WHERE lease_until > clock_timestamp()"
        return found + [f"a lease is left: {row}" for row in self.api.rows(leases)]

    def repeated(self) -> dict[str, int]:
        said = Counter(charge.input for charge in self.speech.charges)
        return {text: times for text, times in said.items() if times > 1}


@pytest.fixture
def field_(
    database: str, speech_server: SpeechServer, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Field]:
    ports = {
        "postgres": urlsplit(database).port,
        "provider": urlsplit(speech_server.base_url).port,
        "s3": urlsplit(s3.endpoint_url).port,
    }
    with ExitStack() as stack:
        links = {name: stack.enter_context(Network(port or 0)) for name, port in ports.items()}
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{links['s3'].port}")
        speech_server.set_latency(0.02)
        api = stack.enter_context(Api(database))
        yield Field(api, database, speech_server, s3, links)


def troubled(share: float, *faults: str) -> Callable[[], str | None]:
    """Faults of so many of the connections."""
    return lambda: random.choice(faults) if random.random() < share else None


@pytest.mark.parametrize(
    ("link", "faults"),
    [
        ("postgres", ("refuse",)),
        ("postgres", ("cut",)),
        ("postgres", ("slow",)),
        ("s3", ("refuse",)),
        ("s3", ("cut",)),
        ("s3", ("slow",)),
        ("provider", ("refuse",)),
        ("provider", ("cut", "slow")),
    ],
)
def test_a_job_completes_over_a_network_that_fails_now_and_then(
    field_: Field, link: str, faults: Sequence[str]
) -> None:
    list_id = field_.api.add_list(CARDS[:6])
    job_id = field_.api.add_job(list_id)
    with field_.polled():
        field_.wait_until_charged(1)
        field_.links[link].fault = troubled(0.3, *faults)
        for charged in (2, 5, 8):
            field_.links[link].break_off()
            field_.wait_until_charged(charged)
        field_.links[link].fault = lambda: None

        assert field_.wait_for_end(job_id) == "completed"

    assert field_.problems(list_id) == []
    if link != "provider":
        assert field_.repeated() == {}


def test_a_job_completes_though_its_connections_are_terminated(field_: Field) -> None:
    list_id = field_.api.add_list(CARDS[:6])
    job_id = field_.api.add_job(list_id)
    with field_.polled(2):
        for charged in range(1, 11):
            field_.wait_until_charged(charged)
            field_.api.rows(TERMINATE)

        assert field_.wait_for_end(job_id) == "completed"

    assert field_.problems(list_id) == []
    assert field_.repeated() == {}


def test_a_job_completes_though_postgresql_crashes_and_recovers(
    speech_server: SpeechServer, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    speech_server.set_latency(0.02)
    with Postgres() as server, ExitStack() as stack:
        url = server.create("crash")
        setup = connect(url)
        # As on any server that isn't a test's: what is committed outlives a crash.
        setup.run("ALTER DATABASE crash SET synchronous_commit = on")
        setup.close()
        create_tables(url)
        migrate(url)
        links = {
            "postgres": stack.enter_context(Network(server.port)),
            "provider": stack.enter_context(Network(urlsplit(speech_server.base_url).port or 0)),
        }
        api = Api(url)
        field_ = Field(api, url, speech_server, s3, links)
        list_id = api.add_list(CARDS[:6])
        job_id = api.add_job(list_id)
        with field_.polled():
            field_.wait_until_charged(1)
            # A backend killed: PostgreSQL throws everybody out and replays its log.
            os.kill(api.rows("SELECT pg_backend_pid() AS pid")[0]["pid"], signal.SIGKILL)
            with pytest.raises((OSError, pg8000.exceptions.Error)):
                api.rows("SELECT 1")
            field_.api = stack.enter_context(_reopened(url))

            assert field_.wait_for_end(job_id) == "completed"

        assert field_.problems(list_id) == []
        assert field_.repeated() == {}


def _reopened(url: str) -> Api:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            api = Api(url)
            api.rows("SELECT 1")
            return api
        except (OSError, pg8000.exceptions.Error):
            assert time.monotonic() < give_up
            time.sleep(0.05)


def test_a_worker_without_a_free_connection_waits_for_one(field_: Field) -> None:
    list_id = field_.api.add_list(CARDS[:2])
    job_id = field_.api.add_job(list_id)
    role = f"few_{uuid.uuid4().hex}"
    field_.api.rows(f"CREATE ROLE {role} SUPERUSER LOGIN CONNECTION LIMIT 1")
    field_.api.rows(f"ALTER ROLE {role} NOSUPERUSER")
    for schema in ("public", "tts"):
        field_.api.rows(f"GRANT ALL ON SCHEMA {schema} TO {role}")
        field_.api.rows(f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}")
    url = field_.url.replace("postgres@", f"{role}@")
    holder = connect(url)
    refused = threading.Event()

    def tell(what: object) -> None:
        if isinstance(what, DatabaseError):
            assert "too many connections" in str(what)
            refused.set()

    halt = threading.Event()
    worker = field_.worker(DATABASE_URL=url)
    with ThreadPoolExecutor() as pool:
        # Asked for the catalogue first, as `poll` does at its start.
        polling = pool.submit(poll, worker, halt, tell)
        try:
            assert refused.wait(PATIENCE_S)
            holder.close()
            assert field_.wait_for_end(job_id) == "completed"
        finally:
            halt.set()
            polling.result(PATIENCE_S)
            worker.database.close()
    assert field_.problems(list_id) == []


SURVIVABLE = [
    name
    for name, kind in KINDS.items()
    if kind in (Kind.TRANSPORT, Kind.MASQUERADE, Kind.CLIP, Kind.BYTES, Kind.HEADERS, Kind.REFUSAL)
    and name not in HUNG
]


def test_a_job_comes_through_every_fault_of_the_provider(field_: Field, soaks: bool) -> None:
    seed = random.randrange(2**32)
    print(f"random.Random({seed})")
    chance = random.Random(seed)
    mixed = chance.sample(SURVIVABLE, len(SURVIVABLE))
    rounds = [mixed[::2], mixed[1::2]]
    if soaks:
        rounds += [[fault] for fault in SURVIVABLE]
        rounds += [chance.sample(SURVIVABLE, 12) for _ in range(20)]
    for number, faults in enumerate(rounds):
        cards = [(f"{number}: {english}", f"{number}: {french}") for english, french in CARDS]
        for fault in faults:
            field_.speech.add_fault(fault, times=1)
        list_id = field_.api.add_list(cards)
        job_id = field_.api.add_job(list_id)
        with field_.polled():
            status = field_.wait_for_end(job_id)
        assert not field_.speech.clear_faults(), faults
        failures = field_.api.rows(
            "SELECT code, message FROM tts.utterance WHERE job_id = :id AND state = 'failed'",
            id=job_id,
        )

        # A text that is refused is that card's error, so are three bad takes; all else passes.
        assert {row["code"] for row in failures} <= {"refused", "too_long", "bad_audio"}, failures
        assert status == ("failed" if failures else "completed"), field_.api.job(job_id)
        if not failures:
            assert field_.problems(list_id) == []


def test_a_job_completes_though_the_database_is_away_for_a_while(field_: Field) -> None:
    list_id = field_.api.add_list(CARDS[:6])
    job_id = field_.api.add_job(list_id)
    link = field_.links["postgres"]
    with field_.polled():
        field_.wait_until_charged(1)
        link.fault = lambda: "refuse"
        link.break_off()
        assert link.wait_for_refusals(5, PATIENCE_S)
        link.fault = lambda: None

        assert field_.wait_for_end(job_id) == "completed"

    assert field_.problems(list_id) == []
    assert field_.repeated() == {}


@pytest.mark.parametrize("fault", ["refuse", "cut", "slow"])
def test_the_rest_of_a_job_is_woken_though_the_queue_fails(
    field_: Field, sqs: Queue, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    list_id = field_.api.add_list(CARDS)
    job_id = field_.api.add_job(list_id)
    halt = threading.Event()
    with Network(urlsplit(sqs.endpoint_url).port or 0) as link, ThreadPoolExecutor() as pool:
        link.fault = lambda: fault
        url = urlsplit(sqs.url)._replace(netloc=f"127.0.0.1:{link.port}").geturl()
        worker = field_.worker(QUEUE_URL=url)
        worker.storage.prove()
        # From here on the address of S3 alone: the queue's is its own.
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        running = pool.submit(worker.run, job_id, seconds=60, halt=halt)
        field_.wait_until_charged(1)
        halt.set()
        report = running.result(PATIENCE_S)
        link.fault = lambda: None
        assert worker.wake is not None
        swept = run_sweep(worker.operator, worker.jobs, worker.wake)

    assert isinstance(report.outcome, HandedBack)
    # A cut may have come before the message was taken, or after.
    assert report.wake_failed == {"refuse": True, "slow": False}.get(fault, report.wake_failed)
    assert [due.job_id for due in swept.woken] == [job_id] * report.wake_failed
    assert {json.loads(body)["jobId"] for body in sqs.bodies()} == {job_id}
    last = worker.run(job_id, seconds=60, halt=threading.Event())
    worker.database.close()
    assert last.outcome == Completed()
    assert field_.problems(list_id) == []
    assert field_.repeated() == {}


BOUNCER = """
[databases]
* = host=127.0.0.1 port={postgres} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
max_client_conn = 100
logfile = {folder}/log
pidfile = {folder}/pid
ignore_startup_parameters = extra_float_digits
"""


@pytest.fixture
def pooler(postgres: Postgres) -> Iterator[int]:
    """The port of pgbouncer in transaction mode before the server."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("pgbouncer isn't installed (apt-get install pgbouncer)")
    # It refuses to run as root, and whoever it runs as must reach its folder.
    user = {"user": "nobody"} if os.geteuid() == 0 else {}
    port = free_port()
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        config = folder / "pgbouncer.ini"
        config.write_text(BOUNCER.format(postgres=postgres.port, port=port, folder=folder))
        with subprocess.Popen([program, str(config)], stderr=subprocess.DEVNULL, **user) as process:
            try:
                _wait_for(port, process)
                yield port
            finally:
                process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert process.poll() is None, "pgbouncer ended"
            assert time.monotonic() < give_up
            time.sleep(0.05)
        else:
            return


def test_behind_a_transaction_pooler_no_worker_gets_anothers_answer(
    field_: Field, pooler: int, soaks: bool
) -> None:
    url = field_.url.replace(f":{urlsplit(field_.url).port}/", f":{pooler}/")
    workers, asks = 8, 2000 if soaks else 60

    def ask(number: int) -> int:
        """How many answers were another's."""
        database, foreign = Database(url), 0
        for nth in range(asks):
            mine = f"{number}:{nth}"

            def work(tx: Transaction, mine: str = mine) -> bool:
                first = tx.rows("SELECT cast(:mine AS text) AS said", mine=mine)
                second = tx.rows("SELECT cast(:mine AS text) AS told, 1 AS one", mine=mine)
                return first == [{"said": mine}] and second == [{"told": mine, "one": 1}]

            foreign += not database.transaction(work)
        database.close()
        return foreign

    with ThreadPoolExecutor(workers) as pool:
        assert sum(pool.map(ask, range(workers))) == 0

    lists = [
        field_.api.add_list([(f"{n}: {en}", f"{n}: {fr}") for en, fr in CARDS[:2]])
        for n in range(workers)
    ]
    jobs = [field_.api.add_job(list_id) for list_id in lists]

    def speak(job_id: str) -> Outcome:
        worker = field_.worker(DATABASE_URL=url)
        try:
            return worker.run(job_id, seconds=60, halt=threading.Event(), lease_s=20).outcome
        finally:
            worker.database.close()

    with ThreadPoolExecutor(workers) as pool:
        assert list(pool.map(speak, jobs)) == [Completed()] * workers
    assert [field_.problems(list_id) for list_id in lists] == [[]] * workers
    assert field_.repeated() == {}
