"""The model card of an exported delta: what it is, on what, how good, and how it is loaded."""

import shlex

from peftlab.backbones.spec import BackboneSpec
from peftlab.delta.delta import DeltaFacts
from peftlab.results.record import RunRecord
from peftlab.results.scores import Scale

_LOAD = """```python
{first}from peft import PeftModel
from transformers import {auto}

model = {auto}.from_pretrained("{base}"{labels})
model = PeftModel.from_pretrained(model, "THIS_FOLDER")
```"""


def card(record: RunRecord | None, facts: DeltaFacts, spec: BackboneSpec, method: str) -> str:
    """Return the card as Markdown with a head for the Hub.

    Args:
        record: of the run; without one the card has no score.
        facts: of the delta.
        spec: of the backbone.
        method: peft's name of the form that the delta is written in.
    """
    base = spec.hub or str(facts.backbone.get("name"))
    output = facts.output_layer
    number = output.options.get("num_labels")
    head = ["---", "library_name: peft", f"base_model: {base}", "tags:", f"- {facts.strategy}", "- peftlab", "---"]
    about = f"# {facts.strategy} on {base}" + (f", {facts.task}" if facts.task else "")
    lines = [
        f"- method: {facts.strategy}, written as peft's {method}",
        f"- backbone: {base}, fingerprint of its weights {facts.fingerprint}",
        *(_of_run(record) if record else []),
    ]
    labels = f", num_labels={number}" if number else ""
    first = "import peftlab.peft\n" if method == "SPARSE_DIFFERENCE" else ""
    load = _LOAD.format(first=first, auto=output.auto_class, base=base, labels=labels)
    return "\n".join([*head, "", about, "", *lines, "", load, ""])


def _of_run(record: RunRecord) -> list[str]:
    lines = [f"- data: {record.task}" + (f", {record.shots} examples a class" if record.shots else "")]
    if record.metric is not None:
        scale = Scale.of(record.metric)
        for split in ("validation", "test"):
            value = getattr(record.metric, split)
            if value is not None:
                lines.append(f"- {record.metric.name} on {split}: {scale.text(scale.score(value))}, seed {record.seed}")
    if record.parameters is not None:
        lines.append(
            f"- tuned: {record.parameters.tuned:,} weights, and the classifier's {record.parameters.classifier:,}"
        )
    if record.command:
        lines.append(f"- made by `python {shlex.join(record.command)}`")
    return lines
