"""Runs that were cut short: records from before `cut_short` was kept say it by their configuration."""

from collections.abc import Iterable, Mapping

from peftlab.results.record import CutShort, RunRecord

_TRAINING = ("fast_dev_run", "overfit_batches", "limit_train_batches", "max_steps", "max_time")
_EVALUATION = ("fast_dev_run", "overfit_batches", "limit_val_batches", "limit_test_batches")


def cuts_of(record: RunRecord) -> CutShort:
    """Return by which arguments a run was cut short; of an older record, which may have cut it short."""
    if record.cut_short is not None:
        return record.cut_short
    options = record.config.get("trainer")
    given = options if isinstance(options, Mapping) else {}
    cutting = {name: f"trainer.{name}={value}" for name, value in given.items() if not _leaves_whole(name, value)}
    training, evaluation = ([cutting[name] for name in names if name in cutting] for names in (_TRAINING, _EVALUATION))
    return CutShort(training, evaluation)


def describe_cuts(records: Iterable[RunRecord]) -> str | None:
    """Return in one line what was cut short in any of the runs, and by what; None where all were whole."""
    cuts = [cuts_of(record) for record in records]
    parts = {"training": [cut.training for cut in cuts], "evaluation": [cut.evaluation for cut in cuts]}
    named = {part: list(dict.fromkeys(name for names in found for name in names)) for part, found in parts.items()}
    told = [f"{part} by {', '.join(names)}" for part, names in named.items() if names]
    return f"cut short: {'; '.join(told)}" if told else None


def _leaves_whole(name: str, value: object) -> bool:
    """Return whether an argument cuts nothing: 1.0 is all batches, -1 no end, 0 no such mode."""
    if value is None or value is False or value == -1 or (type(value) is float and value == 1.0):
        return True
    return value == 0 and name != "limit_test_batches"
