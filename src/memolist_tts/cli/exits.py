"""The exit codes: what a script may branch on."""

from __future__ import annotations

from enum import IntEnum

from memolist_tts.core.errors import DatabaseError, MemolistError, StorageError, TryAgain, WakeError


class Exit(IntEnum):
    """How a command ended; stable."""

    DONE = 0
    REFUSED = 1
    """It can't be done as asked: the message names the fix."""
    USAGE = 2
    """No such command, option or value."""
    UNWELL = 3
    """It was done, and what it looked at isn't well: a job failed, a clip is missing."""
    AWAY = 4
    """Database, store, queue or provider couldn't be reached: the same command may do later."""
    INTERRUPTED = 130


EPILOG = (
    "Exit codes: 0 done; 1 refused, with the fix; 2 wrong usage; 3 done, but something isn't well "
    "(a watched job failed, a clip is missing); 4 database, store, queue or provider away, try "
    "again; 130 interrupted."
)


def code_of(error: MemolistError) -> Exit:
    """The exit code that an error gives."""
    is_away = isinstance(error, (StorageError, WakeError, TryAgain)) or (
        isinstance(error, DatabaseError) and error.passes
    )
    return Exit.AWAY if is_away else Exit.REFUSED
