"""The shared rate: one row a provider and model, exchanged a few slots at a time."""

from __future__ import annotations

from dataclasses import fields

from memolist_tts.core import pacing
from memolist_tts.core.pacing import Pace, Seen
from memolist_tts.postgres.connection import Database, Row, Transaction

# The bucket as it is opened; another worker may have done so already.
OPEN = """
INSERT INTO tts.pace (provider, rate_per_s, burst, tokens)
VALUES (:provider, cast(:rate_per_s AS double precision), cast(:burst AS double precision),
        cast(:tokens AS double precision))
ON CONFLICT (provider) DO NOTHING
"""

# The bucket, locked until it is written back, and how long ago that last happened. Whoever holds
# it too long is not waited for: the timeout is set before the lock is asked for.
LOCK = """
WITH patience AS MATERIALIZED (SELECT set_config('lock_timeout', '1s', true) AS it)
SELECT p.rate_per_s, p.burst, p.tokens, p.limit_per_minute, p.latency_s, p.taken,
       p.learned_per_minute, p.calm_s, p.dropped_s, p.rest_s,
       p.minute_s, p.minute_taken, p.minute_before,
       cast(extract(epoch FROM clock_timestamp() - p.updated_at) AS double precision) AS elapsed_s,
       cast(greatest(0, extract(epoch FROM p.blocked_until - p.updated_at)) AS double precision)
         AS blocked_s
FROM patience CROSS JOIN tts.pace p
WHERE p.provider = :provider AND patience.it IS NOT NULL
FOR UPDATE OF p
"""

# The bucket after an exchange.
WRITE = """
UPDATE tts.pace
SET rate_per_s = cast(:rate_per_s AS double precision), burst = cast(:burst AS double precision),
    tokens = cast(:tokens AS double precision),
    limit_per_minute = cast(:limit_per_minute AS double precision),
    latency_s = cast(:latency_s AS double precision), taken = cast(:taken AS double precision),
    learned_per_minute = cast(:learned_per_minute AS double precision),
    calm_s = cast(:calm_s AS double precision), dropped_s = cast(:dropped_s AS double precision),
    rest_s = cast(:rest_s AS double precision), minute_s = cast(:minute_s AS double precision),
    minute_taken = cast(:minute_taken AS double precision),
    minute_before = cast(:minute_before AS double precision),
    blocked_until = clock_timestamp()
                    + make_interval(secs => cast(:blocked_s AS double precision)),
    updated_at = clock_timestamp()
WHERE provider = :provider
"""

COLUMNS = tuple(each.name for each in fields(Pace))


class SharedPace:
    """The port `PaceBook`: the arithmetic is the core's, the lock the database's."""

    def __init__(
        self,
        database: Database,
        *,
        requests_per_minute: float | None,
        opening_per_minute: float = pacing.OPENING_PER_MINUTE,
    ) -> None:
        """`requests_per_minute`: the operator's ceiling, and then the opening rate too.
        `opening_per_minute`: what is thought of an account before its first answer."""
        self._database = database
        self._ceiling = requests_per_minute
        self.has_ceiling = requests_per_minute is not None
        first = pacing.opening(requests_per_minute or opening_per_minute)
        self.opening = pacing.capped(first, requests_per_minute)

    def exchange(self, provider: str, seen: Seen, count: int) -> tuple[Pace, list[float]]:
        """Tell what was seen and take `count` slots (negative: give back).

        Returns the bucket and, for each slot, the seconds from now until it may be used.
        Raises `DatabaseError`, after a second where somebody holds the row.
        """

        def work(tx: Transaction) -> tuple[Pace, list[float]]:
            row = self._locked(tx, provider)
            stored = Pace(**{name: row[name] for name in COLUMNS})
            pace, waits = pacing.exchange(stored, row["elapsed_s"], seen, count, self._ceiling)
            written = {name: getattr(pace, name) for name in COLUMNS}
            tx.rows(WRITE, provider=provider, **written)
            return pace, waits

        return self._database.transaction(work)

    def _locked(self, tx: Transaction, provider: str) -> Row:
        rows = tx.rows(LOCK, provider=provider)
        if not rows:
            first = self.opening
            tx.rows(
                OPEN,
                provider=provider,
                rate_per_s=first.rate_per_s,
                burst=first.burst,
                tokens=first.tokens,
            )
            rows = tx.rows(LOCK, provider=provider)
        row = rows[0]
        row["blocked_s"] = row["blocked_s"] or 0.0
        return row
