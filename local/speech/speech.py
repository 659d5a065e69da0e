"""POST /v1/audio/speech."""

from __future__ import annotations

import json
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local.speech import refusals
from local.speech.catalogue import SPEECH, Model
from local.speech.clips import spoilt_mp3
from local.speech.delivery import Answer, deliver, drop
from local.speech.desk import Reading
from local.speech.exchange import DESK, Exchange, exchange_of, refusal_answer
from local.speech.faults import Fault, Kind
from local.speech.ledger import Ask
from local.speech.refusals import Refused
from local.speech.sound import mp3, stamped, wav

FAULT_KINDS = frozenset(
    {Kind.REFUSAL, Kind.TRANSPORT, Kind.MASQUERADE, Kind.CLIP, Kind.BYTES, Kind.HEADERS}
)
_CONTENT_TYPES = {"mp3": "audio/mpeg", "wav": "audio/wav", "pcm": "audio/pcm"}


class _VoiceId(BaseModel):
    id: str


class SpeechBody(BaseModel):
    """What the route takes; the bounds are OpenAI's."""

    model_config = ConfigDict(extra="forbid")

    model: str
    input: str = Field(min_length=1, max_length=4096)
    voice: str | _VoiceId
    instructions: str | None = Field(default=None, max_length=4096)
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = "mp3"
    speed: float = Field(default=1.0, ge=0.25, le=4.0)
    stream_format: Literal["sse", "audio"] = "audio"


async def json_body(request: web.Request) -> dict[str, Any]:
    """Raises `Refused` unless the body is a JSON object."""
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise Refused(refusals.bad_json()) from None
    if not isinstance(body, dict):
        raise Refused(refusals.bad_json())
    return body


def meter(request: web.Request, model: Model, text: str) -> None:
    """Count the attempt, note the buckets for the headers; raises `Refused` with the 429."""
    exchange = exchange_of(request)
    exchange.levels, refusal = request.app[DESK].meter(model, text)
    if refusal:
        raise Refused(refusal)


async def speech(request: web.Request) -> web.StreamResponse:
    desk, exchange = request.app[DESK], exchange_of(request)
    raw = await json_body(request)
    model = desk.model(raw.get("model"), SPEECH)
    meter(request, model, str(raw.get("input", "")))
    body = _checked(raw, model)
    exchange.ask = _ask(body, exchange)
    exchange.fault = desk.fault_for(exchange.ask, FAULT_KINDS)
    if refused := refusal_or_drop(request, exchange):
        return refused
    reading = await desk.read(exchange.ask, exchange.fault)
    form = body.response_format
    encoded = await desk.in_studio(_encoded, reading, form, model, exchange.fault)
    await desk.wait_out(exchange.started_s)
    answer = Answer(body=encoded, content_type=_CONTENT_TYPES[form], chunked=True)
    return await deliver(request, answer, exchange.fault)


def refusal_or_drop(request: web.Request, exchange: Exchange) -> web.StreamResponse | None:
    """The end of a request whose fault comes before any work; None where there is work to do."""
    if exchange.fault and exchange.fault.kind is Kind.REFUSAL:
        return refusal_answer(exchange.fault.refusal(), exchange)
    if exchange.fault and exchange.fault.fault == "drop_early":
        return drop(request)
    return None


def _checked(raw: dict[str, Any], model: Model) -> SpeechBody:
    try:
        body = SpeechBody.model_validate(raw)
    except ValidationError as invalid:
        errors = [
            {**error, "loc": ("body", *error["loc"])} for error in invalid.errors(include_url=False)
        ]
        raise Refused(refusals.invalid(errors)) from None
    if body.voice not in model.voices:
        raise Refused(refusals.unknown_voice(raw["voice"], model.voices))
    if body.instructions and not model.takes_instructions:
        message = f"The model `{model.id}` does not support instructions."
        raise Refused(refusals.bad_argument(message, "instructions"))
    if body.response_format not in _CONTENT_TYPES or body.stream_format == "sse":
        message = "This local server sends mp3, wav and pcm, as plain audio."
        raise Refused(refusals.bad_argument(message, "response_format"))
    return body


def _ask(body: SpeechBody, exchange: Exchange) -> Ask:
    return Ask(
        request_id=exchange.ask.request_id,
        route=SPEECH,
        model=body.model,
        voice=str(body.voice),
        input=body.input,
        instructions=body.instructions,
        speed=body.speed,
    )


def clip(reading: Reading, model: Model, fault: Fault | None) -> bytes:
    """The reading as this model's MP3, with the take in its bytes and the fault, if any."""
    frames = mp3(reading.pcm, model.bit_rate_kbps)
    marked = stamped(frames, model.bit_rate_kbps, reading.charge.take)
    return spoilt_mp3(marked, reading.pcm, model.bit_rate_kbps, fault)


def _encoded(reading: Reading, form: str, model: Model, fault: Fault | None) -> bytes:
    match form:
        case "pcm":
            return reading.pcm
        case "wav":
            return wav(reading.pcm)
        case _:
            return clip(reading, model, fault)
