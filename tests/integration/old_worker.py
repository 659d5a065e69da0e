"""The worker that ours replaces, as far as the database sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pg8000.native

from local.postgres import connect

OLD_URL = "https://old.example.com/audio"


@dataclass
class OldWorker:
    """Reads what is pending, then writes without a guard; it knows nothing of the schema tts.

    Its statements are Prisma's, down to the cast of a status to the enum.
    """

    connection: pg8000.native.Connection
    base_url: str = OLD_URL
    spoken: list[str] = field(default_factory=list)
    """The texts it paid for, in order."""

    def pending(self) -> list[str]:
        rows = self._run(
            """SELECT id FROM public."TtsJob"
               WHERE status = CAST('pending'::text AS public."TtsJobStatus")
               ORDER BY "createdAt" """
        )
        return [row[0] for row in rows]

    def set(self, job_id: str, status: str) -> bool:
        """False where it sees no such job: Prisma's `update` throws."""
        return bool(
            self._run(
                """UPDATE public."TtsJob" SET status = CAST(:status::text AS public."TtsJobStatus")
                   WHERE public."TtsJob"."id" = :id RETURNING id""",
                id=job_id,
                status=status,
            )
        )

    def speak(self, job_id: str) -> Iterator[str]:
        """Speak what has no audio, one phrase after another; each text once its URL is written."""
        cards = self._run(
            """SELECT c.id, c."textEn", c."textFr", c."audioEnUrl", c."audioFrUrl"
               FROM public."Card" c JOIN public."TtsJob" j ON j."listId" = c."listId"
               WHERE j.id = :id ORDER BY c.position""",
            id=job_id,
        )
        for card, english, french, english_url, french_url in cards:
            for language, text, url in (("En", english, english_url), ("Fr", french, french_url)):
                if url is None:
                    self.spoken.append(text)
                    self._run(
                        f'UPDATE public."Card" SET "audio{language}Url" = :url WHERE id = :id',
                        id=card,
                        url=f"{self.base_url}/{card}-{language.lower()}.mp3",
                    )
                    yield text

    def work(self) -> list[str]:
        """One poll: each pending job to its end; the jobs."""
        found = self.pending()
        for job_id in found:
            assert self.set(job_id, "processing")
            list(self.speak(job_id))
            assert self.set(job_id, "completed")
        return found

    def _run(self, statement: str, **parameters: object) -> list[list[str]]:
        return self.connection.run(statement, **parameters) or []


@contextmanager
def old_worker(url: str) -> Iterator[OldWorker]:
    connection = connect(url.split("?")[0])
    try:
        yield OldWorker(connection)
    finally:
        connection.close()
