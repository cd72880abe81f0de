"""A file is written whole or not at all."""

import os
from pathlib import Path

import pytest

from peftlab.files import write_bytes_atomic, write_text_atomic


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
