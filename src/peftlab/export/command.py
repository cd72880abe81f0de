"""`python -m peftlab.export RUN_FOLDER TARGET_FOLDER --format peft`: a run's delta as peft loads it."""

import argparse
import sys
from pathlib import Path

from peftlab.command_line import add_plugins_option, any_output, program
from peftlab.errors import UserError, require, shown
from peftlab.network import hub_reachable
from peftlab.registry import load_plugins


def main() -> int:
    """Export one run and say where it lies; a mistake is one line on stderr and exit code 2."""
    any_output()
    given = _parser().parse_args()
    try:
        load_plugins(given.plugins)
        empty = not given.target.exists() or (given.target.is_dir() and not any(given.target.iterdir()))
        require(empty, f"{given.target}: is there already; name a folder that is new or empty")
        from peftlab.export.peft_folder import export_peft  # torch and peft: only when they are needed

        made = export_peft(given.run, given.target, given.backbone, "--backbone FOLDER", given.format)
        same = "equal to the bit" if made.apart == 0 else f"within {made.apart:.0e} of the largest"
        print(f"{given.target}: peft's {made.method}; its hidden states are the run's, {same}{_as_filed(made.kept)}")
        print('load it with PeftModel.from_pretrained(model, "FOLDER"); its README.md says on what')
        if given.push:
            _push(given.target, given.push)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program("export", "python -m peftlab.export"), description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder: it holds delta.safetensors and delta.json")
    parser.add_argument("target", type=Path, help="the folder to write; it must not exist yet, or be empty")
    parser.add_argument(
        "--format",
        choices=["peft", "sparse"],
        default="peft",
        help="peft: what stock peft loads (default); sparse: single weights of any layer, for programs that import "
        "peftlab.peft",
    )
    parser.add_argument("--backbone", metavar="FOLDER", help="the backbone's files, where the run's are gone")
    parser.add_argument("--push", metavar="USER/NAME", help="send the folder to a repository of the Hugging Face Hub")
    add_plugins_option(parser)
    return parser


def _as_filed(kept: str) -> str:
    """Return what sets the run apart from all who load its delta onto the backbone's files."""
    return "" if kept == "float32" else f", on weights as their files have them: the run kept them in {kept}"


def _push(folder: Path, repository: str) -> None:
    """Send a folder to the Hub.

    Raises:
        UserError: there is no network, or the Hub refuses.
    """
    later = f"`hf upload {repository} {folder}` sends it later"
    require(hub_reachable(), f"--push {repository}: the Hugging Face Hub cannot be reached; {later}")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    try:
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder)
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UserError(f"--push {repository}: {shown(' '.join(str(error).split()))}; {later}") from error
    print(f"sent to {repository}")
