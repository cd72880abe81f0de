"""Tensors of tokenised splits on disk: made once by whoever comes first, read back memory-mapped."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from peftlab.files import exclusive_lock, write_bytes_atomic

log = logging.getLogger(__name__)

Tensors = dict[str, Tensor]
WAIT_SECONDS = 600.0  # for another run that tokenises; then it is done twice


def cached(
    defines: Mapping[str, Any],
    cache_dir: Path | None,
    make: Callable[[], Tensors],
    check: Callable[[Tensors], None],
) -> Tensors:
    """Return the tensors of a split, from the cache where they were made before.

    The cache's file is named by the hash of all that defines it. A damaged file is made anew.

    Args:
        defines: what the tensors depend on, as plain values.
        cache_dir: where tensors are kept; None keeps nothing.
        make: makes them, `truncated` [N] among them: which of the N examples lost tokens.
        check: raises TypeError or ValueError for tensors that are no split of this form.
    """
    if cache_dir is None:
        return make()
    name = hashlib.sha256(json.dumps(defines, sort_keys=True).encode()).hexdigest()[:24]
    path = cache_dir / f"{name}.safetensors"
    found = _load(path, check)
    if found is None:
        with _first_to_make(cache_dir):
            # Another run may have made it while this one waited.
            found = _load(path, check)
            if found is None:
                found = make()
                _keep(path, found, defines)
    return found


def check_cuts(tensors: Tensors, flat: str, cuts: str) -> None:
    """Raise ValueError unless `cuts`, which divides `flat` into parts, begins at 0 and ends where it ends."""
    if int(tensors[cuts][-1]) != len(tensors[flat]):
        raise ValueError("its tensors do not fit together")


@contextmanager
def _first_to_make(cache_dir: Path) -> Iterator[None]:
    """Let one run at a time make tokens for a cache; a cache that cannot be written guards nothing."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(exclusive_lock(cache_dir, WAIT_SECONDS))
        yield


def _keep(path: Path, tensors: Tensors, defines: Mapping[str, Any]) -> None:
    truncated = tensors["truncated"]
    share = truncated.float().mean().item() if len(truncated) else 0.0
    description = {**defines, "examples": len(truncated), "truncated_share": share}
    try:
        write_bytes_atomic(path, save(tensors, metadata={"peftlab": json.dumps(description, sort_keys=True)}))
    except OSError as error:
        # A cache that cannot be written costs time, not a run.
        log.warning("data.cache_dir=%s: tokens are not kept (%s)", path.parent, error)


def _load(path: Path, check: Callable[[Tensors], None]) -> Tensors | None:
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        check(tensors)
    except (SafetensorError, OSError, TypeError, KeyError, ValueError) as error:
        log.warning("%s: damaged (%s); it is made anew", path, error)
        return None
    return tensors
