"""What is paid for, or half paid, when a run ends otherwise than it meant to: nobody pays again."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from deployment import Deployment

from memolist_tts.core import plan, purse, speaking
from memolist_tts.core.errors import DatabaseError, StorageError
from memolist_tts.core.model import (
    Completed,
    HandedBack,
    Line,
    Lost,
    Options,
    Phrase,
    Report,
)
from memolist_tts.core.orders import line_usd
from memolist_tts.core.preview import speak_line

PATIENCE_S = 20.0
FIRST = " ".join(f"This is the first half, sentence {n:03d}." for n in range(24))
SECOND = " ".join(f"And here is the second half, sentence {n:03d}." for n in range(18))
LONG = f"{FIRST} {SECOND}"
"""It takes two calls."""
LAST_WORDS = "second half, sentence 017"


def asked(deployment: Deployment) -> list[int]:
    """How often the first half was asked for, and the second."""
    halves = Counter(text[:20] for text in deployment.asked)
    return [halves[FIRST[:20]], halves[SECOND[:20]]]


def job_over(deployment: Deployment, *texts: str) -> str:
    return deployment.api.add_job(deployment.api.add_list([(text, "") for text in texts]))


def line_of(deployment: Deployment, text: str) -> Line:
    script = deployment.worker().script(Options(), {})
    line = plan.line_of(Phrase(card_id="", language="en", shown=text, url=None), script)
    assert isinstance(line, Line)
    return line


def wait_for(what: Callable[[], Any]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < give_up, "it never came"
        time.sleep(0.01)


def go_on(deployment: Deployment) -> None:
    """Nobody waits any longer for what may still come."""
    deployment.told("resume")
    deployment.api.rows("UPDATE tts.job SET not_before = NULL")
    deployment.api.rows("UPDATE tts.clip SET held_until = clock_timestamp()")


def test_the_rest_of_a_half_paid_text_is_spoken_while_there_is_time(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A whole text is thought to take longer than the run has, what is missing of it isn't.
    monkeypatch.setattr(speaking, "FIRST_CALL_S", 40.0)
    job_id = job_over(deployment, LONG)

    report = deployment.worker().run(job_id, seconds=60, halt=threading.Event())

    assert report.outcome == Completed()
    assert asked(deployment) == [1, 1]


def test_a_half_paid_text_that_rests_is_finished_though_the_job_is_paused(
    deployment: Deployment,
) -> None:
    job_id = job_over(deployment, LONG)
    deployment.speech.add_fault("unavailable", match=LAST_WORDS, times=1)
    operator = deployment.worker().operator

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(deployment.go, job_id)
        wait_for(lambda: len(deployment.speech.requests) == 2)
        operator.pause("a look", user=None, for_s=None)
        assert running.result().outcome == Completed()

    assert asked(deployment) == [1, 1]


def test_a_run_that_lost_its_job_pays_for_no_second_half(deployment: Deployment) -> None:
    job_id = job_over(deployment, LONG)
    deployment.speech.add_fault("hold")

    with ThreadPoolExecutor(2) as pool:
        former = pool.submit(deployment.go, job_id)
        assert deployment.speech.wait_for_in_flight(1, PATIENCE_S)
        deployment.api.rows("UPDATE tts.job SET lease_until = clock_timestamp()")
        later = pool.submit(deployment.go, job_id)
        assert deployment.speech.wait_for_in_flight(2, PATIENCE_S)
        # What it lets go of as it learns that the job is another's.
        mine = "SELECT 1 FROM tts.clip c JOIN tts.job t ON c.speaker = t.lease_token"
        wait_for(lambda: deployment.api.rows(mine))
        time.sleep(0.5)
        deployment.speech.clear_faults()
        assert (former.result().outcome, later.result().outcome) == (Lost(), Completed())

    # The first call was on its way: that is the one window.
    assert asked(deployment) == [2, 1]


def test_calls_under_way_are_stored_though_the_budget_can_not_be_asked(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purse, "AHEAD", 2)
    deployment.settings |= {"JOB_BUDGET_USD": "1", "MAX_IN_FLIGHT": "4"}
    job_id = job_over(deployment, *(f"This is sentence number {n}" for n in range(4)))
    deployment.speech.add_fault("hold")
    worker = deployment.worker()
    exchange, has_asked, has_failed = worker.ledger.exchange, threading.Event(), threading.Event()

    def away(*args: Any, want_usd: float, **more: Any) -> Any:
        if want_usd > 0 and has_asked.is_set():
            assert deployment.speech.wait_for_in_flight(2, PATIENCE_S)
            has_failed.set()
            raise DatabaseError("the server is restarting", passes=True)
        if want_usd > 0:
            has_asked.set()
        return exchange(*args, want_usd=want_usd, **more)

    worker.ledger.exchange = away  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(worker.run, job_id, seconds=60, halt=threading.Event())
        assert has_failed.wait(PATIENCE_S)
        deployment.speech.clear_faults()
        running.result()

    # Now, since where functions run nothing goes on once they have returned.
    assert len(list(deployment.folder.glob("*.mp3"))) == len(deployment.asked) == 2
    assert deployment.api.rows("SELECT * FROM tts.hold") == []
    go_on(deployment)
    assert deployment.go(job_id).outcome == Completed()
    assert len(deployment.asked) == 4


def test_a_clip_whose_put_was_not_heard_of_is_looked_for(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "STORE_TRIES", 2)
    job_id = job_over(deployment, "apple")
    worker = deployment.worker()
    put, is_cut = worker.storage.put, threading.Event()

    def unheard(name: str, mp3: bytes) -> bool:
        if not is_cut.is_set():
            put(name, mp3)
        is_cut.set()
        raise StorageError("timed out")

    worker.storage.put = unheard  # type: ignore[method-assign]
    report = worker.run(job_id, seconds=60, halt=threading.Event())
    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "storage_down"
    go_on(deployment)

    assert deployment.go(job_id).outcome == Completed()
    assert deployment.asked == ["apple"]


def run_short_of_money(deployment: Deployment, fault: str, **rule: Any) -> Report:
    """A run over a text in two parts and another, with money for the first of them alone."""
    deployment.settings["MAX_IN_FLIGHT"] = "1"
    whole, more = (line_usd(line_of(deployment, text)) for text in (LONG, "apple"))
    assert whole
    assert more
    job_id = job_over(deployment, LONG, "apple")
    deployment.speech.add_fault(fault, match=LAST_WORDS, **rule)
    return deployment.go(job_id, JOB_BUDGET_USD=f"{whole + more / 2:.6f}")


def test_a_half_paid_text_goes_on_before_a_line_for_which_there_is_no_money(
    deployment: Deployment,
) -> None:
    report = run_short_of_money(deployment, "unavailable", times=1)

    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.code == "job_budget_reached"
    assert asked(deployment) == [1, 1]
    assert report.tally.spoken == 1


def test_what_was_set_aside_for_a_text_that_is_refused_is_free_again(
    deployment: Deployment,
) -> None:
    run_short_of_money(deployment, "refused")

    assert "apple" in deployment.asked
    assert deployment.api.rows("SELECT * FROM tts.hold") == []


def test_what_was_set_aside_for_calls_that_nobody_waited_for_stays(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speaking, "LONGEST_CALL_S", 0.5)
    monkeypatch.setattr(speaking, "BACK_OFF_S", 0.01)
    deployment.settings["JOB_BUDGET_USD"] = "1"
    job_id = job_over(deployment, "apple")
    usd = line_usd(line_of(deployment, "apple"))
    assert usd
    deployment.speech.add_fault("hold")

    report = deployment.go(job_id)
    deployment.speech.clear_faults()

    (held,) = deployment.api.rows("SELECT usd::double precision FROM tts.hold")
    assert held["usd"] == pytest.approx(report.tally.requests * usd, abs=1e-5)


def test_a_clip_that_a_preview_paid_for_is_kept_though_the_ledger_is_away(
    deployment: Deployment,
) -> None:
    worker, line = deployment.worker(), line_of(deployment, "apple")

    def away(*_: Any, **__: Any) -> Any:
        raise DatabaseError("the server is restarting", passes=True)

    worker.ledger.exchange = away  # type: ignore[method-assign]
    speak_line(line, worker.ports(), worker.rules(), seconds=30, halt=threading.Event())

    assert deployment.go(job_over(deployment, "apple")).outcome == Completed()
    assert deployment.asked == ["apple"]
