"""Arguments -> Hydra -> runs; turns a user's mistake into one clear line and exit code 2.

Nothing heavy is imported before a run starts, so `--help` and shell completion answer at once.
"""

import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from peftlab import arguments, hydra_errors, resume
from peftlab.cache import RunCache
from peftlab.errors import BusyError, UserError
from peftlab.options.roles import folder_digest

if TYPE_CHECKING:
    from peftlab.results.record import RunRecord

CONF = Path(__file__).resolve().parents[2] / "conf"
# Backbones and tasks that a sweep holds in memory; a sweep over tasks comes back to each again and again.
KEPT = 2


class Runs:
    """The runs of one command: what each gave, and what went wrong."""

    def __init__(self) -> None:
        self.records: list[RunRecord] = []
        self.exit_code = 0
        self.is_sweep = False
        self.signal = signal.SIGINT
        self._cache = RunCache()
        self._place: Path | None = None
        self._skipped = 0
        self._left = 0

    def end(self, number: int, frame: FrameType | None) -> None:
        """End as Ctrl-C does; a run that trains writes its checkpoint first."""
        self.signal = signal.Signals(number)
        raise KeyboardInterrupt

    def start(self, config: DictConfig) -> None:
        """Do one run unless it had finished before; a failure is told at once and does not stop the runs after it."""
        from peftlab.results.record import RunRecord

        self._look_around()
        folder = Path(HydraConfig.get().runtime.output_dir)
        try:
            if self.is_sweep and config.trainer.devices != 1:
                # Lightning starts the other ranks with the same command: each would sweep by itself.
                raise UserError(f"trainer.devices={config.trainer.devices}: a sweep (-m) allows one device a run")
            self._run(_plain(config), folder)
        except UserError as error:
            if self.is_sweep and isinstance(error, BusyError):
                self._left += 1
                print(f"{error} and does it; on to the next")
            else:
                tell(error)
                self.exit_code = self.exit_code or 2
        except Exception:
            traceback.print_exc()
            self.exit_code = 1
        finally:
            if (folder / "result.json").exists():
                self.records.append(RunRecord.read(folder))

    def _look_around(self) -> None:
        hydra = HydraConfig.get()
        if hydra.mode == RunMode.MULTIRUN and not self.is_sweep:
            self.is_sweep, self._cache, self._place = True, RunCache(KEPT), Path(hydra.sweep.dir)

    def _run(self, config: dict[str, Any], folder: Path) -> None:
        from peftlab.run import run_unless_finished

        if not run_unless_finished(config, folder, self._cache):
            self._skipped += 1

    def report(self) -> None:
        """Print the table of what the runs gave, earlier ones that were not repeated among them."""
        from peftlab.results.table import print_sweep

        finished = [record for record in self.records if record.status == "finished"]
        if self.is_sweep or finished:
            print_sweep(self.records)
        for record in finished if not self.is_sweep else ():
            print(f"record: {record.folder}/result.json")
        if self._skipped:
            print(f"{self._skipped} of {len(self.records)} had finished before and were not repeated (force=true does)")
        if self._left:
            print(f"{self._left} were left to another process that is at work on them")
        if self._place is not None and (self.exit_code or self._left):
            print(f"what is missing: python train.py resume={self._place}")


def main() -> None:
    """Run the command line; exit code 0, 2 for a user's mistake, 128 + its number for a signal, else 1."""
    quiet_libraries()
    # Hydra would print its own traces and end the process with code 1; this way its errors reach us.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    if "COMP_LINE" in os.environ:
        os.environ["COMP_LINE"] = arguments.normalise_line(os.environ["COMP_LINE"])
    runs = Runs()
    signal.signal(signal.SIGTERM, runs.end)
    try:
        OmegaConf.register_new_resolver("folder_digest", folder_digest, replace=True)
        sys.argv[1:] = arguments.normalise(resume.replayed(sys.argv[1:]))
        arguments.check(sys.argv[1:], CONF)
        hydra_errors.check_first_job(sys.argv[1:], CONF)
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(runs.start)()
    except (HydraException, OmegaConfBaseException, UserError, OSError) as error:
        if "PEFTLAB_DEBUG" in os.environ:
            raise
        tell(hydra_errors.in_one_line(error, sys.argv[1:], CONF))
        runs.exit_code = 2
    except KeyboardInterrupt:
        tell("interrupted")
        runs.exit_code = 128 + runs.signal
    # Of the processes of a distributed run the first one speaks.
    if runs.records and os.environ.get("LOCAL_RANK", "0") == "0":
        runs.report()
    raise SystemExit(runs.exit_code)


def tell(message: object) -> None:
    """Print one line on stderr."""
    print(f"error: {message}", file=sys.stderr)


def quiet_libraries() -> None:
    """Switch off what libraries print unasked, before they are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.captureWarnings(True)


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise UserError(hydra_errors.in_one_line(error, sys.argv[1:], CONF)) from error
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}
