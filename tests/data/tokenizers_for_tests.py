"""Small tokenizers that need no file and no network."""

from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

WORDS = ["a", "bird", "dog", "every", "fish", "in", "no", "saw", "sang", "sparrow", "swam", "the", "trout", "tree"]
SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def small_tokenizer(*, types: bool = True, words: list[str] = WORDS, **options: Any) -> PreTrainedTokenizerFast:
    """Return a whole-word tokenizer in BERT's manner: [CLS] a [SEP] b [SEP]; pad id 0, first word id 4."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL.values(), *words])}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = ["input_ids", "token_type_ids", "attention_mask"] if types else ["input_ids", "attention_mask"]
    settings = {"model_max_length": 512, "model_input_names": names} | options
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL | settings)
