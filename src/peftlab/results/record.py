"""The record of one run, `result.json`: the one thing that tables, figures and dashboards read."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from peftlab.errors import require, shown
from peftlab.files import write_text_atomic
from peftlab.options.schema import from_plain, read_json, to_plain
from peftlab.redaction import redact
from peftlab.results.plausible import check_groups, check_name, check_numbers

SCHEMA = 1
FILE_NAME = "result.json"
Status = Literal["running", "finished", "failed", "interrupted", "skipped"]
Better = Literal["higher", "lower"]
Unit = Literal["%", ""]
# What makes a finished run's score doubtful: see `results/doubts.py`.
Doubt = Literal["diverged", "overlap", "empty", "undefined"]


@dataclass
class Metric:
    """The task's primary metric as it was computed (0.85, not 85); `further` is keyed ``split/metric``.

    `better` says which of two scores is the better one. `unit` is ``%`` for a fraction, which is shown × 100, and empty
    for a value that is shown as it is. Records from before these two fields hold fractions where higher is better.

    `constant` is the best value that one answer to all examples has, on those of `test`, or of `validation` where there
    was no test set; None where there is no such answer, and in records from before it.
    """

    name: str
    validation: float | None = None
    test: float | None = None
    further: dict[str, float | None] = field(default_factory=dict)
    better: Better = "higher"
    unit: Unit = "%"
    constant: float | None = None


@dataclass
class Parameters:
    """Counts of scalars; `tuned` leaves out the classifier, which every method trains alike.

    `sizes` are the strategy's options that followed from the backbone: `bottleneck` where it was given as ``auto``.
    """

    total: int
    tuned: int
    classifier: int
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass
class Delta:
    """The saved delta: its size in bytes, its file beside the record, and the SHA-256 of what it holds."""

    bytes: int
    file: str
    sha256: str | None = None


@dataclass
class KeptPredictions:
    """The kept predictions: how many, their file's size in bytes, its name beside the record, and its SHA-256."""

    rows: int
    bytes: int
    file: str
    sha256: str | None = None


@dataclass
class Delay:
    """Time of a forward pass over the bare backbone's: the median of `pairs` ratios and its 95 % interval.

    Each pass takes `batch_size` texts of `length` tokens (images of as many patches), without padding, in float32;
    `bare_seconds` is the median time of the bare backbone's. `clock` is the wall's, or the one thread's own
    (processor), which stands still while the machine does something else.
    """

    ratio: float
    low: float
    high: float
    pairs: int
    batch_size: int
    length: int
    bare_seconds: float
    clock: Literal["wall", "processor"]


@dataclass
class Deployment:
    """The tuned model as it is deployed, against the bare backbone (Table 1); its bytes are `RunRecord.delta`'s.

    `extra_parameters` counts scalars beyond the backbone's; `structure_changed` compares the modules' names and
    classes and the parameters' names and shapes. Both after merging, where `merged`.
    """

    extra_parameters: int
    structure_changed: bool
    merged: bool
    delay: Delay


@dataclass
class Seconds:
    """Wall-clock seconds of each part; None where the run had no such part."""

    selection: float | None = None
    training: float | None = None
    evaluation: float | None = None
    total: float | None = None


@dataclass
class Throughput:
    """Of training; tokens are counted without padding, None where images are read."""

    examples_per_second: float | None = None
    tokens_per_second: float | None = None


@dataclass
class Memory:
    """Peak of the run: resident memory of the process (rss) or allocated device memory (cuda), in bytes.

    `weights_bytes`: of all weights as training keeps them, what is frozen in fewer bits too; None in older records.
    """

    peak_bytes: int | None
    kind: Literal["rss", "cuda"]
    weights_bytes: int | None = None


@dataclass
class Training:
    """What the optimiser really did; the settings asked for are in `RunRecord.config`.

    `first_loss` is the loss of the first batch, before any step; `stopped_early` whether training.early_stopping ended
    training before its last epoch.
    """

    steps: int
    epochs: float
    batch_size: int
    learning_rate: float
    best_epoch: int | None = None
    precision: str | None = None
    length_grouped: bool | None = None
    first_loss: float | None = None
    stopped_early: bool | None = None


@dataclass
class CutShort:
    """The Trainer's arguments by which a run was cut short, as ``trainer.max_steps=20``; empty where it was whole.

    `training` ended before its epochs, or took some batches of each; `evaluation` took some batches of a set.
    """

    training: list[str] = field(default_factory=list)
    evaluation: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class RunRecord:
    """One run. What a failed run never reached stays None; `started` is ISO 8601, `reason` one line.

    A run is `skipped` when its method does not fit the backbone or the kind of task: `reason` says why, and nothing
    failed.

    `mistake` says of a failed run that its user can mend it, as a message in one line tells; else it crashed.

    `predictions` is None in records from before they were kept, and where `data.keep_predictions` is false.

    `cut_short` is None in records from before it was kept: `peftlab.results.cuts` reads them, too.

    `fingerprint` is that of the backbone's pretrained tensors, which say what it is; `backbone` is what it is called.
    Records from before it, and of runs that never came to their backbone, have none.

    `id` is the hash of all that defines the run, `identity` those of its parts (peftlab.identity); a run that never
    came to its data has none. `doubts` says by kind, each in a sentence, why the score may not mean what it seems to
    (`results/doubts.py`). `resumed` is how many times it was interrupted and resumed; its seconds are those of
    all parts together. `folder` is where the record lies, known once it is written or read, and not part of the file.
    """

    schema: int = SCHEMA
    status: Status = "running"
    reason: str | None = None
    mistake: bool = False
    resumed: int = 0
    task: str
    strategy: str
    backbone: str
    fingerprint: str | None = None
    seed: int
    shots: int | None = None
    id: str | None = None
    identity: dict[str, str] = field(default_factory=dict)
    metric: Metric | None = None
    collapsed: bool = False
    doubts: dict[Doubt, str] = field(default_factory=dict)
    cut_short: CutShort | None = None
    parameters: Parameters | None = None
    delta: Delta | None = None
    predictions: KeptPredictions | None = None
    deployment: Deployment | None = None
    seconds: Seconds = field(default_factory=Seconds)
    throughput: Throughput | None = None
    memory: Memory | None = None
    training: Training | None = None
    data: dict[str, Any] = field(default_factory=dict)
    selection: dict[str, Any] | None = None
    curve: list[dict[str, float | None]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    dirty: bool | None = None
    device: str | None = None
    started: str | None = None
    command: list[str] = field(default_factory=list)
    folder: Path | None = field(default=None, init=False, compare=False, repr=False)

    def stop(self, status: Literal["failed", "interrupted", "skipped"], reason: object) -> None:
        """Set why the run ended early or never began; a reason of several lines is folded into one."""
        self.status, self.reason = status, shown(" ".join(str(reason).split())) or "no reason was given"

    def to_json(self) -> str:
        """Return the record as strict, indented JSON text: NaN and infinities are null, secrets are hidden."""
        return json.dumps(redact(to_plain(self)), indent=2, allow_nan=False) + "\n"

    def write(self, folder: Path) -> Path:
        """Write ``result.json`` into `folder`, whole or not at all, and return its path."""
        path = folder / FILE_NAME
        write_text_atomic(path, self.to_json())
        self.folder = folder
        return path

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read a record from its file or folder.

        Raises UserError, naming the file, for anything that is not a whole record of a known schema. Within
        one schema unknown keys are refused, so a later version may add optional keys (old files stay
        readable) but must raise `SCHEMA` to change or drop one.
        """
        file = path / FILE_NAME if path.is_dir() else path
        record = read_json(file, "record", _from_data)
        record.folder = file.parent
        return record


def _from_data(data: Any) -> RunRecord:
    schema = data.get("schema") if isinstance(data, dict) else None
    require(type(schema) is int and schema >= 1, "not a run's record: it has no schema number")
    require(schema == SCHEMA, f"schema {schema} is newer than this version reads ({SCHEMA}): update peftlab")
    record: RunRecord = from_plain(RunRecord, data)
    if record.status == "finished":
        require(record.metric is not None, "a finished run must have a metric")
        require(record.parameters is not None, "a finished run must have parameters")
    if record.id is not None:
        require(bool(re.fullmatch("[0-9a-f]{1,64}", record.id)), f"id is {record.id!r}, must be hex digits")
    for what, kept in (("delta", record.delta), ("predictions", record.predictions)):
        name = kept.file if kept is not None else "none"
        require(
            name == Path(name).name and name not in ("", ".."),
            f"{what}.file is {name!r}, must be the name of a file beside the record",
        )
    names = {name: getattr(record, name) for name in ("task", "strategy", "backbone")}
    for name, value in (names | ({"metric.name": record.metric.name} if record.metric else {})).items():
        check_name(value, name)
    check_numbers(record)
    check_groups(record.config)
    return record
