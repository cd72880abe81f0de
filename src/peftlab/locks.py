"""One way of locking, whatever the disk: a file with a lease in the folder that is locked, which its owner refreshes.

The operating system's own locks (flock) are refused on NFS and Lustre, where sweeps of many machines lie. The lease's
file says who its owner is. It is taken over at once where this machine shows that the owner is gone, and else when its
file has not changed for the length of a lease, by one's own monotonic clock: no two clocks are ever compared. An owner
that stood still so long (a suspended machine, SIGSTOP) finds out before it writes: `check_held`.
"""

import errno
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import LeaseSettingsMismatch, Timeout

from peftlab.errors import BusyError, UserError
from peftlab.filelock_internals import Lease

log = logging.getLogger(__name__)

FILE = ".lock"
_VARIABLE = "PEFTLAB_LEASE"  # seconds; the same on all machines
_SECONDS, _BEATS = 60.0, 6  # a lease, and how often it is refreshed in that time
_POLL = 0.1
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)  # the first for everybody, the others for this user
# While it looks whether an owner is alive, filelock takes the file away for a moment.
_LOOKS, _BETWEEN = 5, 0.02


@dataclass(frozen=True)
class _Held:
    folder: Path
    handle: int  # of the folder, which may be moved
    lease: Lease


@contextmanager
def exclusive_lock(folder: Path, patience: float = 0.0, watch: bool = False) -> Iterator[bool]:
    """Hold an exclusive lock on `folder`; yield False if another process has it.

    A folder where nothing can be written is everybody's.

    Args:
        folder: is made if it is not there.
        patience: seconds to wait for another process to leave.
        watch: wait until an owner on another machine is seen to be alive, or its lease has run out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lease = lease_of(folder)
    try:
        locked = _wait_for(lease, folder, patience, watch)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        yield error.errno == errno.EROFS or not (folder / FILE).exists()
        return
    if not locked:
        yield False
        return
    held = _Held(folder.absolute(), os.open(folder, os.O_RDONLY), lease)
    _held[id(held)] = held
    try:
        yield True
    finally:
        if _held.pop(id(held), None):  # not so in a child that was forked meanwhile
            _release(held)


def lease_of(folder: Path) -> Lease:
    """Return the lease on a folder, not taken yet.

    Raises:
        UserError: PEFTLAB_LEASE is no number of seconds above 0.
    """
    given = os.environ.get(_VARIABLE, "")
    try:
        seconds = float(given or _SECONDS)
        return Lease(
            folder.absolute() / FILE,
            lease_duration=seconds,
            heartbeat_interval=seconds / _BEATS,
            thread_local=False,
        )
    except (ValueError, OverflowError) as error:
        raise UserError(f"{_VARIABLE}={given}: allowed are seconds above 0") from error


def try_lease(lease: Lease) -> bool:
    """Take a lease if it is free, its owner is gone, or it has run out; return whether it was taken.

    That it has run out is found by asking the same object again and again.

    Raises:
        UserError: its owner has leases of another length.
        OSError: there can be no file.
    """
    for _ in range(2):  # of one that was taken away from the dead the place is free now
        try:
            lease.acquire(blocking=False)
        except Timeout:
            if lease.beat() is not None:
                return False
        except LeaseSettingsMismatch as error:
            raise UserError(f"{_VARIABLE} must be the same in all processes: {error}") from error
        else:
            return True
    return False


def owner_of(folder: Path) -> str:
    """Return who is at work in a folder, as ``process 12 on node1``; empty where nobody is."""
    owner = lease_of(folder).owner
    return f"process {owner.pid} on {owner.hostname.partition('?')[0]}" if owner else ""


def is_held(path: Path) -> bool:
    """Return whether `path` lies in a folder that this process has locked."""
    return any(path.absolute().is_relative_to(held.folder) for held in _held.values())


def check_held(path: Path) -> None:
    """Refuse to write below a folder that this process has locked, but holds no more.

    Raises:
        BusyError: another process has taken it over.
        UserError: the folder was moved or removed.
    """
    for held in list(_held.values()):
        if path.absolute().is_relative_to(held.folder):
            if not _is_at(held.handle, held.folder):
                told = "was moved or removed while a run was at work in it; resume=ITS_FOLDER goes on"
                raise UserError(f"{held.folder}: {told}")
            if not _is_ours(held.lease):
                by = owner_of(held.folder) or "another process"
                raise BusyError(f"{held.folder}: was taken over by {by} while this process stood still")


def _wait_for(lease: Lease, folder: Path, patience: float, watch: bool) -> bool:
    begun, first = time.monotonic(), lease.beat()
    told = False
    while not try_lease(lease):
        waited = time.monotonic() - begun
        unseen = watch and lease.is_elsewhere and lease.beat() == first
        if waited >= patience and not (unseen and waited < 2 * lease.lease_duration):
            return False
        if unseen and not told:
            told = True
            log.warning("%s: waiting to see whether %s is still at work here", folder, owner_of(folder))
        time.sleep(_POLL)
    return True


def _is_ours(lease: Lease) -> bool:
    for _ in range(_LOOKS):
        owner = lease.owner
        if owner is not None and owner.token == lease.token:
            return True
        time.sleep(_BETWEEN)
    return False


def _release(held: _Held) -> None:
    try:
        held.lease.release()
        if not _is_at(held.handle, held.folder):
            with suppress(OSError):  # its file went with the folder, where its name leads no more
                os.unlink(FILE, dir_fd=held.handle)
    finally:
        os.close(held.handle)


def _let_go() -> None:
    """Forget a parent's locks in a forked child, which has no part in them."""
    for held in _held.values():
        os.close(held.handle)
    _held.clear()


_held: dict[int, _Held] = {}
os.register_at_fork(after_in_child=_let_go)


def _is_at(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), folder.stat())
    except OSError:
        return False
