"""Two at once: runs that start together share what is shared, and never write over one another."""

import multiprocessing
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
import yaml

from conftest import ROOT
from models import tiny
from peftlab.errors import BusyError
from peftlab.inputs import tokens
from peftlab.inputs.tokens import tokenise
from peftlab.job_files import commands_of
from peftlab.locks import exclusive_lock
from peftlab.results.found import find_records
from peftlab.run import run
from peftlab.tasks.sources.splits import load_splits
from runs import SILENT, SMALL, small, write_rte
from tasks.shipped import shipped
from warm_python import warm_python

PROCESSES = 8
SEEDS = ("1,2,3,4,5,6", "6,5,4,3,2,1")


def test_eight_runs_on_an_empty_token_cache_tokenise_once(tmp_path, monkeypatch):
    split = load_splits(shipped("rte"), write_rte(tmp_path / "glue"))["train"]
    tokenizer, cache, encode = tiny().processor, tmp_path / "cache", tokens._encode

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


def test_a_folder_where_a_run_is_at_work_is_refused_and_left(tmp_path):
    with (
        exclusive_lock(tmp_path),
        pytest.raises(
            BusyError, match=rf"^{tmp_path}: another run is at work in this folder \(process {os.getpid()} on "
        ),
    ):
        run(small("data.cache_dir=null", "bitfit"), tmp_path)
    assert list(Path(tmp_path).iterdir()) == []
    assert run(small("data.cache_dir=null", "bitfit"), tmp_path).status == "finished"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_killed_process_goes_with_it_though_its_children_live(number, tmp_path):
    """A loader's process notices only after seconds that its parent is gone."""
    child, held = tmp_path / "child", tmp_path / "held"
    process = os.fork()
    if not process:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with exclusive_lock(held):
            if not os.fork():
                child.write_text(str(os.getpid()))
            time.sleep(60)
            os._exit(0)
    while not (child.exists() and child.read_text()):
        time.sleep(0.01)
    with exclusive_lock(held) as alone:
        assert not alone
    os.kill(process, number)
    os.waitpid(process, 0)
    try:
        with exclusive_lock(held) as alone:
            assert alone
    finally:
        os.kill(int(child.read_text()), signal.SIGKILL)


def test_two_sweeps_in_the_same_folder_share_their_work(tmp_path):
    """Two processes started together: each job is done once, every record is whole, and both end with one table."""
    write_rte(tmp_path / "glue")
    settings = f"+strategy=bitfit task=rte data.root=glue {SMALL} {SILENT} trainer.max_steps=12 hydra.sweep.dir=out"
    environment = {**os.environ, "PEFTLAB_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [*warm_python(), str(ROOT / "train.py"), *settings.split(), "-m", f"seed={seeds}"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for seeds in SEEDS
    ]
    printed = [process.communicate(timeout=500)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], printed
    records = find_records(tmp_path / "out")
    assert sorted((record.seed, record.status, record.resumed) for record in records) == [
        (seed, "finished", 0) for seed in range(1, 7)
    ]
    # A record that is replaced is set aside, and a run that is done twice begins a second log.
    assert not list(tmp_path.rglob("result-*.json"))
    done_by = [sum(record.command[-1] == f"seed={seeds}" for record in records) for seeds in SEEDS]
    not_done = [
        sum(map(int, re.findall(r"^(\d+) of 6 were done by other processes", text, re.MULTILINE))) for text in printed
    ]
    assert [done + other for done, other in zip(done_by, not_done, strict=True)] == [6, 6]
    first, second = (re.findall(r"^ *bitfit .*$", text, re.MULTILINE) for text in printed)
    assert len(first) == 1
    assert first == second
    # Each knows the other's command, and Hydra's own file is that of one of them.
    assert len(commands_of(tmp_path / "out")) == 2
    assert yaml.safe_load((tmp_path / "out" / "multirun.yaml").read_text())["hydra"]["overrides"]["task"]
