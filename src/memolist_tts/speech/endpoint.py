"""POST /audio/speech: OpenAI until 2027-01-06, any compatible server after."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2
import openai

from memolist_tts.core.errors import ProviderBusy, SpeechError
from memolist_tts.core.model import Speech, SpeechRequest
from memolist_tts.speech.client import patience
from memolist_tts.speech.faults import as_body, refusal, request_name, speech_error
from memolist_tts.speech.limits import limits


class EndpointSpeaker:
    """A `Speaker` over the speech endpoint. Thread-safe; the client is the caller's to close."""

    def __init__(self, client: openai.OpenAI) -> None:
        self._client = client

    def speak(self, request: SpeechRequest, timeout_s: float) -> Speech:
        """As `Speaker.speak`. Raises `ProviderBusy` for an empty answer, and what the
        error means for JSON under a 200; any other bytes are the verdict's to judge."""
        body = {name: request[name] for name in request if name != "provider"}
        secret = self._client.api_key
        try:
            # As `audio.speech.create` does, less a walk through the body's types.
            answer = self._client.post(
                "/audio/speech",
                cast_to=httpx2.Response,
                body=body,
                options={
                    "headers": {"Accept": "application/octet-stream"},
                    "timeout": patience(timeout_s),
                },
            )
        except openai.OpenAIError as error:
            raise speech_error(error, secret=secret) from None
        if fault := _not_audio(answer.content, answer.headers, secret):
            raise fault
        return Speech(
            mp3=answer.content,
            request_id=request_name(answer.headers, secret),
            limits=limits(answer.headers),
            has_end=_has_end(answer),
        )

    def rest(self) -> None:
        """Nothing: an abandoned call ends by itself, and may still bring its clip."""


def _has_end(answer: httpx2.Response) -> bool:
    """Whether a cut body would have been noticed.

    HTTP/1.1 ends a body without a length or chunks by closing (RFC 9112, 6.3), as a proxy
    that dies does. HTTP/1.0 knows no other way, and servers that speak it end so rightly.
    """
    is_told = any(name in answer.headers for name in ("Content-Length", "Transfer-Encoding"))
    return is_told or answer.http_version != "HTTP/1.1"


def _not_audio(content: bytes, headers: Mapping[str, str], secret: str) -> SpeechError | None:
    """The error an answer of success carries after all: gateways wrap refusals in a 200."""
    if not content:
        return ProviderBusy(
            "The provider answered without audio. It is asked again.",
            request_id=request_name(headers, secret),
            limits=limits(headers),
        )
    if content.lstrip().startswith(b"{"):
        return refusal(200, as_body(content), headers, secret=secret)
    return None
