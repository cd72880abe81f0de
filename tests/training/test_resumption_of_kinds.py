"""A run of each kind of task that is killed ends as an undisturbed one, bit for bit; shots count its examples."""

import json
from pathlib import Path

import pytest

from peftlab.run import run
from runs import small
from training.test_resumption import killed_at, outcome

NAMES = ["Ann", "Bob", "Carl"]
STSB = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore"


def row(task: str, number: int) -> str:
    name, other = NAMES[number % 3], NAMES[(number + 1) % 3]
    text = f"{name} sang and {other} slept in room {number}."
    asked = {"id": str(number), "question": "who sang?", "answers": [{"text": name, "answer_start": 0}]}
    right, wrong = {"text": name, "label": 1}, {"text": other, "label": 0}
    found: dict[str, object] = {
        "copa": {"premise": text, "question": "cause", "choice1": name, "choice2": other, "label": number % 2},
        "squad": {"context": text, "qas": [asked]},
        "multirc": {"passage": {"text": text, "questions": [{"question": "who sang?", "answers": [right, wrong]}]}},
        "record": {
            "passage": {"text": text, "entities": [{"start": 0, "end": len(name) - 1}, {"start": 9, "end": 11}]},
            "qas": [{"query": "@placeholder sang.", "answers": [{"text": name}]}],
        },
    }
    if task == "stsb":
        return "\t".join([str(number), *"gfyoab", text, f"{other} ran.", f"{number % 6}.0"])
    if task == "wnut17":
        return f"{name}\tB-person\nsang\tO\n"
    return json.dumps(found[task])


def written(task: str, root: Path) -> Path:
    rows = [row(task, number) for number in range(12)]
    squad = json.dumps({"data": [{"paragraphs": [json.loads(one) for one in rows]}]}) if task == "squad" else ""
    rows = [STSB, *rows] if task == "stsb" else rows
    content = squad or "\n".join(rows) + "\n"
    files = {
        "copa": ("SuperGLUE/COPA", "train.jsonl", "val.jsonl"),
        "multirc": ("SuperGLUE/MultiRC", "train.jsonl", "val.jsonl"),
        "record": ("SuperGLUE/ReCoRD", "train.jsonl", "val.jsonl"),
        "squad": ("SQuAD", "train-v1.1.json", "dev-v1.1.json"),
        "wnut17": ("WNUT17", "train.conll", "dev.conll"),
        "stsb": ("STS-B", "train.tsv", "dev.tsv"),
    }
    folder, *names = files[task]
    (root / folder).mkdir(parents=True)
    for name in names:
        (root / folder / name).write_text(content, encoding="utf-8")
    return root


EXAMPLES = "trainer.max_steps=-1 trainer.max_epochs=2 training.batch_size=4 data.max_length=48 data.cache_dir=null"


@pytest.mark.parametrize("task", ["stsb", "copa", "squad", "wnut17", "multirc", "record"])
def test_a_killed_run_of_a_kind_ends_as_an_undisturbed_one(task: str, tmp_path: Path, monkeypatch) -> None:
    root = written(task, tmp_path / "data")
    config = small(f"task={task} data.root={root} {EXAMPLES} checkpoint.every_steps=1", "hifi")
    undisturbed = run(config, tmp_path / "whole")
    killed_at(5, config, tmp_path / "killed", monkeypatch)
    resumed = run(config, tmp_path / "killed")
    assert resumed.resumed == 1
    assert outcome(resumed) == outcome(undisturbed)
    selection = json.loads((tmp_path / "whole" / "selection.json").read_text())
    assert selection["examples"] == 12
    assert selection.get("sequences", 12) >= 12


def test_shots_of_a_kind_without_classes_are_drawn_by_example(tmp_path: Path) -> None:
    root = written("copa", tmp_path / "data")
    record = run(small(f"task=copa data.root={root} data.max_length=48 shots=16 shots.per_class=4", "bitfit"), tmp_path)
    assert record.data["examples"] == {"train": 4, "validation": 4, "test": 12}
    assert record.data["sequences"] == {"train": 8, "validation": 8, "test": 24}
