"""``python -m peftlab.landscape RUN...``: the loss around tuned weights and along the path that led to them.

Around: a random plane through the weights, its axes filter-normalised after Li et al. (2018), the same draw, scale,
grid and examples for every run, and sharpness as a number. Along: where a run kept its trajectory
(checkpoint.trajectory=N), the plane of its first two principal axes. All in the space of the backbone's own weights:
a run is merged first, and a method that cannot be merged is refused. With --matched runs are compared at one loss,
not at their ends. An interrupted landscape is resumed by the same command.
"""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from peftlab.command_line import add_plugins_option, any_output, program
from peftlab.errors import UserError
from peftlab.files import disk_errors
from peftlab.registry import load_plugins
from peftlab.results.landscapes import FILE_NAME, LandscapeOptions

_HELP = {
    "seed": "draws directions and examples",
    "points": "side of each grid, an odd number, so that the weights themselves are on it",
    "radius": "half the width of the random plane; 1, as Li et al. draw it, moves each row by its own length",
    "examples": "training examples that the loss is taken over",
    "directions": "random directions that sharpness is measured along, each both ways",
    "sharpness_radius": "how far along them, relative to the weights as --radius is",
}


def main(arguments: list[str] | None = None) -> int:
    """Measure, and return 0; 2 with one line on stderr for a mistake, 130 when interrupted."""
    any_output()
    given = _parser().parse_args(arguments)
    settings = LandscapeOptions(
        **{name: getattr(given, name) for name in _HELP},
        embeddings=not given.without_embeddings,
        matched=given.matched,
    )
    try:
        load_plugins(given.plugins)
        from peftlab.landscape.whole import draw  # torch and transformers: only when they are needed

        with disk_errors(given.out):
            draw(given.runs, given.out, settings, given.data_root, given.backbone, _tell)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command resumes\n")
        return 130
    print(f"{given.out / FILE_NAME}: {program('report', 'python report.py')} on a folder above it draws it")
    return 0


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("landscape", "python -m peftlab.landscape"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a finished run, or a folder of such")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"where {FILE_NAME} is written to")
    for field in fields(LandscapeOptions):
        if field.name in _HELP:
            kind = type(field.default)
            told = f"{_HELP[field.name]} (default: {field.default})"
            parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default, help=told)
    parser.add_argument(
        "--without-embeddings", action="store_true", help="leave embeddings where they are along random directions"
    )
    parser.add_argument(
        "--matched",
        action="store_true",
        help="take each run where its path (checkpoint.trajectory=N) first reaches the lowest loss that all reach",
    )
    parser.add_argument("--data-root", metavar="FOLDER", help="the task's files, when they are not where they were")
    parser.add_argument("--backbone", metavar="FOLDER", help="the backbone's files, where the runs' are gone")
    add_plugins_option(parser)
    return parser
