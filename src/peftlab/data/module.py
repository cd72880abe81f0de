"""One LightningDataModule for every task, full or few-shot."""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from peftlab.backbones.forward import outputs_of
from peftlab.backbones.loading import Backbone
from peftlab.backbones.modality import Processor, encoder_for
from peftlab.cache import RunCache
from peftlab.data.batching import ORDERS, LengthGroupedBatches, Order, cut, evaluation_batches
from peftlab.data.raw_splits import RawSplits, read_raw_splits
from peftlab.data.shots import few_shot, hold_out, one_sided
from peftlab.errors import prefix_errors, require
from peftlab.inputs.encoder import Batch, Split, to_device
from peftlab.streams import Stream, seed_of
from peftlab.tasks.kind import kind_of
from peftlab.tasks.task import Task

log = logging.getLogger(__name__)

Loader = DataLoader[Batch]


class TaskData(LightningDataModule):
    """The encoded splits of a task and their loaders.

    Without `shots`, `train` and `validation` are the original sets. With `shots=k`, both are drawn from the
    original training set, k examples a class each, and the original validation sets become `test` (MNLI's
    mismatched one `test_mismatched`); the batch is then the whole training set unless `batch_size` is given.

    Args:
        task: what to load.
        processor: the backbone's tokenizer, or its image processor.
        root: folder of the GLUE release; None for the Hub.
        shots: examples a class, or None for the full sets.
        seed: draws the shots and orders the training batches.
        batch_size: training examples in a batch; None: the few-shot training set, or 32.
        eval_batch_size: examples in a batch of evaluation.
        max_length: longest example in tokens; images have one size.
        num_workers: loader processes; 0 loads in the main one.
        length_grouped: batch training examples of like length together.
        holdout: share of the training set that stands in for the validation sets, which are then not looked at: for
            choosing hyper-parameters. The same examples whatever the seed, and whatever their class: one that is
            missing on either side is warned of.
        cache_dir: where tokenised splits are kept; None keeps nothing.
        cache: what the runs of this process share.
        raw: the splits as their source has them, where they have been read already.

    Raises:
        UserError: sizes out of range, or a `max_length` that the tokenizer does not allow.
    """

    def __init__(
        self,
        task: Task,
        processor: Processor,
        *,
        root: Path | None,
        shots: int | None,
        seed: int,
        batch_size: int | None,
        eval_batch_size: int = 64,
        max_length: int = 128,
        num_workers: int = 0,
        length_grouped: bool = True,
        holdout: float | None = None,
        cache_dir: Path | None,
        cache: RunCache | None = None,
        raw: RawSplits | None = None,
    ) -> None:
        super().__init__()
        require(holdout is None or 0 < holdout < 1, f"data.holdout={holdout}: allowed is a share in (0, 1), or null")
        require(holdout is None or shots is None, "data.holdout: few shots hold out validation examples already")
        for name, value in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            require(value is None or value >= 1, f"data.{name}={value}: allowed are whole numbers from 1")
        self.task, self.kind = task, kind_of(task)
        self.encoder = encoder_for(processor, max_length, cache_dir)
        self.splits: dict[str, Split] = {}
        self._root, self._shots, self._seed = root, shots, seed
        self._batch_size, self._eval_batch_size = batch_size, eval_batch_size
        self._num_workers, self._length_grouped = num_workers, length_grouped
        self._holdout = holdout
        self._cache = cache or RunCache()
        self._raw = raw
        self._full_train: Split | None = None
        self._facts: dict[str, Any] = {}
        self._rows: dict[str, Dataset] = {}
        self._begin = (0, 0)

    def setup(self, stage: str | None = None) -> None:
        """Read, draw and encode all splits; a second call does nothing."""
        if self.splits:
            return
        raw = self._raw or read_raw_splits(self.task, self._root, self._cache)
        encoded = self._encode(raw)
        self._full_train = encoded["train"]
        places = self._divide(raw.splits)
        self._rows = {
            name: raw.splits[origin] if rows is None else raw.splits[origin].select(rows)
            for name, (origin, rows) in places.items()
        }
        self._facts = self._describe(raw)
        self.splits = {
            name: encoded[origin] if rows is None else encoded[origin].select(rows)
            for name, (origin, rows) in places.items()
        }

    def _encode(self, raw: RawSplits) -> dict[str, Split]:
        options = tuple(sorted(self.task.options.items()))
        key = (*raw.hashes.items(), self.kind.name, str(options), self.encoder.fingerprint())
        return self._cache.get(
            "tokens",
            key,
            lambda: {name: self.kind.encode(split, self.encoder) for name, split in raw.splits.items()},
        )

    def _divide(self, raw: dict[str, Dataset]) -> dict[str, tuple[str, list[int] | None]]:
        """Return what each split is made of: an original set and the rows taken from it, None for all."""
        train = raw["train"]
        if self._shots is not None:
            with prefix_errors(f"shots={self._shots}: "):
                strata = self.kind.strata(train) or [list(range(len(train)))]
            chosen, held_out = few_shot(strata, self._shots, self._seed)
            # A labelled test set stays what it is; where there is none, the validation sets take its place.
            evaluated = [name for name in raw if name.startswith("test")] or [name for name in raw if name != "train"]
            tests: dict[str, tuple[str, list[int] | None]] = {
                name.replace("validation", "test"): (name, None) for name in evaluated
            }
            return {"train": ("train", chosen), "validation": ("train", held_out), **tests}
        if self._holdout is not None:
            chosen, held_out = hold_out(len(train), self._holdout)
            strata = (self.kind.strata(train) if self.task.labels else None) or []
            for told in one_sided(dict(zip(self.task.labels, strata, strict=False)), held_out):
                log.warning("data.holdout=%g: %s", self._holdout, told)
            return {"train": ("train", chosen), "validation": ("train", held_out)}
        places: dict[str, tuple[str, list[int] | None]] = {name: (name, None) for name in raw}
        return places if self.has_validation else {**places, "validation": ("train", None)}

    @property
    def has_validation(self) -> bool:
        """Whether there are examples to choose an epoch by; where not, `validation` is the training set."""
        drawn = self._shots is not None or self._holdout is not None
        return drawn or self.task.has_validation

    @property
    def batch_size(self) -> int:
        """Return the number of examples in a training batch."""
        if self._batch_size is not None:
            return self._batch_size
        return 32 if self._shots is None else len(self.splits["train"])

    @property
    def validation_names(self) -> list[str]:
        """Return the splits of `val_dataloader`, in its order."""
        return [name for name in self.splits if name.startswith("validation")]

    @property
    def test_names(self) -> list[str]:
        """Return the splits of `test_dataloader`, in its order; empty without shots, as test labels are hidden."""
        return [name for name in self.splits if name.startswith("test")]

    def train_dataloader(self) -> Loader:
        """Return the training batches, ordered by the seed and the epoch."""
        split = self.splits["train"]
        # Lightning takes the first batches of an epoch for those to overfit: they must be the same in each.
        fixed = getattr(self.trainer, "overfit_batches", 0) > 0
        order = (split.lengths, self.batch_size, self._seed, self._length_grouped)
        return self._loader(split, LengthGroupedBatches(*order, begin=self._begin, fixed=fixed))

    def begin_at(self, epoch: int, batch: int) -> None:
        """Let training begin at a batch of an epoch, both counted from 0: where it was interrupted."""
        self._begin = (epoch, batch)

    def val_dataloader(self) -> list[Loader]:
        """Return a loader for each of `validation_names`."""
        limit = self.trainer.limit_val_batches if self.trainer is not None else 1.0
        return [self._evaluation_loader(name, limit) for name in self.validation_names]

    def test_dataloader(self) -> list[Loader]:
        """Return a loader for each of `test_names`."""
        limit = self.trainer.limit_test_batches if self.trainer is not None else 1.0
        return [self._evaluation_loader(name, limit) for name in self.test_names]

    def sample(
        self, n: int | None, seed: int, pool: Literal["full", "shots"] = "full", stream: Stream = Stream.SAMPLE
    ) -> Split:
        """Return n training examples, drawn by `seed` without replacement; all of the pool where it has fewer.

        Args:
            n: how many, at least 1; the result's length tells how many there were. None: all.
            seed: decides the draw.
            pool: with few shots the original training set, which the few validation examples are drawn from too, or
                the few that are trained on. Examples that `holdout` holds out are in neither.
            stream: what they are drawn for; each has a draw of its own.
        """
        require(n is None or n >= 1, f"n={n}: allowed are whole numbers from 1")
        self.setup()
        assert self._full_train is not None
        found = self._full_train if pool == "full" and self._shots is not None else self.splits["train"]
        if n is not None and n > len(found):
            log.warning("n=%d: the training set (%s) has %d examples; all are taken", n, pool, len(found))
        generator = torch.Generator().manual_seed(seed_of(stream, seed))
        order = torch.randperm(len(found), generator=generator)
        return found.select(order[:n].tolist())

    def batches(self, examples: Split, size: int, device: torch.device, order: Order = "given") -> Iterator[Batch]:
        """Yield the examples in batches of `size` on `device`: as they stand, by length, or over and over."""
        for chosen in cut(ORDERS[order](examples.lengths), size):
            yield to_device(self.kind.collate([examples[index] for index in chosen], self.encoder), device)

    def loss_of(self, backbone: Backbone) -> Callable[[Batch], Tensor]:
        """Return the function that gives the task's mean loss of a batch, a scalar, as the backbone now is."""
        return lambda batch: self.kind.loss(outputs_of(backbone, batch), batch)

    def describe(self) -> dict[str, Any]:
        """Return the facts for a run's record: sizes, truncation, source, content, overlap, empty examples."""
        read = {name: split.num_sequences for name, split in self.splits.items()}
        several = {name: number for name, number in read.items() if number != len(self.splits[name])}
        return {
            "examples": {name: len(split) for name, split in self.splits.items()},
            **({"sequences": several} if several else {}),
            "truncated_share": {name: split.truncated_share for name, split in self.splits.items()},
            **self.encoder.describe(),
            "batch_size": self.batch_size,
            **self._facts,
        }

    def titles(self, split: str) -> list[str]:
        """Return what a person knows each example of a split by, its answer left out."""
        return self.encoder.titles(self._rows[split])

    def example_names(self, split: str) -> list[str] | None:
        """Return what the source calls each example of a split; None where it gives no names."""
        rows = self._rows[split]
        names: list[str] | None = rows["id"][:] if "id" in rows.column_names else None
        return names

    def _describe(self, raw: RawSplits) -> dict[str, Any]:
        contents = {name: self.encoder.contents(rows) for name, rows in self._rows.items()}
        seen = set(contents["train"])
        unseen = [name for name in self._rows if name != "train" and (self.has_validation or name != "validation")]
        overlap = {name: sum(content in seen for content in contents[name]) for name in unseen}
        for name, number in overlap.items():
            if number:
                log.warning("%d of the %d examples of %s are training examples too", number, len(contents[name]), name)
        empty = {name: self.encoder.num_empty(rows) for name, rows in self._rows.items()}
        for name, number in empty.items():
            if number:
                log.warning("%d of the %d examples of %s hold no text", number, len(contents[name]), name)
        facts = {"source": raw.source, "content_sha256": raw.hashes, "overlap": overlap, "empty": empty}
        # The task has none: the last epoch is kept.
        return facts if self.has_validation else {**facts, "validation": "the training set"}

    def _evaluation_loader(self, name: str, limit: int | float) -> Loader:
        split = self.splits[name]
        return self._loader(split, evaluation_batches(split.lengths, self._eval_batch_size, limit))

    def _loader(self, split: Split, batches: Iterable[list[int]]) -> Loader:
        return DataLoader(
            split,
            batch_sampler=batches,
            collate_fn=partial(self.kind.collate, encoder=self.encoder),
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            # Of its own: a loader draws once for its workers, and dropout would depend on how many there are.
            generator=torch.Generator(),
        )
