"""Two at once: runs that start together share what is shared, and never write over one another."""

import multiprocessing
import os
from pathlib import Path

import pytest
import torch

from models import tiny
from peftlab import run as running
from peftlab.data import tokens
from peftlab.data.tokens import tokenise
from peftlab.errors import UserError
from peftlab.files import alone_in
from peftlab.run import run
from peftlab.tasks.source import load_splits
from runs import small, write_rte
from tasks.shipped import shipped

PROCESSES = 8


def test_eight_runs_on_an_empty_token_cache_tokenise_once(tmp_path, monkeypatch):
    split = load_splits(shipped("rte"), write_rte(tmp_path / "glue"))["train"]
    tokenizer, cache, encode = tiny().tokenizer, tmp_path / "cache", tokens._encode

    def counted(*arguments):
        (tmp_path / f"made-by-{os.getpid()}").touch()
        return encode(*arguments)

    def one(number: int) -> None:
        torch.set_num_threads(1)
        made = tokenise(split, tokenizer, 48, cache)
        (tmp_path / f"ids-{number}").write_bytes(made.ids.numpy().tobytes())

    monkeypatch.setattr(tokens, "_encode", counted)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=one, args=(number,)) for number in range(PROCESSES)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    assert len(list(tmp_path.glob("made-by-*"))) == 1
    assert len({path.read_bytes() for path in tmp_path.glob("ids-*")}) == 1
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]


def test_a_folder_where_a_run_is_at_work_is_refused_and_left(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "PATIENCE", 0.0)
    with alone_in(tmp_path, 0), pytest.raises(UserError, match=rf"^{tmp_path}: another run is at work in this folder"):
        run(small("data.cache_dir=null", "bitfit"), tmp_path)
    assert list(Path(tmp_path).iterdir()) == []
    assert run(small("data.cache_dir=null", "bitfit"), tmp_path).status == "finished"
