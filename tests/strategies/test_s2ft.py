"""S2FT: four steps as its authors' layers take them, what it draws, and what it does to any family of backbones."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backbones.small_models import tiny
from models import batch, logits
from peftlab.check.small import train
from peftlab.errors import UserError
from peftlab.layers.head_rows import HeadColumnsLinear, HeadRowsLinear
from peftlab.masks.random_parts import RandomParts, draw
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import apply_delta, describe_delta

# From the authors' `s2ft/s2.py` (commit a58edbb), its V and O permuted as their `convert_mha_layer_to_s2` does: three
# heads of two, head 1 tuned, float64, AdamW at 0.05 without decay on the mean square of O tanh(V x).
LOSSES = [0.372969216075, 0.313454490029, 0.253616818542, 0.206004725520]
ROWS_OF_V = [
    [0.598827411738, 0.023212239400, -0.657127320139, -1.116794943068, -0.754459168727, -0.336891815465],
    [0.124931055955, 0.623305538934, 0.982051053173, 0.789850631983, 0.212674085334, -0.461109268200],
]
COLUMNS_OF_O = [
    [1.145223966820, -0.381277205340, -0.572671185850, 1.134124554436, -0.348071313420, -0.594223109721],
    [0.323803863156, 0.691604883655, -1.197212031116, 0.294204786260, 0.720619931257, -1.194715234280],
]
HEADS = ((1, 3), (2,))


def wave(rows: int, phase: float) -> Tensor:
    return torch.sin(torch.arange(rows * 6, dtype=torch.float64).reshape(rows, 6) * 0.7 + phase)


def linear(weight: Tensor) -> nn.Linear:
    layer = nn.Linear(6, 6, bias=False, dtype=torch.float64)
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def test_steps_are_those_of_the_authors_layers_though_nothing_is_permuted() -> None:
    value = HeadRowsLinear(linear(wave(6, 0.1)), torch.tensor([2, 3]))
    output = HeadColumnsLinear(linear(wave(6, 0.5)), torch.tensor([2, 3]))
    optimiser = torch.optim.AdamW([value.weight_rows, output.weight_columns], lr=0.05, weight_decay=0.0)
    losses = []
    for _ in LOSSES:
        loss = output(torch.tanh(value(wave(4, 0.9)))).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses == pytest.approx(LOSSES, rel=1e-10)
    torch.testing.assert_close(value.weight_rows.detach(), torch.tensor(ROWS_OF_V, dtype=torch.float64))
    torch.testing.assert_close(output.weight_columns.detach().T, torch.tensor(COLUMNS_OF_O, dtype=torch.float64))


def test_draws_are_over_all_layers_by_the_seed_alone() -> None:
    drawn = draw(0.052, 32, 32, seed=1, part=0)
    assert sum(map(len, drawn)) == 53  # of 1024, rounded down as the authors do
    assert len(set(map(len, drawn))) > 1
    assert all(list(layer) == sorted(set(layer)) and set(layer) <= set(range(32)) for layer in drawn)
    assert drawn == draw(0.052, 32, 32, seed=1, part=0)
    assert len({drawn, draw(0.052, 32, 32, seed=2, part=0), draw(0.052, 32, 32, seed=1, part=1)}) == 3
    assert sum(map(len, draw(0.052, 2, 4, seed=1, part=0))) == 1
    assert draw(0.0, 2, 4, seed=1, part=0) == ((), ())


# Three projections; Conv1D; shared keys and values, apart and fused.
@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "phi3"])
def test_what_was_drawn_alone_moves_and_merges_into_a_plain_model(kind: str) -> None:
    backbone, untouched = tiny(kind), tiny(kind)
    view, parts = untouched.view, RandomParts(HEADS, ((), (0, 5)))
    inputs = {name: value for name, value in batch(backbone).items() if name != "labels"}
    attached = create_strategy("s2ft", {"down": 0.1}).attach(backbone, parts)
    train(attached, steps=2)
    tuned = logits(backbone, inputs)
    delta = describe_delta(attached, {"name": backbone.name}, "", ["a", "b"], {})
    assert torch.equal(logits(apply_delta(delta, tiny(kind, seed=9)).backbone, inputs), tuned)
    expected: dict[str, tuple[int, set[int]]] = {}
    for layer, heads in enumerate(HEADS):
        name, rows = view.head_rows(layer, "value", heads)
        expected[f"{name}.weight"] = view.axis("value"), set(rows.tolist())
        name, columns = view.head_columns(layer, heads)
        expected[f"{name}.weight"] = 1 - view.output_axis, set(columns.tolist())
    expected[f"{view.site_names('feed_forward_down')[1]}.weight"] = 1 - view.output_axis, {0, 5}
    before = dict(untouched.model.named_parameters())
    counts = [len(numbers) * before[name].shape[1 - axis] for name, (axis, numbers) in expected.items()]
    assert attached.num_tuned() == sum(counts)
    attached.merge()
    torch.testing.assert_close(logits(backbone, inputs), tuned, atol=1e-5, rtol=1e-5)
    classifier = {name for name, _ in view.classifier_parameters()}
    for name, parameter in backbone.model.named_parameters():
        if name not in classifier:
            axis, numbers = expected.get(name, (0, set()))
            moved = (parameter != before[name]).movedim(axis, 0).flatten(1).any(1) if parameter.ndim > 1 else None
            found = set() if moved is None else set(moved.nonzero().flatten().tolist())
            assert found == numbers, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 1.5}, "strategy.heads=1.5: allowed is 0 to 1"),
        ({"down": float("nan")}, "strategy.down=nan: allowed is 0 to 1"),
        ({"heads": 0.0}, "strategy.heads=0.0: allowed is above 0, or strategy.down above 0"),
        ({"rows": []}, "strategy.rows=[]: allowed are some of q, k, v, o, each once"),
    ],
)
def test_options_that_draw_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        create_strategy("s2ft", options)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"heads": [[0], [9]], "inner": [[], []]}, "heads [9] of layer 1"),
        ({"heads": [[0], [1]], "inner": [[0, 0], []]}, "inner values of layer 0"),
        ({"heads": [[0], [1]], "inner": [[-1], []]}, "inner values of layer 0"),
        ({"heads": [[0], [1]], "inner": [[0]]}, "inner values of 1 layers"),
        ({"heads": "all", "inner": []}, "`heads` lists numbers"),
        ([], "`heads` lists numbers"),
    ],
)
def test_files_that_do_not_fit_are_refused(parts: Any, message: str, tmp_path: Path) -> None:
    (tmp_path / RandomParts.files[0]).write_text(json.dumps(parts))
    backbone = tiny("bert")
    names = set(backbone.model.state_dict())
    with pytest.raises(UserError, match=re.escape(message)):
        create_strategy("s2ft", {}).attach(backbone, RandomParts.load(tmp_path))
    assert set(backbone.model.state_dict()) == names
