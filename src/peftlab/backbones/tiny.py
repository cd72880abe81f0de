"""A small random backbone and a tokenizer that needs no files: for tests, and to try things in seconds."""

import string
from collections.abc import Mapping
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    BaseImageProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from peftlab.backbones.allowance import Allowance
from peftlab.backbones.architecture import architecture
from peftlab.errors import UserError, nearest, require
from peftlab.output_layer import OutputLayer
from peftlab.transformers_internals import from_config

_MOST_LAYERS, _MOST_NUMBERS = 1000, 2**31
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
# What transformers and torch raise for entries of a config that do not go together.
MISFITS = (ValueError, KeyError, TypeError, ArithmeticError, RuntimeError, StrictDataclassError)
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
    processor: PreTrainedTokenizerBase | BaseImageProcessor,
    attention: str | None,
    output: OutputLayer,
) -> PreTrainedModel:
    """Return a model with random weights from `options`: `model_type` and the entries of that type's config.

    The weights of the base model depend on the random state alone, not on the labels.

    Raises:
        UserError: the model type is unknown, has no such output layer, or an entry does not fit it.
    """
    family = architecture(options.get("model_type", ""))
    model_class = family.model_class(output.auto_class)
    entries = {} if isinstance(processor, BaseImageProcessor) else _token_entries(processor)
    _check_options(options)
    _check_vocabulary(options, entries.get("vocab_size", 0))
    layers = options.get("num_hidden_layers", 1)
    require(
        isinstance(layers, int) and layers <= _MOST_LAYERS,
        f"backbone.random.num_hidden_layers={layers}: allowed are up to {_MOST_LAYERS}",
    )
    try:
        with Allowance(_MOST_NUMBERS, "backbone.random"):
            bare, model = (
                from_config(model_class, family.configured({**entries, **options}, labels), attention)
                for labels in ({}, output.options)
            )
    except MISFITS as error:
        raise UserError(f"backbone.random: {' '.join(str(error).split())}") from error
    # Some architectures draw the output layer first, and the number of labels would shift all later draws.
    family.base(model).load_state_dict(family.base(bare).state_dict())
    return model


def _token_entries(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "type_vocab_size": 2}


def _check_vocabulary(options: Mapping[str, Any], least: int) -> None:
    given = options.get("vocab_size", least)
    require(
        isinstance(given, int) and given >= least,
        f"backbone.random.vocab_size={given}: allowed is {least} or more, what its tokenizer knows",
    )


def _check_options(options: Mapping[str, Any]) -> None:
    """Refuse an entry that the type's config would keep and nobody would read.

    The names of BERT's config stand in the shipped files whatever the type, so each type lets them through.
    """
    family = architecture(options["model_type"])
    config, bert = family.sizes(AutoConfig.for_model(options["model_type"])), AutoConfig.for_model("bert")
    for name in options:
        # Some entries are read where they are given, and a plain config has none of them.
        if not (hasattr(config, name) or hasattr(bert, name) or name in family.small):
            meant = nearest(name, config.to_dict())
            raise UserError(f"backbone.random.{name}: {options['model_type']} has no such option{meant}")
