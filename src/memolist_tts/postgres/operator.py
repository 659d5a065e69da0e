"""What a person or the sweep asks of all jobs: wake, look, retry, cancel, pause."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from memolist_tts.core.errors import MemolistError, NoSuchJob
from memolist_tts.core.sweep import Due, Gauges
from memolist_tts.postgres.connection import Database, Row, Transaction
from memolist_tts.postgres.records import JOB_STANDS, UTTERANCE_STANDS, WHOLE_LISTS
from memolist_tts.postgres.schema import Api, paused, user

# Waiting, or processing under a dead lease of ours (another worker's job has none), and not woken
# since it last could be: marked as woken. A message in the queue is given `again_s` before it
# counts as lost. What this very sweep (`act`) marked is due still: a commit whose answer was lost
# is repeated. A row that somebody holds is left for the next sweep, or one run that stands still
# would keep all others asleep.
DUE = """
WITH due AS (
  SELECT j.id::text AS job_id, {user} AS user_id, o.job_id IS NULL AS is_new
  FROM {jobs} j LEFT JOIN tts.job o ON o.job_id = j.id::text
  WHERE j.status IN ('pending', 'processing')
    AND (j.status = 'pending' OR o.lease_token IS NOT NULL)
    AND (o.lease_until IS NULL OR o.lease_until <= clock_timestamp())
    AND (o.not_before IS NULL OR o.not_before <= clock_timestamp())
    AND (o.woken_at IS NULL
         OR o.woken_at <= greatest(o.not_before, o.lease_until)
         OR o.woken_at <= clock_timestamp()
                          - make_interval(secs => cast(:again_s AS double precision))
         OR o.acted_by = cast(:act AS uuid))
    AND NOT {is_paused}
  ORDER BY j."createdAt", j.id
  LIMIT cast(:limit AS integer)
), free AS (
  SELECT o.job_id FROM due JOIN tts.job o ON o.job_id = due.job_id
  FOR UPDATE OF o SKIP LOCKED
), marked AS (
  INSERT INTO tts.job AS t (job_id, woken_at, acted_by)
  SELECT due.job_id, clock_timestamp(), cast(:act AS uuid) FROM due
  WHERE due.is_new OR EXISTS (SELECT 1 FROM free WHERE free.job_id = due.job_id)
  ON CONFLICT (job_id) DO UPDATE SET woken_at = excluded.woken_at, acted_by = excluded.acted_by
  RETURNING t.job_id, t.attempts, t.lease_until IS NOT NULL AS died
)
SELECT marked.*, due.user_id FROM marked JOIN due USING (job_id)
"""

# Its message could not be sent: the next sweep tries again.
UNMARK = "UPDATE tts.job SET woken_at = NULL WHERE job_id = :id"

# How things stand, in one row. A paused user's jobs aren't late. now(), where an index has to
# serve: clock_timestamp() can't.
GAUGES = """
SELECT
  (SELECT count(*) FROM {jobs} j LEFT JOIN tts.job t ON t.job_id = j.id::text
   WHERE j.status = 'pending'
     AND (t.not_before IS NULL OR t.not_before <= clock_timestamp())
     AND NOT {is_user_paused}) AS pending,
  (SELECT coalesce(extract(epoch FROM {now} - min(j."createdAt")), 0)::double precision
   FROM {jobs} j LEFT JOIN tts.job t ON t.job_id = j.id::text
   WHERE j.status = 'pending'
     AND (t.not_before IS NULL OR t.not_before <= clock_timestamp())
     AND NOT {is_user_paused}) AS oldest_pending_s,
  (SELECT count(*) FROM {jobs} j LEFT JOIN tts.job t ON t.job_id = j.id::text
   WHERE j.status = 'processing'
     AND (t.lease_until IS NULL OR t.lease_until <= clock_timestamp())) AS stalled,
  (SELECT count(*) FROM tts.pause p WHERE p.until > clock_timestamp()) AS pauses,
  (SELECT count(*) FROM tts.job t WHERE t.finished_at > now() - interval '1 hour')
    AS ended_1h,
  (SELECT count(*) FROM tts.job t
   WHERE t.finished_at > now() - interval '1 hour' AND t.error_code IS NOT NULL)
    AS failed_1h
"""

CLOCK = "SELECT clock_timestamp() AS now"

# The figures of the old worker's README: jobs by state, the oldest that waits, how long jobs
# take, how many fail.
FIGURES = """
SELECT count(*) FILTER (WHERE j.status = 'pending') AS pending,
       count(*) FILTER (WHERE j.status = 'processing') AS processing,
       count(*) FILTER (WHERE j.status = 'completed') AS completed,
       count(*) FILTER (WHERE j.status = 'failed') AS failed,
       extract(epoch FROM {now} - min(j."createdAt") FILTER (WHERE j.status = 'pending'))
         ::double precision AS oldest_pending_s,
       avg(extract(epoch FROM j."completedAt" - j."createdAt"))
         FILTER (WHERE j.status = 'completed')::double precision AS average_s
FROM {jobs} j
"""

# Jobs that wait or run, the oldest first, and what holds each.
OPEN = """
SELECT j.id::text AS job, j.status::text AS status, {user} AS user_id, t.total,
       t.spoken + t.reused + t.kept + t.skipped + t.failed AS ended,
       CASE WHEN t.not_before > clock_timestamp() THEN t.not_before END AS waits_until,
       t.stop_code, t.stop
FROM {jobs} j LEFT JOIN tts.job t ON t.job_id = j.id::text
WHERE j.status IN ('pending', 'processing')
ORDER BY j."createdAt", j.id
LIMIT cast(:limit AS integer)
"""

# One job as the API has it.
STATUS = """
SELECT j.id::text AS id, j.status::text AS status, {user} AS user_id, {message} AS message
FROM {jobs} j WHERE j.id = cast(:id AS {job_id})
"""
PROGRESS = "SELECT * FROM tts.progress WHERE job_id = :id"

# How fast each model may be asked now.
RATES = """
SELECT provider, rate_per_s, limit_per_minute, latency_s,
       CASE WHEN blocked_until > clock_timestamp() THEN blocked_until END AS blocked_until
FROM tts.pace ORDER BY updated_at DESC LIMIT 20
"""

# Jobs that failed within a time, the oldest first, with something that still stands: with one code,
# or any but by a cancel.
RETRYABLE = f"""
SELECT j.id::text AS id
FROM tts.job t JOIN {{jobs}} j ON j.id = cast(t.job_id AS {{job_id}})
{WHOLE_LISTS}
WHERE j.status::text = 'failed'
  AND t.finished_at > now() - make_interval(secs => cast(:since_s AS double precision))
  AND (t.error_code IS DISTINCT FROM 'cancelled' OR cast(:code AS text) IS NOT NULL)
  AND (
    EXISTS (
      SELECT 1 FROM tts.utterance u
      WHERE u.job_id = t.job_id AND u.state = 'failed'
        AND (u.code = cast(:code AS text) OR t.error_code = cast(:code AS text)
             OR cast(:code AS text) IS NULL)
        AND {UTTERANCE_STANDS})
    OR t.error_code IS DISTINCT FROM 'utterances_failed'
       AND (cast(:code AS text) IS NULL OR t.error_code = cast(:code AS text))
       AND {JOB_STANDS})
ORDER BY t.finished_at, t.job_id
LIMIT cast(:limit AS integer)
"""

# Whether anything of a job failed with a code, or the job itself.
FAILED_WITH = """
SELECT 1 AS found FROM tts.utterance u
WHERE u.job_id = :id AND u.state = 'failed' AND u.code = :code
UNION ALL
SELECT 1 FROM tts.job t WHERE t.job_id = :id AND t.error_code = :code
LIMIT 1
"""

# Ours before the API's, as every write has it: whoever claims, flushes or settles has ended, and
# the next statement sees what came of it.
LOCK = """
SELECT t.job_id FROM tts.job t WHERE t.job_id = ANY(cast(:ids AS text[]))
ORDER BY t.job_id FOR UPDATE
"""

# failed | pending -> pending, afresh: its failures (of one code, or all) forgotten, its clips and
# URLs kept. Nothing is forgotten of a job that is claimed or ends at this moment.
RETRY = """
WITH again AS (
  UPDATE {jobs} j SET status = 'pending'{retried}
  WHERE j.id = ANY(cast(:ids AS {job_id}[])) AND j.status IN ('failed', 'pending')
  RETURNING j.id::text AS id, coalesce({user}, j.id::text) AS user_id
), forgotten AS (
  DELETE FROM tts.utterance u USING again
  WHERE u.job_id = again.id AND u.state = 'failed'
    AND (cast(:code AS text) IS NULL OR u.code = cast(:code AS text))
), afresh AS (
  UPDATE tts.job t
  SET attempts = 0, not_before = NULL, woken_at = NULL, failed = {still_failed},
      stop_code = NULL, stop = NULL, error_code = NULL, error = NULL, finished_at = NULL
  FROM again j
  WHERE t.job_id = j.id
)
SELECT id, user_id FROM again
"""
STILL_FAILED = """(
        SELECT count(*) FROM tts.utterance u
        WHERE u.job_id = j.id::text AND u.state = 'failed' AND cast(:code AS text) IS NOT NULL
          AND u.code IS DISTINCT FROM cast(:code AS text))"""

# What the worker itself paused, for money or key, may be tried again, and at once.
UNPAUSE = "DELETE FROM tts.pause WHERE code NOT LIKE 'operator%'"
UNBLOCK = "UPDATE tts.pace SET blocked_until = NULL"

# Every pause lifted, and the jobs that rest for a reason of the provider's or the store's wait no
# longer.
RESUME = """
WITH lifted AS (
  DELETE FROM tts.pause RETURNING code
), freed AS (
  UPDATE tts.job SET not_before = clock_timestamp()
  WHERE not_before > clock_timestamp() AND finished_at IS NULL
  RETURNING job_id
)
SELECT (SELECT count(*) FROM lifted) AS pauses, (SELECT count(*) FROM freed) AS jobs
"""
RESUME_USER = "DELETE FROM tts.pause WHERE user_id = :user RETURNING code"

# Why no job is claimed, or none of a user's; of all users, or what holds for one.
PAUSES = """
SELECT code, message, user_id, paused_at, nullif(until, 'infinity') AS until
FROM tts.pause
WHERE until > clock_timestamp()
  AND (cast(:user AS text) IS NULL OR user_id IS NULL OR user_id = cast(:user AS text))
ORDER BY paused_at, code
"""
PAUSE = """
INSERT INTO tts.pause (code, message, user_id, until)
VALUES (:code, :message, :user,
        coalesce(clock_timestamp()
                 + make_interval(secs => cast(:for_s AS double precision)), 'infinity'))
ON CONFLICT (code) DO UPDATE
SET message = excluded.message, until = excluded.until, paused_at = clock_timestamp()
"""

# pending | processing -> failed. Whoever works on it stops at the next flush and lets its lease
# go then: until it has, a retry must not pay for what is being spoken.
# Never `cancelled`: the API's enum may not know it. No row touched: ours is to be rolled back.
CANCEL = """
WITH void AS (
  INSERT INTO tts.job AS t (job_id, error_code, error, finished_at, acted_by)
  SELECT j.id::text, 'cancelled', :error, clock_timestamp(), cast(:act AS uuid) FROM {jobs} j
  WHERE j.id = cast(:id AS {job_id}) AND j.status IN ('pending', 'processing')
  ON CONFLICT (job_id) DO UPDATE
  SET error_code = excluded.error_code, error = excluded.error, woken_at = NULL,
      finished_at = excluded.finished_at, acted_by = excluded.acted_by
  RETURNING t.job_id
)
UPDATE {jobs} j SET status = 'failed'{cancelled}
FROM void
WHERE j.id = cast(:id AS {job_id}) AND j.status IN ('pending', 'processing')
RETURNING j.id::text AS id
"""

# Did this very call cancel it?
CANCELLED_BY = "SELECT 1 AS found FROM tts.job WHERE job_id = :id AND acted_by = cast(:act AS uuid)"

CANCELLED = "Cancelled by an operator; `memolist-tts retry` takes it up again."


class _NotCancelled(Exception):
    """Undoes a cancel: the job has ended meanwhile."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one job stands."""

    id: str
    """As our tables spell it."""
    status: str
    """At the API."""
    group: str
    """Whom its message is for."""
    progress: Row | None
    """A row of `tts.progress`, if any worker has seen the job."""
    message: str | None
    """The API's "errorMessage", where it has one: ours of a job that we failed, else its own."""


class Operator:
    """Views and acts over all jobs; also the port `Overview` of the sweep."""

    def __init__(self, database: Database, api: Api) -> None:
        self._database = database
        self._table = jobs = api.jobs
        columns = {
            "jobs": jobs.name,
            "job_id": jobs.cast("id"),
            "cards": api.cards.name,
            "card_id": api.cards.cast("id"),
            "now": jobs.now("createdAt"),
            "user": user(jobs),
            "message": 'j."errorMessage"::text' if jobs.has("errorMessage") else "NULL::text",
            "is_paused": paused(jobs),
            "is_user_paused": (
                "EXISTS (SELECT 1 FROM tts.pause p WHERE p.until > clock_timestamp()"
                f" AND p.user_id = {user(jobs)})"
            ),
        }
        retried = jobs.assign(completedAt="NULL", errorMessage="NULL", failedCount=STILL_FAILED)
        cancelled = jobs.assign(
            completedAt=jobs.now("completedAt"),
            errorMessage=jobs.fitting("errorMessage", "cast(:error AS text)"),
        )
        self._names = columns | {
            "retried": f", {retried}",
            "cancelled": f", {cancelled}",
            "still_failed": STILL_FAILED,
        }

    def _rows(self, template: str, **params: object) -> list[Row]:
        sql = template.format(**self._names)

        def work(tx: Transaction) -> list[Row]:
            return tx.rows(sql, **params)

        return self._database.transaction(work)

    def due(self, *, again_s: float, limit: int) -> list[Due]:
        """Jobs to be woken now, marked as woken."""
        return [
            Due(
                job_id=row["job_id"],
                group=row["user_id"] or row["job_id"],
                attempts=row["attempts"],
                died=row["died"],
            )
            for row in self._rows(DUE, again_s=again_s, limit=limit, act=str(uuid.uuid4()))
        ]

    def unmark(self, job_id: str) -> None:
        """A job's message could not be sent."""
        self._rows(UNMARK, id=job_id)

    def gauges(self) -> Gauges:
        """How things stand."""
        row = self._rows(GAUGES)[0]
        ended, failed = row["ended_1h"], row["failed_1h"]
        return Gauges(
            pending=row["pending"],
            oldest_pending_s=max(0.0, row["oldest_pending_s"]),
            stalled=row["stalled"],
            is_paused=row["pauses"] > 0,
            failure_rate_1h=failed / ended if ended else 0.0,
        )

    def figures(self) -> Row:
        """The four figures, over all jobs."""
        return self._rows(FIGURES)[0]

    def open(self, limit: int) -> list[Row]:
        """Jobs that wait or run, the oldest first, and why they wait."""
        return self._rows(OPEN, limit=limit)

    def rates(self) -> list[Row]:
        """The shared pace of each provider and model, the last used first."""
        return self._rows(RATES)

    def look(self, job_id: str) -> Standing:
        """How a job stands, by its id in any spelling. Raises `NoSuchJob`."""
        known = self._table.value("id", job_id)
        rows = self._rows(STATUS, id=known) if known is not None else []
        if not rows:
            raise NoSuchJob(f'no "TtsJob" has the id {job_id!r}')
        row = rows[0]
        progress = self._rows(PROGRESS, id=row["id"])
        return Standing(
            id=row["id"],
            status=row["status"],
            group=row["user_id"] or row["id"],
            progress=progress[0] if progress else None,
            message=row["message"] or None,
        )

    def retryable(self, *, code: str | None, since_s: float, limit: int) -> list[str]:
        """Jobs of which a failure stands, the oldest first: with this code, or not by a cancel."""
        return [row["id"] for row in self._rows(RETRYABLE, code=code, since_s=since_s, limit=limit)]

    def has_failed_with(self, job_id: str, code: str) -> bool:
        """Whether anything of a job failed with `code`."""
        return bool(self._rows(FAILED_WITH, id=job_id, code=code))

    def retry(self, job_ids: Sequence[str], *, code: str | None = None) -> dict[str, str]:
        """Make failed or resting jobs claimable at once; those that were, with their groups.

        Only what failed with `code` is tried again, or all that failed.
        """
        known = (self._table.value("id", each) for each in job_ids)
        ids = [each for each in known if each is not None]
        self._rows(UNPAUSE)
        self._rows(UNBLOCK)
        sql = RETRY.format(**self._names)

        def work(tx: Transaction) -> list[Row]:
            tx.rows(LOCK, ids=ids)
            return tx.rows(sql, ids=ids, code=code)

        return {row["id"]: row["user_id"] for row in self._database.transaction(work)}

    def cancel(self, job_id: str) -> bool:
        """Fail a job that waits or runs, as `cancelled`. False: it has ended already."""
        act = str(uuid.uuid4())
        known = self._table.value("id", job_id)
        sql = CANCEL.format(**self._names)

        def work(tx: Transaction) -> None:
            if tx.is_repeat and tx.rows(CANCELLED_BY, id=known, act=act):
                return
            if not tx.rows(sql, id=known, error=CANCELLED, act=act):
                raise _NotCancelled

        try:
            self._database.transaction(work)
        except _NotCancelled:
            return False
        return True

    def pause(self, message: str, *, user: str | None, for_s: float | None) -> None:
        """Let no job (of this user) be claimed or go on, for a time or until `resume`."""
        if user is not None and not self._table.has("userId"):
            raise MemolistError('"TtsJob" has no column "userId": whose a job is can\'t be told')
        code = "operator" if user is None else f"operator:{user}"
        self._rows(PAUSE, code=code, message=message, user=user, for_s=for_s)

    def resume_user(self, user: str) -> int:
        """Lift the pause of one user's jobs; how many there were."""
        return len(self._rows(RESUME_USER, user=user))

    def resume(self) -> tuple[int, int]:
        """Lift every pause and let resting jobs go; how many of each there were."""
        self._rows(UNBLOCK)
        row = self._rows(RESUME)[0]
        return row["pauses"], row["jobs"]

    def clock(self) -> datetime:
        """The time by the database's clock, which leases live on."""
        found: datetime = self._rows(CLOCK)[0]["now"]
        return found

    def pauses(self, *, user: str | None = None) -> list[Row]:
        """Why no job is claimed; nothing when they are. With `user`, no other user's pause."""
        return self._rows(PAUSES, user=user)
