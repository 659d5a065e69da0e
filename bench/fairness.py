"""How long the one job of a user waits for its first audio: alone, and behind fifty of another."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench import texts
from bench.deployment import IN_FLIGHT, LATENCY_S
from bench.servers import speech_process
from local.api import Api
from local.postgres import Postgres
from local.schema import create_tables
from memolist_tts.assemble import Worker
from memolist_tts.poll import poll
from memolist_tts.postgres.schema import migrate
from memolist_tts.settings import Needs, Settings

BUSY_JOBS, BUSY_CARDS, QUIET_CARDS, TIMES = 50, 100, 20, 5
FIRST = 'SELECT 1 FROM "Card" WHERE "listId" = :list_id AND "audioEnUrl" IS NOT NULL LIMIT 1'
LEFT = """SELECT count(*) AS jobs FROM "TtsJob" WHERE status IN ('pending', 'processing')"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Seconds to the quiet user's first audio, medians."""

    alone_s: float
    behind_s: float
    """Behind fifty jobs of another user."""
    again_s: float
    """The same, served a second ago."""


def measure() -> Waits:
    """One `poll` process serves both."""
    with (
        Postgres() as postgres,
        speech_process("--latency-s", str(LATENCY_S)) as base_url,
        TemporaryDirectory() as folder,
    ):
        url = postgres.create("fairness")
        create_tables(url)
        migrate(url)
        variables = {
            "DATABASE_URL": url, "OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "bench",
            "STORAGE_TYPE": "local", "LOCAL_STORAGE_PATH": str(Path(folder)),
            "MAX_IN_FLIGHT": str(IN_FLIGHT), "POLL_INTERVAL_MS": "50",
        }  # fmt: skip
        with Api(url) as api, _polled(Worker(Settings.load(Needs.WORKER, variables))):
            return _Users(api).measure()


@contextmanager
def _polled(worker: Worker) -> Iterator[None]:
    halt = threading.Event()
    thread = threading.Thread(target=poll, args=(worker, halt, lambda _: None))
    thread.start()
    try:
        yield
    finally:
        halt.set()
        thread.join()


class _Users:
    """A quiet one and a busy one."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._names = (f"Anna {n}" for n in itertools.count())

    def measure(self) -> Waits:
        self._first_audio_s()  # its client is made, and the account's limit told
        alone = [self._first_audio_s() for _ in range(TIMES)]
        for _ in range(BUSY_JOBS):
            self._order("busy", BUSY_CARDS)
        behind, again = [], []
        for nth in range(TIMES):
            self._forget_quiet()
            # At another moment of the busy one's run each time.
            time.sleep(3 + nth / TIMES)
            behind.append(self._first_audio_s())
            time.sleep(1)
            again.append(self._first_audio_s())
        assert self._api.rows(LEFT)[0]["jobs"] > 1, "the busy one has nothing more to be spoken"
        return Waits(alone_s=median(alone), behind_s=median(behind), again_s=median(again))

    def _order(self, user: str, cards: int) -> tuple[str, str]:
        list_id = self._api.add_list(texts.cards(cards, next(self._names)))
        return list_id, self._api.add_job(list_id, userId=user)

    def _forget_quiet(self) -> None:
        """As if the quiet one had been served long ago."""
        self._api.rows(
            "UPDATE tts.job SET updated_at = updated_at - interval '1 h' WHERE user_id = 'quiet'"
        )

    def _first_audio_s(self) -> float:
        """Order a job, and wait for its first audio and then its end."""
        list_id, job_id = self._order("quiet", QUIET_CARDS)
        began = time.monotonic()
        while not self._api.rows(FIRST, list_id=list_id):
            time.sleep(0.02)
        found = time.monotonic() - began
        while self._api.job(job_id)["completedAt"] is None:
            time.sleep(0.02)
        return found


if __name__ == "__main__":
    print(measure())
