"""A million jobs and ten million cards against a thousand: does anything we ask grow?"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from local.postgres import Postgres, connect
from local.schema import Shape, create_tables
from memolist_tts.core.model import Clip, ClipId, HandedBack, Job, Language, Result, State, Stop
from memolist_tts.postgres.connection import Database
from memolist_tts.postgres.jobs import Jobs
from memolist_tts.postgres.operator import Operator
from memolist_tts.postgres.schema import inspect, migrate

SMALL, LARGE = 1_000, 1_000_000
CARDS, WAITING, RUNS = 10, 100, 30
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
Row = dict[str, float]


def measure() -> dict[str, tuple[float, float]]:
    """By name: the median milliseconds of each act at `SMALL` and at `LARGE` jobs."""
    with Postgres() as postgres:
        small = _times(postgres, SMALL)
        large = _times(postgres, LARGE)
    return {name: (small[name], large[name]) for name in small}


def _times(postgres: Postgres, jobs: int) -> Row:
    url = postgres.create(f"jobs_{jobs}")
    create_tables(url, Shape())
    migrate(url)
    connection = connect(url)
    for statement in FILL.format(jobs=jobs, cards=CARDS, waiting=WAITING).split(";\n"):
        if statement.strip():
            connection.run(statement)
    connection.run("VACUUM ANALYZE")
    connection.close()
    database = Database(url)
    try:
        return _acts(database, jobs)
    finally:
        database.close()
        postgres.drop(f"jobs_{jobs}")


def _acts(database: Database, jobs: int) -> Row:
    api = inspect(database, LANGUAGES)
    book, operator = Jobs(database, api, max_attempts=3), Operator(database, api)
    numbers = iter(range(jobs, jobs - WAITING, -1))
    found: dict[str, list[float]] = {}

    @contextmanager
    def timed(name: str) -> Any:
        began = time.perf_counter()
        yield
        found.setdefault(name, []).append(1000 * (time.perf_counter() - began))

    for _ in range(RUNS):
        _one_run(book, f"job-{next(numbers)}", timed)
        with timed("poll's next"):
            book.waiting(10)
        with timed("sweep"):
            book.exhaust()
            operator.gauges()
            operator.due(again_s=1800, limit=500)
    return {name: statistics.median(times) for name, times in found.items()}


def _one_run(book: Jobs, job_id: str, timed: Callable[[str], Any]) -> None:
    with timed("claim"):
        job = book.claim(job_id, lease_s=60)
    assert job is not None, job_id
    with timed("unspoken cards"):
        phrases, _ = book.read(job)
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
        book.others_wait(Job(id=job.id, list_id="", lease="", attempts_before=0, group="u"), 1e9)
    with timed("settle"):
        book.settle(job, HandedBack(stop=Stop(code="bench", message="", delay_s=1e6)), begun=[])


if __name__ == "__main__":
    for name, (small, large) in measure().items():
        print(f"{name:16} {small:8.2f} ms {large:8.2f} ms  x{large / small:.2f}")
