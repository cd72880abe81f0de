"""How the weights that nothing tunes are kept while training: `backbone.quantize`, `backbone.dtype`."""

from collections.abc import Sequence

from torch import nn

from peftlab.backbones.bfloat16 import keep_frozen_in_bfloat16
from peftlab.backbones.loading import Backbone
from peftlab.backbones.quantised import keep_in_codes, layer_matrices
from peftlab.errors import require
from peftlab.strategies.attached import Attached


def rounded_matrices(backbone: Backbone) -> list[nn.Parameter]:
    """Return the matrices that `backbone.quantize` has rounded, before a strategy comes."""
    return layer_matrices(backbone.view) if backbone.quantize else []


def keep_frozen(attached: Attached, rounded: Sequence[nn.Parameter]) -> None:
    """Keep what nothing tunes as the backbone's options say; no number depends on it.

    Args:
        attached: a strategy, just attached.
        rounded: what `rounded_matrices` returned before.

    Raises:
        UserError: the strategy leaves no matrix as it was.
    """
    backbone = attached.backbone
    if backbone.quantize:
        attached.keep_no_copies()
        kept = keep_in_codes(backbone.model, rounded, backbone.quantize)
        require(
            kept > 0,
            f"backbone.quantize={backbone.quantize}: allowed is null, strategy {attached.strategy.name} leaves no "
            f"matrix of backbone {backbone.name}'s layers as it is",
        )
    if backbone.dtype == "bfloat16":
        keep_frozen_in_bfloat16(backbone.model)
