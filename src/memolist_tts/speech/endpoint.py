"""POST /audio/speech: OpenAI until 2027-01-06, any compatible server after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai

from memolist_tts.core.errors import ProviderBusy, SpeechError
from memolist_tts.core.model import Json, Speech, SpeechRequest, Voice
from memolist_tts.speech.client import patience
from memolist_tts.speech.faults import as_body, refusal, speech_error
from memolist_tts.speech.limits import limits
from memolist_tts.speech.prompt import checked


class EndpointSpeaker:
    """A `Speaker` over the speech endpoint. Thread-safe; the client is the caller's to close.

    `identity` names the provider in the audio key. Instructions go to the gpt-4o
    family and never to tts-1, which may refuse them. Models of other names are a
    compatible server's: whether they know the parameter can't be told, and our
    default instructions must not break them, so they get it only with
    `instruct_any`, meant for instructions the operator set himself.
    """

    def __init__(self, client: openai.OpenAI, *, identity: str, instruct_any: bool = False) -> None:
        self._client = client
        self._identity = identity
        self._instruct_any = instruct_any

    def request(self, text: str, voice: Voice) -> SpeechRequest:
        """As `Speaker.request`. But for "provider", it is the body that is sent."""
        request: dict[str, Json] = {
            "provider": self._identity,
            "model": voice.model,
            "voice": voice.name,
            "input": checked(text),
            "response_format": "mp3",
        }
        if voice.instructions and self._takes_instructions(voice.model):
            request["instructions"] = voice.instructions
        if voice.speed != 1.0:
            request["speed"] = voice.speed
        return request

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:
        """As `Speaker.speak`. Raises `ProviderBusy` for an empty answer, and what the
        error means for JSON under a 200; any other bytes are the verdict's to judge."""
        body: dict[str, Any] = {name: request[name] for name in request if name != "provider"}
        secret = self._client.api_key
        try:
            answer = self._client.audio.speech.with_raw_response.create(
                **body, timeout=patience(timeout_s)
            )
        except openai.OpenAIError as error:
            raise speech_error(error, secret=secret) from None
        if fault := _not_audio(answer.content, answer.headers, secret):
            raise fault
        return Speech(
            mp3=answer.content,
            request_id=answer.headers.get("x-request-id"),
            limits=limits(answer.headers),
        )

    def _takes_instructions(self, model: str) -> bool:
        if model.startswith("gpt-4o-"):
            return True
        return self._instruct_any and not model.startswith("tts-1")


def _not_audio(content: bytes, headers: Mapping[str, str], secret: str) -> SpeechError | None:
    """The error an answer of success carries after all: gateways wrap refusals in a 200."""
    if not content:
        return ProviderBusy(
            "The provider answered without audio. It is asked again.",
            request_id=headers.get("x-request-id"),
            limits=limits(headers),
        )
    if content.lstrip().startswith(b"{"):
        return refusal(200, as_body(content), headers, secret=secret)
    return None
