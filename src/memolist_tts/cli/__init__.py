"""`memolist-tts`, the operator's command line."""

from __future__ import annotations

import sys

import typer

from memolist_tts.cli import canary, cards, doctor, jobs, lexicon, listen, see, stock, work
from memolist_tts.cli.exits import EPILOG, code_of
from memolist_tts.core.errors import MemolistError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Speaks the phrases of Memolist's cards: pending jobs in, MP3 files out.",
    epilog=EPILOG,
)
for group in (work, doctor, see, jobs, cards, lexicon, listen, stock, canary):
    group.register(app)


def main() -> None:
    """Run a command; what goes wrong on purpose is one message and an exit code."""
    try:
        app(prog_name="memolist-tts")
    except MemolistError as error:
        print(error, file=sys.stderr)
        sys.exit(code_of(error))
