"""``python report.py FOLDER...``: the runs below folders as tables and one page."""

import argparse
import sys
from pathlib import Path

from peftlab.command_line import add_plugins_option, any_output, install_extra, program
from peftlab.errors import UserError
from peftlab.files import write_text_atomic
from peftlab.registry import load_plugins

EXTRA = {"wandb", "wandb_workspaces"}


def main(arguments: list[str] | None = None) -> int:
    """Write the report; return 0, or 2 with one line on stderr when that cannot be done."""
    any_output()
    given = _parser().parse_args(arguments)
    try:
        load_plugins(given.plugins)
        summary = write(given.folders, given.output, given.reference, given.together)
        print("\n".join(f"{about}: {said}" for about, said in summary))
        print(f"tables: {given.output}/*.md, *.tex, *.csv")
        print(f"page: {given.output / 'index.html'}")
        if given.wandb:
            print(f"dashboard: {publish(given.folders)}")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in EXTRA:
            raise
        sys.stderr.write(f"error: --wandb needs {error.name}, which is not installed: {install_extra('wandb')}\n")
        return 2
    return 0


def write(
    folders: list[Path], output: Path, reference: str | None = None, together: bool = False
) -> list[tuple[str, str]]:
    """Write page and tables of every run below `folders` into `output`; return the summary and what was not read."""
    from peftlab.report import page_files
    from peftlab.report.comparisons import compare_all
    from peftlab.report.planned import reference_of
    from peftlab.report.study import read
    from peftlab.report.summary import sentences

    study = read(folders, together)
    reference = reference or reference_of(study)
    families = compare_all(study, reference)
    contents = page_files.contents(study, families, reference)
    try:
        for name, content in contents.items():
            write_text_atomic(output / name, content)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror})") from error
    return sentences(study, families) + [("not read", reason) for reason in study.unreadable]


def publish(folders: list[Path]) -> str:
    """Build the dashboard of every run below `folders` in Weights & Biases; return its address."""
    from peftlab.report import dashboard
    from peftlab.report.study import read

    return dashboard.publish(read(folders))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("report", "report.py"), description="Turn the runs below folders into tables and one HTML page."
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a run, or a whole sweep")
    parser.add_argument("--output", type=Path, default=Path("report"), metavar="FOLDER", help="default: report/")
    parser.add_argument(
        "--reference",
        metavar="METHOD",
        help="compare all methods with this one alone (fewer tests, so more power); name it before you see results;"
        " where all runs state a plan, it is the plan's",
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="compare over all conditions at once: a task on a backbone with so many shots counts as a task of its own",
    )
    add_plugins_option(parser)
    parser.add_argument(
        "--wandb",
        action="store_true",
        help="also build a dashboard in Weights & Biases, in the project that the runs were logged to (logger=wandb)",
    )
    return parser
