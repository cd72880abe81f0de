"""A file is written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from peftlab.errors import UserError
from peftlab.files import (
    atomic_file,
    atomic_folder,
    disk_errors,
    remove_leftovers,
    write_bytes_atomic,
    write_text_atomic,
)
from peftlab.locks import exclusive_lock


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


def killed_while_writing(path: Path, make=atomic_file) -> None:
    process = os.fork()
    if not process:
        with make(path):
            os._exit(0)
    os.waitpid(process, 0)


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    kept = [".hydra", ".gitignore", "result.json", f"result.json.{'0' * 32}", f".result.json.{'0' * 31}"]
    kept += [f".env.{'0' * 32}", f".x.result.json.{'0' * 32}"]
    for name in kept:
        (tmp_path / name).touch()
    elsewhere = f".result.json.{'0' * 32}"  # of another machine, as far as its name goes
    (tmp_path / elsewhere).touch()
    killed_while_writing(tmp_path / "result.json")
    killed_while_writing(tmp_path / "step-0000012.safetensors")
    assert len(os.listdir(tmp_path)) == len(kept) + 3
    names = (r"result\.json", r"step-\d+\.safetensors")
    remove_leftovers(tmp_path, *names)
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, elsewhere])
    with exclusive_lock(tmp_path):
        remove_leftovers(tmp_path, *names)
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_whoever_writes_a_file_or_folder_removes_what_a_killed_process_left_of_it(tmp_path):
    killed_while_writing(tmp_path / "table1.md")
    killed_while_writing(tmp_path / "merged", atomic_folder)
    (tmp_path / f".env.{'0' * 32}").write_text("mine")
    write_text_atomic(tmp_path / "table1.md", "whole")
    with atomic_folder(tmp_path / "merged") as temporary:
        (temporary / "config.json").write_text("whole")
    assert sorted(os.listdir(tmp_path)) == [f".env.{'0' * 32}", "merged", "table1.md"]


def test_what_another_process_is_writing_is_no_leftover(tmp_path):
    with atomic_file(tmp_path / "a.txt") as first, atomic_file(tmp_path / "a.txt") as second:
        first.write_text("first")
        second.write_text("second")
    assert os.listdir(tmp_path) == ["a.txt"]
    with atomic_folder(tmp_path / "b") as first:
        with pytest.raises(OSError, match="aborted"), atomic_folder(tmp_path / "b"):
            raise OSError("aborted")
        (first / "b.txt").touch()
    assert os.listdir(tmp_path / "b") == ["b.txt"]


@pytest.mark.parametrize("how", ["moved", "removed", "replaced"])
def test_a_folder_that_is_moved_while_it_is_locked_is_not_made_again(how, tmp_path):
    folder = tmp_path / "run"
    message = rf"^{folder}: was moved or removed while a run was at work in it"
    with pytest.raises(UserError, match=message), exclusive_lock(folder), disk_errors(folder):  # noqa: PT012
        folder.rename(tmp_path / "moved")
        if how == "replaced":
            folder.mkdir()
        if how == "removed":
            (folder / "metrics.csv").open("a")
        write_text_atomic(folder / "result.json", "whole")
    assert folder.exists() == (how == "replaced")
    assert list((tmp_path / "moved").iterdir()) == []


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_appears_as_a_whole(exists, tmp_path):
    folder = tmp_path / "models" / "mine"
    if exists:
        folder.mkdir(parents=True)
    with atomic_folder(folder) as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "a.txt").write_text("a")
        assert temporary.parent == folder.parent
        assert folder.exists() == exists
        assert not exists or not list(folder.iterdir())
    assert (folder / "deep" / "a.txt").read_text() == "a"
    assert os.listdir(folder.parent) == ["mine"]


@pytest.mark.parametrize("step", ["replace", "fsync", None])
def test_where_filling_a_folder_fails_nothing_is_left(step, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space"), atomic_folder(tmp_path / "mine") as temporary:  # noqa: PT012
        (temporary / "a.txt").write_text("a")
        if not step:
            fail()
    assert os.listdir(tmp_path) == []


def test_a_folder_that_holds_something_is_not_replaced(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("a")
    message = rf"^{tmp_path}/mine: Directory not empty$"
    with (
        pytest.raises(UserError, match=message),
        disk_errors(tmp_path),
        atomic_folder(tmp_path / "mine") as temporary,
    ):
        (temporary / "b.txt").write_text("b")
    assert os.listdir(tmp_path) == ["mine"]
    assert os.listdir(tmp_path / "mine") == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.ENOTDIR])
def test_what_a_disk_refuses_is_told_with_its_place(number, tmp_path):
    with pytest.raises(UserError, match=rf"^{tmp_path}: {os.strerror(number)}$"), disk_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    with pytest.raises(UserError, match=r"^/else: "), disk_errors(tmp_path):
        raise OSError(number, os.strerror(number), "/else")


def test_any_other_error_stays_what_it_is(tmp_path):
    with pytest.raises(ConnectionError), disk_errors(tmp_path):
        raise ConnectionError("reset by peer")


def test_one_process_is_alone_in_a_folder_and_leaves_nothing_there(tmp_path):
    with (
        exclusive_lock(tmp_path / "a", 0) as first,
        exclusive_lock(tmp_path / "a", 0.2) as second,
        exclusive_lock(tmp_path, 0) as other,
    ):
        assert (first, second, other) == (True, False, True)
    with exclusive_lock(tmp_path / "a", 0) as again:
        assert again
    assert os.listdir(tmp_path / "a") == []
