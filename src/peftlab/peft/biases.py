"""BitFit (Ben Zaken et al., 2022, arXiv 2106.10199) in peft: every bias of the layers is tuned."""

from dataclasses import dataclass
from typing import Any

from peft.config import PeftConfig
from torch import Tensor, nn

from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.peft.layers import AddedLayer, Tuner, zeros_or_noise
from peftlab.peft.registering import peft_type

_BIAS = ".bias"


@dataclass
class BitFitConfig(PeftConfig):
    """BitFit has no options.

    Attributes:
        modules_to_save: modules beside the biases that are trained and saved whole.
        init_weights: False begins with noise in place of zeros; for tests.
        target_modules: every module of the layers that has a bias; what is given here is not read.
    """

    modules_to_save: list[str] | None = None
    init_weights: bool = True
    target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("bitfit")


class BiasLayer(AddedLayer):
    """y + b of each adapter, where y is what a linear layer or a LayerNorm gives; b is zero at the start."""

    adapter_layer_names = ("bitfit_bias",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.bitfit_bias = nn.ParameterDict({})

    def add(self, adapter_name: str, config: BitFitConfig) -> None:
        """Give an adapter its bias."""
        bias: Any = self.get_base_layer().bias
        self.bitfit_bias[adapter_name] = zeros_or_noise(tuple(bias.shape), config.init_weights, bias)
        self.ready(adapter_name, config.inference_mode)

    def change(self, adapter_name: str, sign: float) -> None:
        """Add an adapter's bias to the module's, or take it away."""
        bias: Any = self.get_base_layer().bias
        bias.data += sign * self.bitfit_bias[adapter_name].to(bias.dtype)

    def add_up(self, adapters: list[str], weights: list[float], adapter_name: str) -> None:
        """Make an adapter the weighted sum of others."""
        total = self.bitfit_bias[adapter_name].data.zero_()
        for one, weight in zip(adapters, weights, strict=True):
            total += weight * self.bitfit_bias[one].data

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map what the module takes to what it gives."""
        active = self.active()
        result: Tensor = self.base_layer(x, *args, **kwargs)
        for name in active:
            result = result + self.bitfit_bias[name].to(result.dtype)
        return result


class BitFitModel(Tuner):
    """BitFit on a model whose layers have biases."""

    prefix = "bitfit_"
    tuner_layer_cls = BiasLayer

    def targets(self, config: BitFitConfig, view: BackboneView) -> list[str]:
        """Return the modules of the layers that have a bias.

        Raises:
            UserError: there is none.
        """
        names = (name.replace(".base_layer", "") for name in view.encoder_parameters())
        found = list(dict.fromkeys(name.removesuffix(_BIAS) for name in names if name.endswith(_BIAS)))
        require(bool(found), "BitFit: the layers of the model have no biases")
        return found

    def fill(self, layer: BiasLayer, adapter_name: str, config: BitFitConfig, name: str) -> None:
        """Give a module an adapter's bias."""
        layer.add(adapter_name, config)

    def joined(self, configs: list[Any]) -> BitFitConfig:
        """Return the configuration, which all share."""
        return BitFitConfig()
