"""Whole jobs by realtime sessions: real PostgreSQL, the local provider, a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.api import Api, audio_urls
from local.speech import SpeechServer
from memolist_tts.assemble import Worker
from memolist_tts.core.errors import LeaseLost
from memolist_tts.core.model import Completed, Flushed, HandedBack, Lost, Report
from memolist_tts.postgres.jobs import Jobs
from memolist_tts.settings import Needs, Settings

THINGS = [
    ("apple", "pomme"),
    ("bread", "pain"),
    ("house", "maison"),
    ("window", "fenêtre"),
    ("garden", "jardin"),
    ("table", "table"),
    ("flower", "fleur"),
    ("street", "rue"),
    ("teacher", "maîtresse"),
    ("sister", "sœur"),
]
PATIENCE_S = 30.0


@dataclass
class Place:
    api: Api
    speech: SpeechServer
    worker: Worker

    def run_a_job(self, seconds: float = 60) -> tuple[str, Report]:
        """A new list's id, and the report of one run over it."""
        list_id = self.api.add_list([(f"The {en}.", f"Le mot {fr}.") for en, fr in THINGS])
        job_id = self.api.add_job(list_id, options='{"force": true}')
        report = self.worker.run(job_id, seconds=seconds, halt=threading.Event(), lease_s=5)
        return list_id, report


@pytest.fixture
def place(database: str, speech_server: SpeechServer, tmp_path: Path) -> Iterator[Place]:
    environ = {
        "DATABASE_URL": database,
        "OPENAI_BASE_URL": speech_server.base_url,
        "LOCAL_STORAGE_PATH": str(tmp_path),
        "FLUSH_SECONDS": "0.1",
        "TTS_PROVIDER": "realtime",
    }
    worker = Worker(Settings.load(Needs.WORKER, environ=environ))
    with Api(database) as api:
        yield Place(api, speech_server, worker)
    worker.database.close()


def realtime_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("realtime")]


def test_a_job_is_spoken_by_sessions_that_end_with_it(place: Place) -> None:
    for _ in range(3):
        list_id, report = place.run_a_job()

        assert (report.outcome, report.tally.spoken) == (Completed(), 2 * len(THINGS))
        assert all(url for card in place.api.cards(list_id) for url in audio_urls(card))
        assert place.speech.wait_for_in_flight(0, PATIENCE_S)
        for thread in realtime_threads():
            thread.join(PATIENCE_S)
        assert realtime_threads() == []
    assert len(place.speech.charges) == 3 * 2 * len(THINGS)


def test_what_is_in_flight_at_the_deadline_is_cancelled(place: Place) -> None:
    place.speech.add_fault("hold")

    _, report = place.run_a_job(seconds=3.5)

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "out_of_time"
    assert place.speech.charges
    # Though the provider holds what it charged for, nothing is left: session or text.
    assert place.speech.wait_for_in_flight(0, PATIENCE_S)


def test_what_is_in_flight_when_a_job_is_cancelled_is_stored_and_paid_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_noticed = threading.Event()
    flush = Jobs.flush

    def flush_and_tell(*given: Any, **named: Any) -> Flushed:
        try:
            return flush(*given, **named)
        except LeaseLost:
            has_noticed.set()
            raise

    monkeypatch.setattr(Jobs, "flush", flush_and_tell)
    place.speech.add_fault("hold")
    with ThreadPoolExecutor() as pool:
        running = pool.submit(place.run_a_job)
        try:
            assert place.speech.wait_for_in_flight(4, PATIENCE_S)
            place.api.rows("""UPDATE "TtsJob" SET status = 'failed'""")
            assert has_noticed.wait(PATIENCE_S)
        finally:
            place.speech.clear_faults()
        _, cancelled = running.result(PATIENCE_S)
    (job,) = place.api.rows("""UPDATE "TtsJob" SET status = 'pending' RETURNING id""")

    report = place.worker.run(job["id"], seconds=60, halt=threading.Event(), lease_s=5)

    assert (cancelled.outcome, report.outcome) == (Lost(), Completed())
    assert len(place.speech.charges) == 2 * len(THINGS)


def test_a_job_outlives_its_sessions(place: Place) -> None:
    for fault in ("session_expired", "closed", "cut"):
        place.speech.add_fault(fault, times=1)

    _, report = place.run_a_job()

    assert (report.outcome, report.tally.spoken) == (Completed(), 2 * len(THINGS))


def test_a_provider_that_takes_few_texts_at_once_in_a_session_charges_each_once(
    place: Place, speech_server: SpeechServer
) -> None:
    speech_server.set_responses_per_session(2)

    _, report = place.run_a_job()

    assert (report.outcome, report.tally.spoken) == (Completed(), 2 * len(THINGS))
    assert report.tally.throttled == 0
    assert {charge.take for charge in place.speech.charges} == {1}
