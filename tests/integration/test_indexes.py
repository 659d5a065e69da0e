"""Which indexes the API's tables lack, and the statement that makes each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from local.postgres import connect
from local.schema import Shape
from memolist_tts.core.model import Language
from memolist_tts.postgres.connection import Database
from memolist_tts.postgres.jobs import PHRASES, Jobs
from memolist_tts.postgres.schema import inspect, missing_indexes

LANGUAGES = (Language(code="en", text_column="textEn", url_column="audioEnUrl"),)


def missing(url: str) -> list[str]:
    database = Database(url)
    try:
        return missing_indexes(database, inspect(database, LANGUAGES))
    finally:
        database.close()


def change(url: str, statement: str) -> None:
    connection = connect(url.split("?")[0])
    connection.run(statement)
    connection.close()


@pytest.mark.parametrize("schema", ["public", "memolist"])
def test_a_table_that_the_api_s_schema_made_lacks_none(
    new_database: Callable[..., str], schema: str
) -> None:
    assert missing(new_database(Shape(schema=schema))) == []


def test_a_missing_index_comes_with_the_statement_that_makes_it(
    new_database: Callable[..., str],
) -> None:
    url = new_database(Shape(schema="memolist"))
    change(url, 'DROP INDEX memolist."Card_listId_idx"')

    fixes = missing(url)

    assert fixes == ['CREATE INDEX CONCURRENTLY "Card_listId_idx" ON "memolist"."Card" ("listId")']
    change(url, fixes[0])
    assert missing(url) == []


@pytest.mark.parametrize(
    "index",
    [
        'CREATE INDEX other ON "Card" ("position", "listId")',
        'CREATE INDEX part ON "Card" ("listId") WHERE "audioEnUrl" IS NULL',
        'CREATE INDEX hashed ON "Card" (lower("listId"))',
    ],
)
def test_an_index_that_would_not_serve_counts_as_none(database: str, index: str) -> None:
    change(database, 'DROP INDEX "Card_listId_idx"')
    change(database, index)

    assert len(missing(database)) == 1


def test_an_index_that_begins_with_the_column_serves(database: str) -> None:
    change(database, 'DROP INDEX "Card_listId_idx"')
    change(database, 'CREATE INDEX both_columns ON "Card" ("listId", "position")')

    assert missing(database) == []


def test_cards_whose_list_is_another_type_than_a_job_s_need_an_index_on_its_text(
    database: str,
) -> None:
    change(database, 'ALTER TABLE "Card" ALTER COLUMN "listId" TYPE uuid USING gen_random_uuid()')

    (fix,) = missing(database)
    statement, _, instead = fix.partition(", or ")

    assert instead == 'give both "listId" one type'
    change(database, statement)
    assert missing(database) == []


@pytest.mark.parametrize(
    ("table", "kind"), [("TtsJob", "uuid USING gen_random_uuid()"), ("Card", "varchar(36)")]
)
def test_cards_whose_list_is_text_serve_jobs_of_any_type(
    database: str, table: str, kind: str
) -> None:
    change(database, f'ALTER TABLE "{table}" ALTER COLUMN "listId" TYPE {kind}')

    assert missing(database) == []
    plan = plan_of_a_read(database)
    assert "Card_listId_idx" in plan, plan


def plan_of_a_read(url: str) -> str:
    database = Database(url)
    try:
        api = inspect(database, LANGUAGES)
        read = PHRASES.format(**Jobs(database, api, max_attempts=3)._names)
    finally:
        database.close()
    connection = connect(url.split("?")[0])
    # The table is empty here: what may be used is asked, not what is cheaper.
    connection.run("SET enable_seqscan = off")
    rows = connection.run(f"EXPLAIN {read}", id="x")
    connection.close()
    return "\n".join(row[0] for row in rows)
