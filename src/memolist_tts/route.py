"""Which API speaks, and with which model: TTS_PROVIDER, TTS_MODEL, the server and the day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from memolist_tts.core.model import Voice
from memolist_tts.speech.models import (
    WARN_DAYS,
    Model,
    Route,
    known,
    table,
    takes_instructions,
    voice_fault,
)

if TYPE_CHECKING:
    from memolist_tts.settings import Settings


@dataclass(frozen=True, slots=True)
class Way:
    """How a deployment speaks."""

    route: Route
    model: str
    is_sure: bool = True
    """False where the server couldn't be asked: ask again."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A model's end."""

    model: str
    days: int
    """Until then; negative after."""
    fix: str
    """The variable to change."""

    @property
    def is_near(self) -> bool:
        """Whether one has to be told."""
        return self.days <= WARN_DAYS


def choose(settings: Settings, today: date, offers: Callable[[str], bool | None]) -> Way:
    """The way of `today`.

    `auto` is the model's own route while the model lives; where none is set, or OpenAI
    has closed it, the route that goes on after the speech endpoint's end. Another server
    is asked by `offers` whether it has that one: most only know the speech endpoint.
    """
    models = table().default_models
    if settings.TTS_PROVIDER != "auto":
        route: Route = settings.TTS_PROVIDER
        return Way(route, settings.TTS_MODEL or models[route])
    last = Way(table().default_route, models[table().default_route])
    if settings.TTS_MODEL:
        model = known(settings.TTS_MODEL)
        if settings.is_openai and model and model.closes and today >= model.closes:
            return last
        return Way(model.route if model else "endpoint", settings.TTS_MODEL)
    if settings.is_openai:
        return last
    answer = offers(last.model)
    return last if answer else Way("endpoint", models["endpoint"], is_sure=answer is not None)


def faults(settings: Settings, today: date) -> list[str]:
    """What surely can't work together, each with its fix. Asks nobody."""
    way = choose(settings, today, lambda _: False)
    model = known(way.model)
    if model is None:
        if settings.TTS_PROVIDER == "auto" and settings.is_openai:
            return [
                f"TTS_PROVIDER: the way to speak with TTS_MODEL={way.model} isn't known; "
                "set endpoint, chat or realtime"
            ]
        return []
    if model.route != way.route:
        default = table().default_models[way.route]
        return [
            f"TTS_MODEL: {way.model} speaks by TTS_PROVIDER={model.route}, not {way.route}; "
            f"set that, or a model of {way.route}, such as {default}"
        ]
    return list(_voice_faults(settings, way, model))


def _voice_faults(settings: Settings, way: Way, model: Model) -> Iterator[str]:
    for language in settings.LANGUAGES:
        name = f"_{language.code.upper()}"
        voice = settings.voice(language.code, way.model)
        if wrong := voice_fault(way.model, voice.name, is_openai=settings.is_openai):
            yield f"VOICE{name}: {wrong}"
        if language.code in settings.own_instructions and not model.instructions:
            yield f"INSTRUCTIONS{name}: {_deaf(way, 'unset it')}"
    if wrong := speed_fault(way.model, settings.TTS_SPEED):
        yield f"TTS_SPEED: {wrong}"


def hint_fault(settings: Settings, way: Way, language: str) -> str | None:
    """Why what is added to the instructions would not be sent, with the fix; None where it is."""
    send_any = bool(settings.own_instructions)
    if way.route != "endpoint" or takes_instructions(way.model, send_any=send_any):
        return None
    if known(way.model):
        return f"--hint: {_deaf(way, 'leave it out')}"
    return (
        f"--hint: whether {way.model} takes instructions isn't known; leave it out, or set "
        f"INSTRUCTIONS_{language.upper()}, with which they are sent"
    )


def _deaf(way: Way, without: str) -> str:
    instead = table().default_models[way.route]
    return f"{way.model} takes no instructions; {without}, or set TTS_MODEL={instead}"


def speed_fault(model_name: str, speed: float) -> str | None:
    """Why the model can't speak at that speed; None where it can, or where that isn't known."""
    model = known(model_name)
    if model is None or model.speed is None or model.speed[0] <= speed <= model.speed[1]:
        return None
    return f"{model_name} speaks at {model.speed[0]:g} to {model.speed[1]:g}, not {speed:g}"


def option_fault(voice: Voice, route: Route, *, is_openai: bool) -> str | None:
    """Why what a job asks for can't be spoken here; None where it can, or isn't known."""
    model = known(voice.model)
    if model and model.route != route:
        return (
            f"options.model: {voice.model} isn't spoken by this deployment's way, {route}; "
            f"leave it out, or ask for one of that way, such as {table().default_models[route]}"
        )
    if wrong := voice_fault(voice.model, voice.name, is_openai=is_openai):
        return f"options.voice: {wrong}"
    if wrong := speed_fault(voice.model, voice.speed):
        return f"options.speed: {wrong}"
    return None


def move(settings: Settings, way: Way) -> str:
    """The variable to change before the model of `way` is closed."""
    successor = table().default_models[table().default_route]
    if way.route == "endpoint":
        unset = " and unset TTS_MODEL" if settings.TTS_MODEL else ""
        return f"Set TTS_PROVIDER={table().default_route}{unset}."
    if way.route != table().default_route:
        successor = table().default_models[way.route]
    if successor == way.model:
        return f"Set TTS_MODEL to a newer model of {way.route}, or TTS_PROVIDER to another way."
    return f"Set TTS_MODEL={successor}."
