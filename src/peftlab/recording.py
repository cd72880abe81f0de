"""What a run's record and its dashboards are told: from the live objects of a run to plain values."""

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn

from peftlab.backbones.spec import folder_name
from peftlab.command_line import typed_command
from peftlab.data.module import TaskData
from peftlab.names import shortened
from peftlab.plan import Plan
from peftlab.redaction import redact
from peftlab.results import doubts, record
from peftlab.results.environment import commit_and_dirty, versions
from peftlab.results.record import RunRecord
from peftlab.results.settings import experiment_settings, recorded_config
from peftlab.strategies.attached import Attached
from peftlab.tasks.kind import Predictions, TaskKind
from peftlab.training.fit import FitResult
from peftlab.training.module import FineTuning

log = logging.getLogger(__name__)

_LONGEST_NAME, _LONGEST_TAG = 128, 64  # of a run, of its group and of a tag in W&B
_PACKAGE = Path(__file__).resolve().parent
# Whose commit the record names. An installed package may lie inside anybody's checkout, and is the top of none.
REPOSITORY = _PACKAGE.parents[1] if _PACKAGE.parent.name == "src" else _PACKAGE


def new_record(config: Mapping[str, Any]) -> RunRecord:
    """Return the record of a run that begins: what it is filed by, its configuration, and what carries it out."""
    commit, dirty = commit_and_dirty(REPOSITORY)
    return RunRecord(
        task=config["task"]["name"],
        strategy=config["strategy"]["name"],
        backbone=folder_name(config["backbone"]) or config["backbone"]["name"],
        seed=config["seed"],
        shots=config["shots"]["per_class"],
        config=recorded_config(config),
        versions=versions(),
        commit=commit,
        dirty=dirty,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=typed_command(),
    )


def fill_results(result: RunRecord, plan: Plan, module: FineTuning, data: TaskData, fitted: FitResult) -> None:
    """Write into the record what training and evaluation gave."""
    seconds = fitted.seconds
    result.metric = _metric(plan.kind, module.results, module.predictions)
    result.collapsed = any(plan.kind.is_degenerate(found) for found in module.predictions.values())
    result.seconds.selection, result.seconds.training = seconds.selection, seconds.training
    result.seconds.evaluation = seconds.evaluation
    result.throughput = record.Throughput(
        module.examples_seen / seconds.training,
        module.tokens_seen / seconds.training if module.tokens_seen else None,
    )
    result.training = record.Training(
        steps=fitted.steps,
        epochs=fitted.epochs,
        batch_size=data.batch_size,
        learning_rate=plan.settings.learning_rate,
        best_epoch=fitted.best_epoch,
        precision=fitted.precision,
        length_grouped=plan.data.length_grouped,
        first_loss=fitted.first_loss,
        stopped_early=fitted.stopped_early,
    )
    options = plan.config["trainer"]
    result.cut_short = fitted.extent.cut_short(options, options.get("max_epochs") or plan.settings.epochs)
    result.data, result.curve = data.describe(), fitted.curve
    result.doubts = _doubts(result, module.results)
    result.selection = fitted.selection.describe() if fitted.selection is not None else None


def count_parameters(attached: Attached) -> record.Parameters:
    """Return the model's parameters, counted as the backbone's own, what was tuned, and the classifier apart."""
    return record.Parameters(
        total=attached.backbone.size,
        tuned=attached.num_tuned(),
        classifier=sum(p.numel() for p in attached.classifier().values()),
        sizes=attached.sizes,
    )


def weights_bytes(model: nn.Module) -> int:
    """Return the bytes of a model's parameters, each once, on all devices together."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def describe_run(config: Mapping[str, Any], result: RunRecord) -> dict[str, Any]:
    """Return name, group (the run without its seed), tags and configuration, for loggers that show many runs.

    Names are as long as W&B takes them.

    Args:
        config: the resolved configuration.
        result: the record, which says what the backbone is.
    """
    shown = redact(recorded_config(config))
    defining = [experiment_settings(shown), result.fingerprint]
    digest = hashlib.sha256(json.dumps(defining, sort_keys=True).encode()).hexdigest()[:8]
    tags = [config["task"]["name"], config["strategy"]["name"], result.backbone]
    tags.append(f"shots-{config['shots']['per_class'] or 'full'}")
    group = "-".join([*tags, digest])
    name = shortened(f"{group}-seed{config['seed']}", _LONGEST_NAME)
    tags = [shortened(tag, _LONGEST_TAG) for tag in tags]
    return {"name": name, "group": shortened(group, _LONGEST_NAME), "tags": tags, "config": shown}


def _doubts(result: RunRecord, metrics: Mapping[str, float]) -> dict[record.Doubt, str]:
    """Return what makes the score doubtful, and warn of what nobody has been warned of."""
    assert result.training is not None
    told = doubts.diverged(result.training.first_loss, [row["train/loss"] for row in result.curve])
    told |= doubts.undefined(metrics)
    for reason in told.values():
        log.warning("%s: %s", result.folder, reason)
    return told | doubts.doubtful_data(*(result.data[name] for name in ("examples", "overlap", "empty")))


def _metric(kind: TaskKind, results: dict[str, float], predictions: Mapping[str, Predictions]) -> record.Metric:
    name, metric = kind.primary, kind.metrics[kind.primary]
    validation, test = results[f"validation/{name}"], results.get(f"test/{name}")
    primary = (f"validation/{name}", f"test/{name}")
    further: dict[str, float | None] = {key: value for key, value in results.items() if key not in primary}
    # A kind that is made of another one may have other metrics.
    for beside in (set(kind.recorded_besides) & set(kind.metrics)) - set(kind.task.metrics):
        further |= {f"{split}/{beside}": kind.metrics[beside].function(found) for split, found in predictions.items()}
    constant = kind.constant_score(predictions["validation" if test is None else "test"])
    return record.Metric(name, validation, test, further, metric.better, metric.unit, constant)
