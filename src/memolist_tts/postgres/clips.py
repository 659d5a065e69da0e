"""Which clips exist, and who speaks the others: one speaker a key across all jobs."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence

from memolist_tts.core.model import Clip, ClipId, Job, Line, Reservation, Reserved
from memolist_tts.postgres.connection import Database, Row, Transaction
from memolist_tts.postgres.jobs import release, store

# The newest stored take of each key, and whether it will do: not one that an operator undid, and
# where a new one is wanted only one made since the job began. One statement, so that what is stored
# meanwhile can't look like a reason for a new take.
STORED = """
SELECT DISTINCT ON (c.key) c.key, c.take, max(c.take) OVER (PARTITION BY c.key) AS last_take,
       c.unused_since IS NOT NULL AS is_marked,
       c.withdrawn_at IS NULL AND c.deleted_at IS NULL
       AND (NOT c.key = ANY(cast(:fresh AS text[]))
            OR c.stored_at >= (SELECT t.started_at FROM tts.job t WHERE t.job_id = :id)) AS will_do
FROM tts.clip c
WHERE c.key = ANY(cast(:keys AS text[])) AND c.stored_at IS NOT NULL
ORDER BY c.key, c.withdrawn_at IS NULL AND c.deleted_at IS NULL DESC, c.take DESC
"""

# Seen to be unused -> about to be given to a card; not what has been deleted meanwhile.
KEEP = """
UPDATE tts.clip c SET unused_since = NULL
FROM unnest(cast(:keys AS text[]), cast(:takes AS integer[])) AS x (key, take)
WHERE c.key = x.key AND c.take = x.take AND c.deleted_at IS NULL
RETURNING c.key
"""

# absent -> reserved by mine.
RESERVE = """
INSERT INTO tts.clip (key, take, object_name, provider, model, voice, language, spoken_text,
                      characters, speaker, speaker_job)
SELECT x.key, x.take, x.object_name, x.provider, x.model, x.voice, x.language, x.spoken_text,
       char_length(x.spoken_text), cast(:lease AS uuid), cast(:id AS text)
FROM unnest(cast(:keys AS text[]), cast(:takes AS integer[]), cast(:object_names AS text[]),
            cast(:providers AS text[]), cast(:models AS text[]), cast(:voices AS text[]),
            cast(:languages AS text[]), cast(:spoken AS text[]))
     AS x (key, take, object_name, provider, model, voice, language, spoken_text)
ORDER BY x.key
ON CONFLICT (key, take) DO NOTHING
RETURNING key, take, false AS taken_over, cast(0 AS double precision) AS held_s
"""

# The others' rows, held: only a statement that begins after the last of these locks was had sees
# every lease there is.
LOCK = """
SELECT c.key FROM tts.clip c
JOIN unnest(cast(:keys AS text[]), cast(:takes AS integer[])) AS x (key, take)
  ON c.key = x.key AND c.take = x.take
WHERE c.stored_at IS NULL
ORDER BY c.key, c.take
FOR UPDATE OF c
"""

# left by a dead run -> reserved by mine. A reservation lives as long as its lease; that its clip
# may be in the store is remembered (`held_until`) until it has been found there or put. What this
# job's earlier run reserved is mine only while I am the later one: a run that stood still up to
# here may have lost the job to another, which speaks these.
TAKE_OVER = """
UPDATE tts.clip c
SET speaker = cast(:lease AS uuid), speaker_job = cast(:id AS text),
    held_until = coalesce(c.held_until, clock_timestamp())
FROM unnest(cast(:keys AS text[]), cast(:takes AS integer[])) AS x (key, take)
WHERE c.key = x.key AND c.take = x.take AND c.stored_at IS NULL
  AND EXISTS (SELECT 1 FROM tts.job m
              WHERE m.job_id = :id AND m.lease_token = cast(:lease AS uuid)
                AND m.lease_until > clock_timestamp())
  AND (c.speaker_job = cast(:id AS text)
       OR NOT EXISTS (SELECT 1 FROM tts.job t
                      WHERE t.job_id = c.speaker_job AND t.lease_token = c.speaker
                        AND t.lease_until > clock_timestamp()))
RETURNING c.key, c.take, true AS taken_over,
          cast(greatest(0, extract(epoch FROM c.held_until - clock_timestamp()))
               AS double precision) AS held_s
"""


# A lease over no job of the API's: reservations live as long as it does.
OPEN = """
INSERT INTO tts.job (job_id, lease_token, lease_until, started_at)
VALUES (:id, cast(:lease AS uuid),
        clock_timestamp() + make_interval(secs => cast(:lease_s AS double precision)),
        clock_timestamp())
ON CONFLICT (job_id) DO NOTHING
"""
CLOSE = "DELETE FROM tts.job WHERE job_id = :id AND lease_token = cast(:lease AS uuid)"


AT_ONCE = 250
"""Lines of a statement: what it takes to send and read is let go before the next."""


class Clips:
    """The port `Clips` over one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def reserve(self, job: Job, lines: Sequence[Line], *, fresh: Collection[str]) -> Reservation:
        """Find the lines' stored clips and reserve the others for this run."""
        # In the order of their keys: so two runs that want the same ones never wait in a ring.
        lines = sorted(lines, key=lambda line: line.key)

        def work(tx: Transaction) -> Reservation:
            stored: dict[str, ClipId] = {}
            mine: dict[str, Reserved] = {}
            for first in range(0, len(lines), AT_ONCE):
                some = self._reserve(tx, job, lines[first : first + AT_ONCE], fresh)
                stored.update(some.stored)
                mine.update(some.mine)
            return Reservation(stored=stored, mine=mine)

        return self._database.transaction(work)

    def open(self, *, lease_s: float) -> Job:
        """A lease over no job, to reserve clips under; `close` it."""
        lease = str(uuid.uuid4())
        name = f"alone:{lease}"

        def work(tx: Transaction) -> None:
            tx.rows(OPEN, id=name, lease=lease, lease_s=lease_s)

        self._database.transaction(work)
        return Job(id=name, list_id="", lease=lease, attempts_before=0, group=name)

    def close(self, job: Job, clips: Sequence[Clip], *, begun: Sequence[ClipId]) -> None:
        """Write down what was stored under an `open` lease, and let go of the rest."""

        def work(tx: Transaction) -> None:
            store(tx, clips)
            release(tx, job, begun)
            tx.rows(CLOSE, id=job.id, lease=job.lease)

        self._database.transaction(work)

    def _reserve(
        self, tx: Transaction, job: Job, lines: Sequence[Line], fresh: Collection[str]
    ) -> Reservation:
        keys = [line.key for line in lines]
        newest = tx.rows(STORED, keys=keys, fresh=[k for k in keys if k in fresh], id=job.id)
        stored = _kept(tx, [row for row in newest if row["will_do"]])
        found = {row["key"] for row in stored}
        wanted = [line for line in lines if line.key not in found]
        takes = {row["key"]: row["last_take"] + 1 for row in newest}
        ids = {line.key: ClipId(line.key, takes.get(line.key, 0)) for line in wanted}
        mine = self._make_mine(tx, job, wanted, list(ids.values())) if wanted else []
        return Reservation(
            stored={row["key"]: ClipId(row["key"], row["take"]) for row in stored},
            # Under the lines' own keys: copies of two thousand of them would be a quarter megabyte.
            mine={
                each.key: Reserved(
                    id=each, look_first=row["taken_over"], held_s=row["held_s"] or 0.0
                )
                for row in mine
                for each in (ids[row["key"]],)
            },
        )

    def _make_mine(
        self, tx: Transaction, job: Job, lines: Sequence[Line], ids: Sequence[ClipId]
    ) -> list[Row]:
        mine = tx.rows(
            RESERVE,
            id=job.id,
            lease=job.lease,
            keys=[each.key for each in ids],
            takes=[each.take for each in ids],
            object_names=[each.object_name for each in ids],
            providers=[line.provider for line in lines],
            models=[line.voice.model for line in lines],
            voices=[line.voice.name for line in lines],
            languages=[line.voice.language for line in lines],
            spoken=[line.spoken for line in lines],
        )
        reserved = {row["key"] for row in mine}
        others = [each for each in ids if each.key not in reserved]
        if not others:
            return mine
        named = {"keys": [each.key for each in others], "takes": [each.take for each in others]}
        tx.rows(LOCK, **named)
        return mine + tx.rows(TAKE_OVER, id=job.id, lease=job.lease, **named)


def _kept(tx: Transaction, stored: list[Row]) -> list[Row]:
    """The clips that can be given to cards, safe from being deleted as unused."""
    if not (marked := [row for row in stored if row["is_marked"]]):
        return stored
    marked.sort(key=lambda row: (row["key"], row["take"]))
    keys, takes = [row["key"] for row in marked], [row["take"] for row in marked]
    kept = {row["key"] for row in tx.rows(KEEP, keys=keys, takes=takes)}
    return [row for row in stored if not row["is_marked"] or row["key"] in kept]
