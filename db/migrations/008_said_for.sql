-- What is said instead of a card's text is for that text, not for what the card shows later.

ALTER TABLE tts.direction ADD COLUMN IF NOT EXISTS shown text;
COMMENT ON COLUMN tts.direction.shown IS
    'What the card showed then: of another text "say" does not hold. NULL: of any';
