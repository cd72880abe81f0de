"""By which metric the best epoch is chosen: the paper's, or one that a constant answer does not meet."""

from pathlib import Path

import pytest

from peftlab.run import run
from runs import refused, small

METRICS = "task.metrics=[accuracy,balanced_accuracy]"
EPOCHS = "trainer.max_steps=-1 trainer.max_epochs=4 trainer.limit_train_batches=4 trainer.limit_val_batches=2"


@pytest.mark.parametrize(
    ("given", "judge"),
    [
        ("", lambda row: -row["validation/accuracy"]),
        ("training.best_by=balanced_accuracy", lambda row: -row["validation/balanced_accuracy"]),
        ("training.best_by=loss", lambda row: row["validation/loss"]),
    ],
)
def test_the_first_epoch_that_none_is_better_than_is_kept(given: str, judge, tmp_path: Path) -> None:
    record = run(small(f"{METRICS} {EPOCHS} training.learning_rate=0.03 {given}", "bitfit"), tmp_path)
    assert record.training is not None
    epochs = [row for row in record.curve if row["epoch"]]
    assert len(epochs) == 4
    assert record.training.best_epoch == 1 + min(range(4), key=lambda epoch: judge(epochs[epoch]))
    assert record.metric is not None
    assert record.metric.name == "accuracy"


@pytest.mark.parametrize(("metric", "more"), [("f1", "; task.metrics=[accuracy,f1] adds it"), ("beauty", "")])
def test_another_metric_is_one_line(metric: str, more: str, tmp_path: Path) -> None:
    told = refused(small(f"training.best_by={metric}"), tmp_path)
    assert told == f"training.best_by={metric}: allowed are accuracy, loss{more}"
