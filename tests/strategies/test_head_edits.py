"""LoFiT and JoLA: steps as their authors' lines take them, which heads are kept, and merging where there is no bias."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backbones.small_models import tiny
from models import batch, logits
from peftlab.check.small import train
from peftlab.errors import UserError
from peftlab.heads.scaled_heads import ScaledHeads, longest
from peftlab.heads.scaling import ScaleTuning, scale_norms
from peftlab.heads.selection import ChosenHeads
from peftlab.layers.hard_concrete import HardConcrete
from peftlab.layers.head_edits import GatedHeads, HeadOffsets
from peftlab.strategies.registry import create_strategy

# What the lines that edit `attn_output` in the authors' `models/modeling_llama.py` (fc2869/lo-fit, ebd344a) do, with
# those of `utils/trainers.py` for L1: three heads of two, float64, mean square of tanh(O y), AdamW at 0.05.
OFFSET_LOSSES = [0.7103129763319117, 0.7032851276558629, 0.6974853566358462, 0.6928155995914086]
OFFSET = [0.218326646722, 0.268232787453]
# All heads' scales from 0, L1 of 0.05, the rate falling to 0 and gradients clipped at 1 as transformers' Trainer does.
NORMS: list[float] = [0.12089841636858484, 0.010794784902830161, 0.1316162750148886]
# The same of JoLA's code (wenlai-lavine/jola, e2b73ce), its deterministic gates after four steps.
SCALE = [-0.154147838754, -0.099913530151, -0.041961099972, -0.091506067554, -0.129509836864, -0.196514503925]
SHIFT = [0.248638153063, 0.290421947358, 0.280786938260, 0.231836419314, 0.143321855017, -0.256081348305]
SHIFT_GATE, SCALE_GATE = (
    [0.1593017774, 0.641243440545, 0.878269768128],
    [0.691437536184, 0.773613044933, 0.402662831508],
)
GATED_LOSSES = [0.9744927708394071, 0.9551745107610712, 0.9451346854973351, 0.9760955447625331]
EVALUATED = 0.6537447378972628
HEADS = ((1, 3), (2,))


def wave(rows: int, columns: int, phase: float) -> Tensor:
    return torch.sin(torch.arange(rows * columns, dtype=torch.float64).reshape(rows, columns) * 0.7 + phase)


def output_projection() -> nn.Linear:
    layer = nn.Linear(6, 6, bias=False, dtype=torch.float64)
    layer.weight = nn.Parameter(wave(6, 6, 0.5), requires_grad=False)
    return layer


def test_offsets_move_as_the_authors_do() -> None:
    module = HeadOffsets(output_projection(), torch.tensor([2, 3]), 0.0)
    module.offset = nn.Parameter(0.1 * wave(1, 2, 0.2)[0])
    optimiser = torch.optim.AdamW([module.offset], lr=0.05, weight_decay=0.0)
    losses = []
    for _ in OFFSET_LOSSES:
        loss = torch.tanh(module(wave(8, 6, 0.9))).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses == pytest.approx(OFFSET_LOSSES, rel=1e-10)
    assert module.offset.tolist() == pytest.approx(OFFSET, rel=1e-10)


def test_deterministic_gates_give_what_the_authors_evaluate() -> None:
    module = GatedHeads(output_projection(), 3, HardConcrete(-0.1, 1.1, 0.33), 0.0).double().eval()
    values = {"scale": SCALE, "offset": SHIFT, "offset_gate": SHIFT_GATE, "scale_gate": SCALE_GATE}
    for name, value in values.items():
        getattr(module, name).data = torch.tensor(value, dtype=torch.float64)
    assert torch.tanh(module(wave(8, 6, 0.9))).square().mean().item() == pytest.approx(EVALUATED, rel=1e-9)


def test_gates_and_what_they_cost_are_the_authors_while_training() -> None:
    gates, inputs, output = HardConcrete(-0.1, 1.1, 0.33), wave(8, 6, 0.9), output_projection()
    scale, offset = (nn.Parameter(0.1 * wave(3, 2, phase)) for phase in (0.2, 0.6))
    closing, opening = (nn.Parameter(wave(3, 1, phase)) for phase in (0.3, 1.1))
    optimiser = torch.optim.AdamW([scale, offset, closing, opening], lr=0.05, weight_decay=0.0)
    losses = []
    for step in range(4):
        g1 = gates.gate(closing, (wave(3, 1, 0.4 + step) + 1) / 2)
        g2 = gates.gate(opening, (wave(3, 1, 1.7 + step) + 1) / 2)
        edited = (1 + (g2 * scale).flatten()) * inputs + (g1 * offset).flatten()
        weight = 0.1 * math.exp(-0.01 * step)
        cost = (weight * gates.open(closing).mean() + (1 - weight) * gates.open(opening).mean()) / 3
        loss = torch.tanh(output(edited)).square().mean() + cost
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses == pytest.approx(GATED_LOSSES, rel=1e-5)


def test_the_penalty_of_gates_decays_with_steps_and_is_resumed() -> None:
    attached, resumed = (create_strategy("jola", {}).attach(tiny("bert")) for _ in range(2))
    gates = {name: p for name, p in attached.tuned().items() if name.endswith("_gate")}
    for name, parameter in gates.items():
        parameter.data.fill_(1.0 if "offset" in name else -1.0)
    resumed.load_delta(attached.delta())
    opened = [torch.sigmoid(torch.tensor(alpha + 0.33 * math.log(11))).item() for alpha in (1.0, -1.0)]
    for step in range(3):
        weight, penalty = 0.1 * math.exp(-0.01 * step), attached.penalty()
        expected = (weight * opened[0] + (1 - weight) * opened[1]) / attached.backbone.view.num_heads
        assert penalty is not None
        assert penalty.item() == pytest.approx(expected, rel=1e-5)
        resumed.load_state(attached.state())
        assert torch.equal(torch.as_tensor(resumed.penalty()), penalty)
        attached.after_step()


class OneLayer(nn.Module):
    """A model that is one output projection, and the view of it."""

    num_layers, num_heads, head_dim = 1, 3, 2

    def __init__(self) -> None:
        super().__init__()
        self.output, self.classifier = output_projection(), nn.Linear(1, 1)

    def head_output(self, layer: int) -> nn.Module:
        return self.output

    def classifier_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        return self.classifier.named_parameters()


def test_scales_are_tuned_as_the_authors_tune_them() -> None:
    model: Any = OneLayer()

    def loss(inputs: Any) -> Tensor:
        return torch.tanh(model.output(inputs["y"])).square().mean()

    found = scale_norms(model, model, loss, [{"y": wave(8, 6, 0.9)}] * 9, ScaleTuning(4, 0.05, 0.05, 0.0, 1))
    assert found[0].tolist() == pytest.approx(NORMS, rel=1e-5)


def test_heads_with_the_longest_scales_of_all_layers_are_kept(tmp_path: Path) -> None:
    norms = torch.tensor([[0.3, 0.1, 0.9, 0.2], [0.1, 0.8, 0.3, 0.0]], dtype=torch.float64)
    chosen = longest(norms, 0.4)  # 3.2 of 8, rounded down as the authors do; of equal norms the first
    assert chosen.heads == ((0, 2), (1,))
    assert sum(map(len, longest(norms, 0.01).heads)) == 1
    assert ScaledHeads.load(chosen.save(tmp_path)[0]) == chosen


# A bias; Conv1D.
@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_offsets_merge_into_biases_alone(kind: str) -> None:
    backbone, before = tiny(kind), dict(tiny(kind).model.named_parameters())
    attached = create_strategy("lofit", {}).attach(backbone, ChosenHeads(HEADS))
    train(attached, steps=2)
    inputs = {name: value for name, value in batch(backbone).items() if name != "labels"}
    tuned, classifier = logits(backbone, inputs), set(attached.classifier())
    assert attached.num_tuned() == 3 * backbone.view.head_dim
    names = {f"{backbone.view.head_columns(layer, heads)[0]}.bias" for layer, heads in enumerate(HEADS)}
    attached.merge()
    torch.testing.assert_close(logits(backbone, inputs), tuned, atol=1e-5, rtol=1e-5)
    after = dict(backbone.model.named_parameters())
    assert {name for name in before if not torch.equal(before[name], after[name])} - classifier == names


def test_without_a_bias_it_is_not_merged_and_says_why() -> None:
    attached = create_strategy("lofit", {}).attach(tiny("llama"), ChosenHeads(HEADS))
    with pytest.raises(UserError, match=r"^strategy lofit: the output projection of backbone .* has no bias"):
        attached.merge()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0.0}, "strategy.heads=0.0: allowed is above 0, up to 1"),
        ({"select_epochs": 0}, "strategy.select_epochs=0: allowed is 1 or more"),
        ({"select_rate": float("nan")}, "strategy.select_rate=nan: allowed is above 0"),
        ({"l1": -1.0}, "strategy.l1=-1.0: allowed is 0 or more"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        create_strategy("lofit", options)
