import subprocess
import sys
from typing import Any

import pytest

from peftlab.errors import UserError
from peftlab.tasks.kind import kind_of
from peftlab.tasks.task import Task
from tasks.shipped import FOLDER, shipped

NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
FILES = {"folder": "F", "text": ["s"], "label": "y", "splits": {"train": "train.tsv", "validation": "dev.tsv"}}


def described(**changes: Any) -> dict[str, Any]:
    options = {"name": "mine", "labels": ["no", "yes"], "metrics": ["accuracy"], "files": FILES} | changes
    return {key: value for key, value in options.items() if value is not None}


def test_the_eight_tasks_of_the_paper_and_the_demo_are_there():
    assert {"cola", "demo", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb"} <= set(NAMES)


@pytest.mark.parametrize(
    ("name", "num_labels", "metrics"),
    [
        ("cola", 2, ["matthews", "accuracy"]),
        ("demo", 2, ["accuracy"]),
        ("mnli", 3, ["accuracy"]),
        ("mrpc", 2, ["f1", "accuracy"]),
        ("qnli", 2, ["accuracy"]),
        ("qqp", 2, ["f1", "accuracy"]),
        ("rte", 2, ["accuracy"]),
        ("sst2", 2, ["accuracy"]),
        ("stsb", 1, ["spearman", "pearson"]),
    ],
)
def test_each_task_has_the_papers_metric_first(name: str, num_labels: int, metrics: list[str]):
    task = shipped(name)
    kind = kind_of(task)
    assert (task.name, kind.output_layer.options["num_labels"], task.metrics) == (name, num_labels, metrics)
    assert kind.name == ("regression" if name == "stsb" else "classification")


@pytest.mark.parametrize("name", NAMES)
def test_each_yaml_begins_with_the_command_that_runs_it(name: str):
    assert (FOLDER / f"{name}.yaml").read_text().startswith(f"# python train.py +strategy=hifi task={name} ")


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        # The ids of nyu-mll/glue on the Hub.
        ("cola", ["unacceptable", "acceptable"]),
        ("mnli", ["entailment", "neutral", "contradiction"]),
        ("mrpc", ["not_equivalent", "equivalent"]),
        ("qnli", ["entailment", "not_entailment"]),
        ("qqp", ["not_duplicate", "duplicate"]),
        ("rte", ["entailment", "not_entailment"]),
        ("sst2", ["negative", "positive"]),
    ],
)
def test_labels_stand_in_the_hubs_order(name: str, labels: list[str]):
    assert shipped(name).labels == labels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrik": ["accuracy"]}, "task.metrik: no such option (did you mean metrics"),
        ({"name": None}, "task.name: missing"),
        ({"labels": ["only"]}, "give either labels (two or more) or a range"),
        ({"labels": None}, "give either labels (two or more) or a range"),
        ({"range": [0.0, 5.0]}, "give either labels (two or more) or a range"),
        ({"labels": ["a", "a"]}, "holds a label twice"),
        ({"labels": [0, 1]}, "task.labels[0]=0: allowed is a text"),
        ({"labels": None, "range": [5.0, 0.0], "metrics": ["pearson"]}, "must be [lowest, highest]"),
        ({"metrics": []}, "metrics is empty"),
        ({"metrics": ["acuracy"]}, "(did you mean accuracy, balanced_accuracy?); allowed are accuracy, f1, matthews"),
        ({"metrics": ["pearson"]}, "metrics=pearson; allowed are accuracy, f1, matthews"),
        ({"labels": ["a", "b", "c"], "metrics": ["f1"]}, "f1 is that of the second of two labels; there are 3"),
        ({"files": None}, "give one of hub, files, own, generator"),
        ({"files": FILES | {"text": []}}, "files.text=[]: allowed are one or two column names"),
        ({"files": FILES | {"splits": {"train": "train.tsv"}}}, "files.splits.validation: missing"),
        ({"files": FILES | {"labels": ["0"]}}, "allowed is one text for each of"),
        ({"files": FILES | {"folders": "F"}}, "task.files.folders: no such option (did you mean folder, form?)"),
        ({"hub": {"path": "a/b"}}, "task.hub.config: missing"),
        (
            {"kind": "clasification"},
            "no such task.kind (did you mean classification, token-classification, image-classification?)",
        ),
        ({"kind": "regression"}, "give either labels (two or more) or a range"),
        ({"options": {"stride": 4}}, "task.options.stride: no such option"),
    ],
)
def test_a_mistake_in_a_task_is_one_line_that_names_it(changes: dict[str, Any], message: str):
    with pytest.raises(UserError) as caught:
        kind_of(Task.from_config(described(**changes)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_numbers_may_bound_a_range():
    task = Task.from_config(described(labels=None, range=[0, 5], metrics=["pearson"]))
    assert kind_of(task).name == "regression"


def test_describing_a_task_needs_neither_torch_nor_datasets():
    code = "import sys, peftlab.tasks.task; print([n for n in ('torch', 'datasets') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_kind_may_be_named():
    assert kind_of(Task.from_config(described(kind="classification"))).name == "classification"
