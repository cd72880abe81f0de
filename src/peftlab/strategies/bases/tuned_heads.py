"""What methods share that tune the weights of chosen heads where they lie: rows of Q, K and V, columns of O."""

from collections.abc import Sequence
from typing import Literal, Protocol

from torch import nn

from peftlab.backbones.architecture import BY_LETTER, Projection
from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.heads.selection import ChosenHeads, HeadSelection
from peftlab.heads.weights import HeadMatrix, rows_by_module
from peftlab.layers.head_rows import HeadColumnsLinear, HeadRowsLinear
from peftlab.strategies.attached import Options
from peftlab.strategies.bases.replaced import AttachedReplacements

Part = Literal["q", "k", "v", "o"]


class TunedHeads(Options, Protocol):
    """Options of a method that tunes chosen heads: which of their weights, and whether biases too."""

    @property
    def rows(self) -> list[Part]:
        """Of Q, K and V the rows, of O the columns that belong to a head."""
        ...

    @property
    def bias(self) -> bool:
        """Whether the biases of rows are tuned too; columns have none of their own."""
        ...


def check_parts(rows: Sequence[Part]) -> None:
    """Raise UserError unless `rows` names some of q, k, v and o, each once."""
    once = bool(rows) and len(set(rows)) == len(rows)
    require(once, f"rows=[{', '.join(rows)}]: allowed are some of q, k, v, o, each once")


def check_biases(options: TunedHeads, backbone: Backbone) -> None:
    """Raise UserError where biases are to be tuned that do not exist."""
    chosen = projections(options.rows)
    require(bool(chosen) or not options.bias, "bias=true: allowed is false, columns of O have no bias of their own")
    biased = all(backbone.view.projection(0, which).bias is not None for which in chosen)
    require(
        biased or not options.bias,
        f"bias=true: allowed is false, projections of backbone {backbone.name} have no bias",
    )


def projections(rows: Sequence[Part]) -> list[Projection]:
    """Return the projections of which rows are tuned, in the order of Q, K, V."""
    return [which for letter, which in BY_LETTER.items() if letter in rows]


def parts_of(rows: Sequence[Part]) -> list[HeadMatrix]:
    """Return the projections whose weights are tuned, the output projection among them maybe."""
    found: list[HeadMatrix] = [*projections(rows)]
    return [*found, "output"] if "o" in rows else found


class AttachedHeads(AttachedReplacements):
    """The weights that belong to the chosen heads of a frozen backbone."""

    strategy: TunedHeads
    selection: HeadSelection | ChosenHeads

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the tuned weights, as ``layers.<layer>.<projection>.<weight_rows, bias_rows or weight_columns>``.

        The rows of a matrix that holds several projections are one parameter, named ``query-key-value`` or the like.
        """
        return {
            f"{name}.{part}": parameter
            for name, (_, module) in self._modules.items()
            for part, parameter in module.named_parameters(recurse=False)
        }

    def keep_no_copies(self) -> None:
        """Let the layers compute beside the frozen ones: a whole matrix of their own would be a copy."""
        for _, module in self._modules.values():
            module.keeps_whole = False

    def _insert(self, selection: HeadSelection | ChosenHeads) -> None:
        # By its name here: the path in the model, the module.
        self._modules: dict[str, tuple[str, HeadRowsLinear | HeadColumnsLinear]] = {}
        check_heads(selection.heads, self.backbone.view, f"backbone {self.backbone.name}")
        for layer, heads in enumerate(selection.heads):
            if heads:
                self._insert_rows(layer, heads)
                if "o" in self.strategy.rows:
                    self._insert_columns(layer, heads)

    def _insert_rows(self, layer: int, heads: Sequence[int]) -> None:
        view = self.backbone.view
        found = rows_by_module(view, layer, heads, projections(self.strategy.rows))
        for path, (inside, rows) in found.items():
            module = HeadRowsLinear(self.model.get_submodule(path), rows, self.strategy.bias, view.axis(inside[0]))
            self._replace(f"layers.{layer}.{'-'.join(inside)}", path, module)

    def _insert_columns(self, layer: int, heads: Sequence[int]) -> None:
        path, columns = self.backbone.view.head_columns(layer, heads)
        frozen, axis = self.model.get_submodule(path), self.backbone.view.output_axis
        module = HeadColumnsLinear(frozen, columns.sort().values, axis)
        self._replace(f"layers.{layer}.output", path, module)


def check_heads(heads: Sequence[Sequence[int]], view: BackboneView, name: str) -> None:
    """Raise UserError unless `heads` names, for each layer of the model that is called `name`, some of its heads."""
    require(
        len(heads) == view.num_layers,
        f"selection: {len(heads)} layers, {name} has {view.num_layers}",
    )
    for layer, chosen in enumerate(heads):
        valid = len(set(chosen)) == len(chosen) and all(0 <= head < view.num_heads for head in chosen)
        require(
            valid,
            f"selection: heads {list(chosen)} of layer {layer}: allowed are 0 to {view.num_heads - 1}",
        )
