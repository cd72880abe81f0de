"""Arguments -> Hydra -> what became of the runs; turns a user's mistake into one clear line and exit code 2.

Nothing heavy is imported before a run starts, so `--help` and shell completion answer at once.
"""

import logging
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import hydra
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from peftlab import arguments, hydra_errors, resolvers, resume, search_path
from peftlab.apart import Part
from peftlab.command_line import program, typed_command
from peftlab.errors import UserError, require
from peftlab.hydra_internals import forget_hydra, jobs_of, share_config_store
from peftlab.job import Job, quiet_libraries, tell
from peftlab.job_files import SweepFiles, write_command
from peftlab.outcome import Outcome, begin_sweep, exit_code, take_outcomes
from peftlab.registry import load_plugins
from peftlab.results.pairs import swept_options, what_a_sweep_can_show
from peftlab.signals import Signals
from peftlab.terminal import PRINTED

if TYPE_CHECKING:
    from peftlab.dry_run import Run
    from peftlab.results.record import RunRecord

log = logging.getLogger(__name__)

CONF = (Path(__file__).parent / "conf").resolve()  # in a checkout a link to the folder that users change


class DryRun(BaseException):
    """Ends a command that only asks what it would do, before Hydra writes a thing: of an `Exception` it would warn.

    Its cause, if it has one, is a mistake of the user's.
    """

    runs: "list[Run]"
    folder: Path

    @classmethod
    def of(cls, config: DictConfig, jobs: list[list[str]] | None) -> Self:
        """Return the end of a command with these jobs, while Hydra can still compose them."""
        from peftlab.dry_run import composed

        asked = cls()
        hydra_config = config.hydra
        asked.folder = Path(hydra_config.sweep.dir if hydra_config.mode == RunMode.MULTIRUN else hydra_config.run.dir)
        try:
            require(jobs is not None, f"{arguments.DRY_RUN}: a sweeper that searches chooses its runs as it goes")
            asked.runs = composed(config, jobs or [])
        except Exception as error:
            asked.__cause__ = error
        return asked


class Told(Callback):
    """Hydra's callback (`hydra.callbacks`): where this process's sweep lies and what it varies, or its run's end."""

    sweep: ClassVar[Path | None] = None
    swept: ClassVar[frozenset[str]] = frozenset()
    outcome: ClassVar[Outcome | None] = None
    token: ClassVar[str] = ""
    before: ClassVar[SweepFiles | None] = None
    runs: ClassVar[int] = 0
    hydra: ClassVar[Any] = None
    waits: ClassVar[bool] = False
    dry: ClassVar[bool] = False

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the sweep's folder, where its jobs leave their outcomes, and say how many they are and could show."""
        if Told.sweep is not None:
            return  # the command begins again for what other processes left undone
        if Told.dry:
            raise DryRun.of(config, jobs_of(config.hydra))
        Told.sweep = Path(config.hydra.sweep.dir)
        Told.before = SweepFiles.read(Told.sweep, config.hydra.overrides.task)
        jobs = jobs_of(config.hydra)
        # A sweeper that searches asks for its next runs by itself, and cannot ask for the same again.
        Told.waits = jobs is not None and config.wait is True
        Told.swept = swept_options(jobs or [])
        Told.runs, Told.hydra = len(jobs or []), config.hydra
        begin_sweep(Told.sweep, Told.token, None if jobs is None else len(jobs))
        print(f"{'a sweep' if jobs is None else f'{len(jobs)} runs'} into {Told.sweep}", flush=True)
        for line in what_a_sweep_can_show(jobs or []):
            print(line, flush=True)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let a run begin, unless it was only asked for."""
        if Told.dry:
            raise DryRun.of(config, [list(config.hydra.overrides.task)])

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Note the outcome of a single run."""
        done: JobReturn = kwargs["job_return"]
        Told.outcome = done.return_value if done.status is JobStatus.COMPLETED else None

    @classmethod
    def begin(cls, dry: bool = False) -> None:
        """Begin a command, whose jobs are known by its token; a dry one ends before the first."""
        cls.sweep = cls.outcome = cls.before = cls.hydra = None
        cls.waits, cls.runs = False, 0
        cls.swept = frozenset()
        cls.dry = dry
        cls.token = secrets.token_hex(8)

    @classmethod
    def outcomes(cls, refused: bool) -> list[Outcome]:
        """Return what became of the jobs of the command that have begun; of a sweep that was refused nothing is kept.

        Args:
            refused: whether the command as a whole was.
        """
        if cls.sweep is None:
            return [cls.outcome] if cls.outcome is not None else []
        outcomes = take_outcomes(cls.sweep, cls.token)
        refused = refused or bool(outcomes)
        if cls.before is not None and refused and all(outcome.status == "mistake" for outcome in outcomes):
            cls.before.put_back(typed_command())
        elif len(outcomes) < cls.runs:  # the runs write the command down, and perhaps none has begun
            write_command(cls.sweep, typed_command(), cls.hydra)
        return outcomes


def main() -> None:
    """Run the command line; exit code 0, 2 for a user's mistake, 128 + its number for a signal, else 1."""
    signals = Signals()
    try:
        raise SystemExit(_main())
    except KeyboardInterrupt:
        tell("interrupted")
        raise SystemExit(128 + signals.last) from None


def _main() -> int:
    quiet_libraries()
    # Hydra would print its own traces and end the process with code 1; this way its errors reach us.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    resolvers.register()
    share_config_store()
    code, waiting, interrupted = 0, 0, None
    outcomes: list[Outcome] = []
    try:
        dry, words = arguments.without_dry_run(sys.argv[1:])
        commands = resume.replayed(words)
    except UserError as error:
        tell(error)
        return 2
    for words in commands:
        Told.begin(dry)
        wrong = 0
        try:
            wrong = _with_others(words)
        except KeyboardInterrupt as error:
            interrupted = error
        code = wrong or code
        begun = Told.outcomes(refused=wrong == 2)
        outcomes, waiting = outcomes + begun, waiting + max(Told.runs - len(begun), 0)
        if interrupted:
            break
    # Of the processes of a distributed run the first one speaks, of the runs of a sweep the sweep.
    code = code or (1 if interrupted else exit_code(outcomes))
    if (outcomes or waiting) and os.environ.get("LOCAL_RANK", "0") == "0" and Part.of_environment() is None:
        report(outcomes, Told.sweep, Told.swept, code, waiting)
    if interrupted:
        raise interrupted
    return code


def _with_others(words: list[str]) -> int:
    """Let Hydra do what a command says, and then what other processes of the same sweep leave undone."""
    code = _hydra(words)
    if Told.sweep is not None and Told.waits:
        from peftlab.pool import wait_for_others

        while not code and wait_for_others(Told.sweep, Told.token):
            code = _hydra(words)
    return code


def _hydra(words: list[str]) -> int:
    """Let Hydra do what a command says; return the exit code of what went wrong outside of the runs."""
    try:
        sys.argv[1:] = arguments.normalise(words)
        prepare(sys.argv[1:])
        job = Job(tuple(typed_command()), Told.token, CONF)
        forget_hydra()
        _begin(job, words)
    except (*hydra_errors.MISTAKES, UserError, OSError) as error:
        if "PEFTLAB_DEBUG" in os.environ:
            raise
        tell(hydra_errors.in_one_line(error, sys.argv[1:], CONF))
        return 2
    except Exception as error:
        if Told.sweep is None or "PEFTLAB_DEBUG" in os.environ:
            raise
        # A run's own failure is an outcome: this is the launcher's, one of whose processes was killed, for example.
        tell(f"hydra/launcher: {type(error).__name__}: {' '.join(str(error).split())}")
        return 1
    finally:
        search_path.forget()
    return 0


def _begin(job: Job, words: list[str]) -> None:
    try:
        hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()
    except DryRun as asked:
        if asked.__cause__ is not None:
            raise asked.__cause__ from None
        from peftlab.dry_run import show

        show(asked.runs, asked.folder, [*program("train", "python train.py").split(), *words])


def prepare(typed: list[str]) -> None:
    """Let Hydra find the user's folders and packages, and check what is typed before it begins to write.

    Raises:
        UserError, HydraException: a mistake.
    """
    line = os.environ.get("COMP_LINE")
    search_path.use(typed if line is None else line.split(" "), CONF)
    if line is not None:
        os.environ["COMP_LINE"] = arguments.normalise_line(line)
    arguments.check(typed, *search_path.roots(CONF))
    hydra_errors.check_first_job(typed, CONF)
    if not arguments.only_shows(typed):
        load_plugins(search_path.plugin_names(typed, CONF))


def report(outcomes: list[Outcome], sweep: Path | None, swept: frozenset[str], code: int, waiting: int = 0) -> None:
    """Print the table of what the runs gave, earlier ones that were not repeated among them.

    Args:
        outcomes: of the jobs of this command that have begun.
        sweep: the sweep's folder; None for a single run, which says where its record is.
        swept: the options that the sweep varies.
        code: the exit code of the command.
        waiting: how many jobs have not begun.
    """
    from peftlab.results.table import print_sweep, sweep_in_markdown

    found = [_record(outcome.folder) for outcome in outcomes]
    records = [record for record in found if record is not None]
    finished = [record for record in records if record.status == "finished"]
    if sweep is not None or finished:
        print_sweep(records, swept=swept)
    if sweep is None:
        log.info("%s", sweep_in_markdown(records), extra=PRINTED)
        for record in finished:
            print(f"record: {record.folder}/result.json")
        for outcome in outcomes:
            if outcome.status == "skipped":
                print(f"skipped: {outcome.message}")
    else:
        for outcome, kept in zip(outcomes, found, strict=True):
            if outcome.exit_code and not _says(kept, outcome):
                print(f"! {outcome.folder.name}: {outcome.message or 'left no word: its process was killed'}")
    statuses = [outcome.status for outcome in outcomes]
    here = {outcome.folder for outcome in outcomes if outcome.status == "finished"}
    twice = sum(outcome.status == "already finished" and outcome.folder in here for outcome in outcomes)
    if twice:
        print(f"{twice} of {len(outcomes)} are runs that the command names more than once; each was done once")
    if others := sum(outcome.by_another and outcome.folder not in here for outcome in outcomes):
        print(f"{others} of {len(outcomes)} were done by other processes")
    if again := statuses.count("already finished") - others - twice:
        print(f"{again} of {len(outcomes)} had finished before and were not repeated (force=true does)")
    if busy := statuses.count("busy"):
        print(f"{busy} were left to another process that is at work on them")
    if waiting and code:
        print(f"{waiting} of {len(outcomes) + waiting} have not begun")
    if sweep is not None and sweep.is_dir() and (code or busy):
        print(f"what is missing: {resume.hint(sweep, sys.argv[1:])}")


def _record(folder: Path) -> "RunRecord | None":
    from peftlab.results.record import FILE_NAME, RunRecord

    try:
        return RunRecord.read(folder) if (folder / FILE_NAME).exists() else None
    except UserError:
        return None  # the job has said that it is damaged


def _says(record: "RunRecord | None", outcome: Outcome) -> bool:
    """Return whether the record, and so the table, names the failure already."""
    if record is None:
        return False
    return record.reason == outcome.message if outcome.message else record.status != "finished"
