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
