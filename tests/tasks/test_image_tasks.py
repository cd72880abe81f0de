"""Images as tasks: digits, ImageFolder's layout, files that name or hold images, the Hub's; and one whole run."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features
from datasets import Image as ImageFeature
from PIL import Image
from sklearn.datasets import load_digits
from transformers import AutoImageProcessor, AutoModelForImageClassification

import peftlab
from peftlab.errors import UserError
from peftlab.inputs.image_files import image_bytes
from peftlab.prediction.command import main
from peftlab.results.predictions import read_predictions
from peftlab.run import run
from peftlab.strategies.restore import export_merged, restore
from peftlab.tasks.kind import kind_of
from peftlab.tasks.sources import hub
from peftlab.tasks.sources.own import own_task
from peftlab.tasks.sources.splits import load_splits
from peftlab.tasks.task import Task
from runs import refused, small
from tasks.shipped import shipped

LABELS = ("cat", "dog")
DIGITS = {"name": "digits", "kind": "image-classification", "metrics": ["accuracy"], "generator": "digits"}
VIT = "backbone=tiny-vit recipe=tiny-vit trainer.limit_val_batches=1.0"


def draw(file: Path, number: int, label: str) -> Path:
    """Write a picture that no other number gives; a dog's is bright below."""
    pixels = np.random.default_rng(number).integers(0, 128, (10, 12, 3), dtype=np.uint8)
    pixels[5:] += 127 * (label == "dog")
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file


def image_folder(root: Path, *splits: str, number: int = 6) -> Path:
    for place, split in enumerate(splits or ("",)):
        for index in range(number):
            label = LABELS[index % 2]
            draw(root / split / label / f"{index}.png", 100 * place + index, label)
    return root


def own(data: dict[str, Any]) -> Task:
    whole = own_task({"name": "images", "kind": "image-classification", "metrics": [], "own": {}}, data)
    return Task.from_config(whole)


def test_digits_are_scikit_learns_in_their_order() -> None:
    splits, digits = load_splits(shipped("digits"), None), load_digits()
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 1200, "validation": 597}
    assert splits["train"]["label"][:] + splits["validation"]["label"][:] == digits.target.tolist()
    fewer = load_splits(Task.from_config({**DIGITS, "labels": ["7", "3"]}), None)["train"]
    assert fewer["label"][:] == [["7", "3"].index(str(d)) for d in digits.target[:1200] if d in (3, 7)]


def layouts(root: Path) -> dict[str, Path]:
    """Return the same images in each form that a user may have them in."""
    folder = image_folder(root / "folder", "train", "val", "test")
    (folder / "train" / "cat" / "notes.txt").write_text("no image")
    (folder / "train" / "cat" / ".hidden.png").write_text("no image")
    found = {"folder": folder}
    table = {name: [] for name in ("image", "label")}
    for file in sorted((folder / "train").rglob("[0-9].png")):
        table["image"].append(str(file.relative_to(root)))
        table["label"].append(file.parent.name)
    found["csv"], found["jsonl"] = root / "train.csv", root / "train.jsonl"
    lines = [{"file_name": image, "label": label} for image, label in zip(*table.values(), strict=True)]
    found["csv"].write_text("image,label\n" + "".join(f"{one['file_name']},{one['label']}\n" for one in lines))
    found["jsonl"].write_text("".join(json.dumps(one) + "\n" for one in lines))
    held = {"image": [{"bytes": (root / image).read_bytes(), "path": "/gone.png"} for image in table["image"]]}
    features = Features(image=ImageFeature(), label=ClassLabel(names=list(LABELS)))
    dataset = Dataset.from_dict({**held, "label": [LABELS.index(label) for label in table["label"]]}, features=features)
    found["parquet"], found["saved"] = root / "train.parquet", root / "saved"
    dataset.to_parquet(str(found["parquet"]))
    DatasetDict(train=dataset).save_to_disk(str(found["saved"]))
    return found


@pytest.mark.parametrize("form", ["folder", "csv", "jsonl", "parquet", "saved"])
def test_own_images_are_read_from_each_form_alike(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = layouts(tmp_path)
    monkeypatch.chdir(tmp_path)  # a name that a user types begins where he is
    task = own({"train": str(made[form].relative_to(tmp_path)), "validation": str(made["folder"] / "val")})
    assert (task.labels, task.metrics) == (["cat", "dog"], ["accuracy", "macro_f1"])
    splits = load_splits(task, None)
    kind = kind_of(task)
    expected = [
        (name, (tmp_path / f"folder/train/{name}/{i}.png").read_bytes())
        for name in LABELS
        for i in range(6)
        if LABELS[i % 2] == name
    ]
    found = [(task.labels[row["label"]], image_bytes(row["image"])) for row in splits["train"]]
    assert sorted(found) == sorted(expected)
    assert kind.strata(splits["train"]) is not None
    assert len(splits["validation"]) == 6


def test_a_folder_of_splits_brings_those_that_nobody_named_and_one_of_labels_is_divided(tmp_path: Path) -> None:
    whole = own({"train": str(layouts(tmp_path)["folder"])})
    assert {name: len(rows) for name, rows in load_splits(whole, None).items()} == {
        "train": 6,
        "validation": 6,
        "test": 6,
    }
    labels_only = image_folder(tmp_path / "plain", number=20)
    draw(labels_only / "cat" / "again.png", 0, "cat")  # the picture of 0.png
    splits = load_splits(own({"train": str(labels_only), "validation": 0.3}), None)
    names = {split: set(rows["id"][:]) for split, rows in splits.items()}
    assert not names["train"] & names["validation"]
    assert len(names["train"] | names["validation"]) == 21
    assert any({"cat/0.png", "cat/again.png"} <= own_names for own_names in names.values())


WRONG = [
    (lambda root: image_folder(root / "one" / "cat"), r"all rows have the label|are no classes|no label column"),
    (lambda root: root, r"no folder that `save_to_disk` of datasets wrote, and none of images"),
]


@pytest.mark.parametrize(("make", "told"), WRONG)
def test_a_folder_that_is_none_is_refused_in_one_line(make, told: str, tmp_path: Path) -> None:
    folder = make(tmp_path)
    if folder != tmp_path:
        for file in (folder / "dog").iterdir():
            file.unlink()
    with pytest.raises(UserError, match=told) as caught:
        own({"train": str(folder)})
    assert "\n" not in str(caught.value)


def test_the_hubs_images_come_as_their_files_with_the_tasks_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    task, content = shipped("cifar100"), layouts_bytes()
    features = Features(img=ImageFeature(), fine_label=ClassLabel(names=task.labels))
    rows = Dataset.from_dict({"img": [content] * 2, "fine_label": [26, 99]}, features=features)
    monkeypatch.setattr(hub, "_load", lambda source: {"train": rows, "test": rows})
    splits = load_splits(task, None)
    assert {name: found["label"][:] for name, found in splits.items()} == {"train": [26, 99], "test": [26, 99]}
    assert splits["test"][0]["image"]["bytes"] == content["bytes"]
    assert len(task.labels) == 100


def layouts_bytes() -> dict[str, Any]:
    kind = kind_of(shipped("cifar10"))
    return dict(kind.example().rows[0]["image"])


# One run, and all that comes after it -----------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("images")
    folder = image_folder(root / "pets", "train", "val", number=8)
    options = f"task=images data.train={folder} {VIT} strategy.n=4 strategy.k=2 training.batch_size=4"
    run(small(options), root / "run")
    return root / "run", folder


def test_a_run_records_images_not_tokens_and_keeps_its_predictions(finished: tuple[Path, Path]) -> None:
    folder, _ = finished
    record = json.loads((folder / "result.json").read_text())
    assert record["data"]["image_size"] == {"height": 8, "width": 8}
    assert "max_length" not in record["data"]
    assert record["data"]["overlap"] == {"validation": 0}
    assert record["throughput"]["tokens_per_second"] is None
    assert json.loads((folder / "selection.json").read_text())["examples"] == 4
    kept = read_predictions(folder / "predictions.parquet")
    assert [one.id for one in kept][:2] == ["cat/0.png", "cat/2.png"]
    assert {one.gold for one in kept} == {"cat", "dog"}


def test_the_same_answers_come_from_python_from_a_folder_and_from_a_file(finished, tmp_path: Path) -> None:
    folder, images = finished
    files = sorted((images / "val").rglob("*.png"))
    found = peftlab.load(folder).predict([*files[:4], *map(Image.open, files[4:])])
    kept = read_predictions(folder / "predictions.parquet")
    assert [one["label"] for one in found] == [one.answer for one in kept]
    named = tmp_path / "names.csv"
    named.write_text("image\n" + "".join(f"{file}\n" for file in files))
    for given in (images / "val", named):
        assert main([str(folder), str(given), "--out", str(tmp_path / "found.csv")]) == 0
        with (tmp_path / "found.csv").open(newline="") as written:
            rows = list(csv.DictReader(written))
        assert [row["label"] for row in rows] == [one.answer for one in kept]
        assert [row["gold"] for row in rows] == ([one.gold for one in kept] if given.is_dir() else [""] * len(kept))


def test_a_merged_run_is_a_plain_folder_of_transformers_with_the_same_answers(finished, tmp_path: Path) -> None:
    folder, images = finished
    assert export_merged(folder, tmp_path / "merged") == "AutoModelForImageClassification"
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "merged")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "merged", backend="pil")
    inputs = processor([Image.open(file) for file in sorted((images / "val").rglob("*.png"))], return_tensors="pt")
    restored = restore(folder).model
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, restored(**inputs).logits, atol=1e-5, rtol=1e-5)
    assert model.config.id2label == {0: "cat", 1: "dog"}


def test_a_task_of_images_needs_a_backbone_of_images_and_is_told_before_data_is_read(tmp_path: Path) -> None:
    told = refused(small("task=cifar10", "bitfit"), tmp_path / "run")
    assert "transformers has no output layer for image classification on bert" in told
