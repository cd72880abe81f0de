"""Gates: cut where they should be, as often open as they say, and with autograd's own gradients."""

from typing import cast

import pytest
import torch
from torch import Tensor

from peftlab.errors import UserError
from peftlab.layers.hard_concrete import ExpectedOpen, Gated, HardConcrete, noise_like

GATES = HardConcrete()


def plain(difference: Tensor, alpha: Tensor, group: Tensor | None, lower: float, upper: float) -> Tensor:
    """Return the gated difference as autograd sees it, with the noise drawn in the same order."""

    def gate(alpha: Tensor) -> Tensor:
        noise = torch.empty_like(alpha).uniform_().clamp(1e-4, 1 - 1e-4)
        return (torch.sigmoid(torch.logit(noise) + alpha) * (upper - lower) + lower).clamp(0, 1)

    whole = gate(group) if group is not None else torch.ones(1)
    return whole * gate(alpha) * difference


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize(("lower", "upper"), [(-1.5, 1.5), (-0.1, 1.1)])
def test_gradients_are_those_of_autograd(grouped: bool, lower: float, upper: float) -> None:
    torch.manual_seed(0)
    leaves = [torch.randn(40, 5), torch.randn(40, 5), torch.zeros(1)][: 3 if grouped else 2]
    weights = torch.randn(40, 5)
    ours, theirs = ([leaf.clone().requires_grad_() for leaf in leaves] for _ in range(2))
    torch.manual_seed(2)
    found = Gated.apply(*ours, *([] if grouped else [None]), HardConcrete(lower, upper), True)
    torch.manual_seed(2)
    expected = plain(*theirs, *([] if grouped else [None]), lower=lower, upper=upper)
    torch.testing.assert_close(found, expected)
    assert 0 < int((expected == 0).sum()) < expected.numel()
    (cast(Tensor, found) * weights).sum().backward()
    (expected * weights).sum().backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("distribution", [GATES, HardConcrete(-0.1, 1.1)])
def test_gates_are_open_as_often_as_they_say(distribution: HardConcrete) -> None:
    torch.manual_seed(0)
    for alpha in (-2.0, 0.0, 1.0):
        many = torch.full((20_000,), alpha)
        gates = distribution.gate(many, noise_like(many))
        assert (gates > 0).float().mean().item() == pytest.approx(distribution.open(many[:1]).item(), abs=0.015)
        assert ((gates >= 0) & (gates <= 1)).all()


def test_gates_without_noise_are_those_of_its_middle() -> None:
    alpha = torch.linspace(-4, 4, 9)
    assert torch.equal(GATES.gate(alpha, None), GATES.gate(alpha, torch.full_like(alpha, 0.5)))
    assert GATES.gate(torch.tensor([5.0, 0.0, -5.0]), None).tolist() == [1, 0, 0]


def test_the_expected_number_of_open_gates_has_autograds_gradient() -> None:
    alpha = torch.randn(7, dtype=torch.float64, requires_grad=True)
    distribution = HardConcrete(-0.5, 1.5)
    assert torch.autograd.gradcheck(lambda a: ExpectedOpen.apply(a, distribution), (alpha,))
    assert ExpectedOpen.apply(alpha, distribution).item() == pytest.approx(
        torch.sigmoid(alpha + 1.0986123).sum().item()
    )


@pytest.mark.parametrize(("lower", "upper", "name"), [(0.0, 1.5, "lower"), (-0.5, 1.0, "upper")])
def test_gates_that_never_close_or_open_are_refused(lower: float, upper: float, name: str) -> None:
    with pytest.raises(UserError, match=f"strategy.{name}="):
        HardConcrete(lower, upper)
