"""What a queue message says: one job's id, in any of three spellings."""

from __future__ import annotations

import json

from memolist_tts.core.errors import MemolistError
from memolist_tts.core.model import Json

MAX_ID_CHARACTERS = 255
_SEND = 'send {"jobId": "<id of the TtsJob row>"}'


class BadMessage(MemolistError):
    """The message names no job, and never will."""


def job_id(body: str) -> str:
    """The id in a message body: `{"jobId": "…"}` (other fields are ignored), `"…"`, or bare.

    Ids are text (a uuid is one): a bare `123` is the text "123", but a number
    under jobId is a sender's mistake, as numbers lose digits on their way.
    Blanks around an id are dropped. Raises `BadMessage`, whose text names the fix.
    """
    text = body.strip()
    if not text:
        raise BadMessage(f"The message is empty: {_SEND}")
    if text[0] in '{["':
        return _checked(_named(_parsed(text)))
    if text in {"null", "true", "false"} or len(text.split()) > 1:
        raise BadMessage(f"The message is no job's id: {_SEND}")
    return _checked(text)


def _parsed(text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"The message isn't valid JSON ({error}): {_SEND}") from error
    return value


def _named(value: Json) -> str:
    match value:
        case str() as found:
            return found
        case {"jobId": str() as found}:
            return found
        case {"jobId": other}:
            raise BadMessage(f"jobId is {_kind(other)}, not text in quotes: {_SEND}")
        case dict():
            raise BadMessage(_without_id(value))
        case _:
            raise BadMessage(f"The message is {_kind(value)}, one message wakes one job: {_SEND}")


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return "a number"


def _without_id(value: dict[str, Json]) -> str:
    if "Records" in value:
        return f"The message is a whole event, not one record's body: {_SEND}"
    if "TopicArn" in value or value.get("Type") == "Notification":
        return "The message is in SNS's envelope: turn on raw message delivery of the subscription"
    if "detail-type" in value:
        return "The message is in EventBridge's envelope: set the target's InputPath to $.detail"
    fields = ", ".join(repr(name[:40]) for name in list(value)[:5])
    return f"The message has no jobId (its fields: {fields or 'none'}): {_SEND}"


def _checked(text: str) -> str:
    found = text.strip()
    if not found:
        raise BadMessage(f"jobId is empty: {_SEND}")
    if len(found) > MAX_ID_CHARACTERS:
        raise BadMessage(f"jobId has {len(found)} characters, {MAX_ID_CHARACTERS} at most: {_SEND}")
    # Control characters, NUL and lone surrogates: PostgreSQL can't even compare them.
    if not found.isprintable():
        raise BadMessage(f"jobId holds characters that can't be printed: {_SEND}")
    if found[0] in '{["':
        raise BadMessage(f"jobId holds JSON, so the message was encoded twice: {_SEND}")
    return found
