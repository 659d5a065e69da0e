"""The peak memory of a run over 2,000 utterances against one over 20, each in its own process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import texts
from bench.servers import speech_process
from local.api import Api
from local.postgres import Postgres
from local.schema import create_tables
from memolist_tts.postgres.schema import migrate

FEW, MANY = 20, 2_000


def measure() -> tuple[float, float]:
    """Peak MB of a run over `FEW` and over `MANY` utterances."""
    with Postgres() as postgres, speech_process() as base_url:
        few, many = (_in_a_process(postgres, base_url, count) for count in (FEW, MANY))
    return few, many


def _in_a_process(postgres: Postgres, base_url: str, utterances: int) -> float:
    url = postgres.create(f"memory_{utterances}")
    create_tables(url)
    migrate(url)
    cards = utterances // 2
    with Api(url) as api, TemporaryDirectory() as folder:
        job_id = api.add_job(api.add_list(texts.cards(cards)))
        told = subprocess.run(
            [sys.executable, "-m", "bench.memory", job_id],
            env=os.environ
            | {
                "DATABASE_URL": url, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "bench",
                "STORAGE_TYPE": "local", "LOCAL_STORAGE_PATH": str(Path(folder)),
                "MAX_PHRASES_PER_JOB": str(cards),
                # As many calls at once in both.
                "MAX_IN_FLIGHT": "16",
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )  # fmt: skip
    return float(told.stdout.split()[-1])


def main(job_id: str) -> None:
    """Speak one job and print the peak resident memory in MB."""
    from memolist_tts.assemble import Worker
    from memolist_tts.core.model import Completed
    from memolist_tts.settings import Needs, Settings

    worker = Worker(Settings.load(Needs.WORKER))
    report = worker.run(job_id, seconds=600, halt=threading.Event())
    assert isinstance(report.outcome, Completed), report.outcome
    print(_peak_mb())


def _peak_mb() -> float:
    """Of this program alone: `ru_maxrss` on Linux starts from the peak of who started it."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


if __name__ == "__main__":
    main(sys.argv[1])
