"""(IA)^3 (Liu et al., 2022, arXiv 2205.05638): learned scales on keys, values and the feed-forward's inner values."""

from dataclasses import dataclass

from peft import IA3Config

from peftlab.backbones.loading import Backbone
from peftlab.strategies.bases.injection import PeftInjection


@dataclass(frozen=True)
class IA3(PeftInjection):
    """Three vectors a layer, l_k, l_v [D] and l_ff [intermediate size], all ones at the start (Section 3.3)."""

    name = "ia3"

    def config(self, backbone: Backbone) -> IA3Config:
        """Return peft's description; its own targets for BERT would scale the attention output's input too."""
        view = backbone.view
        inner = view.site_names("feed_forward_down")
        return IA3Config(target_modules=[*view.projection_names("key", "value"), *inner], feedforward_modules=inner)
