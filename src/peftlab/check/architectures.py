"""The contract of a family of architectures: where it says that heads, sites and output layers are, there they are."""

from collections.abc import Callable

import torch
from torch import Tensor

from peftlab.backbones.architecture import PROJECTIONS, Architecture, architecture
from peftlab.backbones.loading import Backbone
from peftlab.check.promise import promised
from peftlab.check.small import batch, example, logits, loss_of, small_backbone
from peftlab.heads.outputs import head_outputs
from peftlab.output_layer import PER_TOKEN, OutputLayer


def serves_its_types(family: type[Architecture]) -> None:
    """It alone serves its model types, and models of them load with a task's output layer."""
    for kind in family.model_types:
        promised(type(architecture(kind)) is family, f"{kind} is served by another family")
        backbone = _backbone(kind)
        inputs, output = batch(backbone), example(kind).kind.output_layer
        # Of each example, or of each of its tokens.
        shape = [6, *inputs["input_ids"].shape[1:]] if output.auto_class in PER_TOKEN else [6]
        expected = [*shape, backbone.model.config.num_labels]
        found = list(logits(backbone, inputs).shape)
        promised(found == expected, f"{kind}: logits for six examples have the shape {found}, not {expected}")


def keeps_heads_where_it_says(family: type[Architecture]) -> None:
    """The rows of a head move that head, and of shared keys and values those that share it; no other."""
    for kind in family.model_types:
        for which in PROJECTIONS:
            backbone = _backbone(kind)
            view, before = backbone.view, _head_outputs(backbone)
            name, rows = view.head_rows(0, which, [0])
            weight = backbone.model.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            with torch.no_grad():
                target = weight.movedim(view.axis(which), 0)
                target[rows] += torch.randn(target[rows].shape, generator=torch.Generator().manual_seed(0))
            moved = (_head_outputs(backbone) - before).abs().amax((0, 1, 3)) > 0
            attention = family().attention(backbone.model.config)
            group = view.num_heads // attention.rows(which).heads
            if attention.normed_together and which != "value":
                group = view.num_heads
            expected = [head < group for head in range(view.num_heads)]
            promised(
                moved.tolist() == expected,
                f"{kind}: the {which} rows of head 0 move {moved.nonzero().flatten().tolist()}",
            )


def names_modules_that_are_there(family: type[Architecture]) -> None:
    """Each site and each output layer that it names is a module of the model."""
    for kind in family.model_types:
        view = _backbone(kind).view
        for site in family.sites:
            view.site_names(site)
            view.at(view.num_layers - 1, site)
        for auto_class in family.output_layers:
            made = small_backbone(kind, OutputLayer(auto_class, {"num_labels": 2}))
            base = {id(parameter) for parameter in made.view.base.parameters()}
            outside = {name for name, parameter in made.model.named_parameters() if id(parameter) not in base}
            named = {name for name, _ in made.view.classifier_parameters()}
            promised(outside == named, f"{kind}, {auto_class}: {sorted(outside ^ named)} are the base's, or not named")


def names_what_nothing_reads(family: type[Architecture]) -> None:
    """Training all weights reaches each of them but those that it says no output layer reads."""
    for kind in family.model_types:
        backbone = _backbone(kind)
        backbone.model.requires_grad_(True)
        loss_of(backbone, batch(backbone)).backward()
        tunable = {*backbone.view.tunable_parameters(), *(name for name, _ in backbone.view.classifier_parameters())}
        reached = {name for name, parameter in backbone.model.named_parameters() if parameter.grad is not None}
        promised(reached <= tunable, f"{kind}: named as unread, and reached: {sorted(reached - tunable)}")
        promised(tunable <= reached, f"{kind}: not reached, and not named as unread: {sorted(tunable - reached)}")


PROMISES: list[Callable[[type[Architecture]], None]] = [
    serves_its_types,
    keeps_heads_where_it_says,
    names_modules_that_are_there,
    names_what_nothing_reads,
]


def _backbone(kind: str) -> Backbone:
    return small_backbone(kind, example(kind).kind.output_layer)


def _head_outputs(backbone: Backbone) -> Tensor:
    """Return what the heads of the first layer give, [B, S, H, D']."""
    found: dict[int, Tensor] = {}
    with head_outputs(backbone.view, found.__setitem__):
        logits(backbone, batch(backbone))
    return found[0]
