"""What each pinned run gives, and the file that keeps it: `python tests/pins/recording.py` writes it anew.

Numbers are the same bit for bit on the same kind of processor with the same libraries; `MACHINE` says which they were.
"""

import csv
import hashlib
import json
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from peftlab.results.environment import device_name  # noqa: E402
from peftlab.run import run  # noqa: E402
from pins.cases import Case, cases  # noqa: E402
from runs import SILENT, composed, write_rte, write_split  # noqa: E402

FILE = HERE / "pins.json"
PAIRS = ["a bird sang\ta dog slept", "every bird sang\tsome sparrow sang", "no dog ran\ta puppy ran", "it\tit did"]


def machine() -> dict[str, str]:
    """Return what the last bit of a float depends on: the processor and the libraries."""
    processor = device_name("cpu").rpartition(" (")[0]
    libraries = {name: version(name) for name in ("torch", "transformers", "peft", "tokenizers")}
    return {"processor": processor, "kernels": torch.backends.cpu.get_cpu_capability(), **libraries}


def write_release(root: Path) -> Path:
    """Write a made-up RTE, STS-B and MNLI in the layout of the GLUE release, and return its folder."""
    write_rte(root)
    scores = [f"{PAIRS[i % 4]} {i}\t{i % 6}.5" if i % 6 < 5 else f"{PAIRS[i % 4]}\t5.0" for i in range(40)]
    labels = ("entailment", "neutral", "contradiction")
    rows = [f"{PAIRS[i % 4]} {i}\t{labels[i % 3]}" for i in range(40)]
    for name in ("train.tsv", "dev.tsv"):
        write_split(root / "STS-B" / name, "sentence1\tsentence2\tscore", scores)
    for name in ("train", "dev_matched", "dev_mismatched"):
        write_split(root / "MNLI" / f"{name}.tsv", "sentence1\tsentence2\tgold_label", rows[len(name) :])
    return root


def measure(case: Case, release: Path, folder: Path) -> dict[str, Any]:
    """Do a run and return its pins: the loss of each step, metrics, counts, and hashes of selection and delta."""
    torch.set_num_threads(1)
    where = f"data.root={release} data.cache_dir=null trainer.log_every_n_steps=1 {SILENT}"
    record = run(composed(f"+strategy={case.strategy} {case.overrides} {where}"), folder)
    assert record.metric is not None
    assert record.parameters is not None
    own = record.config["task"]["metrics"]  # what is computed beside them stands on the same predictions
    further = {key: value for key, value in record.metric.further.items() if key.partition("/")[2] in own}
    with (folder / "metrics.csv").open(newline="") as file:
        losses = [float(row["train/loss_step"]) for row in csv.DictReader(file) if row.get("train/loss_step")]
    return {
        "losses": losses,
        "metrics": {"validation": record.metric.validation, "test": record.metric.test, **further},
        "collapsed": record.collapsed,
        "counts": [record.parameters.total, record.parameters.tuned, record.parameters.classifier],
        "selection": {path.name: sha256(path) for path in sorted(folder.glob("*")) if path.name in SELECTIONS},
        "heads": (record.selection or {}).get("heads"),
        "delta": sha256(folder / "delta.safetensors"),
    }


SELECTIONS = ("selection.json", "child_network.safetensors")


def sha256(path: Path) -> str:
    """Return the first 16 hex digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def record_all() -> dict[str, Any]:
    """Return the pins of all cases."""
    with tempfile.TemporaryDirectory() as made:
        release = write_release(Path(made) / "glue")
        found = {case.name: measure(case, release, Path(made) / str(i)) for i, case in enumerate(cases())}
    return {"machine": machine(), "runs": found}


if __name__ == "__main__":
    pins = record_all()
    lines = [f"  {json.dumps(name)}: {json.dumps(run_)}" for name, run_ in pins["runs"].items()]
    FILE.write_text(
        f'{{"machine": {json.dumps(pins["machine"])},\n"runs": {{\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8"
    )
