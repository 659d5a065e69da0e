"""Where clips are kept. What every store shares: the rule of names, and public addresses."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit

from memolist_tts.core.errors import StorageError

# Safe as an S3 key, a file and a URL alike, with nothing to quote. No leading
# dot: those names are the folder's own, for files half written.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def object_name(name: str) -> str:
    """`name` itself, if every store can keep it: ASCII letters, digits, `.`, `_` and `-`.

    At most 200 characters, no leading dot, so no folders and no way out of one.
    Raises `StorageError`.
    """
    if not _NAME.fullmatch(name):
        raise StorageError(
            f"{name[:80]!r} can't name a clip: use letters, digits, dots, dashes and underscores"
            " (ASCII, 200 at most, a letter or digit first)"
        )
    return name


class PublicBase:
    """The address under which listeners find the clips (PUBLIC_BASE_URL)."""

    def __init__(self, base_url: str) -> None:
        """`base_url` has a scheme, and neither query nor fragment. Raises `StorageError`."""
        self._text = base_url.strip().rstrip("/")
        try:
            parts = urlsplit(self._text)
            self._origin, self._folders = _place(self._text)
        except ValueError as error:
            raise StorageError(f"PUBLIC_BASE_URL {base_url!r} is not a URL: {error}") from error
        if not parts.scheme or not (parts.netloc or parts.path) or parts.query or parts.fragment:
            raise StorageError(
                f"PUBLIC_BASE_URL {base_url!r} must be a URL without ? or #,"
                " such as https://cdn.example.com/audio"
            )

    def url(self, name: str) -> str:
        """The address of the clip `name`. Raises `StorageError` for a name no store keeps."""
        return f"{self._text}/{object_name(name)}"

    def owns(self, url: str | None) -> bool:
        """Whether `url` lies under this base, at any depth.

        Scheme and host are compared without case, paths folder by folder and
        percent-decoded, a query is ignored. What could lead elsewhere (`..`, a
        user name, no URL at all) isn't ours: then nothing is replaced.
        """
        if not url:
            return False
        try:
            origin, path = _place(url)
        except ValueError:
            return False
        depth = len(self._folders)
        below = path[depth:]
        return (
            origin == self._origin
            and path[:depth] == self._folders
            and below != []
            and below[-1] != ""
            and not {".", ".."}.intersection(path)
        )


def _place(url: str) -> tuple[tuple[str, str], list[str]]:
    """Scheme and host, folded, and the decoded parts of the path. Raises `ValueError`."""
    parts = urlsplit(url)
    host = parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, "\0"))
    path = parts.path.removeprefix("/")
    # Split first: an encoded slash is part of a name, never a border between folders.
    return (parts.scheme, host), [unquote(part) for part in path.split("/")] if path else []
