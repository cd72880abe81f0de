"""What the page answers first: ahead, behind, practically equal, or not known; never equal for want of evidence."""

import csv
import io

import pytest

from peftlab.report.answers import ask, csv_rows
from peftlab.report.comparisons import compare_all
from peftlab.report.page_files import contents
from peftlab.report.study import gather
from peftlab.report.writers import csv_text
from studies import runs

# Eight seeds each: so far apart, so near, and so unsteady.
BASE = [0.80, 0.81, 0.82, 0.80, 0.79, 0.81, 0.80, 0.82]
STUDY = gather(
    runs(
        {
            "full": BASE,
            "hifi": [score + 0.001 * (-1) ** seed for seed, score in enumerate(BASE)],
            "lora": [score - 0.05 - 0.001 * seed for seed, score in enumerate(BASE)],
            "bitfit": [0.70, 0.90, 0.75, 0.88, 0.69, 0.91, 0.74, 0.89],
        }
    )
)


def words(reference: str | None) -> dict[str, str]:
    """Return the answer about each other method."""
    (questions,) = ask(STUDY, compare_all(STUDY, reference), reference)
    return {answer.other.label: answer.word for answer in questions.answers}


def test_each_kind_of_answer_is_given_where_it_holds() -> None:
    found = words("full")
    assert found["lora"] == "ahead"
    assert found["hifi"] == "practically equal, within half a point"
    assert found["bitfit"].startswith("not known")
    assert words("lora")["full"] == "behind"


def test_without_a_reference_the_one_with_the_largest_gains_is_asked_about() -> None:
    (questions,) = ask(STUDY, compare_all(STUDY))
    assert (questions.lead.label, questions.named, questions.tests) == ("bitfit", False, 6)
    gains = {answer.other.label: answer.mean for answer in questions.answers}
    assert all(gain > 0 for gain in gains.values())


def test_the_page_counts_the_answers_and_the_file_has_the_numbers() -> None:
    files = contents(STUDY, compare_all(STUDY, "full"), "full")
    assert "is full ahead?" in files["index.html"]
    assert "ahead: 1, practically equal: 1, not known: 1; 3 tests in the family." in files["index.html"]
    rows = {row["second"]: row for row in csv.DictReader(io.StringIO(files["answers.csv"]))}
    lora = rows["lora"]
    shares = [float(lora[name]) for name in ("behind_1", "equal_1", "ahead_1")]
    assert sum(shares) == pytest.approx(1)
    assert shares[2] > 0.999
    assert float(rows["hifi"]["p_equal_0.5"]) < 0.05
    assert float(lora["improvement"]) == 1.0


def test_two_runs_a_method_give_a_table_without_intervals() -> None:
    few = gather(runs({"full": [0.8], "lora": [0.7]}))
    assert ask(few, compare_all(few)) == []
    two = gather(runs({"full": [0.8, 0.82], "lora": [0.7, 0.72]}))
    (questions,) = ask(two, compare_all(two))
    assert "not known" in csv_text(csv_rows([questions]))


def test_two_methods_that_score_the_same_in_every_pair_are_said_to() -> None:
    study = gather(runs({"a": [0.8, 0.7, 0.9], "b": [0.8, 0.7, 0.9]}))
    (questions,) = ask(study, compare_all(study), "a")
    assert [answer.word for answer in questions.answers] == ["not known; the same score in all 3 pairs"]
