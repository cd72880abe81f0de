"""Tiny attention against its authors' own code: logits, gradients and ten steps of one module and of a mixture."""

import re
from typing import Any

import pytest
import torch
from authors import assert_same, backbone, batch, fill, fixture, movement, summary, train
from torch import Tensor, nn

from models import logits
from peftlab.backbones.loading import Backbone
from peftlab.strategies.attached import Attached
from peftlab.strategies.registry import create_strategy

THEIRS = fixture("tiny-attention")
CASES = {"single": 1, "wide": 1, "mixture": 4}
OURS = {"down": "linear1", "up": "linear2"}


class FirstToken(nn.Module):
    """The classifier of the authors' published setting: one linear layer on the first token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_proj = nn.Linear(width, 2)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out_proj(hidden[:, 0])


def their_name(name: str, experts: int) -> str:
    """Return what the authors call a parameter of ours."""
    found = re.fullmatch(r"layers\.(\d+)\.attention_norm\.experts\.(\d+)\.(\w+)\.(.+)", name)
    if found is None:
        return name
    layer, expert, module, rest = found.groups()
    inside = "tiny_attn" if experts == 1 else f"tiny_attn.{expert}"
    return f"roberta.encoder.layer.{layer}.{inside}.{OURS.get(module, module)}.{rest}"


def attached(experts: int, **options: Any) -> tuple[Attached, Backbone]:
    """Return our modules, with the weights of the fixture, in a backbone whose dropout would be seen."""
    ours = backbone("roberta", hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    ours.model.classifier = FirstToken(ours.view.hidden_size)
    strategy = create_strategy("tiny-attention", {"dropout": 0.0, "experts": experts, **options})
    tuned = strategy.attach(ours)
    ours.model.double()
    fill(trained(tuned, experts))
    return tuned, ours


def trained(strategy: Attached, experts: int) -> dict[str, nn.Parameter]:
    return {their_name(name, experts): p for name, p in {**strategy.tuned(), **strategy.classifier()}.items()}


@pytest.mark.parametrize("case", CASES)
def test_logits_are_the_authors(case: str) -> None:
    theirs = THEIRS[case]
    _, ours = attached(CASES[case], size=theirs["size"], heads=theirs["heads"], average=False)
    torch.testing.assert_close(
        logits(ours, batch(0)), torch.tensor(theirs["logits"], dtype=torch.float64), rtol=0, atol=1e-8
    )


@pytest.mark.parametrize("case", CASES)
def test_ten_steps_are_the_authors(case: str) -> None:
    theirs, experts = THEIRS[case], CASES[case]
    strategy, _ = attached(experts, size=theirs["size"], heads=theirs["heads"])
    strategy.model.train()
    parameters = trained(strategy, experts)
    # Theirs decays; our classifier is trained alike for every strategy and its bias does not, which the rest feels.
    without = {name: p for name, p in parameters.items() if name != "classifier.out_proj.bias"}

    def compare(step: int) -> None:
        if str(step + 1) in theirs["moved"]:
            moved = {name: theirs["moved"][str(step + 1)][name] for name in without}
            assert_same(movement(without), moved, relative=1e-5)

    before_clipping = train(strategy, steps=10, rate=1e-3, decay=0.1, after=compare)
    assert before_clipping == pytest.approx(theirs["norms"], rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_authors(case: str) -> None:
    theirs, experts = THEIRS[case], CASES[case]
    strategy, ours = attached(experts, size=theirs["size"], heads=theirs["heads"])
    strategy.model.train()
    ours.model(**batch(0)).loss.backward()
    gradients = {name: p.grad for name, p in trained(strategy, experts).items() if p.grad is not None}
    assert_same(summary(gradients), theirs["gradient"], relative=1e-7)


def test_the_average_is_the_authors() -> None:
    strategy, ours = attached(4, average=True)
    parameters = trained(strategy, 4)
    # They average all but the LayerNorm; the fixture has one and the same in all four.
    for name, parameter in parameters.items():
        if ".norm." in name:
            fill({re.sub(r"tiny_attn\.\d", "tiny_attn", name): parameter})
    torch.testing.assert_close(
        logits(ours, batch(0)), torch.tensor(THEIRS["average"], dtype=torch.float64), rtol=0, atol=1e-8
    )
