"""What a client may send in a realtime session: the names and bounds of openai 3.54's types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local.speech.refusals import Refusal

_MaxTokens = Annotated[int, Field(ge=1, le=4096)] | Literal["inf"]
_Modalities = list[Literal["audio"]]
"""This local server doesn't write; OpenAI's also takes ["text"]."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Format(_Strict):
    type: Literal["audio/pcm"]
    rate: Literal[24_000] = 24_000


class _ResponseOutput(_Strict):
    voice: str | None = None
    format: _Format | None = None


class _SessionOutput(_ResponseOutput):
    speed: float | None = Field(default=None, ge=0.25, le=1.5)


class _Input(_Strict):
    format: _Format | None = None
    noise_reduction: Any = None
    transcription: Any = None
    turn_detection: Any = None


class _SessionAudio(_Strict):
    input: _Input = _Input()
    output: _SessionOutput = _SessionOutput()


class _ResponseAudio(_Strict):
    output: _ResponseOutput = _ResponseOutput()


class SessionUpdate(_Strict):
    """The session of session.update. What makes no difference here is only let through."""

    type: Literal["realtime"]
    instructions: str | None = None
    output_modalities: _Modalities | None = None
    audio: _SessionAudio = _SessionAudio()
    max_output_tokens: _MaxTokens | None = None
    include: Any = None
    model: Any = None
    parallel_tool_calls: Any = None
    prompt: Any = None
    reasoning: Any = None
    tool_choice: Any = None
    tools: Any = None
    tracing: Any = None
    truncation: Any = None


class _Content(_Strict):
    type: Literal["input_text"]
    text: str


class _Item(_Strict):
    type: Literal["message"]
    role: Literal["user", "system"]
    content: list[_Content]
    id: str | None = None
    object: str | None = None
    status: str | None = None


class ResponseCreate(_Strict):
    """The response of response.create."""

    conversation: str = "auto"
    instructions: str | None = None
    input: list[_Item] = []
    metadata: (
        Annotated[
            dict[
                Annotated[str, Field(max_length=64)],
                Annotated[str, Field(max_length=512)],
            ],
            Field(max_length=16),
        ]
        | None
    ) = None
    max_output_tokens: _MaxTokens = "inf"
    output_modalities: _Modalities | None = None
    audio: _ResponseAudio = _ResponseAudio()
    parallel_tool_calls: Any = None
    prompt: Any = None
    reasoning: Any = None
    tool_choice: Any = None
    tools: Any = None

    @property
    def text(self) -> str:
        users = [item for item in self.input if item.role == "user"]
        return "".join(part.text for part in users[-1].content) if users else ""


def refusal_of(invalid: ValidationError, name: str) -> Refusal:
    """The first thing that is wrong, in OpenAI's kinds of words."""
    first = invalid.errors(include_url=False)[0]
    # Without what pydantic calls the branches of a union, "constrained-int".
    places = [str(place) for place in first["loc"] if str(place).replace("_", "a").isalnum()]
    param = ".".join((name, *places))
    match first["type"]:
        case "extra_forbidden":
            code, message = "unknown_parameter", f"Unknown parameter: '{param}'."
        case "missing":
            code, message = "missing_required_parameter", f"Missing required parameter: '{param}'."
        case _:
            code, message = "invalid_value", f"Invalid value: '{param}'. {first['msg']}."
    return Refusal(status=400, message=message, param=param, code=code)
