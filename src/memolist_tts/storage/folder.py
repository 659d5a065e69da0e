"""Clips in a folder of this machine, for one's own computer and for a plain web server."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

from memolist_tts.core.errors import StorageError
from memolist_tts.storage import PublicBase, object_name

_FULL = "free some space on its disk, or raise the quota or limit"
_FORBIDDEN = "let the worker's user write there, or set LOCAL_STORAGE_PATH to another folder"
_NO_LINKS = "its file system has no hard links: set LOCAL_STORAGE_PATH to a folder on another"
_ELSEWHERE = "set LOCAL_STORAGE_PATH to a folder on a healthy disk"
_FIXES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EACCES: _FORBIDDEN,
    errno.EROFS: _FORBIDDEN,
    errno.EPERM: f"{_FORBIDDEN} (with hard links)",
    errno.ENOTSUP: _NO_LINKS,
    errno.EOPNOTSUPP: _NO_LINKS,
    errno.EMLINK: _NO_LINKS,
    errno.ENOENT: "the folder has gone: create it, or start the worker again",
    errno.ENOTDIR: "set LOCAL_STORAGE_PATH to a folder; a part of it is a file",
    errno.EEXIST: "set LOCAL_STORAGE_PATH to a folder; this is a file",
}


class FolderStorage:
    """`Storage` in a folder, made here when it isn't there; one file a clip, readable by all.

    A name appears with all its bytes, on the disk, or not at all: a crash
    leaves at most a hidden `.….part` file. Several processes may share it.
    """

    def __init__(self, root: Path, public_base_url: str) -> None:
        """Raises `StorageError` where clips can't be kept: now, not after one was paid for."""
        self._root = root.absolute()
        self._public = PublicBase(public_base_url)
        try:
            if not self._root.is_dir():
                self._root.mkdir(parents=True, exist_ok=True)
                self._root.chmod(0o755)
        except OSError as error:
            raise _fault(error, self._root, "used") from error
        self.prove()

    def prove(self) -> None:
        """As `Storage.prove`: a file is written and linked, and gone again."""
        try:
            self._try_out()
        except OSError as error:
            raise _fault(error, self._root, "used") from error

    def _try_out(self) -> None:
        with TemporaryDirectory(dir=self._root, prefix=".") as aside:
            part = Path(aside, "part")
            part.touch()
            os.link(part, Path(aside, "clip"))

    def put(self, name: str, mp3: bytes) -> bool:
        path = self._root / object_name(name)
        try:
            return self._put(path, mp3)
        except OSError as error:
            raise _fault(error, path, "stored") from error

    def _put(self, path: Path, mp3: bytes) -> bool:
        with NamedTemporaryFile(dir=self._root, prefix=".", suffix=".part") as part:
            part.write(mp3)
            part.flush()
            # Temporary files are private by default; a web server reads these.
            os.chmod(part.name, 0o644)
            os.fsync(part.fileno())
            try:
                # Unlike a rename, a link refuses to replace what is there.
                os.link(part.name, path)
            except FileExistsError:
                return False
        self._sync_names()
        return True

    def read(self, name: str) -> bytes | None:
        path = self._root / object_name(name)
        try:
            return path.read_bytes()
        except OSError as error:
            # Without the folder (a disk not mounted) nothing is known of the clip.
            if isinstance(error, FileNotFoundError) and self._root.is_dir():
                return None
            raise _fault(error, path, "read") from error

    def size(self, name: str) -> int | None:
        path = self._root / object_name(name)
        try:
            return path.stat().st_size
        except OSError as error:
            if isinstance(error, FileNotFoundError) and self._root.is_dir():
                return None
            raise _fault(error, path, "read") from error

    def delete(self, name: str) -> None:
        path = self._root / object_name(name)
        try:
            path.unlink(missing_ok=self._root.is_dir())
        except OSError as error:
            raise _fault(error, path, "deleted") from error

    def url(self, name: str) -> str:
        return self._public.url(name)

    def owns(self, url: str | None) -> bool:
        return self._public.owns(url)

    def _sync_names(self) -> None:
        folder = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def folder_public_base_url(root: Path) -> str:
    """The public base of a folder when PUBLIC_BASE_URL is unset: its `file://` address."""
    return root.resolve().as_uri()


def _fault(error: OSError, path: Path, done: str) -> StorageError:
    fix = _FIXES.get(error.errno or 0, _ELSEWHERE)
    return StorageError(f"{path} could not be {done}: {error.strerror or error}; {fix}")
