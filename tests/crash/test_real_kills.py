"""Real `poll` processes, killed with SIGKILL at random times."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from command import COMMAND, environment

from local.api import Api, audio_urls
from local.speech import SpeechServer

IN_FLIGHT, POLLERS, CARDS = 4, 3, 6
OPEN_JOBS = 3
PATIENCE_S = 120.0
COLOURS = (("red", "rouge"), ("green", "verte"), ("white", "blanche"), ("black", "noire"))
LEFT_LEASES = "SELECT job_id FROM tts.job WHERE lease_token IS NOT NULL OR lease_until IS NOT NULL"


@dataclass
class Fleet:
    """Pollers over one deployment, and jobs that keep coming."""

    api: Api
    speech: SpeechServer
    variables: dict[str, str]
    output: Path
    chance: random.Random
    jobs: dict[str, str] = field(default_factory=dict)
    pollers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def start(self) -> None:
        """Another poller."""
        with self.output.open("ab") as output:
            self.pollers.append(
                subprocess.Popen(
                    [*COMMAND, "poll"], env=self.variables, stdout=output, stderr=output
                )
            )

    def kill_one(self) -> None:
        """Mostly the oldest, once something is spoken; else any, its start not excepted."""
        oldest_works = self.chance.random() < 0.8
        if oldest_works:
            before, give_up = len(self.speech.charges), time.monotonic() + PATIENCE_S
            while len(self.speech.charges) == before:
                assert time.monotonic() < give_up, "nothing is spoken"
                # All that was open may need nothing but clips that are there.
                self.keep_busy()
                time.sleep(0.01)
        time.sleep(self.chance.uniform(0.0, 0.4))
        process = self.pollers.pop(0 if oldest_works else self.chance.randrange(POLLERS))
        process.kill()
        process.wait()

    def keep_busy(self) -> None:
        """Add jobs until enough of them are open; some words come again in the next."""
        for _ in range(OPEN_JOBS - len(self.open_jobs())):
            number = next(self.numbers)
            cards = [
                (
                    f"House {number + shift} is {colour}.",
                    f"La maison {number + shift} est {couleur}.",
                )
                for shift in range(CARDS // 2)
                for colour, couleur in self.chance.sample(COLOURS, 2)
            ]
            list_id = self.api.add_list(cards)
            self.jobs[self.api.add_job(list_id)] = list_id

    def open_jobs(self) -> list[str]:
        rows = self.api.rows(
            """SELECT id FROM "TtsJob" WHERE status::text IN ('pending', 'processing')"""
        )
        return [str(row["id"]) for row in rows]

    def wait_for_end(self) -> None:
        """Until every job has ended."""
        give_up = time.monotonic() + PATIENCE_S
        while self.open_jobs():
            assert time.monotonic() < give_up, f"still open: {self.open_jobs()}"
            time.sleep(0.1)


@pytest.fixture
def fleet(database: str, speech_server: SpeechServer, tmp_path: Path) -> Iterator[Fleet]:
    variables = environment(
        DATABASE_URL=database,
        OPENAI_BASE_URL=speech_server.base_url,
        OPENAI_API_KEY="sk-killed",
        LOCAL_STORAGE_PATH=str(tmp_path / "audio"),
        LEASE_SECONDS="3",
        POLL_INTERVAL_MS="100",
        FLUSH_SECONDS="0.2",
        MAX_IN_FLIGHT=str(IN_FLIGHT),
        MAX_ATTEMPTS="1000",
    )
    speech_server.set_latency(0.05)
    with ExitStack() as stack:
        api = stack.enter_context(Api(database))
        seed = random.randrange(2**32)
        print(f"random.Random({seed})")
        found = Fleet(api, speech_server, variables, tmp_path / "output", random.Random(seed))
        yield found
        for process in found.pollers:
            process.kill()
            process.wait()
        print(found.output.read_text()[-10_000:])


def test_jobs_whose_workers_are_killed_at_random_times_complete(fleet: Fleet, soaks: bool) -> None:
    kills = 1000 if soaks else 30
    for _ in range(kills):
        fleet.keep_busy()
        while len(fleet.pollers) < POLLERS:
            fleet.start()
        fleet.kill_one()
    while len(fleet.pollers) < POLLERS:
        fleet.start()
    fleet.wait_for_end()

    assert {fleet.api.job(job_id)["status"] for job_id in fleet.jobs} == {"completed"}
    urls = [
        url
        for list_id in fleet.jobs.values()
        for card in fleet.api.cards(list_id)
        for url in audio_urls(card)
    ]
    assert len(urls) == 2 * CARDS * len(fleet.jobs)
    assert all(url and Path(urlsplit(url).path).is_file() for url in urls)
    assert fleet.api.rows(LEFT_LEASES) == []
    assert fleet.api.rows("SELECT key FROM tts.clip WHERE stored_at IS NULL") == []
    said = Counter(charge.input for charge in fleet.speech.charges)
    assert said.total() - len(said) <= IN_FLIGHT * kills
    print(f"{kills} kills: {said.total()} charged, {said.total() - len(said)} of them again")
