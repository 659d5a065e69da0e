"""What is known of the models that speak (models.toml), and when they end."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from memolist_tts.core.errors import SpeechError, TryAgain
from memolist_tts.core.prices import Price

if TYPE_CHECKING:
    import openai

Route: TypeAlias = Literal["endpoint", "chat", "realtime"]
"""Which API speaks: /audio/speech, /chat/completions, or a realtime session."""

WARN_DAYS = 60
"""How long before a model's end one is told so."""
ASK_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One of OpenAI's models that speak, and its snapshots."""

    names: tuple[str, ...]
    route: Route
    voices: tuple[str, ...]
    instructions: bool
    """Whether it may be told how to speak."""
    price: Price
    speed: tuple[float, float] | None = None
    """The range of the parameter; None where there is none."""
    requests_per_minute: int | None = None
    """Of the lowest paid tier; None where it isn't published."""
    closes: date | None = None
    """None while no end is announced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All of it; `as_of` is the day it was compared with its sources."""

    as_of: date
    default_route: Route
    default_models: Mapping[Route, str]
    models: tuple[Model, ...]


@cache
def table() -> Table:
    """models.toml, read once."""
    raw = tomllib.loads(Path(__file__).with_name("models.toml").read_text())
    raw["models"] = tuple(_model(each) for each in raw["models"])
    return Table(**raw)


def known(name: str) -> Model | None:
    """What is known of the model `name`; None for another server's."""
    return next((model for model in table().models if name in model.names), None)


def price(name: str) -> Price | None:
    """What the model costs, where that is known."""
    model = known(name)
    return model.price if model else None


def takes_instructions(name: str, *, send_any: bool) -> bool:
    """Whether the speech endpoint is sent instructions for the model `name`.

    tts-1 may refuse them, so never. Models of unknown names are a compatible server's:
    whether they know the parameter can't be told, so only with `send_any`.
    """
    if model := known(name):
        return model.instructions
    return name.startswith("gpt-4o-") or (send_any and not name.startswith("tts-1"))


def is_openai_host(host: str) -> bool:
    """Whether it is OpenAI's API, a regional one included."""
    return host == "api.openai.com" or host.endswith(".api.openai.com")


def voice_fault(model_name: str, voice: str, *, is_openai: bool) -> str | None:
    """Why the pair can't speak, with the fix; None where it can, or where that isn't known.

    A server of one's own may name its model as OpenAI's and bring its own voices: there,
    only a voice that is OpenAI's can be told to be wrong.
    """
    model = known(model_name)
    if model is None or voice in model.voices:
        return None
    others = {name for each in table().models for name in each.voices}
    if not is_openai and voice not in others:
        return None
    return f"{model_name} has no voice {voice!r}. It has: {', '.join(model.voices)}"


def announced_end(name: str, *, is_openai: bool) -> date | None:
    """The day OpenAI closes its model `name`, as far as the table knows."""
    model = known(name)
    return model.closes if model and is_openai else None


def shutdown_date(client: openai.OpenAI, model: str) -> date | None:
    """The day `model` closes, as the server tells it, else as OpenAI announced it.

    None where neither does: no other server has to know the question, and no
    failure to answer it matters, so nothing is raised. Waits about 5 s at most.
    """
    try:
        told = told_of(client, model)
    except SpeechError:
        told = {}
    return end_of(model, told, is_openai=is_openai_host(client.base_url.host))


def end_of(model: str, told: Mapping[str, Any], *, is_openai: bool) -> date | None:
    """The day `model` closes by what its server `told` (see `told_of`), else as announced."""
    return _day(told.get("shutdown_date")) or announced_end(model, is_openai=is_openai)


def offers(client: openai.OpenAI, model: str) -> bool | None:
    """Whether the server lists `model`; None if it couldn't be asked now. Waits about 5 s."""
    try:
        return told_of(client, model).get("id") == model
    except TryAgain:
        return None
    except SpeechError:
        return False


def told_of(client: openai.OpenAI, model: str) -> Mapping[str, Any]:
    """What the server says of a model (GET /models/…): {} where it says nothing readable.

    Raises a `SpeechError` as speaking would: `KeyRefused`, `Misconfigured` where it knows
    no such model. Waits about 5 s at most; costs nothing.
    """
    import openai

    from memolist_tts.speech.client import patience
    from memolist_tts.speech.faults import as_body, speech_error

    try:
        answer = client.models.with_raw_response.retrieve(model, timeout=patience(ASK_S))
    except openai.OpenAIError as error:
        raise speech_error(error, secret=client.api_key) from None
    body = as_body(answer.content)
    return body if isinstance(body, dict) else {}


def _day(told: object) -> date | None:
    try:
        return date.fromisoformat(str(told)[:10])
    except ValueError:
        return None


def _model(raw: dict[str, Any]) -> Model:
    read: dict[str, Any] = raw | {"price": Price(**raw["price"])}
    read |= {name: tuple(raw[name]) for name in ("names", "voices", "speed") if name in raw}
    return Model(**read)
