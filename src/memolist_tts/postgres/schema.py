"""What the database holds: the API's two tables as they are, and our own schema."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memolist_tts.core.errors import SchemaMismatch
from memolist_tts.core.model import Language
from memolist_tts.postgres.connection import Database, Transaction

# Every column of a schema's table, with the name of its type and an enum's labels.
COLUMNS = """
SELECT c.relname AS table_name, a.attname AS column_name, t.typname AS type_name,
       (SELECT array_agg(e.enumlabel) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
         AS labels
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE n.nspname = cast(:schema AS text) AND c.relname = ANY(cast(:tables AS text[]))
  AND c.relkind IN ('r', 'p', 'v')
"""

# One migration at a time, for as long as its transaction lasts.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('memolist-tts migrate'))"

STATUSES = ("pending", "processing", "completed", "failed")
OUR_TABLES = ("job", "clip", "utterance", "pace", "pause", "progress", "failure")


def quoted(name: str) -> str:
    """An identifier as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the API: its qualified name and the types of its columns."""

    name: str
    types: dict[str, str]

    def has(self, column: str) -> bool:
        return column in self.types

    def now(self, column: str) -> str:
        """The current time as `column` holds it: UTC in Prisma's `timestamp(3)`."""
        if self.types[column] == "timestamptz":
            return "clock_timestamp()"
        return "timezone('UTC', clock_timestamp())"

    def cast(self, column: str) -> str:
        """The type a parameter is compared in, so that the column's index serves."""
        return {"uuid": "uuid", "int4": "bigint", "int8": "bigint"}.get(self.types[column], "text")

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


def inspect(database: Database, languages: Sequence[Language]) -> Api:
    """Look at the catalogue once. Raises `SchemaMismatch` listing all that is missing."""
    schema = database.address.schema

    def work(tx: Transaction) -> tuple[dict[str, dict[str, str]], set[str], dict[str, list[str]]]:
        api = tx.rows(COLUMNS, schema=schema, tables=["TtsJob", "Card"])
        ours = tx.rows(COLUMNS, schema="tts", tables=list(OUR_TABLES))
        types: dict[str, dict[str, str]] = {}
        for row in api:
            types.setdefault(row["table_name"], {})[row["column_name"]] = row["type_name"]
        labels = {
            row["column_name"]: row["labels"]
            for row in api
            if row["table_name"] == "TtsJob" and row["labels"]
        }
        return types, {row["table_name"] for row in ours}, labels

    types, ours, labels = database.transaction(work)
    faults = [
        *_missing(schema, "TtsJob", types, ("id", "listId", "status", "createdAt", "completedAt")),
        *_missing(schema, "Card", types, _card_columns(languages)),
        *_labels(labels.get("status")),
    ]
    if missing := [f"tts.{name}" for name in OUR_TABLES if name not in ours]:
        faults.append(f"{', '.join(missing)}: run `memolist-tts migrate`")
    if faults:
        raise SchemaMismatch("The database lacks:\n" + "\n".join(f"  - {f}" for f in faults))
    prefix = quoted(schema) + "."
    return Api(
        jobs=Table(prefix + '"TtsJob"', types["TtsJob"]),
        cards=Table(prefix + '"Card"', types["Card"]),
        languages=tuple(languages),
    )


def _card_columns(languages: Sequence[Language]) -> tuple[str, ...]:
    per_language = [(each.text_column, each.url_column) for each in languages]
    return ("id", "listId", *(column for pair in per_language for column in pair))


def _missing(
    schema: str, table: str, types: dict[str, dict[str, str]], needed: Sequence[str]
) -> list[str]:
    if table not in types:
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
