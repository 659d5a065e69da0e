"""What runs spend, and what is set aside: budgets that all workers share."""

from __future__ import annotations

from collections.abc import Sequence

from memolist_tts.core.model import Job
from memolist_tts.core.ports import Granted, Spent
from memolist_tts.postgres.connection import Database, Row, Transaction

# One worker at a time asks what is left, for as long as its transaction lasts.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('memolist-tts spend'))"

# What a run has set aside; the day is that of its first call.
HOLD = """
INSERT INTO tts.hold AS h (lease, job_id, day, usd)
VALUES (cast(:lease AS uuid), :id, cast(timezone('UTC', clock_timestamp()) AS date),
        cast(:usd AS numeric))
ON CONFLICT (lease) DO UPDATE SET usd = excluded.usd
RETURNING h.day::text AS day
"""
RELEASE = "DELETE FROM tts.hold WHERE lease = cast(:lease AS uuid) RETURNING day::text AS day"
HOLD_MORE = """
UPDATE tts.hold SET usd = usd + cast(:usd AS numeric) WHERE lease = cast(:lease AS uuid)
"""

# A run's own sums, again and again.
SPEND = """
INSERT INTO tts.spend AS s (lease, model, voice, language, is_reported, job_id, user_id, day,
                            calls, characters, cost_usd)
SELECT cast(:lease AS uuid), x.model, x.voice, x.language, x.is_reported, cast(:id AS text),
       cast(:user AS text),
       coalesce(cast(:day AS date), cast(timezone('UTC', clock_timestamp()) AS date)),
       x.calls, x.characters, x.cost_usd
FROM unnest(cast(:models AS text[]), cast(:voices AS text[]), cast(:languages AS text[]),
            cast(:reported AS boolean[]), cast(:calls AS integer[]),
            cast(:characters AS bigint[]), cast(:costs AS numeric[]))
     AS x (model, voice, language, is_reported, calls, characters, cost_usd)
ON CONFLICT (lease, model, voice, language, is_reported) DO UPDATE
SET calls = excluded.calls, characters = excluded.characters, cost_usd = excluded.cost_usd
"""

# Of the run's day and of its job: spent, and set aside.
USED = """
SELECT
  cast((SELECT coalesce(sum(cost_usd), 0) FROM tts.spend WHERE day = cast(:day AS date))
       + (SELECT coalesce(sum(usd), 0) FROM tts.hold WHERE day = cast(:day AS date))
       AS double precision) AS day_usd,
  cast((SELECT coalesce(sum(cost_usd), 0) FROM tts.spend WHERE job_id = :id)
       + (SELECT coalesce(sum(usd), 0) FROM tts.hold WHERE job_id = :id)
       AS double precision) AS job_usd,
  cast(greatest(1, extract(epoch FROM cast(:day AS date) + 1
                                      - timezone('UTC', clock_timestamp())))
       AS double precision) AS day_ends_s
"""

TODAY = """
SELECT
  cast((SELECT coalesce(sum(cost_usd), 0) FROM tts.spend
        WHERE day = cast(timezone('UTC', clock_timestamp()) AS date)) AS double precision)
    AS spent_usd,
  cast((SELECT coalesce(sum(usd), 0) FROM tts.hold
        WHERE day = cast(timezone('UTC', clock_timestamp()) AS date)) AS double precision)
    AS held_usd
"""

# What was spent within some days, in sums by one thing.
COSTS = """
SELECT {by} AS name, sum(calls)::bigint AS calls, sum(characters)::bigint AS characters,
       coalesce(sum(cost_usd) FILTER (WHERE is_reported), 0) AS reported_usd,
       coalesce(sum(cost_usd) FILTER (WHERE NOT is_reported), 0) AS estimated_usd
FROM tts.spend
WHERE day > cast(timezone('UTC', clock_timestamp()) AS date) - cast(:days AS integer)
GROUP BY {by}
ORDER BY {order}
LIMIT cast(:limit AS integer)
"""
BY = {
    "day": "day::text",
    "job": "job_id",
    "user": "coalesce(user_id, 'unknown')",
    "voice": "voice",
    "model": "model",
    "language": "language",
}


class SpendBook:
    """The port `Ledger` over one database."""

    def __init__(
        self, database: Database, *, job_budget_usd: float | None, day_budget_usd: float | None
    ) -> None:
        self._database = database
        self._job_budget = job_budget_usd
        self._day_budget = day_budget_usd

    @property
    def is_limited(self) -> bool:
        return self._job_budget is not None or self._day_budget is not None

    def exchange(
        self, job: Job, spent: Sequence[Spent], *, held_usd: float, want_usd: float
    ) -> Granted:
        """Write what the run spent and holds, and set more aside if the budgets allow it."""

        def work(tx: Transaction) -> Granted:
            if want_usd > 0:
                tx.rows(LOCK)
            if want_usd > 0 or held_usd > 0:
                held = tx.rows(HOLD, lease=job.lease, id=job.id, usd=_usd(held_usd))
            else:
                held = tx.rows(RELEASE, lease=job.lease)
            day = held[0]["day"] if held else None
            if spent:
                _spend(tx, job, day, spent)
            if want_usd <= 0:
                return Granted()
            used = tx.rows(USED, day=day, id=job.id)[0]
            granted = self._granted(used, want_usd)
            tx.rows(HOLD_MORE, lease=job.lease, usd=_usd(granted.usd))
            return granted

        return self._database.transaction(work)

    def _granted(self, used: Row, want_usd: float) -> Granted:
        day = None if self._day_budget is None else self._day_budget - used["day_usd"]
        job = None if self._job_budget is None else self._job_budget - used["job_usd"]
        left = [each for each in (day, job) if each is not None]
        return Granted(
            usd=max(0.0, min([want_usd, *left])),
            job_left_usd=job,
            day_left_usd=day,
            job_budget_usd=self._job_budget,
            day_budget_usd=self._day_budget,
            day_ends_s=used["day_ends_s"],
        )

    def today(self) -> Row:
        """US dollars spent and set aside today (UTC)."""

        def work(tx: Transaction) -> Row:
            return tx.rows(TODAY)[0]

        return self._database.transaction(work)

    def costs(self, by: str, *, days: int, limit: int) -> list[Row]:
        """What was spent within `days`, by one of `BY`: the most first, days in their order."""
        order = "name DESC" if by == "day" else "sum(cost_usd) DESC, name"

        def work(tx: Transaction) -> list[Row]:
            return tx.rows(COSTS.format(by=BY[by], order=order), days=days, limit=limit)

        return self._database.transaction(work)


def _spend(tx: Transaction, job: Job, day: str | None, spent: Sequence[Spent]) -> None:
    tx.rows(
        SPEND,
        lease=job.lease,
        id=job.id,
        user=None if job.group == job.id else job.group,
        day=day,
        models=[each.model for each in spent],
        voices=[each.voice for each in spent],
        languages=[each.language for each in spent],
        reported=[each.is_reported for each in spent],
        calls=[each.calls for each in spent],
        characters=[each.characters for each in spent],
        costs=[_usd(each.cost_usd) for each in spent],
    )


def _usd(value: float) -> str:
    return f"{max(0.0, value):.6f}"
