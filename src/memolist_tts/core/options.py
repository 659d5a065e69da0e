"""What the API asks of one job, checked."""

from __future__ import annotations

import json

from memolist_tts.core.errors import BadInput
from memolist_tts.core.model import Json, Options


class BadOptions(BadInput):
    """A job's "options" can't be followed; the text names the field and the fix."""


def parse(text: str | None) -> Options:
    """The "options" of a job row (JSON: voice, model, speed, force); blank is none.

    Unknown fields are left to the API. Raises `BadOptions`.
    """
    try:
        raw: Json = json.loads(text) if text and text.strip() else None
    except (ValueError, RecursionError):
        raise BadOptions(f"options must be JSON, not {text!r:.80}") from None
    if raw is None:
        return Options()
    if not isinstance(raw, dict):
        raise BadOptions(f"options must be a JSON object, not {raw!r:.80}")
    return Options(
        voice=_voice(raw.get("voice")),
        model=_text("model", raw.get("model")),
        speed=_speed(raw.get("speed")),
        force=_flag("force", raw.get("force")),
    )


def _voice(value: Json) -> str | dict[str, str] | None:
    if isinstance(value, dict):
        voices = {code.lower(): _text(f"voice.{code}", name) for code, name in value.items()}
        return {code: name for code, name in voices.items() if name}
    return _text("voice", value)


def _text(name: str, value: Json) -> str | None:
    if value is None:
        return None
    # Lone surrogates too can't be printed, nor sent.
    if isinstance(value, str) and (found := value.strip()) and found.isprintable():
        return found
    raise BadOptions(f'options.{name} must be a name, such as "alloy", not {value!r:.80}')


def _speed(value: Json) -> float | None:
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0.25 <= value <= 4:
        return float(value)
    raise BadOptions(f"options.speed must be a number from 0.25 to 4, not {value!r:.80}")


def _flag(name: str, value: Json) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise BadOptions(f"options.{name} must be true or false, not {value!r:.80}")
