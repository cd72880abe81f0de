"""Folders: what lies in a run's or a sweep's folder is not what a run left there; it is run, resumed and read again."""

import json
import os
import shutil
from contextlib import suppress
from functools import partial
from io import StringIO
from pathlib import Path

from rich.console import Console

from fuzzing.cases import Case, draw_of
from fuzzing.hostile import BYTES, Draw, header_value, json_value, stand_in
from peftlab.cache import RunCache
from peftlab.errors import UserError
from peftlab.results.found import read_records
from peftlab.results.table import print_sweep
from peftlab.resume import replayed
from peftlab.run import run, run_unless_finished
from peftlab.tensor_files import read_tensor_file, write_tensor_file
from peftlab.training.resumption import Resumption
from runs import small

NAMES = ["result.json", "delta.json", "delta.safetensors", "metrics.csv", "checkpoints", "trajectory", ".hydra", "a\nb"]


class Folders:
    """The cases of the piece: `made` holds a finished run and one that was interrupted."""

    def __init__(self, folder: Path) -> None:
        self.made, self.work, self.cache = folder / "made", folder / "work", RunCache(2)
        self.config = small("data.cache_dir=null checkpoint.trajectory=1 checkpoint.every_steps=1", "bitfit")
        run(self.config, self.made / "finished", self.cache)
        _interrupt(self.config, self.made / "interrupted", self.cache)

    def case(self, seed: int, number: int) -> Case:
        """Return a case: a folder is spoilt in one to three places, then run, resumed or read."""
        draw = draw_of("folders", seed, number)
        state = draw.choice(["finished", "interrupted", "interrupted"])
        act = draw.choice([self._run, self._run, self._read, self._resume])
        return Case(f"{state} {act.__name__.strip('_')} {number}", partial(self._do, state, act, draw))

    def _do(self, state: str, act: "partial[None]", draw: Draw) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.made / state, self.work / "run")
        for _ in range(draw.randint(1, 3)):
            _spoil(self.work / "run", draw)
        act()

    def _run(self) -> None:
        run_unless_finished(self.config, self.work / "run", self.cache)

    def _read(self) -> None:
        found = read_records([self.work])
        found.check_any("no runs")
        print_sweep(found.records, Console(file=StringIO()))

    def _resume(self) -> None:
        replayed([f"resume={self.work / 'run'}"])


def _spoil(folder: Path, draw: Draw) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    act = draw.randrange(5)
    if act == 0 and files:
        stand_in(draw.choice(files), draw)
    elif act == 1:
        path = folder / draw.choice(NAMES)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.mkdir() if draw.random() < 0.5 else path.write_bytes(draw.randbytes(30))
    elif act == 2:
        os.mkfifo(folder / f"pipe-{draw.randrange(10**6)}")
    elif files:
        path = draw.choice(files)
        spoils = BYTES + {".json": [json_value] * 5, ".safetensors": [header_value] * 5}.get(path.suffix, [])
        content = path.read_bytes()
        if path.parent.name == "checkpoints" and draw.random() < 0.5:
            _edit_checkpoint(path, draw)
        elif content:
            path.write_bytes(draw.choice(spoils)(content, draw))


def _edit_checkpoint(path: Path, draw: Draw) -> None:
    """Change one part of a checkpoint, and its hash with it."""
    try:
        file = read_tensor_file(path)
    except UserError:
        return
    facts = json_value(json.dumps(file.facts).encode(), draw)
    tensors = {name: tensor.clone() for name, tensor in file.tensors.items()}
    with suppress(ValueError):
        write_tensor_file(path, tensors, json.loads(facts))


def _interrupt(config: dict[str, object], folder: Path, cache: RunCache) -> None:
    """Leave what a run leaves that is ended after its first checkpoint."""
    save = Resumption._save

    def stop(self: Resumption, trainer: object) -> None:
        save(self, trainer)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    Resumption._save = stop  # type: ignore[method-assign]
    try:
        run(config, folder, cache)
    except KeyboardInterrupt:
        pass
    finally:
        Resumption._save = save  # type: ignore[method-assign]
