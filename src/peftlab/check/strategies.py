"""The contract of a strategy: what every way of tuning a backbone promises (`contract.py`, `attached.py`)."""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from peftlab.check.promise import DoesNotApplyError, promised
from peftlab.check.small import Trial, batch, logits, loss_of, pretrained, snapshot, train
from peftlab.delta.delta import load_delta, save_delta
from peftlab.errors import UserError
from peftlab.strategies.attached import Attached
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import apply_delta, describe_delta

# What peft puts before the name of a tensor whose module it stands around.
_PUT_ASIDE = ".base_layer"


def starts_as_the_untouched_backbone(trial: Trial) -> None:
    """Logits are those of the untouched backbone at the start, within `traits.start_tolerance`."""
    attached = trial.attach(trial.backbone())
    inputs = batch(attached.backbone)
    untouched = logits(trial.backbone(), inputs)
    close(logits(attached.backbone, inputs), untouched, trial.strategy.traits.start_tolerance, "start_tolerance")


def gives_gradients_to_what_it_declares_alone(trial: Trial) -> None:
    """Parameters that are declared (tuned, classifier) require gradients, and no others get any."""
    attached = trial.attach(trial.backbone())
    model, inputs = attached.model, batch(attached.backbone)
    loss_of(attached.backbone, inputs).backward()
    declared = {id(parameter) for parameter in trained_parameters(attached)}
    named = list(model.named_parameters())
    stray = [name for name, p in named if p.grad is not None and id(p) not in declared]
    promised(not stray, f"not declared, and with a gradient: {some(stray)}")
    trainable = {id(p) for p in model.parameters() if p.requires_grad}
    promised(
        trainable <= declared,
        f"not declared, and trainable: {some(n for n, p in named if id(p) in trainable - declared)}",
    )
    promised(declared <= trainable, "a declared parameter is no trainable parameter of the model")
    dry = [name for name, p in attached.classifier().items() if p.grad is None]
    promised(not dry, f"classifier without a gradient: {some(dry)}")


def groups_each_parameter_once(trial: Trial) -> None:
    """The optimiser's groups hold each declared parameter once."""
    attached = trial.attach(trial.backbone())
    grouped = sorted(id(p) for group in attached.parameter_groups() for p in group.parameters.values())
    declared = sorted(map(id, trained_parameters(attached)))
    promised(grouped == declared, f"{len(declared)} are declared, the groups hold {len(grouped)}, or others")


def changes_nothing_else_in_fp32(trial: Trial) -> None:
    """All else is bit-identical after 20 steps with weight decay, and what is declared has moved."""
    _changes_nothing_else(trial)


def changes_nothing_else_in_bf16(trial: Trial) -> None:
    """The same holds when training in bf16."""
    _changes_nothing_else(trial, bf16=True)


def is_the_same_with_gradient_checkpointing(trial: Trial) -> None:
    """Three steps with gradient checkpointing leave, bit for bit, what they leave without."""
    found = []
    for checkpointing in (False, True):
        attached = trial.attach(trial.backbone())
        train(attached, steps=3, checkpointing=checkpointing)
        found.append(snapshot(attached.backbone))
    plain, recomputed = found
    other = [name for name, value in plain.items() if not torch.equal(value, recomputed[name])]
    promised(not other, f"another value with gradient checkpointing: {some(other)}")


def learns(trial: Trial) -> None:
    """Training moves the logits."""
    attached = trial.attach(trial.backbone())
    inputs = batch(attached.backbone)
    before = logits(attached.backbone, inputs)
    train(attached, steps=3)
    promised(not torch.allclose(before, logits(attached.backbone, inputs)), "three steps leave the logits as they were")


def comes_back_from_its_delta(trial: Trial) -> None:
    """Saved, and loaded onto a fresh backbone, it gives identical logits."""
    attached = trial.attach(trial.backbone())
    train(attached)
    fresh = trial.backbone(seed=99)
    with tempfile.TemporaryDirectory() as folder:
        saved_bytes(attached, Path(folder))
        apply_delta(load_delta(Path(folder)), fresh)
    inputs = batch(attached.backbone)
    close(logits(fresh, inputs), logits(attached.backbone, inputs), 0.0, "delta()")


def draws_nothing_that_its_delta_lacks(trial: Trial) -> None:
    """All that was pretrained is equal, bit for bit, whatever random state its delta is loaded under."""
    attached = trial.attach(trial.backbone())
    train(attached, steps=3)
    own, found = set(snapshot(trial.backbone())), []
    with tempfile.TemporaryDirectory() as folder:
        saved_bytes(attached, Path(folder))
        for state in (1, 2):
            fresh = trial.backbone()
            torch.manual_seed(state)
            apply_delta(load_delta(Path(folder)), fresh)
            found.append(
                {name: value for name, value in snapshot(fresh).items() if name.replace(_PUT_ASIDE, "") in own}
            )
    odd = [name for name, value in found[0].items() if not torch.equal(value, found[1][name])]
    promised(not odd, f"another with each random state: {some(odd)}")


def merges_into_a_plain_model(trial: Trial) -> None:
    """Merged, it gives the same logits within `traits.merge_tolerance`, in a model of the backbone's own modules."""
    tolerance = trial.strategy.traits.merge_tolerance
    if tolerance is None:
        raise DoesNotApplyError(f"{trial.strategy.name} declares that it cannot be merged")
    attached = trial.attach(trial.backbone())
    if (reason := attached.unmergeable()) is not None:
        raise DoesNotApplyError(f"{trial.strategy.name}: {reason}")
    train(attached)
    inputs = batch(attached.backbone)
    tuned, plain = logits(attached.backbone, inputs), trial.backbone().model
    try:
        attached.merge()
    except UserError as error:
        promised(False, f"merge(): {error}")
    close(logits(attached.backbone, inputs), tuned, tolerance, "merge_tolerance")
    same_names(attached.model.state_dict(), plain.state_dict(), "tensors of the merged model")
    kinds = {type(module).__name__ for module in attached.model.modules()}
    same_names(kinds, {type(module).__name__ for module in plain.modules()}, "modules of the merged model")


def stores_what_it_says(trial: Trial) -> None:
    """The bytes stored are those of `stored_bytes()`, and a header."""
    attached = trial.attach(trial.backbone())
    tensors = attached.delta()
    with tempfile.TemporaryDirectory() as folder:
        size = saved_bytes(attached, Path(folder))
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    promised(held == attached.stored_bytes(), f"stored_bytes() says {attached.stored_bytes()}, delta() holds {held}")
    # What is not tensors is the file's header: names, shapes and places.
    promised(size - held <= 200 * (len(tensors) + 1), f"the file has {size} bytes for tensors of {held}")


def gives_the_backbone_back(trial: Trial) -> None:
    """Detached after training, it leaves the backbone's weights, structure and `requires_grad` as before."""
    backbone = trial.backbone()
    next(iter(backbone.model.parameters())).requires_grad_(False)
    flags = {name: p.requires_grad for name, p in backbone.model.named_parameters()}
    before, modules = snapshot(backbone), [type(module) for module in backbone.model.modules()]
    attached = trial.attach(backbone)
    train(attached, steps=3)
    classifier = {name for name, _ in backbone.view.classifier_parameters()}
    attached.detach()
    after = snapshot(backbone)
    same_names(after, before, "tensors")
    changed = [name for name in before if name not in classifier and not torch.equal(before[name], after[name])]
    promised(not changed, f"changed: {some(changed)}")
    found = {name: p.requires_grad for name, p in backbone.model.named_parameters()}
    promised(found == flags, f"requires_grad is another one: {some(n for n in flags if flags[n] != found[n])}")
    promised([type(module) for module in backbone.model.modules()] == modules, "its modules are others than before")


def looks_at_data_without_a_trace(trial: Trial) -> None:
    """A look at data (`select`) leaves the backbone as it was, and its selection is read back as it was saved."""
    backbone = trial.backbone()
    before = snapshot(backbone)
    selection = trial.strategy.select(trial.context(backbone))
    if selection is None:
        raise DoesNotApplyError(f"{trial.strategy.name} does not look at data")
    after = snapshot(backbone)
    promised(all(torch.equal(before[name], after[name]) for name in before), "weights are others after the look")
    kind = trial.strategy.selection_type
    promised(isinstance(selection, kind or ()), f"select gives {type(selection).__name__}, selection_type is {kind}")
    assert kind is not None
    with tempfile.TemporaryDirectory() as folder:
        written = {path.name for path in selection.save(Path(folder))}
        promised(bool(written), "save() names no file that it wrote")
        promised(written <= set(kind.files), f"save() wrote {some(written)}, files names {some(kind.files)}")
        promised(kind.load(Path(folder)).facts() == selection.facts(), "load() gives other facts() than were saved")


def has_options_that_come_back(trial: Trial) -> None:
    """Options come back as they were given."""
    given = trial.strategy.given_options()
    again = create_strategy(trial.strategy.name, given).given_options()
    promised(again == given, f"given {given}, found {again}")


PROMISES: list[Callable[[Trial], None]] = [
    starts_as_the_untouched_backbone,
    gives_gradients_to_what_it_declares_alone,
    groups_each_parameter_once,
    changes_nothing_else_in_fp32,
    changes_nothing_else_in_bf16,
    is_the_same_with_gradient_checkpointing,
    learns,
    comes_back_from_its_delta,
    draws_nothing_that_its_delta_lacks,
    merges_into_a_plain_model,
    stores_what_it_says,
    gives_the_backbone_back,
    looks_at_data_without_a_trace,
    has_options_that_come_back,
]


def _changes_nothing_else(trial: Trial, *, bf16: bool = False) -> None:
    attached = trial.attach(trial.backbone())
    declared = {id(parameter) for parameter in trained_parameters(attached)}
    names = {pretrained(name) for name, p in attached.model.named_parameters() if id(p) in declared}
    before = snapshot(attached.backbone)
    gradients = train(attached, bf16=bf16)
    after = snapshot(attached.backbone)
    changed = [name for name, value in before.items() if name not in names and not torch.equal(value, after[name])]
    promised(not changed, f"not declared, and changed: {some(changed)}")
    # Phases of training may exchange parameters for others.
    reached = [name for name in names & after.keys() if not any(part in name for part in trial.unreached)]
    promised(bool(reached), "nothing of what is declared is left in the model")
    dry = sorted(set(reached) - gradients.given)
    promised(not dry, f"declared, and never with a gradient: {some(dry)}")
    still = sorted(name for name in gradients.taken & set(reached) if torch.equal(before[name], after[name]))
    promised(not still, f"declared, with a gradient, and not moved: {some(still)}")
    promised(bool(gradients.taken & set(reached)), "the optimiser saw no gradient of what is declared")


def trained_parameters(attached: Attached) -> list[nn.Parameter]:
    """Return what the optimiser gets: the tuned parameters and the classifier's."""
    return [*attached.tuned().values(), *attached.classifier().values()]


def saved_bytes(attached: Attached, folder: Path) -> int:
    """Save a strategy's delta into a folder, and return its bytes."""
    backbone = {"name": attached.backbone.name}
    return save_delta(describe_delta(attached, backbone, "example", ["no", "yes"], {}), folder)


def close(found: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """Compare logits: bit by bit, unless the strategy declares how far apart they may be."""
    if not torch.equal(found, expected):
        share = ((found - expected).abs().max() / expected.abs().max()).item()
        promised(share <= tolerance, f"logits differ by {share:.1e} of the largest; {what} allows {tolerance:g}")


def same_names(found: Iterable[str], expected: Iterable[str], what: str) -> None:
    """Compare two sets of names."""
    odd = sorted(set(found) ^ set(expected))
    promised(not odd, f"{what} are not the backbone's own: {some(odd)}")


def some(names: Iterable[str]) -> str:
    """Return a few of the names, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
