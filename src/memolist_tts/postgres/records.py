"""What was said, what failed, what was made: reading only, always bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memolist_tts.core.errors import BadInput
from memolist_tts.postgres.connection import Database, Row, Transaction
from memolist_tts.postgres.schema import Api

# One job, an utterance a row, what failed first.
UTTERANCES = """
SELECT u.card_id, u.language, u.state, u.code, u.message, u.shown_text, u.spoken_text, u.url,
       c.voice, c.model, u.clip_take AS take, c.duration_ms, u.characters, u.cost_usd, u.updated_at
FROM tts.utterance u LEFT JOIN tts.clip c ON c.key = u.clip_key AND c.take = u.clip_take
WHERE u.job_id = :id
ORDER BY u.state <> 'failed', u.card_id, u.language
"""

# What still stands of an utterance `u` that failed: no later job has given the card its audio, the
# card is there, and no operator took the retake back.
UTTERANCE_STANDS = """NOT EXISTS (
      SELECT 1 FROM tts.utterance l
      WHERE l.card_id = u.card_id AND l.language = u.language AND l.updated_at > u.updated_at
        AND l.state <> 'failed')
    AND EXISTS (SELECT 1 FROM {cards} c WHERE c.id = cast(u.card_id AS {card_id}))
    AND NOT EXISTS (
      SELECT 1 FROM tts.selection s
      WHERE s.job_id = u.job_id AND s.card_id = u.card_id AND s.language = u.language
        AND s.undone_at IS NOT NULL)"""

# And of a job `j` (`t`) that failed as a whole: no later job has completed the whole list, of all
# those within the time (`w`, joined by WHOLE_LISTS: looked up once). Of one that an operator made,
# which speaks a selection: something of it hasn't been spoken since.
WHOLE_LISTS = """LEFT JOIN (
    SELECT k."listId" AS list_id, max(m.finished_at) AS completed_at
    FROM tts.job m JOIN {jobs} k ON k.id = cast(m.job_id AS {job_id})
    WHERE k.status::text = 'completed'
      AND m.finished_at > now() - make_interval(secs => cast(:since_s AS double precision))
      AND NOT EXISTS (SELECT 1 FROM tts.selection s WHERE s.job_id = m.job_id)
    GROUP BY k."listId") w ON j."listId" = w.list_id"""
JOB_STANDS = """CASE WHEN EXISTS (SELECT 1 FROM tts.selection s WHERE s.job_id = t.job_id)
      THEN EXISTS (
        SELECT 1 FROM tts.selection s
        WHERE s.job_id = t.job_id AND s.undone_at IS NULL
          AND EXISTS (SELECT 1 FROM {cards} c WHERE c.id = cast(s.card_id AS {card_id}))
          AND NOT EXISTS (
            SELECT 1 FROM tts.utterance l
            WHERE l.card_id = s.card_id AND l.language = s.language
              AND l.state IN ('spoken', 'reused')
              AND (l.job_id = t.job_id OR l.updated_at > t.finished_at)))
      ELSE coalesce(w.completed_at < t.finished_at, true) END"""

# What failed within a time and still stands. now(), where an index has to serve.
FAILED = f"""
  SELECT u.job_id, u.card_id, u.language, u.code, u.message, u.shown_text, u.spoken_text,
         u.updated_at
  FROM tts.utterance u
  WHERE u.state = 'failed'
    AND u.updated_at > now() - make_interval(secs => cast(:since_s AS double precision))
    AND (cast(:code AS text) IS NULL OR u.code = cast(:code AS text))
    AND {UTTERANCE_STANDS}
  UNION ALL
  SELECT t.job_id, NULL, NULL, t.error_code, t.error, NULL, NULL, t.finished_at
  FROM tts.job t JOIN {{jobs}} j ON j.id = cast(t.job_id AS {{job_id}})
  {WHOLE_LISTS}
  WHERE t.error_code <> 'utterances_failed'
    AND t.finished_at > now() - make_interval(secs => cast(:since_s AS double precision))
    AND (cast(:code AS text) IS NULL OR t.error_code = cast(:code AS text))
    AND {JOB_STANDS}
"""
FAILURES = f"""
SELECT * FROM ({FAILED}) f
ORDER BY f.updated_at DESC, f.job_id, f.card_id, f.language
LIMIT cast(:limit AS integer)
"""
FAILURE_CODES = f"""
SELECT f.code, count(*) AS count, count(DISTINCT f.job_id) AS jobs FROM ({FAILED}) f
GROUP BY f.code ORDER BY count(*) DESC, f.code
"""

# Stored clips, the newest first.
CLIPS = """
SELECT c.spoken_text AS said, c.language, c.voice, c.model, c.provider, c.take,
       c.duration_ms / 1000.0 AS seconds, c.size_bytes, c.cost_usd, c.stored_at, c.object_name,
       c.key, c.request_id
FROM tts.clip c
WHERE c.stored_at IS NOT NULL{where}
ORDER BY c.stored_at DESC, c.key
LIMIT cast(:limit AS integer)
"""
# What `clips` can be asked for: each a condition with one parameter.
WHERE = {
    "voice": "c.voice = :voice",
    "model": "c.model = :model",
    "provider": "c.provider = :provider",
    "language": "c.language = :language",
    "take": "c.take::text = :take",
    # An object's name too, as `verify` tells it.
    "key": (
        "c.key = regexp_replace(regexp_replace(cast(:key AS text), '^.*/', ''),"
        " '-[0-9]+[.]mp3$', '')"
    ),
    "text": "position(lower(cast(:text AS text)) IN lower(c.spoken_text)) > 0",
    "card": (
        "EXISTS (SELECT 1 FROM tts.utterance u WHERE u.card_id = :card"
        " AND u.clip_key = c.key AND u.clip_take = c.take)"
    ),
    "job": (
        "EXISTS (SELECT 1 FROM tts.utterance u WHERE u.job_id = :job"
        " AND u.clip_key = c.key AND u.clip_take = c.take)"
    ),
}


def conditions(asked: Mapping[str, str]) -> str:
    """`AND …` for what was asked. Raises `BadInput` that names what can be."""
    if unknown := [name for name in asked if name not in WHERE]:
        raise BadInput(f"--where {unknown[0]}=…: one can ask for {', '.join(WHERE)}")
    return "".join(f"\n  AND {WHERE[name]}" for name in asked)


# How each of these cards ended last.
LAST_ENDS = """
SELECT DISTINCT ON (u.card_id, u.language)
       u.card_id, u.language, u.state, u.code, u.message, u.url
FROM tts.utterance u
WHERE u.card_id = ANY(cast(:ids AS text[])) AND u.state <> 'kept'
ORDER BY u.card_id, u.language, u.updated_at DESC
"""

# What these cards' retakes brought, and the audio that each replaced; the last one last.
REPLACED = """
SELECT s.card_id, s.language, u.url, s.old_url
FROM tts.selection s
JOIN tts.utterance u
  ON u.job_id = s.job_id AND u.card_id = s.card_id AND u.language = s.language
WHERE s.card_id = ANY(cast(:ids AS text[])) AND s.undone_at IS NULL
  AND u.state IN ('spoken', 'reused') AND u.url <> s.old_url
ORDER BY s.made_at
"""

CLIP = """
SELECT c.spoken_text, c.voice, c.take FROM tts.clip c
WHERE c.key = substring(cast(:name AS text) FROM '^(.+)-[0-9]+\\.mp3$')
  AND c.object_name = :name AND c.stored_at IS NOT NULL
"""


class Records:
    """Utterances, failures and clips as they are written down."""

    def __init__(self, database: Database, api: Api) -> None:
        self._database = database
        self._names = {
            "jobs": api.jobs.name,
            "job_id": api.jobs.cast("id"),
            "cards": api.cards.name,
            "card_id": api.cards.cast("id"),
        }

    def _rows(self, sql: str, **params: object) -> list[Row]:
        def work(tx: Transaction) -> list[Row]:
            return tx.rows(sql, **params)

        return self._database.transaction(work)

    def utterances(self, job_id: str) -> list[Row]:
        """How each utterance of a job ended, what failed first."""
        return self._rows(UTTERANCES, id=job_id)

    def failures(self, *, code: str | None, since_s: float, limit: int) -> list[Row]:
        """Failed utterances, and jobs that failed as a whole (no card), the newest first."""
        sql = FAILURES.format(**self._names)
        return self._rows(sql, code=code, since_s=since_s, limit=limit)

    def failure_codes(self, *, code: str | None, since_s: float) -> list[Row]:
        """How many failed by code, the most first."""
        sql = FAILURE_CODES.format(**self._names)
        return self._rows(sql, code=code, since_s=since_s)

    def clips(self, asked: Mapping[str, str], limit: int) -> list[Row]:
        """Stored clips of which all is true that is asked (`WHERE`), the newest first."""
        return self._rows(CLIPS.format(where=conditions(asked)), **asked, limit=limit)

    def last_ends(self, card_ids: Sequence[str]) -> dict[tuple[str, str], Row]:
        """How each card ended last, by card and language."""
        rows = self._rows(LAST_ENDS, ids=list(card_ids))
        return {(row["card_id"], row["language"]): row for row in rows}

    def replaced(self, card_ids: Sequence[str]) -> dict[tuple[str, str, str], str]:
        """The URL before a retake, by card, language and the URL that it brought."""
        rows = self._rows(REPLACED, ids=list(card_ids))
        return {(row["card_id"], row["language"], row["url"]): row["old_url"] for row in rows}

    def clip(self, name: str) -> Row | None:
        """The clip whose object has this name."""
        rows = self._rows(CLIP, name=name)
        return rows[0] if rows else None
