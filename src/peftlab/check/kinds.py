"""The contract of a kind of task: what `tasks/kind.py` says that a kind does, on its own tiny example."""

import csv
import tempfile
from collections.abc import Callable, Iterator
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from peftlab.backbones.forward import outputs_of
from peftlab.backbones.loading import Backbone
from peftlab.backbones.modality import encoder_for
from peftlab.check.promise import DoesNotApplyError, promised
from peftlab.check.small import small_backbone, type_for
from peftlab.data.batching import cut
from peftlab.errors import UserError
from peftlab.heads.scoring import score_heads
from peftlab.tasks.kind import TaskKind, kind_of

LENGTH = 64


def takes_its_example(cls: type[TaskKind]) -> None:
    """Its example is a task that it takes, with columns that it names."""
    kind, rows, _ = cls.example()
    kind.check()
    odd = sorted(set(rows.column_names) - kind.columns.keys())
    promised(not odd, f"rows have the columns {odd}, `columns` names {sorted(kind.columns)}")
    promised(kind_of(kind.task) == kind, f"its task's kind {kind.task.kind_name} makes another one of it")


def trains_the_output_layer(cls: type[TaskKind]) -> None:
    """From rows to a loss, a finite scalar, whose gradient reaches the output layer."""
    kind, rows, _ = cls.example()
    backbone = backbone_for(kind)
    batch = batch_for(kind, backbone, rows)
    loss = kind.loss(outputs_of(backbone, batch), batch)
    promised(loss.shape == (), f"the loss has the shape {list(loss.shape)}")
    promised(bool(loss.isfinite()), f"the loss is {loss.item()}")
    loss.backward()
    gradients = [parameter.grad for _, parameter in backbone.view.classifier_parameters()]
    reached = any(gradient is not None and bool(gradient.abs().max() > 0) for gradient in gradients)
    promised(reached, "no parameter of the output layer has a gradient")


def weighs_its_losses(cls: type[TaskKind]) -> None:
    """The losses of batches, weighted by `loss_terms`, are the loss of all rows in one."""
    kind, rows, _ = cls.example()
    backbone = backbone_for(kind)
    with torch.no_grad():
        (whole,) = [kind.loss(outputs_of(backbone, b), b) for b in _batches(kind, backbone, rows, len(rows))]
        parts = [*_batches(kind, backbone, rows, max(1, len(rows) - 1))]
        losses = torch.stack([kind.loss(outputs_of(backbone, batch), batch) for batch in parts])
    terms = torch.tensor([float(kind.loss_terms(batch)) for batch in parts])
    mean = (losses * terms).sum() / terms.sum()
    promised(torch.allclose(mean, whole, rtol=1e-4), f"the loss of all rows is {whole}, the mean of batches {mean}")


def predicts_in_batches(cls: type[TaskKind]) -> None:
    """Predictions of batches are those of all rows, with every metric a finite number."""
    kind, rows, perfect = cls.example()
    backbone = backbone_for(kind)
    half = len(rows) // 2
    with torch.no_grad():
        batches = [batch_for(kind, backbone, rows.select(part)) for part in (range(half), range(half, len(rows)))]
        parts = [kind.predict(outputs_of(backbone, batch), batch) for batch in batches]
    found = parts[0].joined(parts)
    promised(len(found.ids) == len(rows), f"{len(found.ids)} predictions for {len(rows)} rows")
    promised(_same(found.gold, perfect.gold), "the right answers are not those of its example")
    scores = kind.score(found)
    promised(list(scores) == kind.task.metrics, f"scores {list(scores)}, the task's metrics are {kind.task.metrics}")
    promised(all(map(isfinite, scores.values())), f"scores that are no finite numbers: {scores}")


def prefers_right_answers(cls: type[TaskKind]) -> None:
    """Right answers beat those of a model that learnt nothing, by each metric's own direction; these are degenerate."""
    kind, _, perfect = cls.example()
    constant = kind.unlearnt()
    promised(not kind.is_degenerate(perfect), "right answers count as degenerate")
    promised(kind.is_degenerate(constant), "what a model says that learnt nothing does not count as degenerate")
    right, poor = kind.score(perfect), kind.score(constant)
    for name in kind.task.metrics:
        better = kind.metrics[name].better
        ordered = right[name] > poor[name] if better == "higher" else right[name] < poor[name]
        promised(ordered, f"{name}, {better} is better: {right[name]} for right answers, {poor[name]} without learning")


def writes_its_answers(cls: type[TaskKind]) -> None:
    """What it writes is read back in the order of the split."""
    kind, _, perfect = cls.example()
    turned = perfect.select(range(len(perfect.ids))[::-1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "predictions.tsv"
        kind.write(turned, path)
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    promised([int(row["index"]) for row in rows] == sorted(perfect.ids.tolist()), "rows are not in order, or not all")
    promised([row["prediction"] for row in rows] == kind.answers(perfect), "written answers are not `answers`")


def gives_pads_no_say(cls: type[TaskKind]) -> None:
    """What it predicts of an example, and the scores of heads on it, do not depend on which others share its batch."""
    kind, rows, _ = cls.example()
    backbone = backbone_for(kind)
    together, apart = ([*_batches(kind, backbone, rows, size)] for size in (len(rows), 1))
    with torch.no_grad():
        answers = [
            kind.answers(parts[0].joined(parts))
            for parts in ([kind.predict(outputs_of(backbone, b), b) for b in batches] for batches in (together, apart))
        ]
    promised(answers[0] == answers[1], f"answers in one batch are {answers[0]}, one by one {answers[1]}")
    scores = [score_heads(backbone, batches, 0.9) for batches in (together, apart)]
    promised(
        all(found.examples == len(rows) for found in scores), f"of {len(rows)} examples {scores[0].examples} count"
    )
    near = torch.allclose(scores[0].correlation, scores[1].correlation, rtol=1e-4)
    promised(near, "the scores of heads depend on which examples share a batch")


def draws_each_row_once(cls: type[TaskKind]) -> None:
    """Its strata, which shots are drawn from, hold each row once."""
    kind, rows, _ = cls.example()
    try:
        strata = kind.strata(rows)
    except UserError as error:
        raise DoesNotApplyError(str(error)) from error
    if strata is None:
        raise DoesNotApplyError("shots are drawn from all rows")
    found = sorted(row for stratum in strata for row in stratum)
    promised(found == list(range(len(rows))), f"{len(rows)} rows, the strata hold {found}")


PROMISES: list[Callable[[type[TaskKind]], None]] = [
    takes_its_example,
    trains_the_output_layer,
    weighs_its_losses,
    predicts_in_batches,
    prefers_right_answers,
    writes_its_answers,
    gives_pads_no_say,
    draws_each_row_once,
]


def backbone_for(kind: TaskKind) -> Backbone:
    """Return a small backbone with the kind's output layer."""
    return small_backbone(type_for(kind), kind.output_layer)


def batch_for(kind: TaskKind, backbone: Backbone, rows: Any) -> dict[str, Any]:
    """Return all rows as one batch."""
    (batch,) = _batches(kind, backbone, rows, len(rows))
    return batch


def _batches(kind: TaskKind, backbone: Backbone, rows: Any, size: int) -> Iterator[dict[str, Any]]:
    encoder = encoder_for(backbone.processor, LENGTH)
    split = kind.encode(rows, encoder)
    for numbers in cut(range(len(split)), size):
        yield kind.collate([split[number] for number in numbers], encoder)


def _same(one: Any, other: Any) -> bool:
    tensors = isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)
    return torch.equal(one, other) if tensors else bool(one == other)
