"""What an operator sees of jobs, failures and clips, as a person and as a script."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import COMMAND, environment, run

from local.api import Api
from local.speech import SpeechServer
from memolist_tts.assemble import Worker
from memolist_tts.settings import Needs, Settings

NARROW = {"COLUMNS": "80"}


@pytest.fixture
def api(database: str) -> Iterator[Api]:
    with Api(database) as api:
        yield api


def lines(output: str) -> list[dict[str, Any]]:
    """What a script reads: each line a JSON object."""
    return [json.loads(line) for line in output.splitlines()]


def speak(url: str, speech: SpeechServer, folder: Path, job_id: str, **environ: str) -> None:
    """Run the job here, to its end."""
    plain = {
        "DATABASE_URL": url,
        "OPENAI_BASE_URL": speech.base_url,
        "LOCAL_STORAGE_PATH": str(folder),
        "FLUSH_SECONDS": "0.1",
    }
    worker = Worker(Settings.load(Needs.WORKER, environ=plain | environ))
    try:
        worker.run(job_id, seconds=60, halt=threading.Event())
    finally:
        worker.database.close()


@pytest.fixture
def spoken(api: Api, database: str, speech_server: SpeechServer, tmp_path: Path) -> str:
    """A job of two cards of which one text is refused."""
    speech_server.add_fault("refused", match="curse")
    job_id = api.add_job(api.add_list([("apple", "pomme"), ("curse", "")]))
    speak(database, speech_server, tmp_path, job_id, VOICE_FR="nova")
    return job_id


@pytest.mark.usefixtures("spoken")
def test_status_gives_a_script_one_object(database: str, api: Api) -> None:
    api.add_job("list")

    shown = run("status", "--json", DATABASE_URL=database)

    (told,) = lines(shown.stdout)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert told["jobs"] == {"pending": 1, "processing": 0, "completed": 0, "failed": 1}
    assert told["failure_rate"] == 1.0
    assert told["pauses"] == []
    assert [each["rate_per_s"] > 0 for each in told["rates"]] == [True]


def test_status_of_a_job_gives_a_script_each_utterance(database: str, spoken: str) -> None:
    (told,) = lines(run("status", spoken, "--json", DATABASE_URL=database).stdout)

    ends = {(u["language"], u["shown_text"], u["state"], u["code"]) for u in told["utterances"]}
    assert (told["job"], told["status"]) == (spoken, "failed")
    assert told["progress"]["total"] == 4
    assert ends == {
        ("en", "apple", "spoken", None),
        ("fr", "pomme", "spoken", None),
        ("en", "curse", "failed", "refused"),
        ("fr", "", "skipped", "blank"),
    }


def test_status_of_a_job_fits_eighty_columns(database: str, spoken: str) -> None:
    shown = run("status", spoken, DATABASE_URL=database, **NARROW)

    rows = [line for line in shown.stdout.splitlines() if " fr " in line or " en " in line]
    assert len(rows) == 4
    assert all(len(row.rstrip()) <= 80 for row in rows)


def test_failures_are_counted_by_code_and_listed(database: str, api: Api, spoken: str) -> None:
    api.rows("UPDATE \"TtsJob\" SET status = 'failed'")
    card = api.rows('SELECT id FROM "Card" WHERE "textEn" = \'curse\'')[0]["id"]

    shown = run("failures", DATABASE_URL=database, **NARROW)
    (told,) = lines(run("failures", "--code", "refused", "--json", DATABASE_URL=database).stdout)

    assert shown.returncode == 0
    assert "refused  1         1" in shown.stdout
    assert f"refused  card {card} en" in shown.stdout
    assert (told["job_id"], told["card_id"], told["code"]) == (spoken, card, "refused")
    assert run("failures", "--code", "bad_audio", "--json", DATABASE_URL=database).stdout == ""


def test_a_failure_that_a_later_job_mended_is_not_listed(
    database: str, api: Api, speech_server: SpeechServer, tmp_path: Path
) -> None:
    speech_server.add_fault("refused", match="curse")
    list_id = api.add_list([("curse", "malédiction")])
    speak(database, speech_server, tmp_path, api.add_job(list_id))
    before = lines(run("failures", "--json", DATABASE_URL=database).stdout)
    speech_server.clear_faults()

    speak(database, speech_server, tmp_path, api.add_job(list_id))

    assert [each["code"] for each in before] == ["refused"]
    assert run("failures", DATABASE_URL=database).stdout == "No failures.\n"


def test_a_job_that_failed_as_a_whole_is_mended_by_a_later_one_over_its_list(
    database: str, api: Api, speech_server: SpeechServer, tmp_path: Path
) -> None:
    list_id, other_id = api.add_list([("apple", "pomme")]), api.add_list([("bread", "pain")])
    speak(database, speech_server, tmp_path, api.add_job(list_id, options='{"voice": "nobody"}'))
    speak(database, speech_server, tmp_path, api.add_job(other_id))
    (before,) = lines(run("failures", "--json", DATABASE_URL=database).stdout)

    speak(database, speech_server, tmp_path, api.add_job(list_id))

    assert (before["code"], before["card_id"]) == ("bad_options", None)
    assert run("failures", DATABASE_URL=database).stdout == "No failures.\n"
    shown = run("retry", "--all", DATABASE_URL=database)
    assert shown.stdout == "pending again: 0 jobs\n"


def test_a_failure_of_a_card_that_is_gone_is_not_listed(
    database: str, api: Api, spoken: str
) -> None:
    before = lines(run("failures", "--json", DATABASE_URL=database).stdout)
    api.rows("DELETE FROM \"Card\" WHERE \"textEn\" = 'curse'")

    assert [each["job_id"] for each in before] == [spoken]
    assert run("failures", DATABASE_URL=database).stdout == "No failures.\n"
    assert "0 jobs" in run("retry", "--code", "refused", DATABASE_URL=database).stdout


def test_a_job_that_failed_as_a_whole_is_a_failure_without_a_card(database: str, api: Api) -> None:
    job_id = api.add_job("list")
    run("cancel", job_id, DATABASE_URL=database)

    (told,) = lines(run("failures", "--json", DATABASE_URL=database).stdout)

    assert (told["job_id"], told["card_id"], told["code"]) == (job_id, None, "cancelled")


@pytest.mark.usefixtures("spoken")
def test_clips_tell_which_voice_said_what(database: str) -> None:
    found = lines(run("clips", "--where", "voice=nova", "--json", DATABASE_URL=database).stdout)
    every = lines(run("clips", "--json", DATABASE_URL=database).stdout)
    shown = run("clips", "--where", "text=APPL", DATABASE_URL=database, **NARROW).stdout

    (clip,) = found
    assert (clip["said"], clip["language"], clip["take"]) == ("pomme", "fr", 0)
    assert clip["seconds"] > 0
    assert clip["cost_usd"] > 0
    assert {each["said"] for each in every} == {"apple", "pomme"}
    assert "apple" in shown
    assert "pomme" not in shown
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines())


def test_clips_of_a_card_and_a_job_are_found(database: str, api: Api, spoken: str) -> None:
    card = api.rows('SELECT id FROM "Card" WHERE "textEn" = \'apple\'')[0]["id"]
    words = ("clips", "--where", f"card={card}", "--where", f"job={spoken}", "--json")

    found = lines(run(*words, DATABASE_URL=database).stdout)

    assert sorted(each["said"] for each in found) == ["apple", "pomme"]


def test_a_field_that_clips_do_not_have_is_named(database: str) -> None:
    unknown = run("clips", "--where", "colour=red", DATABASE_URL=database)
    garbled = run("clips", "--where", "nova", DATABASE_URL=database)

    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("--where colour=…: one can ask for voice, model,")
    assert garbled.returncode == 2
    assert "'nova' isn't FIELD=VALUE, such as voice=nova" in garbled.stderr


def test_a_field_that_is_asked_for_twice_is_refused(database: str) -> None:
    words = ("clips", "--where", "voice=alloy", "--where", "voice = nova")

    shown = run(*words, DATABASE_URL=database)

    assert (shown.returncode, shown.stdout) == (2, "")
    assert "voice is asked for twice" in shown.stderr


def test_watch_follows_a_job_to_its_end(
    database: str, api: Api, speech_server: SpeechServer, tmp_path: Path
) -> None:
    job_id = api.add_job(api.add_list([("apple", "pomme"), ("bread", "pain")]))
    words = [*COMMAND, "watch", job_id, "--every", "0.1", "--json"]
    watching = subprocess.Popen(
        words, env=environment(DATABASE_URL=database), stdout=subprocess.PIPE, text=True
    )
    assert watching.stdout is not None
    first = json.loads(watching.stdout.readline())

    speak(database, speech_server, tmp_path, job_id)
    rest, _ = watching.communicate(timeout=60)

    last = lines(rest)[-1]
    assert (first["status"], first["total"]) == ("pending", 0)
    assert (last["status"], last["total"], last["spoken"], last["left"]) == ("completed", 4, 4, 0)
    assert watching.returncode == 0


def test_watch_tells_by_its_exit_code_that_the_job_failed(database: str, spoken: str) -> None:
    shown = run("watch", spoken, DATABASE_URL=database)

    assert shown.returncode == 3
    assert shown.stdout.splitlines() == [
        "2 spoken, 1 skipped, 1 failed",
        f"{spoken}: failed",
    ]


def test_watch_tells_why_a_job_failed_as_a_whole(
    database: str, api: Api, speech_server: SpeechServer, tmp_path: Path
) -> None:
    job_id = api.add_job(api.add_list([("apple", "")]), options=json.dumps({"speed": 99}))
    speak(database, speech_server, tmp_path, job_id)

    shown = run("watch", job_id, DATABASE_URL=database)
    (told,) = lines(run("watch", job_id, "--json", DATABASE_URL=database).stdout)

    assert shown.returncode == 3
    assert shown.stdout.splitlines() == [
        "nothing was spoken",
        f"{job_id}: failed: {told['error_code']}: {told['error']}",
    ]
    assert told["error_code"] == "bad_options"
    assert "speed" in told["error"]


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Cancelled by the user.", "cancelled by the API: Cancelled by the user."),
        (None, "cancelled by the API"),
    ],
)
def test_a_job_that_the_api_cancelled_is_told_as_such(
    database: str, api: Api, spoken: str, message: str | None, told: str
) -> None:
    run("retry", spoken, DATABASE_URL=database)
    api.rows(
        'UPDATE "TtsJob" SET status = \'failed\', "errorMessage" = cast(:message AS text)',
        message=message,
    )

    shown = run("status", spoken, DATABASE_URL=database)
    watched = run("watch", spoken, DATABASE_URL=database)
    (status,) = lines(run("status", spoken, "--json", DATABASE_URL=database).stdout)

    assert shown.stdout.splitlines()[0] == f"{spoken}: failed, {told}"
    assert watched.stdout.splitlines()[-1] == f"{spoken}: failed, {told}"
    assert status["reason"] == told


def test_a_job_that_no_worker_of_ours_has_seen_is_told_with_the_api_s_words(
    database: str, api: Api
) -> None:
    job_id = api.add_job("list", status="failed", errorMessage="Rate limit")

    shown = run("status", job_id, DATABASE_URL=database)

    assert shown.stdout == f"{job_id}: failed, ended by the API or another worker: Rate limit\n"


def test_a_retried_failure_whose_retry_is_cancelled_stands_as_a_cancelled_job(
    database: str, spoken: str
) -> None:
    run("retry", spoken, DATABASE_URL=database)
    run("cancel", spoken, DATABASE_URL=database)

    (told,) = lines(run("failures", "--json", DATABASE_URL=database).stdout)
    filled = run("fill", "--dry-run", DATABASE_URL=database, PUBLIC_BASE_URL="https://x.example")
    again = run("retry", spoken, DATABASE_URL=database)

    assert (told["job_id"], told["card_id"], told["code"]) == (spoken, None, "cancelled")
    assert filled.stdout.startswith("1 utterance, 0 of them free")
    assert again.stdout == f"{spoken}: pending\n"


@pytest.mark.usefixtures("speech_server")
def test_costs_by_job_keep_each_id_whole(database: str, spoken: str) -> None:
    shown = run("costs", "--by", "job", DATABASE_URL=database, **NARROW)

    (row,) = [line for line in shown.stdout.splitlines() if line.startswith(spoken)]
    assert all(len(line.rstrip()) <= 80 for line in shown.stdout.splitlines())
    assert row.split()[1] == "3"


def test_a_longer_id_makes_the_table_wider(database: str, api: Api, spoken: str) -> None:
    api.rows("UPDATE tts.spend SET job_id = :id", id=spoken * 3)

    shown = run("costs", "--by", "job", DATABASE_URL=database, **NARROW)

    assert [line.split()[0] for line in shown.stdout.splitlines()][2:] == [spoken * 3]


def test_a_database_that_is_away_has_an_exit_code_of_its_own() -> None:
    shown = run("status", DATABASE_URL="postgresql://nobody:x@127.0.0.1:1/none")

    assert (shown.returncode, shown.stdout) == (4, "")
    assert "can't be reached" in shown.stderr


def test_help_tells_the_exit_codes() -> None:
    shown = run("--help")

    assert shown.returncode == 0
    assert "Exit codes: 0 done; 1 refused" in " ".join(shown.stdout.split())
