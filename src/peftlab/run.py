"""One run, top to bottom: task -> backbone -> strategy -> fit -> evaluate -> record."""

import json
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lightning import seed_everything
from lightning.pytorch.utilities import rank_zero_only

from peftlab.backbones.backbone import Backbone, BackboneSpec, load_backbone
from peftlab.data.module import TaskData
from peftlab.delta.delta import TENSORS_FILE, save_delta
from peftlab.errors import require
from peftlab.heads import selection as heads
from peftlab.options import build
from peftlab.preflight import DataOptions, check_identity, check_trainer
from peftlab.results import head_map, record
from peftlab.results.environment import PeakMemory, commit_and_dirty, device_name, versions
from peftlab.results.record import RunRecord
from peftlab.strategies.contract import Strategy
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import describe_delta
from peftlab.tasks.metrics import is_collapsed
from peftlab.tasks.task import Task
from peftlab.training.callbacks import AttachStrategy, LearningCurve, Stopwatch, best_checkpoint, load_best
from peftlab.training.loggers import open_loggers
from peftlab.training.module import FineTuning
from peftlab.training.settings import TrainingSettings, resolve_settings
from peftlab.training.trainer import build_trainer

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class _Parts:
    """The task, data, strategy and settings of one run, made before anything costly begins."""

    task: Task
    data: DataOptions
    spec: BackboneSpec
    strategy: Strategy
    settings: TrainingSettings


def run(config: dict[str, Any], folder: Path) -> RunRecord:
    """Tune a backbone on a task as `config` says and leave `result.json`, the delta and the selection in `folder`.

    Args:
        config: the resolved configuration (`conf/config.yaml` and its groups).
        folder: the run's output folder; it is made if it is not there.

    Returns:
        The record of the finished run.

    Raises:
        UserError: a mistake in options, data or files; as with any other failure, the record says so. Without a
            valid name, seed or shots there is no record.
    """
    check_identity(config)
    result = _new_record(config)
    _write(result, folder)
    started = time.perf_counter()
    try:
        _tune(config, folder, result)
        result.status = "finished"
    except (KeyboardInterrupt, SystemExit):
        result.stop("interrupted", "interrupted by a signal")
        # Lightning turns Ctrl-C into the exit of a failure, and a sweep would end without a word.
        raise KeyboardInterrupt from None
    except Exception as error:
        result.stop("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        result.seconds.total = time.perf_counter() - started
        _write(result, folder)
    return result


def _tune(config: dict[str, Any], folder: Path, result: RunRecord) -> None:
    seed = config["seed"]
    parts = _check(config)
    seed_everything(seed, workers=True, verbose=False)
    backbone = load_backbone(parts.spec, parts.task.labels, seed)
    parts.strategy.check(backbone)
    _check_length(parts, backbone)
    data = _task_data(config, parts, backbone)
    data.setup()

    attach = AttachStrategy(parts.strategy, backbone, data, seed, folder)
    stopwatch, curve = Stopwatch(), LearningCurve()
    best = best_checkpoint(folder, parts.task.metrics[0])
    evaluation = {"validation": data.validation_names, "test": data.test_names}
    module = FineTuning(backbone, parts.strategy, parts.task, parts.settings, evaluation)
    callbacks = [attach, stopwatch, curve, best]
    with open_loggers(config["logger"], folder, _identity(config)) as loggers:
        trainer = build_trainer(config["trainer"], parts.settings.epochs, folder, loggers, callbacks)
        result.device = device_name(trainer.strategy.root_device.type)
        with PeakMemory(trainer.strategy.root_device.type) as memory:
            trainer.fit(module, datamodule=data)
            steps, epochs = trainer.global_step, trainer.current_epoch
            best_epoch = load_best(best, module)
            trainer.strategy.barrier()
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
            trainer.validate(module, datamodule=data, verbose=False)
            if data.test_names:
                trainer.test(module, datamodule=data, verbose=False)
    if not trainer.is_global_zero:
        return

    delta = describe_delta(parts.strategy, config["backbone"], parts.task.name, list(parts.task.labels), versions())
    delta_bytes = save_delta(delta, folder)
    if attach.selection is not None:
        result.selection = attach.selection.describe()
    if (folder / heads.FILE_NAME).exists():
        head_map.draw(json.loads((folder / heads.FILE_NAME).read_text()), folder / "selection.png")

    result.metric = _metric(parts.task, module.results)
    result.collapsed = any(is_collapsed(parts.task, *both) for both in module.predictions.values())
    result.parameters = _count(parts.strategy)
    result.delta = record.Delta(bytes=delta_bytes, file=TENSORS_FILE)
    result.seconds.selection = attach.seconds
    result.seconds.training, result.seconds.evaluation = stopwatch.training, stopwatch.evaluation
    result.throughput = record.Throughput(
        module.examples_seen / stopwatch.training, module.tokens_seen / stopwatch.training
    )
    result.memory = record.Memory(memory.peak_bytes, memory.kind)
    result.training = record.Training(
        steps=steps,
        epochs=epochs,
        batch_size=data.batch_size,
        learning_rate=parts.settings.learning_rate,
        best_epoch=best_epoch,
        precision=str(trainer.precision),
        length_grouped=parts.data.length_grouped,
    )
    result.data, result.curve = data.describe(), curve.rows


@rank_zero_only
def _write(result: RunRecord, folder: Path) -> None:
    # Every rank of a distributed run comes this way; the first keeps the record.
    result.write(folder)


def _check(config: dict[str, Any]) -> _Parts:
    """Check all options before anything costly begins."""
    check_trainer(config["trainer"])
    task = Task.from_config(config["task"])
    data = build(DataOptions, config["data"], "data")
    spec = build(BackboneSpec, config["backbone"], "backbone")
    options = {name: value for name, value in config["strategy"].items() if name != "name"}
    strategy = create_strategy(config["strategy"]["name"], options)
    settings = resolve_settings(config["training"], config["recipe"], config["shots"], strategy.recipe, task.name)
    return _Parts(task, data, spec, strategy, settings)


def _check_length(parts: _Parts, backbone: Backbone) -> None:
    """Refuse texts for which a strategy that takes positions leaves no room."""
    reserved, positions = parts.strategy.reserved_positions, backbone.tokenizer.model_max_length
    require(
        reserved == 0 or parts.data.max_length <= positions - reserved,
        f"data.max_length={parts.data.max_length}: strategy {parts.strategy.name} takes {reserved} of the {positions} "
        f"positions of backbone {backbone.name}; allowed is up to {max(0, positions - reserved)}",
    )


def _task_data(config: dict[str, Any], parts: _Parts, backbone: Backbone) -> TaskData:
    options = parts.data
    return TaskData(
        parts.task,
        backbone.tokenizer,
        root=Path(options.root).expanduser() if options.root else None,
        shots=config["shots"]["per_class"],
        seed=config["seed"],
        batch_size=parts.settings.batch_size,
        eval_batch_size=options.eval_batch_size,
        max_length=options.max_length,
        num_workers=options.num_workers,
        length_grouped=options.length_grouped,
        holdout=options.holdout,
        cache_dir=Path(options.cache_dir).expanduser() if options.cache_dir else None,
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
        command=[Path(sys.argv[0]).name, *sys.argv[1:]],
    )


def _identity(config: dict[str, Any]) -> dict[str, Any]:
    """Return name, group, tags and configuration of a run for loggers that show many runs."""
    shots = config["shots"]["per_class"] or "full"
    group = f"{config['task']['name']}-{config['strategy']['name']}-{config['backbone']['name']}-{shots}"
    shown = {name: value for name, value in config.items() if name != "recipe"}
    return {"name": f"{group}-seed{config['seed']}", "group": group, "tags": group.split("-"), "config": shown}


def _metric(task: Task, results: dict[str, float]) -> record.Metric:
    name = task.metrics[0]
    validation, test = results[f"validation/{name}"], results.get(f"test/{name}")
    primary = (f"validation/{name}", f"test/{name}")
    further: dict[str, float | None] = {key: value for key, value in results.items() if key not in primary}
    return record.Metric(name=name, validation=validation, test=test, further=further)


def _count(strategy: Strategy) -> record.Parameters:
    """Count the model's parameters as the backbone's own, what was tuned, and the classifier apart."""
    return record.Parameters(
        total=strategy.backbone.size,
        tuned=strategy.count(),
        classifier=sum(p.numel() for p in strategy.classifier().values()),
    )
