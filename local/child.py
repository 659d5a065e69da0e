"""A server process that cannot outlive us, nor its folder.

Between us and the server stands a guard: this very file, run as a script. It holds the
reading end of a pipe whose only writing end is ours, so that it learns of our death by
whatever cause, `kill -9` too, stops the server and removes its folder. No daemon is left
on Linux or macOS, and no signal handler is needed in the process that uses it.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

GRACE_S = 5.0


class Child:
    """Commands run one after the other, the last of them a server.

    `folder` belongs to the child and is removed with it. `user_id` (root only) is who
    runs the commands. `stop_signal` asks the running one to end; what hasn't ended after
    five seconds is killed, its process group with it.
    """

    def __init__(
        self,
        commands: Sequence[Sequence[str | Path]],
        *,
        folder: Path,
        environment: Mapping[str, str],
        stop_signal: signal.Signals = signal.SIGTERM,
        user_id: int | None = None,
    ) -> None:
        order = {
            "commands": [[str(part) for part in command] for command in commands],
            "folder": str(folder),
            "stop_signal": int(stop_signal),
            "user_id": user_id,
        }
        # Appending, and read by position: the servers share this file description.
        self._log = tempfile.TemporaryFile("ab+")  # noqa: SIM115 - closed in stop
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            cwd=folder,
            env=dict(environment),
            # A Ctrl-C in the terminal is for us; the servers stop when we have finished.
            start_new_session=True,
        )

    @property
    def ended(self) -> bool:
        """Whether the server stopped by itself."""
        return self._guard.poll() is not None

    def log(self, size_bytes: int = 20_000) -> str:
        """The last of what the commands wrote."""
        end = os.fstat(self._log.fileno()).st_size
        start = max(0, end - size_bytes)
        return os.pread(self._log.fileno(), end - start, start).decode(errors="replace")

    def stop(self) -> None:
        """Stop the server; returns when it and its folder are gone. Safe to repeat."""
        assert self._guard.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.close()
        self._guard.wait()
        self._log.close()


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A file that becomes readable, one byte a signal, when a child ends or we should."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for each in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, lambda *_: None)
    signal.set_wakeup_fd(writing)
    yield reading


def _ended_by_itself(process: subprocess.Popen[bytes], signals: int) -> bool:
    """Wait for the end of `process` (True), of our parent, or for a signal to stop."""
    while process.poll() is None:
        readable, _, _ = select.select([sys.stdin, signals], [], [])
        if sys.stdin in readable:
            return False
        if set(os.read(signals, 64)) - {signal.SIGCHLD}:
            return False
    return True


def _stop(process: subprocess.Popen[bytes], stop_signal: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _guard(commands: list[list[str]], folder: str, stop_signal: int, user_id: int | None) -> int:
    status = 0
    with _signals() as signals:
        for command in commands:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                process_group=0,
                user=user_id,
                group=user_id,
                extra_groups=None if user_id is None else [],
            )
            alone = _ended_by_itself(process, signals)
            _stop(process, stop_signal)
            status = process.returncode
            if status or not alone:
                break
    os.chdir("/")
    shutil.rmtree(folder, ignore_errors=True)
    return status


if __name__ == "__main__":
    sys.exit(_guard(**json.loads(sys.argv[1])))
