"""Every benchmark, one after the other, each in a process of its own; one that fails does not stop the others."""

import subprocess
import sys

import torch

CPU = ("startup", "steps", "pretrained", "twins", "precision", "scoring", "sweep", "epoch", "predict")


def main() -> None:
    """Run them; exit code 1 if one failed."""
    names = [*CPU, *(["gpu"] if torch.cuda.is_available() else [])]
    failed = [name for name in names if subprocess.run([sys.executable, "-m", f"bench.{name}"]).returncode]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
