"""Each guarded write of a run, alone: it touches nothing that isn't the run's any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from deployment import Deployment

from memolist_tts.core import options, plan
from memolist_tts.core.errors import LeaseLost
from memolist_tts.core.model import Completed, HandedBack, Idle, Job, Lost, Result, State
from memolist_tts.postgres.jobs import Jobs

URL = "https://cdn.example.com/audio/clip.mp3"
BOOT = getattr(time, "CLOCK_BOOTTIME", None)
Held = tuple[Jobs, Job, Result]
Write = Callable[[Jobs, Job, Result], object]


@pytest.fixture
def held(deployment: Deployment) -> Held:
    """A claimed job over one card, and what the run wants to write of its English."""
    api, jobs = deployment.api, deployment.worker().jobs
    job = jobs.claim(api.add_job(api.add_list([("apple", "pomme")])), lease_s=60)
    assert job is not None
    phrase = next(each for each in jobs.read(job).phrases if each.language == "en")
    return jobs, job, Result(phrase=phrase, state=State.SPOKEN, spoken="apple", url=URL)


def flush(jobs: Jobs, job: Job, result: Result) -> Any:
    return jobs.flush(job, [result], [], total=2, renew_s=60)


def settle(jobs: Jobs, job: Job, result: Result) -> Any:  # noqa: ARG001
    return jobs.settle(job, Completed(), begun=())


def tables(deployment: Deployment) -> list[Any]:
    """All that a run may write."""
    names = ('"TtsJob"', '"Card"', "tts.job", "tts.utterance")
    return [deployment.api.rows(f"SELECT * FROM {name}") for name in names]


@pytest.mark.parametrize("write", [flush, settle], ids=lambda write: write.__name__)
@pytest.mark.parametrize(
    "loss",
    [
        "UPDATE tts.job SET lease_until = clock_timestamp() - interval '1 second'",
        "UPDATE tts.job SET lease_token = gen_random_uuid()",
        """UPDATE "TtsJob" SET status = 'failed'""",
        'DELETE FROM "TtsJob"',
    ],
    ids=["run_out", "another_s", "cancelled", "deleted"],
)
def test_a_run_whose_lease_is_lost_writes_nothing(
    deployment: Deployment, held: Held, write: Write, loss: str
) -> None:
    deployment.api.rows(loss)
    before = tables(deployment)

    with pytest.raises(LeaseLost):
        write(*held)

    assert tables(deployment) == before


@pytest.mark.parametrize(
    "change",
    [
        """UPDATE "Card" SET "textEn" = 'pear'""",
        """UPDATE "Card" SET "audioEnUrl" = 'https://elsewhere.example.com/a.mp3'""",
    ],
    ids=["edited", "recorded_elsewhere"],
)
def test_a_url_lands_only_on_a_card_that_is_as_it_was_read(
    deployment: Deployment, held: Held, change: str
) -> None:
    deployment.api.rows(change)
    before = deployment.api.rows('SELECT * FROM "Card"')

    flushed = flush(*held)

    assert flushed.landed == []
    assert deployment.api.rows('SELECT * FROM "Card"') == before
    assert deployment.api.rows("SELECT * FROM tts.utterance") == []


def test_a_url_lands_on_a_card_that_is_as_it_was_read(deployment: Deployment, held: Held) -> None:
    flushed = flush(*held)

    assert flushed.landed == [held[2]]
    assert [row["audioEnUrl"] for row in deployment.api.rows('SELECT * FROM "Card"')] == [URL]


def test_a_run_that_stood_still_takes_no_clip_from_the_job_s_later_run(
    deployment: Deployment, held: Held
) -> None:
    jobs, former, _result = held
    worker = deployment.worker()
    reading = jobs.read(former)
    drawn = plan.draw_up(
        reading.phrases, reading.ended, worker.script(options.Options(), reading.lexicon)
    )
    lines = list(drawn.lines.values())
    deployment.api.rows("UPDATE tts.job SET lease_until = clock_timestamp() - interval '1 second'")
    later = jobs.claim(former.id, lease_s=60)
    assert later is not None
    assert len(worker.clips.reserve(later, lines, fresh=()).mine) == 2

    # It stood still before this, and doesn't know yet.
    assert worker.clips.reserve(former, lines, fresh=()).mine == {}

    jobs.abandon(former, begun=())
    speakers = deployment.api.rows("SELECT DISTINCT speaker::text AS lease FROM tts.clip")
    assert [row["lease"] for row in speakers] == [later.lease]


def test_a_job_that_the_api_cancels_and_starts_again_has_not_died(
    deployment: Deployment, held: Held
) -> None:
    jobs, job, _result = held
    for _ in range(3):
        deployment.api.rows("""UPDATE "TtsJob" SET status = 'failed'""")
        with pytest.raises(LeaseLost):
            jobs.flush(job, [], [], total=2, renew_s=0)
        jobs.abandon(job, begun=())
        deployment.api.rows("""UPDATE "TtsJob" SET status = 'pending'""")
        again = jobs.claim(job.id, lease_s=60)
        assert again is not None
        job = again

    assert deployment.api.rows("SELECT attempts FROM tts.job") == [{"attempts": 1}]


class Taken:
    """A queue whose messages come at once: to a worker that claims their jobs."""

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs
        self.claimed: list[Job | None] = []

    def send(self, job_id: str, *, group: str, delay_s: float = 0.0) -> None:  # noqa: ARG002
        self.claimed.append(self._jobs.claim(job_id, lease_s=60))


def test_a_job_is_free_before_the_message_for_its_rest_is_sent(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "")]))
    worker, queue, halt = deployment.worker(), Taken(deployment.worker().jobs), threading.Event()
    monkeypatch.setattr(worker, "wake", queue)
    halt.set()

    report = worker.run(job_id, seconds=60, halt=halt)

    assert isinstance(report.outcome, HandedBack)
    assert [job and job.id for job in queue.claimed] == [job_id]


def test_a_job_that_rests_is_not_claimed_before_its_time(deployment: Deployment) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "")]))
    deployment.api.rows(
        """INSERT INTO tts.job (job_id, not_before)
           VALUES (:id, clock_timestamp() + interval '1 minute')""",
        id=job_id,
    )

    assert deployment.go(job_id).outcome == Idle()
    assert deployment.asked == []

    deployment.api.rows("UPDATE tts.job SET not_before = clock_timestamp()")
    assert deployment.go(job_id).outcome == Completed()


@pytest.mark.skipif(BOOT is None, reason="only there one clock stops and another goes on")
def test_a_run_whose_machine_slept_pays_for_nothing_more(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, worker, read = deployment.api, deployment.worker(), time.clock_gettime
    job_id = api.add_job(api.add_list([("apple", "")]))
    # Past its lease, not past its time.
    slept_s = iter([60.0])
    prove = worker.storage.prove

    def sleep() -> None:
        more = next(slept_s)
        # Linux's CLOCK_MONOTONIC knows nothing of it.
        monkeypatch.setattr(
            time, "clock_gettime", lambda which: read(which) + more * (which == BOOT)
        )
        api.rows("UPDATE tts.job SET lease_until = clock_timestamp()")
        prove()

    monkeypatch.setattr(worker.storage, "prove", sleep)

    report = worker.run(job_id, seconds=600, halt=threading.Event(), lease_s=30)

    assert report.outcome == Lost()
    assert deployment.asked == []
