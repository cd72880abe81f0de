"""Strategies whose layers come from the peft library."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PEFT_TYPE_TO_TUNER_MAPPING, PeftConfig, PeftType
from torch import Tensor, nn
from transformers import Conv1D

from peftlab.backbones.loading import Backbone
from peftlab.backbones.weightless import copy_on_cpu
from peftlab.errors import UserError
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.library import AttachedLibrary, LibraryStrategy

_ADAPTER = "default"


@dataclass(frozen=True)
class PeftInjection(LibraryStrategy):
    """A method of peft behind the contract; it gives the configuration, all else follows."""

    @abstractmethod
    def config(self, backbone: Backbone) -> PeftConfig:
        """Return peft's own description of the method on this backbone; the classifier gets no layer of peft."""

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Let peft put its layers in."""
        return AttachedPeft(self, backbone, selection)


class AttachedPeft(AttachedLibrary):
    """Layers of peft in a backbone."""

    strategy: PeftInjection

    def put_in(self) -> None:
        """Let peft put its layers into the model."""
        self._config = self.strategy.config(self.backbone)
        if hasattr(self._config, "fan_in_fan_out"):  # else peft finds it out, and warns
            self._config.fan_in_fan_out = any(isinstance(module, Conv1D) for module in self.model.modules())
        tuner = PEFT_TYPE_TO_TUNER_MAPPING[PeftType(self._config.peft_type)]
        self._tuner = cast(Any, tuner(self.model, self._config, _ADAPTER))

    def penalty(self) -> Tensor | None:
        """Return AdaLoRA's orthogonality of P and Q (Zhang et al., 2023, Eq. 4), which peft adds in a wrapper."""
        weight = getattr(self._config, "orth_reg_weight", None)
        if weight is None:
            return None
        pairs = [(p, "lora_A" in name) for name, p in self.tuned().items() if "lora_A" in name or "lora_B" in name]
        return weight * torch.stack([_skewness(p if rows else p.T) for p, rows in pairs]).mean()

    def after_step(self) -> None:
        """Let a method with a budget of ranks share it out anew; the gradients of the step are still there."""
        self._steps += 1
        if hasattr(self._tuner, "update_and_allocate"):
            self._tuner.update_and_allocate(self._steps)

    def logged_metrics(self) -> dict[str, float]:
        """Return the share of ranks that a method with a budget has left."""
        kept = [rank for ranks in (getattr(self._config, "rank_pattern", None) or {}).values() for rank in ranks]
        has_budget = hasattr(self._tuner, "update_and_allocate") and kept
        return {"ranks": sum(map(bool, kept)) / len(kept)} if has_budget else {}

    def state(self) -> dict[str, Any]:
        """Return the steps taken and, of a method with a budget of ranks, what it shares them out by."""
        return {"steps": self._steps, **{name: dict(getattr(owner, name)) for owner, name in self._budget()}}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the steps and the budget back."""
        self._steps = state["steps"]
        for owner, name in self._budget():
            setattr(owner, name, state[name])

    def _budget(self) -> list[tuple[Any, str]]:
        """Return where AdaLoRA keeps the importance of its ranks, and the ranks that are left."""
        allocator = getattr(self._tuner, "rankallocator", None)
        if allocator is None:
            return []
        return [*((allocator, name) for name in ("ipt", "exp_avg_ipt", "exp_avg_unc")), (self._config, "rank_pattern")]

    def _insert(self, selection: Any) -> None:
        self._modules = dict(self.model.named_modules())
        self._steps = 0
        # Kept on the CPU: some methods write into the layers that they stand for.
        self._pretrained = {name: copy_on_cpu(p) for name, p in self.model.named_parameters()}
        super()._insert(selection)
        if self._is_rewritten():
            # Some methods start from the weights and put the rest of them back. What they draw for it is in no delta:
            # a random state of its own makes it a matter of the weights alone.
            self._remove()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                super()._insert(selection)
        touched = self._touched()
        self._pretrained = {name: value for name, value in self._pretrained.items() if name in touched}

    def _is_rewritten(self) -> bool:
        """Return whether putting layers in has changed a pretrained value; shapes alone (meta tensors) have none."""
        if any(p.is_meta for p in self.model.parameters()):
            return False
        own = {id(p) for p in self.model.parameters()}
        kept = {f"{name}.{own_name}": p for name, module in self._modules.items() for own_name, p in _direct(module)}
        return any(
            id(p) in own and name in self._pretrained and not torch.equal(p.cpu(), self._pretrained[name])
            for name, p in kept.items()
        )

    def _put_aside(self) -> dict[str, nn.Module]:
        """Return the backbone's own modules that are not in their places, the outermost first."""
        now = dict(self.model.named_modules())
        return {name: module for name, module in self._modules.items() if now.get(name) is not module}

    def _touched(self) -> set[str]:
        """Return the names of pretrained parameters that are tuned, or whose module was put aside."""
        aside = self._put_aside().items()
        return self._tuned_names | {f"{name}.{own}" for name, module in aside for own, _ in module.named_parameters()}

    def _remove(self) -> None:
        while aside := self._put_aside():
            self.model.set_submodule(*next(iter(aside.items())))
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in self._pretrained.items():
                own[name].copy_(value)
        _forget(self.model)

    def _merge(self) -> None:
        try:
            self._tuner.merge_and_unload()
        except NotImplementedError as error:
            raise UserError(f"{self.strategy.title}: peft cannot merge this method") from error
        _forget(self.model)


def _direct(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters that a module holds itself."""
    return module.named_parameters(recurse=False)


def _skewness(rows: Tensor) -> Tensor:
    """Return the Frobenius distance of R R^T from the identity."""
    return torch.linalg.norm(rows @ rows.T - torch.eye(len(rows), device=rows.device, dtype=rows.dtype))


def _forget(model: nn.Module) -> None:
    """Take away the description that peft leaves on the model."""
    if hasattr(model, "peft_config"):
        del model.peft_config
