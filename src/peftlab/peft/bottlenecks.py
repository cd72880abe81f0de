"""Adapters (Houlsby et al., 2019, arXiv 1902.00751) in peft: bottlenecks between the parts of a layer."""

from dataclasses import dataclass
from typing import Any

from peft.config import PeftConfig
from torch import Tensor, nn

from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.layers.bottleneck import Init, Nonlinearity, linear_bottleneck
from peftlab.peft.layers import Layer, Tuner
from peftlab.peft.registering import peft_type

_BOTTLENECK = "houlsby_bottleneck"


@dataclass
class HoulsbyConfig(PeftConfig):
    """Bottlenecks after attention and after the feed-forward of each layer, before the residual is added.

    Attributes:
        bottleneck: size between the two projections.
        nonlinearity: between them.
        init: how the projections start; see `linear_bottleneck`.
        modules_to_save: modules beside them that are trained and saved whole.
        target_modules: found by the model's family; what is given here is not read.
    """

    bottleneck: int = 64
    nonlinearity: Nonlinearity = "swish"
    init: Init = "normal"
    modules_to_save: list[str] | None = None
    target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("houlsby")


class BottleneckLayer(Layer):
    """h + up(f(down(h))) of each adapter, one after the other, where h is what the module gives."""

    adapter_layer_names = (_BOTTLENECK,)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.houlsby_bottleneck = nn.ModuleDict({})

    def add(self, adapter_name: str, width: int, config: HoulsbyConfig) -> None:
        """Give an adapter its bottleneck on hidden states of `width`."""
        made = linear_bottleneck(width, config.bottleneck, config.nonlinearity, config.init)
        self.houlsby_bottleneck[adapter_name] = made
        self.ready(adapter_name, config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map what the module takes to [..., D]."""
        active = self.active()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        for name in active:
            module = self.houlsby_bottleneck[name]
            own = module.down.weight.dtype  # type: ignore[union-attr]
            result = result + module(self._cast_input_dtype(result, own)).to(result.dtype)  # type: ignore[arg-type]
        return result


class HoulsbyModel(Tuner):
    """Houlsby's adapter on a model whose family has both sites. It cannot be merged."""

    prefix = "houlsby_"
    tuner_layer_cls = BottleneckLayer

    def targets(self, config: HoulsbyConfig, view: BackboneView) -> list[str]:
        """Return the last modules before residuals are added.

        Raises:
            UserError: the family has no such sites.
        """
        require(
            view.has("attention_end") and view.has("feed_forward_end"),
            "Houlsby: the layers of the model have no module before a residual",
        )
        return view.site_names("attention_end", "feed_forward_end")

    def fill(self, layer: BottleneckLayer, adapter_name: str, config: HoulsbyConfig, name: str) -> None:
        """Give a module an adapter's bottleneck."""
        layer.add(adapter_name, BackboneView(self.model, None).hidden_size, config)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """Take the adapter's name out where peft does not look for it: before the modules of the bottleneck."""
        return key.replace(f"{_BOTTLENECK}.{adapter_name}.", f"{_BOTTLENECK}.")

    def _check_merge_allowed(self) -> None:
        raise ValueError("Houlsby's adapter cannot be merged: its bottleneck is not linear")
