"""Whether a tokenizer and a model belong together: what would else fail in the middle of training, or silently."""

from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from peftlab.errors import require


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
    types, known = _types(tokenizer), getattr(config, "type_vocab_size", None)
    require(known is None or types <= known, f"{says}a pair of texts has {types} token types, the model has {known}")
    shortest = tokenizer.num_special_tokens_to_add(pair=True) + 2
    limit = tokenizer.model_max_length
    require(limit >= shortest, f"{says}a pair of texts takes {shortest} positions at least, the model has {limit}")


def _types(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many token types a pair of texts has, 0 where the tokenizer gives none."""
    encoded: Any = tokenizer("a", "b")
    return max(encoded.get("token_type_ids") or [-1]) + 1
