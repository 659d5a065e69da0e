"""`memolist-tts poll` as a process: killed, ended, and what is left then."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from command import COMMAND, PATIENCE_S, environment

from local.api import Api, Row, audio_urls
from local.job import follow
from local.speech import SpeechServer
from memolist_tts.speech.models import table
from tests.conftest import ROUTE

IN_FLIGHT = 8
NOUNS = [
    ("house", "maison"), ("table", "table"), ("window", "fenêtre"), ("kitchen", "cuisine"),
    ("garden chair", "chaise"), ("bottle", "bouteille"), ("lamp", "lampe"), ("key", "clé"),
    ("door", "porte"), ("flower", "fleur"),
]  # fmt: skip
COLOURS = [
    ("green", "verte"), ("white", "blanche"), ("black", "noire"), ("grey", "grise"),
    ("yellow", "jaune"), ("red", "rouge"),
]  # fmt: skip
CARDS = [
    (f"The {noun} is {colour}.", f"La {nom} est {couleur}.")
    for noun, nom in NOUNS
    for colour, couleur in COLOURS
]
MODELS = table().default_models
KEY, PASSWORD = "sk-test-of-the-poller", "a-password-of-the-poller"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A database, a provider, a folder, and pollers over them."""

    api: Api
    speech: SpeechServer
    url: str
    folder: Path
    output: Path

    @contextmanager
    def poller(self, *words: str, **other: str) -> Iterator[subprocess.Popen[bytes]]:
        variables = environment(
            DATABASE_URL=self.url.replace("postgres@", f"postgres:{PASSWORD}@"),
            OPENAI_BASE_URL=self.speech.base_url,
            OPENAI_API_KEY=KEY,
            TTS_PROVIDER=ROUTE,
            STORAGE_TYPE="local",
            LOCAL_STORAGE_PATH=str(self.folder),
            LEASE_SECONDS="3",
            POLL_INTERVAL_MS="100",
            FLUSH_SECONDS="0.2",
            MAX_IN_FLIGHT=str(IN_FLIGHT),
        ) | other
        with self.output.open("ab") as output:
            process = subprocess.Popen(
                [*COMMAND, "poll", *words], env=variables, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def ours(self, job_id: str) -> Row:
        return self.api.rows("SELECT * FROM tts.job WHERE job_id = :id", id=job_id)[0]

    def repeated(self) -> int:
        """Charges for what had been charged before."""
        said = Counter(charge.input for charge in self.speech.charges)
        return said.total() - len(said)

    def wait_for(self, job_id: str, *, done: int) -> None:
        """Until so many utterances are written down and more are being spoken."""
        for progress in follow(self.api, job_id):
            if progress.done >= done:
                break
        assert progress.status == "processing"

    def wait_until_completed(self, job_id: str) -> None:
        *_, last = follow(self.api, job_id)
        assert last.status == "completed", last.why


@pytest.fixture
def deployment(database: str, speech_server: SpeechServer, tmp_path: Path) -> Iterator[Deployment]:
    output = tmp_path / "output"
    with Api(database) as api:
        yield Deployment(api, speech_server, database, tmp_path / "audio", output)
    print(output.read_text() if output.exists() else "")


def stop(process: subprocess.Popen[bytes]) -> int:
    process.terminate()
    return process.wait(PATIENCE_S)


def test_it_says_what_it_works_on_and_no_secret(deployment: Deployment) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "pomme")]))

    with deployment.poller() as process:
        deployment.wait_until_completed(job_id)
        assert stop(process) == 0

    output = deployment.output.read_text()
    where = urlsplit(deployment.url)
    assert output.splitlines()[:4] == [
        f"Database connected: 127.0.0.1:{where.port}{where.path}",
        "OpenAI API key: set",
        f"Speech: 127.0.0.1, {ROUTE}, model {MODELS[ROUTE]}; clips in {deployment.folder}",
        "Polling every 100 ms",
    ]
    assert KEY not in output
    assert PASSWORD not in output


def test_for_a_script_it_writes_its_log_and_nothing_else(deployment: Deployment) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "pomme")]))

    with deployment.poller("--json") as process:
        deployment.wait_until_completed(job_id)
        assert stop(process) == 0

    told = [json.loads(line) for line in deployment.output.read_text().splitlines()]
    assert [each["job_id"] for each in told if each["message"] == "job_completed"] == [job_id]


def test_it_warns_of_its_models_end_with_the_variable_to_change(deployment: Deployment) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list([("apple", "pomme")]))

    with deployment.poller(TTS_PROVIDER="endpoint") as process:
        deployment.wait_until_completed(job_id)
        assert stop(process) == 0

    (line,) = [line for line in deployment.output.read_text().splitlines() if "shutdown" in line]
    warned = json.loads(line)
    assert (warned["level"], warned["message"]) == ("WARNING", "shutdown_near")
    assert warned["model"] == MODELS["endpoint"]
    assert warned["fix"] == "Set TTS_PROVIDER=chat."


def test_it_completes_jobs_that_come_while_it_runs(deployment: Deployment) -> None:
    api = deployment.api
    lists = [api.add_list([("apple", "pomme")]), api.add_list([("bread", "pain")])]

    with deployment.poller():
        for list_id in lists:
            deployment.wait_until_completed(api.add_job(list_id))

    urls = [url for each in lists for card in api.cards(each) for url in audio_urls(card)]
    assert len(set(urls)) == 4
    assert all(url and Path(urlsplit(url).path).is_file() for url in urls)


def test_a_job_whose_worker_is_killed_three_times_completes_and_repeats_only_what_was_under_way(
    deployment: Deployment,
) -> None:
    list_id = deployment.api.add_list(CARDS)
    job_id = deployment.api.add_job(list_id)
    deployment.speech.set_latency(0.3)

    for kills in range(3):
        with deployment.poller() as process:
            deployment.wait_for(job_id, done=25 * (kills + 1))
            process.kill()
        assert deployment.repeated() <= IN_FLIGHT * kills
    with deployment.poller():
        deployment.wait_until_completed(job_id)

    cards = deployment.api.cards(list_id)
    assert len({url for card in cards for url in audio_urls(card) if url}) == 2 * len(CARDS)
    assert deployment.repeated() <= IN_FLIGHT * 3


def test_a_worker_asked_to_end_hands_back_and_nothing_is_charged_twice(
    deployment: Deployment,
) -> None:
    job_id = deployment.api.add_job(deployment.api.add_list(CARDS))
    deployment.speech.set_latency(0.3)

    with deployment.poller() as process:
        deployment.wait_for(job_id, done=10)
        code = stop(process)

    ours = deployment.ours(job_id)
    assert code == 0
    assert deployment.api.job(job_id)["status"] == "pending"
    assert (ours["attempts"], ours["stop_code"], ours["lease_until"]) == (0, "terminated", None)
    assert ours["spoken"] < 2 * len(CARDS)

    with deployment.poller():
        deployment.wait_until_completed(job_id)

    assert len(deployment.speech.charges) == 2 * len(CARDS)
    assert deployment.repeated() == 0
