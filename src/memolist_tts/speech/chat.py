"""Chat completions with audio (gpt-audio-1.5): a model asked to read, not to answer."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any

import openai
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from memolist_tts.core.errors import ProviderBusy, UtteranceRefused
from memolist_tts.core.model import Speech, SpeechRequest
from memolist_tts.core.prices import Usage
from memolist_tts.speech.client import patience
from memolist_tts.speech.faults import as_body, refusal, request_name, shown, speech_error
from memolist_tts.speech.limits import limits


class _Audio(BaseModel):
    data: bytes
    transcript: str | None = None


class _Message(BaseModel):
    audio: _Audio | None = None
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Details(BaseModel):
    audio_tokens: int


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    completion_tokens_details: _Details

    @property
    def billed(self) -> Usage:
        audio = self.completion_tokens_details.audio_tokens
        words = max(0, self.completion_tokens - audio)
        return Usage(audio_out=audio, text_in=self.prompt_tokens, text_out=words)


def _or_none(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """What a bill can't be read from leaves the audio as good as it is."""
    with suppress(ValidationError):
        return read(value)
    return None


class _Answer(BaseModel):
    """What is read of an answer. Not the client's model: it accepts whatever comes."""

    choices: list[_Choice] = Field(min_length=1)
    usage: Annotated[_Usage | None, WrapValidator(_or_none)] = None


class ChatSpeaker:
    """A `Speaker` over /chat/completions. Thread-safe; the client is the caller's to close.

    The transcript tells whether the model read or reworded.
    """

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:
        """As `Speaker.speak`. Raises `UtteranceRefused` if the model declines to read
        and `ProviderBusy` if its answer holds no audio."""
        body: dict[str, Any] = {name: request[name] for name in request if name != "provider"}
        secret = self._client.api_key
        try:
            raw = self._client.chat.completions.with_raw_response.create(
                **body, timeout=patience(timeout_s)
            )
        except openai.OpenAIError as error:
            raise speech_error(error, secret=secret) from None
        try:
            answer = _Answer.model_validate_json(raw.content)
        except ValidationError:
            raise refusal(200, as_body(raw.content), raw.headers, secret=secret) from None
        return _speech(answer, raw.headers, secret)

    def rest(self) -> None:
        """Nothing: an abandoned call ends by itself, and may still bring its clip."""


def _speech(answer: _Answer, headers: Mapping[str, str], secret: str) -> Speech:
    choice, pace = answer.choices[0], limits(headers)
    request_id = request_name(headers, secret)
    message = choice.message
    if message.refusal or choice.finish_reason == "content_filter":
        told = shown(message.refusal or "stopped by the content filter", secret)
        raise UtteranceRefused(
            f"The model declines to read this text: {told}. Change the text of the card.",
            signature=(200, "refusal"),
            request_id=request_id,
            limits=pace,
        )
    if choice.finish_reason == "length":
        raise ProviderBusy(
            "The model's answer was cut at its token limit. It is asked again.",
            request_id=request_id,
            limits=pace,
        )
    mp3 = _decoded(message.audio)
    if not mp3:
        told = shown(message.content or "no words either", secret)
        raise ProviderBusy(
            f"The model answered without audio ({told}). It is asked again.",
            request_id=request_id,
            limits=pace,
        )
    return Speech(
        mp3=mp3,
        request_id=request_id,
        transcript=(message.audio and message.audio.transcript) or "",
        usage=answer.usage.billed if answer.usage else None,
        limits=pace,
    )


def _decoded(audio: _Audio | None) -> bytes:
    try:
        return binascii.a2b_base64(audio.data, strict_mode=True) if audio else b""
    except binascii.Error:
        return b""
