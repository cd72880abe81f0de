"""Files as users bring them, and the tasks that are made of them."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from peftlab.tasks.sources.own import own_task
from peftlab.tasks.task import Task

GOOD = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
KINDS = {
    "text": "",
    "tokens": "token-classification",
    "choice": "multiple-choice",
    "questions": "question-answering",
}


def write_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the format that the end of the name says; a folder is what datasets saves."""
    if path.suffix in (".csv", ".tsv"):
        return write_csv(path, rows, "," if path.suffix == ".csv" else "\t")
    if path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        Dataset.from_list(rows).save_to_disk(str(path))
    return path


def described(task: str, **data: Any) -> Task:
    given = {name: str(value) if isinstance(value, Path) else value for name, value in data.items()}
    content = {"name": task, "own": {}, "metrics": [], **({"kind": KINDS[task]} if KINDS[task] else {})}
    if task != "text":
        content["metrics"] = {"tokens": ["f1"], "choice": ["accuracy"], "questions": ["f1", "exact_match"]}[task]
    return Task.from_config(own_task(content, given))
