"""Which weights of a chosen head are tuned, wherever a family keeps them: no other moves, and merging is plain."""

from typing import Any

import pytest
import torch

from backbones.small_models import tiny
from models import batch, logits
from peftlab.backbones.view import BackboneView
from peftlab.check.small import train
from peftlab.errors import UserError
from peftlab.heads.selection import ChosenHeads
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import apply_delta, describe_delta

# Three projections; one matrix, part by part or head by head; Conv1D; shared keys and values, apart and fused.
FAMILIES = ["bert", "mpnet", "modernbert", "deberta", "gpt_neox", "gpt2", "llama", "phi3"]
PARTS = [["o"], ["v", "o"], ["k"], ["q", "k", "v", "o"]]
HEADS = ChosenHeads(((0, 1), (3,)))
NAMES: dict[str, Any] = {"q": "query", "k": "key", "v": "value"}


def chosen_weights(view: BackboneView, rows: list[str]) -> dict[str, tuple[int, set[int]]]:
    """Return which rows, or columns, of which matrix belong to the heads: axis and numbers by the matrix's name."""
    found: dict[str, tuple[int, set[int]]] = {}
    for layer, heads in enumerate(HEADS.heads):
        for part in rows:
            if part == "o":
                name, numbers = view.head_columns(layer, heads)
                axis = 1 - view.output_axis
            else:
                name, numbers = view.head_rows(layer, NAMES[part], heads)
                axis = view.axis(NAMES[part])
            found.setdefault(f"{name}.weight", (axis, set()))[1].update(numbers.tolist())
    return found


@pytest.mark.parametrize("rows", PARTS, ids="".join)
@pytest.mark.parametrize("kind", FAMILIES)
def test_chosen_weights_alone_move_and_merge_into_a_plain_model(kind: str, rows: list[str]) -> None:
    backbone, untouched = tiny(kind), tiny(kind)
    inputs = {name: value for name, value in batch(backbone).items() if name != "labels"}
    attached = create_strategy("hifi", {"rows": rows}).attach(backbone, HEADS)
    assert torch.equal(logits(backbone, inputs), logits(untouched, inputs))
    train(attached, steps=3)
    tuned = logits(backbone, inputs)
    delta = describe_delta(attached, {"name": backbone.name}, "", ["a", "b"], {})
    restored = apply_delta(delta, tiny(kind, seed=9))
    assert torch.equal(logits(restored.backbone, inputs), tuned)
    expected = chosen_weights(backbone.view, rows)
    # As many as are tuned: those that heads share count once.
    sizes = {name: p.shape for name, p in untouched.model.named_parameters()}
    counted = [len(numbers) * sizes[name][1 - axis] for name, (axis, numbers) in expected.items()]
    assert attached.num_tuned() == sum(counted)
    attached.merge()
    merged = dict(backbone.model.named_parameters())
    classifier = {name for name, _ in backbone.view.classifier_parameters()}
    assert merged.keys() == sizes.keys()
    for name, before in untouched.model.named_parameters():
        if name in expected:
            axis, numbers = expected[name]
            moved = (merged[name] != before).movedim(axis, 0).any(1).nonzero().flatten().tolist()
            assert set(moved) == numbers, name
        elif name not in classifier:
            assert torch.equal(merged[name], before), name
    torch.testing.assert_close(logits(backbone, inputs), tuned, atol=1e-5, rtol=1e-5)


def test_what_o_tunes_is_what_the_model_makes_of_the_heads_output() -> None:
    backbone = tiny("bert")
    name, columns = backbone.view.head_columns(0, [2])
    weight = backbone.model.get_submodule(name).weight
    inputs = {name: value for name, value in batch(backbone).items() if name != "labels"}
    before = backbone.model(**inputs).logits
    with torch.no_grad():
        weight[:, columns] = 0.0
    without_columns = backbone.model(**inputs).logits
    head, rows = backbone.view.head_rows(0, "value", [2])
    backbone = tiny("bert")
    value: Any = backbone.model.get_submodule(head)
    with torch.no_grad():
        value.weight[rows], value.bias[rows] = 0.0, 0.0
    assert not torch.allclose(without_columns, before)
    torch.testing.assert_close(without_columns, backbone.model(**inputs).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": []}, r"strategy.rows=\[\]: allowed are some of q, k, v, o, each once"),
        ({"rows": ["v", "v"]}, r"strategy.rows=\[v, v\]: allowed are some of q, k, v, o, each once"),
        ({"rows": ["x"]}, r"strategy.rows\[0\]=x: allowed are q, k, v, o"),
    ],
)
def test_other_parts_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        create_strategy("hifi", options)


def test_columns_have_no_bias_to_tune() -> None:
    with pytest.raises(UserError, match=r"^strategy\.bias=true: allowed is false, columns of O have no bias"):
        create_strategy("hifi", {"rows": ["o"], "bias": True}).check(tiny("bert"))
    create_strategy("hifi", {"rows": ["v", "o"], "bias": True}).check(tiny("bert"))
