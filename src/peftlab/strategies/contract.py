"""What every way of tuning a backbone promises; the only file of this room that others import.

A strategy is a dataclass whose fields are its options (`conf/strategy/<name>.yaml`). It may look at data before
training (`select`), attaches itself to a backbone, names its parameters and their optimiser settings, may add a
penalty to the loss or act around an optimiser step, gives its delta as named tensors, takes it back, and merges
it where the method allows. Nothing else in the house asks which strategy it holds.
"""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.errors import UserError, require

if TYPE_CHECKING:
    from peftlab.data.module import TaskData


Schedule = Literal["run", "decay", "constant"]


@dataclass(frozen=True)
class SelectionContext:
    """What a strategy may look at before training: the untouched backbone and the task's data."""

    backbone: Backbone
    data: "TaskData"
    seed: int
    device: torch.device


class Selection(Protocol):
    """What a look at the data decided: HiFi's heads, Child-Tuning's mask."""

    def save(self, path: Path) -> Path:
        """Write the selection into a run's folder, for reading and for reuse; return the file."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return the few facts that belong into the run's record."""
        ...


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share optimiser settings: by default factors on those of the run.

    `own_rate` stands in place of the run's learning rate. `schedule` is that of the rate: the run's warm-up and decay
    to 0, the decay without warm-up, or none. Gradients of a group that is `clip_separately` have a norm of their own.
    """

    parameters: dict[str, nn.Parameter]
    learning_rate: float = 1.0
    weight_decay: float = 1.0
    own_rate: float | None = None
    schedule: Schedule = "run"
    clip_separately: bool = False


@dataclass
class Strategy(ABC):
    """One way of tuning a backbone; see the module's description for the promises."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        self._backbone: Backbone | None = None
        self._trainable_before: dict[str, bool] = {}

    # What is declared; the contract test holds a strategy to it -------------------------------------------

    @property
    def start_tolerance(self) -> float:
        """How far logits may be from the untouched backbone's after attaching, as a share of its largest logit."""
        return 0.0

    @property
    def tunes_nothing(self) -> bool:
        """Whether it is meant to tune nothing but the classifier."""
        return False

    @property
    def sparse_gradients(self) -> bool:
        """Whether a training step may leave out some of what is tuned, which then has no gradient."""
        return False

    @property
    def mergeable(self) -> bool:
        """Whether the delta can be written into the backbone's own weights."""
        return True

    @property
    def compilable(self) -> bool:
        """Whether `torch.compile` takes the model as the strategy makes it."""
        return True

    @property
    def merge_tolerance(self) -> float:
        """How far logits may move when merging, as a share of the largest logit: a sum in another order."""
        return 0.0

    @property
    def prompt_positions(self) -> int:
        """How many of the backbone's positions stand before the text."""
        return 0

    def num_tuned(self) -> int:
        """Return how many weights are tuned, the classifier's not among them."""
        return sum(p.numel() for p in self.tuned().values())

    def stored_bytes(self) -> int:
        """Return the bytes of the delta's tensors: by default those of the tuned parameters and the classifier."""
        return sum(p.numel() * p.element_size() for p in {**self.tuned(), **self.classifier()}.values())

    # (1) Before training ---------------------------------------------------------------------------------

    def check(self, backbone: Backbone) -> None:
        """Raise `UserError` when an option does not fit the backbone; called before any data is read."""

    def select(self, preparation: SelectionContext) -> Selection | None:
        """Look at data before training; the untouched backbone is on `preparation.device`. Default: nothing."""
        return None

    def load_selection(self, folder: Path) -> Selection | None:
        """Return the selection that a run saved in its `folder`: an interrupted run does not look again."""
        return None

    @property
    def recipe(self) -> str:
        """The row of `conf/recipe/<backbone>.yaml` that holds this strategy's batch sizes and learning rates."""
        return self.name

    # (2) Attaching ---------------------------------------------------------------------------------------

    def attach(self, backbone: Backbone, selection: Any = None) -> None:
        """Freeze the backbone, free the classifier, and put this strategy's parameters in place.

        Raises:
            UserError: there is nothing to tune.
        """
        assert self._backbone is None, "a strategy is attached once"
        self._trainable_before = {name: p.requires_grad for name, p in backbone.model.named_parameters()}
        backbone.model.requires_grad_(False)
        self._backbone = backbone
        self._attach(backbone, selection)
        tunes = bool(self.tuned()) or self.tunes_nothing
        require(tunes, f"strategy {self.name}: there is nothing to tune in backbone {backbone.name}")
        for parameter in self.classifier().values():
            parameter.requires_grad_(True)

    @abstractmethod
    def _attach(self, backbone: Backbone, selection: Any) -> None:
        """Wrap, insert or unfreeze; the whole backbone is frozen when this is called."""

    def detach(self) -> None:
        """Take this strategy out again: pretrained weights, structure and `requires_grad` as before attaching."""
        self._detach(self.backbone)
        self._release()

    @abstractmethod
    def _detach(self, backbone: Backbone) -> None:
        """Undo `_attach`."""

    def train_mode(self) -> None:
        """Switch the model to training mode: dropout everywhere, unless a method says otherwise."""
        self.backbone.model.train()

    # (3) Parameters --------------------------------------------------------------------------------------

    @abstractmethod
    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the tuned parameters by name; the classifier is not among them."""

    def classifier(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the task's output layer by name."""
        return dict(self.backbone.view.classifier_parameters())

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return all trained parameters with their optimiser settings; vectors (biases, norms) do not decay."""
        everything = {**self.tuned(), **self.classifier()}
        matrices = {name: p for name, p in everything.items() if p.ndim >= 2}
        vectors = {name: p for name, p in everything.items() if p.ndim < 2}
        groups = [ParameterGroup(matrices), ParameterGroup(vectors, weight_decay=0.0)]
        return [group for group in groups if group.parameters]

    # (4) During training ---------------------------------------------------------------------------------

    def stages(self, steps: int) -> list[int]:
        """Return how many of a run's optimiser steps each stage of training takes. Default: one stage, all of them.

        The optimiser and its schedule begin anew with each stage. Only weights of the last one are ever kept.
        """
        return [steps]

    def begin_phase(self, stage: int) -> None:
        """Enter a stage, counted from 0, after the first; `tuned` may name other parameters from now on.

        A run that goes on in a later stage does not enter it again: `load_state` brings the parameters of that stage.
        However training ends, each stage is entered before the weights are evaluated and stored.
        """

    def logged_metrics(self) -> dict[str, float]:
        """Return numbers worth a line in the log at the end of an epoch. Default: none."""
        return {}

    def penalty(self) -> Tensor | None:
        """Return a scalar that is added to the loss of each training step, or None."""
        return None

    def before_step(self) -> None:
        """Act on the gradients, before clipping is done and the optimiser steps."""

    def after_clipping(self) -> None:
        """Act on the gradients as the optimiser will see them, after clipping."""

    def after_step(self) -> None:
        """Act on the parameters after an optimiser step."""

    def state(self) -> dict[str, Any]:
        """Return what an interrupted run needs to go on besides selection and trained parameters: plain or tensors."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take `state` back after attaching, before the trained parameters get their values."""

    # (5) The delta ---------------------------------------------------------------------------------------

    def delta(self) -> dict[str, Tensor]:
        """Return what tuning changed, as named tensors on the CPU, the classifier included."""
        return {name: p.detach().cpu().contiguous() for name, p in self._stored().items()}

    def load_delta(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a delta back into an attached strategy.

        Raises:
            UserError: names or shapes differ from those of this strategy on this backbone.
        """
        own = self._stored()
        if missing := sorted(own.keys() ^ tensors.keys()):
            raise UserError(f"delta: its tensors are not those of strategy {self.name}: {', '.join(missing[:3])}")
        for name, tensor in own.items():
            given = tensors[name]
            if given.shape != tensor.shape:
                shapes = f"{list(given.shape)}, expected {list(tensor.shape)}"
                raise UserError(f"delta: tensor {name} has shape {shapes}")
            with torch.no_grad():
                tensor.copy_(given)

    def delta_facts(self) -> dict[str, Any]:
        """Return the JSON facts of the selection that `selection_from` needs to attach again. Default: none."""
        return {}

    def selection_from(self, facts: Mapping[str, Any]) -> Any:
        """Return what `attach` takes as selection, from the facts of a stored delta."""
        return None

    def merge(self) -> None:
        """Write the delta into the backbone's own weights and leave a plain model behind.

        Raises:
            UserError: the method cannot be merged.
        """
        if not self.mergeable:
            raise UserError(f"strategy {self.name}: its delta cannot be merged into the backbone's weights")
        self._merge(self.backbone)
        self._release()

    @abstractmethod
    def _merge(self, backbone: Backbone) -> None:
        """Write the tuned values into the backbone's weights and take out whatever was put in."""

    # Shared ----------------------------------------------------------------------------------------------

    @property
    def backbone(self) -> Backbone:
        """The backbone this strategy is attached to."""
        assert self._backbone is not None, f"strategy {self.name} is not attached"
        return self._backbone

    def given_options(self) -> dict[str, Any]:
        """Return the options as plain values, without paths of this machine."""
        fields = [field for field in dataclasses.fields(self) if not field.metadata.get("path")]
        return {field.name: getattr(self, field.name) for field in fields}

    def _stored(self) -> Mapping[str, Tensor]:
        """Return the tensors of the attached model that `delta` reads and `load_delta` writes."""
        return {**self.tuned(), **self.classifier()}

    def _release(self) -> None:
        for name, parameter in self.backbone.model.named_parameters():
            parameter.requires_grad_(self._trainable_before[name])
        self._backbone = None
