"""An upgrade of filelock that takes a name away which it never promised says here what breaks."""

import inspect

import pytest

from upgrades import missing, owner_of, users_of

TAKING_OVER = "taking a dead machine's run over on NFS"
NAMES = [
    ("filelock:SoftFileLease", "_take_over _lock_path _read_peer _try_break_pinned_lock", TAKING_OVER),
    ("filelock._soft", "read_lock_file", TAKING_OVER),
    ("filelock._identity", "host_name process_alive", "telling what a killed process left from what another writes"),
]


@pytest.mark.parametrize(("owner", "names", "dependant"), NAMES)
def test_what_filelock_does_not_promise_is_there(owner, names, dependant):
    assert missing("filelock", owner_of(owner), names, dependant) == []


def test_what_is_judged_stale_is_handed_to_taking_over():
    taking = inspect.signature(owner_of("filelock:SoftFileLease")._take_over)
    assert list(taking.parameters) == ["self", "marker", "breaker_pid"]


def test_one_file_uses_it():
    assert users_of("filelock._") <= {"filelock_internals.py"}
