"""A run's delta as a folder that peft loads by `PeftModel.from_pretrained`: without PEFT Lab, or as its method."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from peft import PeftModel, get_peft_model
from peft.tuners.supertuning import SupertuningConfig
from torch import Tensor

from peftlab.backbones.forward import hidden_states
from peftlab.backbones.loading import Backbone, load_backbone
from peftlab.backbones.spec import BackboneSpec, Kept
from peftlab.delta.delta import load_delta
from peftlab.errors import UserError, prefix_errors, require
from peftlab.export.card import card
from peftlab.export.sparse import sparse_delta, whole_difference
from peftlab.files import atomic_folder, disk_errors, write_text_atomic
from peftlab.output_layer import QUESTION_ANSWERING, SEQUENCE_CLASSIFICATION, TOKEN_CLASSIFICATION, OutputLayer
from peftlab.peft import SparseConfig
from peftlab.results.record import RunRecord
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.injection import AttachedPeft
from peftlab.strategies.restore import apply_delta, backbone_spec

# What peft calls the tasks that it has a class for.
_TASKS = {
    SEQUENCE_CLASSIFICATION: "SEQ_CLS",
    TOKEN_CLASSIFICATION: "TOKEN_CLS",
    QUESTION_ANSWERING: "QUESTION_ANS",
}
Form = Literal["peft", "sparse"]
_ADAPTER = "default"
_ALLOWED = 1e-5  # hidden states of the loaded folder may differ by this share of the largest


@dataclass(frozen=True)
class Exported:
    """What was written: peft's name of the method, and how far hidden states are from the delta's, of the largest.

    Both are on the backbone as its files have it; `kept` is the type in which the run kept what it did not tune.
    """

    method: str
    apart: float
    kept: Kept


def export_peft(
    folder: Path,
    target: Path,
    backbone_path: str | None = None,
    option: str = "backbone=FOLDER",
    form: Form = "peft",
) -> Exported:
    """Write a run's delta as peft keeps it, whole or not at all, after peft has loaded it and answered alike.

    Methods of peft are written as themselves. Others, whose merged model differs from the backbone in weights of linear
    layers alone, as HiFi's does, become Super-Tuning: places and what is added there. The form `sparse` is the same for
    the weights of any layer, which peft knows once `peftlab.peft` is imported.

    Args:
        folder: the run's.
        target: new, or empty.
        backbone_path: where the backbone's files are, when they are no longer where the run found them.
        option: what names that folder, for messages.
        form: `peft` or `sparse`.

    Raises:
        UserError: the delta does not fit, or the method has no form in peft, or the disk says no.
    """
    delta = load_delta(folder)
    with prefix_errors(f"{folder}: "):
        output = delta.facts.output_layer
        kept = backbone_spec(folder, delta.facts, backbone_path, option)
        # Stock layers, and weights as their files have them: what is written is for a machine that has no others.
        spec = replace(kept, kernels=False, dtype="float32")
        require(
            spec.quantize is None,
            f"backbone.quantize={spec.quantize}: peft would put it onto weights that are not rounded; "
            "python -m peftlab.merge writes the whole model",
        )
        attached = apply_delta(delta, load_backbone(spec, output, seed=0), option)
        model, expected = _as_peft(attached, spec, output, form)
        with disk_errors(target), atomic_folder(target) as temporary:
            config: Any = model.peft_config[_ADAPTER]
            config.base_model_name_or_path = spec.hub or attached.backbone.name
            config.revision = spec.revision
            config.modules_to_save = list(dict.fromkeys(config.modules_to_save))  # peft adds its own names each time
            model.save_pretrained(str(temporary), save_embedding_layers=False)
            apart = _distance(temporary, spec, output, expected)
            require(
                apart <= _ALLOWED,
                f"peft would make another model of it: hidden states move by {apart:.1e} of the largest; "
                f"allowed is {_ALLOWED:g}",
            )
            method = str(config.peft_type).rpartition(".")[2]
            write_text_atomic(temporary / "README.md", card(_record(folder), delta.facts, spec, method))
    return Exported(method, apart, kept.dtype)


def _as_peft(attached: Attached, spec: BackboneSpec, output: OutputLayer, form: Form) -> tuple[PeftModel, Tensor]:
    """Return a model of peft that holds the delta, and the hidden states that it should give."""
    classifier = {name: p.detach().clone() for name, p in attached.classifier().items()}
    fresh = load_backbone(spec, output, seed=0)
    own = dict(fresh.model.named_parameters())
    with torch.no_grad():
        for name, value in classifier.items():
            own[name].copy_(value)
    kept = _with_weights(fresh)
    # With a task's name peft would keep the output layer as a whole, which it cannot merge where that is a block.
    plain = kept == fresh.view.classifier_names()
    common: dict[str, Any] = {"modules_to_save": kept, "task_type": _TASKS.get(output.auto_class) if plain else None}
    if isinstance(attached, AttachedPeft):
        return _as_itself(attached, fresh, common)
    require(
        attached.unmergeable() is None,
        f"strategy {attached.strategy.name}: peft has no form for it, and it cannot be merged",
    )
    attached.merge()
    expected = hidden_states(attached.backbone)
    with prefix_errors(f"strategy {attached.strategy.name}: "):
        if form == "sparse":
            return _as_difference(attached, fresh, common), expected
        changed = sparse_delta(fresh.model, attached.model.state_dict(), set(classifier))
    config = SupertuningConfig(target_modules=list(changed.layers), sparsity=changed.sparsity, **common)
    model: Any = get_peft_model(fresh.model, config)
    for name, entries in changed.layers.items():
        layer = model.base_model.model.get_submodule(name)
        layer.supertuning_indices[_ADAPTER].copy_(entries.indices)
        layer.supertuning_values[_ADAPTER].data.copy_(entries.values)
    return model, expected


def _as_difference(attached: Attached, fresh: Backbone, common: dict[str, Any]) -> PeftModel:
    """Return a model of peft with a sparse difference to what was merged."""
    entries = whole_difference(fresh.model, attached.model.state_dict(), set(attached.classifier()))
    config = SparseConfig(places={name: own.indices for name, own in entries.items()}, **common)
    model: Any = get_peft_model(fresh.model, config)
    for name, own in entries.items():
        module, _, leaf = name.rpartition(".")
        _, values = model.base_model.model.get_submodule(module).parts(_ADAPTER)[leaf]
        values.data.copy_(own.values)
    return model


def _as_itself(attached: AttachedPeft, fresh: Backbone, common: dict[str, Any]) -> tuple[PeftModel, Tensor]:
    """Return the same method of peft in a wrapper of its own, with the delta's values."""
    expected = hidden_states(attached.backbone)
    config: Any = attached.strategy.config(fresh)
    for name, value in common.items():
        setattr(config, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # as `strategies/bases/injection.py` draws what some methods start from
        model: Any = get_peft_model(fresh.model, config)
    places = model.state_dict(keep_vars=True)
    classifier = attached.classifier().keys()
    with torch.no_grad():
        for name, value in attached.delta().items():
            if name not in classifier:
                place = places.get(f"base_model.model.{name}")
                require(place is not None, f"{attached.strategy.title}: peft keeps {name} elsewhere in a wrapper")
                place.copy_(value)
    return model, expected


def _with_weights(backbone: Backbone) -> list[str]:
    """Return the names of the modules of the output layer that hold weights themselves."""
    named = zip(backbone.view.classifier_names(), backbone.view.classifier_modules(), strict=True)
    below = [(f"{name}.{own}".rstrip("."), part) for name, module in named for own, part in module.named_modules()]
    return [name for name, part in below if any(True for _ in part.parameters(recurse=False))]


def _distance(folder: Path, spec: BackboneSpec, output: OutputLayer, expected: Tensor) -> float:
    """Return how far the hidden states of what stock peft loads are from the expected ones, of the largest."""
    fresh = load_backbone(spec, output, seed=0)
    loaded: Any = PeftModel.from_pretrained(fresh.model, folder)
    found = hidden_states(replace(fresh, model=loaded.base_model.model))
    return float((found - expected).abs().max() / expected.abs().max())


def _record(folder: Path) -> RunRecord | None:
    """Return the run's record, if there is one: a delta that `Tuned.save` wrote has none."""
    try:
        return RunRecord.read(folder)
    except (UserError, OSError):
        return None
