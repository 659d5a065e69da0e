"""`make soak`: `poll` killed ten times in the middle of a job of 400 utterances.

The job must complete, and what was charged twice must have been in flight at a kill.
Exits 1 when it isn't so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from local.api import Api
from local.job import follow
from local.postgres import Postgres
from local.schema import create_tables
from local.speech import SpeechServer
from memolist_tts.postgres.schema import migrate

KILLS, CARDS, IN_FLIGHT = 10, 200, 8
STEP = 2 * CARDS // (KILLS + 1)
COLOURS = ("red", "rouge"), ("green", "verte"), ("white", "blanche"), ("black", "noire")
THINGS = (
    ("house", "maison"), ("table", "table"), ("window", "fenêtre"), ("bottle", "bouteille"),
    ("lamp", "lampe"), ("door", "porte"), ("flower", "fleur"), ("street", "rue"),
    ("car", "voiture"), ("chair", "chaise"),
)  # fmt: skip
OWNERS = (
    ("my sister", "ma sœur"), ("my brother", "mon frère"), ("the teacher", "la maîtresse"),
    ("our neighbour", "notre voisin"), ("the doctor", "le médecin"),
)  # fmt: skip


def main() -> int:
    """Kill, and count."""
    console = Console(highlight=False)
    with (
        TemporaryDirectory() as folder,
        Postgres() as postgres,
        SpeechServer(latency_s=0.3) as speech,
    ):
        url = postgres.create("soak")
        create_tables(url)
        migrate(url)
        with Api(url) as api:
            job_id = api.add_job(api.add_list(_cards()))
            for kill in range(1, KILLS + 1):
                _run_until(api, job_id, STEP * kill, _environment(url, speech, Path(folder)))
            with _poller(_environment(url, speech, Path(folder))) as process:
                *_, last = follow(api, job_id)
                process.terminate()
        charged = Counter(charge.input for charge in speech.charges)
    twice = charged.total() - len(charged)
    console.print(f"{last.status}: {last.done} of {last.total} after {KILLS} kills")
    console.print(f"charged again: {twice}, at most {KILLS * IN_FLIGHT} in flight at the kills")
    return 0 if last.status == "completed" and twice <= KILLS * IN_FLIGHT else 1


def _cards() -> list[tuple[str, str]]:
    return [
        (f"The {thing} of {owner} is {colour}.", f"{chose} de {qui}: {couleur}.")
        for thing, chose in THINGS
        for owner, qui in OWNERS
        for colour, couleur in COLOURS
    ][:CARDS]


def _environment(url: str, speech: SpeechServer, folder: Path) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": url, "OPENAI_BASE_URL": speech.base_url, "OPENAI_API_KEY": "soak",
        "STORAGE_TYPE": "local", "LOCAL_STORAGE_PATH": str(folder), "LEASE_SECONDS": "3",
        "POLL_INTERVAL_MS": "100", "MAX_IN_FLIGHT": str(IN_FLIGHT),
    }  # fmt: skip


def _poller(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from memolist_tts.cli import main; main()", "poll"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def _run_until(api: Api, job_id: str, done: int, environment: dict[str, str]) -> None:
    with _poller(environment) as process:
        for progress in follow(api, job_id):
            if progress.done >= done:
                break
        process.kill()


if __name__ == "__main__":
    sys.exit(main())
