"""One deployment as its operator has it: a database, a provider, a folder, the command line."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from command import run, start

from local.api import Api
from local.speech import SpeechServer
from memolist_tts.assemble import Worker
from memolist_tts.core.model import Report
from memolist_tts.settings import Needs, Settings


@dataclass
class Deployment:
    url: str
    api: Api
    speech: SpeechServer
    folder: Path
    stack: ExitStack = field(default_factory=ExitStack)
    settings: dict[str, str] = field(default_factory=dict)
    """Further variables of every command and run."""

    @property
    def environ(self) -> dict[str, str]:
        return {
            "DATABASE_URL": self.url,
            "OPENAI_BASE_URL": self.speech.base_url,
            "LOCAL_STORAGE_PATH": str(self.folder),
            "FLUSH_SECONDS": "0.1",
            **self.settings,
        }

    def command(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return run(*words, **(self.environ | more))

    @contextmanager
    def started(self, *words: str, **more: Any) -> Iterator[Any]:
        """A command that goes on, as `command.start` has it."""
        with start(*words, **(self.environ | more)) as process:
            yield process

    def told(self, *words: str, exit_code: int = 0, **more: str) -> Any:
        """What a command tells a script: one JSON value, and nothing on standard error."""
        shown = self.command(*words, "--json", **more)
        assert (shown.stderr, shown.returncode) == ("", exit_code)
        return json.loads(shown.stdout)

    def rows(self, *words: str, **more: str) -> list[Any]:
        """What a command tells a script, a JSON value a line."""
        shown = self.command(*words, "--json", **more)
        assert (shown.stderr, shown.returncode) == ("", 0)
        return [json.loads(line) for line in shown.stdout.splitlines()]

    def worker(self, **more: str) -> Worker:
        worker = Worker(Settings.load(Needs.WORKER, environ=self.environ | more))
        self.stack.callback(worker.database.close)
        return worker

    def go(self, job_id: str, **more: str) -> Report:
        """Run a job here, to its end."""
        return self.worker(**more).run(
            job_id, seconds=60, halt=threading.Event(), least_turn_s=60
        )

    def spoken_list(self, *phrases: tuple[str, str], **more: str) -> list[dict[str, Any]]:
        """A list that a job has spoken; its cards."""
        list_id = self.api.add_list(phrases)
        self.go(self.api.add_job(list_id), **more)
        return self.api.cards(list_id)

    def card(self, card_id: str) -> dict[str, Any]:
        return self.api.rows('SELECT * FROM "Card" WHERE id::text = :id', id=card_id)[0]

    def audio(self, url: str) -> bytes:
        """What a listener gets at a card's URL."""
        return Path(unquote(urlsplit(url).path)).read_bytes()

    @property
    def asked(self) -> list[str]:
        """The texts that the provider was asked and paid for, in order."""
        return [charge.input for charge in self.speech.charges]
