"""From a delta on disk back to a tuned model, and on to a plain Hugging Face folder."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from peftlab.backbones.allowance import Allowance
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.delta.delta import Delta, DeltaFacts, check_backbone, load_delta
from peftlab.errors import UserError, prefix_errors, require
from peftlab.files import atomic_folder, disk_errors
from peftlab.options.schema import build
from peftlab.output_layer import OutputLayer
from peftlab.results.record import RunRecord
from peftlab.strategies.attached import Attached
from peftlab.strategies.registry import create_strategy, strategy_names

# Numbers that a strategy may take beside what its file holds: what it draws and does not keep.
_SPARE = 2**22


def describe_delta(
    attached: Attached,
    backbone_spec: Mapping[str, Any],
    task: str,
    labels: list[str],
    versions: dict[str, Any],
    output: OutputLayer | None = None,
) -> Delta:
    """Return the delta of an attached strategy with all that is needed to restore it."""
    tensors, strategy = attached.delta(), attached.strategy
    facts = DeltaFacts(
        strategy=strategy.name,
        options=strategy.given_options(),
        selection={} if attached.selection is None else attached.selection.facts(),
        backbone=_portable(backbone_spec, attached.backbone.name),
        fingerprint=attached.backbone.fingerprint,
        task=task,
        labels=labels,
        output=asdict(output) if output else {},
        tensors=len(tensors),
        versions=versions,
    )
    return Delta(facts, tensors)


def apply_delta(delta: Delta, backbone: Backbone, option: str | None = None) -> Attached:
    """Attach the delta's strategy to a fresh backbone, load its tensors, and return what is attached.

    Args:
        delta: of a run.
        backbone: untouched.
        option: what names the folder of a backbone's files, for messages.

    Raises:
        UserError: the backbone is another one, or the delta does not fit its strategy.
    """
    check_backbone(delta.facts, backbone.name, backbone.fingerprint, option)
    # A delta may come from anywhere: it names no package that would be imported.
    require(
        delta.facts.strategy in strategy_names(),
        f"delta: there is no strategy {delta.facts.strategy} here; where it is a package's, name the package: "
        "--plugins PACKAGE, or load_plugins of peftlab.registry",
    )
    strategy = create_strategy(delta.facts.strategy, delta.facts.options)
    kind = strategy.selection_type
    for name, tensor in delta.tensors.items():
        require(not bool(tensor.isnan().any()), f"delta: tensor {name} holds values that are not numbers")
    held = sum(tensor.numel() for tensor in delta.tensors.values())
    with Allowance(_SPARE + 4 * (held + backbone.size), f"delta of strategy {delta.facts.strategy}"):
        attached = strategy.attach(backbone, kind.from_facts(delta.facts.selection) if kind else None)
    attached.load_delta(delta.tensors)
    return attached


def restore(folder: Path, backbone_path: str | None = None, option: str = "backbone_path=FOLDER") -> Attached:
    """Load a run's delta onto a freshly loaded backbone; `restore(folder).model` is the tuned model.

    Args:
        folder: a run's folder.
        backbone_path: where the backbone's files are, when they come from a folder and are no longer where the run
            found them.
        option: what names that folder, for messages.

    Raises:
        UserError: anything that does not fit; names the folder.
    """
    delta = load_delta(folder)
    with prefix_errors(f"{folder}: "):
        spec = backbone_spec(folder, delta.facts, backbone_path, option)
        return apply_delta(delta, load_backbone(spec, delta.facts.output_layer, seed=0), option)


def backbone_spec(folder: Path, facts: DeltaFacts, path: str | None, option: str) -> BackboneSpec:
    """Return the backbone that a run's delta belongs to; of a folder's weights the fingerprint says if it is theirs.

    Args:
        folder: the run's.
        facts: the delta's.
        path: the folder of the backbone's files, if somebody names one.
        option: what names that folder, for messages.

    Raises:
        UserError: the weights were a folder's, which is not where the run found it.
    """
    found = path or _recorded_path(folder)
    spec = build(BackboneSpec, {**facts.backbone, "path": found}, "backbone")
    if not (spec.path or spec.hub or spec.package or spec.parts or spec.random):
        raise UserError(
            f"its backbone {spec.name} was a folder's, and is not where the run found it: {option} names it"
        )
    return spec


def export_merged(
    folder: Path, target: Path, backbone_path: str | None = None, option: str = "backbone_path=FOLDER"
) -> str:
    """Merge a run's delta into its backbone and write a plain Hugging Face folder, whole or not at all.

    Returns:
        The class of stock transformers that loads it, as `AutoModelForSequenceClassification`.

    Raises:
        UserError: the delta does not fit, its method cannot be merged, `target` holds something, or the disk says no.
    """
    attached = restore(folder, backbone_path, option)
    model, processor = attached.merge(), attached.processor
    with disk_errors(target), atomic_folder(target) as temporary:
        try:
            model.save_pretrained(temporary)
            processor.save_pretrained(temporary)
        except SafetensorError as error:
            raise UserError(f"{target}: cannot be written ({error})") from error
    return load_delta(folder).facts.output_layer.auto_class


def _portable(backbone: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what a delta says of its backbone: no path of this machine, and of a folder's weights no place at all."""
    places = ("hub", "revision", "package", "parts", "sha256", "random")
    elsewhere = places if backbone.get("path") and not backbone.get("sha256") else ()
    return {**{key: value for key, value in backbone.items() if key not in ("path", *elsewhere)}, "name": name}


def _recorded_path(folder: Path) -> str | None:
    """Return where a run found its backbone's folder, if it is there still."""
    try:
        path = RunRecord.read(folder).config["backbone"]["path"]
    except (UserError, KeyError, TypeError):
        return None
    return path if isinstance(path, str) and Path(path).expanduser().is_dir() else None
