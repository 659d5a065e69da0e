"""What is sent for a text, by route, as plain JSON values: known without any client.

The audio key is made of it, so the same input must give the same value in every
later version. "provider" is `identity`, whose voices they are; it isn't sent. All
raise `UtteranceRefused` (`too_long`) where the provider would surely refuse.
"""

from __future__ import annotations

from memolist_tts.core.model import Json, SpeechRequest, Voice
from memolist_tts.speech.models import takes_instructions
from memolist_tts.speech.prompt import checked, verbatim

SAMPLE_RATE_HZ = 24_000
"""Of the PCM that a realtime session sends."""
# The API's maximum: bounds what a model that won't stop talking can cost.
MAX_OUTPUT_TOKENS = 4096


def endpoint(
    text: str, voice: Voice, *, identity: str, instruct_any: bool = False
) -> SpeechRequest:
    """The body for /audio/speech, and "provider".

    Instructions go where `takes_instructions` has it. Our default ones must not break a
    compatible server, so one whose model has a name of its own gets them only with
    `instruct_any`, meant for instructions the operator set himself.
    """
    request: dict[str, Json] = {
        "provider": identity,
        "model": voice.model,
        "voice": voice.name,
        "input": checked(text),
        "response_format": "mp3",
    }
    if voice.instructions and takes_instructions(voice.model, send_any=instruct_any):
        request["instructions"] = voice.instructions
    if voice.speed != 1.0:
        request["speed"] = voice.speed
    return request


def chat(text: str, voice: Voice, *, identity: str) -> SpeechRequest:
    """The body for /chat/completions, and "provider".

    There is no parameter for speed, so one other than 1.0 is asked for in words.
    """
    pace = f" Speak at {voice.speed:g} times your usual speed." if voice.speed != 1.0 else ""
    messages: list[Json] = [
        {"role": "system", "content": verbatim(voice) + pace},
        {"role": "user", "content": checked(text)},
    ]
    return {
        "provider": identity,
        "model": voice.model,
        "modalities": ["text", "audio"],
        "audio": {"voice": voice.name, "format": "mp3"},
        "messages": messages,
    }


def realtime(text: str, voice: Voice, *, identity: str) -> SpeechRequest:
    """For the Realtime API: "session" and "response" are what its events carry."""
    output: dict[str, Json] = {
        "format": {"type": "audio/pcm", "rate": SAMPLE_RATE_HZ},
        "voice": voice.name,
    }
    if voice.speed != 1.0:
        output["speed"] = voice.speed
    message: Json = {
        "type": "message",
        "role": "user",
        "content": [{"type": "input_text", "text": checked(text)}],
    }
    return {
        "provider": identity,
        "model": voice.model,
        "session": {
            "type": "realtime",
            "output_modalities": ["audio"],
            "audio": {"input": {"turn_detection": None}, "output": output},
        },
        "response": {
            "conversation": "none",
            "output_modalities": ["audio"],
            "instructions": verbatim(voice),
            "input": [message],
            "max_output_tokens": MAX_OUTPUT_TOKENS,
        },
    }
