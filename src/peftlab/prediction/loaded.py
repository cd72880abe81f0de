"""A finished run's model, ready to be asked: `peftlab.load(RUN).predict(examples)`."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset, Features
from torch import Tensor

from peftlab.backbones.forward import inputs_of, num_sequences
from peftlab.backbones.loading import Backbone
from peftlab.backbones.modality import encoder_for
from peftlab.data.batching import cut, longest_first
from peftlab.errors import prefix_errors, require
from peftlab.inputs.encoder import Batch, Encoder, num_examples, to_device
from peftlab.options.schema import build
from peftlab.prediction.given import Given, from_items
from peftlab.results.record import RunRecord
from peftlab.run_config import DataOptions
from peftlab.strategies.restore import restore
from peftlab.tasks.kind import Predictions, TaskKind, kind_of
from peftlab.tasks.task import Task

BATCH_SIZE = 32
CHUNK = 4096  # examples that are in memory at a time, among which those of like length share a batch
SEQUENCES = 64  # that go through the model at a time: one question may have hundreds of windows


@dataclass(frozen=True)
class Chunk:
    """Examples that were predicted together, in the order in which they were given.

    Attributes:
        rows: as the kind's `columns` have them.
        labelled: the places of those that have a label.
        predictions: of all; the right answers of the others mean nothing.
    """

    rows: Sequence[Mapping[str, Any]]
    labelled: list[int]
    predictions: Predictions


@dataclass(frozen=True)
class LoadedRun:
    """A tuned model with all that its task knows; `load` makes it.

    Attributes:
        record: of the run.
        kind: the owner of everything from a row to an answer.
        backbone: tuned, merged where the method merges, in evaluation mode.
        encoder: turns rows into what the model reads, as in training.
    """

    record: RunRecord
    kind: TaskKind
    backbone: Backbone = field(repr=False)
    encoder: Encoder = field(repr=False)

    def predict(self, examples: Iterable[Any], batch_size: int = BATCH_SIZE) -> list[dict[str, Any]]:
        """Return what the model says of each example, in their order: `label` and `probabilities`, `score`, and so on.

        Args:
            examples: each a text, a tuple such as a pair of texts or (question, context), or a table with the columns
                of the task's own files or of its kind; labels are not needed.
            batch_size: examples that go through the model together.

        Raises:
            UserError: an example that is none of the task.
        """
        chunks = self.stream(from_items(self.kind, examples), batch_size)
        return [one for chunk in chunks for one in self.details(chunk)]

    def details(self, chunk: Chunk) -> list[dict[str, Any]]:
        """Return each prediction of a chunk in plain values, the answer first."""
        return self.kind.details(chunk.predictions, chunk.rows)

    def stream(
        self, given: Iterable[Given], batch_size: int = BATCH_SIZE, tell: Callable[[int], object] = int
    ) -> Iterator[Chunk]:
        """Yield the predictions of any number of examples, in their order; few of them are in memory at a time.

        Args:
            given: the examples.
            batch_size: how many go through the model together.
            tell: is told after each batch how many it held.

        Raises:
            UserError: an example that is none of the task, or a `batch_size` under 1.
        """
        require(batch_size >= 1, f"batch size {batch_size}: allowed are whole numbers from 1")
        rest = iter(given)
        while part := list(islice(rest, CHUNK)):
            yield self._chunk(part, batch_size, tell)

    @torch.inference_mode()
    def _chunk(self, part: Sequence[Given], batch_size: int, tell: Callable[[int], object]) -> Chunk:
        rows = self._rows([one.row for one in part])
        split = self.kind.encode(rows, self.encoder)
        found = []
        for numbers in cut(longest_first(split.lengths), batch_size):
            batch = self.kind.collate([split[number] for number in numbers], self.encoder)
            batch = to_device(batch, self.backbone.model.device)
            found.append(self.kind.predict(self._outputs(batch), batch))
            tell(len(numbers))
        joined = found[0].joined(found)
        ordered = joined.select(joined.ids.argsort().tolist())
        return Chunk(list(rows), [place for place, one in enumerate(part) if one.labelled], ordered)

    def _rows(self, rows: Sequence[Mapping[str, Any]]) -> Dataset:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        features = Features(**{name: self.kind.columns[name] for name in columns})
        made = {name: [row.get(name) for row in rows] for name in columns}
        return self.kind.admit(Dataset.from_dict(made, features=features), "prediction")

    def _outputs(self, batch: Batch) -> Any:
        """Return what the model gives for a batch, some sequences at a time where examples have many."""
        inputs = inputs_of(self.backbone, batch)
        number = num_sequences(inputs)
        most = max(SEQUENCES, num_examples(batch))
        if number <= most:
            return self.backbone.model(**inputs)
        pieces = [slice(begin, begin + most) for begin in range(0, number, most)]
        parts = [self.backbone.model(**{name: value[piece] for name, value in inputs.items()}) for piece in pieces]
        tensors = [name for name, value in parts[0].items() if isinstance(value, Tensor)]
        return SimpleNamespace(**{name: torch.cat([part[name] for part in parts]) for name in tensors})


def load(
    run: str | Path, backbone: str | None = None, device: str | None = None, option: str = "backbone=FOLDER"
) -> LoadedRun:
    """Load a finished run's model: its delta on its backbone, merged where the method merges, in float32.

    No code comes from the folder: the method, the kind and the architecture are those that are installed, or of a
    package that was loaded before (`peftlab.registry.load_plugins`).

    Args:
        run: the run's folder.
        backbone: where the backbone's files are, when they come from a folder and are no longer where the run found
            them.
        device: where the model is put; the GPU if there is one, unless it is given.
        option: what names the backbone's folder, for messages.

    Raises:
        UserError: the run is not finished, or something does not fit; names the folder.
    """
    folder = Path(run).expanduser()
    record = RunRecord.read(folder)
    require(record.status == "finished", f"{folder}: its run is {record.status}, not finished")
    with prefix_errors(f"{folder}: "):
        kind = kind_of(Task.from_config(_table(record, "task")))
        length = build(DataOptions, _table(record, "data"), "data").max_length
    attached = restore(folder, backbone, option)
    if attached.unmergeable() is None:
        attached.merge()
    tuned = attached.backbone
    tuned.model.eval().to(_device(device))
    return LoadedRun(record, kind, tuned, encoder_for(tuned.processor, length))


def _table(record: RunRecord, name: str) -> Mapping[str, Any]:
    found = record.config.get(name)
    require(isinstance(found, Mapping), f"its record does not say its {name}")
    assert isinstance(found, Mapping)
    return found


def _device(name: str | None) -> torch.device:
    try:
        found = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError:
        found = None
    require(found is not None, f"device {name}: allowed are those of torch, as cpu, cuda or cuda:1")
    assert found is not None
    return found
