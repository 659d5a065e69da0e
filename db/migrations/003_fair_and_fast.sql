-- What the pace remembers of a provider: across workers, runs and releases.

ALTER TABLE tts.pace ADD COLUMN IF NOT EXISTS taken double precision NOT NULL DEFAULT 0;
ALTER TABLE tts.pace ADD COLUMN IF NOT EXISTS learned_per_minute double precision;
ALTER TABLE tts.pace ADD COLUMN IF NOT EXISTS calm_s double precision NOT NULL DEFAULT 3600;
ALTER TABLE tts.pace ADD COLUMN IF NOT EXISTS dropped_s double precision NOT NULL DEFAULT 3600;
ALTER TABLE tts.pace ADD COLUMN IF NOT EXISTS rest_s double precision NOT NULL DEFAULT 0;
ALTER TABLE tts.pace ADD COLUMN IF NOT EXISTS minute_s double precision NOT NULL DEFAULT 0;
ALTER TABLE tts.pace ADD COLUMN IF NOT EXISTS minute_taken double precision NOT NULL DEFAULT 0;
ALTER TABLE tts.pace ADD COLUMN IF NOT EXISTS minute_before double precision NOT NULL DEFAULT 0;
COMMENT ON COLUMN tts.pace.taken IS 'Slots ever taken: a slot''s place in the order of all';
COMMENT ON COLUMN tts.pace.learned_per_minute IS 'What a minute took at the last refusal, where no header tells the limit';
COMMENT ON COLUMN tts.pace.calm_s IS 'Seconds of work since the last refusal';

-- Whose job it is: users are served by turns.
ALTER TABLE tts.job ADD COLUMN IF NOT EXISTS user_id text;
COMMENT ON COLUMN tts.job.user_id IS 'The API''s "userId" as of the last claim';
CREATE INDEX IF NOT EXISTS job_user ON tts.job (user_id, updated_at) WHERE user_id IS NOT NULL;

-- What the sweep and the end of a run look for among all that has long ended.
CREATE INDEX IF NOT EXISTS job_unfinished ON tts.job (attempts) WHERE finished_at IS NULL;
CREATE INDEX IF NOT EXISTS job_finished ON tts.job (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS clip_reserved ON tts.clip (speaker) WHERE stored_at IS NULL;
