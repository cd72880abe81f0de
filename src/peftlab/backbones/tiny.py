"""A small random backbone and a tokenizer that needs no files: for tests, and to try things in seconds."""

import string
from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from peftlab.errors import UserError

_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_CHARACTERS = string.ascii_lowercase + string.digits + string.punctuation


def character_tokenizer() -> PreTrainedTokenizerBase:
    """Return a lower-casing WordPiece tokenizer whose pieces are single characters: it reads any English text."""
    pieces = [*_SPECIAL, *_CHARACTERS, *(f"##{character}" for character in _CHARACTERS)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def random_model(
    options: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerBase,
    attention: str,
    label_options: Mapping[str, Any],
) -> PreTrainedModel:
    """Return a model with random weights from `options`: `model_type` and the entries of that type's config.

    Raises:
        UserError: the model type is unknown or an entry does not fit it.
    """
    entries = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "type_vocab_size": 2}
    try:
        config = AutoConfig.for_model(**{**entries, **options, **label_options})
        return AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"backbone.random: {str(error).splitlines()[0]}") from error
