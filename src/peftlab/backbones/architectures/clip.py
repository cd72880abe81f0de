"""CLIP: the tower of images alone, a ViT whose layers keep names of their own."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Site
from peftlab.backbones.architectures.vit import ViT


class CLIP(ViT):
    """CLIP (Radford et al., 2021), classified by the mean of its patches.

    Its first token, and the LayerNorm over it, are for the comparison with texts.
    """

    name = "clip"
    model_types: ClassVar[tuple[str, ...]] = ("clip",)
    layers = "encoder.layers"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "self_attn",
        "attention_end": "self_attn.out_proj",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.fc2",
        "feed_forward_end": "mlp.fc2",
        "layer": "",
    }
    projections: ClassVar[tuple[str, str, str, str]] = (
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.out_proj",
    )
    unread: ClassVar[tuple[str, ...]] = ("post_layernorm",)

    def configured(self, entries: Mapping[str, Any], labels: Mapping[str, Any]) -> PretrainedConfig:
        """Return a config whose tower of images has these sizes; that of texts is never made."""
        sizes = {name: value for name, value in entries.items() if name != "model_type"}
        return AutoConfig.for_model(entries["model_type"], vision_config=sizes, **labels)

    def sizes(self, config: PretrainedConfig) -> PretrainedConfig:
        """Return the config of the tower of images."""
        found: PretrainedConfig = config.vision_config
        return found

    def base_name(self, model: PreTrainedModel) -> str:
        """Return the name of the tower of images."""
        return "vision_model"
