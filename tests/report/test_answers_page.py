"""The pages of results say what their records say: answers and tables are computed anew from what lies beside them."""

import re
from collections import defaultdict
from collections.abc import Callable

import pytest

from docs.results.answers import RESULTS, answers, few, flatness, heads, methods, ranking, reviews, unpacked
from peftlab.report.study import read
from peftlab.results.found import find_records
from peftlab.results.record import RunRecord


@pytest.mark.parametrize(
    ("page", "table"),
    [
        ("study", answers),
        ("study", methods),
        ("study", heads),
        ("study", reviews),
        ("study", flatness),
        ("ranking", ranking),
        ("backbones", few),
    ],
)
def test_a_table_of_the_pages_is_that_of_its_records(page: str, table: Callable[[], str]) -> None:
    """``python docs/results/answers.py`` prints them."""
    assert table() in (RESULTS / f"{page}.md").read_text(encoding="utf-8")


def test_the_pilot_of_the_reviews_is_that_of_its_records() -> None:
    page = (RESULTS / "study.md").read_text(encoding="utf-8")
    for shots, epochs in ((64, 8), (128, 6), (256, 4)):
        means = {
            cell.method.strategy: cell.mean for cell in read([unpacked("study") / "sst2" / "pilot" / str(shots)]).cells
        }
        full, alone = means["full"], means["classifier"]
        assert f"| {shots} | {epochs} | {full:.1f} | {alone:.1f} | {full - alone:.1f} |\n" in page


def chosen(runs: list[RunRecord]) -> tuple[RunRecord, str]:
    """Return the run of the best rate on held-out examples, and what each rate has there, in the order of rates."""
    runs = sorted(runs, key=lambda run: run.config["training"]["learning_rate"])
    best = max(runs, key=lambda run: run.metric.validation)
    scores = [f"{100 * run.metric.validation:.1f}" for run in runs]
    return best, ", ".join(f"**{of}**" if run is best else of for of, run in zip(scores, runs, strict=True))


def test_the_table_of_mpnet_and_gemma_is_that_of_the_records() -> None:
    page = (RESULTS / "backbones.md").read_text(encoding="utf-8")
    shown = {tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page.splitlines()}
    names = {"mpnet": "mpnet", "gemma3-270m": "Gemma 3"}
    runs = defaultdict(list)
    for folder in ("mpnet", "gemma"):
        for run in find_records(unpacked("backbones") / folder):
            runs[run.config["backbone"]["name"], run.strategy].append(run)
    assert len(runs) == 6
    for (backbone, strategy), of in runs.items():
        best, scores = chosen(of)
        name = {"full": "full fine-tuning", "lora": "LoRA", "hifi": f"HiFi, k = {best.config['strategy'].get('k')}"}
        rate = re.sub(r"0+$", "", f"{best.config['training']['learning_rate']:.5f}")
        tuned, total = best.parameters.tuned, best.parameters.total
        numbers = (f"{tuned:,}", f"{100 * tuned / total:.2f}", f"{best.delta.bytes / 1e6:,.1f}")
        quality = (scores, f"{100 * best.metric.test:.1f}", f"{best.memory.peak_bytes / 1e9:.1f}")
        assert (names[backbone], name[strategy], rate, *numbers, *quality) in shown
