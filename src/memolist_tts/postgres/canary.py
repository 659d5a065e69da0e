"""What canaries measured, and what of it was accepted."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from memolist_tts.core.canary import Heard, Run, State
from memolist_tts.core.drift import Measures
from memolist_tts.core.errors import MemolistError
from memolist_tts.postgres.connection import Database, Row, Transaction

# Two canaries at once would pay for the same phrases twice.
LOCK = "SELECT pg_advisory_xact_lock(hashtext('memolist-tts canary'))"
BEGIN = """
INSERT INTO tts.canary (run_id, lease_until)
SELECT cast(:run AS uuid),
       clock_timestamp() + make_interval(secs => cast(:lease_s AS double precision))
WHERE NOT EXISTS (
  SELECT 1 FROM tts.canary c
  WHERE c.lease_until > clock_timestamp() AND c.run_id <> cast(:run AS uuid))
ON CONFLICT (run_id) DO UPDATE SET lease_until = excluded.lease_until
RETURNING run_id
"""
ABANDON = """
DELETE FROM tts.canary WHERE run_id = cast(:run AS uuid) AND finished_at IS NULL
"""

ACCEPTED = """
SELECT key, speech_ms, active_dbfs, transcript FROM tts.canary_base
WHERE key = ANY(cast(:keys AS text[]))
"""
PAUSE = """
SELECT code, message FROM tts.pause
WHERE until > clock_timestamp() AND user_id IS NULL ORDER BY paused_at LIMIT 1
"""

FINISH = """
UPDATE tts.canary
SET lease_until = NULL, finished_at = clock_timestamp(), phrases = :phrases, added = :added,
    drifted = :drifted, unsound = :unsound, unmeasured = :unmeasured, shift = :shift,
    code = :code, message = :message, cost_usd = cast(:cost_usd AS numeric)
WHERE run_id = cast(:run AS uuid)
"""
WRITE = """
INSERT INTO tts.canary_phrase
  (run_id, key, position, language, said, voice, model, state, speech_ms, active_dbfs, transcript,
   accepted_speech_ms, accepted_dbfs, accepted_transcript, problem)
VALUES
  (cast(:run AS uuid), :key, cast(:position AS integer), :language, :said, :voice, :model, :state,
   cast(:speech_ms AS integer), cast(:active_dbfs AS double precision), :transcript,
   cast(:accepted_speech_ms AS integer), cast(:accepted_dbfs AS double precision),
   :accepted_transcript, :problem)
ON CONFLICT (run_id, key) DO NOTHING
"""

# What is sound and was never heard before is the baseline; what was accepted stays so.
FIRST = """
INSERT INTO tts.canary_base (key, run_id, speech_ms, active_dbfs, transcript)
SELECT key, run_id, speech_ms, active_dbfs, transcript FROM tts.canary_phrase
WHERE run_id = cast(:run AS uuid) AND state = 'new'
ON CONFLICT (key) DO NOTHING
"""

# A person has listened: what this run measured is what later ones are compared with.
ACCEPT = """
INSERT INTO tts.canary_base (key, run_id, speech_ms, active_dbfs, transcript)
SELECT key, run_id, speech_ms, active_dbfs, transcript FROM tts.canary_phrase
WHERE run_id = cast(:run AS uuid) AND speech_ms IS NOT NULL
ON CONFLICT (key) DO UPDATE
SET run_id = excluded.run_id, speech_ms = excluded.speech_ms, active_dbfs = excluded.active_dbfs,
    transcript = excluded.transcript, accepted_at = clock_timestamp()
RETURNING key
"""
MARK = """
UPDATE tts.canary SET accepted_at = clock_timestamp() WHERE run_id = cast(:run AS uuid)
"""

# What was accepted need not be listened to again, but for what no take could be accepted of.
ENDED = """
SELECT run_id::text AS run_id, started_at, finished_at, accepted_at, phrases, added, drifted,
       unmeasured, shift, code, message, cost_usd,
       CASE WHEN accepted_at IS NULL THEN drifted ELSE unsound END AS to_hear
FROM tts.canary WHERE finished_at IS NOT NULL
"""
LAST_HEARD = f"{ENDED} AND phrases > unmeasured ORDER BY started_at DESC LIMIT 1"
LAST = f"{ENDED} ORDER BY started_at DESC LIMIT 1"
ONE = f"{ENDED} AND run_id::text = cast(:run AS text)"
PHRASES = """
SELECT language, said, voice, model, state, speech_ms, active_dbfs, transcript,
       accepted_speech_ms, accepted_dbfs, accepted_transcript, problem
FROM tts.canary_phrase WHERE run_id = cast(:run AS uuid) ORDER BY position
"""


class CanaryBook:
    """The port `Book` of the canary, and what its operator asks of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def _rows(self, sql: str, **params: object) -> list[Row]:
        def work(tx: Transaction) -> list[Row]:
            return tx.rows(sql, **params)

        return self._database.transaction(work)

    def begin(self, run_id: str, *, lease_s: float) -> bool:
        """Let no other canary speak for `lease_s` seconds; False: one does just now."""

        def work(tx: Transaction) -> list[Row]:
            tx.rows(LOCK)
            return tx.rows(BEGIN, run=run_id, lease_s=lease_s)

        return bool(self._database.transaction(work))

    def abandon(self, run_id: str) -> None:
        """Forget a run that broke: nothing of it is known."""
        self._rows(ABANDON, run=run_id)

    def accepted(self, keys: Collection[str]) -> Mapping[str, Measures]:
        """The accepted recordings, by audio key."""
        return {
            row["key"]: Measures(
                speech_ms=row["speech_ms"],
                active_dbfs=row["active_dbfs"],
                transcript=row["transcript"],
            )
            for row in self._rows(ACCEPTED, keys=list(keys))
        }

    def pause(self) -> str | None:
        """Why all work is paused; None where it isn't."""
        rows = self._rows(PAUSE)
        return f"{rows[0]['code']}: {rows[0]['message']}" if rows else None

    def finish(self, run: Run) -> None:
        """Write a run down; what is `new` in it becomes the baseline, if there still is none."""

        def work(tx: Transaction) -> None:
            for position, each in enumerate(run.heard):
                tx.rows(WRITE, run=run.id, position=position, **_phrase(each))
            tx.rows(FIRST, run=run.id)
            tx.rows(
                FINISH,
                run=run.id,
                phrases=len(run.heard),
                added=run.count(State.NEW),
                drifted=run.drifted,
                unsound=run.count(State.UNSOUND),
                unmeasured=run.unmeasured,
                shift=run.shift or None,
                code=run.code,
                message=run.message,
                cost_usd=None if run.cost_usd is None else f"{run.cost_usd:.6f}",
            )

        self._database.transaction(work)

    def last(self, *, is_heard: bool = False) -> Row | None:
        """The last canary that ended, or that heard something too; None where none has."""
        rows = self._rows(LAST_HEARD if is_heard else LAST)
        return rows[0] if rows else None

    def run(self, run_id: str | None, *, is_heard: bool = False) -> Row:
        """A canary that ended, or the `last`; with its `heard`. Raises `MemolistError`."""
        last = LAST_HEARD if is_heard else LAST
        rows = self._rows(last) if run_id is None else self._rows(ONE, run=run_id)
        if not rows:
            which = "yet" if run_id is None else f"under the id {run_id!r}"
            missing = f"no canary has {'heard anything' if is_heard else 'run'} {which}"
            raise MemolistError(f"{missing}: `memolist-tts canary` speaks the golden phrases")
        return rows[0] | {"heard": self._rows(PHRASES, run=rows[0]["run_id"])}

    def accept(self, run_id: str) -> int:
        """Compare with this run's recordings from now on; how many there are."""

        def work(tx: Transaction) -> int:
            tx.rows(MARK, run=run_id)
            return len(tx.rows(ACCEPT, run=run_id))

        return self._database.transaction(work)


def _phrase(heard: Heard) -> dict[str, object]:
    now, accepted = heard.now, heard.accepted
    return {
        "key": heard.key,
        "language": heard.language,
        "said": heard.said,
        "voice": heard.voice,
        "model": heard.model,
        "state": heard.state.value,
        "speech_ms": now.speech_ms if now else None,
        "active_dbfs": now.active_dbfs if now else None,
        "transcript": now.transcript if now else None,
        "accepted_speech_ms": accepted.speech_ms if accepted else None,
        "accepted_dbfs": accepted.active_dbfs if accepted else None,
        "accepted_transcript": accepted.transcript if accepted else None,
        "problem": heard.problem,
    }
