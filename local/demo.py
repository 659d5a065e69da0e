"""`python -m local.demo [DECK.csv]`: a deck is spoken, end to end, on real parts.

What it printed and wrote stays when everything has stopped: `.demo/audio` plays the part
of the CDN, and `.demo/index.html` has a button for every clip.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import shutil
import signal
import sys
import threading
import time
import webbrowser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from local.api import Api
from local.aws import AwsError
from local.check import AUDIBLE, faults
from local.deck import SAMPLE, Deck, DeckError, read_deck
from local.job import JobStalled, Utterance, follow, order, utterances
from local.job import Progress as JobProgress
from local.page import Cards, Entry, counted, write_page
from local.postgres import PostgresError
from local.stack import API_KEY, Embedded, Provider, embedded

WAYS = ("auto", "endpoint", "chat", "realtime")
SOURCES = Path(__file__).resolve().parents[1] / "src"
COPY_EVERY_S = 0.5
TEXT_WIDTH = 70
"""A longer text goes on below itself."""


class DemoError(Exception):
    """The demo can't go on; the text says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; the exit status."""
    options = _options(arguments)
    console = Console(highlight=False)
    _keep_to_this_machine()
    try:
        provider = _provider(os.environ)
        deck = read_deck(Path(options.deck or SAMPLE))
        title = Path(options.deck).name if options.deck else _size(deck)
        wrong = _run(console, deck, title, provider, options)
    except (DeckError, DemoError, AwsError, PostgresError) as error:
        wrong = [str(error)]
    except KeyboardInterrupt:
        return 130
    for each in wrong:
        console.print(f"✗ {each}", style="red", markup=False, soft_wrap=True)
    return 1 if wrong else 0


def _keep_to_this_machine() -> None:
    """What runs here isn't behind a proxy, and no account of the user's is asked for."""
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1", "localhost")))
    os.environ.pop("AWS_PROFILE", None)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m local.demo",
        description="Speak a deck.",
        epilog="The voice is a local stand-in; DEMO_VOICE=openai with OPENAI_API_KEY is the "
        "real one, and costs money.",
    )
    parser.add_argument("deck", nargs="?", help="a file of two columns, English and French")
    parser.add_argument("--check", action="store_true", help="verify rows, objects and audio")
    parser.add_argument(
        "--stay", action="store_true", help="stay up for `memolist-tts` in another terminal"
    )
    parser.add_argument("--folder", default=".demo", help="for the page and its clips")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="name what was left out, and show a failed job's log",
    )
    return parser.parse_args(arguments)


def _provider(environ: Mapping[str, str]) -> Provider | None:
    """The real one where it is asked for by name: a key alone spends nobody's money."""
    match environ.get("DEMO_VOICE", "").strip().lower():
        case "" | "local":
            return None
        case "openai" if key := environ.get("OPENAI_API_KEY", "").strip():
            return Provider(api_key=key, base_url=environ.get("OPENAI_BASE_URL", "").strip())
        case "openai":
            raise DemoError("DEMO_VOICE=openai needs OPENAI_API_KEY: the project's key, sk-…")
        case other:
            raise DemoError(f"DEMO_VOICE={other} is unknown: write openai, or leave it out")


def _way(environ: Mapping[str, str]) -> str:
    way = environ.get("TTS_PROVIDER", "").strip() or "auto"
    if way not in WAYS:
        raise DemoError(f"TTS_PROVIDER={way} is unknown: write one of {', '.join(WAYS)}")
    return way


def _size(deck: Deck) -> str:
    return f"A deck of {counted(len(deck.phrases), 'card')}"


def _run(
    console: Console, deck: Deck, title: str, provider: Provider | None, options: argparse.Namespace
) -> list[str]:
    """Speak the deck and show it; what went wrong."""
    started = time.monotonic()
    folder = Path(options.folder).resolve()
    audio, page = folder / "audio", folder / "index.html"
    _tell_ignored(console, deck)
    with ExitStack() as running:
        running.enter_context(_owned(folder))
        _empty(audio, page)
        with console.status(_starting(provider)):
            stack = running.enter_context(
                embedded(
                    public_base_url=audio.as_uri(),
                    provider=provider,
                    tts_provider=_way(os.environ),
                )
            )
            api = running.enter_context(Api(stack.database_url))
        _tell_left_out(console, stack, options.verbose)
        list_id = api.add_list((phrase.en, phrase.fr) for phrase in deck.phrases)
        job_id = order(stack, api, list_id)
        end = _watch(console, stack, api, job_id, total=2 * len(deck.phrases))
        heard = utterances(api, job_id)
        _copy(stack, audio)
        voice = _voice(stack, provider)
        write_page(page, title, voice, _cards(heard, audio))
        _show(console, heard, time.monotonic() - started)
        _tell_where(console, voice, page)
        wrong = _ended(console, stack, end, options.verbose)
        if options.check and not wrong:
            wrong = faults(stack, api, list_id, job_id, audio)
        if options.stay:
            console.print(f"This is job {job_id} over list {list_id}.", soft_wrap=True)
            _stay(console, stack, folder)
    if options.check and not wrong:
        _tell_checked(console, provider)
    if _has_screen():
        webbrowser.open(page.as_uri())
    return wrong


def _stay(console: Console, stack: Embedded, folder: Path) -> None:
    """Leave everything up until Ctrl-C, with what a shell needs to work on it."""
    shell, audio = folder / "shell", folder / "audio"
    shell.write_text(_shell(stack, folder), encoding="utf-8")
    told = (
        "All of it stays up until Ctrl-C, and speaks whatever job is ordered. "
        "To work on it, in another terminal:"
    )
    console.print(told, soft_wrap=True)
    console.print(f"source {shlex.quote(str(shell))}\nmemolist-tts status", soft_wrap=True)
    over = threading.Event()
    # By hand: a process that a script starts in the background has SIGINT ignored.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: over.set())
    try:
        while not over.wait(COPY_EVERY_S):
            _copy(stack, audio)
    finally:
        shell.unlink()


def _shell(stack: Embedded, folder: Path) -> str:
    """The lines that make a shell this deployment's."""
    variables = stack.aws.variables | {
        "DATABASE_URL": stack.database_url,
        "STORAGE_TYPE": "s3",
        "AWS_S3_BUCKET": stack.stack.resources["AudioBucket"],
        "QUEUE_URL": stack.stack.resources["Queue"],
        "PUBLIC_BASE_URL": (folder / "audio").as_uri(),
        "TTS_PROVIDER": _way(os.environ),
    }
    if stack.speech is not None:
        variables |= {"OPENAI_BASE_URL": stack.speech.base_url, "OPENAI_API_KEY": API_KEY}
    command = folder / "bin" / "memolist-tts"
    command.parent.mkdir(exist_ok=True)
    python = f"PYTHONPATH={shlex.quote(str(SOURCES))} exec {shlex.quote(sys.executable)}"
    command.write_text(f'#!/bin/sh\n{python} -m memolist_tts.cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines.append("unset AWS_PROFILE")
    lines.append(f'export PATH={shlex.quote(str(command.parent))}:"$PATH"')
    return "\n".join(lines) + "\n"


def _starting(provider: Provider | None) -> str:
    if provider is None:
        return "Starting PostgreSQL, an AWS emulator and a speech server"
    return "Starting PostgreSQL and an AWS emulator"


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """Keep other demos out of the folder. Raises `DemoError` where one is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DemoError(
                f"Another demo uses {folder}: end that one with Ctrl-C, or give this one a folder "
                "of its own, make demo DEMO_FLAGS='--folder another'"
            ) from error
        yield


def _empty(audio: Path, page: Path) -> None:
    """A page never stands there without its clips."""
    page.unlink(missing_ok=True)
    shutil.rmtree(audio, ignore_errors=True)
    audio.mkdir(parents=True)


def _tell_ignored(console: Console, deck: Deck) -> None:
    if deck.ignored:
        told = ", ".join(deck.ignored)
        console.print(f"Ignored in the deck: {told}.", style="dim", markup=False, soft_wrap=True)


def _tell_left_out(console: Console, stack: Embedded, is_verbose: bool) -> None:
    out = stack.stack.left_out
    if out:
        names = ": " + ", ".join(out) if is_verbose else ""
        console.print(
            f"Of the template, {len(out)} saved queries and alarms aren't deployed here: "
            f"the emulator doesn't know their kinds{names}",
            style="dim",
            soft_wrap=True,
        )


def _watch(console: Console, stack: Embedded, api: Api, job_id: str, total: int) -> JobProgress:
    """Show a job's progress until its end, which is returned. Raises `DemoError`."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    try:
        with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
            task = bar.add_task("queued", total=total)
            for now in follow(api, job_id):
                bar.update(
                    task, description=now.status, completed=now.done, total=now.total or total
                )
    except JobStalled as stalled:
        console.print(stack.log(), style="dim", markup=False)
        raise DemoError(str(stalled)) from stalled
    return now


def _ended(console: Console, stack: Embedded, end: JobProgress, is_verbose: bool) -> list[str]:
    if end.status == "completed":
        return []
    if is_verbose:
        console.print(stack.log(), style="dim", markup=False)
    return [f"the job ended as {end.status}: {end.why}"]


def _copy(stack: Embedded, audio: Path) -> None:
    """What a CDN does, so that every URL plays, also after the bucket is gone."""
    copied = [str(each.relative_to(audio)) for each in audio.rglob("*.mp3")]
    for name, mp3 in stack.objects(besides=copied).items():
        target = audio / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(mp3)


def _voice(stack: Embedded, provider: Provider | None) -> str:
    """Whose the voice is, in a sentence."""
    if stack.speech is not None:
        return f"The voice is a local stand-in ({stack.speech.voice}), not OpenAI's."
    of = provider.base_url if provider else ""
    return f"The voice is that of {of}." if of else "The voice is OpenAI's."


def _cards(heard: Sequence[Utterance], audio: Path) -> Cards:
    base = audio.parent.as_uri() + "/"
    return {
        card: [
            Entry(
                language=each.language,
                text=each.spoken,
                shown_text=each.shown,
                duration_s=each.duration_ms / 1000,
                path=(each.url or "").removeprefix(base) if each.state in AUDIBLE else "",
                reason=each.message,
            )
            for each in of_card
        ]
        for card, of_card in groupby(heard, key=lambda each: each.card)
    }


def _show(console: Console, heard: Sequence[Utterance], elapsed_s: float) -> None:
    table = Table("card", "", "text", "seconds", "URL", box=None, pad_edge=False)
    table.columns[0].justify = table.columns[3].justify = "right"
    table.columns[2].max_width = TEXT_WIDTH
    table.columns[4].no_wrap = True
    has_links = console.is_terminal and console.color_system is not None
    for each in heard:
        seconds = f"{each.duration_ms / 1000:.2f}" if each.duration_ms else each.state
        url = _url(each.url, has_links)
        table.add_row(str(each.card), each.language, _text(each), seconds, url)
    if not has_links:
        # A URL that can't be followed by a click is there to be copied: whole, on one line.
        endless = console.options.update_width(100_000)
        console.width = max(console.width, console.measure(table, options=endless).maximum)
    console.print(table, crop=has_links)
    states = Counter(each.state for each in heard)
    counts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    told = f"{counted(len(heard), 'utterance')} in {elapsed_s:.1f} s: {counts}."
    console.print(told, style="bold")


def _text(each: Utterance) -> Text:
    if each.state in AUDIBLE:
        return Text(each.spoken)
    return Text.assemble(each.spoken or each.shown, "\n", (each.message, "dim"))


def _url(url: str | None, has_links: bool) -> Text:
    """A click on what tells one clip from the others; or the whole URL."""
    if not url or not has_links:
        return Text(url or "")
    name = url.rpartition("/")[2]
    return Text(f"{name[:11]}….mp3", style=f"link {url}")


def _tell_where(console: Console, voice: str, page: Path) -> None:
    console.print(voice, "It is synthetic (AI); whoever listens must be told so.", soft_wrap=True)
    console.print("Listen:", Text(str(page), style=f"link {page.as_uri()}"), soft_wrap=True)


def _tell_checked(console: Console, provider: Provider | None) -> None:
    if provider is None:
        console.print("✓ Checked: rows, objects, audio and charges.", style="green")
    else:
        told = "✓ Checked: rows, objects and audio; not the charges, which only OpenAI knows."
        console.print(told, style="green", soft_wrap=True)


def _has_screen() -> bool:
    """Whether somebody sits before this terminal with a screen to open a page on."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform == "darwin" or any(
        os.environ.get(d) for d in ("DISPLAY", "WAYLAND_DISPLAY")
    )


if __name__ == "__main__":
    sys.exit(main())
