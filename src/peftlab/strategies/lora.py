"""LoRA (Hu et al., 2021, arXiv 2106.09685): a low-rank update beside chosen attention projections, through peft."""

from dataclasses import dataclass
from typing import Literal

from peft import LoraConfig

from peftlab.backbones.architecture import BY_LETTER
from peftlab.backbones.loading import Backbone
from peftlab.errors import require
from peftlab.strategies.bases.injection import PeftInjection
from peftlab.strategies.bases.sized import Size, SizedStrategy

Target = Literal["qv", "qk", "qkv"]


@dataclass(frozen=True)
class Lora(SizedStrategy, PeftInjection):
    """y = W x + b + (alpha / r) B A x, with A [r, D] random and B [N, r] zero at the start.

    Options (defaults and their sources in `conf/strategy/lora.yaml`):
        r: rank of the update.
        alpha: its scale is alpha / r; `auto`: r, so that the scale is 1 whatever the rank.
        dropout: on the input of A.
        target: the attention projections that are updated, by their first letters.
        init: how A is drawn: `kaiming`, uniform as in the authors' code, or `gaussian`, as the paper says.
    """

    name = "lora"
    sized_by = "r"

    r: int = 8
    alpha: Size = 8
    dropout: float = 0.0
    target: Target = "qv"
    init: Literal["kaiming", "gaussian"] = "kaiming"

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = self.alpha == "auto" or self.alpha >= 1
        require(fits, f"strategy.alpha={self.alpha}: allowed is 1 or more, or auto")
        require(0 <= self.dropout < 1, f"strategy.dropout={self.dropout}: allowed is 0 or more, less than 1")

    def check(self, backbone: Backbone) -> None:
        """Refuse a rank above the matrix's own."""
        size = backbone.view.hidden_size
        require(self.r <= size, f"strategy.r={self.r}: allowed are 1 to {size}, the hidden size of {backbone.name}")
        super().check(backbone)

    def config(self, backbone: Backbone) -> LoraConfig:
        """Return peft's description."""
        return LoraConfig(
            r=self.r,
            lora_alpha=self.r if self.alpha == "auto" else self.alpha,
            lora_dropout=self.dropout,
            init_lora_weights=True if self.init == "kaiming" else "gaussian",
            target_modules=backbone.view.projection_names(*(BY_LETTER[letter] for letter in self.target)),
        )
