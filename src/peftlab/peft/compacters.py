"""Compacter (Karimi Mahabadi et al., 2021, arXiv 2106.04647) in peft: bottlenecks of Kronecker products."""

from dataclasses import dataclass
from typing import Any, Literal, cast

from peft.config import PeftConfig
from torch import Tensor, nn

from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.layers.bottleneck import Nonlinearity
from peftlab.layers.phm import Glorot, phm_bottleneck, shared_rule
from peftlab.layers.placement import Placement
from peftlab.peft.inserted import InsertedLayer, InsertedTuner
from peftlab.peft.registering import peft_type


@dataclass
class CompacterConfig(PeftConfig):
    """Bottlenecks whose projections are sums of Kronecker products, rank one, with a rule that all layers share.

    Attributes:
        bottleneck: size between the two projections, a multiple of n.
        n: number of Kronecker products; the model's hidden size is a multiple of it.
        plus: Compacter++, after the feed-forward alone.
        plus_place: Compacter++ stands after the feed-forward's residual and LayerNorm, `pfeiffer`, which a family
            whose norms stand before does not have, or before them, `feed-forward`.
        nonlinearity: between the projections.
        init: how the factors of the products start; see `PHMLinear`.
        rule_std: the shared rule starts from N(0, rule_std).
        modules_to_save: modules beside them that are trained and saved whole.
        target_modules: found by the model's family; what is given here is not read.
    """

    bottleneck: int = 32
    n: int = 4
    plus: bool = False
    plus_place: Literal["pfeiffer", "feed-forward"] = "pfeiffer"
    nonlinearity: Nonlinearity = "gelu"
    init: Glorot = "glorot-normal"
    rule_std: float = 1e-4
    modules_to_save: list[str] | None = None
    target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("compacter")

    @property
    def placement(self) -> Placement:
        """Where the bottlenecks stand."""
        return self.plus_place if self.plus else "houlsby"


class CompacterLayer(InsertedLayer):
    """Bottlenecks behind a module, or around a LayerNorm: norm(x + bottleneck(norm(x)))."""

    adapter_layer_names = ("compacter_bottleneck", "compacter_rule")

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.around = False
        self._rules: tuple[nn.ParameterDict, ...] = ()

    @property
    def compacter_rule(self) -> nn.ParameterDict:
        """The rules, by adapter."""
        return self._rules[0]

    def share(self, rules: nn.ParameterDict) -> None:
        """Take the rules of all layers. They are the tuner's parameters, not the layer's: they are stored once."""
        self._rules = (rules,)

    def made(self, adapter_name: str, hidden: Tensor) -> Tensor:
        """Return what an adapter adds to [..., D], in the type of its bottleneck."""
        rule = self.compacter_rule[adapter_name].to(hidden.device)
        return cast(Tensor, self.inserted[adapter_name](self.in_type_of(adapter_name, hidden), rule))

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map what the module takes to [..., D]."""
        if not self.around:
            return super().forward(x, *args, **kwargs)
        for name in self.active():
            x = x + self.made(name, self.base_layer(x)).to(x.dtype)
        return cast(Tensor, self.base_layer(x))

    def _get_available_adapters(self) -> set[str]:
        """Return the adapters that have a bottleneck here: rules are there of all."""
        return set(self.inserted)


class CompacterModel(InsertedTuner):
    """Compacter on a model whose hidden size n divides. It cannot be merged."""

    prefix = "compacter_"
    tuner_layer_cls = CompacterLayer
    title = "Compacter"
    uses_shared_state = True

    def targets(self, config: CompacterConfig, view: BackboneView) -> list[str]:
        """Return the modules behind which bottlenecks stand.

        Raises:
            UserError: the family has no such modules, or n does not fit.
        """
        width = view.hidden_size
        require(
            config.n >= 1 and width % config.n == 0, f"n={config.n}: allowed are divisors of the hidden size, {width}"
        )
        fits = config.bottleneck >= 1 and config.bottleneck % config.n == 0
        require(fits, f"bottleneck={config.bottleneck}: allowed are multiples of n={config.n}")
        require(
            config.placement != "pfeiffer" or view.has("feed_forward_norm"),
            "plus_place=pfeiffer: the layers of the model have no LayerNorm after the feed-forward; "
            "allowed is feed-forward",
        )
        return self.names_at(view, config.placement)

    def fill(self, layer: CompacterLayer, adapter_name: str, config: CompacterConfig, name: str) -> None:
        """Give a module an adapter's bottleneck, and all of the adapter's modules one rule."""
        if adapter_name not in self.compacter_rule:
            self.compacter_rule[adapter_name] = shared_rule(config.n, config.rule_std)
        layer.share(self.compacter_rule)
        layer.around = config.placement == "pfeiffer"
        rule, width = self.compacter_rule[adapter_name], BackboneView(self.model, None).hidden_size
        module = phm_bottleneck(rule, width, config.bottleneck, config.nonlinearity, config.init, holds_rule=False)
        layer.add(adapter_name, module, config)

    def _pre_injection_hook(self, model: nn.Module, config: Any, adapter_name: str) -> None:
        self.compacter_rule = nn.ParameterDict({})

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        """Let the rule have the type of the bottlenecks, which peft makes float32 where the model is not."""
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        layer = next(m for m in self.model.modules() if isinstance(m, CompacterLayer) and adapter_name in m.inserted)
        rule = self.compacter_rule[adapter_name]
        rule.data = rule.data.to(layer.type_of(adapter_name))
