"""A user's own kind of task, one file outside the package: ordered classes, scored by how far answers are off."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peftlab.check.kinds import PROMISES
from peftlab.errors import UserError
from peftlab.registry import load_plugins
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.strategies.restore import restore
from peftlab.tasks.kind import KINDS, TaskKind, kind_of
from peftlab.tasks.task import Task
from runs import SILENT, composed, write_split

SOURCE = '''
"""Ordinal classification: classes that have an order (Frank & Hall 2001), as one question a threshold."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from peftlab.output_layer import OutputLayer, classes
from peftlab.tasks.kind import KindExample, Metric, Predictions
from peftlab.tasks.kinds.classification import Classification


def mean_absolute_error(predictions):
    """Return by how many classes answers are off, on average."""
    return (_passed(predictions.outputs) - predictions.gold).abs().double().mean().item()


@dataclass(frozen=True)
class Ordinal(Classification):
    """Each output says whether the class lies above a threshold."""

    name = "ordinal"
    metrics = {"mae": Metric(mean_absolute_error, better="lower", unit="")}

    sharpness: float = 1.0

    @property
    def output_layer(self):
        options = classes(self.task.labels[1:]).options
        return OutputLayer(options={**options, "problem_type": "multi_label_classification"})

    def loss(self, outputs, batch):
        thresholds = torch.arange(outputs.logits.shape[-1], device=outputs.logits.device)
        above = (batch["labels"][:, None] > thresholds).float()
        return F.binary_cross_entropy_with_logits(self.sharpness * outputs.logits.float(), above)

    def answers(self, predictions):
        return [self.task.labels[index] for index in _passed(predictions.outputs).tolist()]

    def is_degenerate(self, predictions):
        return len(_passed(predictions.outputs).unique()) == 1

    @classmethod
    def example(cls):
        kind, rows, perfect = super().example()
        outputs = 2.0 * perfect.gold[:, None] - 1.0
        return KindExample(kind, rows, Predictions(perfect.ids, outputs, perfect.gold))


def _passed(outputs):
    return (outputs > 0).sum(-1)
'''
LABELS = ["poor", "fair", "good"]


TASK = {
    "name": "reviews",
    "kind": "ordinal",
    "labels": LABELS,
    "metrics": ["mae"],
    "options": {"sharpness": 2.0},
    "files": {
        "folder": "REVIEWS",
        "text": ["text"],
        "label": "stars",
        "labels": ["1", "2", "3"],
        "splits": {"train": "train.tsv", "validation": "dev.tsv"},
    },
}


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Write the user's file into a folder of Python's path, and load it as a configuration's `plugins` would."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "my_ordinal_kind.py").write_text(SOURCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        load_plugins(["my_ordinal_kind"])
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, size in (("train.tsv", 40), ("dev.tsv", 24)):
        # Most are good: whoever learns but that is less often wrong than an untrained model.
        stars = [(3, 3, 3, 2, 1)[number % 5] for number in range(size)]
        rows = [f"{'abc'[star - 1] * 12} {number}\t{star}" for number, star in enumerate(stars)]
        write_split(folder / "REVIEWS" / name, "text\tstars", rows)
    return folder


def done(strategy: str, root: Path, folder: Path, options: str = "") -> RunRecord:
    few = "trainer=cpu trainer.max_epochs=6 data.max_length=32 data.cache_dir=null training.batch_size=8"
    scored = "strategy.n=8" if strategy == "hifi" else ""
    config = composed(
        f"+strategy={strategy} task=demo backbone=tiny {few} training.learning_rate=0.001 data.root={root} {SILENT} "
        f"{scored} {options}"
    )
    return run({**config, "task": TASK}, folder)


def test_it_is_found_by_its_name_and_its_options_are_checked() -> None:
    assert "ordinal" in KINDS.names()
    assert kind_of(Task.from_config(TASK)).sharpness == 2.0
    with pytest.raises(UserError, match=r"task.options.sharpnes: no such option \(did you mean sharpness\?\)"):
        kind_of(Task.from_config({**TASK, "options": {"sharpnes": 2.0}}))
    with pytest.raises(UserError, match=r"task=reviews: metrics=accuracy; allowed are mae"):
        kind_of(Task.from_config({**TASK, "metrics": ["accuracy"]}))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_what_every_kind_promises(promise: Callable[[type[TaskKind]], None]) -> None:
    promise(KINDS.get("ordinal"))


@pytest.mark.parametrize("strategy", ["hifi", "lora"])
def test_a_run_keeps_the_epoch_with_the_lowest_error_and_records_the_direction(
    strategy: str, root: Path, tmp_path: Path
) -> None:
    record = done(strategy, root, tmp_path)
    errors = [row["validation/mae"] for row in record.curve]
    assert record.training.best_epoch == errors.index(min(errors)) + 1 != errors.index(max(errors)) + 1
    metric = RunRecord.read(tmp_path).metric
    assert (metric.name, metric.better, metric.unit) == ("mae", "lower", "")
    assert metric.validation == pytest.approx(min(errors))
    assert restore(tmp_path).backbone.model.config.num_labels == len(LABELS) - 1


def test_shots_are_drawn_from_each_of_its_classes(root: Path, tmp_path: Path) -> None:
    record = done("bitfit", root, tmp_path, "shots=16 shots.per_class=3")
    assert record.data["examples"] == {"train": 9, "validation": 9, "test": 24}
    assert record.metric.test is not None
