"""Answers that carry no speech, in the shapes of OpenAI, LiteLLM and FastAPI servers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Errors = list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error answer. `detail`, where given, replaces OpenAI's whole body, as FastAPI has it."""

    status: int
    message: str = ""
    type: str | None = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    detail: Any = None

    @property
    def error(self) -> dict[str, str | None]:
        return {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }

    @property
    def body(self) -> dict[str, Any]:
        return {"error": self.error} if self.detail is None else {"detail": self.detail}


class Refused(Exception):
    """The request ends here, with this answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def missing_key() -> Refusal:
    return Refusal(
        status=401,
        message="You didn't provide an API key. You need to provide your API key in an "
        "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
    )


def wrong_key() -> Refusal:
    return Refusal(
        status=401,
        message="Incorrect API key provided: it is not the one this server was started with.",
        code="invalid_api_key",
    )


def unknown_model(model: str) -> Refusal:
    return Refusal(
        status=404,
        message=f"The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
    )


def bad_json() -> Refusal:
    return Refusal(
        status=400,
        message="We could not parse the JSON body of your request. (HINT: This likely means you "
        "aren't using your HTTP library correctly. The OpenAI API expects a JSON payload.)",
    )


def invalid(errors: Errors) -> Refusal:
    """As /audio/speech words it: pydantic's list, printed; `param` and `code` stay null.

    Source: error bodies quoted in openai/openai-node issue 1284.
    """
    return Refusal(status=400, message=str(errors))


def unknown_voice(voice: object, known: tuple[str, ...]) -> Refusal:
    expected = ", ".join(f"'{name}'" for name in known[:-1]) + f" or '{known[-1]}'"
    return invalid(
        [
            {
                "type": "enum",
                "loc": ("body", "voice"),
                "msg": f"Input should be {expected}",
                "input": voice,
                "ctx": {"expected": expected},
            }
        ]
    )


def bad_argument(message: str, param: str) -> Refusal:
    return Refusal(status=400, message=message, param=param, code="invalid_value")


def throttled(model: str, kind: str, limit: int, wait_s: float) -> Refusal:
    return Refusal(
        status=429,
        message=f"Rate limit reached for {model} in organization org-local on {kind} per min: "
        f"Limit {limit}. Please try again in {wait_s:.3f}s.",
        type=kind,
        code="rate_limit_exceeded",
        headers={
            "retry-after": str(math.ceil(wait_s)),
            "retry-after-ms": str(math.ceil(wait_s * 1000)),
        },
    )


def active_response(active: str) -> Refusal:
    """A session that takes no more at once (words: openai-agents-python, issue 1466)."""
    return Refusal(
        status=400,
        message=f"Conversation already has an active response in progress: {active}. "
        "Wait until the response is finished before creating a new one.",
        code="conversation_already_has_active_response",
    )


def _money(code: str, status: int = 429, type: str | None = None, message: str = "") -> Refusal:
    text = message or f"This request was refused: {code.replace('_', ' ')}."
    return Refusal(status=status, message=text, type=type or code, code=code)


def _busy(status: int, message: str, type: str = "server_error") -> Refusal:
    return Refusal(status=status, message=message, type=type)


REFUSALS: Mapping[str, Refusal] = {
    "insufficient_quota": _money(
        "insufficient_quota",
        message="You exceeded your current quota, please check your plan and billing details.",
    ),
    "credit_balance_exhausted": _money("credit_balance_exhausted"),
    "organization_spend_limit_exceeded": _money("organization_spend_limit_exceeded"),
    "project_spend_limit_exceeded": _money("project_spend_limit_exceeded"),
    "organization_usage_limit_exceeded": _money("organization_usage_limit_exceeded"),
    "billing_hard_limit_reached": _money(
        "billing_hard_limit_reached",
        status=400,
        type="invalid_request_error",
        message="Billing hard limit has been reached",
    ),
    "payment_required": Refusal(status=402, message="Insufficient balance", type="error"),
    "unauthorized": wrong_key(),
    "forbidden": Refusal(
        status=403,
        message="You have insufficient permissions for this operation.",
        code="missing_scope",
    ),
    "region": Refusal(
        status=403,
        message="Country, region, or territory not supported",
        type="request_forbidden",
        code="unsupported_country_region_territory",
    ),
    "model_not_found": unknown_model("the-one-you-asked-for"),
    "not_found": Refusal(status=404, message="Invalid URL (POST /v1/audio/speech)"),
    "gone": Refusal(status=410, message="This model has been deprecated.", code="model_deprecated"),
    "bad_model": Refusal(status=400, message="invalid model ID", param="model"),
    "bad_voice": unknown_voice("alloy", ("nova", "shimmer", "echo")),
    "refused": Refusal(
        status=400,
        message="Your request was rejected as a result of our safety system.",
        code="content_policy_violation",
    ),
    "throttled": Refusal(
        status=429,
        message="Rate limit reached. Please try again in 1s.",
        type="requests",
        code="rate_limit_exceeded",
        headers={"retry-after": "1", "retry-after-ms": "1000"},
    ),
    "throttled_bare": Refusal(status=429, message="Too Many Requests", type=None),
    "request_timeout": _busy(408, "Request timed out"),
    "conflict": _busy(409, "The resource was locked", type="conflict_error"),
    "server_error": _busy(
        500, "The server had an error while processing your request. Sorry about that!"
    ),
    "bad_gateway": _busy(502, "Bad gateway"),
    "unavailable": _busy(503, "The engine is currently overloaded, please try again later"),
    "overloaded": _busy(529, "Overloaded", type="overloaded_error"),
    "litellm_hidden": Refusal(
        status=500,
        message="litellm.BadRequestError: OpenAIException - Input should be 'nova' or 'alloy'",
        type="None",
        param="None",
        code="400",
    ),
    "litellm_none": Refusal(
        status=400,
        message="litellm.BadRequestError: this input can't be spoken",
        type=None,
        param=None,
        code="None",
    ),
    "fastapi_detail": Refusal(
        status=422,
        detail=[{"type": "missing", "loc": ["body", "voice"], "msg": "Field required"}],
    ),
    "fastapi_text": Refusal(status=400, detail="Voice 'alloy' not found"),
}
"""Refusals on demand, by the name of the fault."""
