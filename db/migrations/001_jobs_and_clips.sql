-- Everything memolist-tts remembers, in a schema of its own: the API's tables are never
-- altered, and a Prisma `db push` drops what it doesn't know in its own schema only.
-- Idempotent; later files only add.

CREATE SCHEMA IF NOT EXISTS tts;

CREATE TABLE IF NOT EXISTS tts.job (
    job_id       text PRIMARY KEY,
    lease_token  uuid,
    lease_until  timestamptz,
    attempts     integer NOT NULL DEFAULT 0,
    not_before   timestamptz,
    woken_at     timestamptz,
    total        integer NOT NULL DEFAULT 0,
    spoken       integer NOT NULL DEFAULT 0,
    reused       integer NOT NULL DEFAULT 0,
    kept         integer NOT NULL DEFAULT 0,
    skipped      integer NOT NULL DEFAULT 0,
    failed       integer NOT NULL DEFAULT 0,
    characters   bigint NOT NULL DEFAULT 0,
    cost_usd     numeric(12, 6) NOT NULL DEFAULT 0,
    stop_code    text,
    stop         text,
    error_code   text,
    error        text,
    started_at   timestamptz,
    finished_at  timestamptz,
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE tts.job IS 'One row a job: who may write for it, how far it is, why it waits';
COMMENT ON COLUMN tts.job.lease_token IS 'The run that may write; its clips being spoken carry it too';
COMMENT ON COLUMN tts.job.attempts IS 'Claims that ended in a death without progress';
COMMENT ON COLUMN tts.job.not_before IS 'No claim before this time (hand-back with a delay)';
COMMENT ON COLUMN tts.job.stop_code IS 'Why the last run handed the job back; not an error';

CREATE TABLE IF NOT EXISTS tts.clip (
    key          text NOT NULL,
    take         integer NOT NULL,
    object_name  text NOT NULL,
    provider     text NOT NULL,
    model        text NOT NULL,
    voice        text NOT NULL,
    language     text NOT NULL,
    spoken_text  text NOT NULL,
    speaker      uuid,
    speaker_job  text,
    stored_at    timestamptz,
    size_bytes   integer,
    duration_ms  integer,
    characters   integer NOT NULL,
    cost_usd     numeric(12, 6),
    request_id   text,
    PRIMARY KEY (key, take)
);
COMMENT ON TABLE tts.clip IS 'Stored audio by content (stored_at set), or a reservation to speak it';
COMMENT ON COLUMN tts.clip.speaker IS 'The lease that speaks it; the reservation lives as long as that lease';

CREATE TABLE IF NOT EXISTS tts.utterance (
    job_id       text NOT NULL,
    card_id      text NOT NULL,
    language     text NOT NULL,
    state        text NOT NULL CHECK (state IN ('spoken', 'reused', 'kept', 'skipped', 'failed')),
    shown_text   text,
    spoken_text  text NOT NULL,
    url          text,
    clip_key     text,
    clip_take    integer,
    characters   integer NOT NULL DEFAULT 0,
    cost_usd     numeric(12, 6) NOT NULL DEFAULT 0,
    code         text,
    message      text,
    updated_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job_id, card_id, language)
);
COMMENT ON TABLE tts.utterance IS 'How each card in each language ended, job by job';
CREATE INDEX IF NOT EXISTS utterance_failed ON tts.utterance (updated_at) WHERE state = 'failed';

CREATE TABLE IF NOT EXISTS tts.pace (
    provider          text PRIMARY KEY,
    rate_per_s        double precision NOT NULL,
    burst             double precision NOT NULL,
    tokens            double precision NOT NULL,
    limit_per_minute  double precision,
    latency_s         double precision,
    blocked_until     timestamptz,
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE tts.pace IS 'The token bucket of requests that all workers share, a row a provider and model';

CREATE TABLE IF NOT EXISTS tts.pause (
    code        text PRIMARY KEY,
    message     text NOT NULL,
    until       timestamptz NOT NULL,
    paused_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE tts.pause IS 'While one of these lasts, no job is claimed';

CREATE OR REPLACE VIEW tts.progress AS
SELECT
    job_id,
    total,
    spoken + reused + kept + skipped AS done,
    failed,
    CASE WHEN total = 0 THEN 0
         ELSE round(100.0 * (spoken + reused + kept + skipped + failed) / total, 1) END AS percent,
    spoken, reused, kept, skipped,
    characters, cost_usd, attempts,
    coalesce(lease_until > clock_timestamp(), false) AS running,
    CASE WHEN not_before > clock_timestamp() THEN not_before END AS waits_until,
    stop_code, stop, error_code, error,
    started_at, finished_at, updated_at
FROM tts.job;
COMMENT ON VIEW tts.progress IS 'How far each job is, in utterances (a card in a language)';

CREATE OR REPLACE VIEW tts.failure AS
SELECT job_id, card_id, language, code, message, shown_text, spoken_text, updated_at
FROM tts.utterance
WHERE state = 'failed';
COMMENT ON VIEW tts.failure IS 'Utterances that could not be spoken, with the reason and the fix';
