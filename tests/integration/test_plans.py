"""The plans of the statements that run for every job: by index, however large the tables are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.schema import Shape
from memolist_tts.core.model import Language
from memolist_tts.postgres import canary, cards, clips, jobs, ledger, operator, orders, records
from memolist_tts.postgres.connection import Database, Transaction
from memolist_tts.postgres.schema import inspect

LANGUAGES = (
    Language(code="en", text_column="textEn", url_column="audioEnUrl"),
    Language(code="fr", text_column="textFr", url_column="audioFrUrl"),
)
ROWS = 20_000
MIGRATIONS = sorted((Path(__file__).parents[2] / "db" / "migrations").glob("*.sql"))
TOKEN = "6f1c1b5e-6a51-4d0e-9a39-1a1f0d7b8c11"
JOB = "6f1c1b5e-6a51-4d0e-9a39-000000000007"
FILL = f"""
INSERT INTO "TtsJob" (id, "listId", status, "userId")
SELECT CAST(CAST(x AS text) AS __ID__), CAST(CAST(x AS text) AS __ID__), 'completed',
       'user-' || right(x, 2)
FROM (SELECT '6f1c1b5e-6a51-4d0e-9a39-' || lpad(n::text, 12, '0') AS x
      FROM generate_series(1, {ROWS}) n) s;
INSERT INTO "Card" (id, "listId", "textEn", "textFr") SELECT id, id, 'a', 'b' FROM "TtsJob";
INSERT INTO tts.job (job_id, lease_token, lease_until, finished_at, user_id)
SELECT id::text, CAST('{TOKEN}' AS uuid), now(), now() - interval '1 day', "userId" FROM "TtsJob";
INSERT INTO tts.utterance (job_id, card_id, language, state, spoken_text)
SELECT job_id, 'card', language, 'spoken', '' FROM tts.job, (VALUES ('en'), ('fr')) l (language);
INSERT INTO tts.clip (key, take, object_name, provider, model, voice, language, spoken_text,
                      characters, stored_at)
SELECT 'v1-' || job_id, 0, '', '', '', '', '', '', 0, now() FROM tts.job;
INSERT INTO tts.spend
SELECT CAST('__TOKEN__' AS uuid), job_id, '', '', false, job_id, NULL,
       CAST('2026-01-01' AS date) + CAST(random() * 300 AS integer), 1, 1, 1 FROM tts.job;
INSERT INTO tts.selection (job_id, card_id, language, old_url)
SELECT job_id, job_id, 'en', 'x' FROM tts.job;
INSERT INTO tts.direction SELECT job_id, 'en', 'x' FROM tts.job;
INSERT INTO tts.canary (run_id, started_at, finished_at)
SELECT CAST(job_id AS uuid), now() - random() * interval '9 years', now() FROM tts.job;
INSERT INTO tts.canary_phrase (run_id, key, position, language, said, voice, model, state)
SELECT run_id, k::text, k, 'en', '', '', '', 'same' FROM tts.canary, generate_series(1, 8) k;
INSERT INTO tts.canary_base (key, run_id, speech_ms, active_dbfs)
SELECT 'v1-' || run_id, run_id, 1, 1 FROM tts.canary;
ANALYZE;
"""
PARAMETERS: dict[str, object] = {
    "id": JOB, "lease": TOKEN, "lease_s": 1.0, "max_attempts": 3, "renew_s": 0.0, "total": 1,
    "progress": True, "attempts": 0, "done": 1, "failed": 0, "status": "completed",
    "given_back": True, "delay_s": 0.0, "stop_code": None, "stop": None, "error_code": None,
    "error": None, "keys": [f"v1-{JOB}"], "force": True, "takes": [0], "sizes": [1],
    "durations": [1], "costs": ["0"], "request_ids": ["x"], "limit": 10, "user": "user-01",
    "turn_s": 10.0, "again_s": 1800.0, "act": TOKEN, "begun": [], "hold_s": 1.0, "card_ids": [JOB],
    "shown": ["a"], "old_urls": [None], "urls": ["https://u"], "fresh": [f"v1-{JOB}"],
    "code": "refused", "since_s": 60.0, "voice": "nova", "card": "x",
    "run": JOB, "day": "2026-03-01", "ids": [JOB], "card_id": JOB, "language": "en",
}  # fmt: skip


SHAPES = [("text", "text"), ("text", "enum"), ("uuid", "enum")]


@pytest.fixture(scope="module", params=SHAPES, ids=["-".join(shape) for shape in SHAPES])
def filled(
    request: pytest.FixtureRequest, databases: object, postgres: object
) -> Iterator[tuple[Database, jobs.Jobs]]:
    id_type, status_type = request.param
    shape = Shape(id_type=id_type, status_type=status_type, job_columns=("userId",))
    name = databases.create(shape, is_migrated=True)  # type: ignore[attr-defined]
    database = Database(postgres.url(name))  # type: ignore[attr-defined]
    database.transaction(
        lambda tx: tx.script(FILL.replace("__ID__", id_type).replace("__TOKEN__", TOKEN))
    )
    yield database, jobs.Jobs(database, inspect(database, LANGUAGES), max_attempts=3)
    database.close()
    postgres.drop(name)  # type: ignore[attr-defined]


def plan(
    filled: tuple[Database, jobs.Jobs], template: str, parameters: dict[str, object] = PARAMETERS
) -> str:
    database, all_jobs = filled
    settled = {"status": "completed", "settled": "", "url": '"audioEnUrl"', "text": '"textEn"'}
    of_a_user = "EXISTS (SELECT 1 FROM tts.pause p WHERE p.user_id = j.\"userId\")"
    names = all_jobs._names | {"now": "now()", "is_user_paused": of_a_user} | settled

    def explain(tx: Transaction) -> str:
        sql = template.format(**names)
        return "\n".join(row["QUERY PLAN"] for row in tx.rows("EXPLAIN " + sql, **parameters))

    # A row a reason: there is nothing to look up in it.
    return database.transaction(explain).replace("Seq Scan on pause", "pause")


@pytest.mark.parametrize(
    "statement",
    [
        "CLAIM", "FORGET", "EXISTS", "ENDED", "HOLD", "COUNT", "SHOW_COUNTS", "SETTLE", "ABANDON",
        "FIGURES", "FIRST_FAILURES", "STORE_CLIPS",
    ],
)  # fmt: skip
def test_a_statement_over_one_job_reads_no_whole_table(
    filled: tuple[Database, jobs.Jobs], statement: str
) -> None:
    assert "Seq Scan" not in plan(filled, getattr(jobs, statement))


@pytest.mark.parametrize("statement", ["PHRASES", "PUBLISH", "RELEASE_CLIPS", "HOLD_CLIPS"])
def test_a_job_s_cards_and_clips_are_found_without_the_others(
    filled: tuple[Database, jobs.Jobs], statement: str
) -> None:
    assert "Seq Scan" not in plan(filled, getattr(jobs, statement))


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        (jobs, "WAITING"), (jobs, "OTHERS_WAIT"), (jobs, "EXHAUST"),
        (operator, "DUE"), (operator, "GAUGES"), (operator, "OPEN"),
    ],
)  # fmt: skip
def test_what_looks_over_all_jobs_reads_none_that_has_ended(
    filled: tuple[Database, jobs.Jobs], module: object, statement: str
) -> None:
    everybody = PARAMETERS | {"id": None}

    assert "Seq Scan" not in plan(filled, getattr(module, statement), everybody)


@pytest.mark.parametrize("statement", ["STORED", "LOCK", "TAKE_OVER"])
def test_clips_are_found_by_their_keys(filled: tuple[Database, jobs.Jobs], statement: str) -> None:
    assert "Seq Scan" not in plan(filled, getattr(clips, statement))


@pytest.mark.parametrize(
    "statement", ["UTTERANCES", "FAILURES", "FAILURE_CODES", "CLIPS_OF_A_VOICE", "CLIPS_OF_A_CARD"]
)
def test_what_an_operator_looks_at_is_found_by_index(
    filled: tuple[Database, jobs.Jobs], statement: str
) -> None:
    asked = {"CLIPS_OF_A_VOICE": {"voice": "nova"}, "CLIPS_OF_A_CARD": {"card": "x"}}
    if statement in asked:
        where = records.conditions(asked[statement])
        sql = records.CLIPS.format(where=where)
    else:
        sql = getattr(records, statement)

    assert "Seq Scan" not in plan(filled, sql)


@pytest.mark.parametrize("statement", ["RETRYABLE", "FAILED_WITH"])
@pytest.mark.parametrize("code", ["refused", None])
def test_what_can_be_retried_is_found_by_index(
    filled: tuple[Database, jobs.Jobs], statement: str, code: str | None
) -> None:
    asked = PARAMETERS | {"code": code}

    assert "Seq Scan" not in plan(filled, getattr(operator, statement), asked)


@pytest.mark.parametrize(
    "statement",
    [ledger.USED, cards.DIRECTIONS, cards.SELECTION, cards.STORED, orders.LAST],
    ids=["USED", "DIRECTIONS", "SELECTION", "STORED", "LAST"],
)
def test_money_and_directions_are_found_by_index(
    filled: tuple[Database, jobs.Jobs], statement: str
) -> None:
    # What is set aside is a row a run under way.
    assert "Seq Scan" not in plan(filled, statement).replace("Seq Scan on hold", "hold")


# A row a day: to begin, it may well look at all of them.
@pytest.mark.parametrize(
    "statement", ["LAST", "LAST_HEARD", "PHRASES", "ACCEPTED", "FIRST", "ACCEPT", "FINISH", "MARK"]
)
def test_a_canary_reads_no_earlier_ones(
    filled: tuple[Database, jobs.Jobs], statement: str
) -> None:
    finished = {"phrases": 8, "added": 0, "drifted": 0, "unsound": 0, "unmeasured": 0}
    told = {"shift": None, "message": None, "cost_usd": "0"}

    assert "Seq Scan" not in plan(filled, getattr(canary, statement), PARAMETERS | finished | told)


def test_a_page_of_what_carries_clips_reads_no_more_than_its_cards(
    filled: tuple[Database, jobs.Jobs],
) -> None:
    carrying = cards.CARRYING.replace("{where}", "")
    page = cards.PAGE_OF.replace("{fitting}", carrying).replace("{page}", str(cards.PAGE))
    asked = PARAMETERS | {"after": JOB, "pattern": "%chat%"}

    found = plan(filled, page, asked)

    assert "Seq Scan on clip" not in found
    assert 'Seq Scan on "Card"' not in found


def test_a_plan_that_reads_a_whole_table_would_be_seen(
    filled: tuple[Database, jobs.Jobs],
) -> None:
    everything = "SELECT * FROM tts.utterance WHERE spoken_text = cast(:id AS text)"

    assert "Seq Scan" in plan(filled, everything)


def test_migrating_again_changes_nothing_and_the_apis_tables_stay_as_they_were(
    new_database: Callable[..., str],
) -> None:
    from memolist_tts.postgres.schema import migrate

    catalogue = """
    SELECT table_schema, table_name, column_name, data_type, is_nullable, column_default
    FROM information_schema.columns WHERE table_schema IN ('public', 'tts')
    UNION ALL
    SELECT schemaname, tablename, indexname, indexdef, NULL, NULL
    FROM pg_indexes WHERE schemaname IN ('public', 'tts') ORDER BY 1, 2, 3
    """
    url = new_database(is_migrated=False)
    database = Database(url)

    def there() -> list[dict[str, object]]:
        """Every column and index."""
        return database.transaction(lambda tx: tx.rows(catalogue))

    before = there()
    migrate(url)
    once = there()
    migrate(url)

    assert there() == once
    assert [row for row in once if row["table_schema"] == "public"] == before
    assert {row["table_name"] for row in once if row["table_schema"] == "tts"} == {
        "job", "clip", "utterance", "pace", "pause", "progress", "failure", "lexicon", "direction",
        "selection", "spend", "hold", "partial", "canary", "canary_phrase", "canary_base",
    }  # fmt: skip
    database.close()


@pytest.mark.parametrize("count", range(len(MIGRATIONS)))
def test_a_database_of_any_earlier_release_is_brought_up_to_date(
    new_database: Callable[..., str], count: int
) -> None:
    from memolist_tts.postgres.schema import migrate

    url = new_database(is_migrated=False)
    database = Database(url)
    earlier = "\n".join(file.read_text() for file in MIGRATIONS[:count])
    database.transaction(lambda tx: tx.script(earlier))

    migrate(url)

    assert inspect(database, LANGUAGES).languages == LANGUAGES
    database.close()
