"""What is left to say for a job: pure, from the cards as they are and what was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from memolist_tts.core import text
from memolist_tts.core.errors import UtteranceRefused
from memolist_tts.core.key import audio_key
from memolist_tts.core.lexicon import Lexicon
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

LONGEST_CHARACTERS = 4096
"""What OpenAI takes at once. A text of many more parts than that could outlast a run, and each
run would pay for its first parts anew."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`ended` needs no audio and can be written at once; `lines` are to be said."""

    ended: list[Result] = field(default_factory=list)
    lines: dict[str, Line] = field(default_factory=dict)
    phrases: dict[str, list[Phrase]] = field(default_factory=dict)
    """For each line's key the phrases that want it, duplicates together."""
    total: int = 0
    fresh: set[str] = field(default_factory=set)
    """Keys for which a take that was stored before won't do."""

    def take(self, key: str) -> list[Phrase]:
        """The phrases of a line that has ended: it isn't kept any longer."""
        self.lines.pop(key, None)
        return self.phrases.pop(key, [])

    @property
    def cards(self) -> int:
        """How many cards still want audio."""
        return len({phrase.card_id for group in self.phrases.values() for phrase in group})


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """How a job's phrases become requests."""

    options: Options
    voice: Callable[[str], Voice]
    """The voice of a language, the job's options applied; raises `BadOptions`."""
    request: Callable[[str, Voice], SpeechRequest]
    """What would be sent for a text, as plain JSON values. Pure: no I/O.

    Holds the provider's identity and only the parameters really sent; the audio key
    is made of it, so the same input must give the same value in every later version.
    Raises `UtteranceRefused` (`too_long`) where the provider would surely refuse.
    """
    owns: Callable[[str], bool]
    lexicon: Lexicon = field(default_factory=Lexicon)


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
        said = line_of(phrase, script)
        if isinstance(said, Result):
            plan.ended.append(said)
            continue
        plan.lines.setdefault(said.key, said)
        plan.phrases.setdefault(said.key, []).append(phrase)
        if script.options.force or _carries(phrase, said.key):
            plan.fresh.add(said.key)
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
    # What a retake asked of a card without audio holds, whoever gave it audio meanwhile.
    is_retaken = phrase.voice is not None and phrase.replaces is None
    if script.options.force or is_stale or is_retaken or phrase.url == phrase.replaces:
        return None
    return Result(
        phrase=phrase, state=State.KEPT, code="has_audio", message="The card has its audio."
    )


def _carries(phrase: Phrase, key: str) -> bool:
    """Whether the audio to be replaced says the same in the same way: then it's another take."""
    return phrase.replaces is not None and f"/{key}-" in phrase.replaces


def line_of(phrase: Phrase, script: Script) -> Line | Result:
    """What is sent for a phrase, or why nothing can be."""
    spoken = text.spoken(phrase.say or phrase.shown, phrase.language)
    if not spoken.text:
        return Result(phrase=phrase, state=State.SKIPPED, code=spoken.code, message=spoken.reason)
    said = spoken.text if phrase.say else script.lexicon.said(spoken.text, phrase.language)
    if len(said) > LONGEST_CHARACTERS:
        return _too_long(phrase, said)
    voice = _directed(script.voice(phrase.language), phrase)
    try:
        pieces = tuple(text.parts(said))
        requests = tuple(script.request(piece, voice) for piece in pieces)
    except UtteranceRefused as error:
        return Result(
            phrase=phrase,
            state=State.FAILED,
            spoken=said,
            code=error.code,
            message=str(error),
        )
    return Line(
        key=audio_key(requests),
        spoken=said,
        pieces=pieces,
        voice=voice,
        provider=str(requests[0]["provider"]),
        ask=script.request,
    )


def _too_long(phrase: Phrase, said: str) -> Result:
    told = f"The text has {len(said):,} characters to say, a card may have {LONGEST_CHARACTERS:,}."
    return Result(
        phrase=phrase,
        state=State.FAILED,
        spoken=said,
        code="too_long",
        message=f"{told} Shorten the text of the card.",
    )


def _directed(voice: Voice, phrase: Phrase) -> Voice:
    """The voice as an operator directs it for this card."""
    if not (phrase.hint or phrase.voice):
        return voice
    instructions = voice.instructions
    if phrase.hint:
        instructions = f"{instructions} {phrase.hint}" if instructions else phrase.hint
    return replace(voice, name=phrase.voice or voice.name, instructions=instructions)
