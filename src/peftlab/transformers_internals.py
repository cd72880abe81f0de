"""What transformers keeps to itself and this laboratory needs: each is used here and nowhere else.

`tests/test_transformers_internals.py` names each with what depends on it, so that an upgrade which takes one away
says what it breaks.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

import transformers
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, Cache, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from peftlab.errors import UserError

# An entry of transformers' table: what it makes of queries [B, H, S, D'], keys and values [B, H_kv, T, D'] and a mask.
AttentionFunction = Callable[..., tuple[Tensor, Tensor | None]]

# transformers 5.24 gave it a new name; with both given it silently drops the old one.
_CACHE_LENGTH = ("cache_length", "past_key_values_length")


def from_config(model_class: Any, config: PretrainedConfig, attention: str | None) -> PreTrainedModel:
    """Return a model with random weights, of one of transformers' auto classes or of a model's own class.

    Args:
        model_class: the class.
        config: of the model.
        attention: which it takes; None for transformers' own choice.
    """
    make = getattr(model_class, "from_config", None) or model_class._from_config
    made: PreTrainedModel = make(config, attn_implementation=attention)
    return made


def torch_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Return attention by torch's fused kernels, as an entry of transformers' table of attention functions."""
    outputs, _ = sdpa_attention_forward(module, query, key, value, mask, **options)
    return outputs, None


def send_attention_through(model: PreTrainedModel, name: str, function: AttentionFunction) -> None:
    """Let every attention of a model go through `function`, which takes masks as torch's kernels do.

    A model that takes no function from outside stays as it is.
    """
    if model.is_backend_compatible():
        AttentionInterface.register(name, function)
        AttentionMaskInterface.register(name, sdpa_mask)
        model.config._attn_implementation = name


def own_cache(value: Any) -> Any:
    """Return a cache of a model's that can be written to while `value` stays as it is; whatever is no cache, itself.

    Keys and values are shared, since a cache joins new ones to them into new tensors.
    """
    if not isinstance(value, Cache):
        return value
    found = copy(value)
    found.layers = [copy(layer) for layer in value.layers]
    return found


def earlier_tokens(given: Mapping[str, Any]) -> int:
    """Return how many tokens of earlier calls a forward pass with these arguments reads from a cache."""
    past = given.get("past_key_values")
    return 0 if past is None else int(past.get_seq_length())


def attend_through(attention: nn.Module, name: str, around: Callable[..., Any]) -> Callable[[], None]:
    """Let one attention call `around(own, attention, query, key, value, mask, **options)`; return what undoes it.

    `own` is the function that it called before, and `options` has whatever `attention` is called with by names that it
    does not know itself. Its masks are made as before.

    Args:
        attention: a module of a model that takes attention functions from outside.
        name: of `around`.
        around: returns what `own` does.
    """
    owner: Any = attention
    before = owner.config
    implementation = before._attn_implementation

    def call(module: nn.Module, *given: Any, **options: Any) -> tuple[Tensor, Tensor | None]:
        result: tuple[Tensor, Tensor | None] = around(
            _attention_function(module, implementation), module, *given, **options
        )
        return result

    AttentionInterface.register(f"{name}-{implementation}", call)
    owner.config = copy(before)
    owner.config._attn_implementation = f"{name}-{implementation}"

    def undo() -> None:
        owner.config = before

    return undo


def _attention_function(attention: nn.Module, implementation: str) -> AttentionFunction:
    """Return the function of a name; what is written out stands in the file of each architecture."""
    written_out: AttentionFunction = sys.modules[type(attention).__module__].eager_attention_forward
    found: AttentionFunction = AttentionInterface().get_interface(implementation, written_out)
    return found


def shift_learned_positions(embeddings: nn.Module, count: int) -> Callable[[], None]:
    """Let embeddings count positions from `count`, as after so many earlier tokens; return what undoes it."""
    name = _argument(embeddings, _CACHE_LENGTH)

    def later(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return inputs, {**options, name: count}

    return embeddings.register_forward_pre_hook(later, with_kwargs=True).remove


def _argument(module: nn.Module, names: tuple[str, ...]) -> str:
    """Return the first of `names` that a module's `forward` takes."""
    taken = inspect.signature(module.forward).parameters
    found = next((name for name in names if name in taken), None)
    if found is None:
        kind, version = type(module).__name__, transformers.__version__
        raise UserError(f"transformers {version}: {kind} takes neither {' nor '.join(names)}")
    return found
