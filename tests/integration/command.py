"""The command line as an operator runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-c", "from memolist_tts.cli import main; main()")
PATIENCE_S = 60.0


def environment(**variables: str) -> dict[str, str]:
    """These variables, and nothing of whoever runs the tests."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "src"),
        "COLUMNS": "200",
        **variables,
    }


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command to its end, whatever that is."""
    return subprocess.run(
        [*COMMAND, *words],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )


def run_on_terminal(*words: str, **variables: str) -> tuple[str, str]:
    """A command to its end: its standard output, and what it drew on the terminal beside it."""
    terminal, stderr = os.openpty()
    drawn = bytearray()

    def read() -> None:
        # Linux ends a terminal that nobody writes to any more with EIO.
        with suppress(OSError):
            while piece := os.read(terminal, 4096):
                drawn.extend(piece)

    reading = threading.Thread(target=read)
    try:
        with start(*words, stderr=stderr, TERM="xterm-256color", **variables) as process:
            os.close(stderr)
            reading.start()
            stdout = process.stdout.read()
            process.wait(PATIENCE_S)
        reading.join(PATIENCE_S)
    finally:
        os.close(terminal)
    return stdout, drawn.decode()


def run_for_person(typed: str, *words: str, **variables: str) -> tuple[str, int]:
    """A command whose questions a person answers: all that the terminal showed, and its end."""
    terminal, end = os.openpty()
    shown = bytearray()
    os.write(terminal, typed.encode())
    process = subprocess.Popen(
        [*COMMAND, *words],
        env=environment(TERM="xterm-256color", **variables),
        stdin=end,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    try:
        # Linux ends a terminal that nobody writes to any more with EIO.
        with suppress(OSError):
            while piece := os.read(terminal, 4096):
                shown.extend(piece)
        return shown.decode(), process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


@contextmanager
def start(*words: str, stderr: Any = subprocess.PIPE, **variables: str) -> Iterator[Any]:
    """A command that goes on; it is killed if it still does at the end."""
    process = subprocess.Popen(
        [*COMMAND, *words],
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
