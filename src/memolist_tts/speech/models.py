"""When a model ends, so that the worker can warn before it does."""

from __future__ import annotations

from datetime import date

import openai

from memolist_tts.speech.client import patience
from memolist_tts.speech.faults import as_body

ASK_S = 5.0
# https://developers.openai.com/api/docs/deprecations, as of November 2026.
_OPENAI_ENDS = dict.fromkeys(
    ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"), date(2027, 1, 6)
)


def shutdown_date(client: openai.OpenAI, model: str) -> date | None:
    """The day `model` closes, as the server tells it, else as OpenAI announced it.

    None where neither does: no other server has to know the question, and no
    failure to answer it matters, so nothing is raised. Waits about 5 s at most.
    """
    host = client.base_url.host
    announced = _OPENAI_ENDS.get(model) if host.endswith("api.openai.com") else None
    try:
        answer = client.models.with_raw_response.retrieve(model, timeout=patience(ASK_S))
    except openai.OpenAIError:
        return announced
    body = as_body(answer.content)
    told = body.get("shutdown_date") if isinstance(body, dict) else None
    return _day(told) or announced


def _day(told: object) -> date | None:
    try:
        return date.fromisoformat(str(told)[:10])
    except ValueError:
        return None
