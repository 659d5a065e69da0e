-- A call that overran its run, or whose job was cancelled, may still bring its clip.

ALTER TABLE tts.clip ADD COLUMN IF NOT EXISTS held_until timestamptz;
COMMENT ON COLUMN tts.clip.held_until IS 'Until then a call under way may still store it: look, do not pay';
