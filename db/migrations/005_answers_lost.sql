-- A commit whose answer was lost is repeated: by this its author knows its own work again.

ALTER TABLE tts.job ADD COLUMN IF NOT EXISTS acted_by uuid;
COMMENT ON COLUMN tts.job.acted_by IS 'The lease or the call that last settled, failed or woke it';
