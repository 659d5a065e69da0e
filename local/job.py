"""One job as the API sees it: ordered, followed, and what became of its utterances."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from local.api import Api
from local.stack import Embedded

PROGRESS = """
SELECT total, done + failed AS done, coalesce(stop, error, '') AS why
FROM tts.progress WHERE job_id = :job_id
"""

# Cards in their order; what was spoken for each, and the clip it got.
UTTERANCES = """
SELECT c."position" + 1 AS card, u.language, u.state, coalesce(u.shown_text, '') AS shown,
       u.spoken_text AS spoken, u.url, coalesce(u.message, '') AS message,
       coalesce(k.duration_ms, 0) AS duration_ms
FROM "Card" c
JOIN tts.utterance u ON u.card_id = c."id"::text
LEFT JOIN tts.clip k ON k.key = u.clip_key AND k.take = u.clip_take
WHERE u.job_id = :job_id
ORDER BY c."position", u.language
"""

ENDED = ("completed", "failed", "cancelled")
LOOK_EVERY_S = 0.05
STALLED_S = 30.0


class JobStalled(Exception):
    """Nothing has moved for half a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is, in utterances (a card in a language)."""

    status: str
    total: int = 0
    done: int = 0
    why: str = ""
    """Why it waits or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One card in one language, after a job."""

    card: int
    """From 1."""
    language: str
    state: str
    """spoken, reused, kept, skipped or failed."""
    shown: str
    spoken: str
    url: str | None
    message: str
    """Why it was skipped or failed, and the fix."""
    duration_ms: int


def order(stack: Embedded, api: Api, list_id: str) -> str:
    """Insert a pending job over a list and send its message; the job's id."""
    job_id = api.add_job(list_id)
    stack.send(job_id)
    return job_id


def follow(api: Api, job_id: str) -> Iterator[Progress]:
    """Each change of a job until it has ended, the end included. Raises `JobStalled`."""
    last, changed_at = None, time.monotonic()
    while last is None or last.status not in ENDED:
        now = _progress(api, job_id)
        if now != last:
            last, changed_at = now, time.monotonic()
            yield now
        elif time.monotonic() - changed_at > STALLED_S:
            raise JobStalled(f"the job is {now.status}, and nothing moves any more. {now.why}")
        else:
            time.sleep(LOOK_EVERY_S)


def _progress(api: Api, job_id: str) -> Progress:
    # The status first: what is read after "completed" is complete.
    status = api.job(job_id)["status"]
    rows = api.rows(PROGRESS, job_id=job_id)
    return Progress(status=status, **rows[0] if rows else {})


def utterances(api: Api, job_id: str) -> list[Utterance]:
    """Every utterance that a job has answered for, in the deck's order."""
    return [Utterance(**row) for row in api.rows(UTTERANCES, job_id=job_id)]
