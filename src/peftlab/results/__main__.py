"""``python -m peftlab.results FOLDER``: the table of every run below a folder."""

import argparse
import sys
from pathlib import Path

from peftlab.command_line import any_output, program
from peftlab.errors import UserError
from peftlab.results.found import read_records
from peftlab.results.table import print_sweep, sweep_in_markdown


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; return 0, or 2 with one line on stderr when there is nothing to show."""
    any_output()
    parser = argparse.ArgumentParser(prog=program("results", "python -m peftlab.results"), description=__doc__)
    parser.add_argument("folder", type=Path, help="a Hydra output folder: one run, or a whole multirun")
    parser.add_argument("--markdown", action="store_true", help="for a Markdown file instead of a terminal")
    given = parser.parse_args(arguments)
    try:
        found = read_records([given.folder])
        found.check_any(f"no runs below {given.folder}")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if given.markdown:
        sys.stdout.write(sweep_in_markdown(found.records))
    else:
        print_sweep(found.records)
    for reason in found.unreadable:
        sys.stderr.write(f"! unreadable: {reason}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
