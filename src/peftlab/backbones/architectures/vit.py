"""ViT: an image cut into patches, each of which is a token, with one more that is classified by."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Site, separate
from peftlab.inputs.image import sides


class ViT(Architecture):
    """ViT (Dosovitskiy et al., 2021); LayerNorms before attention and feed-forward, positions learned.

    One module drops out at the end of both attention and feed-forward: what is put there would stand in both places.
    """

    name = "vit"
    model_types: ClassVar[tuple[str, ...]] = ("vit",)
    layers = "layers"
    norm = "pre"
    reads = "images"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "attention",
        "attention_end": "attention.o_proj",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.fc2",
        "feed_forward_end": "mlp.fc2",
        "layer": "",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {"AutoModelForImageClassification": ("classifier",)}
    small: ClassVar[Mapping[str, Any]] = {"image_size": 8, "patch_size": 2}
    special_tokens: ClassVar[int] = 1  # beside the patches
    projections: ClassVar[tuple[str, str, str, str]] = (  # of queries, keys, values, and of what the heads give
        "attention.q_proj",
        "attention.k_proj",
        "attention.v_proj",
        "attention.o_proj",
    )

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections whose heads divide the hidden size."""
        sizes = self.sizes(config)
        heads = sizes.num_attention_heads
        return separate(*self.projections, heads=heads, head_dim=sizes.hidden_size // heads)

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return the number of patches and special tokens, which each image has."""
        sizes = self.sizes(model.config)
        (height, width), (down, across) = map(sides, (sizes.image_size, sizes.patch_size))
        return self.special_tokens + (height // down) * (width // across)
