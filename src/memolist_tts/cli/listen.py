"""The command that makes a page to listen to a list on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from memolist_tts.assemble import Worker
from memolist_tts.cli import screen
from memolist_tts.cli.screen import JsonFlag
from memolist_tts.core import plan, verdict
from memolist_tts.core.errors import MemolistError
from memolist_tts.core.model import Line, Options, Phrase
from memolist_tts.listening.page import Take, Utterance, page
from memolist_tts.settings import Needs, Settings

MOST_UTTERANCES = 2000
"""A page holds its clips: some 20 kB each."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(listen)


def listen(
    list_id: Annotated[str, typer.Argument(metavar="LIST", help="The listId of cards.")],
    out: Annotated[Path, typer.Option(help="The page's file.")] = Path("listen.html"),
    as_json: JsonFlag = False,
) -> None:
    """Make a page to hear a list on, card by card: what is said and why not, old and new takes.

    One file that needs no network. It lists the retakes that you ask for as commands.
    """
    worker = Worker(Settings.load(Needs.DATABASE | Needs.STORAGE))
    phrases = worker.cards.of_list(list_id)
    if len(phrases) > MOST_UTTERANCES:
        raise MemolistError(
            f"list {list_id} has {len(phrases)} utterances, a page holds {MOST_UTTERANCES}"
        )
    utterances = _utterances(worker, phrases)
    try:
        out.write_text(page(f"List {list_id}", utterances), encoding="utf-8")
    except OSError as error:
        raise MemolistError(f"--out {out} can't be written: {error.strerror}") from error
    heard = sum(each.now is not None for each in utterances)
    told = {"page": str(out.resolve()), "utterances": len(utterances), "to_hear": heard}
    line = f"{out.resolve()}: {heard} of {len(utterances)} utterances to hear"
    screen.answer(as_json, told, line)


def _utterances(worker: Worker, phrases: Sequence[Phrase]) -> list[Utterance]:
    script = worker.script(Options(), worker.cards.lexicon())
    ends = worker.records.last_ends(sorted({phrase.card_id for phrase in phrases}))
    with screen.progress() as bar:
        return [
            _utterance(worker, phrase, script, ends.get((phrase.card_id, phrase.language)))
            for phrase in bar.track(phrases, description="utterances")
        ]


def _utterance(
    worker: Worker, phrase: Phrase, script: plan.Script, end: dict[str, Any] | None
) -> Utterance:
    line = plan.line_of(phrase, script)
    said = line.spoken if isinstance(line, Line) else ""
    if phrase.url is not None and end is not None and end["url"] == phrase.url:
        said = end["clip_text"] or said
    state, code, reason = _state(worker, phrase, line, end)
    before = end["old_url"] if end is not None and end["url"] == phrase.url else None
    return Utterance(
        card_id=phrase.card_id,
        language=phrase.language,
        shown=phrase.shown or "",
        said=said,
        state=state,
        code=code,
        reason=reason,
        now=_take(worker, phrase.url, said, phrase.language) if state == "spoken" else None,
        before=_take(worker, before, said, phrase.language) if before else None,
    )


def _state(
    worker: Worker, phrase: Phrase, line: object, end: dict[str, Any] | None
) -> tuple[str, str, str]:
    """How the utterance stands: state, code and reason."""
    if phrase.url is not None:
        if worker.storage.owns(phrase.url):
            return "spoken", "", ""
        return "foreign", "foreign_audio", "Audio from elsewhere, which is never replaced."
    if not isinstance(line, Line):
        code, message = getattr(line, "code", None), getattr(line, "message", None)
        return "skipped", code or "", message or ""
    if end is not None and end["state"] == "failed":
        return "failed", end["code"] or "", end["message"] or ""
    return "missing", "", "No job has spoken it yet."


def _take(worker: Worker, url: str | None, said: str, language: str) -> Take | None:
    """The recording at a URL of ours, judged; None where it is gone."""
    name = (url or "").rsplit("/", 1)[-1]
    stored = worker.records.clip(name)
    audio = worker.storage.read(name) if stored is not None else None
    if stored is None or audio is None:
        return None
    found = verdict.judge(audio, stored["spoken_text"] or said, language=language)
    return Take(
        mp3=audio,
        seconds=found.duration_ms / 1000,
        level_dbfs=found.active_dbfs,
        voice=stored["voice"],
        take=stored["take"],
        fault=found.reason,
    )
