"""One run, top to bottom: task -> backbone -> strategy -> fit -> evaluate -> record."""

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning import seed_everything
from lightning.pytorch.utilities import rank_zero_only

from peftlab.backbones.loading import Backbone, load_backbone
from peftlab.cache import RunCache
from peftlab.command_line import typed_command
from peftlab.data.module import TaskData
from peftlab.delta.delta import FACTS_FILE, TENSORS_FILE, save_delta
from peftlab.deployment.measure import measure_deployment
from peftlab.errors import BusyError, UserError
from peftlab.files import disk_errors, exclusive_lock, remove_leftovers
from peftlab.identity import identify, run_settings
from peftlab.plan import Parts, check_identity, check_length, make_parts
from peftlab.previous_run import find_finished
from peftlab.redaction import redact
from peftlab.results import record
from peftlab.results.environment import PeakMemory, commit_and_dirty, device_name, versions
from peftlab.results.record import RunRecord
from peftlab.results.settings import experiment_settings
from peftlab.strategies.attached import Attached
from peftlab.strategies.restore import describe_delta
from peftlab.tasks.kind import TaskKind
from peftlab.training.callbacks import AttachStrategy
from peftlab.training.fit import FitResult, RunCallbacks, fit_and_evaluate
from peftlab.training.lightning_internals import is_first_rank
from peftlab.training.loggers import RunLoggers
from peftlab.training.module import FineTuning
from peftlab.training.resumption import Resumption, has_checkpoint, remove_checkpoints, seconds_taken
from peftlab.training.trainer import build_trainer
from peftlab.training.trajectory import remove_trajectory

_PACKAGE = Path(__file__).resolve().parent
# Whose commit the record names. An installed package may lie inside anybody's checkout, and is the top of none.
REPOSITORY = _PACKAGE.parents[1] if _PACKAGE.parent.name == "src" else _PACKAGE


def run(config: dict[str, Any], folder: Path, cache: RunCache | None = None) -> RunRecord:
    """Tune a backbone on a task as `config` says and leave `result.json`, the delta and the selection in `folder`.

    Args:
        config: the resolved configuration (`conf/config.yaml` and its groups).
        folder: the run's output folder; it is made if it is not there. A run that was interrupted there goes on;
            whatever else an earlier attempt left is replaced.
        cache: what this run shares with the next ones of its process; nothing if it is not given.

    Returns:
        The record of the finished run.

    Raises:
        UserError: a mistake in options, data or files; as with any other failure, the record says so. Without a
            valid name, seed or shots there is no record, and a folder that holds something else is left as it is.
        BusyError: another run is at work in `folder`, which is left to it.
    """
    with _alone(config, folder) as loggers:
        return _recorded(config, folder, cache or RunCache(), loggers)


def run_unless_finished(config: dict[str, Any], folder: Path, cache: RunCache | None = None) -> bool:
    """Do a run as `run` does, unless `folder` holds the finished record of that very run; return whether it was done.

    Whether it has finished is asked when nobody else is at work there, so that no two processes do the same.
    """
    with _alone(config, folder) as loggers:
        missing = not is_first_rank() or find_finished(config, folder, cache or RunCache()) is None
        if missing:
            _recorded(config, folder, cache or RunCache(), loggers)
        return missing


@contextmanager
def _alone(config: dict[str, Any], folder: Path) -> Iterator[RunLoggers]:
    """Guard a run's folder, once what its record is filed by is known to be valid; give its loggers, not yet open."""
    check_identity(config)
    with disk_errors(folder), ExitStack() as stack:
        # The other ranks of a distributed run are no other run.
        if is_first_rank() and not stack.enter_context(exclusive_lock(folder)):
            raise BusyError(f"{folder}: another run is at work in this folder")
        # A dashboard is told how the run ended by its record: the loggers are closed after the last word of it.
        yield stack.enter_context(closing(RunLoggers(config["logger"], folder)))


def _recorded(config: dict[str, Any], folder: Path, cache: RunCache, loggers: RunLoggers) -> RunRecord:
    """Do a run whose record says at any time how far it is."""
    result = _new_record(config)
    result.resumed, seconds = _interrupted(config, folder)
    begun = time.perf_counter() - seconds
    _write(result, folder)
    _discard_delta(folder)
    if not result.resumed:
        _discard_trajectory(folder)
    try:
        _tune(config, folder, result, cache, begun, loggers)
        result.status = "finished"
    except (KeyboardInterrupt, SystemExit):
        result.stop("interrupted", "interrupted by a signal")
        # Lightning turns Ctrl-C into the exit of a failure, and a sweep would end without a word.
        raise KeyboardInterrupt from None
    except UserError as error:
        result.stop("failed", error)
        raise
    except Exception as error:
        result.stop("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        result.seconds.total = time.perf_counter() - begun
        _write(result, folder)
    _clear(folder)
    return result


def _interrupted(config: dict[str, Any], folder: Path) -> tuple[int, float]:
    """Return how often the run in `folder` is gone on with, and the seconds it has taken: 0 and 0 for a new one."""
    before = RunRecord.read(folder) if (folder / record.FILE_NAME).exists() else None
    if before and before.status == "finished":
        _clear(folder)
    if not has_checkpoint(folder):
        return 0, 0.0
    seconds = seconds_taken(folder, run_settings(config, make_parts(config)))
    return (before.resumed if before else 0) + 1, seconds


def _tune(
    config: dict[str, Any], folder: Path, result: RunRecord, cache: RunCache, begun: float, loggers: RunLoggers
) -> None:
    seed = config["seed"]
    parts = make_parts(config)
    seed_everything(seed, workers=True, verbose=False)
    backbone = load_backbone(parts.spec, parts.kind.output_layer, seed, cache)
    parts.strategy.check(backbone)
    check_length(parts, backbone)
    data = _task_data(config, parts, backbone, cache)
    data.setup()
    identity = identify(config, parts, data.describe()["content_sha256"])
    result.id, result.identity = identity.id, asdict(identity)
    _write(result, folder)  # a run that is killed says what it was

    attach = AttachStrategy(parts.strategy, backbone, data, seed, folder, resumed=result.resumed > 0)
    resumption = Resumption(parts.checkpoint, folder, run_settings(config, parts), data, begun)
    observers = RunCallbacks(attach, parts.kind, folder, resumption)
    evaluation = {"validation": data.validation_names, "test": data.test_names}
    module = FineTuning(backbone, parts.kind, parts.settings, evaluation)
    opened = loggers.open(_label(config) | {"id": result.id, "resumed": result.resumed > 0})
    around = (folder, opened, observers.callbacks, parts.strategy.traits.sparse_gradients)
    trainer = build_trainer(config["trainer"], parts.settings.epochs, *around)
    device = trainer.strategy.root_device
    result.device = device_name(device.type)
    with PeakMemory(device.type) as memory:
        fitted = fit_and_evaluate(trainer, module, data, observers)
    if trainer.is_global_zero:
        result.memory = record.Memory(memory.peak_bytes, memory.kind)
        _keep_delta(config, parts, module.attached, folder, result)
        _keep_results(parts, module, data, fitted, result)
        if parts.deployment.measure:
            result.deployment = measure_deployment(
                folder, parts.spec, parts.kind.output_layer, parts.deployment, device
            )


def _keep_delta(config: dict[str, Any], parts: Parts, attached: Attached, folder: Path, result: RunRecord) -> None:
    labels = list(parts.task.labels)
    output = parts.kind.output_layer
    delta = describe_delta(attached, config["backbone"], parts.task.name, labels, versions(), output)
    result.delta = record.Delta(bytes=save_delta(delta, folder), file=TENSORS_FILE)
    result.parameters = _count(attached)


def _keep_results(parts: Parts, module: FineTuning, data: TaskData, fitted: FitResult, result: RunRecord) -> None:
    seconds = fitted.seconds
    result.metric = _metric(parts.kind, module.results)
    result.collapsed = any(parts.kind.is_degenerate(found) for found in module.predictions.values())
    result.seconds.selection, result.seconds.training = seconds.selection, seconds.training
    result.seconds.evaluation = seconds.evaluation
    result.throughput = record.Throughput(
        module.examples_seen / seconds.training, module.tokens_seen / seconds.training
    )
    result.training = record.Training(
        steps=fitted.steps,
        epochs=fitted.epochs,
        batch_size=data.batch_size,
        learning_rate=parts.settings.learning_rate,
        best_epoch=fitted.best_epoch,
        precision=fitted.precision,
        length_grouped=parts.data.length_grouped,
    )
    result.data, result.curve = data.describe(), fitted.curve
    result.selection = fitted.selection.describe() if fitted.selection is not None else None


@rank_zero_only
def _clear(folder: Path) -> None:
    remove_checkpoints(folder)
    remove_leftovers(folder)


@rank_zero_only
def _write(result: RunRecord, folder: Path) -> None:
    # Every rank of a distributed run comes this way; the first keeps the record.
    result.write(folder)


@rank_zero_only
def _discard_delta(folder: Path) -> None:
    # Of an earlier attempt: if this one fails, the folder must not look as if it had succeeded.
    for name in (TENSORS_FILE, FACTS_FILE):
        (folder / name).unlink(missing_ok=True)


@rank_zero_only
def _discard_trajectory(folder: Path) -> None:
    remove_trajectory(folder)


def _task_data(config: dict[str, Any], parts: Parts, backbone: Backbone, cache: RunCache) -> TaskData:
    options = parts.data
    return TaskData(
        parts.task,
        backbone.tokenizer,
        root=options.folder,
        shots=config["shots"]["per_class"],
        seed=config["seed"],
        batch_size=parts.settings.batch_size,
        eval_batch_size=options.eval_batch_size,
        max_length=options.max_length,
        num_workers=options.num_workers,
        length_grouped=options.length_grouped,
        holdout=options.holdout,
        cache_dir=options.cache,
        cache=cache,
    )


def _new_record(config: dict[str, Any]) -> RunRecord:
    commit, dirty = commit_and_dirty(REPOSITORY)
    return RunRecord(
        task=config["task"]["name"],
        strategy=config["strategy"]["name"],
        backbone=config["backbone"]["name"],
        seed=config["seed"],
        shots=config["shots"]["per_class"],
        config={name: value for name, value in config.items() if name != "recipe"},
        versions=versions(),
        commit=commit,
        dirty=dirty,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=typed_command(),
    )


def _label(config: dict[str, Any]) -> dict[str, Any]:
    """Return name, group (the run without its seed), tags and configuration, for loggers that show many runs."""
    shown = redact({name: value for name, value in config.items() if name != "recipe"})
    digest = hashlib.sha256(json.dumps(experiment_settings(shown), sort_keys=True).encode()).hexdigest()[:8]
    tags = [config["task"]["name"], config["strategy"]["name"], config["backbone"]["name"]]
    tags.append(f"shots-{config['shots']['per_class'] or 'full'}")
    group = "-".join([*tags, digest])
    return {"name": f"{group}-seed{config['seed']}", "group": group, "tags": tags, "config": shown}


def _metric(kind: TaskKind, results: dict[str, float]) -> record.Metric:
    name, metric = kind.primary, kind.metrics[kind.primary]
    validation, test = results[f"validation/{name}"], results.get(f"test/{name}")
    primary = (f"validation/{name}", f"test/{name}")
    further: dict[str, float | None] = {key: value for key, value in results.items() if key not in primary}
    return record.Metric(name, validation, test, further, better=metric.better, unit=metric.unit)


def _count(attached: Attached) -> record.Parameters:
    """Count the model's parameters as the backbone's own, what was tuned, and the classifier apart."""
    return record.Parameters(
        total=attached.backbone.size,
        tuned=attached.num_tuned(),
        classifier=sum(p.numel() for p in attached.classifier().values()),
    )
