"""AdamW holds what a strategy declares and nothing else; the rate rises, then falls to 0 after the last step."""

import pytest
import torch
from torch import nn
from torch.optim import AdamW
from transformers import get_scheduler

from models import tiny
from peftlab.strategies.attached import ParameterGroup
from peftlab.strategies.registry import create_strategy
from peftlab.training.optimiser import SCHEDULES, build_optimiser, build_schedule, clip_groups, rate_factor
from peftlab.training.settings import TrainingSettings


def rates(steps: int, warmup: float, *schedule: str) -> list[float]:
    """Return the learning rate that each of `steps` is taken with, for a rate of 1."""
    optimiser = AdamW([nn.Parameter(torch.ones(1))], lr=1.0)
    stepped = build_schedule(optimiser, steps, warmup, *schedule)
    used = []
    for _ in range(steps):
        used.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        stepped.step()
    return [*used, optimiser.param_groups[0]["lr"]]


def test_the_groups_are_the_given_ones_with_their_factors():
    matrix, vector, fast = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    given = [
        ParameterGroup({"matrix": matrix}),
        ParameterGroup({"vector": vector}, weight_decay=0.0),
        ParameterGroup({"fast": fast}, learning_rate=10.0, weight_decay=2.0),
    ]
    groups = build_optimiser(given, learning_rate=0.1, weight_decay=0.01).param_groups
    assert [group["params"] for group in groups] == [[matrix], [vector], [fast]]
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.01), (0.1, 0.0), (1.0, 0.02)]
    assert all((group["betas"], group["eps"]) == ((0.9, 0.999), 1e-8) for group in groups)


@pytest.mark.parametrize("name", ["full", "bitfit", "classifier"])
def test_no_vector_decays_and_every_matrix_does(name: str):
    attached = create_strategy(name, {}).attach(tiny())
    for group in build_optimiser(attached.parameter_groups(), 1e-3, 0.01).param_groups:
        expected = 0.01 if group["params"][0].ndim >= 2 else 0.0
        assert group["weight_decay"] == expected
        assert len({p.ndim >= 2 for p in group["params"]}) == 1
        assert all(p.requires_grad for p in group["params"])


def test_the_vector_of_adapterbias_decays_where_it_is_asked_for():
    attached = create_strategy("adapterbias", {"decay": True}).attach(tiny())
    decaying, others = (group.parameters for group in attached.parameter_groups())
    vectors = {name for name in decaying if decaying[name].ndim == 1}
    assert vectors == {name for name in attached.tuned() if name.endswith(".vector")} != set()
    assert all(p.ndim == 1 for p in others.values())


def test_one_step_is_that_of_adamw_with_decay_before_the_update():
    weight = nn.Parameter(torch.tensor([[2.0]]))
    optimiser = build_optimiser([ParameterGroup({"weight": weight})], learning_rate=0.1, weight_decay=0.5)
    weight.grad = torch.tensor([[4.0]])
    optimiser.step()
    # Bias-corrected, the first step of Adam is the sign of the gradient: 2 * (1 - 0.1 * 0.5) - 0.1.
    assert weight.item() == pytest.approx(1.8, abs=1e-6)


def test_the_rate_rises_over_the_warm_up_and_falls_to_zero():
    expected = [1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]
    assert rates(10, 0.2) == pytest.approx(expected)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0.0), (1, 0.1), (1, 0.9), (2, 0.5), (7, 0.0), (100, 0.1), (33, 0.5)])
def test_every_step_moves_and_the_rate_is_zero_only_after_the_last(steps: int, warmup: float):
    used = rates(steps, warmup)
    assert all(0 < rate <= 1 for rate in used[:-1])
    assert used[-1] == 0


def test_a_schedule_is_followed_from_the_warm_up_on():
    assert rates(5, 0.2, "constant") == [1 / 2, 1, 1, 1, 1, 1]
    assert rates(5, 0.2, "cosine") == pytest.approx([1 / 2, 1, (1 + 0.5**0.5) / 2, 1 / 2, (1 - 0.5**0.5) / 2, 0])


def test_a_warm_up_may_be_given_in_steps():
    given = TrainingSettings(1.0, 1, 1, weight_decay=0.0, warmup=0.9, warmup_steps=2)
    assert rates(10, given.warmup_share(10)) == rates(10, 0.2)
    few = TrainingSettings(1.0, 1, 1, weight_decay=0.0, warmup=0.9, warmup_steps=7)
    assert rates(3, few.warmup_share(3))[:3] == [1 / 8, 2 / 8, 3 / 8]  # ends while the rate still rises


def test_without_warm_up_the_first_step_has_the_full_rate():
    assert rates(4, 0.0) == [1.0, 0.75, 0.5, 0.25, 0.0]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("steps", "warmup"), [(10, 2), (50, 5), (7, 0), (3, 1)])
def test_the_rate_is_that_of_transformers_but_for_the_warm_up(steps: int, warmup: int, schedule: str):
    optimiser = AdamW([nn.Parameter(torch.ones(1))], lr=1.0)
    name = schedule if schedule != "constant" else "constant_with_warmup"
    (theirs,) = get_scheduler(name, optimiser, warmup, steps).lr_lambdas
    ours = [rate_factor(step, steps, warmup, schedule) for step in range(steps + 1)]
    expected = [theirs(step) for step in range(warmup, steps + 1)]
    assert ours[warmup:] == (expected if schedule == "linear" else pytest.approx(expected, abs=1e-12))
    # Theirs begins with a step of rate 0, which does nothing; ours spreads the rise over one step more.
    assert ours[:warmup] == pytest.approx([theirs(step + 1) * warmup / (warmup + 1) for step in range(warmup)])
    assert warmup == 0 or theirs(0) == 0


def test_a_group_may_have_a_rate_and_a_schedule_of_its_own():
    matrices = [nn.Parameter(torch.ones(2, 2)) for _ in range(3)]
    given = [
        ParameterGroup({"run": matrices[0]}),
        ParameterGroup({"decay": matrices[1]}, own_rate=2.0, schedule="decay"),
        ParameterGroup({"constant": matrices[2]}, own_rate=3.0, schedule="constant"),
    ]
    optimiser = build_optimiser(given, learning_rate=1.0, weight_decay=0.0)
    schedule = build_schedule(optimiser, 4, 0.5)
    used = []
    for _ in range(4):
        used.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        schedule.step()
    assert [rates[0] for rates in used] == pytest.approx([1 / 3, 2 / 3, 1, 1 / 2])
    assert [rates[1:] for rates in used] == [[2.0, 3.0], [1.5, 3.0], [1.0, 3.0], [0.5, 3.0]]


def test_groups_that_are_clipped_apart_have_a_norm_of_their_own():
    one, two, gates = (nn.Parameter(torch.ones(2, 2)) for _ in range(3))
    given = [ParameterGroup({"one": one}), ParameterGroup({"gates": gates}, clip_separately=True)]
    given.append(ParameterGroup({"two": two}))
    parts = clip_groups(build_optimiser(given, 1.0, 0.0))
    assert [[p for group in part.param_groups for p in group["params"]] for part in parts] == [[one, two], [gates]]
    whole = build_optimiser([ParameterGroup({"one": one})], 1.0, 0.0)
    assert clip_groups(whole) == [whole]
