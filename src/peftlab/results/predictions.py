"""What a run answered to each example of its evaluation, `predictions.parquet` beside its record: plain rows.

Reports ask these about examples; neither the model nor the data is needed for that.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from peftlab.errors import UserError, require
from peftlab.files import atomic_file

FILE = "predictions.parquet"
LONGEST_TEXT = 240  # characters of an example that are kept, enough to know it by
_SCHEMA = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("index", pa.int64(), nullable=False),
        pa.field("id", pa.string()),
        pa.field("text", pa.string(), nullable=False),
        pa.field("answer", pa.string(), nullable=False),
        pa.field("scores", pa.list_(pa.float64()), nullable=False),
        pa.field("gold", pa.string(), nullable=False),
        pa.field("right", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Answered:
    """One example, and what was answered.

    Attributes:
        split: as the record names it: ``validation``, ``test_mismatched``.
        index: the example's place in its split, from 0.
        id: its name, where the source has one.
        text: the beginning of what was read, at most `LONGEST_TEXT` characters.
        answer: as a user reads it.
        scores: what stands behind it; the kind of the task says what they are.
        gold: the right answer.
        right: whether the answer is right; None for a kind whose answers are more or less so, such as scores.
    """

    split: str
    index: int
    id: str | None
    text: str
    answer: str
    scores: list[float]
    gold: str
    right: bool | None


def write_predictions(folder: Path, rows: Iterable[Answered]) -> Path:
    """Write `FILE` into a run's folder, whole or not at all, and return its path."""
    path = folder / FILE
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=_SCHEMA)
    with atomic_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return path


def read_predictions(path: Path) -> list[Answered]:
    """Return the rows of a run's file, as they were written.

    Raises:
        UserError: there is no such file, it is not Parquet, or has other columns; names the file.
    """
    require(path.is_file(), f"{path}: no such file")
    names = [field.name for field in fields(Answered)]
    try:
        file = pq.ParquetFile(path)
        require(file.schema_arrow.equals(_SCHEMA), f"{path}: its columns are not those of predictions: {names}")
        rows = file.read().to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not whole Parquet ({str(error).splitlines()[0]})") from error
    return [Answered(**row) for row in rows]
