"""Files: each that the laboratory reads, spoilt in every way, through its reader."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from io import StringIO
from pathlib import Path

from datasets import Dataset
from rich.console import Console

import studies
from data.tokenizers_for_tests import small_tokenizer
from fuzzing.cases import Case, draw_of
from fuzzing.hostile import BYTES, Draw, Spoil, header_value, json_value, stand_in, tsv_field
from models import write_backbone
from peftlab.backbones.loading import BackboneSpec, load_backbone
from peftlab.heads.selection import HeadSelection
from peftlab.inputs.tokens import tokenise
from peftlab.masks.child_network import ChildNetwork
from peftlab.outcome import FOLDER, take_outcomes
from peftlab.output_layer import classes
from peftlab.report.command import write as write_report
from peftlab.report.figures.hifi.selections import heads_of
from peftlab.results.found import read_records
from peftlab.results.landscapes import Landscape
from peftlab.results.record import RunRecord
from peftlab.results.table import print_sweep
from peftlab.resume import replayed
from peftlab.run import run
from peftlab.strategies.restore import restore
from peftlab.tasks.sources.splits import load_splits
from peftlab.training.checkpoint_files import SafeCheckpoints, read_checkpoint
from runs import small, write_rte
from tasks.shipped import shipped

TEXTS = Dataset.from_dict({"text_a": ["every bird sang", "no dog swam", "a"], "label": [0, 1, 1]})


@dataclass(frozen=True)
class Reader:
    """A file in a folder of its own, what reads it, and how its content can be spoilt; one of `weight` cases is its."""

    file: str
    read: Callable[[Path], object]
    spoils: list[Spoil] = field(default_factory=list)
    weight: int = 4


def _table(folder: Path) -> None:
    found = read_records([folder])
    found.check_any("no runs")
    print_sweep(found.records, Console(file=StringIO()))


def _report(folder: Path) -> None:
    write_report([folder], folder / "report")


def _heads(folder: Path) -> None:
    for cell in studies.gather([RunRecord.read(folder / "run")]).cells:
        heads_of(cell)


def _tokens(folder: Path) -> None:
    split = tokenise(TEXTS, small_tokenizer(), 16, folder)
    assert split.ids.tolist() == tokenise(TEXTS, small_tokenizer(), 16).ids.tolist(), "the cache gave other tokens"


def _backbone(folder: Path) -> None:
    load_backbone(BackboneSpec("mine", path=str(folder)), classes(["yes", "no"]), 1)


READERS = [
    Reader("RTE/train.tsv", partial(load_splits, shipped("rte")), [tsv_field, tsv_field], 6),
    Reader("0-rte-seed1/result.json", _table, [json_value] * 4, 8),
    Reader("1-rte-seed2/result.json", _report, [json_value] * 8, 1),
    Reader("selection.json", HeadSelection.load, [json_value] * 4),
    Reader("run/selection.json", _heads, [json_value] * 4),
    Reader("child_network.safetensors", ChildNetwork.load, [header_value] * 3),
    Reader("last.safetensors", lambda folder: read_checkpoint(folder / "last.safetensors"), [header_value] * 3),
    Reader("delta.json", restore, [json_value] * 6),
    Reader("delta.safetensors", restore, [header_value] * 3),
    Reader("landscape.json", lambda folder: Landscape.read(folder / "landscape.json"), [json_value] * 4),
    Reader("tokens", _tokens, [header_value] * 3),
    Reader(".hydra/hydra.yaml", lambda folder: replayed([f"resume={folder}"]), [json_value] * 3),
    Reader(f"{FOLDER}/token/0.json", lambda folder: take_outcomes(folder, "token"), [json_value] * 3),
    Reader("config.json", _backbone, [json_value] * 6),
    Reader("tokenizer.json", _backbone, [json_value] * 3, 2),
    Reader("model.safetensors", _backbone, [header_value] * 3, 2),
]


class Files:
    """The cases of the piece; `made` is a folder for one good copy of all, `work` for the spoilt one."""

    def __init__(self, folder: Path) -> None:
        self.made, self.work = folder / "made", folder / "work"
        for number, reader in enumerate(READERS):
            _make(self.made / str(number), reader.file)
        self._of = [number for number, reader in enumerate(READERS) for _ in range(reader.weight)]

    def case(self, seed: int, number: int) -> Case:
        """Return a case; its file is spoilt when it is done."""
        draw = draw_of("files", seed, number)
        chosen = self._of[draw.randrange(len(self._of))]
        reader = READERS[chosen]
        spoils = [*BYTES, *reader.spoils, None]
        spoil = draw.choice(spoils)
        name = f"{reader.file} {spoil.__name__ if spoil else 'stand-in'}"
        return Case(name, partial(self._do, chosen, spoil, draw))

    def _do(self, chosen: int, spoil: Spoil | None, draw: Draw) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.made / str(chosen), self.work)
        reader = READERS[chosen]
        path = next(self.work.glob("*.safetensors")) if reader.file == "tokens" else self.work / reader.file
        if spoil is None:
            stand_in(path, draw)
        else:
            path.write_bytes(spoil(path.read_bytes(), draw))
        reader.read(self.work)


def _make(folder: Path, file: str) -> None:
    """Fill a folder with what a reader reads, as the laboratory itself writes it."""
    folder.mkdir(parents=True)
    if file.startswith("RTE/"):
        write_rte(folder, 6, 4)
    elif file.endswith("/result.json"):
        studies.write(folder, studies.runs({"lora": [0.7, 0.8, 0.75], "hifi": [0.6, 0.65, 0.7]}))
    elif file in ("selection.json", "delta.json", "delta.safetensors"):
        run(small("data.cache_dir=null", "hifi"), folder)
    elif file == "run/selection.json":
        record = studies.run(0.8, "heads")
        record.write(folder / "run")
        studies.write_selection(record, features=4)
    elif file == "child_network.safetensors":
        run(small("data.cache_dir=null", "child-tuning"), folder)
    elif file == "last.safetensors":
        content = {"epoch": 1, "state_dict": {}, "resumption": {"settings": "{}", "seconds": 1.0}}
        SafeCheckpoints().save_checkpoint(content, folder / file)
    elif file == "landscape.json":
        studies.landscape().write(folder)
    elif file == "tokens":
        _tokens(folder)
    elif file == ".hydra/hydra.yaml":
        (folder / ".hydra").mkdir()
        overrides = {"task": ["+strategy=bitfit", "task=demo", "backbone=tiny"]}
        (folder / file).write_text(json.dumps({"hydra": {"overrides": overrides, "runtime": {"config_sources": []}}}))
    elif file.startswith(FOLDER):
        (folder / FOLDER / "token").mkdir(parents=True)
        content = {"folder": str(folder), "status": "finished", "message": ""}
        (folder / file).write_text(json.dumps(content))
    else:
        write_backbone(folder)
