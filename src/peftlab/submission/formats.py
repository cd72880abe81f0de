"""What the servers of GLUE and SuperGLUE read: each file, its rows, the words of its answers, and who answers it.

GLUE: tab-separated, a header, indices from 0 (gluebenchmark.com; rows of nyu-mll/glue). SuperGLUE: an object a line
(super.gluebenchmark.com; rows of aps/super_glue; words as jiant's `evaluate.py` writes them).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

HEADER = "index\tprediction"
SCORES = (0.0, 5.0)  # of STS-B

Word = str | int


@dataclass(frozen=True)
class File:
    """One file of a submission.

    Attributes:
        name: inside the zip.
        rows: answers that it must hold, those of its test set.
        task: whose model answers, as in `conf/task`.
        test: the test set in the benchmark's release, below `data.root`.
        words: what is written for each of the task's labels; empty: a score in `SCORES`, or a text.
        majority: the most frequent answer of the training set (of STS-B the mean), written where nobody answers.
        columns: what the task's model reads of the test set, where the columns are called otherwise than in its own.
        shape: `rows`, an answer a row; `scores`; `passages`, MultiRC's, verdicts inside questions inside passages;
            `queries`, ReCoRD's, the answer's text.
    """

    name: str
    rows: int
    task: str
    test: str
    words: Mapping[str, Word] = field(default_factory=dict)
    majority: Word = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    shape: Literal["rows", "scores", "passages", "queries"] = "rows"


@dataclass(frozen=True)
class Benchmark:
    """What one server reads."""

    title: str
    files: tuple[File, ...]

    @property
    def tasks(self) -> set[str]:
        """The tasks whose models answer."""
        return {file.task for file in self.files}

    def file(self, name: str) -> File | None:
        """Return the file of this name."""
        return next((file for file in self.files if file.name == name), None)

    def files_of(self, task: str) -> list[File]:
        """Return the files that a task's model answers."""
        return [file for file in self.files if file.task == task]


def _as_they_are(*words: str) -> dict[str, Word]:
    return {word: word for word in words}


_TWO = _as_they_are("entailment", "not_entailment")
_THREE = _as_they_are("entailment", "neutral", "contradiction")
_BOOLEAN: dict[str, Word] = {"False": "false", "True": "true"}
_NLI = {"premise": "text_a", "hypothesis": "text_b"}

GLUE = Benchmark(
    "GLUE",
    (
        File("CoLA.tsv", 1063, "cola", "CoLA/test.tsv", {"unacceptable": "0", "acceptable": "1"}, "1"),
        File("SST-2.tsv", 1821, "sst2", "SST-2/test.tsv", {"negative": "0", "positive": "1"}, "1"),
        File("MRPC.tsv", 1725, "mrpc", "MRPC/test.tsv", {"not_equivalent": "0", "equivalent": "1"}, "1"),
        File("STS-B.tsv", 1379, "stsb", "STS-B/test.tsv", majority="2.701", shape="scores"),
        File("MNLI-m.tsv", 9796, "mnli", "MNLI/test_matched.tsv", _THREE, "contradiction"),
        File("MNLI-mm.tsv", 9847, "mnli", "MNLI/test_mismatched.tsv", _THREE, "contradiction"),
        File("QNLI.tsv", 5463, "qnli", "QNLI/test.tsv", _TWO, "entailment"),
        File("QQP.tsv", 390_965, "qqp", "QQP/test.tsv", {"not_duplicate": "0", "duplicate": "1"}, "0"),
        File("RTE.tsv", 3000, "rte", "RTE/test.tsv", _TWO, "entailment"),
        # Label 0 is entailment in RTE and QNLI, and not_entailment here.
        File("WNLI.tsv", 146, "wnli", "WNLI/test.tsv", {"not_entailment": "0", "entailment": "1"}, "0"),
        File("AX.tsv", 1104, "mnli", "diagnostic/diagnostic.tsv", _THREE, "contradiction"),
    ),
)

SUPERGLUE = Benchmark(
    "SuperGLUE",
    (
        File("BoolQ.jsonl", 3245, "boolq", "SuperGLUE/BoolQ/test.jsonl", _BOOLEAN, "true"),
        File("CB.jsonl", 250, "cb", "SuperGLUE/CB/test.jsonl", _THREE, "contradiction"),
        File("COPA.jsonl", 500, "copa", "SuperGLUE/COPA/test.jsonl", {"0": 0, "1": 1}, 1),
        File("MultiRC.jsonl", 9693, "multirc", "SuperGLUE/MultiRC/test.jsonl", {"0": 0, "1": 1}, 0, shape="passages"),
        File("ReCoRD.jsonl", 10_000, "record", "SuperGLUE/ReCoRD/test.jsonl", shape="queries"),
        File("RTE.jsonl", 3000, "rte", "SuperGLUE/RTE/test.jsonl", _TWO, "entailment", _NLI),
        File("WiC.jsonl", 1400, "wic", "SuperGLUE/WiC/test.jsonl", _BOOLEAN, "false"),
        File("WSC.jsonl", 146, "wsc", "SuperGLUE/WSC/test.jsonl", {"False": "False", "True": "True"}, "False"),
        File("AX-b.jsonl", 1104, "rte", "SuperGLUE/AX-b/AX-b.jsonl", _TWO, "entailment"),
        File("AX-g.jsonl", 356, "rte", "SuperGLUE/AX-g/AX-g.jsonl", _TWO, "entailment", _NLI),
    ),
)

BENCHMARKS = {"glue": GLUE, "superglue": SUPERGLUE}
