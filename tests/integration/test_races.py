"""Two at once over one database, one of them stopped where it hurts most: just before its commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from deployment import Deployment

from memolist_tts.core.model import Completed, Result, State
from memolist_tts.core.sweep import run_sweep
from memolist_tts.postgres import connection
from memolist_tts.postgres.connection import Database

URL = "https://cdn.example.com/audio/clip.mp3"
PATIENCE_S = 20


class Held:
    """A database of which one commit is held up until `go`, as a process that stands still."""

    def __init__(self, database: Database, *, after: int = 0) -> None:
        database.transaction(lambda tx: tx.rows("SELECT 1"))
        assert database._connection is not None
        self._go, self._reached = threading.Event(), threading.Event()
        self._commits_before = after
        self._run = database._connection.run
        database._connection.run = self._held_up  # type: ignore[method-assign]

    def _held_up(self, sql: str, **params: object) -> object:
        if sql == "COMMIT" and not self._reached.is_set():
            if self._commits_before == 0:
                self._reached.set()
                assert self._go.wait(3 * PATIENCE_S)
            self._commits_before -= 1
        return self._run(sql, **params)

    def wait(self) -> None:
        """Return once it stands still."""
        assert self._reached.wait(PATIENCE_S)

    def go(self) -> None:
        self._go.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as threads:
        yield threads


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def waits(deployment: Deployment) -> bool:
    """Whether anybody waits for a lock."""
    return bool(
        deployment.api.rows(
            "SELECT 1 AS found FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
    )


class Sent:
    """A queue that remembers what is sent."""

    def __init__(self) -> None:
        self.jobs: list[str] = []

    def send(self, job_id: str, *, group: str, delay_s: float = 0) -> None:  # noqa: ARG002
        self.jobs.append(job_id)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stands still in a transaction is ended after 1 s, who waits gives up after 6."""
    begin = connection.BEGIN.replace("'20s'", "'6s'").replace("'10s'", "'1s'")
    monkeypatch.setattr(connection, "BEGIN", begin)


def test_a_run_that_stands_still_in_a_flush_holds_up_no_sweep(
    deployment: Deployment, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BEGIN", connection.BEGIN.replace("'20s'", "'3s'"))
    api = deployment.api
    stuck, other = (api.add_job(api.add_list([(word, "")])) for word in ("apple", "bread"))
    worker, sweeper, queue = deployment.worker(), deployment.worker(), Sent()
    job = worker.jobs.claim(stuck, lease_s=1)
    assert job is not None
    held = Held(worker.database)
    flushing = pool.submit(worker.jobs.flush, job, [], [], total=1, renew_s=1)
    held.wait()
    time.sleep(1.1)

    try:
        run_sweep(sweeper.operator, sweeper.jobs, queue)
    finally:
        held.go()

    assert queue.jobs == [other]
    flushing.exception(PATIENCE_S)
    run_sweep(sweeper.operator, sweeper.jobs, queue)
    assert queue.jobs == [other, stuck]


@pytest.mark.usefixtures("impatient")
def test_a_run_that_stands_still_in_the_ledger_holds_up_no_other(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    deployment.settings |= {"JOB_BUDGET_USD": "1"}
    api = deployment.api
    stuck, other = (api.add_job(api.add_list([(word, "")])) for word in ("apple", "bread"))
    worker = deployment.worker()
    job = worker.jobs.claim(stuck, lease_s=60)
    assert job is not None
    held = Held(worker.database)
    asking = pool.submit(worker.ledger.exchange, job, [], held_usd=0.0, want_usd=0.01)
    held.wait()

    try:
        outcome = deployment.go(other).outcome
    finally:
        held.go()

    assert outcome == Completed()
    assert asking.result(PATIENCE_S).usd == pytest.approx(0.01)


@pytest.mark.usefixtures("impatient")
def test_a_run_that_stands_still_in_a_flush_holds_up_no_edit_and_flushes_again(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    api = deployment.api
    list_id = api.add_list([("apple", "pomme")])
    worker = deployment.worker()
    job = worker.jobs.claim(api.add_job(list_id), lease_s=60)
    assert job is not None
    results = [
        Result(phrase=phrase, state=State.SPOKEN, spoken="x", url=URL)
        for phrase in worker.jobs.read(job).phrases
    ]
    held = Held(worker.database)
    flushing = pool.submit(worker.jobs.flush, job, results, [], total=2, renew_s=60)
    held.wait()

    api.rows("SET lock_timeout = '5s'")
    try:
        api.rows("""UPDATE "Card" SET "textEn" = 'pear'""")
    finally:
        held.go()

    landed = flushing.result(PATIENCE_S).landed
    assert [result.phrase.language for result in landed] == ["fr"]
    assert [(c["audioEnUrl"], c["audioFrUrl"]) for c in api.cards(list_id)] == [(None, URL)]
