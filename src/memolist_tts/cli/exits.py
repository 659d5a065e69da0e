"""The exit codes: what a script may branch on."""

from __future__ import annotations

from enum import IntEnum

from memolist_tts.core.errors import (
    BadInput,
    DatabaseError,
    MemolistError,
    StorageError,
    TryAgain,
    WakeError,
)
from memolist_tts.core.preview import NotSpoken


class Exit(IntEnum):
    """How a command ended; stable."""

    DONE = 0
    REFUSED = 1
    """It can't be done as asked, or nobody agreed to it: the message names the fix."""
    USAGE = 2
    """No such command, option or value."""
    UNWELL = 3
    """It was done, and what it looked at isn't well: a job failed or waits, a clip is missing."""
    AWAY = 4
    """Database, store, queue or provider couldn't be reached, or in time: later it may."""
    INTERRUPTED = 130


EPILOG = (
    "Exit codes: 0 done; 1 refused, with the fix; 2 wrong usage; 3 done, but something isn't well "
    "(a watched job failed, a retake waits, a clip is missing); 4 database, store, queue or "
    "provider away, try again; 130 interrupted."
)
AWAY_CODES = {"provider_down", "throttled", "storage_down", "database_down", "out_of_time"}
"""Of a wait: nothing is wrong but that nobody answers, yet."""


def code_of(error: MemolistError) -> Exit:
    """The exit code that an error gives."""
    if isinstance(error, BadInput):
        return Exit.USAGE
    is_away = isinstance(error, (StorageError, WakeError, TryAgain)) or (
        isinstance(error, DatabaseError) and error.passes
    )
    is_away = is_away or (isinstance(error, NotSpoken) and error.code in AWAY_CODES)
    return Exit.AWAY if is_away else Exit.REFUSED
