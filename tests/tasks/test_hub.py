"""The Hub as a source, without a network: a cache made by hand stands for an earlier download."""

import json
import time
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from peftlab.errors import UserError
from peftlab.tasks.sources import hub
from peftlab.tasks.sources.splits import describe_source, load_splits
from tasks.shipped import shipped


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(hub, "hub_reachable", lambda: False)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)


def cache(root: Path, config: str, splits: dict[str, list[dict[str, Any]]], names: list[str]) -> None:
    """Lay down what `datasets` leaves in its cache after loading a configuration of nyu-mll/glue."""
    folder = root / "nyu-mll___glue" / config / "0.0.0" / "0123abcd"
    folder.mkdir(parents=True)
    for split, rows in splits.items():
        texts = {name: Value("string") for name in rows[0] if name != "label"}
        features = Features(**texts, label=ClassLabel(names=names))
        table = Dataset.from_list(rows, features=features)
        with datasets.arrow_writer.ArrowWriter(features=features, path=str(folder / f"glue-{split}.arrow")) as writer:
            writer.write_table(table.data.table)
            writer.finalize()
    info = {
        "builder_name": "parquet",
        "dataset_name": "glue",
        "config_name": config,
        "version": {"version_str": "0.0.0", "major": 0, "minor": 0, "patch": 0},
        "features": features.to_dict(),
        "splits": {
            split: {"name": split, "num_bytes": 1, "num_examples": len(rows), "dataset_name": "glue"}
            for split, rows in splits.items()
        },
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))


ROWS = [
    {"premise": "a", "hypothesis": "b", "label": "contradiction"},
    {"premise": "c", "hypothesis": "d", "label": "entailment"},
]
MNLI = ["entailment", "neutral", "contradiction"]


def test_a_dataset_in_the_cache_loads_without_a_network(tmp_path: Path):
    cache(tmp_path, "mnli", {"train": ROWS, "validation_matched": ROWS[:1], "validation_mismatched": ROWS[1:]}, MNLI)
    splits = load_splits(shipped("mnli"), None)
    assert {name: rows["label"][:] for name, rows in splits.items()} == {
        "train": [2, 0],
        "validation": [2],
        "validation_mismatched": [0],
    }
    assert splits["train"][:] == {"text_a": ["a", "c"], "text_b": ["b", "d"], "label": [2, 0]}
    assert describe_source(shipped("mnli"), None) == {"hub": "nyu-mll/glue", "config": "mnli"}


def test_label_ids_follow_the_task_even_where_the_dataset_orders_them_differently(tmp_path: Path):
    splits = {"train": ROWS, "validation_matched": ROWS, "validation_mismatched": ROWS}
    cache(tmp_path, "mnli", splits, list(reversed(MNLI)))
    assert load_splits(shipped("mnli"), None)["train"]["label"][:] == [2, 0]


def test_labels_outside_the_tasks_are_refused(tmp_path: Path):
    rows = [{"premise": "a", "hypothesis": "b", "label": "maybe"}]
    cache(tmp_path, "mnli", {"train": rows, "validation_matched": rows}, ["maybe"])
    with pytest.raises(UserError, match=r"label 'maybe'; allowed are entailment, neutral, contradiction"):
        load_splits(shipped("mnli"), None)


def test_a_missing_column_is_named(tmp_path: Path):
    rows = [{"premise": "a", "label": "neutral"}]
    cache(tmp_path, "mnli", {"train": rows, "validation_matched": rows}, MNLI)
    with pytest.raises(UserError, match=r"no column 'hypothesis'; the columns are premise, label"):
        load_splits(shipped("mnli"), None)


def test_without_network_or_cache_the_ways_that_need_none_are_told_in_time():
    begin = time.monotonic()
    with pytest.raises(UserError) as caught:
        load_splits(shipped("rte"), None)
    assert time.monotonic() - begin < 15
    message = str(caught.value)
    assert "data.root=FOLDER" in message
    assert "task=demo" in message
    assert "\n" not in message


def test_looking_into_the_cache_leaves_the_library_online_as_it_was(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError):
        load_splits(shipped("rte"), None)
    assert datasets.config.HF_HUB_OFFLINE is False
