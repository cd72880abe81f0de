"""Gradients at heads and at their weights: those of plain autograd over a computation written out head by head."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import wasserstein_distance
from torch import Tensor

from models import batch, tiny
from peftlab.backbones.loading import Backbone
from peftlab.heads.gradients import gradient_scores
from peftlab.heads.weights import head_shift, projection_weights

PARTS: list[Any] = ["query", "key", "value", "output"]
HEADS, SIZE = 4, 8  # of the small models, which have two layers


def double(kind: str = "bert") -> Backbone:
    backbone = tiny(kind, attention="eager")
    backbone.model.double()
    return backbone


def loss_of(backbone: Backbone) -> Callable[[dict[str, Tensor]], Tensor]:
    def loss(inputs: dict[str, Tensor]) -> Tensor:
        given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        return F.cross_entropy(backbone.model(**given).logits, inputs["labels"])

    return loss


def examples(backbone: Backbone, number: int = 5) -> list[dict[str, Tensor]]:
    """Return batches of one example each, padded to twelve tokens."""
    whole = batch(backbone, seed=3, size=number)
    return [{name: value[i : i + 1] for name, value in whole.items()} for i in range(number)]


def measured(backbone: Backbone, given: list[dict[str, Tensor]], parts: list[Any] = PARTS) -> dict[str, Tensor]:
    names = ["gradient", "fisher"]
    return gradient_scores(backbone.model, backbone.view, loss_of(backbone), given, names, parts)


def written_out(model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, list[list[Tensor]], list[list[list[Tensor]]]]:
    """Return BERT's loss, each head's output, and each head's own weights of Q, K, V and O, by layer and head."""
    states = model.bert.embeddings(input_ids=inputs["input_ids"]).detach()
    pads = inputs["attention_mask"][:, None] == 0
    outputs: list[list[Tensor]] = []
    weights: list[list[list[Tensor]]] = []
    for layer in model.bert.encoder.layer:
        own = layer.attention.self
        outputs.append([])
        weights.append([])
        mixed = torch.zeros_like(states)
        for head in range(HEADS):
            rows = slice(head * SIZE, (head + 1) * SIZE)
            parts = [m.weight[rows].detach().clone().requires_grad_() for m in (own.query, own.key, own.value)]
            parts.append(layer.attention.output.dense.weight[:, rows].detach().clone().requires_grad_())
            q, k, v = (
                states @ weight.T + m.bias[rows]
                for weight, m in zip(parts[:3], (own.query, own.key, own.value), strict=True)
            )
            attention = (q @ k.mT / math.sqrt(SIZE)).masked_fill(pads, -math.inf).softmax(-1)
            output = attention @ v
            mixed = mixed + output @ parts[3].T
            outputs[-1].append(output)
            weights[-1].append(parts)
        attended = layer.attention.output.LayerNorm(mixed + layer.attention.output.dense.bias + states)
        inner = F.gelu(layer.intermediate.dense(attended))
        states = layer.output.LayerNorm(layer.output.dense(inner) + attended)
    logits = model.classifier(torch.tanh(model.bert.pooler.dense(states[:, 0])))
    return F.cross_entropy(logits, inputs["labels"]), outputs, weights


def test_scores_are_those_of_autograd_over_bert_written_out_head_by_head() -> None:
    backbone = double()
    given = examples(backbone)
    expected = {name: torch.zeros(2, HEADS, dtype=torch.float64) for name in ("gradient", "fisher")}
    for inputs in given:
        loss, outputs, weights = written_out(backbone.model, inputs)
        torch.testing.assert_close(loss, loss_of(backbone)(inputs))
        for layer in range(2):
            for head in range(HEADS):
                output, parts = outputs[layer][head], weights[layer][head]
                (at_output, *at_weights) = torch.autograd.grad(loss, [output, *parts], retain_graph=True)
                expected["gradient"][layer, head] += (output * at_output).sum().abs() / len(given)
                moved = sum((w * g).square().sum() for w, g in zip(parts, at_weights, strict=True))
                expected["fisher"][layer, head] += moved / len(given)
    for name, values in measured(backbone, given).items():
        torch.testing.assert_close(values, expected[name].detach(), rtol=1e-9, atol=0)


def places(kind: str, head: int) -> dict[str, tuple[str, Any]]:
    """Return where a family keeps a head's weights: parts of names, and what to take of the weight."""
    own, shared = slice(head * SIZE, (head + 1) * SIZE), slice(head // 2 * SIZE, (head // 2 + 1) * SIZE)
    third = [slice(part * 32 + head * SIZE, part * 32 + (head + 1) * SIZE) for part in range(3)]
    columns, every = (slice(None), own), slice(None)
    if kind == "gpt2":
        fused = {name: ("attn.c_attn", (every, third[i])) for i, name in enumerate(PARTS[:3])}
        return {**fused, "output": ("attn.c_proj", own)}
    if kind == "modernbert":
        return {
            **{name: ("attn.Wqkv", third[i]) for i, name in enumerate(PARTS[:3])},
            "output": ("attn.Wo", columns),
        }
    if kind == "gpt_neox":
        first = head * 3 * SIZE
        each = {name: slice(first + i * SIZE, first + (i + 1) * SIZE) for i, name in enumerate(PARTS[:3])}
        fused = {name: ("attention.query_key_value", rows) for name, rows in each.items()}
        return {**fused, "output": ("attention.dense", columns)}
    # Llama, two of whose query heads share a key and value head.
    return {
        "query": ("self_attn.q_proj", own),
        "key": ("self_attn.k_proj", shared),
        "value": ("self_attn.v_proj", shared),
        "output": ("self_attn.o_proj", columns),
    }


@pytest.mark.parametrize("parts", [["query", "key", "value"], ["value", "output"]], ids="-".join)
@pytest.mark.parametrize("kind", ["llama", "gpt2", "modernbert", "gpt_neox"])
def test_scores_are_those_of_autograd_wherever_a_family_keeps_its_heads(kind: str, parts: list[Any]) -> None:
    backbone = double(kind)
    model, given = backbone.model, examples(backbone, 3)
    found = measured(backbone, given, parts)
    expected = {name: torch.zeros(2, HEADS, dtype=torch.float64) for name in ("gradient", "fisher")}
    modules = dict(model.named_modules())
    inputs_of_layers: dict[int, Tensor] = {}

    def at(layer: int, name: str) -> Any:
        return next(m for path, m in modules.items() if path.endswith(f".{layer}.{name}"))

    for layer in range(2):
        at(layer, places(kind, 0)["output"][0]).register_forward_pre_hook(
            lambda _, seen, layer=layer: (seen[0].retain_grad(), inputs_of_layers.__setitem__(layer, seen[0]))[0]
        )
    for inputs in given:
        model.zero_grad()
        loss_of(backbone)(inputs).backward()
        for layer in range(2):
            seen = inputs_of_layers[layer]
            assert seen.grad is not None
            products = (seen * seen.grad).detach().unflatten(-1, (HEADS, SIZE))
            expected["gradient"][layer] += products.sum((0, 1, 3)).abs() / len(given)
            for head in range(HEADS):
                for part in parts:
                    name, own = places(kind, head)[part]
                    weight = at(layer, name).weight
                    expected["fisher"][layer, head] += (weight * weight.grad)[own].square().sum().detach() / len(given)
    for name, values in found.items():
        torch.testing.assert_close(values, expected[name], rtol=1e-9, atol=0)


def test_a_float32_model_with_its_kernels_gives_the_same_up_to_rounding() -> None:
    exact = double()
    given = examples(exact)
    for name, values in measured(tiny("bert"), given).items():
        torch.testing.assert_close(values, measured(exact, given)[name], rtol=1e-3, atol=0)


def test_pads_do_not_count() -> None:
    backbone = double()
    given = examples(backbone)
    lengths = [int(inputs["attention_mask"].sum()) for inputs in given]
    short = [
        {name: value[:, :length] if value.dim() == 2 else value for name, value in inputs.items()}
        for inputs, length in zip(given, lengths, strict=True)
    ]
    assert min(lengths) < 12
    for name, values in measured(backbone, short).items():
        torch.testing.assert_close(values, measured(backbone, given)[name], rtol=1e-9, atol=0)


def test_several_sequences_of_one_example_are_summed_before_the_absolute_value() -> None:
    backbone = double()
    one, other = examples(backbone, 2)
    both = {name: torch.cat([one[name], other[name]]) for name in one}
    seen: list[Tensor] = []
    handles = [
        backbone.view.head_output(layer).register_forward_pre_hook(
            lambda _, given: (given[0].retain_grad(), seen.append(given[0]))[0]
        )
        for layer in range(2)
    ]
    loss_of(backbone)(both).backward()
    for handle in handles:
        handle.remove()
    expected = [(y * y.grad).detach().unflatten(-1, (HEADS, SIZE)).sum((0, 1, 3)).abs() for y in seen]  # type: ignore[operator]
    torch.testing.assert_close(measured(backbone, [both])["gradient"], torch.stack(expected), rtol=1e-9, atol=0)


def test_nothing_is_left_behind_and_no_gradient_of_a_weight_outlives_its_example() -> None:
    backbone = tiny("bert")
    model = backbone.model.train()
    parameters = dict(model.named_parameters())
    next(iter(parameters.values())).requires_grad_(False)
    gradient = torch.ones_like(model.classifier.weight)
    model.classifier.weight.grad = gradient
    before = {name: (p.clone(), p.requires_grad, p.grad) for name, p in parameters.items()}
    held: list[int] = []

    def loss(inputs: dict[str, Tensor]) -> Tensor:
        held.append(sum(p.grad is not None for p in parameters.values()))
        return loss_of(backbone)(inputs)

    gradient_scores(model, backbone.view, loss, examples(backbone), ["gradient", "fisher"], PARTS)
    assert held == [1] * 5  # the user's own, which nothing was added to
    assert model.training
    for name, (value, required, old) in before.items():
        assert torch.equal(parameters[name], value)
        assert (parameters[name].requires_grad, parameters[name].grad) == (required, old)
        assert not parameters[name]._post_accumulate_grad_hooks
    assert torch.equal(gradient, torch.ones_like(gradient))
    assert not any(backbone.view.head_output(layer)._forward_pre_hooks for layer in range(2))


@pytest.mark.parametrize("kind", ["bert", "llama", "gpt2", "modernbert"])
def test_the_shift_is_scipys_distance_of_the_softmaxed_weights(kind: str) -> None:
    backbone = tiny(kind)
    before = projection_weights(backbone.view)
    old = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    assert torch.equal(head_shift(backbone.view, before), torch.zeros(2, HEADS, dtype=torch.float64))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    found = head_shift(backbone.view, before)
    for layer in range(2):
        for head in range(HEADS):
            vectors = [own_weights(state, kind, layer, head) for state in (old, backbone.model.state_dict())]
            one, other = (vector.double().softmax(0).numpy() for vector in vectors)
            points = torch.linspace(0, 1, len(one), dtype=torch.float64).numpy()
            assert found[layer, head].item() == pytest.approx(
                wasserstein_distance(points, points, one, other), rel=1e-8
            )
    assert (found > 0).all()


def own_weights(state: dict[str, Tensor], kind: str, layer: int, head: int) -> Tensor:
    """Return all weights of a head's Q, K and V, row after row."""
    if kind == "bert":
        rows = slice(head * SIZE, (head + 1) * SIZE)
        found = {name: (f"attention.self.{name}", rows) for name in PARTS[:3]}
    else:
        found = {name: places(kind, head)[name] for name in PARTS[:3]}
    parts = []
    for name, own in found.values():
        weight = next(value for path, value in state.items() if path.endswith(f".{layer}.{name}.weight"))
        parts.append(weight[own].T if kind == "gpt2" else weight[own])
    return torch.cat([part.flatten() for part in parts])
