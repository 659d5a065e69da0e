"""Jobs that an operator makes, what they are to say, and how it was before."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memolist_tts.core.errors import DatabaseError, MemolistError
from memolist_tts.core.model import Language
from memolist_tts.core.orders import Order
from memolist_tts.postgres.connection import Database, Row, Transaction
from memolist_tts.postgres.schema import Api, quoted

# A pending job over a list, of the user of the list's last job. Repeating it makes no second one.
INSERT = """
INSERT INTO {jobs} ("id", "listId", status, "createdAt"{columns})
SELECT cast(:id AS {job_id}), cast(:list_id AS {list_id}), 'pending', {now}{values}
ON CONFLICT ("id") DO NOTHING
"""
LAST_USER = """(SELECT l."userId" FROM {jobs} l WHERE l."listId" = cast(:list_id AS {list_id})
                 ORDER BY l."createdAt" DESC LIMIT 1)"""

# The only utterances of that job, and how each card was directed before.
SELECT = """
INSERT INTO tts.selection (job_id, card_id, language, old_url, voice, old_say, old_hint)
SELECT cast(:id AS text), x.card_id, x.language, x.old_url, x.voice, d.say, d.hint
FROM unnest(cast(:card_ids AS text[]), cast(:languages AS text[]), cast(:old_urls AS text[]),
            cast(:voices AS text[])) AS x (card_id, language, old_url, voice)
LEFT JOIN tts.direction d ON d.card_id = x.card_id AND d.language = x.language
ON CONFLICT (job_id, card_id, language) DO NOTHING
"""

# How a card is said from now on, the words as long as it shows this text; NULL leaves a part as it
# is, '' takes it away.
DIRECT = """
INSERT INTO tts.direction AS d (card_id, language, say, hint, shown)
VALUES (:card_id, :language, nullif(cast(:say AS text), ''), nullif(cast(:hint AS text), ''),
        cast(:shown AS text))
ON CONFLICT (card_id, language) DO UPDATE
SET say = CASE WHEN cast(:say AS text) IS NULL THEN d.say ELSE excluded.say END,
    hint = CASE WHEN cast(:hint AS text) IS NULL THEN d.hint ELSE excluded.hint END,
    shown = CASE WHEN cast(:say AS text) IS NULL THEN d.shown ELSE excluded.shown END,
    updated_at = clock_timestamp()
"""

# A card's last retake that isn't undone, and what it came to. One that made no audio counts where
# what it asked of the card is still in force.
LAST = """
SELECT s.job_id, s.old_url, u.url AS new_url, u.clip_key, u.clip_take,
       coalesce(u.state IN ('spoken', 'reused'), false) AS is_spoken,
       EXISTS (
         SELECT 1 FROM tts.clip g
         WHERE g.key = substring(s.old_url FROM '([^/]+)-[0-9]+\\.mp3$')
           AND g.deleted_at IS NOT NULL
           AND g.object_name = substring(s.old_url FROM '[^/]+$')) AS is_old_gone
FROM tts.selection s
LEFT JOIN tts.utterance u
  ON u.job_id = s.job_id AND u.card_id = s.card_id AND u.language = s.language
LEFT JOIN tts.direction d ON d.card_id = s.card_id AND d.language = s.language
WHERE s.card_id = :card_id AND s.language = :language AND s.undone_at IS NULL
  AND (u.state IN ('spoken', 'reused')
       OR (s.old_say, s.old_hint) IS DISTINCT FROM (d.say, d.hint))
ORDER BY s.made_at DESC LIMIT 1
"""

# Not undone -> undone; the direction there was before.
UNDO = """
UPDATE tts.selection SET undone_at = clock_timestamp()
WHERE job_id = :id AND card_id = :card_id AND language = :language AND undone_at IS NULL
RETURNING old_say, old_hint
"""
# Whether its job may speak it, or just has; held so until the undo is done, a retry waits.
IS_OPEN = """
SELECT j.status::text IN ('pending', 'processing') OR EXISTS (
  SELECT 1 FROM tts.utterance u
  WHERE u.job_id = :id AND u.card_id = :card_id AND u.language = :language
    AND u.state IN ('spoken', 'reused')) AS is_open
FROM {jobs} j WHERE j.id = cast(:id AS {job_id})
FOR NO KEY UPDATE OF j
"""

# Seen to be unused -> about to be given to its card again; not what has been deleted meanwhile.
KEEP = """
UPDATE tts.clip SET unused_since = CASE WHEN deleted_at IS NOT NULL THEN unused_since END
WHERE key = substring(cast(:url AS text) FROM '([^/]+)-[0-9]+\\.mp3$')
  AND object_name = substring(cast(:url AS text) FROM '[^/]+$')
RETURNING deleted_at IS NOT NULL AS is_gone
"""
PUT_BACK = """
UPDATE {cards} c SET {url} = :old_url{card_touched}
WHERE c.id = cast(:card_id AS {card_id}) AND c.{url}::text = :new_url
RETURNING c.id
"""
UNDIRECT = "DELETE FROM tts.direction WHERE card_id = :card_id AND language = :language"
WITHDRAW = """
UPDATE tts.clip SET withdrawn_at = clock_timestamp()
WHERE key = :key AND take = cast(:take AS integer)
"""

ADD_WORD = """
INSERT INTO tts.lexicon AS l (language, word, said) VALUES (:language, :word, :said)
ON CONFLICT (language, word) DO UPDATE SET said = excluded.said, updated_at = clock_timestamp()
"""
REMOVE_WORD = "DELETE FROM tts.lexicon WHERE language = :language AND word = :word RETURNING word"
WORDS = "SELECT language, word, said, updated_at FROM tts.lexicon ORDER BY language, word"


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """How a card is to be said; None leaves a part as it was, '' takes it away."""

    say: str | None = None
    hint: str | None = None


class _NotPutBack(Exception):
    """Undoes an undo: the card has changed."""


class Orders:
    """Makes jobs and takes them back. Needs the right to INSERT into "TtsJob"."""

    def __init__(self, database: Database, api: Api) -> None:
        self._database = database
        self._api = api
        jobs = api.jobs
        optional = {
            "updatedAt": jobs.now("updatedAt") if jobs.has("updatedAt") else "",
            "userId": LAST_USER,
        }
        has = {name: sql for name, sql in optional.items() if jobs.has(name)}
        names = {
            "jobs": jobs.name,
            "job_id": jobs.cast("id"),
            "list_id": jobs.cast("listId"),
            "now": jobs.now("createdAt"),
        }
        self._insert = INSERT.format(
            **names,
            columns="".join(f", {quoted(name)}" for name in has),
            values="".join(f", {sql.format(**names)}" for sql in has.values()),
        )

    def place(self, order: Order, direction: Direction | None = None) -> str:
        """Make the job of an order, in one transaction with what it is to say; its id.

        `direction` is for each of its utterances. Raises `DatabaseError` where the
        API's table takes no such row.
        """
        job_id = str(uuid.uuid4())

        def work(tx: Transaction) -> None:
            # First the selection: a job without one would speak the whole list.
            tx.rows(
                SELECT,
                id=job_id,
                card_ids=[pick.card_id for pick in order.picks],
                languages=[pick.language for pick in order.picks],
                old_urls=[pick.old_url for pick in order.picks],
                voices=[pick.voice for pick in order.picks],
            )
            for pick in order.picks if direction is not None else ():
                tx.rows(
                    DIRECT,
                    card_id=pick.card_id,
                    language=pick.language,
                    say=direction.say if direction else None,
                    hint=direction.hint if direction else None,
                    shown=pick.shown,
                )
            tx.rows(self._insert, id=job_id, list_id=order.list_id)

        if self._api.jobs.cast("id") == "bigint":
            raise MemolistError('the ids of "TtsJob" are numbers: only the API can make a job')
        try:
            self._database.transaction(work)
        except DatabaseError as error:
            if error.passes:
                raise
            told = f'{error}. It takes the right to INSERT into "TtsJob" (db/README.md).'
            raise DatabaseError(told) from error
        return job_id

    def undo(self, card_id: str, language: Language) -> tuple[str, str] | None:
        """Give a card the audio and the direction back that it had before its last retake.

        Returns the URL it had and the one it has now; None where the retake made no
        audio, and only its direction was taken back. Raises `MemolistError` where there
        is none or it is under way, or the card carries another audio by now.
        """
        known = self._api.cards.value("id", card_id) or card_id
        where = {"card_id": known, "language": language.code}
        last = self._last(card_id, where)

        def work(tx: Transaction) -> None:
            if not (before := tx.rows(UNDO, id=last["job_id"], **where)):
                # Done already: by this statement's lost answer, or by somebody else.
                return
            if not last["is_spoken"]:
                self._check_closed(tx, last["job_id"], where)
            say, hint = before[0]["old_say"], before[0]["old_hint"]
            tx.rows(UNDIRECT, **where)
            if say is not None or hint is not None:
                tx.rows(DIRECT, **where, say=say, hint=hint, shown=None)
            if last["is_spoken"]:
                self._put_back(tx, known, language, last)

        try:
            self._database.transaction(work)
        except _NotPutBack:
            raise MemolistError(
                f"card {card_id} carries another audio by now than that of its last retake"
            ) from None
        return (last["new_url"], last["old_url"]) if last["is_spoken"] else None

    def _last(self, card_id: str, where: Mapping[str, str]) -> Row:
        def find(tx: Transaction) -> list[Row]:
            return tx.rows(LAST, **where)

        last = next(iter(self._database.transaction(find)), None)
        if last is None or (last["is_spoken"] and not _has_old(last)):
            raise _nothing_to_undo(card_id, where["language"])
        return last

    def _check_closed(self, tx: Transaction, job_id: str, where: Mapping[str, str]) -> None:
        sql = IS_OPEN.format(jobs=self._api.jobs.name, job_id=self._api.jobs.cast("id"))
        if any(row["is_open"] for row in tx.rows(sql, id=job_id, **where)):
            raise MemolistError(
                f"the last retake of card {where['card_id']} is under way: "
                f"wait, or `memolist-tts cancel {job_id}` first"
            )

    def _put_back(self, tx: Transaction, card_id: str, language: Language, last: Row) -> None:
        cards = self._api.cards
        touched = cards.assign()
        sql = PUT_BACK.format(
            cards=cards.name,
            card_id=cards.cast("id"),
            url=quoted(language.url_column),
            card_touched=f", {touched}" if touched else "",
        )
        if any(row["is_gone"] for row in tx.rows(KEEP, url=last["old_url"])):
            raise _nothing_to_undo(card_id, language.code)
        if not tx.rows(sql, card_id=card_id, old_url=last["old_url"], new_url=last["new_url"]):
            raise _NotPutBack
        if f"/{last['clip_key']}-" in last["old_url"]:
            tx.rows(WITHDRAW, key=last["clip_key"], take=last["clip_take"])

    def add_word(self, language: str, word: str, said: str) -> None:
        """From now on `word` is said as `said`."""

        def work(tx: Transaction) -> None:
            tx.rows(ADD_WORD, language=language, word=word, said=said)

        self._database.transaction(work)

    def remove_word(self, language: str, word: str) -> bool:
        """From now on `word` is said as it is written. False: it was."""

        def work(tx: Transaction) -> Sequence[Row]:
            return tx.rows(REMOVE_WORD, language=language, word=word)

        return bool(self._database.transaction(work))

    def words(self) -> list[Row]:
        """The whole lexicon."""

        def work(tx: Transaction) -> list[Row]:
            return tx.rows(WORDS)

        return self._database.transaction(work)


def _nothing_to_undo(card_id: str, language: str) -> MemolistError:
    return MemolistError(f"card {card_id} has no retake in {language!r} to undo")


def _has_old(last: Row) -> bool:
    """Whether the audio that a retake replaced can be given back."""
    return last["old_url"] is not None and not last["is_old_gone"]
