"""A user's own file: its rows, each with its place, whatever its format. The end of its name says which that is.

CSV, TSV, JSON lines, JSON (a list of objects, or SQuAD's), Parquet, CoNLL's columns, the folder of a saved dataset of
`datasets`, and a folder of images. Nothing in a file is run or fetched: of Parquet and Arrow the plain values are read,
and no image or sound that they may name.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, DatasetDict, Features

from peftlab.errors import UserError, nearest, require
from peftlab.tasks.sources.folders import holds_images, image_rows, split_folders
from peftlab.tasks.sources.formats import Row, conll_rows, csv_rows, json_of, jsonl_rows, squad_rows, text_of

_DICT, _SAVED = "dataset_dict.json", "state.json"
_BATCH = 1000  # rows of Parquet and Arrow that are in memory as Python's values at a time


def rows_of(path: Path, split: str = "train") -> Iterator[Row]:
    """Yield the rows of a file or a saved dataset, with their places: numbers of classes as the classes' names.

    Args:
        path: of the file, or of the folder.
        split: which of a folder's splits, where it holds several.

    Raises:
        UserError: there is no such file, its format is none of these, or it is malformed, with its line.
    """
    require(path.exists(), f"{path}: no such file")
    if path.is_dir():
        return image_rows(path, split) if _is_image_folder(path) else _plain(path, _saved(path, split))
    require(path.is_file(), f"{path}: not a regular file")
    known = ", ".join(_READERS)
    require(path.suffix in _READERS, f"{path}: the format is unknown; allowed are names that end with {known}")
    return _READERS[path.suffix](path)


def class_names(path: Path, split: str = "train") -> dict[str, list[str]]:
    """Return the names of the classes, in their order, of each column whose file brings them along."""
    if _is_image_folder(path):
        return {}
    if path.is_dir():
        features = _saved(path, split).features
    elif path.suffix == ".parquet":
        features = Features.from_arrow_schema(_parquet(path).schema_arrow)
    else:
        return {}
    inside = {name: getattr(feature, "feature", feature) for name, feature in features.items()}
    return {name: list(feature.names) for name, feature in inside.items() if isinstance(feature, ClassLabel)}


def splits_in(path: Path) -> list[str]:
    """Return the splits of a saved dataset or of a folder of images that holds several; none of a file."""
    if not (path / _DICT).is_file():
        return list(split_folders(path))
    return [str(name) for name in json_of(text_of(path / _DICT), str(path / _DICT)).get("splits", [])]


def _is_image_folder(path: Path) -> bool:
    saved = (path / _DICT).is_file() or (path / _SAVED).is_file()
    return path.is_dir() and not saved and holds_images(path)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a folder."""
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def stamps_of(path: Path) -> list[tuple[str, int, int]]:
    """Return name, time and size of a file, or of all files of a folder: another stamp, and it is to be read again."""
    return [(file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in _files(path)]


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _tsv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a tab-separated file; quotation marks that enclose no values, as in GLUE's files, are text.

    They enclose none where a line would be malformed, or a value would hold both a tab and a line end.
    """
    try:
        rows = list(csv_rows(path, "\t"))
    except UserError:
        rows = []
    swallowed = any({"\t", "\n"} <= set(value) for _, row in rows for value in row.values())
    yield from rows if rows and not swallowed else csv_rows(path, "\t", quoted=False)


def _json_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of a list, the questions of SQuAD's JSON, or, of JSON lines under another name, the objects."""
    content = text_of(path)
    first = content.lstrip()[:1]
    lines = content.strip().split("\n")
    if first == "{" and len(lines) > 1 and lines[0].rstrip().endswith("}"):
        yield from jsonl_rows(path)
        return
    found = json_of(content, str(path))
    if isinstance(found, dict) and "data" in found:
        yield from squad_rows(path)
        return
    rows = found if isinstance(found, list) else [found]
    for number, row in enumerate(rows, start=1):
        require(isinstance(row, dict), f"{path}:{number}: must be a JSON object, found {type(row).__name__}")
        yield f"{path}:{number}", row


def _parquet_rows(path: Path) -> Iterator[Row]:
    file = _parquet(path)
    features = Features.from_arrow_schema(file.schema_arrow)
    return _numbered(path, features, file.iter_batches(_BATCH))


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise UserError(f"{path}: not Parquet ({str(error).splitlines()[0]})") from error


def _plain(path: Path, dataset: Dataset) -> Iterator[Row]:
    """Yield the rows of a dataset as they lie on disk: nothing is decoded, which could open what a row names."""
    batches = dataset.with_format("arrow").iter(_BATCH)
    return _numbered(path, dataset.features, batches)


def _saved(path: Path, split: str) -> Dataset:
    written = (path / _DICT).is_file() or (path / _SAVED).is_file()
    told = "no folder that `save_to_disk` of datasets wrote, and none of images; allowed are such folders, and files"
    require(written, f"{path}: {told}")
    try:
        found = datasets.load_from_disk(str(path.resolve()))
    except Exception as error:  # the library lets errors of a dozen libraries through
        raise UserError(f"{path}: not a whole saved dataset ({type(error).__name__})") from error
    if not isinstance(found, DatasetDict):
        return found
    known = [str(name) for name in found]
    require(split in known, f"{path}: no split {split!r}{nearest(split, known)}; it has {', '.join(known)}")
    return found[split]


def _numbered(path: Path, features: Features, batches: Iterable[Any]) -> Iterator[Row]:
    turned = {name: _names(feature) for name, feature in features.items()}
    number = 0
    for batch in batches:
        for row in batch.to_pylist():
            number += 1
            yield f"{path}:{number}", _named(row, turned)


def _named(row: Mapping[str, Any], turned: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    return {name: turned[name](value) if name in turned else value for name, value in row.items()}


def _names(feature: Any) -> Callable[[Any], Any]:
    """Return what makes a name of a class's number, or names of a list of them; -1, which hides a label, is None."""
    inside = getattr(feature, "feature", None)
    if isinstance(feature, ClassLabel):
        return partial(_name, feature.names)
    if isinstance(inside, ClassLabel):
        return lambda values: None if values is None else [_name(inside.names, value) for value in values]
    return lambda value: value


def _name(names: list[str], value: int | None) -> str | None:
    return None if value is None or value < 0 else names[value]


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": csv_rows,
    ".tsv": _tsv_rows,
    ".jsonl": jsonl_rows,
    ".ndjson": jsonl_rows,
    ".json": _json_rows,
    ".parquet": _parquet_rows,
    ".conll": partial(conll_rows, tagged=False),
    ".bio": partial(conll_rows, tagged=False),
}
