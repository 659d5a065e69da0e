"""The command that makes a page to listen to a list on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from memolist_tts.assemble import Worker
from memolist_tts.cli import screen
from memolist_tts.cli.screen import JsonFlag
from memolist_tts.core import plan, verdict
from memolist_tts.core.counting import counted
from memolist_tts.core.errors import MemolistError, StorageError
from memolist_tts.core.model import Line, Options, Phrase, Result
from memolist_tts.core.verdict import FaultCode
from memolist_tts.listening.page import Link, Take, Utterance, page
from memolist_tts.settings import Needs, Settings

MOST_UTTERANCES = 2000
"""A page holds its clips: some 20 kB each."""
LENGTHS = frozenset({FaultCode.TOO_SHORT, FaultCode.TOO_LONG_AUDIO})
"""Not judged here: a clip was, with its speed, before it was stored, and its speed isn't kept."""
WHY = {
    "foreign": ("foreign_audio", "Audio from elsewhere, which is never replaced."),
    "inherited": (
        "",
        "Under PUBLIC_BASE_URL, but not this worker's: nobody knows its words.",
    ),
    "gone": ("", "Its recording isn't in the store any more: retake it."),
}
"""Code and reason of the states of audio that isn't simply `spoken`."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(listen)


def listen(
    list_id: Annotated[str, typer.Argument(metavar="LIST", help="The listId of cards.")],
    out: Annotated[Path, typer.Option(help="The page's file.")] = Path("listen.html"),
    as_json: JsonFlag = False,
) -> None:
    """Make a page to hear a list on. Card by card: what is said and why not, old and new takes.

    One file that needs no network. It lists the retakes that you ask for as commands.
    """
    worker = Worker(Settings.load(Needs.DATABASE | Needs.STORAGE))
    phrases = worker.cards.of_list(list_id)
    if len(phrases) > MOST_UTTERANCES:
        raise MemolistError(
            f"list {list_id} has {len(phrases)} utterances, a page holds {MOST_UTTERANCES}"
        )
    utterances = _utterances(worker, phrases, as_json=as_json)
    try:
        out.write_text(page(f"List {list_id}", utterances), encoding="utf-8")
    except OSError as error:
        raise MemolistError(f"--out {out} can't be written: {error.strerror}") from error
    heard = sum(isinstance(each.now, Take) for each in utterances)
    told = {"page": str(out.resolve()), "utterances": len(utterances), "to_hear": heard}
    line = f"{out.resolve()}: {heard} of {counted(len(utterances), 'utterance')} to hear"
    screen.answer(as_json, told, line)


def _utterances(worker: Worker, phrases: Sequence[Phrase], *, as_json: bool) -> list[Utterance]:
    script = worker.script(Options(), worker.cards.lexicon())
    cards = sorted({phrase.card_id for phrase in phrases})
    ends, replaced = worker.records.last_ends(cards), worker.records.replaced(cards)
    found = []
    with screen.progress(as_json=as_json) as bar:
        for phrase in bar.track(phrases, description="utterances"):
            end = ends.get((phrase.card_id, phrase.language))
            if phrase.url is None:
                found.append(_unvoiced(phrase, plan.line_of(phrase, script), end))
            else:
                old_url = replaced.get((phrase.card_id, phrase.language, phrase.url))
                found.append(_voiced(worker, phrase, phrase.url, end, old_url))
    return found


def _unvoiced(phrase: Phrase, line: Line | Result, end: dict[str, Any] | None) -> Utterance:
    """What carries no audio, and why."""
    state, code, reason = "missing", "", "No job has spoken it yet."
    if isinstance(line, Result):
        state, code, reason = line.state.value, line.code or "", line.message or ""
    elif end is not None and end["state"] == "failed":
        state, code, reason = "failed", end["code"] or "", end["message"] or ""
    return Utterance(
        card_id=phrase.card_id,
        language=phrase.language,
        shown=phrase.shown or "",
        said=line.spoken,
        state=state,
        code=code,
        reason=reason,
    )


def _voiced(
    worker: Worker, phrase: Phrase, url: str, end: dict[str, Any] | None, old_url: str | None
) -> Utterance:
    """What carries audio: that audio's words, not those of a retake that failed since."""
    now = _recording(worker, url)
    code, reason = WHY.get(now.state, ("", ""))
    if end is not None and end["state"] == "failed" and end["url"] == url:
        code = end["code"] or ""
        reason = f"{reason} The last attempt to speak it anew failed: {end['message']}".strip()
    return Utterance(
        card_id=phrase.card_id,
        language=phrase.language,
        shown=phrase.shown or "",
        said=now.said,
        state=now.state,
        code=code,
        reason=reason,
        now=now.heard,
        before=_recording(worker, old_url).heard if old_url else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recording:
    """What a URL leads to, as the states of `Utterance` have it."""

    state: str
    said: str = ""
    """Empty where nobody knows."""
    heard: Take | Link | None = None


def _recording(worker: Worker, url: str) -> _Recording:
    if not worker.storage.owns(url):
        return _Recording(state="foreign", heard=Link(url))
    name = url.rsplit("/", 1)[-1]
    if (clip := worker.records.clip(name)) is None:
        return _Recording(state="inherited", heard=_inherited(worker, url, name))
    said: str = clip["spoken_text"]
    if (audio := worker.storage.read(name)) is None:
        return _Recording(state="gone", said=said)
    take = _judged(audio, said=said, voice=clip["voice"], take=clip["take"])
    return _Recording(state="spoken", said=said, heard=take)


def _inherited(worker: Worker, url: str, name: str) -> Take | Link:
    """Audio of ours that we didn't make: held where our store has it."""
    try:
        is_held_by_name = worker.storage.url(name) == url
    except StorageError:
        # No store of ours keeps such a name.
        return Link(url)
    audio = worker.storage.read(name) if is_held_by_name else None
    return Link(url) if audio is None else _judged(audio)


def _judged(audio: bytes, *, said: str = "", voice: str = "", take: int | None = None) -> Take:
    found = verdict.judge(audio, said)
    faults = [fault.message for fault in found.hard + found.soft if fault.code not in LENGTHS]
    return Take(
        mp3=audio,
        said=said,
        seconds=found.duration_ms / 1000,
        level_dbfs=found.active_dbfs,
        voice=voice,
        take=take,
        fault="; ".join(faults),
    )
