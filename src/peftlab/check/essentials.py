"""The essentials of a strategy's contract in one pass, cheap enough for every strategy on every type of model."""

import copy
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

from peftlab.backbones.forward import inputs_of
from peftlab.backbones.loading import Backbone
from peftlab.check.promise import promised
from peftlab.check.small import Trial, batch, logits, pretrained, snapshot, train
from peftlab.check.strategies import close, same_names, saved_bytes, some, trained_parameters
from peftlab.delta.delta import load_delta
from peftlab.strategies.attached import Attached
from peftlab.strategies.restore import apply_delta

# A start that is further away is no neutral one: how far depends on the backbone, and traits give it for BERT.
NEUTRAL = 1e-4
# What transformers' own eager attention may differ by from the kernels of a backbone: a sum in another order.
ROUNDING = 1e-5


def keeps_the_essentials(trial: Trial) -> None:
    """It starts at transformers' own logits, changes what it declares alone, comes back, and merges or detaches.

    Raises:
        AssertionError: saying what was found instead.
        DoesNotApplyError: the strategy says that it does not fit the backbone.
    """
    attached, fresh = trial.attach(trial.backbone()), trial.backbone(seed=99)
    inputs = batch(attached.backbone)
    _starts_at(attached, inputs, _plain_logits(trial.backbone(), inputs))
    _changes_what_it_declares_alone(attached)
    tuned = logits(attached.backbone, inputs)
    before = snapshot(fresh)
    with tempfile.TemporaryDirectory() as folder:
        saved_bytes(attached, Path(folder))
        restored = apply_delta(load_delta(Path(folder)), fresh)
    close(logits(fresh, inputs), tuned, 0.0, "delta()")
    restored.detach()
    _is_as_before(fresh, before)
    tolerance = trial.strategy.traits.merge_tolerance
    if tolerance is not None and attached.unmergeable() is None:
        merged = attached.merge()
        close(logits(attached.backbone, inputs), tuned, tolerance, "merge_tolerance")
        same_names(merged.state_dict(), trial.backbone().model.state_dict(), "tensors of the merged model")
        close(
            _plain_logits(attached.backbone, inputs), tuned, max(tolerance, ROUNDING), "a merged model of transformers"
        )


def _starts_at(attached: Attached, inputs: dict[str, Tensor], untouched: Tensor) -> None:
    tolerance = attached.strategy.traits.start_tolerance
    if tolerance <= NEUTRAL:
        close(logits(attached.backbone, inputs), untouched, max(tolerance, ROUNDING), "start_tolerance")


def _changes_what_it_declares_alone(attached: Attached, steps: int = 2) -> None:
    names, before = _declared_names(attached), snapshot(attached.backbone)
    gradients = train(attached, steps)
    after = snapshot(attached.backbone)
    # Phases of training may exchange parameters for others.
    stray = gradients.given - names - _declared_names(attached)
    promised(not stray, f"not declared, and with a gradient: {some(sorted(stray))}")
    changed = [name for name, value in before.items() if name not in names and not torch.equal(value, after[name])]
    promised(not changed, f"not declared, and changed: {some(changed)}")
    moved = [name for name in names & after.keys() if not torch.equal(before[name], after[name])]
    promised(bool(moved), f"declared, and not moved by {steps} steps: {some(sorted(names))}")


def _declared_names(attached: Attached) -> set[str]:
    own = {id(parameter) for parameter in trained_parameters(attached)}
    return {pretrained(name) for name, p in attached.model.named_parameters() if id(p) in own}


def _is_as_before(backbone: Backbone, before: dict[str, Tensor]) -> None:
    after = snapshot(backbone)
    same_names(after, before, "tensors after detaching")
    classifier = {name for name, _ in backbone.view.classifier_parameters()}
    changed = [name for name in before if name not in classifier and not torch.equal(before[name], after[name])]
    promised(not changed, f"changed after detaching: {some(changed)}")


def plain_model(backbone: Backbone) -> PreTrainedModel:
    """Return transformers' own model with the backbone's weights, its attention written out, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        plain: PreTrainedModel = type(backbone.model)(copy.deepcopy(backbone.model.config))
    plain.load_state_dict(backbone.model.state_dict())
    plain.set_attn_implementation("eager")
    return plain.eval()


def _plain_logits(backbone: Backbone, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        found: Tensor = plain_model(backbone)(**inputs_of(backbone, inputs)).logits
    return found
