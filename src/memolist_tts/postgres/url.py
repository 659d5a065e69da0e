"""DATABASE_URL as Prisma and libpq write it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from math import isnan, nan
from urllib.parse import parse_qs, unquote, urlsplit

from memolist_tts.core.errors import DatabaseError

EXAMPLE = "postgresql://user:password@host:5432/database?schema=public"
UNREADABLE = (
    f"DATABASE_URL can't be read: write it as {EXAMPLE}, with / ? # @ : in the password "
    "percent-encoded (%2F %3F %23 %40 %3A)"
)
LONGEST_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the database is and how to get in; the password has no repr."""

    host: str
    port: int
    user: str
    password: str | None = field(repr=False)
    database: str
    schema: str
    """Where the API's tables live (`?schema=`)."""
    socket_path: str | None
    """A Unix socket's file, when `host` names a folder."""
    tls: ssl.SSLContext | bool | None = field(repr=False)
    """False: none; None: if the server offers it, unverified (libpq's `prefer`)."""
    connect_timeout_s: float


def parse(url: str) -> Address:
    """Read a URL. Raises `DatabaseError` (without the password) when it isn't one."""
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:
        # The reason would quote the password.
        raise DatabaseError(UNREADABLE) from None
    if "@" in parts.path + parts.query + parts.fragment:
        # The password's / ? or # ended the host: what follows would be shown as a database's name.
        raise DatabaseError(UNREADABLE)
    if parts.scheme not in ("postgresql", "postgres"):
        raise DatabaseError(f"DATABASE_URL must start with postgresql://, as {EXAMPLE}")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    host = query.get("host") or unquote(parts.hostname or "localhost")
    user = unquote(parts.username or query.get("user") or "postgres")
    _check_host(host)
    if "\0" in url or "%00" in url:
        raise DatabaseError(f"DATABASE_URL holds a NUL (%00): write it as {EXAMPLE}")
    return Address(
        host=host,
        port=port,
        user=user,
        password=unquote(parts.password) if parts.password else query.get("password"),
        database=unquote(parts.path.lstrip("/")) or user,
        schema=query.get("schema", "public"),
        socket_path=f"{host}/.s.PGSQL.{port}" if host.startswith("/") else None,
        tls=_tls(query),
        connect_timeout_s=_seconds(query.get("connect_timeout"), default=10.0),
    )


def _check_host(host: str) -> None:
    """Whether the resolver can be asked for it at all; a socket's folder needs none."""
    if host.startswith("/"):
        return
    try:
        host.encode("idna")
    except UnicodeError:
        raise DatabaseError(f"DATABASE_URL: {host[:80]!r} can't be a host's name") from None


def _seconds(text: str | None, default: float) -> float:
    try:
        seconds = float(text or default)
    except ValueError:
        seconds = nan
    if isnan(seconds):
        raise DatabaseError("DATABASE_URL: connect_timeout isn't a number of seconds")
    # As libpq has it, 0 and less are no limit; we have one.
    return min(seconds, LONGEST_TIMEOUT_S) if seconds > 0 else default


def _tls(query: dict[str, str]) -> ssl.SSLContext | bool | None:
    """sslmode (libpq) with sslaccept (Prisma): pg8000's own default never verifies."""
    mode = query.get("sslmode", "prefer")
    if mode == "disable":
        return False
    authority = query.get("sslrootcert") or query.get("sslcert")
    if query.get("sslaccept") == "strict":
        mode = "verify-full"
    elif mode == "require" and authority:
        mode = "verify-ca"
    match mode:
        case "prefer" | "allow":
            return None
        case "require":
            return _context(None, verify=False, check_hostname=False)
        case "verify-ca" | "verify-full":
            return _context(authority, verify=True, check_hostname=mode == "verify-full")
    raise DatabaseError(
        f"DATABASE_URL: sslmode={mode} isn't one of disable, allow, prefer, require, "
        "verify-ca, verify-full"
    )


def _context(authority: str | None, *, verify: bool, check_hostname: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=authority)
    except (OSError, ValueError) as error:
        raise DatabaseError(f"DATABASE_URL: can't read the CA file {authority}: {error}") from None
    context.check_hostname = check_hostname
    context.verify_mode = ssl.CERT_REQUIRED if verify else ssl.CERT_NONE
    return context
