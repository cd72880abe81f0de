"""Where an architecture keeps its layers, heads and classifier: the one place that knows their names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedModel

from peftlab.errors import UserError

Projection = Literal["query", "key", "value"]
# Where a method may put a module: see `Architecture`.
Site = Literal[
    "self_attention",
    "attention_end",
    "attention_norm",
    "feed_forward_output",
    "feed_forward_down",
    "feed_forward_end",
    "feed_forward_norm",
]
PROJECTIONS: tuple[Projection, ...] = ("query", "key", "value")


@dataclass(frozen=True)
class Architecture:
    """Names inside a `*ForSequenceClassification` model, relative to the model or to one of its layers.

    `head_output` is the output projection of attention: its input is [B, S, H * D'] with the heads as
    contiguous blocks under every attention kernel. None stands for a place that the architecture lacks.

    Places: `self_attention` takes hidden states [B, S, D] and `past_key_values`; the modules at `attention_end` and
    `feed_forward_end` are the last before the residual is added, and `attention_norm` and `feed_forward_norm` take
    that sum; `feed_forward_output` takes the feed-forward's inner values and the residual, `feed_forward_down` is the
    projection of those values.
    """

    layers: str
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    head_output: str = "attention.output.dense"
    self_attention: str | None = "attention.self"
    attention_end: str | None = "attention.output.dropout"
    attention_norm: str | None = "attention.output.LayerNorm"
    feed_forward_output: str | None = "output"
    feed_forward_down: str | None = "output.dense"
    feed_forward_end: str | None = "output.dropout"
    feed_forward_norm: str | None = "output.LayerNorm"
    classifier: tuple[str, ...] = ("classifier",)


ARCHITECTURES = {
    "bert": Architecture("bert.encoder.layer"),
    "roberta": Architecture("roberta.encoder.layer"),
    "xlm-roberta": Architecture("roberta.encoder.layer"),
    "electra": Architecture("electra.encoder.layer"),
    "distilbert": Architecture(
        "distilbert.transformer.layer",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        head_output="attention.out_lin",
        self_attention=None,
        attention_end="attention.out_lin",
        attention_norm="sa_layer_norm",
        feed_forward_output=None,
        feed_forward_down="ffn.lin2",
        feed_forward_end="ffn.dropout",
        feed_forward_norm="output_layer_norm",
        classifier=("pre_classifier", "classifier"),
    ),
}


def architecture(kind: str) -> Architecture:
    """Return the names inside models of type `kind` (`config.model_type`).

    Raises:
        UserError: the architecture's heads are not known.
    """
    if kind not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise UserError(f"backbone: where {kind!r} keeps its attention heads is not known (known: {known})")
    return ARCHITECTURES[kind]


class BackboneView:
    """The layers, heads and classifier of one loaded model.

    Args:
        model: a `*ForSequenceClassification` model of a known architecture.

    Raises:
        UserError: the architecture's heads are not known.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._names = architecture(model.config.model_type)
        self.num_layers: int = model.config.num_hidden_layers
        self.num_heads: int = model.config.num_attention_heads
        self.hidden_size: int = model.config.hidden_size
        self.head_dim: int = self.hidden_size // self.num_heads

    def layer(self, index: int) -> nn.Module:
        """Return the whole encoder layer `index`, counted from the embeddings."""
        return self._model.get_submodule(f"{self._names.layers}.{index}")

    def projection(self, layer: int, which: Projection) -> nn.Module:
        """Return the query, key or value projection, weight [H * D', D]; head h owns rows h*D' to (h+1)*D'."""
        return self.layer(layer).get_submodule(getattr(self._names, which))

    def replace_projection(self, layer: int, which: Projection, module: nn.Module) -> None:
        """Put `module` in the place of the query, key or value projection."""
        self.layer(layer).set_submodule(getattr(self._names, which), module)

    def projection_names(self, *which: Projection) -> list[str]:
        """Return the names of projections of all layers in the whole model."""
        return [f"{self._names.layers}.{i}.{getattr(self._names, p)}" for i in range(self.num_layers) for p in which]

    def head_output(self, layer: int) -> nn.Module:
        """Return the module whose input [B, S, H * D'] is the outputs of all heads, side by side."""
        return self.layer(layer).get_submodule(self._names.head_output)

    def has(self, place: Site) -> bool:
        """Return whether the layers of this architecture have such a place."""
        return getattr(self._names, place) is not None

    def at(self, layer: int, place: Site) -> nn.Module:
        """Return the module that stands in a place of a layer."""
        return self.layer(layer).get_submodule(self._path(place))

    def site_names(self, *places: Site) -> list[str]:
        """Return the names of the modules in these places of all layers in the whole model."""
        return [f"{self._names.layers}.{i}.{self._path(place)}" for i in range(self.num_layers) for place in places]

    def replace(self, layer: int, place: Site, module: nn.Module) -> None:
        """Put `module` in a place of a layer."""
        self.layer(layer).set_submodule(self._path(place), module)

    def shift_positions(self, count: int) -> Callable[[], None]:
        """Let the text's positions begin `count` later than they do; return what undoes it."""

        def later(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            # The embeddings count from where earlier tokens ended.
            return inputs, {**options, "past_key_values_length": count}

        embeddings = self._model.base_model.get_submodule("embeddings")
        return embeddings.register_forward_pre_hook(later, with_kwargs=True).remove

    def _path(self, place: Site) -> str:
        path = getattr(self._names, place)
        if path is None:
            kind = self._model.config.model_type
            raise UserError(f"backbone: the layers of {kind!r} have no place for a module at {place}")
        return path

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of all layers, named as in the whole model: no embeddings, no pooler."""
        layers = self._model.get_submodule(self._names.layers)
        return dict(layers.named_parameters(prefix=self._names.layers))

    def classifier_names(self) -> list[str]:
        """Return the names of the modules of the task's output layer, in order."""
        return list(self._names.classifier)

    def classifier_modules(self) -> list[nn.Module]:
        """Return the modules of the task's output layer, in order."""
        return [self._model.get_submodule(name) for name in self._names.classifier]

    def classifier_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter of the task's output layer, named as in the whole model."""
        for name in self._names.classifier:
            yield from self._model.get_submodule(name).named_parameters(prefix=name)
