"""``python -m peftlab.submit RUNS... --out submission.zip``: runs' answers for the server of GLUE or SuperGLUE.

Each task is answered by the best of its runs below RUNS, by validation score, or by that of a seed: --seed 42 for all
tasks, --seed rte=42 for one. Test sets are read from the release's folder, that of the runs or --data. A task that has
no run is answered by the most frequent label of its training set; a note beside the zip says whose answers each file
holds. ``--check FILE.zip`` tells what is wrong with a zip, whoever made it.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from peftlab.command_line import add_plugins_option, any_output, program
from peftlab.errors import UserError, require
from peftlab.files import disk_errors, write_bytes_atomic, write_text_atomic
from peftlab.registry import load_plugins
from peftlab.results.found import read_records
from peftlab.results.record import RunRecord
from peftlab.submission.checking import find_mistakes
from peftlab.submission.choosing import choose, described, seeds_of
from peftlab.submission.formats import BENCHMARKS, GLUE, Benchmark, File
from peftlab.terminal import new_bars, working

if TYPE_CHECKING:
    from peftlab.prediction.loaded import LoadedRun
    from peftlab.submission.writing import Written

NOTE = ".txt"  # what the note's name adds to the zip's


def main(arguments: list[str] | None = None) -> int:
    """Write or check a submission, and return 0; 1 for a zip with mistakes, 2 for a mistake of the user."""
    any_output()
    given = _parser().parse_args(arguments)
    benchmark = BENCHMARKS[given.benchmark] if given.benchmark else None
    try:
        require(bool(given.check) != bool(given.out), "give --out FILE.zip to write one, or --check FILE.zip alone")
        if given.check:
            return _check(given.check, benchmark)
        require(bool(given.runs), "give folders that hold runs")
        require(not given.out.is_dir(), f"{given.out}: is a folder; --out names a file")
        load_plugins(given.plugins)
        with disk_errors(given.out):
            _write(given, benchmark or GLUE)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _check(path: Path, benchmark: Benchmark | None) -> int:
    mistakes = find_mistakes(path, benchmark)
    for line in mistakes:
        print(line)
    if not mistakes:
        print(f"{path}: no mistake was found")
    return 1 if mistakes else 0


def _write(given: argparse.Namespace, benchmark: Benchmark) -> None:
    found = read_records(given.runs)
    for line in found.unreadable:
        print(f"warning: {line}", file=sys.stderr)
    chosen = choose(found.records, benchmark, seeds_of(given.seed, benchmark))
    tasks = ", ".join(sorted(benchmark.tasks))
    require(bool(chosen), f"no finished run of a task of {benchmark.title} below these folders; its tasks are {tasks}")
    with working("starting torch and transformers"):
        from peftlab.submission.writing import note, write_zip
    written = _files(benchmark, chosen, given.data, given.backbone)
    filled = [one for one in written if one.filled]
    require(len(filled) < len(written), f"no test set could be answered: {filled[0].by}")
    write_bytes_atomic(given.out, write_zip(written))
    told = note(benchmark, written)
    write_text_atomic(given.out.with_name(given.out.name + NOTE), told)
    print(told)
    if filled:
        print(f"* nobody's: {len(filled)} of {len(written)} files do not measure a model")
    print(f"{given.out}: {sum(one.text is not None for one in written)} files of {len(written)}")


def _files(
    benchmark: Benchmark, chosen: dict[str, RunRecord], data: Path | None, backbone: str | None
) -> list["Written"]:
    """Return the benchmark's files; a model is loaded once, and one is held at a time."""
    from peftlab.prediction.loaded import load
    from peftlab.submission.writing import Written, answered

    roots = {task: data or _root(record) for task, record in chosen.items()}
    any_root = next((root for root in roots.values() if root is not None), None)
    found: dict[str, Written] = {}
    with new_bars() as bars:
        for task in dict.fromkeys(file.task for file in benchmark.files):
            model: LoadedRun | None = None
            for file in benchmark.files_of(task):
                reason = _unanswered(file, chosen, roots)
                if reason is not None:
                    found[file.name] = _filled(file, any_root, reason)
                    continue
                record, root = chosen[task], roots[task]
                assert record.folder is not None
                assert root is not None
                model = model or load(record.folder, backbone, option="--backbone FOLDER")
                bar = bars.add_task(file.name, total=None, note="")
                text = answered(file, model, root, partial(bars.advance, bar))
                found[file.name] = Written(file, text, described(record), filled=False)
    return [found[file.name] for file in benchmark.files]


def _unanswered(file: File, chosen: dict[str, RunRecord], roots: dict[str, Path | None]) -> str | None:
    """Return why no run answers a file."""
    if file.task not in chosen:
        return f"no run of task {file.task}"
    root = roots[file.task]
    if root is None:
        return "its run's data came from no folder; --data FOLDER names the release's"
    return None if (root / file.test).is_file() else f"no {root / file.test}"


def _filled(file: File, root: Path | None, reason: str) -> "Written":
    from peftlab.submission.writing import Written, filled

    text = filled(file, root)
    if text is None:
        return Written(file, None, f"left out, its form is known from {file.test} alone ({reason})", filled=True)
    what = f"majority answer {file.majority}" if file.majority != "" else "most frequent names"
    return Written(file, text, f"{what} ({reason})", filled=True)


def _root(record: RunRecord) -> Path | None:
    """Return the folder that a run read its data from."""
    data = record.config.get("data")
    root = data.get("root") if isinstance(data, dict) else None
    return Path(root).expanduser() if isinstance(root, str) else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("submit", "python -m peftlab.submit"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", type=Path, nargs="*", metavar="RUNS", help="folders that hold finished runs")
    parser.add_argument("--out", type=Path, metavar="FILE.zip", help="the zip to write; the note is FILE.zip.txt")
    parser.add_argument("--check", type=Path, metavar="FILE.zip", help="a zip to be checked; exit code 1: has mistakes")
    parser.add_argument(
        "--benchmark", choices=BENCHMARKS, help="whose server (default: glue, or what a zip looks like)"
    )
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the release's folder, with the test sets")
    parser.add_argument(
        "--seed", nargs="+", default=[], metavar="SEED", help="of all tasks, or TASK=SEED (default: best)"
    )
    parser.add_argument("--backbone", metavar="FOLDER", help="the backbone's files, where the runs' are gone")
    add_plugins_option(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
