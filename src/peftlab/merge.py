"""`python -m peftlab.merge RUN_FOLDER TARGET_FOLDER`: a run's delta as a plain Hugging Face model."""

import argparse
import sys
from pathlib import Path

from peftlab.command_line import add_plugins_option, any_output, program
from peftlab.errors import UserError
from peftlab.registry import load_plugins


def main() -> None:
    """Merge one run and say where the model lies; a mistake is one line on stderr and exit code 2."""
    any_output()
    parser = argparse.ArgumentParser(prog=program("merge", "python -m peftlab.merge"), description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder: it holds delta.safetensors and delta.json")
    parser.add_argument("target", type=Path, help="the folder to write; it must not exist yet, or be empty")
    parser.add_argument("--backbone", metavar="FOLDER", help="the backbone's files, where the run's are gone")
    add_plugins_option(parser)
    arguments = parser.parse_args()
    try:
        load_plugins(arguments.plugins)
        if arguments.target.exists() and (not arguments.target.is_dir() or any(arguments.target.iterdir())):
            raise UserError(f"{arguments.target}: is there already; name a folder that is new or empty")
        if arguments.target.resolve() == Path.cwd():
            raise UserError(f"{arguments.target}: is the folder you are in; name one that is new or empty")
        from peftlab.strategies.restore import (
            export_merged,  # torch and transformers: only when they are needed
        )

        auto_class = export_merged(arguments.run, arguments.target, arguments.backbone, "--backbone FOLDER")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    print(f"{arguments.target}: load it with {auto_class}.from_pretrained")


if __name__ == "__main__":
    main()
