"""Commands about what cards say: preview, estimate, fill, retake, undo, revoice."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Annotated, Any

import typer
from rich.text import Text

from memolist_tts.assemble import Worker
from memolist_tts.cli import screen
from memolist_tts.cli.exits import AWAY_CODES, Exit
from memolist_tts.cli.screen import JsonFlag, console
from memolist_tts.cli.see import asked, looks
from memolist_tts.core import orders as core
from memolist_tts.core import plan
from memolist_tts.core.counting import counted
from memolist_tts.core.errors import BadInput, DatabaseError, MemolistError, WakeError
from memolist_tts.core.model import Language, Line, Options, Phrase, Result
from memolist_tts.core.options import BadOptions
from memolist_tts.core.orders import Estimate, Found, Order
from memolist_tts.core.preview import NotSpoken, speak_line
from memolist_tts.poll import halt_on_signals
from memolist_tts.postgres.orders import Direction
from memolist_tts.route import hint_fault
from memolist_tts.settings import Needs, Settings

SPEAK_S = 120.0
"""How long a person waits for a retake; the workers go on with it after."""
ENDING = "Interrupted: what is being spoken is stored first."
CardId = Annotated[str, typer.Argument(metavar="CARD", help="The id of a Card row.")]
Code = Annotated[str, typer.Argument(metavar="LANG", help="A language of LANGUAGES, such as fr.")]
Say = Annotated[str | None, typer.Option(help="Read this instead of what the card shows.")]
Hint = Annotated[str | None, typer.Option(help="Added to the voice's instructions.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")]
Most = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many utterances.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (preview, estimate, fill, retake, undo, revoice):
        app.command()(command)


def language_of(worker: Worker, code: str) -> Language:
    """A language of LANGUAGES. Raises `BadInput` that names them."""
    known = {each.code: each for each in worker.settings.LANGUAGES}
    if code.lower() not in known:
        raise BadInput(f"{code!r} is no language of LANGUAGES: {', '.join(known)}")
    return known[code.lower()]


# ── preview ──────────────────────────────────────────────────────────────────


def preview(
    card: Annotated[str | None, typer.Argument(metavar="CARD")] = None,
    text: Annotated[str | None, typer.Option(help="A text instead of a card's.")] = None,
    language: Annotated[str | None, typer.Option(help="One language; for --text it's needed.")] = (
        None
    ),
    say: Say = None,
    hint: Hint = None,
    voice: Annotated[str | None, typer.Option(help="Another voice.")] = None,
    speak: Annotated[
        bool, typer.Option("--speak", help="Make the sound, and keep it for every job.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """What a card shows, what is said, and its price. In which voice; --speak to hear it."""
    needs = Needs.WORKER if speak else Needs.DATABASE | Needs.STORAGE
    worker = Worker(Settings.load(needs))
    if (card is None) == (text is None) or (text is not None and language is None):
        raise typer.BadParameter("name a CARD, or --text with --language")
    code = None if language is None else language_of(worker, language).code
    phrases = _previewed(worker, card, text, code)
    for phrase in phrases if hint else ():
        _heard(worker, phrase.language)
    phrases = [
        replace(each, say=say or each.say, hint=hint or each.hint, voice=voice) for each in phrases
    ]
    script = worker.script(Options(voice=voice), worker.cards.lexicon())
    lines = [plan.line_of(phrase, script) for phrase in phrases]
    told = [_preview(worker, *each) for each in zip(phrases, lines, strict=True)]
    is_whole = not speak or _speak_lines(worker, lines, told, as_json=as_json)
    if as_json:
        screen.emit({"card": card, "utterances": told})
    else:
        _show_previews(worker, told, has_card=card is not None)
    if not is_whole:
        raise typer.Exit(Exit.INTERRUPTED)


def _heard(worker: Worker, language: str) -> None:
    """Raises `MemolistError` where the model would not be told a hint."""
    if wrong := hint_fault(worker.settings, worker.way(), language):
        raise MemolistError(wrong)


def _previewed(
    worker: Worker, card: str | None, text: str | None, code: str | None
) -> list[Phrase]:
    if card is None:
        return [Phrase(card_id="", language=code or "", shown=text, url=None)]
    found = [each.phrase for each in worker.cards.card(card)]
    return [phrase for phrase in found if code is None or phrase.language == code]


def _preview(worker: Worker, phrase: Phrase, said: Line | Result) -> dict[str, Any]:
    told: dict[str, Any] = {
        "language": phrase.language, "shown": phrase.shown, "carries": phrase.url,
        "say": phrase.say, "hint": phrase.hint, "hint_fault": None,
    }  # fmt: skip
    if phrase.hint:
        told["hint_fault"] = hint_fault(worker.settings, worker.way(), phrase.language)
    if isinstance(said, Result):
        return told | {"said": None, "code": said.code, "message": said.message}
    told |= {
        "said": said.spoken, "code": None, "voice": said.voice.name, "model": said.voice.model,
        "instructions": said.voice.instructions, "key": said.key,
    }  # fmt: skip
    stored = worker.cards.stored([said.key]).get(said.key)
    clip = stored["object_name"] if stored else None
    seconds = stored["duration_ms"] / 1000 if stored else round(core.line_seconds(said), 1)
    usd = 0.0 if stored else core.line_usd(said)
    url = None if clip is None else worker.storage.url(clip)
    return told | {"stored": stored is not None, "seconds": seconds, "usd": usd, "url": url}


def _speak_lines(
    worker: Worker, lines: Sequence[Line | Result], told: Sequence[dict[str, Any]], *, as_json: bool
) -> bool:
    """Give what was told its URL; False where a signal ended it before all had one."""
    wanted = [
        (line, each)
        for line, each in zip(lines, told, strict=True)
        if isinstance(line, Line) and each["url"] is None
    ]
    with halt_on_signals(ENDING) as halt, screen.progress(as_json=as_json) as bar:
        task = bar.add_task("utterances spoken", total=len(wanted))
        for line, each in wanted:
            if halt.is_set():
                return False
            try:
                clip = speak_line(line, worker.ports(), worker.rules(), seconds=SPEAK_S, halt=halt)
            except NotSpoken:
                if halt.is_set():
                    return False
                raise
            each["url"] = worker.storage.url(clip.object_name)
            bar.advance(task)
    return True


def _show_previews(worker: Worker, told: Sequence[dict[str, Any]], *, has_card: bool) -> None:
    for each in told:
        _show_preview(each, has_card=has_card)
    if any(each["said"] is not None for each in told):
        _show_doubt(worker)


def _show_preview(told: dict[str, Any], *, has_card: bool) -> None:
    rows = [(f"{told['language']} shows", told["shown"] or "")]
    if told["said"] is None:
        rows.append(("   not said", f"{told['code']}: {told['message']}"))
    else:
        price = "nothing, it is stored" if told["stored"] else screen.usd(told["usd"])
        rows += [
            ("   says", told["said"]),
            ("   voice", f"{told['voice']}, {told['model']}"),
            ("   hint", told["hint"] or ""),
            ("   not sent", told["hint_fault"] or ""),
            ("   costs", f"{price}; about {told['seconds']:.1f} s"),
            ("   sounds", told["url"] or ""),
        ]
    if has_card:
        rows.append(("   carries", told["carries"] or "no audio"))
    screen.pairs((name, value) for name, value in rows if value or name.endswith("shows"))


# ── estimate, fill ───────────────────────────────────────────────────────────


def estimate(
    list_id: Annotated[str, typer.Argument(metavar="LIST", help="The listId of cards.")],
    voice: Annotated[str | None, typer.Option(help="Another voice than the deployment's.")] = None,
    force: Annotated[bool, typer.Option("--force", help="As a job with options.force.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """What a job over a list would speak, and cost. At list prices."""
    worker = Worker(Settings.load(Needs.DATABASE | Needs.STORAGE))
    options = Options(voice=voice, force=force)
    script = worker.script(options, worker.cards.lexicon())
    drawn = plan.draw_up(worker.cards.of_list(list_id), {}, script)
    said: list[Line | Result] = [
        drawn.lines[key] for key, phrases in drawn.phrases.items() for _ in phrases
    ]
    keys = [] if force else list(drawn.lines)
    told = core.estimate([*said, *drawn.ended], worker.cards.stored(keys))
    if as_json:
        screen.emit({"list": list_id, **_priced(worker, told)})
        return
    _show_estimate(worker, told)


def fill(
    list_id: Annotated[str | None, typer.Option("--list", help="Only this list.")] = None,
    limit: Most = 1000,
    dry_run: DryRun = False,
    as_json: JsonFlag = False,
) -> None:
    """Make jobs for cards without audio. They have a text, no error and no open job."""
    worker = Worker(Settings.load(Needs.DATABASE | Needs.STORAGE))
    script = worker.script(Options(), worker.cards.lexicon())
    wanted = first(_lines(worker.cards.missing(list_id=list_id), script), limit, as_json=as_json)
    order(worker, wanted, dry_run=dry_run, as_json=as_json)
    screen.ended(len(wanted), "utterance", limit)


def _lines(pages: Iterable[Sequence[Found]], script: plan.Script) -> Iterator[tuple[Found, Line]]:
    """What can be said, of what was found."""
    for page in pages:
        for found, said in core.said(page, script):
            if isinstance(said, Line):
                yield found, said


def first(
    wanted: Iterator[tuple[Found, Line]], limit: int, *, as_json: bool
) -> list[tuple[Found, Line]]:
    """As many as are allowed, with a sign of life: tables may be large."""
    with screen.progress(as_json=as_json) as bar:
        task = bar.add_task("utterances found", total=None)
        found = []
        for each in islice(wanted, limit):
            found.append(each)
            bar.update(task, completed=len(found))
    return found


def order(
    worker: Worker,
    wanted: Sequence[tuple[Found, Line]],
    *,
    dry_run: bool,
    as_json: bool,
    is_priced_only: bool = False,
) -> list[str]:
    """Say what it takes and, unless that is all that is wanted, make the jobs; their ids."""
    makes = not (dry_run or is_priced_only)
    told = _estimate(worker, wanted)
    made: list[str] = []
    if not as_json:
        _show_estimate(worker, told)
    if makes:
        orders = core.orders((found for found, _ in wanted), worker.settings.MAX_PHRASES_PER_JOB)
        with screen.progress(as_json=as_json) as bar:
            for each in bar.track(orders, description="jobs"):
                made.append(worker.orders.place(each))
                _wake(worker, made[-1])
    cards = cards_of(wanted)
    if as_json:
        did = {"cards": cards, "jobs": made, "dry_run": dry_run}
        screen.emit(_priced(worker, told) | did)
        return made
    for job in made:
        console.print(job)
    if makes:
        console.print(f"{counted(len(made), 'job')} made over {counted(cards, 'card')}")
    return made


def _estimate(worker: Worker, wanted: Sequence[tuple[Found, Line]]) -> Estimate:
    stored = worker.cards.stored([line.key for _, line in wanted])
    return core.estimate([line for _, line in wanted], stored)


def cards_of(wanted: Sequence[tuple[Found, Line]]) -> int:
    """How many cards they are of: each may be said in several languages."""
    return len({found.phrase.card_id for found, _ in wanted})


def _wake(worker: Worker, job: str) -> None:
    """Row, then message: without it the sweep wakes the job."""
    if worker.wake is None:
        return
    try:
        worker.wake.send(job, group=worker.operator.look(job).group)
    except WakeError as error:
        screen.aside.print(f"{job}: not sent, the sweep will wake it: {error}")


def _priced(worker: Worker, told: Estimate) -> dict[str, Any]:
    """An estimate, and for which way to speak; `is_sure`: whether that is known to be the way."""
    way = worker.way()
    return asdict(told) | {"route": way.route, "model": way.model, "is_sure": way.is_sure}


def _show_doubt(worker: Worker) -> None:
    """Say where the price is that of a guess."""
    way = worker.way()
    if not way.is_sure:
        screen.aside.print(
            f"{worker.settings.OPENAI_BASE_URL} can't be asked what it offers: "
            f"priced as {way.model} by TTS_PROVIDER={way.route}."
        )


def _show_estimate(worker: Worker, told: Estimate) -> None:
    console.print(f"{counted(told.utterances, 'utterance')}, {told.reused} of them free")
    console.print(
        f"{counted(told.calls, 'call')}, {counted(told.characters, 'character')}, "
        f"about {told.audio_s:.0f} s of audio, "
        f"{screen.usd(told.usd)} at list prices"
    )
    for code, count in sorted(told.codes.items()):
        console.print(f"{count} {code}")
    if told.calls:
        _show_doubt(worker)


# ── retake, undo, revoice ────────────────────────────────────────────────────


def retake(
    card: CardId, language: Code, say: Say = None, hint: Hint = None, as_json: JsonFlag = False
) -> None:
    """Speak one card anew; the old recording is kept for `undo`. 3: it failed, or waits.

    --say and --hint hold for every later job too; '' takes one away.
    """
    worker = Worker(Settings.load(Needs.WORKER))
    code = language_of(worker, language).code
    if hint:
        _heard(worker, code)
    (found,) = [each for each in worker.cards.card(card) if each.phrase.language == code]
    if found.phrase.url and not worker.storage.owns(found.phrase.url):
        raise MemolistError(f"card {card} has audio from elsewhere, which is never replaced")
    wanted = replace(
        found.phrase,
        voice=_kept_voice(worker, found),
        say=found.phrase.say if say is None else say or None,
        hint=found.phrase.hint if hint is None else hint or None,
    )
    line = plan.line_of(wanted, worker.script(Options(), worker.cards.lexicon()))
    if isinstance(line, Result):
        raise MemolistError(f"{line.code}: {line.message}")
    (placed,) = core.orders([replace(found, phrase=wanted)], 1)
    whose = {"card": card, "language": code, "old_url": placed.picks[0].old_url}
    whose |= {"say": wanted.say, "hint": wanted.hint}
    with halt_on_signals(ENDING) as halt:
        told = whose | _spoken_here(worker, placed, Direction(say=say, hint=hint), halt, as_json)
    if as_json:
        screen.emit(told)
    else:
        _show_retake(told)
    if (end := _exit_of(told, is_halted=halt.is_set())) is not Exit.DONE:
        raise typer.Exit(end)


def _kept_voice(worker: Worker, found: Found) -> str | None:
    """The voice that the card has, unless it can't speak any more."""
    try:
        return worker.voice(found.phrase.language, Options(voice=found.clip_voice)).name
    except BadOptions:
        return None


def _spoken_here(
    worker: Worker, placed: Order, direction: Direction, halt: threading.Event, as_json: bool
) -> dict[str, Any]:
    """Make the job and run it here, as any worker would; another may be quicker.

    It is told of when it has ended, when it waits, or when `halt` is set.
    """
    with screen.progress(as_json=as_json) as bar:
        bar.add_task("utterances spoken", total=len(placed.picks))
        job = worker.orders.place(placed, direction)
        try:
            worker.run(job, seconds=SPEAK_S, halt=halt)
            for look in looks(worker, job, 0.5, rest=halt.wait):
                if look["status"] == "pending":
                    break
            (ended,) = worker.records.utterances(job) or [{}]
            code, message = _reason(worker, job, look, ended)
        except DatabaseError as error:
            unseen = f"job {job} is made, and how it stands can't be seen: {error}"
            raise DatabaseError(unseen, passes=error.passes) from error
    seconds = None if ended.get("duration_ms") is None else ended["duration_ms"] / 1000
    names = ("url", "take", "voice", "model", "spoken_text", "cost_usd")
    told = {name: ended.get(name) for name in names} | {"code": code, "message": message}
    return {"job": job, "status": look["status"], "seconds": seconds} | told


def _reason(
    worker: Worker, job: str, look: dict[str, Any], ended: dict[str, Any]
) -> tuple[str | None, str | None]:
    """Code and message of what is wrong with a job of one utterance, or of what it waits for."""
    if look["reason"]:
        return None, look["reason"]
    if look["status"] != "pending":
        if look["error_code"] in (None, "utterances_failed"):
            return ended.get("code"), ended.get("message")
        return look["error_code"], look["error"]
    pauses = worker.operator.pauses(user=worker.operator.look(job).group)
    if not pauses or look["stop_code"] == "terminated":
        return look["stop_code"], look["stop"] or "it waits for a worker"
    code = pauses[0]["code"].partition(":")[0]
    return "paused" if code == "operator" else code, pauses[0]["message"]


def _exit_of(told: dict[str, Any], *, is_halted: bool) -> Exit:
    if told["status"] == "completed" and told["code"] is None:
        return Exit.DONE
    if told["status"] in ("completed", "failed"):
        return Exit.UNWELL
    if is_halted:
        return Exit.INTERRUPTED
    return Exit.AWAY if told["code"] in AWAY_CODES else Exit.UNWELL


def _show_retake(told: dict[str, Any]) -> None:
    if told["status"] == "failed":
        console.print(Text(": ".join(filter(None, (told["code"], told["message"])))))
        if told["say"] or told["hint"]:
            words = f"{told['card']} {told['language']}"
            console.print(f"memolist-tts retake {words} --say …   # has it said otherwise")
            console.print(f"memolist-tts undo {words}   # takes --say and --hint back")
        return
    if told["status"] != "completed":
        waits = f"waits: {told['message']}" if told["status"] == "pending" else "is being spoken"
        screen.aside.print(Text(f"job {told['job']} is made and {waits}"))
        return
    if told["code"] is not None:
        screen.aside.print(Text(f"Nothing was spoken: {told['code']}: {told['message']}"))
        return
    said = f"{told['spoken_text']} ({told['voice']}, take {told['take']}, {told['seconds']:.1f} s)"
    screen.pairs(
        [
            ("says", said),
            ("cost", screen.usd(told["cost_usd"])),
            ("old", told["old_url"] or "none"),
            ("new", told["url"] or ""),
        ]
    )
    if told["old_url"]:
        console.print(f"memolist-tts undo {told['card']} {told['language']}   # takes it back")


def undo(card: CardId, language: Code, as_json: JsonFlag = False) -> None:
    """Take a retake back. The card gets the audio, --say and --hint that it had before."""
    worker = Worker(Settings.load(Needs.DATABASE))
    undone = worker.orders.undo(card, language_of(worker, language))
    new, old = undone or (None, None)
    told = {"card": card, "language": language, "was": new, "url": old}
    kept = "its --say and --hint are taken back; it had made no audio"
    screen.answer(as_json, told, f"{card} {language}: {old or kept}")


def revoice(
    to: Annotated[str, typer.Option(help="The new voice.")],
    where: Annotated[
        list[str],
        typer.Option(
            metavar="FIELD=VALUE",
            help="Of the clips that cards carry: voice, model, provider, language, card, list; "
            "may be repeated.",
        ),
    ],
    limit: Most = 1000,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: JsonFlag = False,
) -> None:
    """Give cards another voice. Says first what it takes, and asks."""
    worker = Worker(Settings.load(Needs.DATABASE | Needs.STORAGE))
    script = worker.script(Options(voice=to), worker.cards.lexicon())
    pages = (
        [replace(each, phrase=replace(each.phrase, voice=to)) for each in page]
        for page in worker.cards.carrying(asked(where))
    )
    # A card that says the same in that voice already is left alone.
    changed = (
        (found, line)
        for found, line in _lines(pages, script)
        if f"/{line.key}-" not in (found.phrase.url or "")
    )
    wanted = first(changed, limit, as_json=as_json)
    screen.ended(len(wanted), "utterance", limit)
    if not (dry_run or yes):
        agree(worker, wanted, as_json=as_json)
    order(worker, wanted, dry_run=dry_run or not wanted, as_json=as_json)


def agree(worker: Worker, wanted: Sequence[tuple[Found, Line]], *, as_json: bool) -> None:
    """Show the price and ask a person, a script for --yes; without a yes the command ends.

    What takes nothing is agreed to.
    """
    if not is_agreed(worker, wanted, dry_run=True, as_json=as_json):
        screen.aside.print("Nothing was done; --yes does it.")
        raise typer.Exit(Exit.REFUSED)


def is_agreed(
    worker: Worker, wanted: Sequence[tuple[Found, Line]], *, dry_run: bool, as_json: bool
) -> bool:
    """Whether a person who is shown the price says yes; a script is shown it, and doesn't.

    `dry_run`: whether a no leaves all as it was.
    """
    if not wanted:
        return True
    if as_json or not console.is_terminal:
        order(worker, wanted, dry_run=dry_run, as_json=as_json, is_priced_only=True)
        return False
    told = _estimate(worker, wanted)
    _show_estimate(worker, told)
    return typer.confirm(f"Speak {counted(cards_of(wanted), 'card')} anew {_price(told)}?")


def _price(told: Estimate) -> str:
    if not told.calls:
        return "for nothing"
    return "at an unknown price" if told.usd is None else f"for about {screen.usd(told.usd)}"
