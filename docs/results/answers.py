"""`python docs/results/answers.py`: the answers of `study.md`, from the records that lie beside it.

A test compares its table with that of the page: a changed record changes the page, or fails.
"""

import tarfile
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from peftlab.report.answers import Answer, ask
from peftlab.report.comparisons import Comparison, compare_all
from peftlab.report.study import read

RESULTS = Path(__file__).resolve().parent
HALF_A_POINT = 0.5
HEADER = (
    "question",
    "where",
    "answer",
    "difference",
    "95 % interval",
    "behind / equal / ahead, %",
    "pairs",
    "could have been shown",
)


@dataclass(frozen=True)
class Asked:
    """A method against another one, in the records below a folder of an archive; `together`: over all conditions.

    The archives are named after their page; `first` and `second` are the labels of the methods there.
    """

    question: str
    where: str
    archive: str
    folder: str
    first: str
    second: str
    together: bool = False


_DIGITS = "digits, four backbones"
_FEW = "minilm, 16 shots, MRPC, SST-2, CoLA, RTE"
_RANKED = "hifi d=0.85 score={} score_after_steps=0 teleport=richness"
_RANKING = "hifi score={} teleport={}"

ASKED = (
    *(
        Asked(f"Are PageRank's heads better than {than}?", "minilm, 16 shots, MRPC, RTE", "study", "table3-few",
              _RANKING.format("pagerank", "richness"), _RANKING.format(score, "uniform"))
        for than, score in (
            ("random ones", "random"),
            ("those of the lowest rank", "pagerank-inverse"),
            ("the richest", "richness"),
            ("the most correlated", "correlation"),
        )
    ),
    *(
        Asked(f"Is HiFi ahead of {name}?", _FEW, "study", "table2-few", "hifi teleport=richness", other)
        for name, other in (
            ("LoRA", "lora"),
            ("the adapter", "adapter"),
            ("BitFit", "bitfit"),
            ("the linear probe", "classifier"),
        )
    ),
    Asked("Is HiFi level with full fine-tuning?", _FEW, "study", "table2-few", "hifi teleport=richness", "full"),
    Asked("The same", "minilm, full MRPC", "study", "table2-full", "hifi teleport=richness", "full"),
)  # fmt: skip


def table(asked: Iterable[Asked] = ASKED) -> str:
    """Return the table of answers as Markdown."""
    lines = ["| " + " | ".join(HEADER) + " |", "|---|---|---|---:|---:|---:|---:|---:|"]
    lines += ["| " + " | ".join(_row(one)) + " |" for one in asked]
    return "\n".join(lines) + "\n"


def _row(asked: Asked) -> list[str]:
    answer, comparison = _answer(asked)
    low, high = answer.interval or (None, None)
    within = next((equality for equality in answer.equalities if equality.rope == HALF_A_POINT), None)
    posterior = within.posterior if within else None
    shares = (posterior.behind, posterior.equal, posterior.ahead) if posterior else ()
    shown = comparison.detectable
    return [
        asked.question,
        asked.where,
        answer.kind,
        f"{answer.mean:+.1f}",
        f"{low:.1f} to {high:.1f}" if low is not None and high is not None else "the same in all pairs",
        " / ".join(f"{100 * share:.0f}" for share in shares),
        str(answer.pairs),
        f"{shown:.1f}" if shown is not None else "",
    ]


def _answer(asked: Asked) -> tuple[Answer, Comparison]:
    study = read([Path(_unpacked(asked.archive).name) / "records" / asked.folder], asked.together)
    families = compare_all(study, asked.first)
    questions = ask(study, families, asked.first)[0]  # over tasks, where there are several
    (answer,) = [answer for answer in questions.answers if answer.other.label == asked.second]
    (family,) = [one for one in families if one.block == questions.block and one.over_tasks == questions.over_tasks]
    (comparison,) = [one for one in family.comparisons if one.first.label == asked.second]
    return answer, comparison


@cache
def _unpacked(archive: str) -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    with tarfile.open(RESULTS / archive / "records.tar.xz") as packed:
        packed.extractall(folder.name, filter="data")
    return folder


if __name__ == "__main__":
    print(table(), end="")
