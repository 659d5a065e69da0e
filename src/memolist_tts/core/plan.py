"""What is left to say for a job: pure, from the cards as they are and what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from memolist_tts.core import text
from memolist_tts.core.errors import UtteranceRefused
from memolist_tts.core.key import audio_key
from memolist_tts.core.model import (
    Ended,
    Line,
    Options,
    Phrase,
    Result,
    SpeechRequest,
    State,
    Voice,
)


@dataclass(frozen=True, slots=True)
class Plan:
    """`ended` needs no audio and can be written at once; `lines` are to be said."""

    ended: list[Result] = field(default_factory=list)
    lines: dict[str, Line] = field(default_factory=dict)
    phrases: dict[str, list[Phrase]] = field(default_factory=dict)
    """For each line's key the phrases that want it, duplicates together."""
    total: int = 0

    @property
    def cards(self) -> int:
        """How many cards still want audio."""
        return len({phrase.card_id for group in self.phrases.values() for phrase in group})


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How a job's phrases become requests."""

    options: Options
    voice: Callable[[str], Voice]
    """The voice of a language, the job's options applied."""
    request: Callable[[str, Voice], SpeechRequest]
    owns: Callable[[str], bool]


def draw_up(
    phrases: Sequence[Phrase], ended: Mapping[tuple[str, str], Ended], script: Script
) -> Plan:
    """Decide for each phrase: done, kept, skipped, refused, or to be said."""
    plan = Plan(total=len(phrases))
    for phrase in phrases:
        before = ended.get((phrase.card_id, phrase.language))
        if _is_done(phrase, before):
            continue
        if (kept := _kept(phrase, before, script)) is not None:
            plan.ended.append(kept)
            continue
        said = _line(phrase, script)
        if isinstance(said, Result):
            plan.ended.append(said)
        else:
            plan.lines.setdefault(said.key, said)
            plan.phrases.setdefault(said.key, []).append(phrase)
    return plan


def _is_done(phrase: Phrase, before: Ended | None) -> bool:
    if before is None or before.shown != phrase.shown:
        return False
    return before.state in (State.SKIPPED, State.FAILED) or phrase.url is not None


def _kept(phrase: Phrase, before: Ended | None, script: Script) -> Result | None:
    if phrase.url is None:
        return None
    if not script.owns(phrase.url):
        return Result(
            phrase=phrase,
            state=State.KEPT,
            code="foreign_audio",
            message="The card has audio from elsewhere, which is never replaced.",
        )
    # Published by this job for a text that has been edited since: the old words must go.
    is_stale = before is not None and before.shown != phrase.shown and before.url == phrase.url
    if script.options.force or is_stale:
        return None
    return Result(
        phrase=phrase, state=State.KEPT, code="has_audio", message="The card has its audio."
    )


def _line(phrase: Phrase, script: Script) -> Line | Result:
    spoken = text.spoken(phrase.shown, phrase.language)
    if not spoken.text:
        return Result(phrase=phrase, state=State.SKIPPED, code=spoken.code, message=spoken.reason)
    voice = script.voice(phrase.language)
    try:
        pieces = tuple(text.parts(spoken.text))
        requests = tuple(script.request(piece, voice) for piece in pieces)
    except UtteranceRefused as error:
        return Result(
            phrase=phrase,
            state=State.FAILED,
            spoken=spoken.text,
            code=error.code,
            message=str(error),
        )
    return Line(
        key=audio_key(requests),
        requests=requests,
        spoken=spoken.text,
        pieces=pieces,
        voice=voice,
        provider=str(requests[0]["provider"]),
    )
