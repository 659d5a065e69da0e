"""What an operator does to jobs: retry in bulk, pause for a user or a time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from deployment import Deployment

from local.schema import MINIMAL
from memolist_tts.core.model import Completed, Failed, HandedBack, Idle
from tests.conftest import Queue

LONG_AGO = "2001-01-01"


@pytest.fixture
def failed(deployment: Deployment) -> dict[str, str]:
    """Four failed jobs by what is wrong with them; the provider is well again."""
    api, speech = deployment.api, deployment.speech
    speech.add_fault("refused", match="curse")
    speech.add_fault("silent", match="hush")
    jobs = {
        "refused": api.add_job(api.add_list([("curse", "pomme")])),
        "silent": api.add_job(api.add_list([("hush", "pain")])),
        "both": api.add_job(api.add_list([("curse you", "hush now")])),
        "cancelled": api.add_job(api.add_list([("milk", "lait")])),
    }
    for name in ("refused", "silent", "both"):
        deployment.go(jobs[name])
    deployment.command("cancel", jobs["cancelled"])
    speech.clear_faults()
    return jobs


def statuses(deployment: Deployment, jobs: dict[str, str]) -> dict[str, str]:
    return {name: deployment.api.job(job_id)["status"] for name, job_id in jobs.items()}


def test_a_retry_by_code_takes_up_what_failed_with_it_and_nothing_else(
    deployment: Deployment, failed: dict[str, str]
) -> None:
    told = deployment.told("retry", "--code", "bad_audio")

    assert set(told["retried"]) == {failed["silent"], failed["both"]}
    assert statuses(deployment, failed) == {
        "refused": "failed", "silent": "pending", "both": "pending", "cancelled": "failed",
    }  # fmt: skip

    before = len(deployment.asked)
    alone = deployment.go(failed["silent"]).outcome
    rest = deployment.go(failed["both"]).outcome

    assert deployment.asked[before:] == ["hush", "hush now"]
    assert alone == Completed()
    assert isinstance(rest, Failed)
    assert "1 of 2 utterances could not be spoken. refused:" in rest.message
    assert deployment.api.job(failed["both"])["failedCount"] == 1


def test_a_code_that_nothing_failed_with_is_told(
    deployment: Deployment, failed: dict[str, str]
) -> None:
    alone = deployment.command("retry", failed["silent"], "--code", "nonsense")
    every = deployment.command("retry", "--code", "nonsense")
    others = deployment.command("retry", failed["silent"], "--code", "refused", "--dry-run")

    assert (alone.returncode, others.returncode) == (1, 1)
    assert alone.stderr.startswith(f"nothing of {failed['silent']} failed with 'nonsense': ")
    assert every.stdout == "pending again: 0 jobs\n"
    assert every.stderr.startswith("No failure with 'nonsense' stands: ")
    assert set(statuses(deployment, failed).values()) == {"failed"}
    assert deployment.told("retry", failed["silent"], "--code", "bad_audio")["retried"]
    assert deployment.told("retry", failed["cancelled"], "--code", "cancelled")["retried"]


def test_a_revoice_that_failed_as_a_whole_stands_until_its_cards_are_spoken(
    deployment: Deployment,
) -> None:
    (card,) = deployment.spoken_list(("apple", "pomme"))
    words = ("revoice", "--where", "language=fr", "--yes", "--to")
    (job,) = deployment.told(*words, "nobody")["jobs"]
    deployment.go(job)
    deployment.go(deployment.api.add_job(card["listId"]))

    assert deployment.told("retry", "--code", "bad_options", "--dry-run")["found"] == [job]

    (later,) = deployment.told(*words, "nova")["jobs"]
    deployment.go(later)

    assert deployment.rows("failures") == []
    assert deployment.told("retry", "--all")["found"] == []


def test_a_retry_of_all_leaves_out_what_an_operator_cancelled(
    deployment: Deployment, failed: dict[str, str]
) -> None:
    dry = deployment.told("retry", "--all", "--dry-run")
    untouched = statuses(deployment, failed)
    told = deployment.told("retry", "--all")

    wanted = [failed[name] for name in ("refused", "silent", "both")]
    assert (dry["found"], dry["retried"]) == (wanted, [])
    assert set(untouched.values()) == {"failed"}
    assert told["retried"] == wanted
    assert statuses(deployment, failed)["cancelled"] == "failed"
    assert deployment.told("retry", "--code", "cancelled")["retried"] == [failed["cancelled"]]
    assert deployment.told("retry", "--all")["retried"] == []


def test_a_bulk_retry_is_bounded_and_says_so(
    deployment: Deployment, failed: dict[str, str]
) -> None:
    shown = deployment.command("retry", "--all", "--limit", "1")

    assert shown.returncode == 0
    assert shown.stdout.splitlines() == [failed["refused"], "pending again: 1 job"]
    assert shown.stderr == "The first 1 job; --limit shows more.\n"


def test_jobs_that_failed_before_the_time_asked_for_are_left_alone(
    deployment: Deployment, failed: dict[str, str]
) -> None:
    deployment.api.rows(
        "UPDATE tts.job SET finished_at = cast(:at AS timestamptz) WHERE job_id = :id",
        id=failed["refused"], at=LONG_AGO,
    )  # fmt: skip

    assert set(deployment.told("retry", "--all", "--since", "2h")["found"]) == {
        failed["silent"], failed["both"],
    }  # fmt: skip


def test_a_bulk_retry_wakes_its_jobs(
    deployment: Deployment, failed: dict[str, str], sqs: Queue
) -> None:
    aws = {
        "QUEUE_URL": sqs.url, "AWS_ENDPOINT_URL": sqs.endpoint_url,
        "AWS_DEFAULT_REGION": "eu-west-3",
        "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
    }  # fmt: skip

    told = deployment.told("retry", "--code", "refused", **aws)

    assert told["sent"] == 2
    assert sorted(sqs.bodies()) == sorted(f'{{"jobId": "{each}"}}' for each in told["retried"])
    assert set(told["retried"]) == {failed["refused"], failed["both"]}


@pytest.mark.parametrize("words", [[], ["--all", "--code", "refused"], ["job", "--all"]])
def test_a_retry_must_say_of_what(deployment: Deployment, words: list[str]) -> None:
    shown = deployment.command("retry", *words)

    assert (shown.returncode, shown.stdout) == (2, "")
    assert "name one: JOB, --code CODE or --all" in shown.stderr


def test_a_job_that_is_completed_is_not_retried(deployment: Deployment) -> None:
    job_id = deployment.api.add_job("list", status="completed")

    shown = deployment.command("retry", job_id)

    assert shown.returncode == 1
    assert shown.stderr == f"{job_id} is completed: only a failed or a pending job can be retried\n"


def test_a_pause_of_another_user_is_no_reason_of_this_job(deployment: Deployment) -> None:
    api = deployment.api
    hers = api.add_job(api.add_list([("apple", "pomme")]), userId="anna")
    his = api.add_job(api.add_list([("bread", "pain")]), userId="bob")
    deployment.told("pause", "--user", "bob", "--why", "bob imports")

    found = {each["part"]: each["told"] for each in deployment.rows("doctor")}

    assert deployment.told("status", hers)["pauses"] == []
    assert [each["message"] for each in deployment.told("status", his)["pauses"]] == ["bob imports"]
    assert first_look(deployment, hers) == "pending: waits for a worker\n"
    assert first_look(deployment, his) == "pending: bob imports\n"
    assert found["pauses"] == (
        "jobs of bob aren't claimed: bob imports; lift it with `memolist-tts resume --user bob`"
    )
    deployment.told("pause", "--why", "lunch")
    assert first_look(deployment, hers) == "pending: lunch\n"


def first_look(deployment: Deployment, job_id: str) -> str:
    with deployment.started("watch", job_id) as process:
        return str(process.stdout.readline())


def test_the_pause_of_a_user_keeps_only_that_user_s_jobs_waiting(deployment: Deployment) -> None:
    api = deployment.api
    hers = api.add_job(api.add_list([("apple", "pomme")]), userId="ann")
    his = api.add_job(api.add_list([("bread", "pain")]), userId="bob")
    nobodys = api.add_job(api.add_list([("milk", "lait")]))

    told = deployment.told("pause", "--user", "ann", "--for", "2h", "--why", "a runaway import")

    (pause,) = told["pauses"]
    assert (pause["user_id"], pause["message"]) == ("ann", "a runaway import")
    assert set(deployment.worker().jobs.waiting(10)) == {his, nobodys}
    assert deployment.go(hers).outcome == Idle()
    # Whoever is paused waits for no turn.
    halt = threading.Event()
    assert deployment.worker().run(his, seconds=60, halt=halt).outcome == Completed()
    assert "Paused for user ann until 20" in deployment.command("status").stdout
    assert deployment.worker().operator.gauges().is_paused
    assert deployment.worker().operator.gauges().pending == 1

    deployment.told("resume", "--user", "ann")

    assert deployment.go(hers).outcome == Completed()
    assert not deployment.worker().operator.gauges().is_paused


def test_a_pause_for_a_time_ends_by_itself(deployment: Deployment) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "pomme")]))
    deployment.told("pause", "--for", "1h")
    waiting = deployment.worker().jobs.waiting(10)
    left = deployment.api.rows("SELECT until - now() < interval '1 hour' AS soon FROM tts.pause")

    deployment.api.rows("UPDATE tts.pause SET until = now()")

    assert waiting == []
    assert left == [{"soon": True}]
    assert deployment.go(job_id).outcome == Completed()


def test_a_pause_stops_a_run_and_what_it_spoke_stays(deployment: Deployment) -> None:
    deployment.speech.add_fault("hold", match="slow")
    words = [("apple", "pomme"), ("slow one", "lente"), *((f"word {n}", "mot") for n in range(20))]
    list_id = deployment.api.add_list(words)
    job_id = deployment.api.add_job(list_id)
    ended: list[object] = []
    running = threading.Thread(
        target=lambda: ended.append(deployment.go(job_id, MAX_IN_FLIGHT="1").outcome)
    )
    running.start()
    assert deployment.speech.wait_for_in_flight(1, 30)

    deployment.told("pause", "--why", "the price has risen")
    deployment.speech.clear_faults()
    running.join(30)

    (outcome,) = ended
    assert isinstance(outcome, HandedBack)
    assert (outcome.stop.code, outcome.stop.message) == ("paused", "the price has risen")
    spoken = deployment.told("status", job_id)["progress"]
    assert (spoken["stop_code"], spoken["attempts"]) == ("paused", 0)
    assert 0 < spoken["spoken"] < 20

    deployment.told("resume")
    assert deployment.go(job_id).outcome == Completed()
    assert len(deployment.asked) == len(set(deployment.asked))


def test_the_jobs_of_a_paused_user_are_not_woken(deployment: Deployment) -> None:
    his = deployment.api.add_job("list", userId="bob")
    deployment.api.add_job("list", userId="ann")
    deployment.told("pause", "--user", "ann")

    due = deployment.worker().operator.due(again_s=1800, limit=10)

    assert [each.job_id for each in due] == [his]


def test_a_user_can_not_be_paused_where_jobs_have_none(
    new_database: Callable[..., str], deployment: Deployment
) -> None:
    shown = deployment.command("pause", "--user", "ann", DATABASE_URL=new_database(MINIMAL))

    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == '"TtsJob" has no column "userId": whose a job is can\'t be told\n'


@pytest.mark.parametrize("user", ["", " "])
def test_a_pause_of_nobody_is_refused(deployment: Deployment, user: str) -> None:
    shown = deployment.command("pause", "--user", user)

    assert (shown.returncode, shown.stdout) == (2, "")
    assert "--user names nobody" in shown.stderr
    assert deployment.told("status")["pauses"] == []


def test_a_time_that_is_none_is_refused(deployment: Deployment) -> None:
    shown = deployment.command("pause", "--for", "soon")

    assert shown.returncode == 2
    assert "'soon' isn't a time such as 90s, 30m, 2h, 1d or 1w" in shown.stderr


def test_a_time_beyond_what_a_database_can_reckon_is_wrong_usage(
    deployment: Deployment,
) -> None:
    shown = deployment.command("pause", "--for", "99999999999d")

    assert shown.returncode == 2
    assert "'99999999999d' is longer than a hundred years (5200w)" in shown.stderr


def test_resuming_a_user_who_is_not_paused_is_refused(deployment: Deployment) -> None:
    shown = deployment.command("resume", "--user", "ann")

    assert shown.returncode == 1
    assert shown.stderr == "'ann' isn't paused; `memolist-tts status` lists who is\n"
