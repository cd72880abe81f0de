"""DeiT: ViT with a second special token, which was trained on a teacher's answers."""

from typing import Any, ClassVar

from transformers import DeiTForImageClassification

from peftlab.backbones.architectures.vit import ViT


class DeiT(ViT):
    """DeiT (Touvron et al., 2021), classified by its first token: the teacher's has its own output layer, left out."""

    name = "deit"
    model_types: ClassVar[tuple[str, ...]] = ("deit",)
    special_tokens: ClassVar[int] = 2

    def model_class(self, auto_class: str) -> Any:
        """Return DeiT's own class: transformers' choice depends on what a config was saved for."""
        self.output_names(auto_class)
        return DeiTForImageClassification
