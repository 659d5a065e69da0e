"""What the database holds: the API's two tables as they are, and our own schema."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memolist_tts.core.errors import SchemaMismatch
from memolist_tts.core.model import Language
from memolist_tts.postgres.connection import Database, Row, Transaction

# Every column of a schema's table, with the name of its type and an enum's labels.
COLUMNS = """
SELECT c.relname AS table_name, a.attname AS column_name, t.typname AS type_name,
       CASE WHEN t.typname = 'varchar' AND a.atttypmod > 4 THEN a.atttypmod - 4 END AS size,
       (SELECT array_agg(e.enumlabel) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
         AS labels
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type d ON d.oid = a.atttypid
JOIN pg_catalog.pg_type t ON t.oid = CASE d.typtype WHEN 'd' THEN d.typbasetype ELSE d.oid END
WHERE n.nspname = cast(:schema AS text) AND c.relname = ANY(cast(:tables AS text[]))
  AND c.relkind IN ('r', 'p', 'v')
"""

# What every whole, valid index of a table starts with: a column or an expression.
INDEXED = """
SELECT c.relname AS table_name,
       coalesce(a.attname, pg_catalog.pg_get_indexdef(i.indexrelid, 1, true)) AS starts_with
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree'
WHERE n.nspname = cast(:schema AS text) AND c.relname = ANY(cast(:tables AS text[]))
  AND i.indisvalid AND i.indpred IS NULL
"""

# One migration at a time, for as long as its transaction lasts.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('memolist-tts migrate'))"

NEEDED_INDEXES = (("TtsJob", "id"), ("TtsJob", "status"), ("Card", "id"), ("Card", "listId"))
"""Of the API's tables: without them each claim, look and flush reads the whole table."""
STATUSES = ("pending", "processing", "completed", "failed")
URL_CHARACTERS = 100
"""A clip's name has 73; a CDN's host and scheme come before it."""
LATER_COLUMNS = {
    ("clip", "held_until"),
    ("pace", "taken"),
    ("job", "user_id"),
    ("job", "acted_by"),
    ("clip", "withdrawn_at"),
    ("clip", "unused_since"),
    ("clip", "deleted_at"),
    ("pause", "user_id"),
}
"""What migrations after the first added to its tables."""
OUR_TABLES = (
    "job", "clip", "utterance", "pace", "pause", "progress", "failure", "lexicon", "direction",
    "selection", "spend", "hold", "partial", "canary", "canary_phrase", "canary_base",
)  # fmt: skip


def quoted(name: str) -> str:
    """An identifier as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the API: its qualified name and the types of its columns."""

    name: str
    types: dict[str, str]
    sizes: dict[str, int] = field(default_factory=dict)
    """The most characters of each `varchar(n)`."""

    def has(self, column: str) -> bool:
        return column in self.types

    def now(self, column: str) -> str:
        """The current time as `column` holds it: UTC in Prisma's `timestamp(3)`."""
        if self.types[column] == "timestamptz":
            return "clock_timestamp()"
        return "timezone('UTC', clock_timestamp())"

    def cast(self, column: str) -> str:
        """The type a parameter is compared in, so that the column's index serves."""
        integers = dict.fromkeys(("int2", "int4", "int8"), "bigint")
        return ({"uuid": "uuid"} | integers).get(self.types[column], "text")

    def value(self, column: str, text: str) -> str | None:
        """`text` as PostgreSQL writes a value of `column`; None where it can't be one.

        One id has many spellings (a uuid in capitals, a number with zeros before it),
        and our tables know it by the one that `id::text` gives.
        """
        try:
            match self.cast(column):
                case "uuid":
                    return str(uuid.UUID(text))
                case "bigint":
                    number = int(text)
                    return str(number) if -(2**63) <= number < 2**63 else None
        except ValueError:
            return None
        return text

    def fitting(self, column: str, sql: str) -> str:
        """`sql`, cut to what `column` takes."""
        size = self.sizes.get(column)
        return sql if size is None else f"left({sql}, {size})"

    def assign(self, **values: str) -> str:
        """`SET` fragments for those of the columns that exist, always with "updatedAt"."""
        if self.has("updatedAt"):
            values["updatedAt"] = self.now("updatedAt")
        return ", ".join(
            f"{quoted(name)} = {sql}" for name, sql in values.items() if self.has(name)
        )


@dataclass(frozen=True, slots=True)
class Api:
    """The API's side of the database."""

    jobs: Table
    cards: Table
    languages: tuple[Language, ...]


def paused(table: Table) -> str:
    """Whether a pause keeps the job `j` of `table` from being claimed."""
    return f"""EXISTS (
      SELECT 1 FROM tts.pause p
      WHERE p.until > clock_timestamp() AND (p.user_id IS NULL OR p.user_id = {user(table)}))"""


def user(table: Table) -> str:
    """Whose the job `j` of `table` is, where the API tells."""
    return 'j."userId"::text' if table.has("userId") else "NULL::text"


def inspect(database: Database, languages: Sequence[Language]) -> Api:
    """Look at the catalogue once. Raises `SchemaMismatch` listing all that is missing."""
    schema = database.address.schema

    def work(tx: Transaction) -> tuple[list[Row], list[Row]]:
        return (
            tx.rows(COLUMNS, schema=schema, tables=["TtsJob", "Card"]),
            tx.rows(COLUMNS, schema="tts", tables=list(OUR_TABLES)),
        )

    rows, our_rows = database.transaction(work)
    ours = {(row["table_name"], row["column_name"]) for row in our_rows}
    types = {name: _by_column(rows, name, "type_name") for name in ("TtsJob", "Card")}
    sizes = {name: _by_column(rows, name, "size") for name in ("TtsJob", "Card")}
    labels = _by_column(rows, "TtsJob", "labels")
    faults = [
        *_missing(schema, "TtsJob", types, ("id", "listId", "status", "createdAt", "completedAt")),
        *_missing(schema, "Card", types, _card_columns(languages)),
        *_labels(labels.get("status")),
        *_short(sizes["Card"], languages),
    ]
    held = {table for table, _ in ours}
    missing = [f"tts.{name}" for name in OUR_TABLES if name not in held]
    missing += ["tts.{}.{}".format(*column) for column in LATER_COLUMNS - ours if column[0] in held]
    if missing:
        faults.append(f"{', '.join(missing)}: run `memolist-tts migrate`")
    if faults:
        raise SchemaMismatch("The database lacks:\n" + "\n".join(f"  - {f}" for f in faults))
    prefix = quoted(schema) + "."
    return Api(
        jobs=Table(prefix + '"TtsJob"', types["TtsJob"], sizes["TtsJob"]),
        cards=Table(prefix + '"Card"', types["Card"], sizes["Card"]),
        languages=tuple(languages),
    )


def missing_indexes(database: Database, api: Api) -> list[str]:
    """The statements that make the indexes we need on the API's tables and that aren't there.

    For the API's side to run, or its Prisma schema to name (`@@index([listId])`): we
    alter no table of the API's. Raises `DatabaseError`.
    """
    names = {"TtsJob": api.jobs.name, "Card": api.cards.name}

    def work(tx: Transaction) -> list[Row]:
        return tx.rows(INDEXED, schema=database.address.schema, tables=list(names))

    there = {(row["table_name"], row["starts_with"]) for row in database.transaction(work)}
    fixes = [
        f"CREATE INDEX CONCURRENTLY {quoted(f'{table}_{column}_idx')} "
        f"ON {names[table]} ({quoted(column)})"
        for table, column in NEEDED_INDEXES
        if (table, column) not in there
    ]
    if lists_differ(api.jobs, api.cards) and ("Card", '("listId"::text)') not in there:
        fixes.append(
            f'CREATE INDEX CONCURRENTLY "Card_listId_text_idx" ON {names["Card"]} '
            '(("listId"::text)), or give both "listId" one type'
        )
    return fixes


def lists_differ(jobs: Table, cards: Table) -> bool:
    """Whether a job's "listId" can be compared with a card's as text only."""
    mine, theirs = jobs.cast("listId"), cards.cast("listId")
    return theirs != "text" and mine != theirs


def _by_column(rows: Sequence[Row], table: str, what: str) -> dict[str, Any]:
    return {
        row["column_name"]: row[what]
        for row in rows
        if row["table_name"] == table and row[what] is not None
    }


def _short(sizes: dict[str, int], languages: Sequence[Language]) -> list[str]:
    return [
        f'column "{each.url_column}" of "Card" takes {sizes[each.url_column]} characters: '
        f"a clip's URL has {URL_CHARACTERS} and more; make it text on the API's side"
        for each in languages
        if sizes.get(each.url_column, URL_CHARACTERS) < URL_CHARACTERS
    ]


def _card_columns(languages: Sequence[Language]) -> tuple[str, ...]:
    per_language = [(each.text_column, each.url_column) for each in languages]
    return ("id", "listId", *(column for pair in per_language for column in pair))


def _missing(
    schema: str, table: str, types: dict[str, dict[str, str]], needed: Sequence[str]
) -> list[str]:
    if not types[table]:
        return [
            f'table "{table}" in schema "{schema}": run the API\'s migrations, '
            "or name its schema with ?schema= in DATABASE_URL"
        ]
    return [
        f'column "{column}" of "{table}": add it on the API\'s side'
        + (" or correct LANGUAGES" if table == "Card" and column not in ("id", "listId") else "")
        for column in needed
        if column not in types[table]
    ]


def _labels(labels: list[str] | None) -> list[str]:
    if labels is None or not (missing := [name for name in STATUSES if name not in labels]):
        return []
    return [f'value {", ".join(missing)} of the enum of "TtsJob".status: add it on the API\'s side']


def migrate(url: str) -> list[str]:
    """Bring the schema `tts` up to date; safe to repeat. Returns the files applied."""
    database = Database(url)
    files = sorted(_folder().glob("*.sql"))

    def work(tx: Transaction) -> None:
        tx.script(LOCK)
        for file in files:
            tx.script(file.read_text(encoding="utf-8"))

    try:
        database.transaction(work)
    finally:
        database.close()
    return [file.name for file in files]


def _folder() -> Path:
    """In the wheel beside this module; in a checkout where psql finds them too."""
    packaged = Path(__file__).parent / "migrations"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "db" / "migrations"
