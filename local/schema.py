"""The API's two tables as Prisma makes them, in each shape the worker must bear with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from local.postgres import connect

STATUSES = ("pending", "processing", "completed", "failed")
JOB_OPTIONS = (
    "startedAt",
    "updatedAt",
    "errorMessage",
    "totalCount",
    "doneCount",
    "failedCount",
    "userId",
    "options",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How one API's schema looks; the default has every column the worker can use."""

    id_type: Literal["text", "uuid"] = "text"
    status_type: Literal["text", "enum"] = "enum"
    time_type: Literal["timestamp", "timestamptz"] = "timestamp"
    schema: str = "public"
    job_columns: tuple[str, ...] = JOB_OPTIONS
    """Which of `JOB_OPTIONS` "TtsJob" has beyond what the worker needs."""
    has_position: bool = True
    languages: tuple[str, ...] = ("en", "fr")
    """"de" makes the columns "textDe" and "audioDeUrl" of "Card"."""
    statuses: tuple[str, ...] = STATUSES
    """The enum's values; a newer API has "cancelled" too."""


MINIMAL = Shape(status_type="text", job_columns=(), has_position=False)
"""No more than what the worker needs."""


def create_tables(url: str, shape: Shape | None = None) -> None:
    """Create "TtsJob" and "Card" in the database at `url`."""
    connection = connect(url)
    try:
        connection.run(";\n".join(statements(shape or Shape())))
    finally:
        connection.close()


def statements(shape: Shape) -> Iterator[str]:
    """The SQL that `prisma migrate` would run for this shape."""
    space = f'"{shape.schema}"'
    yield f"CREATE SCHEMA IF NOT EXISTS {space}"
    if shape.status_type == "enum":
        values = ", ".join(f"'{status}'" for status in shape.statuses)
        yield f'CREATE TYPE {space}."TtsJobStatus" AS ENUM ({values})'
    yield from _table(f'{space}."TtsJob"', "TtsJob", _job_columns(shape))
    yield from _table(f'{space}."Card"', "Card", _card_columns(shape))
    yield f'CREATE INDEX "TtsJob_status_idx" ON {space}."TtsJob" ("status")'
    yield f'CREATE INDEX "Card_listId_idx" ON {space}."Card" ("listId")'


def _table(name: str, plain_name: str, columns: dict[str, str]) -> Iterator[str]:
    body = [f'"{column}" {kind}' for column, kind in columns.items()]
    body.append(f'CONSTRAINT "{plain_name}_pkey" PRIMARY KEY ("id")')
    yield f"CREATE TABLE {name} ({', '.join(body)})"


def _job_columns(shape: Shape) -> dict[str, str]:
    identity, when = f"{shape.id_type} NOT NULL", _time(shape)
    status = f'"{shape.schema}"."TtsJobStatus"' if shape.status_type == "enum" else "text"
    optional = {
        "startedAt": when,
        # Prisma's client fills @updatedAt; the database has no default for it.
        "updatedAt": f"{when} NOT NULL",
        "errorMessage": "text",
        "totalCount": "integer NOT NULL DEFAULT 0",
        "doneCount": "integer NOT NULL DEFAULT 0",
        "failedCount": "integer NOT NULL DEFAULT 0",
        "userId": "text",
        "options": "jsonb",
    }
    return {
        "id": identity,
        "listId": identity,
        "status": f"{status} NOT NULL DEFAULT 'pending'",
        "createdAt": f"{when} NOT NULL DEFAULT CURRENT_TIMESTAMP",
        "completedAt": when,
        **{name: optional[name] for name in shape.job_columns},
    }


def _card_columns(shape: Shape) -> dict[str, str]:
    columns = {"id": f"{shape.id_type} NOT NULL", "listId": f"{shape.id_type} NOT NULL"}
    for language in shape.languages:
        columns[text_column(language)] = "text NOT NULL"
        columns[url_column(language)] = "text"
    if shape.has_position:
        columns["position"] = "integer NOT NULL DEFAULT 0"
    return columns


def _time(shape: Shape) -> str:
    return "timestamp(3)" if shape.time_type == "timestamp" else "timestamptz(3)"


def text_column(language: str) -> str:
    """ "Card"'s column for a text in `language`, as the default LANGUAGES names it."""
    return f"text{language.capitalize()}"


def url_column(language: str) -> str:
    """ "Card"'s column for the URL of that text's audio."""
    return f"audio{language.capitalize()}Url"
