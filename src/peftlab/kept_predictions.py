"""The predictions that a run keeps: from those of its last evaluation to the rows of `predictions.parquet`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from peftlab.data.module import TaskData
from peftlab.files import content_sha256
from peftlab.results import record
from peftlab.results.predictions import FILE, LONGEST_TEXT, Answered, write_predictions
from peftlab.tasks.kind import Predictions


def keep_predictions(found: Mapping[str, Predictions], data: TaskData, folder: Path) -> record.KeptPredictions:
    """Write what was answered to each example of a run's last evaluation; return how the record names it.

    Args:
        found: the predictions of each split.
        data: the run's.
        folder: the run's.
    """
    rows = [row for split, predictions in found.items() for row in _answered(split, predictions, data)]
    path = write_predictions(folder, rows)
    return record.KeptPredictions(rows=len(rows), bytes=path.stat().st_size, file=FILE, sha256=content_sha256(path))


def _answered(split: str, predictions: Predictions, data: TaskData) -> Iterator[Answered]:
    """Yield the rows of a split in its order, in which no batch has it."""
    predictions = predictions.select(predictions.ids.argsort().tolist())
    kind, ids = data.kind, predictions.ids.tolist()
    titles, names = data.titles(split), data.example_names(split)
    right: Sequence[bool | None] = kind.right(predictions) or [None] * len(ids)
    columns = (kind.answers(predictions), kind.scores(predictions), kind.gold_answers(predictions), right)
    for index, answer, scores, gold, is_right in zip(ids, *columns, strict=True):
        text = titles[index][:LONGEST_TEXT]
        yield Answered(split, index, names[index] if names else None, text, answer, scores, gold, is_right)
