"""`python docs/results/answers.py`: tables of `study.md`, `ranking.md` and `backbones.md`, from records beside them.

A test compares the tables with those of the pages: a changed record changes a page, or fails.
"""

import math
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev

from peftlab.report import inference
from peftlab.report.answers import Answer, Questions, ask
from peftlab.report.comparisons import Comparison, ComparisonFamily, compare_all
from peftlab.report.study import Study, read
from peftlab.results.aggregate import Cell
from peftlab.results.landscapes import FILE_NAME, Landscape

RESULTS = Path(__file__).resolve().parent
HALF_A_POINT = 0.5
NUMBERS = ("difference", "95 % interval", "behind / equal / ahead, %", "pairs", "could have been shown")


@dataclass(frozen=True)
class Records:
    """The records below a folder of a page's archive, compared with one method; `together`: over all conditions."""

    archive: str
    folder: str
    reference: str
    together: bool = False


@dataclass(frozen=True)
class Question:
    """What a reader asks: the reference of the records against `other`, by its label there."""

    words: str
    where: str
    records: Records
    other: str


RANKED = "hifi d=0.85 score={} score_after_steps=0 teleport=richness"
RANKING = Records("ranking", ".", RANKED.format("pagerank"), together=True)
BACKBONES = {"low": "0 to 4", "high": "5 to 9", "even": "even", "odd": "odd"}  # what they were trained on
CHOICES = {
    "PageRank": RANKED.format("pagerank"),
    "random, drawn anew with each seed": RANKED.format("random"),
    "PageRank, inverse": RANKED.format("pagerank-inverse"),
    "PageRank, d = 0.5": RANKED.format("pagerank").replace("0.85", "0.5"),
    "richness alone": RANKED.format("richness"),
    "gradient (Michel et al.)": RANKED.format("gradient"),
    "Fisher information": RANKED.format("fisher"),
}

_FEW = Records("study", "table2-few", "hifi teleport=richness")
_HEADS = Records("study", "table3-few", "hifi score=pagerank teleport=richness")
_FULL = Records("study", "table2-full", "hifi teleport=richness")
_METHODS = Records("study", "digits/methods", "hifi")
_REVIEWS = Records("study", "sst2/methods", "hifi score=pagerank")
_BASE = Records("backbones", "few/mpnet", "hifi")
_DECODER = Records("backbones", "few/gemma", "hifi")
_SHARES = Records("study", "digits/allocation", "hifi allocation=share")
_THREE = Records("study", "digits/heads", 'hifi k=3 rows=["q", "k", "v"]')
_OUTPUTS = Records("study", "digits/heads", 'hifi k=3 rows=["v", "o"]')
FEW_METHODS = ("full", "hifi", "hifi teleport=richness", "lora")
FEW_TASKS = {"sst2": "SST-2", "rte": "RTE", "cola": "CoLA, Matthews"}
_SHOTS = "minilm, 16 shots, four tasks"
_OF_BASE = "mpnet, 16 shots, three tasks"
_DIGITS = "digits"
_SST2 = "minilm, SST-2, 128 a class"

QUESTIONS = (
    Question(
        "Are PageRank's heads better than random ones?", "digits, four backbones", RANKING, RANKED.format("random")
    ),
    Question("", _SST2, _REVIEWS, "hifi score=random"),
    Question("", "minilm, 16 shots, MRPC and RTE", _HEADS, "hifi score=random teleport=uniform"),
    Question("… than those of the lowest rank?", "digits, four backbones", RANKING, RANKED.format("pagerank-inverse")),
    Question("", _SST2, _REVIEWS, "hifi score=pagerank-inverse"),
    Question("", "minilm, 16 shots, MRPC and RTE", _HEADS, "hifi score=pagerank-inverse teleport=uniform"),
    Question("… than the richest?", "digits, four backbones", RANKING, RANKED.format("richness")),
    Question("… than those that labels choose (Fisher)?", "digits, four backbones", RANKING, RANKED.format("fisher")),
    Question("", _SST2, _REVIEWS, "hifi score=fisher"),
    Question("Is HiFi level with full fine-tuning?", _DIGITS, _METHODS, "full"),
    Question("", _SST2, _REVIEWS, "full"),
    Question("", _SHOTS, _FEW, "full"),
    Question("", _OF_BASE, _BASE, "full"),
    Question("", "minilm, full MRPC", _FULL, "full"),
    Question("Is it ahead of LoRA?", "digits, r = 8", _METHODS, "lora r=8"),
    Question("", "digits, r = 18: HiFi's count", _METHODS, "lora r=18"),
    Question("", _SST2, _REVIEWS, "lora"),
    Question("", _SHOTS, _FEW, "lora"),
    Question("", _OF_BASE, _BASE, "lora"),
    Question("… of the adapter?", "digits, width 64", _METHODS, "adapter bottleneck=64"),
    Question("", "digits, width 17: HiFi's count", _METHODS, "adapter bottleneck=17"),
    Question("", _SST2, _REVIEWS, "adapter"),
    Question("", _SHOTS, _FEW, "adapter"),
    Question("… of BitFit?", _DIGITS, _METHODS, "bitfit"),
    Question("", _SST2, _REVIEWS, "bitfit"),
    Question("", _SHOTS, _FEW, "bitfit"),
    Question("… of Child-Tuning?", _DIGITS, _METHODS, "child-tuning"),
    Question("… of the classifier alone?", _DIGITS, _METHODS, "classifier"),
    Question("", _SHOTS, _FEW, "classifier"),
    Question("Are three heads of eight better than one?", _DIGITS, _THREE, 'hifi k=1 rows=["q", "k", "v"]'),
    Question("… than all eight?", _DIGITS, _THREE, 'hifi k=8 rows=["q", "k", "v"]'),
    Question("Are V and O better than Q, K, V at the same count?", _DIGITS, _OUTPUTS, 'hifi k=2 rows=["q", "k", "v"]'),
    Question(
        "Are shares by richness better than the same k in each layer?", _DIGITS, _SHARES, "hifi allocation=uniform"
    ),
    Question("… than the same shares dealt by chance?", _DIGITS, _SHARES, "hifi allocation=share-random"),
)


def answers() -> str:
    """Return the table of answers as Markdown."""
    return _table(("question", "where", "answer"), [_row(question) for question in QUESTIONS])


def ranking() -> str:
    """Return each choice of heads less PageRank's over the four backbones as Markdown, the best first."""
    study, rows = _study(RANKING), []
    tasks = _tasks()
    for name, label in CHOICES.items():
        cells = {cell.setting.task: cell for cell in study.cells if cell.method.label == label}
        means = [f"{cells[task].mean:.1f}" for task in tasks]
        if label == RANKING.reference:
            rows.append((0.0, [name, *means, *[""] * len(NUMBERS)]))
        else:
            answer, comparison = _found(RANKING, label)
            rows.append((-answer.mean, [name, *means, *_numbers(answer, comparison, less=True)]))
    rows.sort(key=lambda row: -row[0])
    return _table(("heads chosen by", *BACKBONES.values()), [row for _, row in rows])


def methods() -> str:
    """Return every method on the digits with its rate, its weights and its accuracy as Markdown, the best first."""
    return _methods(_METHODS)


def reviews() -> str:
    """Return the same of the methods on SST-2."""
    return _methods(_REVIEWS)


def few() -> str:
    """Return three methods with 16 shots on minilm, mpnet and Gemma 3 as Markdown: each task with its seeds."""
    rows, tasks = [], FEW_TASKS
    for name, records in (("minilm", _FEW), ("mpnet", _BASE), ("Gemma 3", _DECODER)):
        cells = [cell for cell in _study(records).cells if cell.method.label in FEW_METHODS]
        for label in FEW_METHODS:
            of = {cell.setting.task: cell for cell in cells if cell.method.label == label}
            if of:
                share = f"{next(iter(of.values())).share:.2f}"
                scores = [f"{_score(of[task])} ({len(of[task].scores)})" if task in of else "not run" for task in tasks]
                rows.append([name, f"`{label.split()[0]}`", share, *scores])
    rows.append(["one answer", "", "", *(f"{_constant(_BASE, task):.1f}" for task in tasks)])
    return _lines(("backbone", "method", "%", *tasks.values()), 2, rows)


def _constant(records: Records, task: str) -> float:
    """Return what the best of all answers to everything scores on a task."""
    found = [cell.finished[0].metric for cell in _study(records).cells if cell.setting.task == task]
    assert found[0] is not None
    return 100 * (found[0].constant or 0.0)


def flatness() -> str:
    """Return the sharpness of full fine-tuning and HiFi on the digits as Markdown: at one loss, and at their ends."""
    folder = unpacked("study") / "digits" / "fig7"
    header = ("compared", "loss, full", "loss, HiFi", "sharpness, full", "sharpness, HiFi", "HiFi less full")
    rows = [
        [words, *_flatness(Landscape.read(folder / name / FILE_NAME))]
        for name, words in (("matched", "at one loss"), ("ends", "where each run ended"))
    ]
    return _lines((*header, "95 % interval", "p", "seeds"), 1, rows)


def _flatness(landscape: Landscape) -> list[str]:
    """Return loss and sharpness of both methods, and the difference of sharpness over pairs of a seed."""
    full, hifi = ([run for run in landscape.runs if run.strategy == name] for name in ("full", "hifi"))
    assert [run.seed for run in full] == [run.seed for run in hifi]
    losses = [[run.loss or math.nan for run in runs] for runs in (full, hifi)]
    sharp = [[run.sharpness.mean or math.nan for run in runs] for runs in (full, hifi)]
    result = inference.compare([[ours - theirs for theirs, ours in zip(*sharp, strict=True)]])
    means = [f"{fmean(values):.3f} ± {stdev(values):.3f}" for values in (*losses, *sharp)]
    low, high = result.interval or (math.nan, math.nan)
    return [*means, f"{result.mean:+.3f}", f"{low:.3f} to {high:.3f}", f"{result.p:.2g}", str(result.n)]


def _methods(records: Records) -> str:
    rows = []
    for cell in sorted(_study(records).cells, key=lambda cell: -(cell.mean or 0.0)):
        training = cell.finished[0].training
        assert training is not None
        weights = [f"{cell.tuned:,.0f}", f"{cell.share:.2f}"]
        rows.append(
            [f"`{cell.method.label}`", f"{training.learning_rate:g}", *weights, _score(cell), str(len(cell.scores))]
        )
    return _lines(("method", "rate", "tuned weights", "%", "accuracy", "seeds"), 1, rows)


def heads() -> str:
    """Return HiFi's choices on the digits (how many heads, of which layers, which rows) as Markdown."""
    rows = []
    for folder in ("heads", "allocation"):
        for cell in _study(Records("study", f"digits/{folder}", "")).cells:
            rows.append([f"`{cell.method.details}`", f"{cell.tuned:,.0f}", _score(cell), str(len(cell.scores))])
    return _lines(("HiFi with", "tuned weights", "accuracy", "seeds"), 1, sorted(rows))


def _score(cell: Cell) -> str:
    return f"{cell.mean:.1f}" + (f" ± {cell.std:.1f}" if cell.std is not None else "")


def _table(first: tuple[str, ...], rows: list[list[str]]) -> str:
    return _lines((*first, *NUMBERS), len(first), rows)


def _lines(header: tuple[str, ...], words: int, rows: list[list[str]]) -> str:
    """Return a table whose first columns, so many, are words, and whose others are numbers."""
    rule = ("---",) * words + ("---:",) * (len(header) - words)
    return "".join("| " + " | ".join(cells) + " |\n" for cells in (header, rule, *rows))


def _row(question: Question) -> list[str]:
    answer, comparison = _found(question.records, question.other)
    return [question.words, question.where, answer.kind, *_numbers(answer, comparison)]


def _numbers(answer: Answer, comparison: Comparison, less: bool = False) -> list[str]:
    """Return what `NUMBERS` names of the reference against the other; `less`: of the other against the reference."""
    sign = -1.0 if less else 1.0
    interval = sorted(sign * bound for bound in answer.interval or ())
    within = next((equality for equality in answer.equalities if equality.rope == HALF_A_POINT), None)
    posterior = within.posterior if within else None
    shares = [posterior.behind, posterior.equal, posterior.ahead] if posterior else []
    shown = comparison.detectable
    return [
        f"{sign * answer.mean:+.1f}",
        f"{interval[0]:.1f} to {interval[1]:.1f}" if interval else "the same in all pairs",
        " / ".join(f"{100 * share:.0f}" for share in (reversed(shares) if less else shares)),
        str(answer.pairs),
        f"{shown:.1f}" if shown is not None else "",
    ]


def _found(records: Records, other: str) -> tuple[Answer, Comparison]:
    questions, family = _asked(records)
    (answer,) = [answer for answer in questions.answers if answer.other.label == other]
    (comparison,) = [one for one in family.comparisons if one.first.label == other]
    return answer, comparison


@cache
def _asked(records: Records) -> tuple[Questions, ComparisonFamily]:
    families = compare_all(_study(records), records.reference)
    questions = ask(_study(records), families, records.reference)[0]  # over tasks, where there are several
    (family,) = [one for one in families if (one.block, one.over_tasks) == (questions.block, questions.over_tasks)]
    return questions, family


@cache
def _study(records: Records) -> Study:
    return read([unpacked(records.archive) / records.folder], records.together)


def _tasks() -> list[str]:
    """Return the conditions of the ranking in the order of `BACKBONES`: each lies in a folder of that name."""
    return [read([unpacked(RANKING.archive) / name], together=True).settings[0].task for name in BACKBONES]


def unpacked(archive: str) -> Path:
    """Return the folder of the records of a page's archive."""
    return Path(_unpacked(archive).name) / "records"


@cache
def _unpacked(archive: str) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    with tarfile.open(RESULTS / archive / "records.tar.xz") as packed:
        packed.extractall(folder.name, filter="data")
    return folder


if __name__ == "__main__":
    print(answers(), methods(), heads(), reviews(), flatness(), ranking(), few(), sep="\n", end="")
