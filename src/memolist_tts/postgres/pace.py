"""The shared rate: one row a provider and model, exchanged a few slots at a time."""

from __future__ import annotations

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

# The bucket, locked until it is written back, and how long ago that last happened.
LOCK = """
SELECT rate_per_s, burst, tokens, limit_per_minute, latency_s,
       cast(extract(epoch FROM clock_timestamp() - updated_at) AS double precision) AS elapsed_s,
       cast(greatest(0, extract(epoch FROM blocked_until - updated_at)) AS double precision)
         AS blocked_s
FROM tts.pace WHERE provider = :provider FOR UPDATE
"""

# The bucket after an exchange.
WRITE = """
UPDATE tts.pace
SET rate_per_s = cast(:rate_per_s AS double precision), burst = cast(:burst AS double precision),
    tokens = cast(:tokens AS double precision),
    limit_per_minute = cast(:limit_per_minute AS double precision),
    latency_s = cast(:latency_s AS double precision),
    blocked_until = clock_timestamp()
                    + make_interval(secs => cast(:blocked_s AS double precision)),
    updated_at = clock_timestamp()
WHERE provider = :provider
"""


class SharedPace:
    """The port `PaceBook`: the arithmetic is the core's, the lock the database's."""

    def __init__(
        self, database: Database, *, in_flight: int, requests_per_minute: float | None
    ) -> None:
        self._database = database
        self._opening = pacing.opening(in_flight)
        self._ceiling = requests_per_minute

    def exchange(self, provider: str, seen: Seen, count: int) -> tuple[Pace, list[float]]:
        """Tell what was seen and take `count` slots (negative: give back).

        Returns the bucket and, for each slot, the seconds from now until it may be used.
        """

        def work(tx: Transaction) -> tuple[Pace, list[float]]:
            pace = self._locked(tx, provider)
            pace = pacing.capped(pacing.learn(pace, seen), self._ceiling)
            pace, waits = pacing.take(pace, count)
            tx.rows(
                WRITE,
                provider=provider,
                rate_per_s=pace.rate_per_s,
                burst=pace.burst,
                tokens=pace.tokens,
                limit_per_minute=pace.limit_per_minute,
                latency_s=pace.latency_s,
                blocked_s=pace.blocked_s,
            )
            return pace, waits

        return self._database.transaction(work)

    def _locked(self, tx: Transaction, provider: str) -> Pace:
        rows = tx.rows(LOCK, provider=provider)
        if not rows:
            first = self._opening
            tx.rows(
                OPEN,
                provider=provider,
                rate_per_s=first.rate_per_s,
                burst=first.burst,
                tokens=first.tokens,
            )
            rows = tx.rows(LOCK, provider=provider)
        return _pace(rows[0])


def _pace(row: Row) -> Pace:
    stored = Pace(
        rate_per_s=row["rate_per_s"],
        burst=row["burst"],
        tokens=row["tokens"],
        limit_per_minute=row["limit_per_minute"],
        latency_s=row["latency_s"],
        blocked_s=row["blocked_s"] or 0.0,
    )
    return pacing.advance(stored, row["elapsed_s"])
