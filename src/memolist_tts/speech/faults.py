"""Whatever a provider says instead of audio, turned into our errors by what to do next."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpx2
import openai

from memolist_tts.core.errors import (
    KeyRefused,
    Misconfigured,
    NetworkFault,
    OutOfMoney,
    ProviderBusy,
    SpeechError,
    Throttled,
    UtteranceRefused,
)
from memolist_tts.speech.limits import limits, retry_after_s, told_wait_s

SHOWN_CHARACTERS = 200

_MONEY = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
        "billing_not_active",
    }
)
# A proxy may pass on only the words of a 429 (LiteLLM: code "429", type "None").
_MONEY_WORDS = re.compile(rf"exceeded your current quota|{'|'.join(_MONEY)}")
_TOO_LONG = re.compile(
    r"string_above_max_length|string_too_long|context_length_exceeded|at most \d+ characters"
)
# Words count only next to a verdict on the model or voice: a refused text may
# mention either, and stopping the run for one card is the worse mistake.
_NAMES_SETTING = re.compile(
    r"\b(?:model|voice)\b[^.]{0,80}\b(?:not found|not exist|not supported|not available"
    r"|unsupported|unknown|invalid|deprecated"
    r"|(?:is|was|has been) (?:no longer available|shut ?down|retired|discontinued))\b"
    r"|\b(?:unknown|invalid|unsupported|no such|not a valid) (?:model|voice)\b",
    re.IGNORECASE,
)
_SETTINGS = frozenset({"model", "voice"})
# OpenAI's speech endpoint prints pydantic's errors as the message, with param null.
_PRINTED_PLACE = re.compile(r"'loc': \('body', '(\w+)'")
_KEY_LIKE = re.compile(r"\bsk-[\w*.-]{4,}")
# These end before anything of the request is sent, so nothing can have been billed.
_NOT_SENT = (
    httpx2.PoolTimeout,
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.ProxyError,
)


_SAYS: dict[type[SpeechError], tuple[str, str]] = {
    OutOfMoney: (
        "The account can't pay",
        "Top up credit or raise the spend limit at the provider.",
    ),
    Misconfigured: (
        "The provider has no such model, voice or address",
        Misconfigured.fix,
    ),
    KeyRefused: (
        "The provider refuses the API key",
        "Set OPENAI_API_KEY to a valid key that may use this model.",
    ),
    Throttled: ("Too many requests", "Lower REQUESTS_PER_MINUTE if this stays."),
    ProviderBusy: (
        "The provider failed",
        "It is asked again; see its status page if this stays.",
    ),
    UtteranceRefused: ("The provider refuses this text", "Change the text of the card."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Complaint:
    code: str | None = None
    kind: str | None = None
    param: str | None = None
    words: str = ""

    def shown(self, secret: str) -> _Complaint:
        """The same, fit for a log."""
        code, param = (text and shown(text, secret) for text in (self.code, self.param))
        return replace(self, code=code, param=param, words=shown(self.words, secret))

    @property
    def is_too_long(self) -> bool:
        return bool(_TOO_LONG.search(f"{self.code} {self.words}"))

    @property
    def about(self) -> str | None:
        """Which setting the provider names, `voice` or `model`."""
        named = f"{self.param} {self.code} {self.words}".lower()
        return next((name for name in ("voice", "model") if name in named), None)


def speech_error(error: openai.OpenAIError, *, secret: str) -> SpeechError:
    """What `error`, raised by the client, means for the run.

    `secret` is the API key, blanked out wherever a server echoes it. Raise the
    result `from None`: a chained traceback would print the echo.
    """
    match error:
        case openai.APIStatusError():
            return refusal(error.status_code, error.body, error.response.headers, secret=secret)
        case openai.APIConnectionError():
            return _connection_fault(error, secret)
        case _:
            return ProviderBusy(
                f"The client can't read the answer: {shown(str(error), secret)}. "
                "It is asked again; check that OPENAI_BASE_URL is a speech API if this stays."
            )


def refusal(status: int, body: object, headers: Mapping[str, str], *, secret: str) -> SpeechError:
    """The error for an answer of HTTP `status` (or its like) with the JSON or text `body`.

    `body` may be the whole answer, the value of its "error" or "detail", text or None.
    """
    complaint = _complaint(body)
    kind = _kind(status, complaint)
    request_id, pace = request_name(headers, secret), limits(headers)
    what, fix = _SAYS[kind]
    told = _told(status, complaint.shown(secret), request_id)
    if kind is Throttled:
        wait_s = retry_after_s(headers, datetime.now(UTC))
        wait_s = told_wait_s(complaint.words) if wait_s is None else wait_s
        return Throttled(
            f"{what} {told} {fix}", retry_after_s=wait_s, request_id=request_id, limits=pace
        )
    if kind is UtteranceRefused:
        too_long = status == 413 or complaint.is_too_long
        return UtteranceRefused(
            f"{what} {told} {'Shorten the text of the card.' if too_long else fix}",
            code="too_long" if too_long else None,
            signature=(status, complaint.code),
            request_id=request_id,
            limits=pace,
        )
    if kind is Misconfigured:
        return Misconfigured(
            f"{what} {told} {fix}", about=complaint.about, request_id=request_id, limits=pace
        )
    return kind(f"{what} {told} {fix}", request_id=request_id, limits=pace)


def as_body(content: bytes) -> object:
    """The JSON value in `content`, else its text."""
    text = content.decode(errors="replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def request_name(headers: Mapping[str, str], secret: str) -> str | None:
    """The provider's id of a request, fit for a log; None where it gives none."""
    told = headers.get("x-request-id")
    return shown(told, secret) if told else None


def shown(words: str, secret: str) -> str:
    """A provider's words, fit for a log: one line, cut short, the API key blanked out."""
    safe = words.replace(secret, "[key]") if secret else words
    line = " ".join(_KEY_LIKE.sub("[key]", safe).split())
    return line if len(line) <= SHOWN_CHARACTERS else f"{line[:SHOWN_CHARACTERS]}…"


def _kind(status: int, complaint: _Complaint) -> type[SpeechError]:
    """The table of PROVIDER: Errors. Money and model codes count at any status, so first."""
    if _is_money(status, complaint):
        return OutOfMoney
    if _is_setting(status, complaint):
        return Misconfigured
    if status in (401, 403):
        return KeyRefused
    if status == 429:
        return Throttled
    if 400 <= status < 500 and status not in (408, 409):
        return UtteranceRefused
    return ProviderBusy


def _is_money(status: int, complaint: _Complaint) -> bool:
    told_so = status == 402 or not _MONEY.isdisjoint({complaint.code, complaint.kind})
    return told_so or (status == 429 and bool(_MONEY_WORDS.search(complaint.words)))


def _is_setting(status: int, complaint: _Complaint) -> bool:
    if status in (404, 405, 410) or 300 <= status < 400 or complaint.code == "model_not_found":
        return True
    if status not in (400, 422) or complaint.is_too_long:
        return False
    if complaint.param:
        return not _SETTINGS.isdisjoint(re.split(r"\W+", complaint.param))
    return bool(_NAMES_SETTING.search(complaint.words))


def _connection_fault(error: openai.APIConnectionError, secret: str) -> SpeechError:
    cause = error.__cause__
    told = shown(f"{type(cause or error).__name__}: {cause or error}", secret)
    if isinstance(cause, httpx2.UnsupportedProtocol):
        return Misconfigured(
            f"The provider's address can't be used ({told}). Set OPENAI_BASE_URL to an http(s) URL."
        )
    return NetworkFault(
        f"No whole answer came ({told}). It is asked again; check the network and "
        "OPENAI_BASE_URL if this stays.",
        maybe_billed=not isinstance(cause, _NOT_SENT),
    )


def _told(status: int, complaint: _Complaint, request_id: str | None) -> str:
    facts = [f"status {status}"]
    facts += [f"code {complaint.code}"] if complaint.code else []
    facts += [f"param {complaint.param}"] if complaint.param else []
    facts += [f"request {request_id}"] if request_id else []
    words = complaint.words.rstrip(".")
    return f"({', '.join(facts)}){': ' + words if words else ''}."


def _complaint(body: object) -> _Complaint:
    match _unwrapped(body):
        case dict() as fields:
            words = str(fields.get("message") or json.dumps(fields, ensure_ascii=False))
            place = _PRINTED_PLACE.search(words)
            return _Complaint(
                code=_name(fields.get("code")),
                kind=_name(fields.get("type")),
                param=_name(fields.get("param")) or (place[1] if place else None),
                words=words,
            )
        case list() as faults:
            return _validation_complaint(faults)
        case None:
            return _Complaint()
        case text:
            return _Complaint(words=str(text))


def _unwrapped(body: object) -> object:
    """What is inside {"error": …} and FastAPI's {"detail": …}, one in the other too."""
    while isinstance(body, dict):
        inner = body.get("error") or body.get("detail")
        if not inner or (isinstance(inner, str) and "message" in body):
            return body
        body = inner
    return body


def _validation_complaint(faults: list[object]) -> _Complaint:
    """FastAPI's list of faults: where (`loc`) and what (`msg`), not `input`, which echoes."""
    fields = [fault for fault in faults if isinstance(fault, dict)]
    places = [".".join(map(str, field.get("loc") or ())) for field in fields]
    said = [
        f"{place} {field.get('type', '')}: {field.get('msg', '')}"
        for place, field in zip(places, fields, strict=True)
    ]
    return _Complaint(param=", ".join(places) or None, words="; ".join(said))


def _name(value: object) -> str | None:
    """A code's name: proxies also write "None", or the HTTP status once more."""
    if not isinstance(value, str) or value == "None" or value.isdigit():
        return None
    return value.strip() or None
