"""POST /v1/chat/completions, for audio alone: the text of the last user message, read aloud."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import Any

from aiohttp import web

from local.speech import refusals
from local.speech.catalogue import CHAT, Model
from local.speech.delivery import Answer, deliver
from local.speech.desk import Reading, text_tokens
from local.speech.exchange import DESK, exchange_of
from local.speech.faults import Kind
from local.speech.ledger import Ask
from local.speech.refusals import Refused
from local.speech.sound import wav
from local.speech.speech import FAULT_KINDS, clip, json_body, meter, refusal_or_drop

_REFUSING_WORDS = "I'm sorry, but I can't help with that."


async def completions(request: web.Request) -> web.StreamResponse:
    desk, exchange = request.app[DESK], exchange_of(request)
    raw = await json_body(request)
    model = desk.model(raw.get("model"), CHAT)
    ask = _ask(raw, model, exchange.ask.request_id)
    meter(request, model, f"{ask.instructions or ''}{ask.input}")
    exchange.ask = ask
    exchange.fault = fault = desk.fault_for(ask, FAULT_KINDS | {Kind.WORDS})
    if refused := refusal_or_drop(request, exchange):
        return refused
    reading = await desk.read(ask, fault)
    if fault and fault.fault == "no_audio":
        message: dict[str, Any] = {"content": _REFUSING_WORDS, "audio": None}
        tokens = 0
    else:
        is_wav = raw["audio"]["format"] == "wav"
        sound = wav(reading.pcm) if is_wav else await desk.in_studio(clip, reading, model, fault)
        message = {"content": None, "audio": _audio(sound, reading)}
        tokens = reading.audio_tokens
    completion = _completion(ask, message, audio_tokens=tokens, words=reading.transcript)
    whole = json.dumps(completion).encode()
    await desk.wait_out(exchange.started_s)
    return await deliver(
        request, Answer(body=whole, content_type="application/json", chunked=False), fault
    )


def _ask(raw: dict[str, Any], model: Model, request_id: str) -> Ask:
    """What is to be read, and how. Raises `Refused` with OpenAI's complaint."""
    if "audio" not in (raw.get("modalities") or []):
        message = "This model requires that either input content or output modality contain audio."
        raise Refused(refusals.bad_argument(message, "model"))
    audio = raw.get("audio")
    if not isinstance(audio, dict) or not {"voice", "format"} <= audio.keys():
        raise Refused(refusals.bad_argument("audio must have voice and format.", "audio"))
    if audio["voice"] not in model.voices:
        message = f"Invalid value: '{audio['voice']}'. Supported values are: {model.voices}."
        raise Refused(refusals.bad_argument(message, "audio.voice"))
    if audio["format"] not in ("mp3", "wav"):
        message = "This local server sends audio as mp3 or wav."
        raise Refused(refusals.bad_argument(message, "audio.format"))
    system, user = _messages(raw.get("messages"))
    return Ask(
        request_id=request_id,
        route=CHAT,
        model=model.id,
        voice=audio["voice"],
        input=user,
        instructions=system or None,
    )


def _messages(messages: object) -> tuple[str, str]:
    """The text of the system and developer messages, and of the last user message."""
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        raise Refused(refusals.bad_argument("messages must be a list of objects.", "messages"))
    user = [_text(each.get("content")) for each in messages if each.get("role") == "user"]
    if not user:
        raise Refused(refusals.bad_argument("No user message to read.", "messages"))
    system = (
        _text(each.get("content"))
        for each in messages
        if each.get("role") in ("system", "developer")
    )
    return "\n".join(system), user[-1]


def _text(content: object) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _audio(sound: bytes, reading: Reading) -> dict[str, Any]:
    return {
        "id": f"audio_{uuid.uuid4().hex}",
        "data": base64.b64encode(sound).decode(),
        "expires_at": int(time.time()) + 3600,
        "transcript": reading.transcript or None,
    }


def _completion(
    ask: Ask, message: dict[str, Any], *, audio_tokens: int, words: str
) -> dict[str, Any]:
    prompt = text_tokens(f"{ask.instructions or ''}{ask.input}")
    text = text_tokens(words)
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": ask.model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "refusal": None, "annotations": [], **message},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": text + audio_tokens,
            "total_tokens": prompt + text + audio_tokens,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0, "text_tokens": prompt},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": audio_tokens,
                "text_tokens": text,
            },
        },
        "service_tier": "default",
    }
