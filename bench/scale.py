"""A million jobs and ten million cards against a thousand: does anything we ask grow?"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from statistics import median

from local.postgres import Postgres, connect
from local.schema import Shape, create_tables
from memolist_tts.core.chunk import TURN_S
from memolist_tts.core.model import Clip, ClipId, HandedBack, Job, Language, Result, State, Stop
from memolist_tts.postgres.connection import Database
from memolist_tts.postgres.jobs import Jobs
from memolist_tts.postgres.operator import Operator
from memolist_tts.postgres.schema import inspect, migrate

SMALL, LARGE = 1_000, 1_000_000
CARDS, WAITING, RUNS, WARM_UP = 10, 100, 60, 10
LANGUAGES = (
    Language(code="en", text_column="textEn", url_column="audioEnUrl"),
    Language(code="fr", text_column="textFr", url_column="audioFrUrl"),
)
# The last jobs wait, each of a hundred users has one; all others ended a day and more ago.
FILL = """
INSERT INTO "TtsJob" (id, "listId", status, "createdAt", "updatedAt", "completedAt", "userId")
SELECT 'job-' || n, 'list-' || n, CASE WHEN n > {jobs} - {waiting} THEN 'pending'
                                       ELSE 'completed' END::"TtsJobStatus",
       now() - interval '1 day' - ({jobs} - n) * interval '1 s', now(), now(), 'user-' || n % 100
FROM generate_series(1, {jobs}) n;
INSERT INTO "Card" (id, "listId", "textEn", "textFr", "position")
SELECT 'card-' || n || '-' || p, 'list-' || n, 'An apple.', 'Une pomme.', p
FROM generate_series(1, {jobs}) n, generate_series(1, {cards}) p;
INSERT INTO tts.job (job_id, attempts, finished_at, user_id, updated_at)
SELECT 'job-' || n, 1, now() - interval '1 day', 'user-' || n % 100, now() - interval '1 day'
FROM generate_series(1, {jobs} - {waiting}) n;
INSERT INTO tts.clip (key, take, object_name, provider, model, voice, language, spoken_text,
                      characters, stored_at)
SELECT 'v1-' || n, 0, '', 'openai', 'm', 'alloy', 'en', 'An apple.', 9, now()
FROM generate_series(1, {jobs}) n;
INSERT INTO tts.utterance (job_id, card_id, language, state, spoken_text)
SELECT 'job-' || n, 'card-' || n || '-1', 'en', 'spoken', 'An apple.'
FROM generate_series(1, {jobs} - {waiting}) n;
"""
Times = dict[str, list[float]]


def measure() -> dict[str, tuple[float, float]]:
    """By name: the median milliseconds of each act at `SMALL` and at `LARGE` jobs."""
    with Postgres() as postgres, ExitStack() as stack:
        books = [stack.enter_context(_book(postgres, jobs)) for jobs in (SMALL, LARGE)]
        found: list[Times] = [{}, {}]
        for _ in range(RUNS):
            # By turns, so that the machine's other work falls on both alike.
            for book, times in zip(books, found, strict=True):
                book.acts(times)
    small, large = ({n: median(times[WARM_UP:]) for n, times in each.items()} for each in found)
    return {name: (small[name], large[name]) for name in small}


@contextmanager
def _book(postgres: Postgres, jobs: int) -> Iterator[_Book]:
    url = postgres.create(f"jobs_{jobs}")
    create_tables(url, Shape())
    migrate(url)
    connection = connect(url)
    for statement in FILL.format(jobs=jobs, cards=CARDS, waiting=WAITING).split(";\n"):
        if statement.strip():
            connection.run(statement)
    connection.run("VACUUM ANALYZE")
    connection.run("CHECKPOINT")
    connection.close()
    database = Database(url)
    try:
        yield _Book(database, jobs)
    finally:
        database.close()


class _Book:
    """What runs, polls and sweeps ask of one database, each timed."""

    def __init__(self, database: Database, jobs: int) -> None:
        api = inspect(database, LANGUAGES)
        self._jobs, self._operator = Jobs(database, api, max_attempts=3), Operator(database, api)
        self._numbers = iter(range(jobs, jobs - WAITING, -1))

    def acts(self, times: Times) -> None:
        """One of each."""

        @contextmanager
        def timed(name: str) -> Iterator[None]:
            began = time.perf_counter()
            yield
            times.setdefault(name, []).append(1000 * (time.perf_counter() - began))

        _one_run(self._jobs, f"job-{next(self._numbers)}", timed)
        with timed("poll's next"):
            self._jobs.waiting(10)
        with timed("sweep"):
            self._jobs.exhaust()
            self._operator.gauges()
            self._operator.due(again_s=1800, limit=500)


def _one_run(book: Jobs, job_id: str, timed: Callable[[str], AbstractContextManager[None]]) -> None:
    with timed("claim"):
        job = book.claim(job_id, lease_s=60)
    assert job is not None, job_id
    with timed("unspoken cards"):
        phrases = book.read(job).phrases
    results = [
        Result(phrase=phrase, state=State.SPOKEN, spoken="An apple.", url="https://cdn/a.mp3",
               clip=ClipId(key=f"v1-{uuid.uuid4()}", take=0), characters=9)
        for phrase in phrases
    ]  # fmt: skip
    clips = [
        Clip(id=result.clip, size_bytes=1, duration_ms=1, cost_usd=0.0, request_id="r")
        for result in results
        if result.clip is not None
    ]
    with timed("flush"):
        book.flush(job, results, clips, total=len(results), renew_s=0)
    with timed("other users"):
        book.others_wait(Job(id=job.id, list_id="", lease="", attempts_before=0, group="u"), TURN_S)
    with timed("settle"):
        book.settle(job, HandedBack(stop=Stop(code="bench", message="", delay_s=1e6)), begun=[])


if __name__ == "__main__":
    for name, (small, large) in measure().items():
        print(f"{name:16} {small:8.2f} ms {large:8.2f} ms  x{large / small:.2f}")
