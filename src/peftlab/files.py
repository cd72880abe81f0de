"""Files that are written whole or not at all."""

import errno
import hashlib
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from peftlab.errors import UserError
from peftlab.filelock_internals import host_digits, is_running
from peftlab.locks import check_held, is_held

_CODES = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EISDIR", "EEXIST", "ENOTEMPTY")
_DISK = {getattr(errno, name) for name in _CODES}
LONGEST_TEXT = 2**26  # bytes; the largest that the laboratory writes, a selection with its spectra, has some 10 MB
# What a process that was killed leaves beside a file or folder it was writing.
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<whose>[0-9a-f]{32})")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to; it is then brought to the disk and takes the place of `path`.

    Where writing fails, `path` stays as it was and nothing is left beside it. What a process left there that was killed
    while it wrote `path` is removed.

    Raises:
        BusyError, UserError: this process holds the folder no more which it has locked for its work (`check_held`).
    """
    check_held(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, re.escape(path.name))
    with _temporary(path, Path.touch) as temporary:
        try:
            yield temporary
            _bring_to_disk(temporary)
            check_held(path)  # again: this process may have stood still meanwhile
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside `folder` to fill; it is then brought to the disk and takes the place of `folder`.

    That one is empty or not there yet. Where filling fails, it stays as it was and nothing is left beside it. What a
    process left there that was killed while it filled `folder` is removed.
    """
    target = folder.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent, re.escape(target.name))
    with _temporary(target, Path.mkdir) as temporary:
        try:
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                _bring_to_disk(path)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses (full, read-only, not allowed, no folder) into a `UserError` that names the place.

    So is what fails because `folder` was moved or removed.
    """
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOENT:
            check_held(folder)
        if error.errno not in _DISK:
            raise
        # Where a temporary file cannot take its place, the place is what its user knows.
        raise UserError(f"{error.filename2 or error.filename or folder}: {error.strerror}") from error


def read_regular(path: Path, most: int | None = None) -> bytes:
    """Return the content of a regular file: a pipe or a device would keep its reader waiting for ever.

    Raises:
        OSError: it cannot be read, is of another type, or holds more than `most` bytes.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if most is not None and status.st_size > most:
            raise OSError(errno.EFBIG, f"{status.st_size} bytes, where at most {most} are read", str(path))
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def read_text(path: Path, most: int = LONGEST_TEXT) -> str:
    """Return the text of a regular UTF-8 file.

    Raises:
        OSError: as `read_regular`.
        ValueError: it is not UTF-8.
    """
    return read_regular(path, most).decode("utf-8")


def check_regular(path: Path) -> None:
    """Refuse what is no regular file: a pipe would keep whoever opens it waiting for ever.

    Raises:
        OSError: it is none, or there is nothing.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


def content_sha256(path: Path) -> str | None:
    """Return the SHA-256 (64 hex digits) of a file, None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a temporary file beside it, fsync and rename."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def write_text_atomic(path: Path, content: str) -> None:
    """Write `content` as UTF-8 to `path`, whole or not at all."""
    write_bytes_atomic(path, content.encode("utf-8"))


@contextmanager
def _temporary(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Make a temporary file or folder beside `path`; its name says whose it is: nobody takes it for a leftover."""
    temporary = path.with_name(f".{path.name}.{host_digits()}{os.getpid():08x}{uuid.uuid4().hex[:16]}")
    make(temporary)
    yield temporary


def _bring_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path, *names: str) -> None:
    """Remove what processes that were killed left beside the files or folders `names` (regular expressions).

    What another process is at work on stays, and so does what another machine left outside of a locked folder.
    """
    for path in folder.glob(".*"):
        match = _LEFTOVER.fullmatch(path.name)
        if match and any(re.fullmatch(name, match["name"]) for name in names) and _is_left(path, match["whose"]):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def remove_files(folder: Path, *names: str) -> None:
    """Remove the files `names` (regular expressions) in a folder, with what is left beside them."""
    if not folder.is_dir():
        return
    check_held(folder)
    remove_leftovers(folder, *names)
    for path in folder.iterdir():
        if path.is_file() and any(re.fullmatch(name, path.name) for name in names):
            path.unlink()


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that holds nothing."""
    with suppress(OSError):
        folder.rmdir()


def _is_left(path: Path, whose: str) -> bool:
    """Return whether no process is at work on a temporary file or folder with these 32 digits in its name.

    Of this machine's processes that is known; another machine's are not there where this process has the lock.
    """
    if whose.startswith(host_digits()):
        return not is_running(int(whose[8:16], 16))
    return is_held(path)
