"""Images as input: what their files may be, how they are decoded, and that large splits give the same pixels."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from PIL import Image
from transformers import ViTImageProcessorPil

from peftlab.errors import UserError
from peftlab.inputs import image as images
from peftlab.inputs.encoder import content_hash
from peftlab.inputs.image import ImageEncoder, pixels_of
from peftlab.inputs.image_files import decoded, stored
from peftlab.tasks.kind import KINDS

PROCESSOR = ViTImageProcessorPil(size={"height": 8, "width": 8})
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def rows() -> Dataset:
    return KINDS.get("image-classification").example().rows


def test_whatever_an_image_is_given_as_the_same_pixels_come_of_it(tmp_path: Path) -> None:
    file = tmp_path / "one.png"
    Image.fromarray(GREY).save(file)
    given = [str(file), file, file.read_bytes(), Image.fromarray(GREY), GREY, {"bytes": file.read_bytes(), "path": "x"}]
    expected = torch.from_numpy((np.stack([GREY] * 3) / 255 - 0.5) / 0.5).float()
    for value in given:
        found = pixels_of(PROCESSOR, [stored(value, "image")])
        torch.testing.assert_close(found, expected[None], atol=1e-6, rtol=0)


def test_an_encoded_split_is_the_same_whether_its_pixels_stay_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ImageEncoder(PROCESSOR)
    kept = encoder.encode(rows())
    monkeypatch.setattr(images, "MOST_KEPT", 0)
    made = encoder.encode(rows())
    assert kept.pixels is not None
    assert made.pixels is None
    for split in (kept, made):
        chosen = split.select([2, 0])
        batch = encoder.collate([chosen[0], chosen[1]])
        assert torch.equal(batch["pixel_values"], kept.pixels[[2, 0]])
        assert (batch["labels"].tolist(), batch["index"].tolist()) == ([1, 0], [0, 1])
        assert (split.lengths, split.truncated_share) == ([1] * 4, 0.0)


def test_a_split_is_hashed_by_what_its_files_hold_whatever_they_are_called(tmp_path: Path) -> None:
    contents = [one["bytes"] for one in rows()["image"]]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.png").write_bytes(content)
    named = {"image": [stored(tmp_path / f"{number}.png", "") for number in range(4)], "label": rows()["label"][:]}
    files = Dataset.from_dict(
        {"id": list("abcd"), **named}, features=Features(**KINDS.get("image-classification").columns)
    )
    assert content_hash(files) == content_hash(rows())
    (tmp_path / "0.png").write_bytes(contents[1])
    assert content_hash(files) != content_hash(rows())


def eps(folder: Path) -> Path:
    file = folder / "run.png"
    file.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")
    return file


def pipe(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.png")
    return folder / "pipe.png"


def huge(folder: Path) -> Path:
    Image.new("1", (9000, 9000)).save(folder / "huge.png")
    return folder / "huge.png"


def half(folder: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(folder / "half.png")
    content = (folder / "half.png").read_bytes()
    (folder / "half.png").write_bytes(content[: len(content) // 2])
    return folder / "half.png"


BAD = [
    (lambda folder: folder / "none.png", r"none\.png: no such file"),
    (pipe, r"pipe\.png: no such file"),
    (eps, r"run\.png: not an image; allowed are PNG, JPEG"),
    (huge, r"huge\.png: 81,000,000 pixels; allowed are 67,108,864"),
    (half, r"half\.png: cannot be decoded \("),
]


@pytest.mark.parametrize(("make", "told"), BAD, ids=lambda value: getattr(value, "__name__", None))
def test_what_is_no_image_is_refused_in_one_line_with_its_name(make, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=told) as caught:
        decoded(stored(make(tmp_path), "image"), "RGB")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [3, {"bytes": None, "path": "/etc/passwd"}, np.zeros((2, 2)), np.zeros(4, np.uint8)])
def test_a_value_that_is_no_image_or_names_a_strangers_file_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="image: "):
        stored(value, "image")
