"""`memolist-tts doctor` as an operator runs it: what it finds, its fixes and its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from command import run
from deployment import Deployment
from scripted_http import Answer, ScriptedHttp

from local.speech import SpeechServer
from tests.conftest import Queue

KEY = "sk-of-the-doctor"
MOVE = "Set TTS_PROVIDER=chat and unset TTS_MODEL."
PARTS = [
    "database", "tables", "indexes", "clock", "pauses", "canary", "storage", "clips", "queue",
    "key", "model", "shutdown", "voice en", "voice fr",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Patient:
    """A deployment."""

    variables: dict[str, str]
    speech: SpeechServer

    def findings(self, *words: str, code: int, **other: str) -> dict[str, tuple[str, str]]:
        """State and text by part, in the order told."""
        shown = run("doctor", "--json", *words, **(self.variables | other))
        assert (shown.returncode, shown.stderr) == (code, "")
        told = [json.loads(line) for line in shown.stdout.splitlines()]
        return {each["part"]: (each["state"], each["told"]) for each in told}


@pytest.fixture
def patient(database: str, speech_server: SpeechServer, tmp_path: Path) -> Patient:
    variables = {
        "DATABASE_URL": database,
        "OPENAI_BASE_URL": speech_server.base_url,
        "LOCAL_STORAGE_PATH": str(tmp_path / "audio"),
    }
    return Patient(variables, speech_server)


def test_all_is_well_and_nothing_is_asked_to_be_spoken(patient: Patient) -> None:
    found = patient.findings(code=0)

    assert list(found) == PARTS
    assert {state for state, _ in found.values()} == {"ok"}
    assert found["model"][1] == "gpt-audio-1.5 by TTS_PROVIDER=chat"
    assert patient.speech.charges == []


@pytest.mark.parametrize("route", ["endpoint", "chat", "realtime"])
def test_a_word_is_said_in_each_language_when_asked(patient: Patient, route: str) -> None:
    found = patient.findings("--speak", code=0, TTS_PROVIDER=route)

    assert found["voice fr"][1].startswith("alloy said 'Memolist.' in ")
    assert [charge.route for charge in patient.speech.charges] == [
        {"endpoint": "speech"}.get(route, route)
    ] * 2


@pytest.mark.parametrize(
    ("days", "code", "told"),
    [
        (61, 0, ("ok", "tts-1 is closed in 61 days")),
        (60, 0, ("warning", f"tts-1 is closed in 60 days. {MOVE}")),
        (1, 0, ("warning", f"tts-1 is closed in 1 day. {MOVE}")),
        (0, 0, ("warning", f"tts-1 is closed in 0 days. {MOVE}")),
        (-3, 3, ("fault", f"tts-1 was closed 3 days ago. {MOVE}")),
    ],
)
def test_a_models_end_is_told_in_time_with_the_variable_to_change(
    patient: Patient, days: int, code: int, told: tuple[str, str]
) -> None:
    end = (datetime.now(UTC) + timedelta(days=days)).date()
    body = json.dumps({"id": "tts-1", "shutdown_date": end.isoformat()}).encode()
    json_type = {"Content-Type": "application/json"}
    with ScriptedHttp(Answer(200, body, json_type)) as provider:
        variables = {"OPENAI_BASE_URL": f"{provider.url}/v1", "TTS_MODEL": "tts-1"}
        found = patient.findings(code=code, TTS_PROVIDER="endpoint", **variables)

    assert found["shutdown"] == told


def test_a_closed_model_is_a_fault(patient: Patient) -> None:
    patient.speech.set_today(date(2027, 1, 6))

    found = patient.findings(code=3, TTS_PROVIDER="endpoint")

    state, told = found["model"]
    assert state == "fault"
    assert "Set TTS_PROVIDER" in told
    assert "voice en" not in found


def test_each_fault_is_told_with_its_fix_and_hides_no_other(
    patient: Patient, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    found = patient.findings(
        code=3,
        DATABASE_URL="postgresql://nobody@127.0.0.1:1/none",
        LOCAL_STORAGE_PATH=str(tmp_path / "file"),
        QUEUE_URL="https://sqs.eu-west-3.amazonaws.com/1/jobs.fifo",
        OPENAI_BASE_URL="http://127.0.0.1:1/v1",
    )

    faults = {part: told for part, (state, told) in found.items() if state == "fault"}
    assert list(faults) == ["database", "storage", "queue", "provider"]
    assert "Check DATABASE_URL" in faults["database"]
    assert "set LOCAL_STORAGE_PATH to a folder" in faults["storage"]
    assert "create a standard queue" in faults["queue"]
    assert "OPENAI_BASE_URL" in faults["provider"]


def test_a_missing_schema_is_told_with_the_command_that_makes_it(
    patient: Patient, new_database: Callable[..., str]
) -> None:
    unmigrated = new_database(is_migrated=False)

    found = patient.findings(code=3, DATABASE_URL=unmigrated)

    assert found["database"][0] == "ok"
    assert found["tables"][0] == "fault"
    assert "run `memolist-tts migrate`" in found["tables"][1]


def test_a_refused_key_is_told_and_never_shown(patient: Patient) -> None:
    with SpeechServer(api_key="sk-another") as guarded:
        found = patient.findings(code=3, OPENAI_BASE_URL=guarded.base_url, OPENAI_API_KEY=KEY)

    state, told = found["key"]
    assert state == "fault"
    assert "Set OPENAI_API_KEY" in told
    assert KEY not in told


def test_a_voice_that_is_silent_is_found_by_asking_for_a_word(patient: Patient) -> None:
    patient.speech.add_fault("silent")

    found = patient.findings("--speak", code=3)

    assert found["voice en"][0] == "fault"
    assert "silent" in found["voice en"][1]


def test_the_words_said_are_in_the_books_and_within_the_day_s_budget(patient: Patient) -> None:
    beyond = patient.findings("--speak", code=3, DAILY_BUDGET_USD="0.000001")
    asked = len(patient.speech.charges)
    patient.findings("--speak", code=0, DAILY_BUDGET_USD="1")
    spent = json.loads(run("costs", "--json", **patient.variables).stdout)
    told = json.loads(run("status", "--json", **patient.variables).stdout)

    assert beyond["voice en"][0] == "fault"
    assert beyond["voice en"][1].startswith("daily_budget_reached: ")
    assert asked == 0
    assert (spent["calls"], spent["characters"]) == (2, 2 * len("Memolist."))
    assert told["today"]["spent_usd"] > 0
    assert told["today"]["held_usd"] == 0


def test_no_word_is_asked_for_that_could_not_be_written_down(patient: Patient) -> None:
    away = "postgresql://nobody@127.0.0.1:1/none"

    found = patient.findings("--speak", code=3, DATABASE_URL=away)

    assert found["voice en"][0] == "warning"
    assert "Mend the database first" in found["voice en"][1]
    assert patient.speech.charges == []


def test_a_pause_is_a_warning_with_the_command_that_lifts_it(patient: Patient) -> None:
    assert run("pause", **patient.variables).returncode == 0

    state, told = patient.findings(code=0)["pauses"]

    assert state == "warning"
    assert "`memolist-tts resume`" in told


def test_a_queue_that_answers_is_well_and_gets_no_message(patient: Patient, sqs: Queue) -> None:
    aws = {
        "QUEUE_URL": sqs.url,
        "AWS_ENDPOINT_URL": sqs.endpoint_url,
        "AWS_DEFAULT_REGION": "eu-west-3",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }

    assert patient.findings(code=0, **aws)["queue"] == ("ok", f"{sqs.url} answers")
    assert sqs.bodies() == []


def test_a_store_that_the_clips_are_not_in_is_a_fault(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.spoken_list(("apple", "pomme"), ("bread", "pain"))

    here = deployment.command("doctor")
    elsewhere = deployment.command("doctor", LOCAL_STORAGE_PATH=str(tmp_path / "another"))

    assert "✓ clips: 4 clips looked for, and found in the store" in here.stdout
    assert elsewhere.returncode == 3
    assert "✗ clips: 4 of 4 clips looked for are not in the store" in elsewhere.stdout


def test_a_person_sees_a_line_for_each_part(patient: Patient) -> None:
    shown = run("doctor", **patient.variables)

    lines = shown.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"✓ {part}" for part in PARTS]
