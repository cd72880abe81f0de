"""A folder of images in ImageFolder's layout: a folder for each label, perhaps inside one for each split.

    FOLDER/cat/1.png  FOLDER/dog/2.png      or      FOLDER/train/cat/1.png  FOLDER/val/dog/2.png

Images that lie in no such folder have no label: so `predict` takes them.
"""

from collections.abc import Iterator
from pathlib import Path

from peftlab.errors import require
from peftlab.inputs.image_files import ENDINGS
from peftlab.tasks.sources.formats import Row

# What a split's folder may be called, by our name.
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval"),
}


def holds_images(folder: Path) -> bool:
    """Return whether there is an image in a folder, up to three folders deep."""
    return any(_images(folder))


def split_folders(folder: Path) -> dict[str, Path]:
    """Return the folder of each split by our name for it; nothing where the folder holds labels or images.

    Only one that holds a split to train on has splits: else `test` may be a label.
    """
    inside = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}
    found = {split: inside[name] for split, names in _SPLITS.items() for name in reversed(names) if name in inside}
    return found if "train" in found and holds_images(found["train"]) else {}


def image_rows(folder: Path, split: str) -> Iterator[Row]:
    """Yield `id`, `image` and `label` of each image below a folder, by the labels' and the files' names.

    Args:
        folder: of the labels, or of the splits.
        split: which of the splits, where there are several.
    """
    splits = split_folders(folder)
    known = ", ".join(splits)
    require(not splits or split in splits, f"{folder}: no split {split!r}; it has {known}")
    own = splits.get(split, folder)
    for path in _images(own):
        parts = path.relative_to(own).parts
        label = {"label": parts[0]} if len(parts) > 1 else {}
        yield str(path), {"id": "/".join(parts), "image": str(path.absolute()), **label}


def _images(folder: Path) -> Iterator[Path]:
    """Yield the images of a folder and of those in it, in the order of their names; hidden files are left out."""
    for path in sorted(folder.rglob("*")):
        shown = not any(part.startswith(".") for part in path.relative_to(folder).parts)
        if shown and path.suffix.lower() in ENDINGS and path.is_file():
            yield path
