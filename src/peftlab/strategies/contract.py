"""What every way of tuning a backbone promises: its options and the facts about it.

A strategy is a frozen dataclass whose fields are its options (`conf/strategy/<name>.yaml`). It may look at data before
training (`select`), and attaches itself to a backbone, which gives the live thing: `Attached` (`attached.py`). Nothing
else in the house asks which strategy it holds.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView
from peftlab.data.batching import Order
from peftlab.inputs.encoder import Batch, Split
from peftlab.strategies.attached import Attached
from peftlab.strategies.traits import Traits
from peftlab.streams import Stream
from peftlab.tasks.kind import TaskKind


class Examples(Protocol):
    """Training examples that a strategy may look at: a task's (`data/module.py`), or those that a user hands over."""

    @property
    def batch_size(self) -> int:
        """The number of examples in a training batch."""
        ...

    def sample(
        self, n: int | None, seed: int, pool: Literal["full", "shots"] = "full", stream: Stream = Stream.SAMPLE
    ) -> Split:
        """Return n examples, drawn by `seed` without replacement; all where there are fewer, or n is None."""
        ...

    def batches(self, examples: Split, size: int, device: torch.device, order: Order = "given") -> Iterator[Batch]:
        """Yield the examples in batches of `size` on `device`."""
        ...

    def loss_of(self, backbone: Backbone) -> Callable[[Batch], Tensor]:
        """Return the function that gives the mean loss of a batch, a scalar, as the backbone now is."""
        ...


@dataclass(frozen=True)
class SelectionContext:
    """What a strategy may look at before training: the untouched backbone, on `device`, and training examples."""

    backbone: Backbone
    data: Examples
    seed: int
    device: torch.device


class Selection(Protocol):
    """What a look at the data decided: HiFi's heads, Child-Tuning's mask. `files` names what `save` writes."""

    files: ClassVar[tuple[str, ...]]

    def save(self, folder: Path) -> list[Path]:
        """Write the selection into a run's folder; return its files, the one that `load` reads first."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the few facts that belong into the run's record."""
        ...

    def summary(self) -> str:
        """Return what was chosen, and by what, in a line for the terminal."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return what `delta.json` keeps, as plain values: what is needed to attach again."""
        ...

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the selection in a run's folder, or a file of it; raises UserError naming the file."""
        ...

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Any:
        """Return what `attach` takes as selection, from `facts`."""
        ...

    @classmethod
    def fingerprint(cls, path: Path) -> str | None:
        """Return the SHA-256 of the selection that a folder or file holds; None where there is none."""
        ...


@dataclass(frozen=True)
class Strategy(ABC):
    """One way of tuning a backbone: its options, and how it attaches itself."""

    name: ClassVar[str]
    selection_type: ClassVar[type[Selection] | None] = None

    @property
    def traits(self) -> Traits:
        """The facts about this strategy with these options."""
        return Traits()

    @property
    def recipe(self) -> str:
        """The row of `conf/recipe/<backbone>.yaml` that holds this strategy's batch sizes and learning rates."""
        return self.name

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Return why the method does not fit this backbone or this kind of task, in a line; None where it does.

        Such a run is recorded as skipped, which is no failure: no other option of the user's would make it fit.
        """
        return None

    def fitted(self, backbone: Backbone) -> Self:
        """Return the strategy with numbers for those options that follow from the backbone. Default: as it is."""
        return self

    def check(self, backbone: Backbone) -> None:
        """Raise `UserError` when an option does not fit the backbone; called before any data is read, when fitted."""

    def select(self, context: SelectionContext) -> Selection | None:
        """Look at data before training. Default: nothing."""
        return None

    @abstractmethod
    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Freeze the backbone, free the classifier, and put this strategy's parameters in place.

        Args:
            backbone: untouched; what comes back holds it until `merge` or `detach`.
            selection: what `select` gave, or what `Selection.from_facts` made of a stored delta.

        Raises:
            UserError: there is nothing to tune, or the selection is for another backbone; it is then left as it was.
        """

    def given_options(self) -> dict[str, Any]:
        """Return the options as plain values, without paths of this machine."""
        fields = [field for field in dataclasses.fields(self) if not field.metadata.get("path")]
        return {field.name: getattr(self, field.name) for field in fields}
