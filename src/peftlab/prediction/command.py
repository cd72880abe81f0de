"""``python predict.py RUN FILE --out predictions.csv``: what a finished run says of the examples of a file.

FILE has the form of the task's own files, or columns of its kind, such as text_a and text_b; with labels or without.
Images come as a folder of them, or as a file whose column `image` names them.
Each example has a row of the result, in their order: the answer, how probable it is and, where there is one, the right
answer. Where there are some, the task's metrics are told. The end of a name says a file's format.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peftlab.command_line import add_plugins_option, any_output, program
from peftlab.errors import UserError, require
from peftlab.files import disk_errors
from peftlab.registry import load_plugins
from peftlab.terminal import new_bars, working

if TYPE_CHECKING:
    from peftlab.prediction.loaded import Chunk, LoadedRun
    from peftlab.tasks.kind import Predictions


def main(arguments: list[str] | None = None) -> int:
    """Predict, and return 0; 2 with one line on stderr for a mistake."""
    any_output()
    given = _parser().parse_args(arguments)
    try:
        load_plugins(given.plugins)
        same = given.out.exists() and given.file.exists() and given.out.samefile(given.file)
        require(not same, f"{given.out}: holds the examples; name another file")
        with disk_errors(given.out):
            _predict(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _predict(given: argparse.Namespace) -> None:
    with working("starting torch and transformers"):
        from peftlab.prediction.given import from_file
        from peftlab.prediction.loaded import load
        from peftlab.prediction.written import writer
    with working(f"loading {given.run}"):
        run = load(given.run, given.backbone, given.device, "--backbone FOLDER")
    scored: list[Predictions] = []
    number = 0
    with writer(given.out) as write, new_bars() as bars:
        bar = bars.add_task("predicting", total=None, note="")
        examples = from_file(run.kind, given.file, given.labels)
        for chunk in run.stream(examples, given.batch_size, lambda done: bars.advance(bar, done)):
            for row in _rows(run, chunk, number):
                write(row)
            number += len(chunk.rows)
            if chunk.labelled:
                scored.append(chunk.predictions.select(chunk.labelled))
        require(number > 0, f"{given.file}: no example in it")
    print(f"{given.out}: {number:,} predictions of {run.record.strategy} on {run.record.task}")
    if scored:
        _tell_scores(run, scored)


def _rows(run: "LoadedRun", chunk: "Chunk", begin: int) -> Iterator[dict[str, Any]]:
    gold = _gold(run, chunk)
    for place, (row, found) in enumerate(zip(chunk.rows, run.details(chunk), strict=True)):
        name = {"id": row["id"]} if "id" in row else {}
        yield {"index": begin + place, **name, **found, "gold": gold.get(place)}


def _gold(run: "LoadedRun", chunk: "Chunk") -> dict[int, str]:
    if not chunk.labelled:
        return {}
    return dict(zip(chunk.labelled, run.kind.gold_answers(chunk.predictions.select(chunk.labelled)), strict=True))


def _tell_scores(run: "LoadedRun", scored: "Sequence[Predictions]") -> None:
    found = scored[0].joined(scored)
    for name, value in run.kind.score(found).items():
        metric = f"{name} × 100: {value * 100:.1f}" if run.kind.metrics[name].unit == "%" else f"{name}: {value:.3f}"
        print(f"{metric} on {len(found.ids):,} labelled examples")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("predict", "python predict.py"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run's folder")
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="the examples: .csv, .tsv, .jsonl, .json, .parquet, .conll, or a folder: a saved dataset, or images",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="predictions: .csv, .tsv or .jsonl")
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="examples at a time (default: 32)")
    parser.add_argument("--no-labels", dest="labels", action="store_false", help="do not read the file's labels")
    parser.add_argument("--device", help="of torch, as cpu or cuda:1 (default: the GPU if there is one)")
    parser.add_argument("--backbone", metavar="FOLDER", help="the backbone's files, where the run's are gone")
    add_plugins_option(parser)
    return parser
