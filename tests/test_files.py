"""A file is written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from peftlab.errors import UserError
from peftlab.files import alone_in, remove_leftovers, told_of_disk, write_bytes_atomic, write_text_atomic


def test_text_is_written_as_utf8_into_folders_that_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "record.json"
    write_text_atomic(path, "ξ = 0.9\n")
    assert path.read_bytes() == "ξ = 0.9\n".encode()


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "delta.safetensors"
    write_bytes_atomic(path, b"a longer content")
    write_bytes_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_after_a_failure_the_old_file_stands_and_nothing_is_left_beside_it(tmp_path, monkeypatch, step):
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="no space left"):
        write_text_atomic(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


def test_a_reader_never_sees_a_half_written_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    seen = []
    replace = os.replace

    def watched(source, target):
        seen.append((path.exists(), Path(source).read_bytes()))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    write_text_atomic(path, "whole")
    assert seen == [(False, b"whole")]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    kept = [".hydra", ".gitignore", "result.json", f"a.{'0' * 32}", f".x.{'0' * 31}"]
    for name in [*kept, f".result.json.{'0' * 32}"]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR])
def test_what_a_disk_refuses_is_told_with_its_place(number, tmp_path):
    with pytest.raises(UserError, match=rf"^{tmp_path}: {os.strerror(number)}$"), told_of_disk(tmp_path):
        raise OSError(number, os.strerror(number))
    with pytest.raises(UserError, match=r"^/else: "), told_of_disk(tmp_path):
        raise OSError(number, os.strerror(number), "/else")


def test_any_other_error_stays_what_it_is(tmp_path):
    with pytest.raises(ConnectionError), told_of_disk(tmp_path):
        raise ConnectionError("reset by peer")


def test_one_process_is_alone_in_a_folder_and_leaves_nothing_there(tmp_path):
    with alone_in(tmp_path / "a", 0) as first, alone_in(tmp_path / "a", 0.2) as second, alone_in(tmp_path, 0) as other:
        assert (first, second, other) == (True, False, True)
    with alone_in(tmp_path / "a", 0) as again:
        assert again
    assert os.listdir(tmp_path / "a") == []
