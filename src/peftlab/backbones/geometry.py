"""Where an architecture keeps its layers, heads and classifier: the one place that knows their names."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from peftlab.errors import UserError

Projection = Literal["query", "key", "value"]
PROJECTIONS: tuple[Projection, ...] = ("query", "key", "value")


@dataclass(frozen=True)
class Architecture:
    """Names inside a `*ForSequenceClassification` model, relative to the model or to one of its layers.

    `head_output` is the output projection of attention: its input is [B, S, H * D'] with the heads as
    contiguous blocks under every attention kernel.
    """

    layers: str
    query: str = "attention.self.query"
    key: str = "attention.self.key"
    value: str = "attention.self.value"
    head_output: str = "attention.output.dense"
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


class Geometry:
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

    def head_output(self, layer: int) -> nn.Module:
        """Return the module whose input [B, S, H * D'] is the outputs of all heads, side by side."""
        return self.layer(layer).get_submodule(self._names.head_output)

    def classifier_modules(self) -> list[nn.Module]:
        """Return the modules of the task's output layer, in order."""
        return [self._model.get_submodule(name) for name in self._names.classifier]

    def classifier_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter of the task's output layer, named as in the whole model."""
        for name in self._names.classifier:
            yield from self._model.get_submodule(name).named_parameters(prefix=name)
