"""The drift canary as its operator and its schedule run it."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from command import COMMAND, environment
from deployment import Deployment

from local.bridge import metric_data
from local.doors import Doors
from memolist_tts.core.canary import CanaryBusy, Run, State, golden
from memolist_tts.core.model import Completed
from memolist_tts.core.mp3 import walk

EVENT = json.loads((Path(__file__).parents[2] / "events" / "canary.json").read_text())
ROUTES = ("endpoint", "chat", "realtime")
COUNT = sum(map(len, golden().values()))


def states(told: dict[str, Any]) -> set[str]:
    return {each["state"] for each in told["heard"]}


def base(deployment: Deployment) -> list[dict[str, Any]]:
    """What is accepted."""
    return deployment.api.rows("SELECT * FROM tts.canary_base ORDER BY key")


def spent(deployment: Deployment) -> float:
    return float(deployment.told("status")["today"]["spent_usd"])


@contextmanager
def faulty(deployment: Deployment, fault: str, **rule: Any) -> Iterator[None]:
    deployment.speech.add_fault(fault, **rule)
    yield
    deployment.speech.clear_faults()


def speak(deployment: Deployment, **more: str) -> Run:
    """A canary in this process."""
    return deployment.worker(**more).canary(seconds=60, halt=threading.Event())


@contextmanager
def in_background(deployment: Deployment, **more: str) -> Iterator[list[Run]]:
    """One that speaks while the block runs, and has ended after it."""
    ended: list[Run] = []
    speaking = threading.Thread(target=lambda: ended.append(speak(deployment, **more)))
    speaking.start()
    yield ended
    speaking.join(60)


def heard(run: Run) -> set[State]:
    return {each.state for each in run.heard}


# --- what is the same, what has drifted


@pytest.mark.parametrize("route", ROUTES)
def test_the_first_run_is_the_baseline_and_the_next_is_the_same(
    deployment: Deployment, route: str
) -> None:
    first = deployment.told("canary", TTS_PROVIDER=route)
    accepted = base(deployment)
    second = deployment.told("canary", TTS_PROVIDER=route)

    assert (states(first), first["added"]) == ({"new"}, COUNT)
    assert (states(second), second["drifted"]) == ({"same"}, 0)
    assert base(deployment) == accepted
    assert len(accepted) == COUNT
    assert all(bool(each["transcript"]) == (route != "endpoint") for each in second["heard"])
    assert sorted(deployment.asked) == sorted(2 * [each["said"] for each in first["heard"]])


def test_a_voice_that_is_softer_has_drifted_until_a_person_accepts_it(
    deployment: Deployment,
) -> None:
    speak(deployment)
    accepted = base(deployment)
    with faulty(deployment, "faint"):
        first = deployment.told("canary", exit_code=3)
        again = deployment.told("canary", exit_code=3)
        kept = base(deployment)
        told = deployment.told("canary", "--accept")
        after = deployment.told("canary")

    assert states(first) == states(again) == {"drifted"}
    assert all("18.1 dB softer than accepted" in each["problem"] for each in first["heard"])
    assert kept == accepted
    assert told == {"run": again["run_id"], "accepted": COUNT, "phrases": COUNT}
    assert states(after) == {"same"}
    assert base(deployment) != accepted


def test_a_voice_that_is_slower_has_drifted_though_each_phrase_may_be_a_take(
    deployment: Deployment,
) -> None:
    speak(deployment)
    with faulty(deployment, "drawled"):
        told = deployment.told("canary", exit_code=3)
        shown = deployment.command("canary")

    assert states(told) == {"same"}
    assert told["shift"].startswith(f"all languages, {COUNT} phrases: lasts 1.6")
    assert told["drifted"] == COUNT
    assert told["shift"][:30] in shown.stdout


def test_one_phrase_that_drifts_is_told_with_what_was_accepted(
    deployment: Deployment, tmp_path: Path
) -> None:
    speak(deployment)
    with faulty(deployment, "faint", match="bread"):
        unheard = deployment.command("canary")
        shown = deployment.command("canary", "--out", str(tmp_path / "heard"))
        told = deployment.told("canary", "--last", exit_code=3)

    (bread,) = [each for each in told["heard"] if each["state"] == "drifted"]
    assert bread["said"] == "bread"
    assert bread["accepted_dbfs"] - bread["active_dbfs"] == pytest.approx(18.1, abs=0.1)
    assert "en 'bread': 18.1 dB softer than accepted" in shown.stdout
    # Only what can be heard is offered to be accepted.
    assert "--accept" not in unheard.stdout
    assert shown.stdout.splitlines()[-1].endswith(f"canary --accept --run {told['run_id']}")


def test_a_model_that_answers_instead_of_reading_is_unsound_and_can_t_be_accepted(
    deployment: Deployment,
) -> None:
    speak(deployment)
    accepted = base(deployment)
    with faulty(deployment, "answered", match="Count from"):
        told = deployment.told("canary", exit_code=3)
    (ill,) = [each for each in told["heard"] if each["state"] != "same"]

    assert (ill["state"], ill["said"]) == ("unsound", "Count from one to five.")
    assert ill["problem"].startswith("not_verbatim: 3 takes, none sound: it says “")
    assert told["retaken"] == 2
    assert deployment.told("canary", "--accept")["accepted"] == COUNT - 1
    assert [row["key"] for row in base(deployment)] == [row["key"] for row in accepted]
    assert deployment.told("canary", "--last", exit_code=3)["to_hear"] == 1


def test_what_is_unsound_from_the_first_is_no_baseline(deployment: Deployment) -> None:
    with faulty(deployment, "silent", match="pain"):
        told = deployment.told("canary", exit_code=3, TTS_PROVIDER="endpoint")

    assert (told["added"], told["drifted"]) == (COUNT - 1, 1)
    assert len(base(deployment)) == COUNT - 1


def test_one_bad_take_is_no_drift(deployment: Deployment) -> None:
    speak(deployment)
    with faulty(deployment, "silent", times=2):
        told = deployment.told("canary")

    assert (states(told), told["retaken"]) == ({"same"}, 2)


def test_a_text_that_the_provider_refuses_now_is_told_as_such(deployment: Deployment) -> None:
    speak(deployment)
    with faulty(deployment, "refused", match="bread"):
        told = deployment.told("canary", exit_code=3)

    (ill,) = [each for each in told["heard"] if each["state"] != "same"]
    assert ill["state"] == "unsound"
    assert ill["problem"].startswith("refused: ")


@pytest.mark.parametrize(
    "change",
    [
        {"VOICE_EN": "nova", "VOICE_FR": "nova"},
        {"TTS_SPEED": "1.5"},
        {"INSTRUCTIONS_EN": "Read it.", "INSTRUCTIONS_FR": "Lis."},
        {"TTS_MODEL": "tts-1"},
        {"TTS_PROVIDER": "chat"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_configuration_is_another_baseline_and_the_old_one_stays(
    deployment: Deployment, change: dict[str, str]
) -> None:
    deployment.settings["TTS_PROVIDER"] = "endpoint"
    speak(deployment)

    assert heard(speak(deployment, **change)) == {State.NEW}
    assert heard(speak(deployment, **change)) == {State.SAME}
    assert heard(speak(deployment)) == {State.SAME}
    assert len(base(deployment)) == 2 * COUNT


def test_one_language_is_spoken_where_the_deployment_has_one(deployment: Deployment) -> None:
    told = deployment.told("canary", LANGUAGES="fr:textFr:audioFrUrl")
    shown = deployment.command("canary", LANGUAGES="de:textFr:audioFrUrl")

    assert {each["language"] for each in told["heard"]} == {"fr"}
    assert shown.returncode == 1
    assert shown.stderr == "golden.toml has no phrases of de: add some\n"


# --- what isn't drift


@pytest.mark.parametrize(
    ("fault", "exit_code", "code"),
    [
        ("insufficient_quota", 1, "out_of_quota"),
        ("unauthorized", 1, "key_refused"),
        ("bad_voice", 1, "misconfigured"),
        ("server_error", 4, "provider_down"),
    ],
)
def test_money_key_configuration_and_outage_are_told_as_such_and_not_as_drift(
    deployment: Deployment, fault: str, exit_code: int, code: str
) -> None:
    speak(deployment)
    with faulty(deployment, fault):
        told = deployment.told("canary", exit_code=exit_code)

    assert (told["code"], told["drifted"], states(told)) == (code, 0, {"unmeasured"})
    assert heard(speak(deployment)) == {State.SAME}


def test_one_phrase_that_the_provider_fails_at_is_not_measured_and_the_others_are(
    deployment: Deployment,
) -> None:
    speak(deployment)
    with faulty(deployment, "server_error", match="bread"):
        told = deployment.told("canary", exit_code=4)

    assert (told["code"], told["drifted"], told["unmeasured"]) == ("provider_down", 0, 1)
    assert states(told) == {"same", "unmeasured"}


def test_what_a_canary_set_aside_is_given_back(deployment: Deployment) -> None:
    with faulty(deployment, "insufficient_quota"):
        run = speak(deployment, DAILY_BUDGET_USD="5", MAX_IN_FLIGHT="1")

    assert run.code == "out_of_quota"
    assert deployment.told("status")["today"]["held_usd"] == 0


def test_the_day_s_budget_holds_and_the_money_is_the_day_s(deployment: Deployment) -> None:
    told = deployment.told("canary")
    paid = len(deployment.asked)

    assert spent(deployment) == pytest.approx(told["cost_usd"], abs=1e-5)
    (row,) = deployment.rows("costs", "--by", "job")
    assert (row["job"], row["calls"]) == ("canary", COUNT)
    stopped = deployment.told("canary", exit_code=1, DAILY_BUDGET_USD=str(told["cost_usd"]))
    assert (stopped["code"], stopped["drifted"]) == ("daily_budget_reached", 0)
    assert len(deployment.asked) == paid
    assert deployment.told("status")["today"]["held_usd"] == 0


def test_a_job_s_budget_is_no_bound_of_all_canaries_together(deployment: Deployment) -> None:
    first = speak(deployment)

    for _ in range(2):
        again = speak(deployment, JOB_BUDGET_USD=str(1.5 * (first.cost_usd or 0)))
        assert heard(again) == {State.SAME}


def test_a_pause_of_all_stops_it_before_it_pays_and_a_user_s_does_not(
    deployment: Deployment,
) -> None:
    deployment.api.rows(
        "INSERT INTO tts.pause (code, message, until, user_id) "
        "VALUES ('operator:u', 'one', 'infinity', 'u')"
    )
    deployment.told("canary")
    paid = len(deployment.asked)
    deployment.told("pause", "--why", "lunch")

    told = deployment.told("canary", exit_code=1)

    assert (told["code"], told["message"]) == ("paused", "operator: lunch")
    assert len(deployment.asked) == paid == COUNT


def test_one_that_heard_nothing_hides_no_drift_and_is_not_what_is_accepted(
    deployment: Deployment,
) -> None:
    speak(deployment)
    with faulty(deployment, "faint"):
        softer = speak(deployment)
    with faulty(deployment, "insufficient_quota"):
        speak(deployment)

    assert f"{COUNT} of {COUNT} phrases aren't" in deployment.command("doctor").stdout
    assert deployment.told("canary", "--accept")["run"] == softer.id
    assert "out_of_quota" in deployment.command("doctor").stdout


def test_an_interrupted_one_ends_what_is_under_way_and_the_next_may_go_on(
    deployment: Deployment,
) -> None:
    deployment.speech.add_fault("hold")
    command = subprocess.Popen(
        [*COMMAND, "canary", "--json"],
        env=environment(**deployment.environ, MAX_IN_FLIGHT="1"),
        stdout=subprocess.PIPE,
    )
    assert deployment.speech.wait_for_in_flight(1, 60)
    command.send_signal(signal.SIGINT)
    deployment.speech.clear_faults()

    told = json.loads(command.communicate(timeout=60)[0])

    assert (command.returncode, told["code"]) == (130, "terminated")
    assert len(deployment.asked) == COUNT - told["unmeasured"] < COUNT
    assert State.NEW in heard(speak(deployment))


def test_a_pause_stops_one_that_is_under_way(deployment: Deployment) -> None:
    deployment.speech.set_latency(0.5)
    with in_background(deployment, MAX_IN_FLIGHT="1") as ended:
        assert deployment.speech.wait_for_in_flight(1, 30)
        deployment.api.rows("INSERT INTO tts.pause VALUES ('operator', 'lunch', 'infinity')")

    (run,) = ended
    assert (run.code, run.message) == ("paused", "operator: lunch")
    assert len(deployment.asked) == COUNT - run.unmeasured < COUNT


# --- nothing else is touched, nothing twice


def test_neither_cards_nor_clips_nor_jobs_know_of_it(deployment: Deployment) -> None:
    list_id = deployment.api.add_list([("bread", "pain")])
    before = deployment.api.cards(list_id)

    speak(deployment)

    assert deployment.api.cards(list_id) == before
    for table in ("tts.clip", "tts.job", "tts.utterance", "tts.hold", '"TtsJob"'):
        assert deployment.api.rows(f"SELECT 1 AS x FROM {table}") == [], table
    assert not deployment.folder.exists()
    # A job pays for its own recording: the canary's isn't levelled, and isn't kept.
    assert deployment.go(deployment.api.add_job(list_id)).outcome == Completed()
    assert all(card["audioEnUrl"] for card in deployment.api.cards(list_id))


def test_a_second_canary_pays_for_nothing_and_harms_nothing(deployment: Deployment) -> None:
    deployment.speech.add_fault("hold")
    with in_background(deployment) as ended:
        assert deployment.speech.wait_for_in_flight(COUNT, 30)
        shown = deployment.command("canary")
        with pytest.raises(CanaryBusy):
            speak(deployment)
        deployment.speech.clear_faults()

    assert shown.returncode == 4
    assert "Another canary speaks just now" in shown.stderr
    assert [each.state for each in ended[0].heard] == [State.NEW] * COUNT
    assert len(deployment.asked) == COUNT
    assert heard(speak(deployment)) == {State.SAME}


def test_one_that_died_is_followed_by_the_next_once_its_lease_is_over(
    deployment: Deployment,
) -> None:
    deployment.api.rows(
        "INSERT INTO tts.canary (run_id, lease_until) "
        "VALUES (gen_random_uuid(), now() + interval '1 hour')"
    )
    assert deployment.command("canary").returncode == 4
    deployment.api.rows("UPDATE tts.canary SET lease_until = now() - interval '1 second'")

    assert heard(speak(deployment)) == {State.NEW}


def test_one_that_breaks_lets_the_next_go_at_once(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = deployment.worker()
    monkeypatch.setattr(worker.canaries, "finish", _breaks)
    with pytest.raises(RuntimeError):
        worker.canary(seconds=60, halt=threading.Event())

    assert heard(speak(deployment)) == {State.NEW}


def _breaks(run: Run) -> None:  # noqa: ARG001
    raise RuntimeError("on this very line")


def test_a_run_is_written_once_however_often_its_commit_is_repeated(
    deployment: Deployment,
) -> None:
    worker = deployment.worker()
    run = worker.canary(seconds=60, halt=threading.Event())
    before = base(deployment)

    worker.canaries.finish(run)

    assert base(deployment) == before
    assert len(deployment.api.rows("SELECT 1 AS x FROM tts.canary_phrase")) == COUNT


# --- its operator


def test_the_run_that_was_heard_is_accepted_and_no_later_one(deployment: Deployment) -> None:
    speak(deployment)
    with faulty(deployment, "faint"):
        softer = speak(deployment)
    speak(deployment)

    told = deployment.told("canary", "--accept", "--run", softer.id)

    assert told["run"] == softer.id
    assert states(deployment.told("canary", exit_code=3)) == {"drifted"}


def test_the_recordings_can_be_heard(deployment: Deployment, tmp_path: Path) -> None:
    told = deployment.told("canary", "--out", str(tmp_path / "heard"))

    assert len(told["files"]) == COUNT
    assert all(walk(Path(file).read_bytes()).duration_ms > 100 for file in told["files"])
    assert {Path(file).parent for file in told["files"]} == {tmp_path / "heard" / told["run_id"]}
    (tmp_path / "file").write_text("")
    paid = len(deployment.asked)
    shown = deployment.command("canary", "--out", str(tmp_path / "file"))
    assert (shown.returncode, len(deployment.asked)) == (1, paid)
    assert "can't be made" in shown.stderr


def test_the_recordings_of_two_runs_are_kept_apart(deployment: Deployment, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path / "heard"))

    first, second = deployment.told("canary", *out), deployment.told("canary", *out)

    assert states(first) == {"new"}
    assert states(second) == {"same"}
    assert len({*first["files"], *second["files"]}) == 2 * COUNT
    folders = {path.name for path in (tmp_path / "heard").iterdir()}
    assert folders == {first["run_id"], second["run_id"]}
    assert not list((tmp_path / "heard").glob("*.mp3"))
    assert "FOLDER/RUN" in deployment.command("canary", "--help").stdout


@pytest.mark.parametrize(
    "words",
    [("--accept", "--last"), ("--run", "x"), ("--last", "--out", "x"), ("--accept", "--out", "x")],
)
def test_options_that_make_no_sense_together_are_refused(
    deployment: Deployment, words: tuple[str, ...]
) -> None:
    assert deployment.command("canary", *words).returncode == 2
    assert deployment.asked == []


@pytest.mark.parametrize("word", ["--last", "--accept"])
def test_there_is_nothing_to_show_or_accept_before_the_first(
    deployment: Deployment, word: str
) -> None:
    shown = deployment.command("canary", word)

    assert shown.returncode == 1
    assert shown.stderr.startswith("no canary has ")
    assert "`memolist-tts canary` speaks" in shown.stderr


def test_a_run_that_measured_nothing_can_t_be_accepted(deployment: Deployment) -> None:
    with faulty(deployment, "insufficient_quota"):
        deaf = speak(deployment)

    shown = deployment.command("canary", "--accept", "--run", deaf.id)

    assert shown.returncode == 1
    assert "measured nothing that could be accepted" in shown.stderr


def test_status_and_doctor_tell_of_the_last_one(deployment: Deployment) -> None:
    def told() -> tuple[str, str]:
        status = deployment.command("status", COLUMNS="300").stdout
        doctor = deployment.command("doctor").stdout
        return (
            next(line for line in status.splitlines() if line.startswith("Canary")),
            next(line for line in doctor.splitlines() if " canary: " in line),
        )

    never = told()
    deployment.told("canary")
    well = told()
    with faulty(deployment, "faint", match="bread"):
        deployment.told("canary", exit_code=3)
    drifted = told()
    deployment.told("canary", "--accept")
    accepted = told()
    deployment.told("pause")
    deployment.told("canary", exit_code=1)
    paused = told()

    assert "none has run" in never[0]
    assert never[1].startswith("✓ canary: none has run: `memolist-tts canary`")
    assert f"{COUNT} new, the baseline from now on" in well[0]
    assert f"UTC: {COUNT} phrases as accepted" in well[1]
    assert "1 to hear: `canary --out FOLDER`" in drifted[0]
    assert drifted[1].startswith("! canary: ")
    assert f"1 of {COUNT} phrases aren't spoken as accepted" in drifted[1]
    assert "1 drifted, accepted since" in accepted[0]
    assert accepted[1].startswith("✓ canary: ")
    assert "nothing could be measured: paused: operator" in paused[0]
    assert paused[1].startswith("! canary: ")


def test_a_person_sees_a_table_at_80_columns(deployment: Deployment) -> None:
    shown = deployment.command("canary", COLUMNS="80")

    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["in", "said", "voice", "s", "was", "dBFS", "was", "state"]
    assert [line.split()[0] for line in lines[1 : COUNT + 1]] == ["en"] * 4 + ["fr"] * 4
    assert max(map(len, lines[:-1])) <= 80


# --- its schedule

Called: TypeAlias = "tuple[dict[str, int], dict[str, list[float]], list[dict[str, Any]]]"
"""The function's answer, its metrics, its log records."""


@pytest.fixture
def call(
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[Callable[[], Called]]:
    """Call the function."""
    for name, value in deployment.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_STORAGE_PATH")
    # A logger of its own: others of this process may have set another's level.
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "memolist-canary")
    doors = Doors()

    def called() -> Called:
        caplog.clear()
        answer = doors.call("canary", EVENT)
        metrics: dict[str, list[float]] = {}
        for line in capsys.readouterr().out.splitlines():
            for _, data in metric_data(line):
                for metric in data:
                    metrics.setdefault(metric["MetricName"], []).extend(metric["Values"])
        return answer, metrics, [vars(record) for record in caplog.records]

    yield called
    doors.close()


def test_the_function_measures_what_it_heard(deployment: Deployment, call: Any) -> None:
    first, metrics, lines = call()
    with faulty(deployment, "faint", match="bread"):
        second, drifted, told = call()

    assert first == {"phrases": COUNT, "drifted": 0, "unmeasured": 0}
    assert [metrics[name] for name in ("CanaryRan", "CanaryDrifted", "CanaryStopped")] == [
        [1], [0], [0],
    ]  # fmt: skip
    assert metrics["CostUsd"][0] > 0
    assert [line["message"] for line in lines] == ["canary_ended"]
    assert (second["drifted"], drifted["CanaryDrifted"]) == (1, [1])
    assert [line["message"] for line in told] == ["phrase_drifted", "canary_ended"]
    assert (told[0]["said"], told[0]["levelname"]) == ("bread", "ERROR")


def test_the_function_tells_no_drift_where_nothing_was_heard(
    deployment: Deployment, call: Any
) -> None:
    with faulty(deployment, "insufficient_quota"):
        answer, metrics, lines = call()

    assert answer == {"phrases": COUNT, "drifted": 0, "unmeasured": COUNT}
    assert "CanaryDrifted" not in metrics
    assert metrics["CanaryStopped"] == [1, 1]  # in all, and by its code
    assert lines[0]["code"] == "out_of_quota"
    deployment.told("pause")
    _, paused, lines = call()
    assert "CanaryStopped" not in paused
    assert lines[0]["code"] == "paused"


def test_a_schedule_that_comes_twice_speaks_once(deployment: Deployment, call: Any) -> None:
    deployment.api.rows(
        "INSERT INTO tts.canary (run_id, lease_until) "
        "VALUES (gen_random_uuid(), now() + interval '1 hour')"
    )

    answer, metrics, lines = call()

    assert answer["phrases"] == 0
    assert metrics == {}  # nothing is told of it twice
    assert [line["message"] for line in lines] == ["canary_busy"]
    assert deployment.asked == []
