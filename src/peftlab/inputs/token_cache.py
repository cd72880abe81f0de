"""Tensors of tokenised splits on disk: made once by whoever comes first, read back memory-mapped."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from peftlab.errors import UserError, require
from peftlab.locks import exclusive_lock
from peftlab.tensor_files import read_tensor_file, write_tensor_file

log = logging.getLogger(__name__)

FORMAT = 2  # of the file; in 1 there was no hash of its content
Tensors = dict[str, Tensor]
WAIT_SECONDS = 600.0  # for another run that tokenises; then it is done twice


def cached(
    define: Callable[[], Mapping[str, Any]],
    cache_dir: Path | None,
    make: Callable[[], Tensors],
    check: Callable[[Tensors], None],
) -> Tensors:
    """Return the tensors of a split, from the cache where they were made before.

    The cache's file is named by the hash of all that defines it, and holds the hash of its content. A file that was
    damaged or changed, or is another split's, is made anew.

    Args:
        define: returns what the tensors depend on, as plain values; it is asked only where something is kept.
        cache_dir: where tensors are kept; None keeps nothing.
        make: makes them, `truncated` [N] among them: which of the N examples lost tokens.
        check: raises TypeError or ValueError for tensors that are no split of this form.
    """
    if cache_dir is None:
        return make()
    defines = json.loads(json.dumps({"file": FORMAT, **define()}))
    name = hashlib.sha256(json.dumps(defines, sort_keys=True).encode()).hexdigest()[:24]
    path = cache_dir / f"{name}.safetensors"
    found = _load(path, defines, check)
    if found is None:
        with _first_to_make(cache_dir):
            # Another run may have made it while this one waited.
            found = _load(path, defines, check)
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
            if not stack.enter_context(exclusive_lock(cache_dir)):
                # The lock goes with the process that holds it, however that ends.
                log.warning("data.cache_dir=%s: waiting for another process that is making tokens", cache_dir)
                stack.enter_context(exclusive_lock(cache_dir, WAIT_SECONDS))
        yield


def _keep(path: Path, tensors: Tensors, defines: Mapping[str, Any]) -> None:
    truncated = tensors["truncated"]
    share = truncated.float().mean().item() if len(truncated) else 0.0
    description = {**defines, "examples": len(truncated), "truncated_share": share}
    try:
        write_tensor_file(path, tensors, description)
    except OSError as error:
        # A cache that cannot be written costs time, not a run.
        log.warning("data.cache_dir=%s: tokens are not kept (%s)", path.parent, error)


def _load(path: Path, defines: Mapping[str, Any], check: Callable[[Tensors], None]) -> Tensors | None:
    if not path.exists():
        return None
    try:
        found = read_tensor_file(path)
        require({name: found.facts.get(name) for name in defines} == defines, "it holds another split's tokens")
        check(found.tensors)
    except (UserError, TypeError, LookupError, ValueError) as error:
        log.warning("%s: damaged (%s); it is made anew", path, error)
        return None
    return found.tensors
