"""What of filelock is used here though filelock does not promise it: all of it, for an upgrade to be looked at once.

`tests/test_filelock_internals.py` says what breaks where one of these names is gone.
"""

import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from filelock import SoftFileLease
from filelock._identity import host_name, process_alive
from filelock._soft import read_lock_file

Beat = tuple[int, int]  # the number of a lease's file and when it was refreshed last, by the clock of its disk


class Lease(SoftFileLease):
    """filelock's lease, which can be taken over on every disk once it has run out.

    filelock exchanges a stale file for its own in one step. NFS, Lustre and SMB know no such step, and there filelock
    lets the dead keep their lock for ever: a machine that breaks down would take its run with it. Here the stale file
    is moved aside instead, and whoever makes a new one first has the lock. Where it turns out that the file was a
    living one, made anew in between, it is put back; whoever finds the place empty in that moment has the lock, and the
    other learns of it before it writes (`locks.check_held`).
    """

    def _try_break_pinned_lock(self, pinned: int | None) -> None:
        super()._try_break_pinned_lock(pinned)
        if not self.is_locked and (peer := self._read_peer()) is not None:
            owner, marker = peer
            # Killed, and its parent has not asked yet how it ended: filelock counts it among the living.
            if pinned in (None, marker.st_ino) and owner.hostname == host_name() and _is_zombie(owner.pid):
                self._take_over(marker, owner.pid)

    def _take_over(self, marker: os.stat_result, breaker_pid: int | None) -> None:
        super()._take_over(marker, breaker_pid)
        if not self.is_locked:
            with suppress(FileNotFoundError):
                self._move_aside(marker)

    def _move_aside(self, stale: os.stat_result) -> None:
        if not _is_same(os.lstat(self._lock_path), stale):
            return
        aside = f"{self._lock_path}.{secrets.token_hex(16)}"
        os.rename(self._lock_path, aside)
        if not _is_same(os.lstat(aside), stale):
            with suppress(OSError):  # where another has made a new one, that one counts
                os.link(aside, self._lock_path)
        os.unlink(aside)

    def beat(self) -> Beat | None:
        """Return what changes while the lease's owner lives; None where there is none."""
        with suppress(OSError):
            status = read_lock_file(self._lock_path)[1]  # opened: NFS would tell of a closed one what it remembers
            return status.st_ino, status.st_mtime_ns
        return None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the lease's owner, if there is one, is no process of this machine, which could be asked for."""
        return self.owner is not None and self.owner.hostname != host_name()


def _is_same(found: os.stat_result, judged: os.stat_result) -> bool:
    return os.path.samestat(found, judged) and found.st_mtime_ns == judged.st_mtime_ns


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def host_digits() -> str:
    """Return 8 hex digits that stand for this machine; a container has its own."""
    return hashlib.sha256(host_name().encode()).hexdigest()[:8]


def is_running(pid: int) -> bool:
    """Return whether a process of that number runs on this machine."""
    return process_alive(pid) and not _is_zombie(pid)
