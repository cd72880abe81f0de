"""``python tests/fuzz.py``: spoilt files, options and folders, each told in one line or taken; it prints its counts.

A case is made again by its piece, seed and number: ``python tests/fuzz.py --pieces files --first 17 --cases 1``.
"""

import argparse
import logging
import resource
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from fuzzing.cases import GOOD, Case, Result, attempt
from fuzzing.files import Files
from fuzzing.folders import Folders
from fuzzing.options import Options


class Piece(Protocol):
    """One kind of cases."""

    def __init__(self, folder: Path) -> None: ...
    def case(self, seed: int, number: int) -> Case: ...


MEMORY = 12 * 2**30  # bytes of address space, of which torch's libraries take most
# Each with its share of the cases.
PIECES: dict[str, tuple[type[Piece], float]] = {
    "files": (Files, 0.5),
    "options": (Options, 0.3),
    "folders": (Folders, 0.2),
}


def fuzz(piece: str, cases: Iterable[int], seed: int, folder: Path) -> Iterator[tuple[int, Result]]:
    """Do the cases of a piece by their numbers, in `folder`; yield each number with how its case ended."""
    made = PIECES[piece][0](folder / piece)
    for number in cases:
        yield number, attempt(made.case(seed, number))


def main() -> int:
    """Print the counts and every finding; return 1 where there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--pieces", nargs="+", choices=list(PIECES), default=list(PIECES))
    parser.add_argument("--told", action="store_true", help="print what was told, too")
    given = parser.parse_args()
    _quiet()
    shares = {name: PIECES[name][1] for name in given.pieces}
    findings = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, share in shares.items():
            numbers = range(given.first, given.first + round(given.cases * share / sum(shares.values())))
            counts: Counter[str] = Counter()
            for number, result in fuzz(name, numbers, given.seed, Path(folder)):
                counts[result.ending] += 1
                if given.told or result.ending not in GOOD:
                    print(f"{name} {number} ({result.name}): {result.ending}: {result.message}", flush=True)
            findings += sum(count for ending, count in counts.items() if ending not in GOOD)
            print(f"{name}, seed {given.seed}: {len(numbers)} cases: {dict(counts)}", flush=True)
    print(f"{findings} findings")
    return 1 if findings else 0


def _quiet() -> None:
    # A reader that takes whatever a file claims to hold ends in an error, not in the machine's memory.
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.exit(main())
