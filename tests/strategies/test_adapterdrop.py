"""AdapterDrop: which layers go without, when, and what that saves."""

from itertools import pairwise

import pytest
import torch

from models import batch, logits, tiny
from peftlab.check.small import train
from peftlab.errors import UserError
from peftlab.layers.placement import Joined
from peftlab.strategies.attached import Attached
from peftlab.strategies.registry import create_strategy

LAYERS = 4


def attached(layers: int = LAYERS, **options) -> Attached:
    torch.manual_seed(0)
    return create_strategy("adapterdrop", options).attach(tiny(num_hidden_layers=layers))


def dropped(tuned: Attached) -> list[int]:
    modules = tuned.model.named_modules()
    return [
        int(name.split("layer.")[1].split(".")[0])
        for name, module in modules
        if isinstance(module, Joined) and module.dropped
    ]


def first_differentiated(tuned: Attached) -> int:
    """Return the lowest layer whose output carries a gradient."""
    found = []
    view = tuned.backbone.view

    def watch(layer):
        return lambda _module, _inputs, output: found.append((layer, output[0].requires_grad))

    hooks = [view.layer(layer).register_forward_hook(watch(layer)) for layer in range(LAYERS)]
    inputs = batch(tuned.backbone)
    tuned.model(**inputs)
    for hook in hooks:
        hook.remove()
    return next(layer for layer, differentiated in found if differentiated)


@pytest.mark.parametrize("robust", [True, False])
@pytest.mark.parametrize("drop", [0, 1, 3])
def test_in_evaluation_the_chosen_layers_go_without_and_nothing_below_is_differentiated(drop, robust):
    tuned = attached(drop=drop, robust=robust)
    assert first_differentiated(tuned) == drop
    assert dropped(tuned) == (list(range(drop)) if robust else [])
    assert {int(name.split(".")[1]) for name in tuned.tuned()} == set(range(0 if robust else drop, LAYERS))


def test_robust_training_draws_from_none_to_all_but_one_for_each_batch():
    tuned = attached(drop=0)
    tuned.model.train()
    drawn = []
    for seed in range(60):
        tuned.model(**batch(tuned.backbone, seed=seed))
        drawn.append(len(dropped(tuned)))
    # Each of the four is missed by 60 draws once in 3 * 10^7 times.
    assert set(drawn) == {0, 1, 2, 3}
    assert dropped(tuned) == list(range(drawn[-1]))


def test_a_dropped_adapter_is_not_moved_not_even_by_weight_decay():
    tuned = attached(drop=1, robust=False)
    assert not any(name.startswith("layers.0.") for name in tuned.tuned())
    tuned = attached(drop=3)
    before = {name: p.detach().clone() for name, p in tuned.tuned().items()}
    tuned.model.eval()
    tuned.model(**batch(tuned.backbone)).loss.backward()
    optimiser = torch.optim.AdamW(tuned.tuned().values(), lr=1e-2, weight_decay=0.1)
    optimiser.step()
    moved = {int(name.split(".")[1]) for name, p in tuned.tuned().items() if not torch.equal(p, before[name])}
    assert moved == {3}


def test_checkpointed_layers_are_recomputed_with_the_adapters_they_had():
    gradients = []
    for checkpointing in (False, True):
        tuned = attached(drop=0)
        model = tuned.model
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        tuned.model.train()
        torch.manual_seed(5)
        model(**batch(tuned.backbone)).loss.backward()
        gradients.append({name: p.grad for name, p in tuned.tuned().items() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_adapters_trained_robustly_are_evaluated_with_any_number_dropped():
    tuned = attached(drop=0)
    train(tuned, steps=5)
    inputs, delta = batch(tuned.backbone), tuned.delta()
    every = []
    for drop in range(LAYERS):
        again = attached(drop=drop)
        again.load_delta(delta)
        every.append(logits(again.backbone, inputs))
    assert torch.equal(every[0], logits(tuned.backbone, inputs))
    assert all(not torch.equal(one, other) for one, other in pairwise(every))


@pytest.mark.parametrize(("layers", "without"), [(12, 5), (6, 2), (2, 1)])
def test_five_layers_in_twelve_go_without_unless_another_number_is_given(layers, without):
    tuned = attached(layers)
    tuned.model(**batch(tuned.backbone))
    assert dropped(tuned) == list(range(without))


@pytest.mark.parametrize("drop", [-1, 2])
def test_more_layers_than_there_are_cannot_be_dropped(drop):
    with pytest.raises(UserError, match=f"strategy.drop={drop}: allowed are 0 to 1, one less than the layers of back"):
        create_strategy("adapterdrop", {"drop": drop}).check(tiny())
