"""Every family: HiFi's scores, what it tunes and what it leaves, on tiny random models, against transformers alone."""

import pytest
import torch
from own_rows import tunes_its_rows_alone_and_merges
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from models import TEXT_TYPES, tiny, tiny_spec
from peftlab.backbones.architecture import architecture
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.backbones.refused import REFUSED
from peftlab.backbones.view import BackboneView
from peftlab.errors import UserError
from peftlab.heads.scoring import score_heads
from peftlab.heads.selection import ChosenHeads
from peftlab.output_layer import OutputLayer, classes
from peftlab.strategies.registry import create_strategy

KINDS = TEXT_TYPES
DECODERS = [kind for kind in KINDS if architecture(kind).reads_last_token]
LENGTHS, WIDTH = (9, 4, 7), 9
# Where pads before a text move its learned positions, in transformers itself: its left-padded scores are others.
MOVED = {"albert", "bert", "distilbert", "electra", "gpt2"}


def texts(backbone: Backbone, side: str) -> dict[str, torch.Tensor]:
    """Return three texts of different lengths, padded to nine on a side."""
    draw = torch.Generator().manual_seed(3)
    pad = backbone.model.config.pad_token_id
    ids, mask = torch.full((3, WIDTH), pad), torch.zeros(3, WIDTH, dtype=torch.long)
    for row, length in enumerate(LENGTHS):
        place = slice(0, length) if side == "right" else slice(WIDTH - length, WIDTH)
        ids[row, place] = torch.randint(5, 60, (length,), generator=draw)
        mask[row, place] = 1
    return {"input_ids": ids, "attention_mask": mask, "index": torch.arange(3)}


def reference_richness(backbone: Backbone, inputs: dict[str, torch.Tensor], xi: float) -> torch.Tensor:
    """Eq. 2 and 3 by a float64 SVD head by head, from eager attention; the output projections are found by hand."""
    model, config = backbone.model, backbone.model.config
    heads = config.num_attention_heads
    names = ("o_proj", "out_proj", "out_lin", "attn.o", "attn.Wo", "attn.c_proj", "attention.dense")
    ends = (*names, "attention.output.dense", "SelfAttention.o")
    outputs = [module for name, module in model.named_modules() if name.endswith(ends) and "classifier" not in name]
    model.set_attn_implementation("eager")
    # A module of each layer; ALBERT's one is called at every depth, and its heads' scores are the means over these.
    caught: dict[nn.Module, list[torch.Tensor]] = {module: [] for module in outputs}
    hooks = [module.register_forward_pre_hook(lambda own, given: caught[own].append(given[0])) for module in outputs]
    with torch.no_grad():
        model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
    for hook in hooks:
        hook.remove()
    assert sum(map(len, caught.values())) == config.num_hidden_layers
    found = torch.zeros(len(outputs), heads, dtype=torch.float64)
    for layer, depths in enumerate(caught.values()):
        for row, mask in zip(torch.cat(depths), inputs["attention_mask"].repeat(len(depths), 1), strict=True):
            for head, own in enumerate(row[mask.bool()].double().chunk(heads, dim=-1)):
                values = torch.linalg.svdvals(own)
                found[layer, head] += 1 + int((values.cumsum(0) / values.sum() < xi).sum())
        found[layer] /= len(depths) * len(inputs["attention_mask"])
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_a_float64_svd_of_eager_outputs_on_either_padding_side(kind: str) -> None:
    found = {}
    # MPNet counts positions from what is not its own pad, whose number stands in its code.
    sizes = {"pad_token_id": 1} if kind == "mpnet" else {}
    for side in ("right", "left"):
        backbone = tiny(kind, attention="auto")
        backbone.model.config.update(sizes)
        inputs = texts(backbone, side)
        found[side] = score_heads(backbone, [inputs], 0.9).richness
        assert torch.equal(found[side], reference_richness(backbone, inputs, 0.9))
        if side == "right":
            one = [
                {
                    name: value[row : row + 1, : LENGTHS[row]] if value.dim() == 2 else value[row : row + 1]
                    for name, value in inputs.items()
                }
                for row in range(3)
            ]
            assert torch.equal(score_heads(tiny(kind, attention="auto"), one, 0.9).richness, found[side])
    assert kind in MOVED or torch.equal(found["left"], found["right"])


@pytest.mark.parametrize("kind", KINDS)
def test_hifi_tunes_its_rows_leaves_all_others_bit_for_bit_and_merges_into_transformers_own_model(kind: str) -> None:
    backbone, untouched = tiny(kind, attention="auto"), tiny(kind, attention="auto").model
    inputs = texts(backbone, "right")
    del inputs["index"]
    tunes_its_rows_alone_and_merges(backbone, untouched, inputs)


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_is_classified_by_its_last_real_token_on_either_side(kind: str) -> None:
    backbone = tiny(kind, attention="auto")
    model, head = backbone.model, backbone.view.classifier_modules()[0]
    for side in ("right", "left"):
        inputs = texts(backbone, side)
        del inputs["index"]
        with torch.no_grad():
            states = model.base_model(**inputs).last_hidden_state
            last = [mask.nonzero().max() for mask in inputs["attention_mask"]]
            expected = head(states[torch.arange(3), torch.stack(last)])
            torch.testing.assert_close(model(**inputs).logits, expected)


@pytest.mark.parametrize("kind", DECODERS)
def test_while_training_no_token_sees_those_after_it_with_or_without_pads(kind: str) -> None:
    fast, plain = tiny(kind, attention="auto").model, tiny(kind, attention="eager").model
    padded = texts(tiny(kind), "right")
    for rows in (slice(0, 1), slice(0, 3)):  # without a pad transformers gives attention no mask
        inputs = {name: padded[name][rows] for name in ("input_ids", "attention_mask")}
        torch.testing.assert_close(fast(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-5)


LACKING = [
    ("gemma3_text", "AutoModelForTokenClassification", "sequence classification"),
    ("gemma3_text", "AutoModelForQuestionAnswering", "sequence classification"),
    *[
        (kind, "AutoModelForMultipleChoice", "sequence classification, token classification, question answering")
        for kind in ("gpt2", "llama", "mistral", "qwen3")
    ],
]


@pytest.mark.parametrize(("kind", "layer", "known"), LACKING)
def test_an_output_layer_that_transformers_does_not_have_is_refused_with_those_that_it_has(kind, layer, known) -> None:
    with pytest.raises(UserError, match=rf"no output layer for [a-z ]+ on \w+; it has those for {known}$"):
        load_backbone(tiny_spec(kind), OutputLayer(layer), 1)


# k = 3, heads 0 to 2 of each layer: (rows of Q + K + V) x hidden size x layers.
GROUPED = {"num_hidden_layers": 16, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 8}
QWEN = {"num_hidden_layers": 28, "hidden_size": 1024, "num_attention_heads": 16, "num_key_value_heads": 8}
GEMMA = {"num_hidden_layers": 18, "hidden_size": 640, "num_attention_heads": 4, "num_key_value_heads": 1}
LARGE = {"num_hidden_layers": 28, "hidden_size": 1024, "num_attention_heads": 16}
V3 = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
COUNTS = [
    ("mpnet", {}, (0, 1, 2), 5_308_416),  # base: 3 x (3 x 64) = 576 rows; 576 x 768 x 12
    ("modernbert", {}, (0, 1, 2), 9_732_096),  # base: 576 x 768 x 22
    ("modernbert", LARGE, (0, 1, 2), 16_515_072),  # large: 576 x 1024 x 28
    ("deberta-v2", V3, (0, 1, 2), 5_308_416),  # v3-base: 576 x 768 x 12
    ("gpt2", {}, (0, 1, 2), 5_308_416),  # small: 576 x 768 x 12
    # Llama-3.2-1B, four query heads a group: 192 + 64 + 64 = 320 rows; 320 x 2048 x 16
    ("llama", {**GROUPED, "head_dim": 64}, (0, 1, 2), 10_485_760),
    # the same of three groups: 192 + 192 + 192 = 576 rows; 576 x 2048 x 16
    ("llama", {**GROUPED, "head_dim": 64}, (0, 4, 8), 18_874_368),
    # Qwen3-0.6B, two a group: 384 + 256 + 256 = 896 rows; 896 x 1024 x 28
    ("qwen3", {**QWEN, "head_dim": 128}, (0, 1, 2), 25_690_112),
    # Gemma-3-270m, one group: 768 + 256 + 256 = 1280 rows; 1280 x 640 x 18
    ("gemma3_text", {**GEMMA, "head_dim": 256, "layer_types": None}, (0, 1, 2), 14_745_600),
]


@pytest.mark.parametrize(("kind", "sizes", "heads", "count"), COUNTS)
def test_hifi_tunes_as_many_weights_of_a_real_configuration_as_its_geometry_says(kind, sizes, heads, count) -> None:
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **sizes))
    view = BackboneView(model)
    backbone = Backbone(kind, model, None, view, "", 0)  # type: ignore[arg-type]
    attached = create_strategy("hifi", {}).attach(backbone, ChosenHeads((heads,) * view.num_layers))
    assert sum(parameter.numel() for parameter in attached.tuned().values()) == count


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_said_is_refused_in_one_line_that_says_why(kind: str) -> None:
    with pytest.raises(UserError, match=f"{kind} is not served: .*(heads|vector)") as caught:
        architecture(kind)
    assert "\n" not in str(caught.value)


def test_torchs_attention_is_refused_where_transformers_writes_it_out() -> None:
    spec = BackboneSpec("here", attention="sdpa", random={"model_type": "mpnet"})
    with pytest.raises(UserError, match=r"backbone.attention=sdpa: mpnet writes its .*; allowed are auto, eager"):
        load_backbone(spec, classes(("yes", "no")), 1)
