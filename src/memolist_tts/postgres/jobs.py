"""The job's life in SQL: claim, read, flush, settle. Each write shows the lease.

Statements are templates over the API's table names and the columns it has
(`{jobs}`, `{cards}`, `{job_id}` ...), filled once from the catalogue.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from memolist_tts.core.counting import counted
from memolist_tts.core.errors import AttemptsUsedUp, LeaseLost, NoSuchJob
from memolist_tts.core.model import (
    Clip,
    ClipId,
    Completed,
    Counts,
    Ended,
    Failed,
    Flushed,
    HandedBack,
    Job,
    Language,
    Reading,
    Result,
    State,
)
from memolist_tts.postgres.cards import (
    card_order,
    directed,
    lexicon,
    phrases_of,
    selected,
    texts_and_urls,
)
from memolist_tts.postgres.connection import Database, Row, Transaction
from memolist_tts.postgres.schema import Api, Table, lists_differ, paused, quoted, user

# pending | a dead run's processing -> processing, under a new lease on the database's clock. A job
# that is processing and never had a lease of ours is another worker's: it is left alone, also if it
# became so while this statement ran. Repeating it with the same token (a commit whose answer was
# lost) claims once.
CLAIM = """
WITH seen AS (
  SELECT j.id, j.status, {user} AS user_id
  FROM {jobs} j LEFT JOIN tts.job t ON t.job_id = j.id::text
  WHERE j.id = cast(:id AS {job_id}) AND j.status IN ('pending', 'processing')
    AND (j.status = 'pending' OR t.lease_token IS NOT NULL)
    AND NOT {is_paused}
), lease AS (
  INSERT INTO tts.job AS t (job_id, lease_token, lease_until, attempts, started_at, woken_at,
                            user_id)
  SELECT s.id::text, cast(:lease AS uuid),
         clock_timestamp() + make_interval(secs => cast(:lease_s AS double precision)),
         1, clock_timestamp(), clock_timestamp(), s.user_id
  FROM seen s
  ON CONFLICT (job_id) DO UPDATE
  SET lease_token = excluded.lease_token, lease_until = excluded.lease_until,
      attempts = CASE WHEN t.lease_token = excluded.lease_token THEN t.attempts
                      WHEN t.finished_at IS NULL THEN t.attempts + 1 ELSE 1 END,
      started_at = coalesce(t.started_at, excluded.started_at),
      finished_at = NULL, error_code = NULL, error = NULL, stop_code = NULL, stop = NULL,
      user_id = excluded.user_id, updated_at = clock_timestamp()
  WHERE (t.lease_until IS NULL OR t.lease_until <= clock_timestamp()
         OR t.lease_token = excluded.lease_token)
    AND (t.not_before IS NULL OR t.not_before <= clock_timestamp())
    AND (t.attempts < cast(:max_attempts AS integer) OR t.finished_at IS NOT NULL
         OR t.lease_token = excluded.lease_token)
    AND (t.lease_token IS NOT NULL OR EXISTS (SELECT 1 FROM seen s WHERE s.status = 'pending'))
  RETURNING t.job_id, t.attempts, t.spoken
)
UPDATE {jobs} j SET status = 'processing'{claimed}
FROM lease, seen
WHERE j.id = cast(:id AS {job_id}) AND j.status = seen.status
RETURNING j.id::text AS id, j."listId"::text AS list_id, lease.attempts, lease.spoken,
          {user} AS user_id, {options} AS options
"""

# An ended job that the API made pending again is ordered anew: what failed is tried again.
# Our row is held before its utterances, as a retry has it.
FORGET = """
WITH ended AS (
  SELECT t.job_id FROM tts.job t WHERE t.job_id = :id AND t.finished_at IS NOT NULL FOR UPDATE
)
DELETE FROM tts.utterance u USING ended
WHERE u.job_id = :id AND u.state = 'failed'
"""

# The message is on the queue: the sweep need not send another before it can have come.
WOKEN = """
UPDATE tts.job SET woken_at = clock_timestamp() WHERE job_id = :id AND lease_token IS NULL
"""

# A message that came during a pause is gone: the sweep sends another after it.
UNWOKEN = """
UPDATE tts.job t SET woken_at = NULL FROM {jobs} j
WHERE t.job_id = :id AND j.id = cast(:id AS {job_id}) AND {is_paused}
"""

# Is there such a job at all?
EXISTS = "SELECT 1 AS found FROM {jobs} j WHERE j.id = cast(:id AS {job_id})"

# pending | processing, attempts used up and no live lease -> failed. `:id` NULL: all of them.
EXHAUST = """
WITH dead AS (
  UPDATE tts.job t
  SET lease_token = NULL, lease_until = NULL, finished_at = clock_timestamp(),
      updated_at = clock_timestamp(), error_code = 'attempts_used_up', error = :error,
      woken_at = NULL, acted_by = cast(:act AS uuid)
  FROM {jobs} j
  WHERE j.id = cast(t.job_id AS {job_id}) AND j.status IN ('pending', 'processing')
    AND (j.status = 'pending' OR t.lease_token IS NOT NULL)
    AND t.attempts >= cast(:max_attempts AS integer) AND t.finished_at IS NULL
    AND (t.lease_until IS NULL OR t.lease_until <= clock_timestamp())
    AND (cast(:id AS text) IS NULL OR t.job_id = cast(:id AS text))
  RETURNING t.job_id, t.error
)
UPDATE {jobs} j SET status = 'failed'{ended}
FROM dead WHERE j.id = cast(dead.job_id AS {job_id}) AND j.status IN ('pending', 'processing')
RETURNING j.id::text AS id
"""

# What a repeated EXHAUST did at its first try.
EXHAUSTED = "SELECT job_id AS id FROM tts.job WHERE acted_by = cast(:act AS uuid)"

# The cards of a job's list, in the order a person sees them.
PHRASES = """
SELECT c.id::text AS card_id, {texts_and_urls}
FROM {cards} c JOIN {jobs} j ON {same_list}
WHERE j.id = cast(:id AS {job_id})
ORDER BY {card_order}
"""

# What this job already did.
ENDED = """
SELECT card_id, language, state, shown_text, url FROM tts.utterance WHERE job_id = :id
"""

# My lease, alive, the job still processing -> held (and renewed) until the transaction ends. The
# API's row is locked after ours, and so as it is by then: what waits here for a cancel finds it
# cancelled, and a cancel that comes later waits for what is being written.
# `paused`: why an operator wants it to stop. What the worker itself paused for meets each run.
HOLD = """
WITH mine AS (
  UPDATE tts.job t
  SET lease_until = greatest(t.lease_until, clock_timestamp()
                             + make_interval(secs => cast(:renew_s AS double precision))),
      updated_at = clock_timestamp()
  WHERE t.job_id = :id AND t.lease_token = cast(:lease AS uuid)
    AND t.lease_until > clock_timestamp()
  RETURNING t.job_id
)
SELECT mine.job_id, (
  SELECT p.message FROM tts.pause p
  WHERE p.until > clock_timestamp() AND p.code LIKE 'operator%'
    AND (p.user_id IS NULL OR p.user_id = {user})
  ORDER BY p.paused_at LIMIT 1) AS paused
FROM mine JOIN {jobs} j ON j.id = cast(:id AS {job_id}) AND j.status = 'processing'
FOR NO KEY UPDATE OF j
"""

# Reserved by me -> stored. Another run's word for the same clip stays as it is.
STORE_CLIPS = """
UPDATE tts.clip c
SET stored_at = clock_timestamp(), speaker = NULL, speaker_job = NULL,
    size_bytes = x.size_bytes, duration_ms = x.duration_ms, cost_usd = x.cost_usd,
    request_id = x.request_id
FROM unnest(cast(:keys AS text[]), cast(:takes AS integer[]), cast(:sizes AS integer[]),
            cast(:durations AS integer[]), cast(:costs AS numeric[]),
            cast(:request_ids AS text[]))
     AS x (key, take, size_bytes, duration_ms, cost_usd, request_id)
WHERE c.key = x.key AND c.take = x.take AND c.stored_at IS NULL
"""

# A card's URL, only where text and URL are still what was read (or it is there already: a commit
# whose answer was lost is repeated).
PUBLISH = """
UPDATE {cards} c SET {url} = x.url{card_touched}
FROM unnest(cast(:card_ids AS text[]), cast(:shown AS text[]), cast(:old_urls AS text[]),
            cast(:urls AS text[])) AS x (card_id, shown, old_url, url)
WHERE c.id = cast(x.card_id AS {card_id})
  AND c.{text} IS NOT DISTINCT FROM x.shown
  AND (nullif(c.{url}::text, '') IS NOT DISTINCT FROM x.old_url OR c.{url}::text = x.url)
RETURNING c.id::text AS card_id
"""

# How utterances ended, again if they went round again.
RECORD = """
INSERT INTO tts.utterance AS u (job_id, card_id, language, state, shown_text, spoken_text, url,
                                clip_key, clip_take, characters, cost_usd, code, message)
SELECT cast(:id AS text), x.* FROM unnest(
  cast(:card_ids AS text[]), cast(:languages AS text[]), cast(:states AS text[]),
  cast(:shown AS text[]), cast(:spoken AS text[]), cast(:urls AS text[]),
  cast(:keys AS text[]), cast(:takes AS integer[]), cast(:characters AS integer[]),
  cast(:costs AS numeric[]), cast(:codes AS text[]), cast(:messages AS text[])) AS x
ON CONFLICT (job_id, card_id, language) DO UPDATE
SET state = excluded.state, shown_text = excluded.shown_text, spoken_text = excluded.spoken_text,
    url = excluded.url, clip_key = excluded.clip_key, clip_take = excluded.clip_take,
    characters = excluded.characters, cost_usd = excluded.cost_usd,
    code = excluded.code, message = excluded.message, updated_at = clock_timestamp()
"""

# The job's figures, counted afresh so that repeating a flush changes nothing.
COUNT = """
UPDATE tts.job t
SET total = greatest(cast(:total AS integer), n.ended), spoken = n.spoken, reused = n.reused,
    kept = n.kept, skipped = n.skipped, failed = n.failed, characters = n.characters,
    cost_usd = n.cost_usd,
    attempts = CASE WHEN cast(:progress AS boolean) THEN cast(:attempts AS integer)
                    ELSE t.attempts END
FROM (
  SELECT count(*) AS ended,
         count(*) FILTER (WHERE state = 'spoken') AS spoken,
         count(*) FILTER (WHERE state = 'reused') AS reused,
         count(*) FILTER (WHERE state = 'kept') AS kept,
         count(*) FILTER (WHERE state = 'skipped') AS skipped,
         count(*) FILTER (WHERE state = 'failed') AS failed,
         coalesce(sum(characters), 0) AS characters, coalesce(sum(cost_usd), 0) AS cost_usd
  FROM tts.utterance WHERE job_id = :id
) n
WHERE t.job_id = :id
RETURNING t.total, t.spoken, t.reused, t.kept, t.skipped, t.failed
"""

# The API's own counts.
SHOW_COUNTS = """
UPDATE {jobs} j SET {counts}
WHERE j.id = cast(:id AS {job_id}) AND j.status = 'processing'
"""

# processing -> completed | failed | pending, and the lease released: one guarded statement.
SETTLE = """
WITH mine AS (
  UPDATE tts.job t
  SET lease_token = NULL, lease_until = NULL, updated_at = clock_timestamp(),
      attempts = CASE WHEN cast(:given_back AS boolean) THEN cast(:attempts AS integer)
                      ELSE t.attempts END,
      not_before = clock_timestamp()
                   + make_interval(secs => cast(:delay_s AS double precision)),
      woken_at = NULL, acted_by = t.lease_token,
      stop_code = :stop_code, stop = :stop, error_code = :error_code, error = :error,
      finished_at = CASE WHEN cast(:status AS text) <> 'pending' THEN clock_timestamp() END
  WHERE t.job_id = :id AND t.lease_token = cast(:lease AS uuid)
    AND t.lease_until > clock_timestamp()
  RETURNING t.job_id, t.error
)
UPDATE {jobs} j SET status = '{status}'{settled}
FROM mine
WHERE j.id = cast(:id AS {job_id}) AND j.status = 'processing'
RETURNING j.id::text AS id
"""

# Did this very run settle it, at a try whose answer was lost?
SETTLED = "SELECT 1 AS found FROM tts.job WHERE job_id = :id AND acted_by = cast(:lease AS uuid)"

# What this run reserved and nobody ever spoke is free again. One taken over stays: the run that
# had it may have put its clip, and whoever wants it next looks before paying.
RELEASE_CLIPS = """
DELETE FROM tts.clip
WHERE speaker = cast(:lease AS uuid) AND stored_at IS NULL AND held_until IS NULL
  AND NOT (key || ':' || take = ANY(cast(:begun AS text[])))
"""

# A call under way may still bring these clips to the store: nobody pays for them again before.
HOLD_CLIPS = """
UPDATE tts.clip
SET held_until = clock_timestamp() + make_interval(secs => cast(:hold_s AS double precision))
WHERE speaker = cast(:lease AS uuid) AND stored_at IS NULL
  AND key || ':' || take = ANY(cast(:begun AS text[]))
"""

# A lost job's lease ends now: whoever waits for its clips need not wait for it to run out. Nobody
# died of it: where the API starts the job again, the attempt doesn't count.
ABANDON = """
UPDATE tts.job SET lease_until = clock_timestamp(), attempts = cast(:attempts AS integer)
WHERE job_id = :id AND lease_token = cast(:lease AS uuid)
"""

# Money or key: no job is claimed until then.
PAUSE = """
INSERT INTO tts.pause AS p (code, message, until)
VALUES (:code, :message,
        clock_timestamp() + make_interval(secs => cast(:delay_s AS double precision)))
ON CONFLICT (code) DO UPDATE
SET message = excluded.message, until = greatest(p.until, excluded.until),
    paused_at = clock_timestamp()
"""

# Jobs that may be claimed now, by CLAIM's rule: each user's oldest before anybody's second, and of
# the users first whoever was served longest ago. A job without a user is a user of its own.
WAITING = """
WITH waiting AS (
  SELECT j.id, j."createdAt" AS created_at, coalesce({user}, j.id::text) AS user_id
  FROM {jobs} j LEFT JOIN tts.job t ON t.job_id = j.id::text
  WHERE j.status IN ('pending', 'processing')
    AND (j.status = 'pending' OR t.lease_token IS NOT NULL)
    AND (t.lease_until IS NULL OR t.lease_until <= clock_timestamp())
    AND (t.not_before IS NULL OR t.not_before <= clock_timestamp())
    AND NOT {is_paused}
), ranked AS (
  SELECT w.*, row_number() OVER (PARTITION BY w.user_id ORDER BY w.created_at, w.id) AS nth
  FROM waiting w
)
SELECT r.id::text AS id
FROM ranked r
ORDER BY r.nth,
         CASE WHEN r.nth = 1 THEN (SELECT max(o.updated_at) FROM tts.job o
                                   WHERE o.user_id = r.user_id) END NULLS FIRST,
         r.created_at, r.id
LIMIT cast(:limit AS integer)
"""

# Do users wait whom nobody has served for a turn, or who had less than half as much spoken in it,
# and is this one of as many runs as there are such users? One gives way for each, not all for one;
# a preview's lease, which is over no job, is none of them.
OTHERS_WAIT = """
SELECT count(*) > (
  SELECT count(*) FROM tts.job l
  WHERE l.finished_at IS NULL AND l.lease_until > clock_timestamp() AND l.job_id < :id
    AND l.job_id NOT LIKE 'alone:%'
) AS found
FROM (
  SELECT DISTINCT {user} AS id
  FROM {jobs} j LEFT JOIN tts.job t ON t.job_id = j.id::text
  WHERE j.status IN ('pending', 'processing') AND {user} <> :user
    AND (j.status = 'pending' OR t.lease_token IS NOT NULL)
    AND NOT {is_paused}
    AND (t.lease_until IS NULL OR t.lease_until <= clock_timestamp())
    AND (t.not_before IS NULL OR t.not_before <= clock_timestamp())
) other
WHERE coalesce((
    SELECT 2 * sum(o.spoken) FROM tts.job o
    WHERE o.user_id = other.id
      AND o.updated_at > now() - make_interval(secs => cast(:turn_s AS double precision))
  ), -1) < (
    SELECT coalesce(sum(o.spoken), 0) FROM tts.job o
    WHERE o.user_id = :user
      AND o.updated_at > now() - make_interval(secs => cast(:turn_s AS double precision))
  )
"""

ATTEMPTS_USED_UP = (
    "The worker died {times} on this job without getting further. Look at its log around the "
    "times of those runs, mend the cause, then run `memolist-tts retry`."
)


HOLD_S = 25.0
"""Longer than a call may wait for its bytes (core.speaking.CALL_TIMEOUT_S)."""


class _NotClaimed(Exception):
    """Undoes a claim that found nothing to take."""


class Jobs:
    """The port `Jobs` over one database and the API's tables as they are."""

    def __init__(self, database: Database, api: Api, *, max_attempts: int) -> None:
        self._database = database
        self._api = api
        self._max_attempts = max_attempts
        self._exhaustion = ATTEMPTS_USED_UP.format(times=counted(max_attempts, "time"))
        self._names = _names(api)

    def _sql(self, template: str, **names: str) -> str:
        return template.format(**self._names, **names)

    def claim(self, job_id: str, *, lease_s: float) -> Job | None:
        """Take the lease, or None: another's, resting, paused, ended, or attempts used up."""
        known = self._api.jobs.value("id", job_id)
        if known is None:
            raise NoSuchJob(f'{job_id!r} isn\'t an id of "TtsJob" (its ids are of another type)')
        lease = str(uuid.uuid4())

        def work(tx: Transaction) -> Job:
            tx.rows(FORGET, id=known)
            rows = tx.rows(
                self._sql(CLAIM),
                id=known, lease=lease, lease_s=lease_s, max_attempts=self._max_attempts,
            )  # fmt: skip
            if not rows:
                # Rolls back: the lease is taken before the API's row turns out to have ended.
                raise _NotClaimed
            return _job(rows[0], lease)

        try:
            return self._database.transaction(work)
        except _NotClaimed:
            self._check_exists(known)
            if self.exhaust(known):
                raise AttemptsUsedUp(self._exhaustion) from None
            return None

    def _check_exists(self, job_id: str) -> None:
        def work(tx: Transaction) -> list[Row]:
            tx.rows(self._sql(UNWOKEN), id=job_id)
            return tx.rows(self._sql(EXISTS), id=job_id)

        if not self._database.transaction(work):
            raise NoSuchJob(f'no "TtsJob" has the id {job_id!r}')

    def exhaust(self, job_id: str | None = None) -> list[str]:
        """Fail the job (or all) whose attempts are used up; the ids."""
        act = str(uuid.uuid4())

        def work(tx: Transaction) -> list[str]:
            rows = tx.rows(EXHAUSTED, act=act) if tx.is_repeat else []
            rows += tx.rows(
                self._sql(EXHAUST),
                id=job_id,
                error=self._exhaustion,
                max_attempts=self._max_attempts,
                act=act,
            )
            return [row["id"] for row in rows]

        return self._database.transaction(work)

    def read(self, job: Job) -> Reading:
        """Every card in every language as it is now, and what this job did so far.

        Of a job that an operator made only what he selected, as he wants it said.
        """

        def work(tx: Transaction) -> Reading:
            rows = tx.rows(self._sql(PHRASES), id=job.id)
            phrases = selected(tx, job.id, phrases_of(rows, self._api.languages))
            ended = {
                (row["card_id"], row["language"]): Ended(
                    state=State(row["state"]), shown=row["shown_text"], url=row["url"]
                )
                for row in tx.rows(ENDED, id=job.id)
            }
            return Reading(phrases=directed(tx, phrases), ended=ended, lexicon=lexicon(tx))

        return self._database.transaction(work)

    def flush(
        self,
        job: Job,
        results: Sequence[Result],
        clips: Sequence[Clip],
        *,
        total: int,
        renew_s: float,
    ) -> Flushed:
        """Write what ended, in one transaction; the results that landed, and whether to go on.

        A result whose card changed meanwhile doesn't land: its utterance goes round
        again. Raises `LeaseLost`.
        """

        def work(tx: Transaction) -> Flushed:
            paused = self._hold(tx, job, renew_s)
            store(tx, clips)
            landed = self._publish(tx, results)
            if results or clips:
                _record(tx, job, landed)
                self._count(tx, job, total, progress=bool(landed or clips))
            return Flushed(landed=landed, paused=paused)

        return self._database.transaction(work)

    def _hold(self, tx: Transaction, job: Job, renew_s: float) -> str | None:
        """Make sure that this run may write; why an operator has paused it, if one has."""
        held = tx.rows(self._sql(HOLD), id=job.id, lease=job.lease, renew_s=renew_s)
        if not held:
            raise LeaseLost(f"job {job.id}: cancelled, deleted or taken over by another run")
        paused: str | None = held[0]["paused"]
        return paused

    def _publish(self, tx: Transaction, results: Sequence[Result]) -> list[Result]:
        landed = [result for result in results if result.url is None]
        for language in self._api.languages:
            mine = [r for r in results if r.url and r.phrase.language == language.code]
            if mine:
                published = self._publish_language(tx, language, mine)
                landed += [r for r in mine if r.phrase.card_id in published]
        return landed

    def _publish_language(
        self, tx: Transaction, language: Language, results: Sequence[Result]
    ) -> set[str]:
        rows = tx.rows(
            self._sql(PUBLISH, url=quoted(language.url_column), text=quoted(language.text_column)),
            card_ids=[r.phrase.card_id for r in results],
            shown=[r.phrase.shown for r in results],
            old_urls=[r.phrase.url for r in results],
            urls=[r.url for r in results],
        )
        return {row["card_id"] for row in rows}

    def _count(self, tx: Transaction, job: Job, total: int, *, progress: bool) -> Counts:
        row = tx.rows(
            COUNT, id=job.id, total=total, progress=progress, attempts=job.attempts_before
        )[0]
        counts = Counts(**row)
        tx.rows(
            self._sql(SHOW_COUNTS),
            id=job.id, total=counts.total, done=counts.done, failed=counts.failed,
        )  # fmt: skip
        return counts

    def counts(self, job: Job) -> tuple[Counts, list[tuple[str, str]]]:
        """The job's figures and its first few failures (code, message)."""

        def work(tx: Transaction) -> tuple[list[Row], list[Row]]:
            return tx.rows(FIGURES, id=job.id), tx.rows(FIRST_FAILURES, id=job.id)

        figures, failures = self._database.transaction(work)
        return Counts(**figures[0]), [(row["code"], row["message"]) for row in failures]

    def settle(
        self, job: Job, outcome: Completed | Failed | HandedBack, *, begun: Sequence[ClipId]
    ) -> None:
        """Leave the job in its next state and release the lease. Raises `LeaseLost`.

        `begun` are clips whose call was abandoned: it may still be stored, so their
        reservation stays for the next run to look for it.
        """
        status, params = _settled(outcome)

        def work(tx: Transaction) -> None:
            # Asked before: the statement marks our row also where the API's has been cancelled.
            if tx.is_repeat and tx.rows(SETTLED, id=job.id, lease=job.lease):
                return
            rows = tx.rows(
                self._sql(SETTLE, status=status, settled=self._names[f"settled_{status}"]),
                id=job.id, lease=job.lease, status=status, attempts=job.attempts_before, **params,
            )  # fmt: skip
            if not rows:
                raise LeaseLost(f"job {job.id}: cancelled, deleted or taken over by another run")
            release(tx, job, begun)
            if isinstance(outcome, HandedBack) and outcome.stop.pauses:
                tx.rows(
                    PAUSE,
                    code=outcome.stop.code,
                    message=outcome.stop.message,
                    delay_s=outcome.stop.delay_s,
                )

        self._database.transaction(work)

    def abandon(self, job: Job, *, begun: Sequence[ClipId]) -> None:
        """Let go of a lost job's lease and of the clips it won't speak."""

        def work(tx: Transaction) -> None:
            release(tx, job, begun)
            tx.rows(ABANDON, id=job.id, lease=job.lease, attempts=job.attempts_before)

        self._database.transaction(work)

    def woken(self, job: Job) -> None:
        """The rest of a handed back job is on the queue."""

        def work(tx: Transaction) -> None:
            tx.rows(WOKEN, id=job.id)

        self._database.transaction(work)

    def waiting(self, limit: int) -> list[str]:
        """Ids of jobs that may be claimed now, the users by turns."""

        def work(tx: Transaction) -> list[str]:
            return [row["id"] for row in tx.rows(self._sql(WAITING), limit=limit)]

        return self._database.transaction(work)

    def others_wait(self, job: Job, turn_s: float) -> bool:
        """As `core.ports.Jobs.others_wait`."""
        if job.group == job.id:
            return False

        def work(tx: Transaction) -> bool:
            rows = tx.rows(self._sql(OTHERS_WAIT), id=job.id, user=job.group, turn_s=turn_s)
            return bool(rows[0]["found"])

        return self._database.transaction(work)


# A job's figures.
FIGURES = """
SELECT total, spoken, reused, kept, skipped, failed FROM tts.job WHERE job_id = :id
"""

# What a job's own error names.
FIRST_FAILURES = """
SELECT code, message FROM tts.failure WHERE job_id = :id ORDER BY card_id, language LIMIT 3
"""


def _job(row: Row, lease: str) -> Job:
    return Job(
        id=row["id"],
        list_id=row["list_id"],
        lease=lease,
        attempts_before=row["attempts"] - 1,
        group=row["user_id"] or row["id"],
        raw_options=row["options"],
        spoken_before=row["spoken"],
    )


def release(tx: Transaction, job: Job, begun: Sequence[ClipId]) -> None:
    """Free what the lease reserved and didn't speak; `begun` calls may still bring a clip."""
    named = [f"{each.key}:{each.take}" for each in begun]
    tx.rows(RELEASE_CLIPS, lease=job.lease, begun=named)
    if named:
        tx.rows(HOLD_CLIPS, lease=job.lease, begun=named, hold_s=HOLD_S)


def store(tx: Transaction, clips: Sequence[Clip]) -> None:
    """Write down that these clips are stored."""
    if not clips:
        return
    clips = sorted(clips, key=lambda clip: clip.id)
    tx.rows(
        STORE_CLIPS,
        keys=[clip.id.key for clip in clips],
        takes=[clip.id.take for clip in clips],
        sizes=[clip.size_bytes for clip in clips],
        durations=[clip.duration_ms for clip in clips],
        costs=[_decimal(clip.cost_usd) for clip in clips],
        request_ids=[clip.request_id for clip in clips],
    )


def _decimal(value: float | None) -> str | None:
    return None if value is None else f"{value:.6f}"


def _record(tx: Transaction, job: Job, results: Sequence[Result]) -> None:
    if not results:
        return
    tx.rows(
        RECORD,
        id=job.id,
        card_ids=[r.phrase.card_id for r in results],
        languages=[r.phrase.language for r in results],
        states=[r.state.value for r in results],
        shown=[r.phrase.shown for r in results],
        spoken=[r.spoken for r in results],
        urls=[r.url or r.phrase.url for r in results],
        keys=[r.clip.key if r.clip else None for r in results],
        takes=[r.clip.take if r.clip else None for r in results],
        characters=[r.characters for r in results],
        costs=[_decimal(r.cost_usd or 0.0) for r in results],
        codes=[r.code for r in results],
        messages=[r.message for r in results],
    )


def _settled(outcome: Completed | Failed | HandedBack) -> tuple[str, dict[str, Any]]:
    nothing: dict[str, Any] = {
        "given_back": True, "delay_s": 0.0,
        "stop_code": None, "stop": None, "error_code": None, "error": None,
    }  # fmt: skip
    match outcome:
        case Completed():
            return "completed", nothing
        case Failed(code=code, message=message):
            return "failed", nothing | {"error_code": code, "error": message}
        case HandedBack(stop=stop):
            return "pending", nothing | {
                "delay_s": stop.delay_s, "stop_code": stop.code, "stop": stop.message,
            }  # fmt: skip


def _names(api: Api) -> dict[str, str]:
    """What the templates need to know of the API's tables."""
    jobs, cards = api.jobs, api.cards
    return {
        "jobs": jobs.name,
        "cards": cards.name,
        "job_id": jobs.cast("id"),
        "card_id": cards.cast("id"),
        "user": user(jobs),
        "is_paused": paused(jobs),
        "options": 'j."options"::text' if jobs.has("options") else "NULL::text",
        "same_list": _same_list(jobs, cards),
        "texts_and_urls": texts_and_urls(api),
        "card_order": card_order(api),
        "card_touched": _tail(cards.assign()),
        "claimed": _tail(
            jobs.assign(
                startedAt=f'coalesce(j."startedAt", {jobs.now("startedAt")})'
                if jobs.has("startedAt")
                else "NULL",
                errorMessage="NULL",
            )
        ),
        "counts": jobs.assign(totalCount=":total", doneCount=":done", failedCount=":failed")
        or "status = j.status",
        "ended": _tail(
            jobs.assign(
                completedAt=jobs.now("completedAt"),
                errorMessage=jobs.fitting("errorMessage", "dead.error"),
            )
        ),
        "settled_completed": _tail(
            jobs.assign(completedAt=jobs.now("completedAt"), errorMessage="NULL")
        ),
        "settled_failed": _tail(
            jobs.assign(
                completedAt=jobs.now("completedAt"),
                errorMessage=jobs.fitting("errorMessage", "mine.error"),
            )
        ),
        "settled_pending": _tail(jobs.assign()),
    }


def _same_list(jobs: Table, cards: Table) -> str:
    """By the index on the cards' side wherever the two types allow it."""
    if lists_differ(jobs, cards):
        return 'c."listId"::text = j."listId"::text'
    is_text = cards.cast("listId") == "text"
    return 'c."listId" = j."listId"' + ("::text" if is_text else "")


def _tail(assignments: str) -> str:
    return f", {assignments}" if assignments else ""
