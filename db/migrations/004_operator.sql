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

CREATE TABLE IF NOT EXISTS tts.lexicon (
    language    text NOT NULL,
    word        text NOT NULL,
    said        text NOT NULL,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (language, word)
);
COMMENT ON TABLE tts.lexicon IS 'Words that a voice gets wrong, and what it is given to read instead';

CREATE TABLE IF NOT EXISTS tts.direction (
    card_id     text NOT NULL,
    language    text NOT NULL,
    say         text,
    hint        text,
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (card_id, language)
);
COMMENT ON TABLE tts.direction IS 'How one card is said: every later job speaks it in the same way';
COMMENT ON COLUMN tts.direction.say IS 'Read instead of what the card shows';
COMMENT ON COLUMN tts.direction.hint IS 'Added to the instructions';

CREATE TABLE IF NOT EXISTS tts.selection (
    job_id     text NOT NULL,
    card_id    text NOT NULL,
    language   text NOT NULL,
    old_url    text,
    voice      text,
    old_say    text,
    old_hint   text,
    made_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    undone_at  timestamptz,
    PRIMARY KEY (job_id, card_id, language)
);
COMMENT ON TABLE tts.selection IS 'The only utterances of a job that an operator made';
COMMENT ON COLUMN tts.selection.old_url IS 'The audio to replace: a card that carries another is left alone';
COMMENT ON COLUMN tts.selection.old_say IS 'The direction before, for undo';
CREATE INDEX IF NOT EXISTS selection_card ON tts.selection (card_id, language, made_at);

ALTER TABLE tts.clip ADD COLUMN IF NOT EXISTS withdrawn_at timestamptz;
COMMENT ON COLUMN tts.clip.withdrawn_at IS 'A take that an operator undid: no other card is given it';

CREATE TABLE IF NOT EXISTS tts.spend (
    lease        uuid NOT NULL,
    model        text NOT NULL,
    voice        text NOT NULL,
    language     text NOT NULL,
    is_reported  boolean NOT NULL,
    job_id       text NOT NULL,
    user_id      text,
    day          date NOT NULL,
    calls        integer NOT NULL,
    characters   bigint NOT NULL,
    cost_usd     numeric(14, 6) NOT NULL,
    PRIMARY KEY (lease, model, voice, language, is_reported)
);
COMMENT ON TABLE tts.spend IS 'What each run spent, retakes and failures included';
COMMENT ON COLUMN tts.spend.day IS 'The day (UTC) on which the run spent first';
COMMENT ON COLUMN tts.spend.is_reported IS 'Priced by the tokens that the provider told; else by length';
CREATE INDEX IF NOT EXISTS spend_day ON tts.spend (day);
CREATE INDEX IF NOT EXISTS spend_job ON tts.spend (job_id);

CREATE TABLE IF NOT EXISTS tts.hold (
    lease    uuid PRIMARY KEY,
    job_id   text NOT NULL,
    day      date NOT NULL,
    usd      numeric(14, 6) NOT NULL
);
COMMENT ON TABLE tts.hold IS 'Money set aside for calls under way; what a run leaves when it dies counts as spent';
CREATE INDEX IF NOT EXISTS hold_day ON tts.hold (day);
CREATE INDEX IF NOT EXISTS hold_job ON tts.hold (job_id);

ALTER TABLE tts.clip ADD COLUMN IF NOT EXISTS unused_since timestamptz;
ALTER TABLE tts.clip ADD COLUMN IF NOT EXISTS deleted_at timestamptz;
COMMENT ON COLUMN tts.clip.unused_since IS 'No card was seen to carry it; a job that gives it to one clears this';
COMMENT ON COLUMN tts.clip.deleted_at IS 'Given to no card any more; its take is never used again. size_bytes NULL: the object is gone';
CREATE INDEX IF NOT EXISTS clip_unused ON tts.clip (unused_since) WHERE unused_since IS NOT NULL;
