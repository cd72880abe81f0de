"""Adapters (Houlsby et al., 2019, arXiv 1902.00751) in peft: bottlenecks between the parts of a layer."""

from dataclasses import dataclass

from peft.config import PeftConfig

from peftlab.backbones.view import BackboneView
from peftlab.layers.bottleneck import Init, Nonlinearity, linear_bottleneck
from peftlab.peft.inserted import InsertedLayer, InsertedTuner
from peftlab.peft.registering import peft_type


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


class BottleneckLayer(InsertedLayer):
    """h + up(f(down(h))) of each adapter, one after the other, where h is what the module gives."""

    adapter_layer_names = ("houlsby_bottleneck",)


class HoulsbyModel(InsertedTuner):
    """Houlsby's adapter on a model whose family has both sites. It cannot be merged."""

    prefix = "houlsby_"
    tuner_layer_cls = BottleneckLayer
    title = "Houlsby's adapter"

    def targets(self, config: HoulsbyConfig, view: BackboneView) -> list[str]:
        """Return the last modules before residuals are added.

        Raises:
            UserError: the family has no such sites.
        """
        return self.names_at(view, "houlsby")

    def fill(self, layer: BottleneckLayer, adapter_name: str, config: HoulsbyConfig, name: str) -> None:
        """Give a module an adapter's bottleneck."""
        width = BackboneView(self.model, None).hidden_size
        module = linear_bottleneck(width, config.bottleneck, config.nonlinearity, config.init)
        layer.add(adapter_name, module, config)
