"""HiFi (arXiv 2305.04573) in peft: the query, key and value rows of the chosen heads are tuned, all else is frozen."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from peft.config import PeftConfig
from peft.tuners._buffer_dict import BufferDict
from torch import Tensor, nn

from peftlab.backbones.view import PROJECTIONS, BackboneView
from peftlab.errors import require
from peftlab.heads.selection import HeadSelection
from peftlab.heads.weights import rows_by_module
from peftlab.peft.layers import AddedLayer, Tuner, zeros_or_noise
from peftlab.peft.registering import peft_type
from peftlab.strategies.bases.tuned_heads import check_heads


@dataclass
class HiFiConfig(PeftConfig):
    """Which heads are tuned.

    Attributes:
        selection: what `peftlab.select_heads` gave, or the numbers of the heads of each layer, counted from 0.
        modules_to_save: modules beside them that are trained and saved whole, such as an output layer that peft does
            not know by the model's task.
        init_weights: False begins with noise in place of zeros; for tests.
        target_modules: found by the selection; what is given here is not read.
    """

    selection: Any = None
    modules_to_save: list[str] | None = None
    init_weights: bool = True
    target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("hifi")
        if isinstance(self.selection, HeadSelection):
            self.selection = self.selection.heads
        if self.selection is not None:
            self.selection = [[int(head) for head in layer] for layer in self.selection]


class RowsLayer(AddedLayer):
    """y = W x + b, and on the chosen rows R of each adapter + D x, with D [R, D'] zero at the start."""

    adapter_layer_names = ("hifi_rows",)
    other_param_names = ("hifi_places",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.hifi_rows = nn.ParameterDict({})
        # Which rows they are follows from the configuration, so they need not be stored.
        self.hifi_places = BufferDict(persistent=False)

    @property
    def _counts_columns(self) -> bool:
        return not isinstance(self.get_base_layer(), nn.Linear)  # transformers' `Conv1D`

    def add(self, adapter_name: str, rows: Tensor, config: HiFiConfig) -> None:
        """Give an adapter its rows, int64 [R]."""
        weight: Any = self.get_base_layer().weight
        width = weight.shape[0 if self._counts_columns else 1]
        self.hifi_places[adapter_name] = rows.to(weight.device)
        self.hifi_rows[adapter_name] = zeros_or_noise((len(rows), width), config.init_weights, weight)
        self.ready(adapter_name, config.inference_mode)

    def change(self, adapter_name: str, sign: float) -> None:
        """Add an adapter's rows to the weight, or take them away."""
        weight: Any = self.get_base_layer().weight.data
        places = self.hifi_places[adapter_name]
        rows = sign * self.hifi_rows[adapter_name].to(weight.dtype)
        if self._counts_columns:
            weight.index_add_(1, places, rows.T)
        else:
            weight.index_add_(0, places, rows)

    def add_up(self, adapters: list[str], weights: list[float], adapter_name: str) -> None:
        """Make an adapter, whose rows are those of all, the weighted sum of others."""
        place_of = {int(row): place for place, row in enumerate(self.hifi_places[adapter_name])}
        total = self.hifi_rows[adapter_name].data.zero_()
        for one, weight in zip(adapters, weights, strict=True):
            if one in self.hifi_rows:
                places = torch.tensor([place_of[int(row)] for row in self.hifi_places[one]], device=total.device)
                total.index_add_(0, places, weight * self.hifi_rows[one].data)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map [..., D'] to [..., N]."""
        active = self.active()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        for name in active:
            rows = self.hifi_rows[name]
            more = F.linear(self._cast_input_dtype(x, rows.dtype), rows)
            result = result.index_add(-1, self.hifi_places[name], more.to(result.dtype))
        return result


class HiFiModel(Tuner):
    """HiFi on a model: rows of its query, key and value projections, fused or shared or not."""

    prefix = "hifi_"
    tuner_layer_cls = RowsLayer

    def targets(self, config: HiFiConfig, view: BackboneView) -> list[str]:
        """Return the projections of which rows are tuned.

        Raises:
            UserError: there is no selection, or it is for another model.
        """
        return list(_rows(config, view))

    def joined(self, configs: list[Any]) -> HiFiConfig:
        """Return a configuration with the heads of all."""
        layers = zip(*(config.selection for config in configs), strict=True)
        return HiFiConfig(selection=[sorted(set().union(*layer)) for layer in layers])

    def fill(self, layer: RowsLayer, adapter_name: str, config: HiFiConfig, name: str) -> None:
        """Give a projection the rows that an adapter tunes of it."""
        layer.add(adapter_name, _rows(config, BackboneView(self.model, None))[name], config)


def _rows(config: HiFiConfig, view: BackboneView) -> dict[str, Tensor]:
    """Return the rows [R] of each projection's module, by its name in the whole model."""
    require(config.selection is not None, "selection: HiFi tunes chosen heads; peftlab.select_heads gives them")
    check_heads(config.selection, view, "the model")
    found: dict[str, Tensor] = {}
    for layer, heads in enumerate(config.selection):
        if heads:
            found |= {path: rows for path, (_, rows) in rows_by_module(view, layer, heads, PROJECTIONS).items()}
    require(bool(found), "selection: it chooses no head")
    return found
