"""What a run answered to each example of its evaluation, `predictions.parquet` beside its record: plain rows.

Reports ask these about examples; neither the model nor the data is needed for that.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from peftlab.errors import UserError, require
from peftlab.files import atomic_file, content_sha256
from peftlab.results.record import KeptPredictions

FILE = "predictions.parquet"
LARGEST = 2**30  # bytes, unpacked
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


@dataclass(frozen=True)
class Marks:
    """Which examples of a split were answered, and which of the answers are right.

    Attributes:
        examples: stands for their places and right answers: equal where those are.
        right: of each, bool [N].
    """

    examples: str
    right: np.ndarray


def read_predictions(path: Path) -> list[Answered]:
    """Return the rows of a run's file, as they were written.

    Raises:
        UserError: there is no such file, it is not Parquet, too large, or has other columns; names the file.
    """
    return [Answered(**row) for row in _table(path, _SCHEMA.names).to_pylist()]


def read_marks(path: Path, kept: KeptPredictions, split: str) -> Marks | None:
    """Return which answers of a split are right; None where none is of it, or they are more or less so.

    Args:
        path: of the file.
        kept: what the record says of it.
        split: as the record names it.

    Raises:
        UserError: as `read_predictions`; or it is not the file that the record names.
    """
    require(content_sha256(path) == kept.sha256, f"{path}: gone, or not the file that the run's record names")
    table = _table(path, ["split", "index", "gold", "right"])
    mine = table.filter(pc.field("split") == split)
    if len(mine) == 0 or mine["right"].null_count:
        return None
    which = json.dumps([mine["index"].to_pylist(), mine["gold"].to_pylist()])
    return Marks(hashlib.sha256(which.encode()).hexdigest(), mine["right"].to_numpy())


def _table(path: Path, columns: list[str]) -> pa.Table:
    require(path.is_file(), f"{path}: no such file")
    try:
        file = pq.ParquetFile(path)
        require(file.schema_arrow.equals(_SCHEMA), f"{path}: other columns than {', '.join(_SCHEMA.names)}")
        # What a file says of its size unpacked, which a small file can be made to fill a memory with.
        size = sum(file.metadata.row_group(number).total_byte_size for number in range(file.num_row_groups))
        require(size <= LARGEST, f"{path}: {size:,} bytes unpacked; allowed are {LARGEST:,}")
        return file.read(columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not whole Parquet ({str(error).splitlines()[0]})") from error
