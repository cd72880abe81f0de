"""Model types whose heads cannot be said by `Attention`, each with the reason in a line."""

from collections.abc import Mapping

_GATED = "its query projection holds a gate beside each head's queries, and other layers have no softmax heads"
_LATENT = "its keys and values of all heads come from one latent vector, whose rows belong to no head"
_ALONE = "transformers has no classifier above the heads of this tower alone; allowed is a folder of the whole model"

REFUSED: Mapping[str, str] = {
    "swin": "the number of its heads differs by stage",
    "swinv2": "the number of its heads differs by stage",
    "qwen3_next": _GATED,
    "qwen3_5": _GATED,
    "qwen3_5_text": _GATED,
    "deepseek_v2": _LATENT,
    "deepseek_v3": _LATENT,
    "clip_vision_model": _ALONE,
    "siglip_vision_model": _ALONE,
    "siglip2": "its images have sizes of their own, and the scores of heads take no mask over patches",
    "dinov3_vit": "transformers has no image classification class above its heads",
    "gemma3": "it has layers for images, with other heads, beside those of texts, which alone are gemma3_text",
    "gemma4": "the width of its heads differs by layer",
    "gemma4_text": "the width of its heads differs by layer",
}
