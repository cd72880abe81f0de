"""Files that are written whole or not at all."""

import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from peftlab.errors import UserError

log = logging.getLogger(__name__)

_CODES = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "ENOTDIR", "EISDIR", "EEXIST", "ENOTEMPTY")
_DISK = {getattr(errno, name) for name in _CODES}
LONGEST_TEXT = 2**26  # bytes; the largest that the laboratory writes, a selection with its spectra, has some 10 MB
# What a process that was killed leaves beside a file or folder it was writing.
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path` to write to; it is then brought to the disk and takes the place of `path`.

    Where writing fails, `path` stays as it was and nothing is left beside it. What a process left there that was killed
    while it wrote `path` is removed.

    Raises:
        UserError: the folder that this process has locked for its work is no longer where it was.
    """
    _check_not_moved(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, re.escape(path.name))
    with _temporary(path, Path.touch) as temporary:
        try:
            yield temporary
            _bring_to_disk(temporary)
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
            _check_not_moved(folder)
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
def exclusive_lock(folder: Path, patience: float = 0.0) -> Iterator[bool]:
    """Hold an exclusive lock on `folder`; yield False if another process has it.

    The lock is the operating system's on the folder itself: no file stands for it, and it goes with its process.
    Where there are no such locks, that is told, and everybody is alone.

    Args:
        folder: is made if it is not there.
        patience: seconds to wait for another process to leave.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    with _kept(handle):
        alone = _wait_for_lock(handle, folder, time.monotonic() + patience)
        if alone:
            _folders[handle] = folder.absolute()
        yield alone


@contextmanager
def _temporary(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Make a temporary file or folder beside `path`; its lock tells other processes that it is no leftover."""
    while True:
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        make(temporary)
        handle = os.open(temporary, os.O_RDONLY)
        with _kept(handle):
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, temporary):  # else another process took it for one before it was locked
                yield temporary
                return


@contextmanager
def _kept(handle: int) -> Iterator[None]:
    """Close a handle, and so give its lock away, in the end."""
    _handles.add(handle)
    try:
        yield
    finally:
        if handle in _handles:  # not so in a child that was forked meanwhile
            _handles.remove(handle)
            _folders.pop(handle, None)
            os.close(handle)


def _let_go() -> None:
    """Close a forked child's copies of its parent's locks: a loader's process would keep them if that is killed."""
    for handle in _handles:
        os.close(handle)
    _handles.clear()
    _folders.clear()


_handles: set[int] = set()
_folders: dict[int, Path] = {}  # those that `exclusive_lock` holds
os.register_at_fork(after_in_child=_let_go)


def _wait_for_lock(handle: int, folder: Path, until: float) -> bool:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.1)
        except OSError as error:
            log.warning(
                "%s: this disk knows no locks (%s); two processes at work there at once mix their files",
                folder,
                error.strerror,
            )
            return True
        else:
            return True


def _check_not_moved(path: Path) -> None:
    """Refuse to write below a folder that this process holds, if another is now in its place or none."""
    for handle, folder in list(_folders.items()):
        if path.absolute().is_relative_to(folder) and not _is_at(handle, folder):
            raise UserError(f"{folder}: was moved or removed while a run was at work in it; resume=ITS_FOLDER goes on")


def _is_at(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except OSError:
        return False


def _bring_to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path, *names: str) -> None:
    """Remove what processes that were killed left beside the files or folders `names` (regular expressions).

    What another process is at work on stays, and so does everything where a disk knows no locks.
    """
    for path in folder.glob(".*"):
        match = _LEFTOVER.fullmatch(path.name)
        if match and any(re.fullmatch(name, match["name"]) for name in names) and _is_left(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def remove_files(folder: Path, *names: str) -> None:
    """Remove the files `names` (regular expressions) in a folder, with what is left beside them."""
    if not folder.is_dir():
        return
    remove_leftovers(folder, *names)
    for path in folder.iterdir():
        if path.is_file() and any(re.fullmatch(name, path.name) for name in names):
            path.unlink()


def remove_if_empty(folder: Path) -> None:
    """Remove a folder that holds nothing."""
    with suppress(OSError):
        folder.rmdir()


def _is_left(path: Path) -> bool:
    """Return whether no process is at work on a temporary file or folder."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)
