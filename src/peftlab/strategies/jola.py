"""JoLA (Lai et al., 2025, arXiv 2502.01179): heads' outputs are scaled and shifted under gates that learn which."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from peftlab.backbones.loading import Backbone
from peftlab.errors import require
from peftlab.layers.hard_concrete import HardConcrete
from peftlab.layers.head_edits import GatedHeads
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.edited_heads import AttachedEdits
from peftlab.strategies.contract import Strategy
from peftlab.strategies.traits import Traits


@dataclass(frozen=True)
class JoLA(Strategy):
    """Let every head's output be (1 + g2 A_h) y_h + g1 v_h, and push the gates g1 and g2 to close.

    To the loss come lambda P1 + (1 - lambda) P2, where P is the mean probability of all heads that a gate is open,
    divided by the heads of a layer once more, as in the authors' code; lambda decays with each step.

    Options (defaults and their sources in `conf/strategy/jola.yaml`):
        gate_lambda: what lambda begins with.
        gate_decay: lambda is multiplied by exp(-gate_decay) at each step.
        temperature, lower, upper: of the gates (`layers/hard_concrete.py`).
        std: standard deviation of the normal numbers that A and v begin with.
    """

    name = "jola"

    gate_lambda: float = 0.1
    gate_decay: float = 0.01
    temperature: float = 0.33
    lower: float = -0.1
    upper: float = 1.1
    std: float = 1e-3

    def __post_init__(self) -> None:
        require(0 <= self.gate_lambda <= 1, f"strategy.gate_lambda={self.gate_lambda}: allowed is 0 to 1")
        for name in ("gate_decay", "std"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"strategy.{name}={value}: allowed is 0 or more")
        _ = self.gates  # checks the interval and the temperature

    @property
    def gates(self) -> HardConcrete:
        """The distribution that gates are drawn from."""
        return HardConcrete(self.lower, self.upper, self.temperature)

    @property
    def traits(self) -> Traits:
        """Edits begin near 0; merged, products are added in another order."""
        return Traits(start_tolerance=10 * self.std, merge_tolerance=1e-5)

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Put gated edits on the outputs of all heads."""
        return AttachedGates(self, backbone, selection)


class AttachedGates(AttachedEdits):
    """Gated edits of the outputs of all heads of a frozen backbone."""

    strategy: JoLA

    def penalty(self) -> Tensor:
        """Return what open gates cost at this step, a scalar."""
        weight = self.strategy.gate_lambda * math.exp(-self.strategy.gate_decay * self._steps)
        offsets, scales = self._open()
        return (weight * offsets + (1 - weight) * scales) / self.backbone.view.num_heads

    def after_step(self) -> None:
        """Count the steps: lambda decays with them."""
        self._steps += 1

    def logged_metrics(self) -> dict[str, float]:
        """Return the expected shares of open gates, of offsets and of scales."""
        with torch.no_grad():
            offsets, scales = self._open()
        return {"open_offsets": float(offsets), "open_scales": float(scales)}

    def state(self) -> dict[str, Any]:
        """Return the steps taken."""
        return {"steps": self._steps}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take the steps back."""
        self._steps = state["steps"]

    def _open(self) -> tuple[Tensor, Tensor]:
        found = [module.open() for _, module in self._modules.values() if isinstance(module, GatedHeads)]
        offsets, scales = zip(*found, strict=True)
        return torch.stack(offsets).mean(), torch.stack(scales).mean()

    def _insert(self, selection: Any) -> None:
        self._start()
        self._steps = 0
        view, options = self.backbone.view, self.strategy
        for layer in range(view.num_layers):
            path, _ = view.head_columns(layer, [0])
            frozen = self.model.get_submodule(path)
            self._put(layer, path, GatedHeads(frozen, view.num_heads, options.gates, options.std))
