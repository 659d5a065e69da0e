"""Secrets planted as canaries: in no line of output, no row, no object, whatever goes wrong."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from command import COMMAND, PATIENCE_S, environment

from local.api import Api
from local.postgres import free_port
from local.speech import SpeechServer

PASSWORD = "c4n4ry-p4ssw0rd/?#@:"
KEY = "sk-c4n4ry-k3y-0123456789"
AWS_SECRET = "c4n4ry+4ws/s3cr3t"
CANARIES = (
    PASSWORD, quote(PASSWORD, safe=""), "p4ssw0rd", KEY, "k3y-0123456789", AWS_SECRET, "s3cr3t",
    base64.b64encode(KEY.encode()).decode().rstrip("="),
)  # fmt: skip
TABLES = """
SELECT table_schema, table_name FROM information_schema.tables
WHERE table_schema IN ('public', 'tts')
"""


@dataclass
class Place:
    """A deployment with secrets, and all that is told of it."""

    api: Api
    speech: SpeechServer
    url: str
    output: Path
    audio: Path

    def run(self, *words: str, **variables: str) -> None:
        """A command for as long as it takes; `poll` until the job has been tried."""
        with (
            self.output.open("ab") as output,
            subprocess.Popen(
                [*COMMAND, *words], env=self.variables(**variables), stdout=output, stderr=output
            ) as process,
        ):
            try:
                if words == ("poll",):
                    self._wait_until_tried(process)
                    process.terminate()
                process.wait(PATIENCE_S)
            finally:
                process.kill()

    def _wait_until_tried(self, process: subprocess.Popen[bytes]) -> None:
        size, give_up = self.output.stat().st_size, time.monotonic() + PATIENCE_S
        while process.poll() is None and self.output.read_bytes()[size:].count(b'"message"') < 1:
            assert time.monotonic() < give_up, self.output.read_text()
            time.sleep(0.05)

    def variables(self, **variables: str) -> dict[str, str]:
        secret = self.url.replace("postgres@", f"postgres:{quote(PASSWORD, safe='')}@")
        return environment(
            **{
                "DATABASE_URL": secret,
                "OPENAI_BASE_URL": self.speech.base_url,
                "OPENAI_API_KEY": KEY,
                "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
                "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
                "AWS_EC2_METADATA_DISABLED": "true",
                "LOCAL_STORAGE_PATH": str(self.audio),
                "POLL_INTERVAL_MS": "100",
            }
            | variables
        )

    def told(self) -> str:
        """Every line of output, every row and every object."""
        parts = [self.output.read_text()]
        for table in self.api.rows(TABLES):
            name = f'"{table["table_schema"]}"."{table["table_name"]}"'
            parts += [str(row) for row in self.api.rows(f"SELECT * FROM {name}")]
        parts += [path.read_bytes().decode("latin-1") for path in self.audio.rglob("*.*")]
        return "\n".join(parts)


@pytest.fixture
def place(database: str, speech_server: SpeechServer, tmp_path: Path) -> Iterator[Place]:
    output = tmp_path / "output"
    output.touch()
    with Api(database) as api:
        api.add_job(api.add_list([("apple", "pomme"), ("bread", "pain")]))
        yield Place(api, speech_server, database, output, tmp_path / "audio")


def leaks(told: str) -> list[str]:
    lines = told.splitlines()
    return [line[:300] for line in lines if any(canary in line for canary in CANARIES)]


@pytest.mark.parametrize("fault", ["unauthorized", "forbidden", "refused", "bad_model"])
def test_a_provider_that_repeats_the_key_is_not_quoted(place: Place, fault: str) -> None:
    place.speech.add_fault(fault, message=f"Incorrect API key provided: {KEY}. ({KEY})")

    place.run("poll")
    place.run("status")

    assert "Incorrect API key provided" in place.told()
    assert leaks(place.told()) == []


@pytest.mark.parametrize("fault", ["unauthorized", "refused", "headers_malformed"])
def test_a_provider_that_hides_the_key_in_a_code_or_a_request_s_id_is_not_quoted(
    place: Place, fault: str
) -> None:
    place.speech.add_fault(fault, code=f"bad_{KEY}", headers={"x-request-id": f"r-{KEY}"})

    place.run("poll")
    place.run("doctor", "--speak")

    assert "[key]" in place.told()
    assert leaks(place.told()) == []


def wrong(url: str) -> dict[str, str]:
    """A DATABASE_URL that doesn't serve, with the password in it."""
    return {"DATABASE_URL": url}


@pytest.mark.parametrize(
    "variables",
    [
        wrong(f"postgresql://user:{PASSWORD}@127.0.0.1/db"),
        wrong(f"postgresql://user:12/{PASSWORD}@127.0.0.1/db"),
        wrong(f"mysql://user:{PASSWORD}@127.0.0.1/db"),
        wrong(f"postgresql://user:{quote(PASSWORD, safe='')}@127.0.0.1:1/db"),
        wrong(f"postgresql://user:{quote(PASSWORD, safe='')}@no.such.host.invalid/db"),
        wrong(f"postgresql://127.0.0.1:1/db?password={quote(PASSWORD, safe='')}&sslmode=x"),
        wrong(f"postgresql://127.0.0.1:1/db?connect_timeout={quote(PASSWORD, safe='')}"),
        {"OPENAI_API_KEY": f"{KEY}\u2026"},
        {"OPENAI_BASE_URL": f"http://user:{KEY}@127.0.0.1:1/v1"},
        {"QUEUE_URL": f"http://user:{KEY}@127.0.0.1:1/queue"},
        {"STORAGE_TYPE": "s3", "AWS_S3_BUCKET": "b", "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
         "AWS_REGION": "eu-west-3"},
        {"MAX_IN_FLIGHT": "many", "LANGUAGES": "en"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["poll", "status", "doctor"])
def test_a_deployment_that_is_wrong_says_so_without_its_secrets_or_a_traceback(
    place: Place, command: str, variables: dict[str, str]
) -> None:
    place.run(command, **variables)

    told = place.told()
    assert place.output.read_text()
    assert "Traceback" not in told
    assert leaks(told) == []


def test_a_database_that_goes_away_is_told_without_its_password(place: Place) -> None:
    port = urlsplit(place.url).port
    place.run("poll", DATABASE_URL=f"postgresql://x:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/no")
    place.run("poll", DATABASE_URL=f"postgresql://x@127.0.0.1:{free_port()}/no?password=p4ssw0rd")

    assert "PostgreSQL" in place.output.read_text()
    assert leaks(place.told()) == []
