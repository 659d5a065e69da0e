"""What an operator reads on the command line."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from command import run, run_on_terminal
from deployment import Deployment

from local.api import Api
from local.postgres import connect
from local.speech import SpeechServer
from memolist_tts.assemble import Worker
from memolist_tts.settings import Needs, Settings
from tests.conftest import ROUTE

BEGAN = datetime(2026, 11, 24, 8, 0, 0)


@pytest.fixture
def api(database: str) -> Iterator[Api]:
    with Api(database) as api:
        yield api


def plain(output: str) -> list[str]:
    """The lines of a table, each run of blanks as one."""
    return [re.sub(r"\s+", " ", line).strip() for line in output.splitlines() if line.strip()]


def test_migrating_again_changes_nothing(new_database: Callable[..., str]) -> None:
    url = new_database(is_migrated=False)

    first = run("migrate", DATABASE_URL=url)
    with closing(connect(url)) as connection:
        connection.run("INSERT INTO tts.job (job_id, attempts) VALUES ('kept', 2)")
    second = run("migrate", DATABASE_URL=url)

    assert (first.returncode, first.stderr) == (0, "")
    assert "in place: 001_jobs_and_clips.sql" in first.stdout
    assert (second.returncode, second.stdout) == (0, first.stdout)
    with closing(connect(url)) as connection:
        assert connection.run("SELECT job_id, attempts FROM tts.job") == [["kept", 2]]


def test_status_of_an_empty_database_has_no_figures(database: str) -> None:
    shown = run("status", DATABASE_URL=database)

    assert (shown.returncode, shown.stderr) == (0, "")
    assert plain(shown.stdout) == [
        "Jobs 0 pending, 0 processing, 0 completed, 0 failed",
        "Oldest pending none",
        "Average time to completed none",
        "Failure rate no job has ended",
        "Money today 0.00 USD",
        "Canary none has run",
    ]


def test_status_shows_the_figures_of_all_jobs(database: str, api: Api) -> None:
    for seconds in (10, 20, 30):
        ended = BEGAN + timedelta(seconds=seconds)
        api.add_job("list", status="completed", createdAt=BEGAN, completedAt=ended)
    api.add_job("list", status="failed", createdAt=BEGAN, completedAt=BEGAN)
    api.add_job("list", status="processing", createdAt=BEGAN)
    api.add_job("list", createdAt=BEGAN)

    shown = plain(run("status", DATABASE_URL=database).stdout)

    assert shown[0] == "Jobs 1 pending, 1 processing, 3 completed, 1 failed"
    assert re.fullmatch(r"Oldest pending \d+\.\d s", shown[1])
    assert shown[2:4] == ["Average time to completed 20.0 s", "Failure rate 25.0 %"]


def test_status_lists_the_jobs_that_wait_or_run_and_why(database: str, api: Api) -> None:
    resting, other = (api.add_job("list", createdAt=BEGAN) for _ in range(2))
    api.add_job("list", status="failed", createdAt=BEGAN, completedAt=BEGAN)
    api.rows(
        """INSERT INTO tts.job (job_id, total, spoken, not_before, stop_code, stop)
           VALUES (:id, 4, 1, '2099-01-02T03:04Z', 'job_budget_reached', 'Raise it.')""",
        id=resting,
    )

    shown = plain(run("status", DATABASE_URL=database).stdout)
    told = json.loads(run("status", "--json", DATABASE_URL=database).stdout)["open"]

    assert f"{resting} pending 1/4 job_budget_reached, until 2099-01-02 03:04 UTC" in shown
    assert f"{other} pending" in shown
    assert {each["job"] for each in told} == {resting, other}


def test_status_lists_ten_jobs_and_counts_the_others(database: str, api: Api) -> None:
    for _ in range(12):
        api.add_job("list", createdAt=BEGAN)

    shown = plain(run("status", DATABASE_URL=database).stdout)

    assert sum(line.endswith(" pending") for line in shown) == 10
    assert shown[-1] == "and 2 jobs more that wait or run"


def test_status_of_a_job_lists_what_failed_and_why(
    database: str, api: Api, speech_server: SpeechServer, tmp_path: Path
) -> None:
    speech_server.add_fault("refused", match="curse")
    job_id = api.add_job(api.add_list([("apple", "pomme"), ("curse", "")]))
    card_id = api.rows('SELECT id FROM "Card" WHERE "textEn" = \'curse\'')[0]["id"]
    speak(database, speech_server, tmp_path, job_id)

    shown = run("status", job_id, DATABASE_URL=database)

    lines = plain(shown.stdout)
    assert shown.returncode == 0
    assert lines[0] == f"{job_id}: failed"
    assert "Progress 100.0 % of 4 utterances" in lines
    assert {"spoken 2", "skipped 1", "failed 1"} <= set(lines)
    (failure,) = [line for line in lines if line.startswith(f"{card_id} en")]
    assert failure.startswith(f"{card_id} en failed refused: ")


def speak(url: str, speech: SpeechServer, folder: Path, job_id: str) -> None:
    """Run the job here, to its end."""
    environ = {
        "DATABASE_URL": url,
        "OPENAI_BASE_URL": speech.base_url,
        "TTS_PROVIDER": ROUTE,
        "LOCAL_STORAGE_PATH": str(folder),
    }
    worker = Worker(Settings.load(Needs.WORKER, environ=environ))
    try:
        worker.run(job_id, seconds=60, halt=threading.Event())
    finally:
        worker.database.close()


def test_status_of_an_unknown_job_says_so(database: str) -> None:
    shown = run("status", "nothing", DATABASE_URL=database)

    assert (shown.returncode, shown.stdout) == (1, "")
    assert shown.stderr == "no \"TtsJob\" has the id 'nothing'\n"


def test_a_missing_database_url_is_named_with_its_form() -> None:
    for words in (["migrate"], ["status"], ["poll"]):
        shown = run(*words, OPENAI_API_KEY="sk-test")

        assert (shown.returncode, shown.stdout) == (1, "")
        assert shown.stderr == (
            "Settings:\n  - DATABASE_URL is not set: "
            "postgresql://user:password@host:5432/database?schema=public\n"
        )


def test_all_that_the_database_lacks_is_listed_at_once(new_database: Callable[..., str]) -> None:
    url = new_database(is_migrated=False)
    with closing(connect(url)) as connection:
        connection.run('ALTER TABLE "TtsJob" DROP COLUMN "completedAt"')
        connection.run('ALTER TABLE "Card" DROP COLUMN "audioFrUrl"')
        connection.run('ALTER TABLE "Card" DROP COLUMN "listId"')

    for command in ("status", "poll"):
        shown = run(command, DATABASE_URL=url, OPENAI_API_KEY="sk-test")

        head, *faults = shown.stderr.splitlines()
        assert shown.returncode == 1
        assert head == "The database lacks:"
        assert faults == [
            '  - column "completedAt" of "TtsJob": add it on the API\'s side',
            '  - column "listId" of "Card": add it on the API\'s side',
            '  - column "audioFrUrl" of "Card": add it on the API\'s side or correct LANGUAGES',
            "  - tts.job, tts.clip, tts.utterance, tts.pace, tts.pause, tts.progress, tts.failure, "
            "tts.lexicon, tts.direction, tts.selection, tts.spend, tts.hold, tts.partial, "
            "tts.canary, tts.canary_phrase, tts.canary_base: run `memolist-tts migrate`",
        ]


def test_a_pause_is_shown_with_its_reason_until_it_is_resumed(database: str) -> None:
    run("pause", "--why", "lunch", DATABASE_URL=database)

    shown = run("status", DATABASE_URL=database)
    resumed = run("resume", DATABASE_URL=database)

    assert "Paused until `resume`: operator: lunch" in plain(shown.stdout)
    assert plain(resumed.stdout) == ["resumed: 1 pause lifted, 0 resting jobs may go on"]
    assert "Paused" not in run("status", DATABASE_URL=database).stdout


def test_resume_takes_up_the_jobs_that_stopped_for_a_refused_key(
    database: str, tmp_path: Path
) -> None:
    with SpeechServer(api_key="sk-right") as speech, Api(database) as api:
        job_id = api.add_job(api.add_list([("apple", "pomme")]))
        speak(database, speech, tmp_path, job_id)
        waits = api.rows("SELECT stop_code, not_before > now() AS rests FROM tts.job")[0]

        resumed = run("resume", DATABASE_URL=database)

        assert waits == {"stop_code": "key_refused", "rests": True}
        assert "1 pause lifted, 1 resting job" in resumed.stdout
        assert not api.rows("SELECT 1 AS x FROM tts.job WHERE not_before > clock_timestamp()")


@pytest.mark.parametrize(
    "words",
    [
        ("verify",),
        ("gc", "--older", "1s", "--yes"),
        ("retry", "--all"),
        ("listen", "LIST", "--out", "PAGE"),
        ("fill", "--dry-run"),
        ("revoice", "--where", "voice=alloy", "--to", "nova", "--dry-run"),
        ("lexicon", "add", "fr", "pomme", "pome", "--dry-run"),
        ("lexicon", "remove", "fr", "pomme", "--dry-run"),
    ],
)
def test_a_script_on_a_terminal_gets_json_and_no_bar(
    deployment: Deployment, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (card,) = deployment.spoken_list(("apple", "pomme"))
    names = {"LIST": card["listId"], "PAGE": str(tmp_path / "page.html")}
    command = [names.get(word, word) for word in words]

    for_script = run_on_terminal(*command, "--json", **deployment.environ)
    _, drawn = run_on_terminal(*command, **deployment.environ)

    (line,) = for_script[0].splitlines()
    assert isinstance(json.loads(line), dict)
    assert for_script[1] == ""
    assert "━" in drawn


def test_one_of_a_thing_is_told_in_the_singular(deployment: Deployment, tmp_path: Path) -> None:
    list_id = deployment.api.add_list([("apple", "")])
    filled = deployment.command("fill").stdout.splitlines()
    (made,) = deployment.api.rows('SELECT id::text AS id FROM "TtsJob"')
    deployment.go(made["id"])
    page = str(tmp_path / "page.html")

    assert filled[0] == "1 utterance, 0 of them free"
    assert filled[1].startswith("1 call, 5 characters, about ")
    assert filled[-1] == "1 job made over 1 card"
    status = plain(deployment.command("status", made["id"]).stdout)
    assert "Progress 100.0 % of 1 utterance" in status
    assert deployment.command("verify").stdout == "1 clip checked, 0 at fault\n"
    assert "1 of 2 utterances to hear" in deployment.command(
        "listen", list_id, "--out", page
    ).stdout
    assert "1 card, 1 of 2 utterances to hear." in Path(page).read_text()
    assert "The first 1 clip; --limit" in deployment.command("clips", "--limit", "1").stderr
    deployment.api.rows('DELETE FROM "Card"')
    told = deployment.command("gc").stdout
    assert "stored over 90 days ago and carried by no card: 0 clips, 0.0 MB" in told
