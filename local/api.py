"""What Memolist's API does with its two tables: lists of cards in, jobs in, URLs out."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from local.postgres import connect
from local.schema import Shape, text_column, url_column

Row = dict[str, Any]


class Api:
    """One API over the tables of `create_tables(url, shape)`. A context manager; one thread."""

    def __init__(self, url: str, shape: Shape | None = None) -> None:
        self._shape = shape or Shape()
        self._connection = connect(url)
        self._last_at = datetime.min.replace(tzinfo=UTC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def add_list(self, phrases: Iterable[Sequence[str]]) -> str:
        """Insert a list of cards, each with one text a language; the list's id."""
        list_id = _new_id()
        self.add_cards(list_id, phrases)
        return list_id

    def add_cards(
        self, list_id: str, phrases: Iterable[Sequence[str]], first_position: int = 0
    ) -> None:
        """Insert further cards into a list."""
        for position, texts in enumerate(phrases, first_position):
            card: Row = {"id": _new_id(), "listId": list_id}
            for language, text in zip(self._shape.languages, texts, strict=True):
                card[text_column(language)] = text
            if self._shape.has_position:
                card["position"] = position
            self._insert("Card", card)

    def add_job(self, list_id: str, **columns: object) -> str:
        """Insert a pending job over a list; `columns` are further ones of "TtsJob"; its id."""
        job: Row = {"id": _new_id(), "listId": list_id, "status": "pending", **columns}
        now = self._now()
        if self._shape.time_type == "timestamp":
            now = now.replace(tzinfo=None)
        job.setdefault("createdAt", now)
        if "updatedAt" in self._shape.job_columns:
            job.setdefault("updatedAt", now)
        return self._insert("TtsJob", job)

    def job(self, job_id: str) -> Row:
        """The row of one job; status as text."""
        where = '"id"::text = :id'
        return self.rows(
            f'SELECT *, "status"::text AS status FROM {self._at("TtsJob")} WHERE {where}', id=job_id
        )[0]

    def cards(self, list_id: str) -> list[Row]:
        """A list's cards, in order where they have one."""
        order = '"position"' if self._shape.has_position else '"id"'
        where = '"listId"::text = :list_id'
        return self.rows(
            f"SELECT * FROM {self._at('Card')} WHERE {where} ORDER BY {order}", list_id=list_id
        )

    def rows(self, statement: str, **parameters: object) -> list[Row]:
        """Run any statement; its rows by column name."""
        rows = self._connection.run(statement, **parameters)
        columns = [column["name"] for column in self._connection.columns or ()]
        return [dict(zip(columns, row, strict=True)) for row in rows or ()]

    def _now(self) -> datetime:
        """Later than the last by what `timestamp(3)` can tell, so that jobs have one order."""
        self._last_at = max(datetime.now(UTC), self._last_at + timedelta(milliseconds=1))
        return self._last_at

    def _insert(self, table: str, row: Row) -> str:
        names = ", ".join(f'"{name}"' for name in row)
        values = ", ".join(f":{name}" for name in row)
        self._connection.run(f"INSERT INTO {self._at(table)} ({names}) VALUES ({values})", **row)
        return str(row["id"])

    def _at(self, table: str) -> str:
        return f'"{self._shape.schema}"."{table}"'


def audio_urls(card: Row, languages: Iterable[str] = ("en", "fr")) -> list[str | None]:
    """The URLs a card carries, one a language."""
    return [card[url_column(language)] for language in languages]


def _new_id() -> str:
    return str(uuid.uuid4())
