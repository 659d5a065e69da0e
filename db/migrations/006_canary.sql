-- The drift canary: golden phrases spoken now and then, and what of them a person has accepted.

CREATE TABLE IF NOT EXISTS tts.canary (
    run_id       uuid PRIMARY KEY,
    started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until  timestamptz,
    finished_at  timestamptz,
    accepted_at  timestamptz,
    phrases      integer NOT NULL DEFAULT 0,
    added        integer NOT NULL DEFAULT 0,
    drifted      integer NOT NULL DEFAULT 0,
    unsound      integer NOT NULL DEFAULT 0,
    unmeasured   integer NOT NULL DEFAULT 0,
    shift        text,
    code         text,
    message      text,
    cost_usd     numeric(12, 6)
);
COMMENT ON TABLE tts.canary IS 'One row a canary: when it ran, and whether the voices have drifted';
COMMENT ON COLUMN tts.canary.lease_until IS 'Until then no other canary speaks; NULL once it has ended';
COMMENT ON COLUMN tts.canary.added IS 'Phrases heard for the first time: the baseline';
COMMENT ON COLUMN tts.canary.drifted IS 'What a person has to listen to; the unsound, which can''t be accepted, among them';
COMMENT ON COLUMN tts.canary.shift IS 'How the voices have moved as a whole';
COMMENT ON COLUMN tts.canary.code IS 'Why not every phrase was measured';
CREATE INDEX IF NOT EXISTS canary_started ON tts.canary (started_at);

CREATE TABLE IF NOT EXISTS tts.canary_phrase (
    run_id              uuid NOT NULL,
    key                 text NOT NULL,
    position            integer NOT NULL,
    language            text NOT NULL,
    said                text NOT NULL,
    voice               text NOT NULL,
    model               text NOT NULL,
    state               text NOT NULL
        CHECK (state IN ('same', 'new', 'drifted', 'unsound', 'unmeasured')),
    speech_ms           integer,
    active_dbfs         double precision,
    transcript          text,
    accepted_speech_ms  integer,
    accepted_dbfs       double precision,
    accepted_transcript text,
    problem             text NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, key)
);
COMMENT ON TABLE tts.canary_phrase IS 'What each canary heard of each golden phrase';
COMMENT ON COLUMN tts.canary_phrase.key IS 'The audio key: text, voice, model, instructions, speed, provider';

CREATE TABLE IF NOT EXISTS tts.canary_base (
    key          text PRIMARY KEY,
    run_id       uuid NOT NULL,
    speech_ms    integer NOT NULL,
    active_dbfs  double precision NOT NULL,
    transcript   text,
    accepted_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE tts.canary_base IS 'The accepted recording of each golden phrase, as it was measured';
