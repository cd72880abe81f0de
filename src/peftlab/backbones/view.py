"""The layers, heads, sites and output layer of one loaded model, whatever its architecture."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftlab.backbones.architecture import PROJECTIONS, Projection, Reads, Site, architecture
from peftlab.errors import UserError, require
from peftlab.output_layer import PER_TOKEN, SEQUENCE_CLASSIFICATION


class BackboneView:
    """One loaded model, seen by what its family says of itself (`architecture.py`).

    Args:
        model: of a known architecture, untouched.
        auto_class: the class of transformers that put the task's output layer onto it; None where it has none.

    Raises:
        UserError: the architecture is not known, has no such output layer, or is not built as its family says.
    """

    def __init__(self, model: PreTrainedModel, auto_class: str | None = SEQUENCE_CLASSIFICATION) -> None:
        self._model = model
        self._model_type: str = model.config.model_type
        self._family = architecture(self._model_type)
        self._attention = self._family.attention(model.config)
        self._classifier = self._family.output_names(auto_class) if auto_class else ()
        # Whether the output layer takes each token of the text by its place in it.
        self.reads_tokens = auto_class is None or auto_class in PER_TOKEN or self._family.reads_tokens(model.config)
        base = self._family.base_name(model)
        self._layers = f"{base}.{self._family.layers}".lstrip(".")
        self._unread = tuple(f"{base}.{part}.".lstrip(".") for part in self._family.unread if auto_class)
        # A list's own length: where layers share their weights, one module serves all depths.
        self.num_layers: int = len(list(model.get_submodule(self._layers).children()))
        self.num_heads: int = self._attention.query.heads
        self.num_key_heads: int = self._attention.key.heads
        self.hidden_size: int = self._family.sizes(model.config).hidden_size
        # Asked of the untouched model: a method may put another module there.
        self._output_axis: Literal[0, 1] = weight_axis(self.head_output(0))
        self.head_dim: int = input_width(self.head_output(0)) // self.num_heads
        self._check()

    @property
    def causal(self) -> bool:
        """Whether no token sees those after it."""
        return self._family.reads_last_token

    @property
    def norm(self) -> Literal["pre", "post"]:
        """Whether LayerNorms stand before attention and feed-forward, or after their residuals."""
        return self._family.norm

    @property
    def reads(self) -> Reads:
        """What the model reads: texts, or images."""
        return self._family.reads

    @property
    def base(self) -> PreTrainedModel:
        """The base model: embeddings and layers, without the task's output layer."""
        return self._family.base(self._model)

    def layer(self, index: int) -> nn.Module:
        """Return the whole encoder layer `index`, counted from the embeddings."""
        return self._model.get_submodule(f"{self._layers}.{index}")

    def projection(self, layer: int, which: Projection) -> nn.Module:
        """Return the module of the query, key or value projection; `head_rows` says which of its rows are whose."""
        return self.layer(layer).get_submodule(self._attention.rows(which).module)

    def replace_projection(self, layer: int, which: Projection, module: nn.Module) -> None:
        """Put `module` in the place of the query, key or value projection."""
        self.layer(layer).set_submodule(self._attention.rows(which).module, module)

    def projection_names(self, *which: Projection) -> list[str]:
        """Return the names of projections of all layers in the whole model, a fused one once."""
        modules = dict.fromkeys(self._attention.rows(p).module for p in which)
        return [f"{self._layers}.{i}.{module}" for i in range(self.num_layers) for module in modules]

    def head_rows(self, layer: int, which: Projection, heads: Iterable[int]) -> tuple[str, Tensor]:
        """Return where a projection keeps what query heads use: a module's name in the whole model, and its rows.

        The rows are int64 [k * D'] in the order of `heads`; columns where `axis` is 1. A key or value head that
        several of the heads share counts once, and then they ascend.
        """
        rows = self._attention.rows(which)
        if rows.heads != self.num_heads:
            heads = sorted({head // self._attention.group for head in heads})
        return f"{self._layers}.{layer}.{rows.module}", rows.of(heads)

    def axis(self, which: Projection) -> Literal[0, 1]:
        """Return which axis of a projection's weight counts the rows of `head_rows`; 1 where it is [D, N]."""
        return self._attention.rows(which).axis

    @property
    def group(self) -> int:
        """How many query heads share a key and value head; 1 where each has its own."""
        return self._attention.group

    def head_output(self, layer: int) -> nn.Module:
        """Return the module whose input [B, S, H * D'] is the outputs of all heads, side by side."""
        return self.layer(layer).get_submodule(self._attention.output)

    def head_columns(self, layer: int, heads: Iterable[int]) -> tuple[str, Tensor]:
        """Return what the output projection reads of query heads: its name in the whole model, and columns [k * D']."""
        columns = [torch.arange(head * self.head_dim, (head + 1) * self.head_dim) for head in heads]
        return f"{self._layers}.{layer}.{self._attention.output}", torch.cat(columns)

    @property
    def output_axis(self) -> Literal[0, 1]:
        """Return 0 where the output projection's weight is [N, D], 1 where it is [D, N], as in `Conv1D`."""
        return self._output_axis

    def has(self, site: Site) -> bool:
        """Return whether the layers of this architecture have such a site."""
        return site in self._family.sites

    def at(self, layer: int, site: Site) -> nn.Module:
        """Return the module that stands at a site of a layer."""
        return self.layer(layer).get_submodule(self._path(site))

    def site_names(self, *sites: Site) -> list[str]:
        """Return the names of the modules at these sites of all layers in the whole model."""
        return [f"{self._layers}.{i}.{self._path(site)}".rstrip(".") for i in range(self.num_layers) for site in sites]

    def replace(self, layer: int, site: Site, module: nn.Module) -> None:
        """Put `module` at a site of a layer."""
        self._model.set_submodule(f"{self._layers}.{layer}.{self._path(site)}".rstrip("."), module)

    def shift_positions(self, count: int) -> Callable[[], None]:
        """Let the text's positions begin `count` later than they do; return what undoes it."""
        return self._family.shift_positions(self._model, count)

    def encoder_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters of all layers, named as in the whole model: no embeddings, no pooler."""
        return dict(self._model.get_submodule(self._layers).named_parameters(prefix=self._layers))

    def tunable_parameters(self) -> dict[str, nn.Parameter]:
        """Return all parameters, named as in the whole model, but the output layer's and those that none reads."""
        apart = {name for name, _ in self.classifier_parameters()}
        named = self._model.named_parameters()
        return {name: p for name, p in named if name not in apart and not f"{name}.".startswith(self._unread)}

    def classifier_names(self) -> list[str]:
        """Return the names of the modules of the task's output layer, in order."""
        return list(self._classifier)

    def classifier_modules(self) -> list[nn.Module]:
        """Return the modules of the task's output layer, in order."""
        return [self._model.get_submodule(name) for name in self._classifier]

    def classifier_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Yield name and parameter of the task's output layer, named as in the whole model."""
        for name in self._classifier:
            yield from self._model.get_submodule(name).named_parameters(prefix=name)

    def _path(self, site: Site) -> str:
        if site not in self._family.sites:
            raise UserError(f"backbone: the layers of {self._model_type!r} have no place for a module at {site}")
        return self._family.sites[site]

    def _check(self) -> None:
        """Refuse a family whose facts do not fit the model: heads would silently be taken for others."""
        attention = self._attention
        says = f"backbone: architecture {self._family.name} does not fit this {self._model_type!r}: "
        require(
            self.num_heads % attention.key.heads == 0 and attention.key.heads == attention.value.heads,
            f"{says}{self.num_heads} query heads cannot share {attention.key.heads} key heads",
        )
        for which in PROJECTIONS:
            rows = attention.rows(which)
            weight: Any = self.projection(0, which).weight
            fits = rows.head_dim == self.head_dim and rows.end <= weight.shape[rows.axis]
            require(
                fits,
                f"{says}{rows.heads} {which} heads of {rows.head_dim} in {tuple(weight.shape)}, "
                f"the output projection reads {self.num_heads} of {self.head_dim}",
            )


def weight_axis(projection: nn.Module) -> Literal[0, 1]:
    """Return which axis of a weight counts rows: 0 of [N, D], 1 of [D, N], as transformers' `Conv1D` has it."""
    return 0 if hasattr(projection, "in_features") else 1


def input_width(projection: Any) -> int:
    """Return D of a linear layer, or what stands for one, or of transformers' `Conv1D`, whose weight is [D, N]."""
    width: int = projection.in_features if hasattr(projection, "in_features") else projection.weight.shape[0]
    return width
