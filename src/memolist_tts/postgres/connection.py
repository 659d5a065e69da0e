"""One connection for one thread; every statement inside its own short transaction.

Autocommitted statements with parameters run *other clients'* statements behind a
transaction pooler (1,158 of 1,200 measured with pgbouncer and pg8000 1.31), so
nothing here autocommits, and nothing is kept in the session.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import pg8000.exceptions
import pg8000.native

from memolist_tts.core.errors import DatabaseError
from memolist_tts.postgres.url import Address, parse

T = TypeVar("T")
Row = dict[str, Any]
# As `Connection.run` does, but once a statement: it reads them letter by letter.
_parsed = lru_cache(maxsize=256)(pg8000.native.to_statement)

# SET LOCAL, since a pooler refuses them as startup parameters and SET leaks to the next client.
# A process that stands still (a frozen sandbox) keeps its locks until the server ends its session:
# sooner than the statements of those who wait for them time out.
BEGIN = (
    "BEGIN; SET LOCAL statement_timeout = '20s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '10s'; SET LOCAL timezone = 'UTC'"
)
SERIALIZATION_FAILURE, DEADLOCK = "40001", "40P01"
# 57P01-57P03: the server is stopping or starting; 25P03: we stood still; 08xxx: the connection;
# 53300: too many.
PASSING = ("57P01", "57P02", "57P03", "25P03", "08000", "08003", "08006", "53300")
STATEMENT_TIMEOUT, LOCK_TIMEOUT = "57014", "55P03"
TRIES = 4
BETWEEN_TRIES_S = 0.1
"""The first pause; a restart of the server is ridden out."""


class Transaction:
    """An open transaction; statements go through `rows`."""

    def __init__(self, connection: pg8000.native.Connection, *, is_repeat: bool = False) -> None:
        self._connection = connection
        self.is_repeat = is_repeat
        """Whether an earlier try may have been committed, and its answer lost."""

    def rows(self, sql: str, **params: object) -> list[Row]:
        """Run one statement; rows as dictionaries (none for a statement without RETURNING)."""
        if not params:
            answer = self._connection.execute_simple(sql)
        else:
            statement, values_of = _parsed(sql)
            values = values_of({name: _sendable(value) for name, value in params.items()})
            answer = self._connection.execute_unnamed(statement, values)
        if not answer.rows or answer.columns is None:
            return []
        names = [column["name"] for column in answer.columns]
        return [dict(zip(names, row, strict=True)) for row in answer.rows]

    def script(self, sql: str) -> None:
        """Run a file of statements without parameters."""
        self._connection.run(sql)


def _sendable(value: object) -> object:
    """What PostgreSQL can hold, as pg8000 sends it right."""
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, list) and any(isinstance(each, str) for each in value):
        # pg8000 1.31 leaves the word "null" bare in an array, and PostgreSQL reads it as NULL.
        return "{" + ",".join("NULL" if each is None else _quoted(each) for each in value) + "}"
    return value


def _clean(text: str) -> str:
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _quoted(text: str) -> str:
    return '"' + _clean(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


class Database:
    """A connection made on first use and made again when it breaks. Not thread-safe."""

    def __init__(self, url: str) -> None:
        self.address: Address = parse(url)
        self._connection: pg8000.native.Connection | None = None

    def transaction(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction and commit.

        `work` may run more than once (a lost connection, a deadlock), so it must
        be safe to repeat even when the first commit did happen. Raises
        `DatabaseError`; what `work` itself raises rolls back and passes through.
        """
        for attempt in range(1, TRIES + 1):
            try:
                return self._once(work, is_repeat=attempt > 1)
            except pg8000.exceptions.DatabaseError as error:
                if sqlstate(error) in PASSING:
                    self.close()
                if attempt == TRIES or not _passes(error):
                    raise DatabaseError(_explain(error), passes=_is_state(error)) from error
            except (pg8000.exceptions.InterfaceError, OSError) as error:
                self.close()
                if attempt == TRIES or isinstance(error, ssl.SSLCertVerificationError):
                    raise DatabaseError(self._unreachable(error), passes=True) from error
            time.sleep(BETWEEN_TRIES_S * attempt**2)
        raise AssertionError("unreachable")

    def _once(self, work: Callable[[Transaction], T], *, is_repeat: bool) -> T:
        if self._connection is None:
            self._connection = self._connect()
        connection = self._connection
        connection.run(BEGIN)
        try:
            result = work(Transaction(connection, is_repeat=is_repeat))
            connection.run("COMMIT")
        except (pg8000.exceptions.InterfaceError, OSError):
            raise
        except BaseException:
            with contextlib.suppress(pg8000.exceptions.Error, OSError):
                connection.run("ROLLBACK")
            raise
        return result

    def _connect(self) -> pg8000.native.Connection:
        to = self.address
        common = {
            "user": to.user,
            "password": to.password,
            "database": to.database,
            "application_name": "memolist-tts",
        }
        if to.socket_path:
            return pg8000.native.Connection(unix_sock=to.socket_path, ssl_context=False, **common)
        sock = socket.create_connection((to.host, to.port), to.connect_timeout_s)
        # pg8000 leaves Nagle on: 40 ms of delayed ACK in every parametrised statement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # Longer than the statement timeout: the server's error comes first and costs nothing.
        sock.settimeout(30)
        try:
            return pg8000.native.Connection(host=to.host, sock=sock, ssl_context=to.tls, **common)
        except BaseException:
            sock.close()
            raise

    def _unreachable(self, error: Exception) -> str:
        reason = error.__cause__ or error
        return (
            f"PostgreSQL at {self.address.host}:{self.address.port} can't be reached "
            f"({type(reason).__name__}: {reason}). Check DATABASE_URL, the network and sslmode."
        )

    def close(self) -> None:
        """Close quietly: a connection that broke raises again on close."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(pg8000.exceptions.Error, OSError):
                connection.close()


def sqlstate(error: pg8000.exceptions.DatabaseError) -> str:
    """The five-character code of a server error, '' when there is none."""
    details = error.args[0] if error.args else None
    return str(details.get("C", "")) if isinstance(details, dict) else ""


def _passes(error: pg8000.exceptions.DatabaseError) -> bool:
    return sqlstate(error) in (SERIALIZATION_FAILURE, DEADLOCK, *PASSING)


def _is_state(error: pg8000.exceptions.DatabaseError) -> bool:
    return _passes(error) or sqlstate(error) in (STATEMENT_TIMEOUT, LOCK_TIMEOUT)


def _explain(error: pg8000.exceptions.DatabaseError) -> str:
    details = error.args[0] if error.args else None
    message = details.get("M", "") if isinstance(details, dict) else str(error)
    return f"PostgreSQL refused: {message} (SQLSTATE {sqlstate(error) or 'none'})"
