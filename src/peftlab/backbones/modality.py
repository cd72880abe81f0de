"""What a backbone reads, texts or images: the processor that comes with its weights, what must fit, random inputs.

A family of architectures says which it is (`Architecture.reads`); what is done with rows is `inputs/`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    BaseImageProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from peftlab.backbones.architecture import Architecture, Reads, architecture
from peftlab.backbones.fit import check_image_processor, check_tokenizer, settle_pad
from peftlab.backbones.tiny import MISFITS, character_tokenizer
from peftlab.errors import UserError
from peftlab.inputs.encoder import Encoder
from peftlab.inputs.image import ImageEncoder, sides
from peftlab.inputs.text import TextEncoder

Processor = PreTrainedTokenizerBase | BaseImageProcessor
_ENDLESS = 10**30  # what a tokenizer says of texts without a limit


class Modality(ABC):
    """One way of reading: its processor is loaded or made, brought to a model, and gives random inputs for trials."""

    @abstractmethod
    def load(self, folder: Path) -> Processor:
        """Return the processor whose files lie in `folder`; errors are those of transformers."""

    @abstractmethod
    def make(self, options: Mapping[str, Any]) -> Processor:
        """Return one for random weights of a config with these options; it needs no files."""

    @abstractmethod
    def settle(self, title: str, model: PreTrainedModel, processor: Any, loaded: bool) -> None:
        """Bring a processor to what a model reads; what was loaded is checked.

        Raises:
            UserError: they do not fit; `title` names the backbone.
        """

    @abstractmethod
    def random_inputs(self, model: PreTrainedModel, size: int, length: int, draw: torch.Generator) -> dict[str, Tensor]:
        """Return `size` inputs drawn at random, of `length` tokens none of which is padding; images are of one size."""


class Texts(Modality):
    """Tokens."""

    def load(self, folder: Path) -> Processor:
        """Return the tokenizer."""
        return cast(PreTrainedTokenizerBase, AutoTokenizer.from_pretrained(folder, trust_remote_code=False))

    def make(self, options: Mapping[str, Any]) -> Processor:
        """Return a tokenizer of characters."""
        return character_tokenizer()

    def settle(self, title: str, model: PreTrainedModel, processor: Any, loaded: bool) -> None:
        """Give the tokenizer the model's longest text, and a decoder a pad; refuse ids that the model does not have."""
        family = family_of(model)
        processor.model_max_length = family.position_limit(model) or _ENDLESS
        if family.reads_last_token:
            settle_pad(title, model, processor)
        if loaded:
            check_tokenizer(title, model, processor)

    def random_inputs(self, model: PreTrainedModel, size: int, length: int, draw: torch.Generator) -> dict[str, Tensor]:
        """Return `input_ids`, none of them the pad where there is one, and `attention_mask` [size, length]."""
        ids = torch.randint(model.config.vocab_size - 1, (size, length), generator=draw)
        pad = getattr(model.config, "pad_token_id", None)
        ids = (ids if pad is None else ids + (ids >= pad)).to(model.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class Images(Modality):
    """Patches of images, always by Pillow: torchvision's sizing gives other pixels, and is not everywhere."""

    def load(self, folder: Path) -> Processor:
        """Return the image processor."""
        found = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
        return cast(BaseImageProcessor, found)

    def make(self, options: Mapping[str, Any]) -> Processor:
        """Return ViT's, which brings images to the model's size."""
        # Not there in the version that the adapters library asks for.
        from transformers import ViTImageProcessorPil

        try:
            family = architecture(options.get("model_type", ""))
            sizes = family.sizes(family.configured(options, {}))
            height, width = sides(sizes.image_size)
            half = [0.5] * sizes.num_channels
        except MISFITS as error:
            raise UserError(f"backbone.random: {' '.join(str(error).split())}") from error
        return ViTImageProcessorPil(size={"height": height, "width": width}, image_mean=half, image_std=half)

    def settle(self, title: str, model: PreTrainedModel, processor: Any, loaded: bool) -> None:
        """Refuse a processor whose images are not those of the model."""
        family = family_of(model)
        check_image_processor(title, family.sizes(model.config), processor, family.any_size)

    def random_inputs(self, model: PreTrainedModel, size: int, length: int, draw: torch.Generator) -> dict[str, Tensor]:
        """Return `pixel_values` [size, C, H, W]."""
        sizes = family_of(model).sizes(model.config)
        shape = (size, sizes.num_channels, *sides(sizes.image_size))
        return {"pixel_values": torch.randn(shape, generator=draw).to(model.device)}


MODALITIES: dict[Reads, Modality] = {"texts": Texts(), "images": Images()}


def family_of(model: PreTrainedModel) -> Architecture:
    """Return the family of a loaded model."""
    return architecture(model.config.model_type)


def modality_of(model: PreTrainedModel) -> Modality:
    """Return what a loaded model reads."""
    return MODALITIES[family_of(model).reads]


def encoder_for(processor: Processor, max_length: int, cache_dir: Path | None = None) -> Encoder:
    """Return what turns rows into a model's inputs by its processor.

    Args:
        processor: a tokenizer or an image processor.
        max_length: longest text in tokens; images have one size.
        cache_dir: where tokens are kept on disk; None keeps nothing.

    Raises:
        UserError: a `max_length` that the tokenizer does not allow.
    """
    if isinstance(processor, BaseImageProcessor):
        return ImageEncoder(processor)
    return TextEncoder(processor, max_length, cache_dir)


def longest_text(processor: Processor) -> int | None:
    """Return how many tokens of a text a model reads at most; None where it reads no texts."""
    return None if isinstance(processor, BaseImageProcessor) else processor.model_max_length
