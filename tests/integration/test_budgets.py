"""Money: held before each call, told after it, and never beyond a budget."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from deployment import Deployment

from memolist_tts.core.model import Completed, HandedBack, Idle, Report

WORDS = [(f"This is sentence number {n}", "") for n in range(40)]
A_CALL_USD = 0.0008
"""What one of these sentences costs, and no less than half of it."""


def job_over_words(deployment: Deployment, **columns: object) -> str:
    return deployment.api.add_job(deployment.api.add_list(WORDS), **columns)


def spent(deployment: Deployment) -> float:
    rows = deployment.api.rows("SELECT coalesce(sum(cost_usd), 0)::float8 AS usd FROM tts.spend")
    return float(rows[0]["usd"])


def left_held(deployment: Deployment) -> float:
    rows = deployment.api.rows("SELECT coalesce(sum(usd), 0)::float8 AS usd FROM tts.hold")
    return float(rows[0]["usd"])


def stop_of(report: Report) -> str:
    assert isinstance(report.outcome, HandedBack)
    assert report.outcome.stop.rings
    return report.outcome.stop.code


def test_a_job_that_reaches_its_budget_is_handed_back_with_what_it_spoke(
    deployment: Deployment,
) -> None:
    deployment.settings |= {"JOB_BUDGET_USD": "0.01", "MAX_IN_FLIGHT": "4"}
    job_id = job_over_words(deployment)
    other_id = deployment.api.add_job(deployment.api.add_list([("apple", "")]))

    report = deployment.go(job_id)
    told = deployment.told("status", job_id)["progress"]

    assert stop_of(report) == "job_budget_reached"
    assert (told["stop_code"], told["attempts"]) == ("job_budget_reached", 0)
    assert 0.005 < spent(deployment) <= 0.01 + 4 * A_CALL_USD
    assert told["cost_usd"] == pytest.approx(spent(deployment), abs=1e-5)
    assert 0 < told["spoken"] < 40
    assert left_held(deployment) == 0
    assert deployment.go(other_id).outcome == Completed()

    before = len(deployment.asked)
    deployment.told("retry", job_id)
    assert stop_of(deployment.go(job_id)) == "job_budget_reached"
    assert len(deployment.asked) - before <= 1

    deployment.told("retry", job_id)
    assert deployment.go(job_id, JOB_BUDGET_USD="1").outcome == Completed()
    assert len(deployment.asked) == len(set(deployment.asked)) == 41


def test_the_day_s_budget_holds_for_all_workers_together(deployment: Deployment) -> None:
    deployment.settings |= {"DAILY_BUDGET_USD": "0.015", "MAX_IN_FLIGHT": "4"}
    # Each list has texts of its own.
    jobs = [
        deployment.api.add_job(
            deployment.api.add_list([(f"This is list {n}, line {m}", "") for m in range(30)])
        )
        for n in range(3)
    ]

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(deployment.go, jobs))

    codes = [stop_of(each) for each in reports if each.outcome != Idle()]
    assert set(codes) == {"daily_budget_reached"}
    assert 0.008 < spent(deployment) <= 0.015 + 3 * 4 * A_CALL_USD
    assert left_held(deployment) == 0
    pause = deployment.told("status")["pauses"][0]
    assert pause["code"] == "daily_budget_reached"
    assert deployment.go(jobs[0]).outcome == Idle()
    today = deployment.told("status")["today"]
    assert today["spent_usd"] == pytest.approx(spent(deployment))

    deployment.told("resume")
    for job_id in jobs:
        assert deployment.go(job_id, DAILY_BUDGET_USD="1").outcome == Completed()
    assert len(deployment.asked) == len(set(deployment.asked)) == 90


def test_yesterday_s_money_is_not_today_s(deployment: Deployment) -> None:
    job_id = job_over_words(deployment)
    deployment.go(deployment.api.add_job(deployment.api.add_list([("apple", "")])))
    deployment.api.rows("UPDATE tts.spend SET day = day - 1, cost_usd = 100")

    assert deployment.go(job_id, DAILY_BUDGET_USD="1").outcome == Completed()


def test_what_a_dead_run_had_set_aside_counts_as_spent(deployment: Deployment) -> None:
    job_id = job_over_words(deployment)
    deployment.api.rows(
        "INSERT INTO tts.hold VALUES (gen_random_uuid(), :id, "
        "cast(timezone('UTC', now()) AS date), 1)",
        id=job_id,
    )

    report = deployment.go(job_id, JOB_BUDGET_USD="1")

    assert stop_of(report) == "job_budget_reached"
    assert deployment.asked == []


def test_money_is_set_aside_before_a_call_is_made(deployment: Deployment) -> None:
    deployment.speech.add_fault("hold")
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "")]))
    ended: list[Report] = []
    running = threading.Thread(
        target=lambda: ended.append(deployment.go(job_id, DAILY_BUDGET_USD="1"))
    )
    running.start()
    assert deployment.speech.wait_for_in_flight(1, 30)

    held = left_held(deployment)
    deployment.speech.clear_faults()
    running.join(30)

    assert held > 0
    assert ended[0].outcome == Completed()
    assert (left_held(deployment), spent(deployment) > 0) == (0, True)


def test_a_model_without_a_price_is_not_spoken_under_a_budget(deployment: Deployment) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "")]))
    deployment.settings |= {"TTS_MODEL": "someone-elses-tts"}

    report = deployment.go(job_id, DAILY_BUDGET_USD="1")

    assert stop_of(report) == "misconfigured"
    assert "what someone-elses-tts costs isn't known" in report.outcome.stop.message
    assert deployment.asked == []


def test_reused_clips_cost_nothing_and_need_no_budget(deployment: Deployment) -> None:
    deployment.spoken_list(("apple", "pomme"))
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "pomme")]))
    before = spent(deployment)

    assert deployment.go(job_id, DAILY_BUDGET_USD="0.000001").outcome == Completed()
    assert spent(deployment) == before


def test_costs_are_told_by_job_user_day_and_voice(deployment: Deployment) -> None:
    api = deployment.api
    deployment.settings |= {"TTS_PROVIDER": "endpoint"}
    hers = api.add_job(api.add_list([("apple", "pomme")]), userId="ann")
    his = api.add_job(api.add_list([("bread", "")]), userId="bob")
    deployment.go(hers, VOICE_FR="nova")
    deployment.go(his)

    by = {
        name: {row[name]: row for row in deployment.rows("costs", "--by", name)}
        for name in ("job", "user", "voice", "day", "language")
    }
    shown = deployment.command("costs", "--by", "job", COLUMNS="80").stdout

    assert set(by["job"]) == {hers, his}
    assert set(by["user"]) == {"ann", "bob"}
    assert set(by["voice"]) == {"alloy", "nova"}
    (day,) = by["day"].values()
    assert (day["calls"], day["characters"]) == (3, 15)
    assert day["estimated_usd"] == pytest.approx(spent(deployment))
    assert day["reported_usd"] == 0
    assert by["user"]["ann"]["calls"] == by["job"][hers]["calls"] == 2
    assert by["language"]["fr"]["characters"] == 5
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())


def test_what_the_provider_reports_is_told_from_what_is_estimated(deployment: Deployment) -> None:
    deployment.spoken_list(("apple", ""), TTS_PROVIDER="chat")
    deployment.spoken_list(("apple", ""), TTS_PROVIDER="endpoint")

    rows = {row["model"]: row for row in deployment.rows("costs", "--by", "model")}
    chat, endpoint = rows["gpt-audio-1.5"], rows["gpt-4o-mini-tts-2025-12-15"]
    assert chat["reported_usd"] > 0 == chat["estimated_usd"]
    assert endpoint["estimated_usd"] > 0 == endpoint["reported_usd"]


def test_a_failed_utterance_s_takes_are_paid_and_told(deployment: Deployment) -> None:
    deployment.speech.add_fault("silent", match="hush")

    deployment.spoken_list(("hush", ""))

    (row,) = deployment.rows("costs", "--by", "day")
    assert (row["calls"], row["characters"]) == (3, 12)
    assert row["estimated_usd"] + row["reported_usd"] > 0


@pytest.mark.parametrize("name", ["JOB_BUDGET_USD", "DAILY_BUDGET_USD"])
def test_a_budget_of_nothing_is_refused(deployment: Deployment, name: str) -> None:
    shown = deployment.command("status", **{name: "0"})

    assert shown.returncode == 1
    assert f"{name}: " in shown.stderr
