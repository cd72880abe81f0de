"""Whether a processor and a model belong together: what would else fail in the middle of training, or silently."""

import logging
from typing import Any

import numpy as np
from transformers import BaseImageProcessor, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from peftlab.backbones.architecture import architecture
from peftlab.errors import UserError, require, shown
from peftlab.inputs.image import largest_side, pixels_of, sides
from peftlab.inputs.image_files import stored

log = logging.getLogger(__name__)
_LONGEST_SIDE = 4096


def settle_pad(title: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a decoder a pad token where it has none, and say which: it classifies by the last token that is no pad.

    The tokenizer's end of text serves where it has none of its own. Pads are masked, whatever they are.
    """
    if tokenizer.pad_token_id is None and tokenizer.eos_token_id is not None:
        tokenizer.pad_token = tokenizer.eos_token
    if getattr(model.config, "pad_token_id", None) is None and tokenizer.pad_token_id is not None:
        model.config.pad_token_id = tokenizer.pad_token_id
        log.info("backbone=%s: pads are %s, the model had none", title, tokenizer.pad_token)


def check_tokenizer(title: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a tokenizer whose ids, token types or pad the model does not have, or texts longer than its positions.

    Raises:
        UserError: naming the two numbers that do not fit.
    """
    says, config = f"backbone={title}: tokenizer and model do not fit: ", model.config
    largest = max(tokenizer.get_vocab().values(), default=0)
    embeddings: Any = model.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    require(largest < rows, f"{says}token ids go up to {largest}, the model has embeddings for {rows}")
    require(tokenizer.pad_token_id is not None, f"{says}the tokenizer has no pad token")
    padding = getattr(config, "pad_token_id", None)
    require(
        padding == tokenizer.pad_token_id,
        f"{says}the tokenizer pads with {tokenizer.pad_token_id}, the model with {padding} (its pad_token_id)",
    )
    types, known = _types(tokenizer), architecture(config.model_type).token_types(config)
    require(known is None or types <= known, f"{says}a pair of texts has {types} token types, the model has {known}")
    shortest = tokenizer.num_special_tokens_to_add(pair=True) + 2
    limit = tokenizer.model_max_length
    require(limit >= shortest, f"{says}a pair of texts takes {shortest} positions at least, the model has {limit}")


def check_image_processor(title: str, sizes: PretrainedConfig, processor: BaseImageProcessor, any_size: bool) -> None:
    """Refuse an image processor whose images have another size (unless any will do), or other channels.

    Raises:
        UserError: naming both.
    """
    blank, side = np.zeros((64, 96, 3), dtype=np.uint8), largest_side(processor)
    require(side <= _LONGEST_SIDE, f"backbone={title}: images of {side:,} pixels a side; allowed are {_LONGEST_SIDE:,}")
    try:
        found = list(pixels_of(processor, [stored(blank, "image")]).shape[1:])
    except Exception as error:  # settings that do not go together raise whatever comes to hand
        reason = shown(" ".join(str(error).split()), 200)
        raise UserError(f"backbone={title}: its image processor takes no image ({reason})") from error
    expected = [sizes.num_channels, *sides(sizes.image_size)]
    says = f"backbone={title}: image processor and model do not fit: "
    fits = found == expected or (any_size and found[0] == expected[0])
    require(fits, f"{says}its images are {found} (channels, height, width), the model reads {expected}")


def _types(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many token types a pair of texts has, 0 where the tokenizer gives none."""
    encoded: Any = tokenizer("a", "b")
    return max(encoded.get("token_type_ids") or [-1]) + 1
