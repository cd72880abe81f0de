"""One run, top to bottom: plan -> backbone -> strategy -> fit -> evaluate -> record."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning import seed_everything
from lightning.pytorch.utilities import rank_zero_only

from peftlab.backbones.loading import Backbone, load_backbone
from peftlab.cache import RunCache
from peftlab.data.module import TaskData
from peftlab.delta.delta import TENSORS_FILE, save_delta
from peftlab.deployment.measure import measure_deployment
from peftlab.errors import BusyError, SkippedError, UserError
from peftlab.files import content_sha256, disk_errors
from peftlab.kept_predictions import keep_predictions
from peftlab.locks import exclusive_lock, owner_of
from peftlab.plan import Plan, check_fit, make_plan
from peftlab.pool import check_failed_elsewhere, is_since
from peftlab.previous_run import (
    Interrupted,
    find_finished,
    find_interrupted,
    read_earlier,
    set_unreadable_aside,
)
from peftlab.recording import count_parameters, describe_run, fill_results, new_record, recorded_config, weights_bytes
from peftlab.results import record
from peftlab.results.environment import PeakMemory, device_name, versions
from peftlab.results.record import RunRecord
from peftlab.run_config import check_identity
from peftlab.run_folder import check_folder, clear, discard, discard_results, is_new
from peftlab.strategies.attached import Attached
from peftlab.strategies.restore import describe_delta
from peftlab.terminal import show_bars, working
from peftlab.training.callbacks import AttachStrategy
from peftlab.training.fit import RunCallbacks, fit_and_evaluate
from peftlab.training.lightning_internals import is_first_rank
from peftlab.training.loggers import RunLoggers
from peftlab.training.module import FineTuning
from peftlab.training.precision import resolve_precision, warn_if_emulated
from peftlab.training.resumption import Resumption
from peftlab.training.trainer import build_trainer


@dataclass(frozen=True)
class Workplace:
    """Where a run is done.

    Attributes:
        folder: the run's output folder, which nobody else is at work in.
        cache: what the runs of this process share.
        loggers: not open yet.
    """

    folder: Path
    cache: RunCache
    loggers: RunLoggers


@dataclass(frozen=True)
class Earlier:
    """The plan of a run, and what an earlier attempt left in its folder: its record, and what it is resumed from."""

    plan: Plan
    record: RunRecord | None
    interrupted: Interrupted | None


def run(
    config: dict[str, Any],
    folder: Path,
    cache: RunCache | None = None,
    begin: Callable[[], None] | None = None,
) -> RunRecord:
    """Tune a backbone on a task as `config` says and leave `result.json`, the delta and the selection in `folder`.

    Args:
        config: the resolved configuration (`conf/config.yaml` and its groups).
        folder: the run's output folder; it is made if it is not there. A run that was interrupted there is resumed;
            whatever else an earlier attempt left is replaced.
        cache: what this run shares with the next ones of its process; nothing if it is not given.
        begin: is called once the run is sure to begin, before anything is written.

    Returns:
        The record of the run: finished, or skipped where the method does not fit the backbone or the task.

    Raises:
        UserError: a mistake in options, data or files. What is found before a model is loaded leaves the folder as it
            is; of what is found later the record says so, as of any other failure.
        BusyError: another run is at work in `folder`, which is left to it.
    """
    config, cache = resolve_precision(config), cache or RunCache()
    with _locked(config, folder) as loggers:
        return _recorded(config, _look(config, folder, cache), Workplace(folder, cache, loggers), begin)


def run_unless_finished(
    config: dict[str, Any],
    folder: Path,
    cache: RunCache | None = None,
    begin: Callable[[], None] | None = None,
    shared_since: int | None = None,
) -> bool:
    """Do a run as `run` does, unless `folder` holds the finished record of that very run; return whether it was done.

    Whether it has finished is asked under the folder's lock, so that no two processes do the same.

    Args:
        config, folder, cache, begin: as of `run`.
        shared_since: when the sweep began that other processes may share, in nanoseconds by the disk's clock: what one
            of them has done since is not forced again, and where it has failed the failure is this one's too.

    Raises:
        FailedElsewhereError: it has failed in another process.
    """
    config, cache = resolve_precision(config), cache or RunCache()
    with _locked(config, folder, is_shared=shared_since is not None) as loggers:
        if is_first_rank() and is_since(folder, shared_since):
            check_failed_elsewhere(folder)
            config = config | {"force": False}
        found = _look(config, folder, cache)
        if is_first_rank() and find_finished(found.plan, found.record, folder, cache):
            return False
        _recorded(config, found, Workplace(folder, cache, loggers), begin)
        return True


def execute(plan: Plan, result: RunRecord, at: Workplace, begun: float) -> None:
    """Load, fit, evaluate; fill the record and leave the delta.

    Args:
        plan: what is to be done.
        result: the run's record.
        at: where it is done.
        begun: `time.perf_counter()` at the run's beginning, earlier by what it had taken before it was interrupted.

    Raises:
        UserError: what is planned does not fit the backbone or the data.
        SkippedError: the method does not fit this backbone or this kind of task.
    """
    result.id, result.identity, result.config = plan.identity.id, asdict(plan.identity), recorded_config(plan.config)
    _write(result, at.folder)  # a run that is killed says what it was
    seed_everything(plan.seed, workers=True, verbose=False)
    with working(f"loading {plan.spec.title}"):
        backbone = load_backbone(plan.spec, plan.kind.output_layer, plan.seed, at.cache)
        result.backbone, result.fingerprint = backbone.name, backbone.fingerprint
        check_fit(plan, backbone)
    data = _task_data(plan, backbone, at.cache)
    data.setup()

    attach = AttachStrategy(plan.strategy, backbone, data, plan.seed, at.folder, resumed=result.resumed > 0)
    resumption = Resumption(plan.given.checkpoint, at.folder, plan.run_settings, result.identity, data, begun)
    callbacks = RunCallbacks(attach, plan.kind, at.folder, resumption, plan.settings)
    evaluation = {"validation": data.validation_names, "test": data.test_names}
    module = FineTuning(backbone, plan.kind, plan.settings, evaluation)
    loggers = at.loggers.open(describe_run(plan.config, result) | {"id": result.id, "resumed": result.resumed > 0})
    around = (at.folder, loggers, [*callbacks.callbacks, *plan.callbacks], plan.strategy.traits.sparse_gradients)
    trainer = build_trainer(plan.config["trainer"], plan.settings.epochs, *around)
    device = trainer.strategy.root_device
    result.device = device_name(device.type)
    warn_if_emulated(str(trainer.precision), device)
    with PeakMemory(device.type) as memory:
        fitted = fit_and_evaluate(trainer, module, data, callbacks)
    if trainer.is_global_zero:
        result.memory = record.Memory(memory.peak_bytes, memory.kind, weights_bytes(backbone.model))
        result.delta = _keep_delta(plan, module.attached, at.folder)
        result.parameters = count_parameters(module.attached)
        if plan.data.keep_predictions:
            result.predictions = keep_predictions(module.predictions, data, at.folder)
        fill_results(result, plan, module, data, fitted)
        if plan.deployment.measure:
            output = plan.kind.output_layer
            result.deployment = measure_deployment(at.folder, plan.spec, output, plan.deployment, device)


@contextmanager
def _locked(config: dict[str, Any], folder: Path, is_shared: bool = False) -> Iterator[RunLoggers]:
    """Lock a run's folder, once what its record is filed by is known to be valid; give its loggers, not yet open."""
    check_identity(config)
    with disk_errors(folder), ExitStack() as stack:
        # The other ranks of a distributed run are no other run.
        if is_first_rank() and not stack.enter_context(exclusive_lock(folder, watch=not is_shared)):
            by = owner_of(folder)
            raise BusyError(f"{folder}: another run is at work in this folder{by and f' ({by})'}")
        # A dashboard is told how the run ended by its record: the loggers are closed after the last word of it.
        loggers = stack.enter_context(closing(RunLoggers(config["logger"], folder)))
        stack.enter_context(disk_errors(folder))  # while the lock tells whether the folder is still where it was
        yield loggers


def _look(config: dict[str, Any], folder: Path, cache: RunCache) -> Earlier:
    """Return the plan of a run, and what an earlier attempt left in its folder.

    Raises:
        UserError: a mistake in the configuration, an interrupted run that is another one, or a user's own files in the
            run's way: all before anything is touched.
    """
    if is_new(folder):
        return Earlier(make_plan(config, cache), None, None)
    plan, record = make_plan(config, cache), read_earlier(folder)
    if is_first_rank():
        check_folder(folder, plan.strategy)
    return Earlier(plan, record, find_interrupted(plan, record, folder))


def _recorded(config: dict[str, Any], found: Earlier, at: Workplace, begin: Callable[[], None] | None) -> RunRecord:
    """Do a run whose record says at any time how far it is."""
    if begin:
        begin()
    result, begun = new_record(config), time.perf_counter()
    if found.interrupted:
        result.resumed, begun = found.interrupted.resumed, begun - found.interrupted.seconds
    _discard_earlier(at.folder, found)
    _write(result, at.folder)
    try:
        with show_bars(bool(config["trainer"].get("enable_progress_bar", True))):
            execute(found.plan, result, at, begun)
        result.status = "finished"
    except SkippedError as reason:
        result.stop("skipped", reason)
    except (KeyboardInterrupt, SystemExit):
        result.stop("interrupted", "interrupted by a signal")
        # Lightning turns Ctrl-C into the exit of a failure, and a sweep would end silently.
        raise KeyboardInterrupt from None
    except UserError as error:
        result.stop("failed", error)
        result.mistake = True
        raise
    except Exception as error:
        result.stop("failed", f"{type(error).__name__}: {error}")
        raise
    finally:
        result.seconds.total = time.perf_counter() - begun
        _write(result, at.folder)
    _clear(at.folder)
    return result


def _task_data(plan: Plan, backbone: Backbone, cache: RunCache) -> TaskData:
    options = plan.data
    return TaskData(
        plan.task,
        backbone.processor,
        root=options.folder,
        shots=plan.given.shots.per_class,
        seed=plan.seed,
        batch_size=plan.settings.batch_size,
        eval_batch_size=options.eval_batch_size,
        max_length=options.max_length,
        num_workers=options.num_workers,
        length_grouped=options.length_grouped,
        holdout=options.holdout,
        cache_dir=options.cache,
        cache=cache,
        raw=plan.raw,
    )


def _keep_delta(plan: Plan, attached: Attached, folder: Path) -> record.Delta:
    """Save the delta with all that is needed to restore it."""
    labels, output = list(plan.task.labels), plan.kind.output_layer
    delta = describe_delta(attached, plan.config["backbone"], plan.task.name, labels, versions(), output)
    size = save_delta(delta, folder)
    return record.Delta(bytes=size, file=TENSORS_FILE, sha256=content_sha256(folder / TENSORS_FILE))


# Every rank of a distributed run comes these ways; the first keeps the folder.


@rank_zero_only
def _write(result: RunRecord, folder: Path) -> None:
    result.write(folder)


@rank_zero_only
def _clear(folder: Path) -> None:
    clear(folder)


@rank_zero_only
def _discard_earlier(folder: Path, found: Earlier) -> None:
    set_unreadable_aside(folder, found.record)
    if found.interrupted:
        discard_results(folder)
    else:
        discard(folder, found.plan.strategy, found.record)
