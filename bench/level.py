"""How even clips of one voice are: takes as they came and clips as they were published, by jobs.

The local voice alone is too even, so the server speaks unevenly (`sound.uneven`).
"""

from __future__ import annotations

import csv
import json
import statistics
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from local.api import Api
from memolist_tts.assemble import Worker
from memolist_tts.core.key import audio_key
from memolist_tts.core.model import ClipId, Completed, Speech, SpeechRequest
from memolist_tts.core.mp3 import GAIN_STEP_DB
from memolist_tts.core.ports import Speaker
from memolist_tts.core.verdict import Verdict, judge
from memolist_tts.settings import Needs, Settings

PHRASES = Path(__file__).parents[1] / "tests" / "data" / "phrases.csv"
VOICES = ("alloy", "nova", "onyx", "coral")
CARDS = 25
"""Of each voice, each in two languages: 200 clips."""
TARGET_DBFS, CEILING_DBFS = -20.0, -1.0
NEAR_DB = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A take, and the clip that was published of it."""

    take: Verdict
    clip: Verdict
    take_bytes: int
    clip_bytes: int

    @property
    def is_held(self) -> bool:
        """Whether its peak, a step below the ceiling at most, keeps it under the target."""
        is_under = self.clip.active_dbfs < TARGET_DBFS - GAIN_STEP_DB / 2
        return is_under and self.clip.peak_dbfs + GAIN_STEP_DB > CEILING_DBFS

    @property
    def is_clipped(self) -> bool:
        """Whether publishing left it louder than the ceiling."""
        return self.clip.peak_dbfs > CEILING_DBFS

    @property
    def is_resized(self) -> bool:
        return (self.take_bytes, self.take.duration_ms) != (self.clip_bytes, self.clip.duration_ms)

    @property
    def distance_db(self) -> float:
        return abs(self.clip.active_dbfs - TARGET_DBFS)


@dataclass(frozen=True, slots=True)
class Spread:
    """Of active speech, in dB."""

    sd: float
    range: float

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> Spread:
        levels = [each.active_dbfs for each in verdicts]
        return cls(statistics.stdev(levels), max(levels) - min(levels))


@dataclass
class _Listening:
    """A speaker that keeps what it was sent, by the name under which it is stored."""

    speaker: Speaker
    takes: dict[str, bytes] = field(default_factory=dict)

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:
        speech = self.speaker.speak(request, timeout_s)
        self.takes[ClipId(audio_key([request])).object_name] = speech.mp3
        return speech

    def rest(self) -> None:
        self.speaker.rest()


def measure(
    database_url: str, speech_url: str, folder: Path, cards: int = CARDS
) -> dict[str, list[Pair]]:
    """By voice: the clips of a job each, over `cards` phrases that no other voice says.

    The database is empty and migrated, `folder` empty, the server uneven.
    """
    environ = {
        "DATABASE_URL": database_url, "OPENAI_BASE_URL": speech_url, "OPENAI_API_KEY": "bench",
        "STORAGE_TYPE": "local", "LOCAL_STORAGE_PATH": str(folder),
        "TTS_PROVIDER": "endpoint",
    }  # fmt: skip
    worker = Worker(Settings.load(Needs.WORKER, environ))
    listening = _Listening(worker.speaker())
    worker.speakers[worker.way().route] = listening
    phrases = _phrases()
    pairs: dict[str, list[Pair]] = defaultdict(list)
    for voice in VOICES:
        listening.takes.clear()
        with Api(database_url) as api:
            list_id = api.add_list(islice(phrases, cards))
            job_id = api.add_job(list_id, options=json.dumps({"voice": voice}))
        report = worker.run(job_id, seconds=300, halt=threading.Event())
        if report.outcome != Completed() or len(listening.takes) != 2 * cards:
            raise RuntimeError(f"{voice}: {report}")
        pairs[voice] = [
            _pair(take, (folder / name).read_bytes()) for name, take in listening.takes.items()
        ]
    worker.database.close()
    return pairs


def _pair(take: bytes, clip: bytes) -> Pair:
    # How long the text takes is of no matter here.
    return Pair(
        take=judge(take, ""), clip=judge(clip, ""), take_bytes=len(take), clip_bytes=len(clip)
    )


def _phrases() -> Iterator[tuple[str, str]]:
    with PHRASES.open(encoding="utf-8", newline="") as file:
        yield from [(row["en"], row["fr"]) for row in csv.DictReader(file)]
