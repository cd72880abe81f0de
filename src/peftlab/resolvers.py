"""What `conf/` may ask for by `${name:...}` besides Hydra's own."""

import re
import secrets
from collections.abc import Callable, Sequence

from omegaconf import OmegaConf

from peftlab.command_line import program
from peftlab.names import shortened
from peftlab.options.roles import folder_digest
from peftlab.redaction import redact

_LONGEST = 60  # bytes of a name in a folder's name; a file system takes 255 in all


def register() -> None:
    """Let configurations use them; those of a command share the hex digits that no other command has."""
    unique = secrets.token_hex(4)
    resolvers: dict[str, Callable[..., object]] = {
        "folder_digest": folder_digest,
        "path_part": path_part,
        "searched_rate": searched_rate,
        "program": lambda: program("train", "python train.py"),
        "unique": lambda: unique,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def path_part(name: object) -> str:
    """Return a name as one part of a path, which leads nowhere else and tells no secret."""
    return re.sub(r"[^\w.+-]|^\.", "_", shortened(str(redact(str(name))), _LONGEST))


def searched_rate(draw: str, trial: object, rates: Sequence[float]) -> object:
    """Return the learning rate of a trial: of a grid the rate of that place, or a random draw between its ends.

    A draw is log-uniform and does not depend on the seed of the run; a trial lies at the same place between the ends
    of every strategy's rates. What is no trial is returned as a text that says so, which no rate is.
    """
    if not isinstance(trial, int) or trial < 0:
        return "no such search.trial"
    if draw == "log-uniform":
        import numpy as np  # with the stream, which `--help` has no use for

        from peftlab.streams import Stream, seed_of

        place = np.random.default_rng(seed_of(Stream.SEARCHED_RATES, 0, trial)).random()
        low, high = min(rates), max(rates)
        return float(f"{low * (high / low) ** place:.6g}")
    return rates[trial] if draw == "grid" and trial < len(rates) else "no such search.trial"
