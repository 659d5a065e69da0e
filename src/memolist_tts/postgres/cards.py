"""The API's cards as an operator looks for them: one, a list's, or page by page all that fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from memolist_tts.core.errors import BadInput, MemolistError
from memolist_tts.core.model import Language, Phrase
from memolist_tts.core.orders import Found
from memolist_tts.postgres.connection import Database, Row, Transaction
from memolist_tts.postgres.schema import Api, quoted

PAGE = 5000
"""Cards looked at in one statement."""

LEXICON = "SELECT language, word, said FROM tts.lexicon ORDER BY language, word"

# How an operator wants cards said.
DIRECTIONS = """
SELECT card_id, language, say, hint, shown FROM tts.direction
WHERE card_id = ANY(cast(:ids AS text[]))
"""

# The only utterances of a job that an operator made; any other job has none.
SELECTION = """
SELECT card_id, language, old_url, voice, undone_at IS NOT NULL AS is_undone
FROM tts.selection WHERE job_id = :id
"""

CARD = """
SELECT c.id::text AS card_id, c."listId"::text AS list_id, {texts_and_urls}
FROM {cards} c WHERE c.id = cast(:id AS {card_id})
"""
CLIPS_OF = """
SELECT c.object_name, c.voice, c.spoken_text FROM tts.clip c
WHERE c.key = ANY(cast(:keys AS text[])) AND c.stored_at IS NOT NULL
"""
OF_LIST = """
SELECT c.id::text AS card_id, {texts_and_urls}
FROM {cards} c WHERE c."listId" = cast(:id AS {list_id})
ORDER BY {card_order}
"""
LIST_EXISTS = """
SELECT 1 AS found FROM {cards} c WHERE c."listId" = cast(:id AS {list_id}) LIMIT 1
"""

# Of the next cards by id those that fit, and always the last id looked at.
PAGE_OF = """
WITH page AS MATERIALIZED (
  SELECT c.id, c."listId"::text AS list_id, c.{text}::text AS shown,
         nullif(c.{url}::text, '') AS url
  FROM {cards} c
  WHERE cast(:after AS {card_id}) IS NULL OR c.id > cast(:after AS {card_id})
  ORDER BY c.id LIMIT {page}
)
SELECT (SELECT p.id::text FROM page p ORDER BY p.id DESC LIMIT 1) AS last, m.*
FROM (VALUES (1)) one (row) LEFT JOIN ({fitting}) m ON true
"""

# Text and no audio, never tried in vain as it is, and no job open that will see to it.
MISSING = """
  SELECT p.id::text AS card_id, p.list_id, p.shown, p.url,
         NULL AS clip_voice, NULL AS clip_text
  FROM page p
  WHERE p.url IS NULL AND btrim(p.shown) <> ''
    AND (cast(:list AS text) IS NULL OR p.list_id = cast(:list AS text))
    AND NOT EXISTS (
      SELECT 1 FROM tts.utterance u
      WHERE u.card_id = p.id::text AND u.language = :language AND u.state IN ('failed', 'skipped')
        AND u.shown_text = p.shown)
    AND NOT EXISTS (
      SELECT 1 FROM {jobs} j
      WHERE j.status::text IN ('pending', 'processing') AND j."listId"::text = p.list_id)
"""

# A clip of ours of which all is true that is asked, and no job open that will replace it. With a
# `pattern`, not what says just what it shows where the pattern isn't in that: any other text may be
# spoken otherwise than it is shown (markup, abbreviations, earlier words), which SQL can't tell.
# OFFSET 0: clips are looked up by key, where the planner would read all of them for each page.
CARRYING = """
  SELECT p.id::text AS card_id, p.list_id, p.shown, p.url,
         c.voice AS clip_voice, c.spoken_text AS clip_text
  FROM page p CROSS JOIN LATERAL (
    SELECT k.* FROM tts.clip k
    WHERE k.key = substring(p.url FROM '([^/]+)-[0-9]+\\.mp3$')
      AND k.take = cast(substring(p.url FROM '-([0-9]{{1,6}})\\.mp3$') AS integer)
      AND k.stored_at IS NOT NULL
    OFFSET 0) c
  WHERE (cast(:pattern AS text) IS NULL OR p.shown ILIKE cast(:pattern AS text)
         OR c.spoken_text <> p.shown){where}
    AND NOT EXISTS (
      SELECT 1 FROM tts.selection s JOIN {jobs} j ON j.id = cast(s.job_id AS {job_id})
      WHERE s.card_id = p.id::text AND s.language = :language AND s.old_url = p.url
        AND s.undone_at IS NULL AND j.status::text IN ('pending', 'processing'))
"""
OF_CLIPS = {
    "voice": "c.voice = :voice",
    "model": "c.model = :model",
    "provider": "c.provider = :provider",
    "language": "c.language = :of_language",
    "card": "p.id::text = :card",
    "list": "p.list_id = :of_list",
}

# The keys of which a take is stored that others may be given.
STORED = """
SELECT DISTINCT ON (c.key) c.key, c.object_name, c.duration_ms FROM tts.clip c
WHERE c.key = ANY(cast(:keys AS text[])) AND c.stored_at IS NOT NULL AND c.withdrawn_at IS NULL
  AND c.deleted_at IS NULL
ORDER BY c.key, c.take DESC
"""


def texts_and_urls(api: Api) -> str:
    """The columns of each language, numbered."""
    return ", ".join(
        f"c.{quoted(each.text_column)}::text AS text_{n}, "
        f"c.{quoted(each.url_column)}::text AS url_{n}"
        for n, each in enumerate(api.languages)
    )


def card_order(api: Api) -> str:
    """The order in which a person sees a list's cards."""
    return ('c."position", ' if api.cards.has("position") else "") + "c.id"


def phrases_of(rows: Sequence[Row], languages: Sequence[Language]) -> list[Phrase]:
    """Each card in each language."""
    return [
        Phrase(
            card_id=row["card_id"],
            language=language.code,
            shown=row[f"text_{n}"],
            url=row[f"url_{n}"] or None,
        )
        for row in rows
        for n, language in enumerate(languages)
    ]


def lexicon(tx: Transaction) -> dict[str, dict[str, str]]:
    """Language to word to what is said for it."""
    words: dict[str, dict[str, str]] = {}
    for row in tx.rows(LEXICON):
        words.setdefault(row["language"], {})[row["word"]] = row["said"]
    return words


def directed(tx: Transaction, phrases: Sequence[Phrase]) -> list[Phrase]:
    """The phrases as an operator wants them said; other words only for the text he heard."""
    if not phrases:
        return []
    ids = sorted({phrase.card_id for phrase in phrases})
    found = {(row["card_id"], row["language"]): row for row in tx.rows(DIRECTIONS, ids=ids)}
    return [
        replace(
            phrase,
            say=row["say"] if row["shown"] in (None, phrase.shown) else None,
            hint=row["hint"],
        )
        if (row := found.get((phrase.card_id, phrase.language)))
        else phrase
        for phrase in phrases
    ]


def selected(tx: Transaction, job_id: str, phrases: Sequence[Phrase]) -> Sequence[Phrase]:
    """Of an operator's job what he selected and hasn't undone; of any other all."""
    rows = {(row["card_id"], row["language"]): row for row in tx.rows(SELECTION, id=job_id)}
    if not rows:
        return phrases
    return [
        replace(phrase, voice=row["voice"], replaces=row["old_url"])
        for phrase in phrases
        if (row := rows.get((phrase.card_id, phrase.language))) and not row["is_undone"]
    ]


def _name(phrase: Phrase) -> str:
    """The name of the object that a card's URL leads to."""
    return (phrase.url or "").rsplit("/", 1)[-1]


def _clips_of(tx: Transaction, phrases: Sequence[Phrase]) -> dict[str, Row]:
    """The clips that these cards carry, by the object's name."""
    keys = [_name(phrase).rsplit("-", 1)[0] for phrase in phrases if phrase.url]
    return {row["object_name"]: row for row in tx.rows(CLIPS_OF, keys=keys)}


def _no_list(list_id: str) -> MemolistError:
    return MemolistError(f'no "Card" has the listId {list_id!r}')


class Cards:
    """Cards in each language, with an operator's directions."""

    def __init__(self, database: Database, api: Api) -> None:
        self._database = database
        self._api = api
        self._names = {
            "jobs": api.jobs.name,
            "job_id": api.jobs.cast("id"),
            "cards": api.cards.name,
            "card_id": api.cards.cast("id"),
            "list_id": api.cards.cast("listId"),
            "texts_and_urls": texts_and_urls(api),
            "card_order": card_order(api),
        }

    def _sql(self, template: str, **names: object) -> str:
        return template.format(**self._names, **names)

    def card(self, card_id: str) -> list[Found]:
        """A card in each language. Raises `MemolistError` where there is none."""

        def work(tx: Transaction) -> list[Found]:
            rows = tx.rows(self._sql(CARD), id=known)
            phrases = directed(tx, phrases_of(rows, self._api.languages))
            clips = _clips_of(tx, phrases)
            return [
                Found(
                    list_id=rows[0]["list_id"],
                    phrase=phrase,
                    clip_voice=clips.get(_name(phrase), {}).get("voice"),
                    clip_text=clips.get(_name(phrase), {}).get("spoken_text"),
                )
                for phrase in phrases
            ]

        known = self._api.cards.value("id", card_id)
        found = self._database.transaction(work) if known is not None else []
        if not found:
            raise MemolistError(f'no "Card" has the id {card_id!r}')
        return found

    def of_list(self, list_id: str) -> list[Phrase]:
        """A list's cards in each language. Raises `MemolistError` where there are none."""

        def work(tx: Transaction) -> list[Phrase]:
            rows = tx.rows(self._sql(OF_LIST), id=known)
            return directed(tx, phrases_of(rows, self._api.languages))

        known = self._api.cards.value("listId", list_id)
        found = self._database.transaction(work) if known is not None else []
        if not found:
            raise _no_list(list_id)
        return found

    def _list(self, list_id: str) -> str:
        """A list's id as our tables spell it. Raises `MemolistError` where it has no cards."""

        def work(tx: Transaction) -> list[Row]:
            return tx.rows(self._sql(LIST_EXISTS), id=known)

        known = self._api.cards.value("listId", list_id)
        if known is None or not self._database.transaction(work):
            raise _no_list(list_id)
        return known

    def lexicon(self) -> dict[str, dict[str, str]]:
        """Language to word to what is said for it."""
        return self._database.transaction(lexicon)

    def stored(self, keys: Sequence[str]) -> dict[str, Row]:
        """Of these keys those of which a clip is stored, with its object's name and length."""

        def work(tx: Transaction) -> list[Row]:
            return tx.rows(STORED, keys=list(keys))

        return {row["key"]: row for row in self._database.transaction(work)}

    def missing(self, *, list_id: str | None) -> Iterator[list[Found]]:
        """Pages of what has a text, no audio, no error and no open job.

        Raises `MemolistError` where the list has no cards.
        """
        known = None if list_id is None else self._list(list_id)
        for language in self._api.languages:
            yield from self._pages(language, MISSING, list=known)

    def carrying(
        self, asked: Mapping[str, str], *, pattern: str | None = None
    ) -> Iterator[list[Found]]:
        """Pages of what carries a clip of ours of which all is true that is asked (`OF_CLIPS`).

        `pattern`, for ILIKE on the text shown, leaves out what says just what it shows and
        doesn't fit; other clips come whether they fit or not.
        """
        if unknown := [name for name in asked if name not in OF_CLIPS]:
            raise BadInput(f"--where {unknown[0]}=…: one can ask for {', '.join(OF_CLIPS)}")
        where = "".join(f"\n    AND {OF_CLIPS[name]}" for name in asked)
        renamed = {"language": "of_language", "list": "of_list"}
        values = {renamed.get(name, name): value for name, value in asked.items()}
        fitting = CARRYING.replace("{where}", where)
        for language in self._api.languages:
            if asked.get("language", language.code) == language.code:
                yield from self._pages(language, fitting, pattern=pattern, **values)

    def _pages(self, language: Language, fitting: str, **params: Any) -> Iterator[list[Found]]:
        sql = self._sql(
            PAGE_OF.replace("{fitting}", fitting),
            text=quoted(language.text_column),
            url=quoted(language.url_column),
            page=PAGE,
        )
        after: str | None = None

        def work(tx: Transaction) -> tuple[str | None, list[Found]]:
            rows = tx.rows(sql, after=after, language=language.code, **params)
            last = rows[0]["last"] if rows else None
            return last, self._found(tx, language, [row for row in rows if row["card_id"]])

        while True:
            after, found = self._database.transaction(work)
            if after is None:
                return
            yield found

    def _found(self, tx: Transaction, language: Language, rows: Sequence[Row]) -> list[Found]:
        phrases = [
            Phrase(
                card_id=row["card_id"], language=language.code, shown=row["shown"], url=row["url"]
            )
            for row in rows
        ]
        return [
            Found(
                list_id=row["list_id"],
                phrase=phrase,
                clip_voice=row["clip_voice"],
                clip_text=row["clip_text"],
            )
            for row, phrase in zip(rows, directed(tx, phrases), strict=True)
        ]
