-- Jobs over a part of their list, so that the API can tell them from its own.

CREATE OR REPLACE VIEW tts.partial AS SELECT DISTINCT job_id FROM tts.selection;
COMMENT ON VIEW tts.partial IS
    'Jobs that an operator made, which speak only some cards of their list: not ones to join';
