"""A finished run, rebuilt: a plain model with its weights, those along its way, and the loss that it was tuned by."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from peftlab.backbones.loading import Backbone, load_backbone
from peftlab.cache import RunCache
from peftlab.data.module import TaskData
from peftlab.delta.delta import Delta, load_delta, read_tensors
from peftlab.errors import prefix_errors, require
from peftlab.options.schema import build
from peftlab.results.record import RunRecord
from peftlab.run_config import DataOptions
from peftlab.strategies.restore import apply_delta, backbone_spec
from peftlab.streams import Stream
from peftlab.tasks.task import Task
from peftlab.training.trajectory import trajectory_files

_OPTION = "--backbone FOLDER"


class TunedRun:
    """A run whose weights can be rebuilt in the space of its backbone's own parameters.

    Args:
        record: of a finished run, read from its folder.
        cache: where the untouched backbone stays for the next model.
        backbone_path: where the backbone's files are, when they come from a folder.

    Raises:
        UserError: the run is not finished, has no id, or no delta.
    """

    def __init__(self, record: RunRecord, cache: RunCache, backbone_path: str | None = None) -> None:
        assert record.folder is not None
        self.record, self.folder, self._cache = record, record.folder, cache
        require(record.status == "finished", f"{self.folder}: its run is {record.status}, not finished")
        require(record.id is not None, f"{self.folder}: its record has no id; run it again")
        self.id = str(record.id)
        self._delta = load_delta(self.folder)
        with prefix_errors(f"{self.folder}: "):
            self._spec = backbone_spec(self.folder, self._delta.facts, backbone_path, _OPTION)

    @property
    def setting(self) -> dict[str, Any]:
        """What runs must share to be compared around one set of examples."""
        data = self.record.config["data"]
        return {
            "task": self.record.task,
            "backbone": self._delta.facts.fingerprint,
            "shots": self.record.shots,
            "seed": self.record.seed if self.record.shots else None,  # it draws the few examples
            "data": self.record.data.get("content_sha256"),
            "data.max_length": data["max_length"],
            "data.holdout": data["holdout"],
        }

    @property
    def steps(self) -> list[int]:
        """The steps after which weights were kept along the way; empty without `checkpoint.trajectory`."""
        return list(trajectory_files(self.folder))

    def rebuild(self, step: int | None = None) -> Backbone:
        """Return the backbone with the weights that the run kept, or those after `step`, merged: a plain model.

        Raises:
            UserError: the method cannot be merged: its weights are no point in the backbone's own space.
        """
        tensors = self._delta.tensors if step is None else read_tensors(trajectory_files(self.folder)[step])
        with prefix_errors(f"{self.folder}: "):
            backbone = load_backbone(self._spec, self._delta.facts.output_layer, seed=0, cache=self._cache)
            apply_delta(Delta(self._delta.facts, tensors), backbone, _OPTION).merge()
        return backbone

    def way(self) -> Iterator[dict[str, Tensor]]:
        """Yield all weights at each of `steps`, by their names in the merged model."""
        for step in self.steps:
            yield {name: parameter.detach() for name, parameter in self.rebuild(step).model.named_parameters()}

    def data(self, backbone: Backbone, root: str | None) -> TaskData:
        """Return the data that the run was tuned on.

        Args:
            backbone: its tokenizer is used.
            root: where the files are now, if elsewhere than then.

        Raises:
            UserError: they are not there, or hold something else.
        """
        config = self.record.config
        options = build(DataOptions, {**config["data"], **({"root": root} if root else {})}, "data")
        data = TaskData(
            Task.from_config(config["task"]),
            backbone.processor,
            root=options.folder,
            shots=self.record.shots,
            seed=self.record.seed,
            batch_size=None,
            eval_batch_size=options.eval_batch_size,
            max_length=options.max_length,
            holdout=options.holdout,
            cache_dir=options.cache,
        )
        data.setup()
        same = data.describe()["content_sha256"] == self.record.data.get("content_sha256")
        require(same, f"data.root={options.root}: not the data that {self.folder} was tuned on")
        return data


class FixedLoss:
    """The mean loss of a model over fixed examples, each time it is called; in evaluation mode and float32.

    Args:
        backbone: whose model is asked; it stays where it is.
        data: whose training examples are taken, as they were trained on.
        count: how many of them, all if there are fewer.
        seed: draws them.
    """

    def __init__(self, backbone: Backbone, data: TaskData, count: int, seed: int, batch_size: int = 64) -> None:
        backbone.model.eval()
        self._loss, self._terms = data.loss_of(backbone), data.kind.loss_terms
        examples = data.sample(count, seed, "shots", Stream.LANDSCAPE)
        self._batches = list(data.batches(examples, batch_size, backbone.model.device, "longest"))

    @torch.inference_mode()
    def __call__(self) -> float:
        """Return the loss at the model's present weights."""
        total, count = 0.0, 0.0
        for batch in self._batches:
            terms = float(self._terms(batch))
            total, count = total + float(self._loss(batch)) * terms, count + terms
        return total / count


def check_together(runs: Sequence[TunedRun]) -> None:
    """Refuse runs that no single set of examples belongs to.

    Raises:
        UserError: naming the first two that differ, and in what.
    """
    first = runs[0]
    for run in runs[1:]:
        for name, value in run.setting.items():
            was = first.setting[name]
            require(value == was, f"{run.folder}: {name} is {_told(value)}, that of {first.folder} is {_told(was)}")
        require(run.id != first.id, f"{run.folder} and {first.folder}: the same run twice")


def _told(value: Any) -> str:
    return "another" if isinstance(value, Mapping) else str(value)
