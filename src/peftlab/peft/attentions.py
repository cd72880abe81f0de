"""Tiny attention (Zhao et al., 2022, arXiv 2211.01979) in peft: each token sees the others through a tiny head."""

from dataclasses import dataclass
from typing import Any, cast

from peft.config import PeftConfig
from torch import Tensor, nn

from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.layers.tiny_attention import Init, Mixture, Pads, TinyAttention, alike, site_of
from peftlab.peft.inserted import InsertedLayer, InsertedTuner
from peftlab.peft.registering import peft_type


@dataclass
class TinyAttentionConfig(PeftConfig):
    """Tiny attention behind each layer's attention. The model's own dropout stays as it is.

    Attributes:
        size: dimensions of query, key and value, all heads together.
        heads: divides `size`.
        dropout: on the attention weights.
        experts: modules a layer, one after the other, each adding its share.
        average: in evaluation, one expert with the average of their weights stands for several.
        init: how a module starts; see `TinyAttention`.
        modules_to_save: modules beside them that are trained and saved whole.
        target_modules: found by the model's family; what is given here is not read.
    """

    size: int = 1
    heads: int = 1
    dropout: float = 0.1
    experts: int = 1
    average: bool = True
    init: Init = "published"
    modules_to_save: list[str] | None = None
    target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("tiny_attention")


class TinyAttentionLayer(InsertedLayer):
    """The experts of each adapter behind a module, one adapter after the other."""

    adapter_layer_names = ("tiny_attention_mixture",)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        self.pads = Pads()

    def mixture(self, adapter_name: str) -> Mixture:
        """Return the experts of an adapter."""
        return cast(Mixture, self.inserted[adapter_name])

    def behind(self, adapter_name: str, hidden: Tensor) -> Tensor:
        """Return [B, S, D] with what an adapter adds to it."""
        own = self.in_type_of(adapter_name, hidden)
        return self.mixture(adapter_name).mixed(own, self.pads.where).to(hidden.dtype)


class TinyAttentionModel(InsertedTuner):
    """Tiny attention on a model, which tells it where pads are and generates without a cache. It cannot be merged."""

    prefix = "tiny_attention_"
    tuner_layer_cls = TinyAttentionLayer
    title = "Tiny attention"
    _cached: bool | None = None  # whether the model itself would generate with a cache

    def targets(self, config: TinyAttentionConfig, view: BackboneView) -> list[str]:
        """Return the modules behind which it stands.

        Raises:
            UserError: a number that is none of it.
        """
        for name in ("size", "heads", "experts"):
            require(getattr(config, name) >= 1, f"{name}={getattr(config, name)}: allowed is 1 or more")
        require(config.size % config.heads == 0, f"heads={config.heads}: allowed are divisors of size={config.size}")
        return view.site_names(site_of(view))

    def fill(self, layer: TinyAttentionLayer, adapter_name: str, config: TinyAttentionConfig, name: str) -> None:
        """Give a module an adapter's experts, and the note of where pads are."""
        view = BackboneView(self.model, None)
        first = TinyAttention(view.hidden_size, config.size, config.heads, config.dropout, config.init, view.causal)
        layer.pads = self.pads
        layer.add(adapter_name, Mixture(alike(first, config.experts), config.average), config)

    def average_experts(self, adapter_name: str = "default") -> None:
        """Leave one expert with the average of an adapter's, which answers as all do in evaluation and is stored alone.

        Raises:
            ValueError: the adapter evaluates all of its experts.
        """
        config: Any = self.peft_config[adapter_name]
        if not config.average:
            raise ValueError("average=False: this adapter evaluates all of its experts")
        for layer in (module for module in self.model.modules() if isinstance(module, TinyAttentionLayer)):
            layer.mixture(adapter_name).keep_average()
        config.experts = 1

    def _pre_injection_hook(self, model: nn.Module, config: Any, adapter_name: str) -> None:
        self.pads = Pads()
        base: Any = model.base_model
        self._noting = base.register_forward_pre_hook(self.pads, with_kwargs=True)
        self._set_cache(model, False)

    def _unload_and_optionally_merge(self, *arguments: Any, **options: Any) -> Any:
        model = super()._unload_and_optionally_merge(*arguments, **options)
        self._noting.remove()
        self._set_cache(model, self._cached)
        return model

    def _set_cache(self, model: Any, cache: bool | None) -> None:
        """Let a model generate with a cache of earlier tokens unless it is told otherwise, or without."""
        generation = getattr(model, "generation_config", None)
        if generation is not None:
            self._cached, generation.use_cache = generation.use_cache, cache
