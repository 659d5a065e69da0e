"""The old worker beside ours, over the same two tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from deployment import Deployment
from old_worker import OLD_URL, OldWorker, old_worker

from local.api import audio_urls
from local.postgres import connect
from memolist_tts.core.model import Completed, Idle, Lost
from memolist_tts.core.sweep import AGAIN_S
from memolist_tts.poll import LOOK_AT

PATIENCE_S = 30.0
WORDS = [("apple", "pomme"), ("bread", "pain")]
# What may be left of ours on a job that the old worker takes later.
TRACES = {
    "never_seen": "SELECT 1",
    "woken_by_a_sweep": (
        "INSERT INTO tts.job (job_id, woken_at) VALUES ('{}', now() - interval '1 day')"
    ),
    "handed_back": (
        "INSERT INTO tts.job (job_id, attempts, not_before, stop_code) "
        "VALUES ('{}', 2, now() - interval '1 day', 'terminated')"
    ),
}


@pytest.fixture
def old(deployment: Deployment) -> Iterator[OldWorker]:
    with old_worker(deployment.url) as worker:
        yield worker


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES.keys())
def test_no_door_takes_a_job_that_the_old_worker_is_speaking(
    deployment: Deployment, old: OldWorker, trace: str
) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list(WORDS), userId="one")
    deployment.api.rows(trace.format(job_id))
    worker = deployment.worker(MAX_ATTEMPTS="1")
    old.set(job_id, "processing")

    assert worker.jobs.waiting(LOOK_AT) == []
    assert worker.operator.due(again_s=AGAIN_S, limit=10) == []
    assert worker.jobs.exhaust() == []
    assert deployment.go(job_id, MAX_ATTEMPTS="1").outcome == Idle()

    assert deployment.asked == []
    assert deployment.api.job(job_id)["status"] == "processing"
    assert worker.operator.gauges().stalled == 1


def test_the_old_workers_user_is_no_reason_to_give_way(
    deployment: Deployment, old: OldWorker
) -> None:
    api = deployment.api
    ours, other = (api.add_job(api.add_list(WORDS), userId=user) for user in ("one", "two"))
    jobs = deployment.worker().jobs
    job = jobs.claim(ours, lease_s=60)
    assert job is not None

    assert jobs.others_wait(job, 0.0)
    old.set(other, "processing")

    assert not jobs.others_wait(job, 0.0)


# The old worker's write and what ours reads meet in one moment: ours waits for the row.
MEETINGS = {
    "pending_when_ours_looked": """
        UPDATE "TtsJob" SET status = 'processing' WHERE id = '{}'""",
    "ours_let_go_of_it_meanwhile": """
        UPDATE tts.job SET lease_token = NULL, lease_until = NULL WHERE job_id = '{}'""",
}


@pytest.mark.parametrize("meeting", MEETINGS)
def test_a_claim_that_meets_the_old_workers_leaves_the_job_to_it(
    deployment: Deployment, meeting: str
) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list(WORDS))
    if meeting == "ours_let_go_of_it_meanwhile":
        deployment.api.rows("""UPDATE "TtsJob" SET status = 'processing'""")
        deployment.api.rows(
            "INSERT INTO tts.job (job_id, lease_token, lease_until) "
            "VALUES (:id, gen_random_uuid(), now() - interval '1 second')",
            id=job_id,
        )
    other = connect(deployment.url)
    other.run("BEGIN")
    other.run(MEETINGS[meeting].format(job_id))

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(deployment.go, job_id)
        wait_until_it_waits(deployment)
        other.run("COMMIT")
        outcome = running.result(PATIENCE_S).outcome
    other.close()

    assert outcome == Idle()
    assert deployment.asked == []
    assert deployment.api.job(job_id)["status"] == "processing"


def wait_until_it_waits(deployment: Deployment) -> None:
    """Until a statement in this database waits for another's row."""
    waiting = """
    SELECT count(*) AS n FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
    """
    deadline = time.monotonic() + PATIENCE_S
    while not deployment.api.rows(waiting)[0]["n"]:
        assert time.monotonic() < deadline, "nothing waits"


def test_at_the_worst_phrases_are_paid_twice_and_every_card_has_audio(
    deployment: Deployment, old: OldWorker
) -> None:
    """Nothing keeps them apart: the old worker read the job before ours claimed it."""
    deployment.settings["PUBLIC_BASE_URL"] = "https://cdn.example.com"
    list_id = deployment.api.add_list(WORDS)
    job_id = deployment.api.add_job(list_id)
    assert old.pending() == [job_id]
    deployment.speech.add_fault("hold")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(deployment.go, job_id)
        try:
            assert deployment.speech.wait_for_in_flight(4, PATIENCE_S)
            old.set(job_id, "processing")
            first = next(speaking := old.speak(job_id))
        finally:
            deployment.speech.clear_faults()
        report = running.result(PATIENCE_S)
        list(speaking)
        old.set(job_id, "completed")

    assert (report.outcome, first) == (Completed(), "apple")
    assert (report.tally.kept, report.tally.spoken) == (1, 3)
    assert sorted(deployment.asked) == sorted(old.spoken)
    urls = [url for card in deployment.api.cards(list_id) for url in audio_urls(card)]
    assert all(url and url.startswith(OLD_URL) for url in urls)


def test_a_job_that_the_old_worker_ended_is_let_go_at_the_next_write(
    deployment: Deployment, old: OldWorker
) -> None:
    list_id = deployment.api.add_list(WORDS)
    job_id = deployment.api.add_job(list_id)
    deployment.speech.add_fault("hold")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(deployment.go, job_id)
        try:
            assert deployment.speech.wait_for_in_flight(4, PATIENCE_S)
            old.set(job_id, "processing")
            list(old.speak(job_id))
            old.set(job_id, "completed")
        finally:
            deployment.speech.clear_faults()
        report = running.result(PATIENCE_S)

    assert report.outcome == Lost()
    assert deployment.api.job(job_id)["status"] == "completed"
    urls = [url for card in deployment.api.cards(list_id) for url in audio_urls(card)]
    assert all(url and url.startswith(OLD_URL) for url in urls)
