"""All clips at once: what is written down, and what no card carries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from memolist_tts.postgres.connection import Database, Row, Transaction
from memolist_tts.postgres.schema import Api, quoted

PAGE = 1000
GRACE_S = 86_400.0
"""Between seeing that no card carries a clip and deleting it: far longer than any run."""

STORED = """
SELECT key, take, object_name, size_bytes, spoken_text, voice, stored_at FROM tts.clip
WHERE (key, take) > (cast(:key AS text), cast(:take AS integer))
  AND stored_at IS NOT NULL AND deleted_at IS NULL
  AND stored_at > clock_timestamp() - make_interval(secs => cast(:since_s AS double precision))
ORDER BY key, take LIMIT cast(:page AS integer)
"""

# Neither on a card nor what an undo would bring back.
UNUSED = """
  {on_no_card} AND NOT EXISTS (
    SELECT 1 FROM tts.selection s
    WHERE s.undone_at IS NULL AND substring(s.old_url FROM '[^/]+$') = k.object_name
      AND s.made_at > clock_timestamp()
                      - make_interval(secs => cast(:older_s AS double precision)))
"""
OLD = """
  k.stored_at < clock_timestamp() - make_interval(secs => cast(:older_s AS double precision))
  AND k.deleted_at IS NULL
"""
COUNT = f"""
SELECT count(*) AS clips, coalesce(sum(k.size_bytes), 0)::bigint AS size_bytes,
       count(*) FILTER (
         WHERE k.unused_since < clock_timestamp()
                                - make_interval(secs => cast(:grace_s AS double precision))) AS due
FROM tts.clip k WHERE {OLD} AND {UNUSED}
"""

# used -> seen to be unused, and back. Whoever gives the clip to a card takes the mark away first.
MARK = f"""
UPDATE tts.clip m SET unused_since = clock_timestamp()
FROM (SELECT k.key, k.take FROM tts.clip k
      WHERE k.unused_since IS NULL AND {OLD} AND {UNUSED} LIMIT cast(:limit AS integer)) x
WHERE m.key = x.key AND m.take = x.take AND m.unused_since IS NULL
RETURNING m.key
"""
UNMARK = f"""
UPDATE tts.clip k SET unused_since = NULL
WHERE k.unused_since IS NOT NULL AND k.deleted_at IS NULL AND NOT ({UNUSED})
"""

# unused for long -> given to no card any more; its row and take stay.
DELETE = f"""
UPDATE tts.clip m SET deleted_at = clock_timestamp()
FROM (SELECT k.key, k.take FROM tts.clip k
      WHERE k.unused_since < clock_timestamp()
                             - make_interval(secs => cast(:grace_s AS double precision))
        AND {OLD} AND {UNUSED} LIMIT cast(:limit AS integer)) x
WHERE m.key = x.key AND m.take = x.take AND m.deleted_at IS NULL AND m.unused_since IS NOT NULL
RETURNING m.key
"""
DELETED = """
SELECT object_name, size_bytes FROM tts.clip
WHERE unused_since IS NOT NULL AND deleted_at IS NOT NULL AND size_bytes IS NOT NULL
LIMIT cast(:limit AS integer)
"""
GONE = """
UPDATE tts.clip SET size_bytes = NULL
WHERE deleted_at IS NOT NULL AND object_name = :name
  AND key = substring(cast(:name AS text) FROM '^(.+)-[0-9]+\\.mp3$')
"""


class Stock:
    """The clips as the database has them."""

    def __init__(self, database: Database, api: Api) -> None:
        self._database = database
        self._on_no_card = " AND ".join(
            f"NOT EXISTS (SELECT 1 FROM {api.cards.name} c "
            f"WHERE substring(c.{quoted(each.url_column)}::text FROM '[^/]+$') = k.object_name)"
            for each in api.languages
        )

    def _rows(self, template: str, **params: object) -> list[Row]:
        sql = template.replace("{on_no_card}", self._on_no_card)

        def work(tx: Transaction) -> list[Row]:
            return tx.rows(sql, **params)

        return self._database.transaction(work)

    def stored(self, *, since_s: float) -> Iterator[Sequence[Row]]:
        """Pages of the clips that were stored lately."""
        key, take = "", -1
        while page := self._rows(STORED, key=key, take=take, since_s=since_s, page=PAGE):
            yield page
            key, take = page[-1]["key"], page[-1]["take"]

    def unused(self, *, older_s: float) -> Row:
        """How many clips no card carries, their bytes, and how many are due for deletion."""
        return self._rows(COUNT, older_s=older_s, grace_s=GRACE_S)[0]

    def mark(self, *, older_s: float, limit: int) -> int:
        """Note what no card carries, and forget it of what one carries again; how many anew."""
        self._rows(UNMARK, older_s=older_s)
        return len(self._rows(MARK, older_s=older_s, limit=limit))

    def delete(self, *, older_s: float, limit: int) -> int:
        """Give what has been unused for a day to no card any more; how many."""
        return len(self._rows(DELETE, older_s=older_s, grace_s=GRACE_S, limit=limit))

    def deleted(self, limit: int) -> list[Row]:
        """Deleted clips whose objects are still stored."""
        return self._rows(DELETED, limit=limit)

    def gone(self, name: str) -> None:
        """The object of a deleted clip is stored no more."""
        self._rows(GONE, name=name)
