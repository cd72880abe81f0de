"""One strategy on one model: what is tuned, what happens while it trains, and the delta that comes of it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftlab.backbones.forward import hidden_states
from peftlab.backbones.loading import Backbone
from peftlab.backbones.modality import Processor
from peftlab.errors import UserError, require
from peftlab.strategies.traits import Traits

# What a sum in another order may come to, where a method declares that nothing changes.
_ROUNDING = 1e-5
Schedule = Literal["run", "decay", "constant"]


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share optimiser settings: by default factors on those of the run.

    `own_rate` stands in place of the run's learning rate. `schedule` is that of the rate: the run's warm-up and decay
    to 0, the decay without warm-up, or none. With `clip_separately` the group's gradients have a norm of their own.
    """

    parameters: dict[str, nn.Parameter]
    learning_rate: float = 1.0
    weight_decay: float = 1.0
    own_rate: float | None = None
    schedule: Schedule = "run"
    clip_separately: bool = False


@dataclass(frozen=True)
class Phases:
    """Training in phases: the optimiser and its schedule begin anew with each, and only weights of the last are kept.

    Attributes:
        lengths: how many of the run's optimiser steps each phase takes.
        begin: enters a phase, counted from 0, after the first; other parameters may be tuned from then on. A run that
            is resumed in a later phase does not enter it again: `load_state` brings its parameters. However training
            ends, each phase is entered before the weights are evaluated and stored.
    """

    lengths: Sequence[int]
    begin: Callable[[int], None]


class Options(Protocol):
    """What every strategy says of itself (`contract.py`)."""

    name: ClassVar[str]

    @property
    def traits(self) -> Traits:
        """The facts about the strategy with its options."""
        ...

    def given_options(self) -> dict[str, Any]:
        """Return the options as plain values, without paths of this machine."""
        ...

    def fitted(self, backbone: Backbone) -> Self:
        """Return the strategy with numbers for those options that follow from the backbone."""
        ...


class Attached(ABC):
    """A strategy attached to a backbone, until it is merged or detached.

    Args:
        strategy: the options.
        backbone: untouched.
        selection: what a look at the data decided, if the strategy takes one.

    Attributes:
        strategy: fitted to the backbone.
        sizes: by option, the numbers that follow from the backbone.

    Raises:
        UserError: there is nothing to tune, or the selection does not fit; the backbone is then as it was.
    """

    def __init__(self, strategy: Options, backbone: Backbone, selection: Any = None) -> None:
        self.strategy, self.backbone, self.selection = strategy.fitted(backbone), backbone, selection
        given, fitted = strategy.given_options(), self.strategy.given_options()
        self.sizes = {name: of for name, of in fitted.items() if of is not None and of != given[name]}
        self._names_before = set(self.model.state_dict())
        self._trainable_before = {name: p.requires_grad for name, p in self.model.named_parameters()}
        self.model.requires_grad_(False)
        try:
            self._insert(selection)
            tunes = bool(self.tuned()) or strategy.traits.tunes_nothing
            require(tunes, f"strategy {strategy.name}: there is nothing to tune in backbone {backbone.name}")
        except Exception:
            self.detach()
            raise
        for parameter in self.classifier().values():
            parameter.requires_grad_(True)

    @property
    def model(self) -> PreTrainedModel:
        """The model that is tuned."""
        return self.backbone.model

    @property
    def processor(self) -> Processor:
        """What turns a user's examples into the model's inputs: the backbone's tokenizer, or its image processor."""
        return self.backbone.processor

    # Parameters ------------------------------------------------------------------------------------------

    @abstractmethod
    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the tuned parameters by name; the classifier is not among them."""

    def classifier(self) -> dict[str, nn.Parameter]:
        """Return the parameters of the task's output layer by name."""
        return dict(self.backbone.view.classifier_parameters())

    def num_tuned(self) -> int:
        """Return how many weights are tuned, the classifier's not among them."""
        return sum(p.numel() for p in self.tuned().values())

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return all trained parameters with their optimiser settings; what `decays` has the run's weight decay."""
        everything = {**self.tuned(), **self.classifier()}
        decaying = {name: p for name, p in everything.items() if self.decays(name, p)}
        others = {name: p for name, p in everything.items() if name not in decaying}
        groups = [ParameterGroup(decaying), ParameterGroup(others, weight_decay=0.0)]
        return [group for group in groups if group.parameters]

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Return whether weight decay acts on a trained parameter. Default: not on vectors (biases, norms)."""
        return parameter.ndim >= 2

    # While it trains -------------------------------------------------------------------------------------

    def phases(self, steps: int) -> Phases | None:
        """Return the phases of a run of `steps` optimiser steps; None: all of them are one."""
        return None

    def penalty(self) -> Tensor | None:
        """Return a scalar that is added to the loss of each training step, or None."""
        return None

    def after_clipping(self) -> None:
        """Act on the gradients as the optimiser will see them."""

    def after_step(self) -> None:
        """Act on the parameters after an optimiser step, whose gradients are still there."""

    def keep_no_copies(self) -> None:
        """Keep no copy of frozen weights from now on: each device holds a part of them, or they take few bits."""

    def logged_metrics(self) -> dict[str, float]:
        """Return numbers worth a line in the log at the end of an epoch. Default: none."""
        return {}

    def state(self) -> dict[str, Any]:
        """Return what resuming needs besides selection and trained parameters: plain values or tensors."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take `state` back after attaching, before the trained parameters get their values."""

    # The delta -------------------------------------------------------------------------------------------

    def delta(self) -> dict[str, Tensor]:
        """Return what tuning changed, as named tensors on the CPU, the classifier included."""
        return {name: p.detach().cpu().contiguous() for name, p in self._stored().items()}

    def load_delta(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a delta back.

        Raises:
            UserError: names or shapes differ from those of this strategy on this backbone.
        """
        own = self._stored()
        if missing := sorted(own.keys() ^ tensors.keys()):
            raise UserError(
                f"delta: its tensors are not those of strategy {self.strategy.name}: {', '.join(missing[:3])}"
            )
        for name, tensor in own.items():
            given = tensors[name]
            if given.shape != tensor.shape:
                shapes = f"{list(given.shape)}, expected {list(tensor.shape)}"
                raise UserError(f"delta: tensor {name} has shape {shapes}")
            with torch.no_grad():
                tensor.copy_(given)

    def stored_bytes(self) -> int:
        """Return the bytes of the delta's tensors."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._stored().values())

    def unmergeable(self) -> str | None:
        """Return why the delta cannot be merged into this backbone's weights, in a line; None where it can."""
        return None if self.strategy.traits.mergeable else "its delta cannot be merged into the backbone's weights"

    def merge(self) -> PreTrainedModel:
        """Write the delta into the backbone's own weights and return the plain model that is left.

        Raises:
            UserError: the method cannot be merged; or what is left is another model than the one that was tuned, by its
                parameters or by what it makes of a batch. It is then of no use.
        """
        name, tolerance = self.strategy.name, self.strategy.traits.merge_tolerance or 0.0
        if (reason := self.unmergeable()) is not None:
            raise UserError(f"strategy {name}: {reason}")
        tuned = hidden_states(self.backbone)
        self._merge()
        odd = sorted(self._names_before ^ set(self.model.state_dict()))
        require(not odd, f"strategy {name}: its delta cannot be merged, other parameters would be left, {odd[:1]}")
        apart = (hidden_states(self.backbone) - tuned).abs().max() / tuned.abs().max()
        allowed = max(tolerance, _ROUNDING)
        require(
            not bool(apart > allowed),
            f"strategy {name}: its delta cannot be merged, the model would answer differently: hidden states move "
            f"by {float(apart):.1e} of the largest; allowed is {allowed:g}",
        )
        return self._release()

    def detach(self) -> PreTrainedModel:
        """Take the strategy out again: pretrained weights, structure and `requires_grad` as before attaching."""
        self._remove()
        return self._release()

    # For those that derive from it -----------------------------------------------------------------------

    @abstractmethod
    def _insert(self, selection: Any) -> None:
        """Wrap, insert or unfreeze; the whole backbone is frozen when this is called."""

    @abstractmethod
    def _remove(self) -> None:
        """Undo `_insert`, or as much of it as was done when it failed."""

    def _merge(self) -> None:
        """Write the tuned values into the backbone's weights and take out whatever was put in."""
        raise NotImplementedError(f"strategy {self.strategy.name} says that it can be merged, not how")

    def _stored(self) -> Mapping[str, Tensor]:
        """Return the tensors of the attached model that `delta` reads and `load_delta` writes."""
        return {**self.tuned(), **self.classifier()}

    def _release(self) -> PreTrainedModel:
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(self._trainable_before[name])
        return self.model
