-- What an operator asks of the database: what failed lately, which voice made what, a card's past.

CREATE INDEX IF NOT EXISTS utterance_failed_code ON tts.utterance (code, updated_at)
    WHERE state = 'failed';
CREATE INDEX IF NOT EXISTS utterance_card ON tts.utterance (card_id, language);
CREATE INDEX IF NOT EXISTS job_finished ON tts.job (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS clip_stored ON tts.clip (stored_at) WHERE stored_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS clip_voice ON tts.clip (voice, stored_at) WHERE stored_at IS NOT NULL;

-- A pause of one user's jobs; NULL pauses all.
ALTER TABLE tts.pause ADD COLUMN IF NOT EXISTS user_id text;
COMMENT ON COLUMN tts.pause.user_id IS 'Whose jobs wait; NULL: everybody''s';
