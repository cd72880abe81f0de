"""A sweep that several commands share: what each leaves to the others, and what becomes of it.

Every process that types the same command for the same folder does the runs that no other is at work on. Then it waits
for those that are: one that another finishes counts as if it were done here, one that another leaves undone (it was
killed, interrupted, or its machine is gone) is done by whoever comes first. So all commands end with the same table and
exit code, and nothing is lost while one of them lives.

What was done before a command began, and what since, is told by the times of files on the one disk they share.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from peftlab.errors import UserError
from peftlab.locks import lease_of, owner_of, try_lease
from peftlab.outcome import BY_ANOTHER, Outcome, begun_at, outcomes_by_number, write_outcome
from peftlab.results.record import FILE_NAME, RunRecord

_POLL = 1.0  # seconds, of which a lease has ten at least


def is_since(folder: Path, begun: int | None) -> bool:
    """Return whether the record in `folder` was written after a command began, at `begun` by the disk's clock."""
    try:
        return begun is not None and (folder / FILE_NAME).stat().st_mtime_ns > begun
    except OSError:
        return False


class FailedElsewhereError(Exception):
    """A run of a shared sweep has failed in another process; `outcome` is what is told of it there."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


def check_failed_elsewhere(folder: Path) -> None:
    """Raise `FailedElsewhereError` if the record in `folder` is that of a failed run."""
    outcome = _told(folder)
    if outcome is not None and outcome.exit_code:
        raise FailedElsewhereError(outcome)


def wait_for_others(sweep: Path, token: str) -> bool:
    """Wait for the runs that the command `token` has left to other processes.

    Returns:
        True as soon as one of them was left undone, False when all have ended; their outcomes are then written as if
        they had been done here.
    """
    begun = begun_at(sweep, token)
    busy = {number: one for number, one in outcomes_by_number(sweep, token).items() if one.status == "busy"}
    leases = {number: lease_of(one.folder) for number, one in busy.items()}
    told = ""
    while busy:
        for number, one in list(busy.items()):
            if not try_lease(leases[number]):
                continue
            try:
                ended = _told(one.folder) if is_since(one.folder, begun) else None
            finally:
                leases[number].release()
            if ended is None:
                return True
            write_outcome(ended, sweep, token, number)
            del busy[number]
        if busy and (saying := _waiting(busy)) != told:
            told = saying
            print(told, flush=True)
        if busy:
            time.sleep(min(_POLL, min(lease.lease_duration for lease in leases.values()) / 10))
    return False


def _told(folder: Path) -> Outcome | None:
    """Return what the record in `folder` says became of its run; None where it is left undone."""
    try:
        record = RunRecord.read(folder)
    except UserError:
        return None
    match record.status:
        case "finished":
            return Outcome(folder, "already finished", BY_ANOTHER)
        case "skipped":
            return Outcome(folder, "skipped", record.reason or "")
        case "failed":
            return Outcome(folder, "mistake" if record.mistake else "crashed", record.reason or "")
    return None


def _waiting(busy: Mapping[int, Outcome]) -> str:
    by = [f"{one.folder.name} ({owner_of(one.folder)})" for one in busy.values()]
    return f"waiting for {len(busy)} that others are at work on: {', '.join(by)}; wait=false leaves them"
