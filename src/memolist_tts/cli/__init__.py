"""`memolist-tts`, the operator's command line."""

from __future__ import annotations

import sys

import typer

from memolist_tts.cli import jobs, work
from memolist_tts.core.errors import MemolistError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Speaks the phrases of Memolist's cards: pending jobs in, MP3 files out.",
)
work.register(app)
jobs.register(app)


def main() -> None:
    """Run a command; what goes wrong on purpose is one message and exit code 1."""
    try:
        app()
    except MemolistError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
