"""The command line as an operator runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
