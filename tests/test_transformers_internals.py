"""What transformers keeps to itself is used in one file; an upgrade that takes a piece away says what it breaks."""

import ast

import pytest
import torch
import transformers
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache

from models import batch, logits, tiny
from peftlab import transformers_internals as internals
from peftlab.backbones.architecture import architecture, known_types
from peftlab.errors import UserError
from test_house import FILES, SOURCE

COUNT_POSITIONS = ("bert", "roberta", "xlm-roberta", "electra")
TAKE_A_FUNCTION = [kind for kind in known_types() if "self_attention" in architecture(kind).sites]


def embeddings(kind="bert"):
    return tiny(kind).model.base_model.get_submodule("embeddings")


def takes_a_function_from_outside():
    model = tiny().model
    internals.send_attention_through(model, "named_in_a_test", internals.torch_attention)
    return model.is_backend_compatible() and model.config._attn_implementation == "named_in_a_test"


def asks_the_function_that_the_config_names():
    called = []

    def counted(*arguments, **options):
        called.append(options)
        return internals.torch_attention(*arguments, **options)

    backbone = tiny(kernels=False)
    internals.send_attention_through(backbone.model, "counted_in_a_test", counted)
    logits(backbone, batch(backbone))
    return len(called) == backbone.view.num_layers


def attends_as_torch_does():
    query, key, value = torch.randn(3, 2, 4, 5, 8).unbind()
    module = nn.Module()
    module.is_causal = False
    found, _ = internals.torch_attention(module, query, key, value, None)
    expected = nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
    return torch.allclose(found, expected, atol=1e-6)


def sees_no_padding():
    backbone = tiny(attention="auto", kernels=True)
    alone = {"input_ids": torch.arange(5, 11).view(1, 6), "attention_mask": torch.ones(1, 6, dtype=torch.long)}
    padded = {name: nn.functional.pad(value, (0, 3)) for name, value in alone.items()}
    return torch.allclose(logits(backbone, alone), logits(backbone, padded), atol=1e-6)


def asks_what_stands_around_its_function(kind):
    """Return whether one layer alone asks it, hands on an option that it does not know, and is as before afterwards."""
    asked = []

    def around(own, module, *given, unknown=None, **options):
        asked.append((module, unknown))
        return own(module, *given, **options)

    for written_out in ("eager",) if architecture(kind).eager_only else ("eager", "sdpa"):
        backbone = tiny(kind, attention=written_out, kernels=False)
        attention, inputs = backbone.view.at(0, "self_attention"), batch(backbone)
        before = logits(backbone, inputs)
        undo = internals.attend_through(attention, "around_in_a_test", around)
        give = attention.register_forward_pre_hook(
            lambda _, given, options: (given, {**options, "unknown": 7}), with_kwargs=True
        )
        same = torch.equal(logits(backbone, inputs), before)
        give.remove()
        undo()
        depths = architecture(kind).sizes(backbone.model.config).num_hidden_layers // backbone.view.num_layers
        if not same or asked != [(attention, 7)] * depths or not torch.equal(logits(backbone, inputs), before):
            return False
        asked.clear()
    return True


def keeps_what_it_holds():
    cache = DynamicCache()
    cache.update(*torch.ones(2, 1, 1, 3, 4), layer_idx=0)
    own = internals.own_cache(cache)
    keys, _ = own.update(*torch.zeros(2, 1, 1, 2, 4), layer_idx=0)
    return keys.shape[-2] == 5 and cache.get_seq_length() == 3


def counts_positions_from(kind):
    """Return whether a shift by two lets a text begin where its third token stood."""
    module = embeddings(kind)
    ids = torch.full((1, 6), 9)
    plain = module(input_ids=ids)
    undo = internals.shift_learned_positions(module, 2)
    shifted = module(input_ids=ids[:, :4])
    undo()
    return torch.equal(shifted, plain[:, 2:]) and torch.equal(module(input_ids=ids), plain)


# What is used, whether it still is what it was, and what depends on it.
PIECES = [
    (
        "AttentionInterface, AttentionMaskInterface",
        lambda: all(hasattr(table, "register") for table in (AttentionInterface, AttentionMaskInterface)),
        "kernels/attention.py cannot offer its attention: backbone.attention=auto fails for every backbone",
    ),
    (
        "config._attn_implementation, model.is_backend_compatible",
        takes_a_function_from_outside,
        "kernels/attention.py is passed over: training is slow on a CPU, and its last bits change",
    ),
    (
        "attention functions by name",
        asks_the_function_that_the_config_names,
        "kernels/attention.py is passed over without a word",
    ),
    (
        "integrations.sdpa_attention.sdpa_attention_forward",
        attends_as_torch_does,
        "kernels/attention.py computes something else in evaluation and on a GPU",
    ),
    (
        "masking_utils.sdpa_mask",
        sees_no_padding,
        "kernels/attention.py gets no mask: padding would be attended to",
    ),
    (
        "Cache.layers",
        keeps_what_it_holds,
        "backbones/checkpointing.py: a decoder's layer computed again would see its tokens twice",
    ),
    *(
        (
            f"{kind}: the attention function of one layer",
            lambda kind=kind: asks_what_stands_around_its_function(kind),
            "layers/prefix.py loses its prefix: strategies prefix and mam would tune nothing",
        )
        for kind in TAKE_A_FUNCTION
    ),
    *(
        (
            f"{kind}: embeddings that count from earlier tokens",
            lambda kind=kind: counts_positions_from(kind),
            "backbones/architectures: strategy.shift=true of prefix no longer shifts the text's positions",
        )
        for kind in COUNT_POSITIONS
    ),
]


@pytest.mark.parametrize(("name", "works", "breaks"), PIECES, ids=[name for name, _, _ in PIECES])
def test_what_the_laboratory_needs_of_transformers_is_there(name, works, breaks):
    try:
        ok, reason = works(), "it does something else"
    except Exception as error:
        ok, reason = False, f"{type(error).__name__}: {error}"
    assert ok, f"transformers {transformers.__version__} changed {name} ({reason}): {breaks}"


class InBetween(nn.Module):
    """Takes a count by both names, as versions do that are about to drop the older one."""

    def forward(self, past_key_values_length=0, cache_length=0):
        return past_key_values_length, cache_length


def test_the_newer_name_is_taken_where_there_are_both():
    embeddings = InBetween()
    internals.shift_learned_positions(embeddings, 2)
    assert embeddings() == (0, 2)


def test_a_module_that_takes_no_count_is_named_with_the_version():
    message = f"transformers {transformers.__version__}: Linear takes neither cache_length nor past_key_values_length"
    with pytest.raises(UserError, match=message):
        internals.shift_learned_positions(nn.Linear(2, 2), 2)


PRIVATE = {"past_key_values", "past_key_values_length", "cache_length", "_attn_implementation"}


OTHERS = [path for path in FILES if path != SOURCE / "transformers_internals.py"]


@pytest.mark.parametrize("path", OTHERS, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_other_file_reaches_into_transformers(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in modules if name.startswith("transformers.")]
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    assert not PRIVATE & (attributes | texts)
    assert not {name for name in attributes if name.startswith(("_supports_attention", "_supports_sdpa", "_attn_"))}
