"""Two at once over one database, one of them standing still just before its commit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from deployment import Deployment
from pg8000.exceptions import DatabaseError

from memolist_tts.core.errors import LeaseLost, MemolistError
from memolist_tts.core.model import Completed, Failed, Result, State
from memolist_tts.core.sweep import run_sweep
from memolist_tts.postgres import connection
from memolist_tts.postgres.connection import Database

URL = "https://cdn.example.com/audio/clip.mp3"
PATIENCE_S = 20
DAY_S = 86_400.0


class Held:
    """A database of which a commit, `after` some, is held up until `go`: a process stands still."""

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
                assert self._go.wait(2 * PATIENCE_S)
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


def test_a_job_that_completes_while_it_is_cancelled_is_completed(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "")]))
    worker, operator = deployment.worker(), deployment.worker().operator
    job = worker.jobs.claim(job_id, lease_s=60)
    assert job is not None
    held = Held(worker.database)
    settling = pool.submit(worker.jobs.settle, job, Completed(), begun=())
    held.wait()
    cancelling = pool.submit(operator.cancel, job_id)
    until(lambda: waits(deployment))
    held.go()

    assert not cancelling.result(PATIENCE_S)
    settling.result(PATIENCE_S)
    assert deployment.api.job(job_id)["status"] == "completed"
    shown = deployment.api.rows("SELECT error_code, error FROM tts.progress")
    assert shown == [{"error_code": None, "error": None}]


def test_a_retry_that_meets_a_claim_forgets_no_failure(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    api = deployment.api
    job_id = api.add_job(api.add_list([("apple", ""), ("bread", "")]))
    deployment.speech.add_fault("refused", match="bread")
    assert isinstance(deployment.go(job_id).outcome, Failed)
    # As a job that was handed back after the failure.
    api.rows("""UPDATE "TtsJob" SET status = 'pending'""")
    api.rows("UPDATE tts.job SET finished_at = NULL, error_code = NULL, error = NULL")
    runner, operator = deployment.worker(), deployment.worker().operator
    jobs, held = runner.jobs, Held(runner.database)
    claiming = pool.submit(jobs.claim, job_id, lease_s=60)
    held.wait()
    retrying = pool.submit(operator.retry, [job_id])
    until(lambda: waits(deployment))
    held.go()

    assert retrying.result(PATIENCE_S) == {}
    job = claiming.result(PATIENCE_S)
    assert job is not None
    failures = api.rows("SELECT code, shown_text FROM tts.failure")
    assert failures == [{"code": "refused", "shown_text": "bread"}]
    assert jobs.counts(job)[0].failed == 1


@pytest.mark.parametrize("how", ["exhausted", "cancelled"])
def test_an_ended_job_that_the_api_starts_again_is_woken_at_once(
    deployment: Deployment, how: str
) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "")]))
    worker, queue = deployment.worker(MAX_ATTEMPTS="1"), Sent()
    run_sweep(worker.operator, worker.jobs, queue)
    if how == "exhausted":
        assert worker.jobs.claim(job_id, lease_s=60) is not None
        deployment.api.rows("UPDATE tts.job SET lease_until = clock_timestamp()")
        assert worker.jobs.exhaust() == [job_id]
    else:
        assert worker.operator.cancel(job_id)
    deployment.api.rows("""UPDATE "TtsJob" SET status = 'pending'""")

    run_sweep(worker.operator, worker.jobs, queue)

    assert queue.jobs == [job_id, job_id]


def test_a_flush_that_waits_for_a_cancel_writes_nothing(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    api = deployment.api
    list_id = api.add_list([("apple", "")])
    job_id = api.add_job(list_id)
    worker, canceller = deployment.worker(), deployment.worker()
    job = worker.jobs.claim(job_id, lease_s=60)
    assert job is not None
    phrase = next(each for each in worker.jobs.read(job).phrases if each.language == "en")
    result = Result(phrase=phrase, state=State.SPOKEN, spoken="apple", url=URL)
    operator, held = canceller.operator, Held(canceller.database)
    cancelling = pool.submit(operator.cancel, job_id)
    held.wait()
    flushing = pool.submit(worker.jobs.flush, job, [result], [], total=2, renew_s=60)
    until(lambda: waits(deployment))
    held.go()

    assert cancelling.result(PATIENCE_S)
    assert isinstance(flushing.exception(PATIENCE_S), LeaseLost)
    assert [card["audioEnUrl"] for card in api.cards(list_id)] == [None]


def test_a_cancel_of_the_api_s_own_waits_for_a_flush(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    api = deployment.api
    worker = deployment.worker()
    job = worker.jobs.claim(api.add_job(api.add_list([("apple", "")])), lease_s=60)
    assert job is not None
    held = Held(worker.database)
    flushing = pool.submit(worker.jobs.flush, job, [], [], total=2, renew_s=60)
    held.wait()
    api.rows("SET lock_timeout = '100ms'")
    try:
        with pytest.raises(DatabaseError, match="lock timeout"):
            api.rows("""UPDATE "TtsJob" SET status = 'failed'""")
    finally:
        held.go()

    flushing.result(PATIENCE_S)


def test_an_undo_gives_back_no_audio_that_is_deleted_meanwhile(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.told("retake", card["id"], "en")
    retaken = deployment.card(card["id"])["audioEnUrl"]
    age_unused(deployment)
    worker, collector = deployment.worker(), deployment.worker()
    orders, english = worker.orders, worker.settings.LANGUAGES[0]
    stock, held = collector.stock, Held(collector.database)
    deleting = pool.submit(stock.delete, older_s=30 * DAY_S, limit=10)
    held.wait()
    undoing = pool.submit(orders.undo, card["id"], english)
    until(lambda: waits(deployment) or undoing.done())
    held.go()

    assert deleting.result(PATIENCE_S) == 1
    assert isinstance(undoing.exception(PATIENCE_S), MemolistError)
    assert deployment.card(card["id"])["audioEnUrl"] == retaken


def test_what_an_undo_gives_back_is_not_deleted(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    deployment.told("retake", card["id"], "en")
    age_unused(deployment)
    worker, collector = deployment.worker(), deployment.worker()
    orders, english = worker.orders, worker.settings.LANGUAGES[0]
    stock, held = collector.stock, Held(worker.database, after=1)
    undoing = pool.submit(orders.undo, card["id"], english)
    held.wait()
    deleting = pool.submit(stock.delete, older_s=30 * DAY_S, limit=10)
    until(lambda: waits(deployment) or deleting.done())
    held.go()

    undoing.result(PATIENCE_S)
    assert deleting.result(PATIENCE_S) == 0
    assert deployment.card(card["id"])["audioEnUrl"] == card["audioEnUrl"]


def age_unused(deployment: Deployment) -> None:
    """A hundred days pass, and for the last two `gc` has known what no card carries."""
    deployment.api.rows("UPDATE tts.selection SET made_at = made_at - interval '100 days'")
    deployment.api.rows("UPDATE tts.clip SET stored_at = stored_at - interval '100 days'")
    deployment.told("gc", "--yes")
    deployment.api.rows("UPDATE tts.clip SET unused_since = unused_since - interval '2 days'")


def test_a_retry_of_a_failed_retake_waits_for_its_undo(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    retake = failed_retake(deployment, card["id"])
    operator = deployment.worker().operator
    undoing, held = undo_that_stands_still(deployment, pool, card["id"], after=1)
    retrying = pool.submit(operator.retry, [retake])
    until(lambda: waits(deployment) or retrying.done())
    assert not retrying.done()
    held.go()

    assert undoing.result(PATIENCE_S) is None
    assert set(retrying.result(PATIENCE_S)) == {retake}
    deployment.go(retake)
    assert deployment.card(card["id"])["audioEnUrl"] == card["audioEnUrl"]


def test_a_failed_retake_that_is_taken_up_meanwhile_is_not_undone(
    deployment: Deployment, pool: ThreadPoolExecutor
) -> None:
    (card,) = deployment.spoken_list(("apple", ""))
    retake = failed_retake(deployment, card["id"])
    operator = deployment.worker().operator
    undoing, held = undo_that_stands_still(deployment, pool, card["id"], after=0)
    operator.retry([retake])
    held.go()

    with pytest.raises(MemolistError, match="is under way"):
        undoing.result(PATIENCE_S)
    deployment.go(retake)
    assert deployment.asked[-1] == "pear"
    assert deployment.card(card["id"])["audioEnUrl"] != card["audioEnUrl"]


def failed_retake(deployment: Deployment, card_id: str) -> str:
    """The job of a retake that was refused, and wouldn't be now."""
    deployment.speech.add_fault("refused", match="pear")
    told = deployment.told("retake", card_id, "en", "--say", "pear", exit_code=3)
    deployment.speech.clear_faults()
    return str(told["job"])


def undo_that_stands_still(
    deployment: Deployment, pool: ThreadPoolExecutor, card_id: str, *, after: int
) -> tuple[Future[tuple[str, str] | None], Held]:
    """An undo that is held up before its first commit, or `after` some."""
    worker = deployment.worker()
    orders, english = worker.orders, worker.settings.LANGUAGES[0]
    held = Held(worker.database, after=after)
    undoing = pool.submit(orders.undo, card_id, english)
    held.wait()
    return undoing, held
