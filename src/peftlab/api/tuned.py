"""`peftlab.attach(model, "hifi", data=texts, k=3)`: a method on a model of the user's, and what can be done with it."""

from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from peftlab.api.examples import Given, GivenExamples
from peftlab.backbones.adopted import adopt
from peftlab.backbones.loading import Backbone
from peftlab.delta.delta import load_delta, save_delta
from peftlab.errors import UserError, require
from peftlab.strategies.attached import Attached
from peftlab.strategies.contract import SelectionContext, Strategy
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import apply_delta, describe_delta
from peftlab.streams import Stream, seed_of
from peftlab.tasks.kind import KINDS

_HOLDING: WeakSet[PreTrainedModel] = WeakSet()  # models that a method is attached to


class Tuned:
    """A method attached to a model. As a context it is detached at the end, unless it was merged.

    Attributes:
        model: the user's model, with what the method tunes in it; all else is frozen.
        selection: what the method chose by a look at the data, such as HiFi's heads; None for most.
    """

    def __init__(self, attached: Attached) -> None:
        self._attached: Attached | None = attached
        self.model: PreTrainedModel = attached.model
        self.selection = attached.selection
        _HOLDING.add(self.model)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._attached is not None:
            self.detach()

    @property
    def attached(self) -> Attached:
        """What is attached.

        Raises:
            UserError: it was merged or detached.
        """
        require(self._attached is not None, "the method was merged or detached; attach it again")
        assert self._attached is not None
        return self._attached

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained: the method's parameters and those of the task's output layer."""
        return [parameter for group in self.attached.parameter_groups() for parameter in group.parameters.values()]

    def parameter_groups(self, learning_rate: float, weight_decay: float = 0.0) -> list[dict[str, Any]]:
        """Return groups for an optimiser of torch: each with the rate and the decay that the method gives it."""
        return [
            {
                "params": list(group.parameters.values()),
                "lr": learning_rate * group.learning_rate if group.own_rate is None else group.own_rate,
                "weight_decay": weight_decay * group.weight_decay,
            }
            for group in self.attached.parameter_groups()
        ]

    @property
    def num_tuned(self) -> int:
        """How many weights are tuned, those of the task's output layer not among them."""
        return self.attached.num_tuned()

    def loss(self, loss: Tensor) -> Tensor:
        """Return a batch's loss with the method's penalty; for most methods the loss itself."""
        penalty = self.attached.penalty()
        return loss if penalty is None else loss + penalty

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Take an optimiser step, with what the method does before and after it, and clear the gradients."""
        self.attached.after_clipping()
        optimizer.step()
        self.attached.after_step()
        optimizer.zero_grad(set_to_none=True)

    def save(self, folder: str | Path) -> None:
        """Write what tuning changed, `delta.safetensors` and `delta.json`, for `reattach`.

        Raises:
            UserError: the folder cannot be written.
        """
        target = Path(folder).expanduser()
        target.mkdir(parents=True, exist_ok=True)
        attached = self.attached
        labels = [name for _, name in sorted((attached.model.config.id2label or {}).items())]
        delta = describe_delta(attached, {"name": attached.backbone.name}, "", labels, {})
        save_delta(delta, target)

    def merge(self) -> PreTrainedModel:
        """Write what was tuned into the model's own weights and return it: a plain model of transformers.

        Raises:
            UserError: the method cannot be merged.
        """
        model, self._attached = self.attached.merge(), None
        _HOLDING.discard(self.model)
        return model

    def detach(self) -> PreTrainedModel:
        """Take the method out again: weights and structure as before."""
        model, self._attached = self.attached.detach(), None
        _HOLDING.discard(self.model)
        return model


def attach(
    model: PreTrainedModel,
    strategy: str | Strategy = "hifi",
    *,
    data: Given | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    selection: Any = None,
    seed: int = 1,
    **options: Any,
) -> Tuned:
    """Attach a method to a model of transformers, which keeps its place, its class and its kernels.

    Args:
        model: of a known architecture, untouched. The output layer of a task, where it has one, is trained too.
        strategy: the name of a method, or the method with its options.
        data: what the method looks at before training, where it does: texts, pairs of texts, or batches.
        tokenizer: the model's; texts need it.
        selection: what an earlier look at data decided, in place of `data`.
        seed: decides all that is drawn.
        options: of the method, as `conf/strategy/<name>.yaml` has them.

    Raises:
        UserError: no such method or option, one that does not fit the model, or a method that needs data has none.
    """
    method = create_strategy(strategy, options) if isinstance(strategy, str) else replace(strategy, **options)
    backbone = _untouched(model, tokenizer)
    reason = method.skip(backbone.view, KINDS.get("classification").example().kind)
    require(reason is None, f"strategy {method.name} does not fit {backbone.name}: {reason}")
    method = method.fitted(backbone)
    method.check(backbone)
    if selection is None:
        examples = GivenExamples(() if data is None else data, tokenizer)
        selection = method.select(SelectionContext(backbone, examples, seed, model.device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(Stream.INSERTED, seed))
        attached = method.attach(backbone, selection)
    if attached.phases(1000) is not None:
        attached.detach()
        raise UserError(f"strategy {method.name}: it trains in phases, which only train.py does")
    return Tuned(attached)


def reattach(model: PreTrainedModel, folder: str | Path, tokenizer: PreTrainedTokenizerBase | None = None) -> Tuned:
    """Put what was tuned back onto the model that it was tuned on: a folder of `Tuned.save`, or of a run.

    Raises:
        UserError: the folder holds no delta, or one of another model.
    """
    return Tuned(apply_delta(load_delta(Path(folder).expanduser()), _untouched(model, tokenizer)))


def _untouched(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None) -> Backbone:
    """Return a model as a backbone; of two methods in one model neither would be what it says."""
    require(model not in _HOLDING, "model: a method is attached to it; detach() takes it out, merge() keeps it")
    return adopt(model, tokenizer)
