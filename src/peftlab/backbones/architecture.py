"""What a family of architectures says of itself: where its models keep layers, heads and output layers.

One file a family in `architectures/`, found by itself by the `model_type` of a model's config; a user's package may
bring more. Nothing outside a family's file knows a name inside its models.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from peftlab.backbones.refused import REFUSED
from peftlab.errors import UserError, require
from peftlab.registry import Registry
from peftlab.transformers_internals import AttentionFunction, send_attention_through

Projection = Literal["query", "key", "value"]
Reads = Literal["texts", "images"]
PROJECTIONS: tuple[Projection, ...] = ("query", "key", "value")
BY_LETTER: dict[str, Projection] = {name[0]: name for name in PROJECTIONS}  # as options name them

# Where a method may put a module into a layer; a family says which of them it has.
Site = Literal[
    "self_attention",  # hands what it is called with to an attention function that the config names
    "attention_end",  # the last module before attention's residual is added
    "attention_norm",  # the LayerNorm that takes the sum with that residual
    "feed_forward",  # maps what the feed-forward takes to what it gives, its residual apart
    "feed_forward_output",  # takes the feed-forward's inner values and the residual
    "feed_forward_down",  # the projection of the inner values
    "feed_forward_end",  # the last module before the feed-forward's residual is added
    "feed_forward_norm",  # the LayerNorm that takes the sum with that residual
    "layer",  # the whole of it, where no norm follows the last residual; its name inside itself is ""
]


@dataclass(frozen=True)
class Rows:
    """Where one projection keeps its heads: head h owns the `head_dim` rows of a weight from `first + h * step`.

    Attributes:
        module: name inside a layer; the projections of a fused matrix name the same one.
        first: the first row of head 0.
        heads: H; of keys and values maybe fewer than of queries.
        head_dim: D'.
        axis: the axis of the weight that counts rows: 0 in `nn.Linear` [N, D], 1 in transformers' `Conv1D` [D, N].
        step: rows from one head to the next, None for D'; more where a matrix holds [query, key, value] of each head.
    """

    module: str
    first: int
    heads: int
    head_dim: int
    axis: Literal[0, 1] = 0
    step: int | None = None

    def of(self, heads: Iterable[int]) -> Tensor:
        """Return the numbers of the rows that `heads` own, int64 [k * D'], head after head."""
        starts = [self.first + head * (self.step or self.head_dim) for head in heads]
        return torch.cat([torch.arange(start, start + self.head_dim) for start in starts])

    @property
    def end(self) -> int:
        """The number of rows that the weight has at least."""
        return self.first + (self.heads - 1) * (self.step or self.head_dim) + self.head_dim


@dataclass(frozen=True)
class Attention:
    """The attention of each layer, whose heads are those of the queries.

    Attributes:
        query, key, value: where each projection keeps its heads.
        output: name inside a layer of the projection whose input [B, S, H * D'] is the heads' outputs side by side.
        normed_together: whether queries and keys are normalised over all heads, so that the rows of one move all.
    """

    query: Rows
    key: Rows
    value: Rows
    output: str
    normed_together: bool = False

    def rows(self, which: Projection) -> Rows:
        """Return where a projection keeps its heads."""
        return {"query": self.query, "key": self.key, "value": self.value}[which]

    @property
    def group(self) -> int:
        """How many query heads share a key and value head: head h reads that of number h // group."""
        return self.query.heads // self.key.heads


def separate(query: str, key: str, value: str, output: str, heads: int, head_dim: int) -> Attention:
    """Return an attention of three projections with H heads each, which lie side by side."""
    q, k, v = (Rows(module, 0, heads, head_dim) for module in (query, key, value))
    return Attention(q, k, v, output)


class Architecture(ABC):
    """The facts about one family. Names are relative to the base model (`layers`, `may_lack`), or as each says.

    Attributes:
        name: that of the file.
        model_types: values of `config.model_type` that the family serves.
        layers: name of the list of layers in the base model.
        norm: whether LayerNorms stand before attention and feed-forward, or after their residuals.
        sites: names inside a layer of the sites that the family has.
        output_layers: names in the whole model of the modules of the task's output layer, by the class of
            transformers that puts it there.
        may_lack: parts of the base model that files of weights may be without; they are drawn from a fixed seed.
        unread: parts of the base model that no output layer reads: nothing there can be tuned.
        reads: texts, or images, whose patches stand for tokens.
        any_size: whether images may have another size than the config says: positions are interpolated.
        eager_only: whether transformers writes its attention out, and takes no other.
        reads_last_token: whether a sequence is classified by its last token that is no pad, as decoders do, whose
            tokens see none after them.
        small: entries of a small model's config beside the usual ones (layers, heads, widths), for the contract.
    """

    name: ClassVar[str]
    model_types: ClassVar[tuple[str, ...]]
    layers: ClassVar[str]
    norm: ClassVar[Literal["pre", "post"]]
    sites: ClassVar[Mapping[Site, str]]
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]]
    may_lack: ClassVar[tuple[str, ...]] = ()
    unread: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[Reads] = "texts"
    any_size: ClassVar[bool] = False
    eager_only: ClassVar[bool] = False
    reads_last_token: ClassVar[bool] = False
    small: ClassVar[Mapping[str, Any]] = {}

    def configured(self, entries: Mapping[str, Any], labels: Mapping[str, Any]) -> PretrainedConfig:
        """Return the config of a model with random weights.

        Args:
            entries: `model_type`, and sizes as `sizes` has them.
            labels: what an output layer adds (`OutputLayer.options`).
        """
        return AutoConfig.for_model(**{**entries, **labels})

    def sizes(self, config: PretrainedConfig) -> PretrainedConfig:
        """Return what of a config has the sizes of the base model: all of it (default), or a part."""
        return config

    def base_name(self, model: PreTrainedModel) -> str:
        """Return the name in a whole model of its base model; "" where it has no output layer around that."""
        prefix: str = model.base_model_prefix
        return prefix if hasattr(model, prefix) else ""

    def base(self, model: PreTrainedModel) -> PreTrainedModel:
        """Return the base model, embeddings and layers, of a whole one."""
        return cast(PreTrainedModel, model.get_submodule(self.base_name(model)))

    @abstractmethod
    def attention(self, config: PretrainedConfig) -> Attention:
        """Return where the layers of a model of this config keep their heads."""

    @abstractmethod
    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return how many tokens (patches of images) a model reads at most, None for any number."""

    def token_types(self, config: PretrainedConfig) -> int | None:
        """Return how many token types a model knows; None where it reads none, whatever it is given."""
        known: int | None = getattr(config, "type_vocab_size", None)
        return known

    def send_attention(self, model: PreTrainedModel, name: str, function: AttentionFunction) -> None:
        """Let every attention of a model go through `function`, which gets a name in transformers' table of them.

        A model whose attention transformers writes out stays as it is, unless its family knows better.
        """
        if not self.eager_only:
            send_attention_through(model, name, function)

    def shift_positions(self, model: PreTrainedModel, count: int) -> Callable[[], None]:
        """Let the text's positions begin `count` later than they do; return what undoes it.

        Raises:
            UserError: the family's positions cannot be shifted (default).
        """
        raise UserError(f"backbone: the positions of {model.config.model_type!r} cannot be shifted")

    def reads_tokens(self, config: PretrainedConfig) -> bool:
        """Return whether a sequence is classified by tokens of the text that are told from others by their place.

        The last one is such a token (default), or all that the mask shows.
        """
        return self.reads_last_token

    def output_names(self, auto_class: str) -> tuple[str, ...]:
        """Return the names of the modules of an output layer in the whole model, in order.

        Raises:
            UserError: the family has no such output layer.
        """
        known = ", ".join(map(_in_words, self.output_layers))
        asked = f"backbone: transformers has no output layer for {_in_words(auto_class)} on {self.name}"
        require(auto_class in self.output_layers, f"{asked}; it has those for {known}")
        return self.output_layers[auto_class]

    def model_class(self, auto_class: str) -> Any:
        """Return the class of transformers that makes a model with an output layer.

        Raises:
            UserError: the family, or this version of transformers, has no such class.
        """
        self.output_names(auto_class)
        found = getattr(transformers, auto_class, None)
        require(found is not None, f"backbone: transformers {transformers.__version__} has no {auto_class}")
        return found


def _in_words(auto_class: str) -> str:
    """Return ``multiple choice`` for ``AutoModelForMultipleChoice``."""
    return " ".join(re.findall("[A-Z][a-z]+", auto_class.removeprefix("AutoModelFor"))).lower()


# The type checker takes no abstract class for a type; here it only says what others derive from.
ARCHITECTURES: Registry[Architecture] = Registry(
    Architecture,  # type: ignore[type-abstract]
    "peftlab.backbones.architectures",
    "architecture",
)


def known_types() -> list[str]:
    """Return the values of `config.model_type` that some family serves."""
    return sorted(known for family in ARCHITECTURES.classes() for known in family.model_types)


def architecture(model_type: str) -> Architecture:
    """Return the family of models of a type (`config.model_type`).

    Raises:
        UserError: no family serves this type, or two do.
    """
    found = [family for family in ARCHITECTURES.classes() if model_type in family.model_types]
    if not found:
        if model_type in REFUSED:
            raise UserError(f"backbone: {model_type} is not served: {REFUSED[model_type]}")
        known = ", ".join(known_types())
        raise UserError(f"backbone: where {model_type!r} keeps its attention heads is not known (known: {known})")
    names = " and ".join(family.name for family in found)
    require(len(found) == 1, f"backbone: architectures {names} both serve {model_type!r}; allowed is one")
    return found[0]()
