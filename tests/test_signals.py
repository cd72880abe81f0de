"""Ctrl-C, SIGTERM and SIGUSR2 end a command cleanly, and the same command resumes."""

import os
import signal
import sys
from pathlib import Path

import pytest

from peftlab import cli
from peftlab.results.record import RunRecord
from peftlab.training.module import FineTuning
from runs import SILENT, SMALL


def command(folder: Path, number: int | None = None) -> int:
    """Run a command of four steps in a process that sends itself a signal in its third; return its exit code."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    train = FineTuning.training_step

    def training_step(module, batch, index):
        if index == 2 and number is not None:
            os.kill(os.getpid(), number)
        return train(module, batch, index)

    FineTuning.training_step = training_step
    steps = "trainer.max_steps=4 data.cache_dir=null checkpoint.every_epoch=false"
    arguments = f"+strategy=bitfit task=demo {SMALL} {SILENT} {steps} hydra.run.dir={folder}"
    sys.argv = ["train.py", *arguments.split()]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        cli.main()
    except SystemExit as end:
        os._exit(int(str(end.code)))
    finally:
        os._exit(99)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR2, 140)])
def test_a_signal_is_an_exit_code_and_the_same_command_goes_on(number, code, tmp_path):
    assert command(tmp_path / "run", number) == code
    assert RunRecord.read(tmp_path / "run").status == "interrupted"
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()
    assert command(tmp_path / "run") == 0
    record = RunRecord.read(tmp_path / "run")
    assert (record.status, record.resumed, record.training.steps) == ("finished", 1, 4)
