"""Real servers that go away, refuse, cut and lag, while real workers are at work."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import pg8000.exceptions
import pytest

from local.api import Api
from local.postgres import Postgres, connect, free_port
from local.schema import create_tables
from local.speech import SpeechServer
from memolist_tts.core.errors import DatabaseError
from memolist_tts.core.model import Completed, HandedBack, Outcome
from memolist_tts.core.sweep import run_sweep
from memolist_tts.poll import poll
from memolist_tts.postgres.connection import Database, Transaction
from memolist_tts.postgres.schema import migrate
from tests.conftest import Bucket, Queue
from tests.crash.field import CARDS, PATIENCE_S, Field
from tests.crash.network import Network, Trouble

TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
TROUBLES: tuple[Trouble, ...] = ("refuse", "cut", "cut_request", "slow")


@pytest.mark.parametrize("fault", TROUBLES)
@pytest.mark.parametrize("link", ["postgres", "s3", "provider"])
def test_a_job_completes_over_a_network_that_fails_now_and_then(
    field_: Field, soaks: bool, link: str, fault: Trouble
) -> None:
    network = field_.links[link]
    field_.add_work()
    with field_.polled():
        field_.wait_until_charged(1)
        for _ in range(30 if soaks else 3):
            before = network.met[fault]
            network.trouble(fault)
            field_.wait_until(lambda before=before: network.met[fault] > before)

        ends = field_.wait_for_end()

    assert field_.problems() == []
    assert field_.own_faults() == set()
    if link != "provider":
        # There a text may meet it three times in a row.
        assert ends == {"completed"}
        assert field_.repeated() == {}


def test_a_job_completes_though_its_connections_are_terminated(field_: Field) -> None:
    field_.add_work()
    with field_.polled(2):
        for charged in range(1, 11):
            field_.wait_until_charged(charged)
            field_.api.rows(TERMINATE)

        assert field_.wait_for_end() == {"completed"}

    assert field_.problems() == []
    assert field_.repeated() == {}


@contextmanager
def _field_of_its_own(server: Postgres, speech: SpeechServer, s3: Bucket) -> Iterator[Field]:
    """On a server that may be stopped."""
    url = server.create("crash")
    setup = connect(url)
    # As on any server that isn't a test's: what is committed outlives a crash.
    setup.run("ALTER DATABASE crash SET synchronous_commit = on")
    setup.close()
    create_tables(url)
    migrate(url)
    speech.set_latency(0.02)
    with ExitStack() as stack:
        links = {
            "postgres": stack.enter_context(Network(server.port)),
            "provider": stack.enter_context(Network(urlsplit(speech.base_url).port or 0)),
        }
        yield Field(Api(url), url, speech, s3, links)


def test_a_job_completes_though_postgresql_crashes_and_recovers(
    speech_server: SpeechServer, s3: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    with Postgres() as server, _field_of_its_own(server, speech_server, s3) as field_:
        field_.add_work()
        with field_.polled():
            field_.wait_until_charged(1)
            # A backend killed: PostgreSQL throws everybody out and replays its log.
            pid = field_.api.rows("SELECT pg_backend_pid() AS pid")[0]["pid"]
            os.kill(pid, signal.SIGKILL)
            with pytest.raises((OSError, pg8000.exceptions.Error)):
                field_.api.rows("SELECT 1")
            field_.api = _reopened(field_.url)

            assert field_.wait_for_end() == {"completed"}

        assert field_.problems() == []
        assert field_.repeated() == {}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_job_completes_though_postgresql_is_stopped_and_started_again(
    speech_server: SpeechServer, s3: Bucket, monkeypatch: pytest.MonkeyPatch, how: signal.Signals
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    with Postgres(starts=3) as server, _field_of_its_own(server, speech_server, s3) as field_:
        field_.add_work()
        with field_.polled(2):
            for charged in (2, 6):
                field_.wait_until_charged(charged)
                server.restart(how)
                field_.api = _reopened(field_.url)

            assert field_.wait_for_end() == {"completed"}

        assert field_.problems() == []
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
    field_.add_work()
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
            assert field_.wait_for_end() == {"completed"}
        finally:
            halt.set()
            polling.result(PATIENCE_S)
            worker.database.close()
    assert field_.problems() == []


def test_a_job_completes_though_the_database_is_away_for_a_while(field_: Field) -> None:
    field_.add_work()
    link = field_.links["postgres"]
    with field_.polled():
        field_.wait_until_charged(1)
        link.fault = "refuse"
        link.break_off()
        field_.wait_until(lambda: link.met["refuse"] >= 5)
        link.fault = None

        assert field_.wait_for_end() == {"completed"}

    assert field_.problems() == []
    assert field_.repeated() == {}


@pytest.mark.parametrize("fault", TROUBLES)
def test_the_rest_of_a_job_is_woken_though_the_queue_fails(
    field_: Field, sqs: Queue, monkeypatch: pytest.MonkeyPatch, fault: Trouble
) -> None:
    job_id = field_.add_job(CARDS)
    halt = threading.Event()
    port = urlsplit(sqs.endpoint_url).port or 0
    # The answer is short.
    with Network(port, cut_within=100) as link, ThreadPoolExecutor() as pool:
        link.fault = fault
        url = urlsplit(sqs.url)._replace(netloc=f"127.0.0.1:{link.port}").geturl()
        worker = field_.worker(QUEUE_URL=url)
        worker.storage.prove()
        # From here on the address of S3 alone: the queue's is its own.
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        running = pool.submit(worker.run, job_id, seconds=60, halt=halt)
        field_.wait_until_charged(1)
        halt.set()
        report = running.result(PATIENCE_S)
        link.fault = None
        assert worker.wake is not None
        swept = run_sweep(worker.operator, worker.jobs, worker.wake)

    assert isinstance(report.outcome, HandedBack)
    assert link.met[fault] > 0
    # Cut in its answer, the message has come nonetheless; the worker can't know.
    assert report.wake_failed == (fault != "slow")
    assert [due.job_id for due in swept.woken] == [job_id] * report.wake_failed
    assert {json.loads(body)["jobId"] for body in sqs.bodies()} == {job_id}
    last = worker.run(job_id, seconds=60, halt=threading.Event())
    worker.database.close()
    assert last.outcome == Completed()
    assert field_.problems() == []
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

    jobs = [
        field_.add_job([(f"{n}: {en}", f"{n}: {fr}") for en, fr in CARDS[:2]])
        for n in range(workers)
    ]

    def speak(job_id: str) -> Outcome:
        worker = field_.worker(DATABASE_URL=url)
        try:
            return worker.run(job_id, seconds=60, halt=threading.Event(), lease_s=20).outcome
        finally:
            worker.database.close()

    with ThreadPoolExecutor(workers) as pool:
        assert list(pool.map(speak, jobs)) == [Completed()] * workers
    assert field_.problems() == []
    assert field_.repeated() == {}
