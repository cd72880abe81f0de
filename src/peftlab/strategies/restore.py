"""From a delta on disk back to a tuned model, and on to a plain Hugging Face folder."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.delta.delta import Delta, DeltaFacts, check_backbone, load_delta
from peftlab.errors import UserError, prefix_errors, require
from peftlab.files import atomic_folder, disk_errors
from peftlab.options.schema import build
from peftlab.output_layer import OutputLayer
from peftlab.strategies.attached import Attached
from peftlab.strategies.registry import create_strategy, strategy_names


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
        # A path is this machine's; whoever restores names the folder again.
        backbone={name: value for name, value in backbone_spec.items() if name != "path"},
        fingerprint=attached.backbone.fingerprint,
        task=task,
        labels=labels,
        output=asdict(output) if output else {},
        tensors=len(tensors),
        versions=versions,
    )
    return Delta(facts, tensors)


def apply_delta(delta: Delta, backbone: Backbone) -> Attached:
    """Attach the delta's strategy to a fresh backbone, load its tensors, and return what is attached.

    Raises:
        UserError: the backbone is another one, or the delta does not fit its strategy.
    """
    check_backbone(delta.facts, backbone.name, backbone.fingerprint)
    # A delta may come from anywhere: it names no package that would be imported.
    require(
        delta.facts.strategy in strategy_names(),
        f"delta: there is no strategy {delta.facts.strategy} here; where it is a package's, name the package: "
        "--plugins PACKAGE, or load_plugins of peftlab.registry",
    )
    strategy = create_strategy(delta.facts.strategy, delta.facts.options)
    kind = strategy.selection_type
    attached = strategy.attach(backbone, kind.from_facts(delta.facts.selection) if kind else None)
    attached.load_delta(delta.tensors)
    return attached


def restore(folder: Path, backbone_path: str | None = None) -> Attached:
    """Load a run's delta onto a freshly loaded backbone; `restore(folder).model` is the tuned model.

    Args:
        folder: a run's folder.
        backbone_path: where the backbone's files are, when they come from a folder.

    Raises:
        UserError: anything that does not fit; names the folder.
    """
    delta = load_delta(folder)
    with prefix_errors(f"{folder}: "):
        spec = build(BackboneSpec, {**delta.facts.backbone, "path": backbone_path}, "backbone")
        return apply_delta(delta, load_backbone(spec, delta.facts.output_layer, seed=0))


def export_merged(folder: Path, target: Path, backbone_path: str | None = None) -> None:
    """Merge a run's delta into its backbone and write a plain Hugging Face folder, whole or not at all.

    `AutoModelForSequenceClassification.from_pretrained(target)` of stock transformers loads it.

    Raises:
        UserError: the delta does not fit, its method cannot be merged, `target` holds something, or the disk says no.
    """
    attached = restore(folder, backbone_path)
    model, processor = attached.merge(), attached.processor
    with disk_errors(target), atomic_folder(target) as temporary:
        try:
            model.save_pretrained(temporary)
            processor.save_pretrained(temporary)
        except SafetensorError as error:
            raise UserError(f"{target}: cannot be written ({error})") from error
