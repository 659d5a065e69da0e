"""The sweep over more jobs than a page holds, some of which can't be woken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.postgres import connect
from memolist_tts.core.errors import WakeError
from memolist_tts.core.model import Language
from memolist_tts.core.sweep import PAGE, QUEUE_IS_DOWN, run_sweep
from memolist_tts.postgres.connection import Database
from memolist_tts.postgres.jobs import Jobs
from memolist_tts.postgres.operator import Operator
from memolist_tts.postgres.schema import inspect

JOBS = PAGE + 20
FILL = f"""
INSERT INTO "TtsJob" (id, "listId", status, "createdAt", "updatedAt")
SELECT lpad(n::text, 6, '0'), 'list', 'pending', now() + n * interval '1 ms', now()
FROM generate_series(1, {JOBS}) n
"""
LANGUAGES = (Language(code="en", text_column="textEn", url_column="audioEnUrl"),)


class Queue:
    """Takes no message of a job in `refused`."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        self.sent: list[str] = []
        self.asked = 0

    def send(self, job_id: str, *, group: str, delay_s: float = 0) -> None:  # noqa: ARG002
        self.asked += 1
        if job_id in self.refused:
            raise WakeError("no such group")
        self.sent.append(job_id)

    def hurry(self, receipt: str, delay_s: int) -> None:  # noqa: ARG002
        raise AssertionError("The sweep receives nothing.")


@pytest.fixture
def ports(database: str) -> Iterator[tuple[Operator, Jobs]]:
    connection = connect(database)
    connection.run(FILL)
    connection.close()
    ours = Database(database)
    api = inspect(ours, LANGUAGES)
    yield Operator(ours, api), Jobs(ours, api, max_attempts=3)
    ours.close()


def ids(numbers: range) -> list[str]:
    return [f"{n:06}" for n in numbers]


def test_one_sweep_wakes_more_than_a_page(ports: tuple[Operator, Jobs]) -> None:
    queue = Queue()

    run_sweep(*ports, queue)

    assert queue.sent == ids(range(1, JOBS + 1))


def test_jobs_that_cannot_be_woken_never_stand_before_the_others(
    ports: tuple[Operator, Jobs],
) -> None:
    queue = Queue()
    queue.refused = set(ids(range(1, QUEUE_IS_DOWN)))

    swept = run_sweep(*ports, queue)

    assert queue.sent == ids(range(QUEUE_IS_DOWN, JOBS + 1))
    assert swept.unsent == QUEUE_IS_DOWN - 1


def test_the_next_sweep_tries_those_again_and_no_other(ports: tuple[Operator, Jobs]) -> None:
    queue = Queue()
    queue.refused = set(ids(range(1, QUEUE_IS_DOWN)))
    run_sweep(*ports, queue)
    queue.refused, queue.sent = set(), []

    run_sweep(*ports, queue)

    assert queue.sent == ids(range(1, QUEUE_IS_DOWN))


def test_a_queue_that_is_down_is_not_asked_for_every_job(ports: tuple[Operator, Jobs]) -> None:
    queue = Queue()
    queue.refused = set(ids(range(1, JOBS + 1)))

    run_sweep(*ports, queue)
    assert queue.asked == QUEUE_IS_DOWN

    queue.refused.clear()
    run_sweep(*ports, queue)
    assert queue.sent == ids(range(1, JOBS + 1))
