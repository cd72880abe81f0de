"""DINOv2: ViT with learned scales at the end of attention and feed-forward."""

from collections.abc import Mapping
from typing import ClassVar

from transformers import PretrainedConfig

from peftlab.backbones.architecture import Attention, Site
from peftlab.backbones.architectures.vit import ViT
from peftlab.errors import require


class DINOv2(ViT):
    """DINOv2 (Oquab et al., 2024), without registers. Classified by its first token beside the mean of its patches."""

    name = "dinov2"
    model_types: ClassVar[tuple[str, ...]] = ("dinov2",)
    layers = "encoder.layer"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "attention",
        "attention_end": "layer_scale1",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.fc2",
        "feed_forward_end": "layer_scale2",
        "layer": "",
    }
    any_size = True
    unread = ("embeddings.mask_token",)  # stands for patches that pretraining hides

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections whose heads divide the hidden size.

        Raises:
            UserError: a gated feed-forward, as the giant's.
        """
        require(not config.use_swiglu_ffn, "backbone: dinov2 with a gated feed-forward (giant) is not served")
        return super().attention(config)
