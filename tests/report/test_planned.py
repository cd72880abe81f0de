"""A study's plan stands beside its outcome, and says which comparisons were planned."""

import pytest

from peftlab.errors import UserError
from peftlab.report.command import write as write_report
from peftlab.report.comparisons import compare_all
from peftlab.report.planned import outcome, reference_of
from peftlab.report.study import gather
from peftlab.results.record import RunRecord
from peftlab.results.stated import StatedPlan
from studies import run, write

PLAN = {
    "question": "Does the ranking matter?",
    "reference": "heads score=pagerank d=0.85",
    "pairs": 4,
    "difference": 3.0,
    "stop": "all pairs are there",
}
STATED = (
    "Plan",
    "Does the ranking matter? heads score=pagerank d=0.85 against every other, 4 pairs each, to see 3.0 points; it "
    "ends when all pairs are there.",
)


def studied(plan: dict[str, object] | None = PLAN, **seeds: int) -> list[RunRecord]:
    """Return runs that choose heads by so many words, each with so many seeds."""
    found = []
    for number, (score, count) in enumerate(seeds.items()):
        for seed in range(count):
            # What pairs differ by varies by a tenth of a point.
            record = run(0.8 + 0.001 * seed * number, "heads", seed=seed, options={"score": score})
            record.config["plan"] = plan
            found.append(record)
    return found


def told(records: list[RunRecord]) -> list[tuple[str, str]]:
    study = gather(records)
    return outcome(study, compare_all(study, reference_of(study)))


def test_the_plans_reference_is_compared_with_every_other_and_its_pairs_are_counted():
    records = studied(pagerank=4, random=4, richness=3)
    assert reference_of(gather(records)) == "heads score=pagerank"  # d does not vary here, and names no method
    assert told(records) == [STATED, ("Outcome", "1 of 2 planned comparisons have their 4 pairs (there are 3 to 4).")]


def test_pairs_that_are_enough_for_a_test_say_what_they_could_have_shown():
    (_, (_, said)) = told(studied(pagerank=12, random=12))
    assert said == "1 of 1 planned comparisons have their 4 pairs (there are 12); 1 could have shown 3.0 points."


def test_comparisons_that_the_plan_does_not_name_explore():
    study = gather(studied(pagerank=4, random=4, richness=4))
    (_, (_, said)) = outcome(study, compare_all(study))
    assert said.startswith("2 of 2 planned comparisons have their 4 pairs (there are 4)")
    assert said.endswith(" Not planned, so exploratory: 1 more.")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (studied(None, pagerank=2, random=2), []),
        (studied(pagerank=2) + studied({**PLAN, "pairs": 9}, random=2), []),  # two plans are none
        (studied({"of": "another version"}, pagerank=2, random=2), []),
        (
            studied(random=2, richness=2),
            [STATED, ("Outcome", "heads score=pagerank d=0.85 is not one of these methods, or several.")],
        ),
    ],
)
def test_without_one_plan_that_names_one_method_nothing_was_planned(records, expected):
    assert told(records) == expected


def test_the_report_takes_the_plans_reference_unless_another_is_named(tmp_path):
    write(tmp_path / "sweep", studied(pagerank=4, random=4, richness=4))
    said = dict(write_report([tmp_path / "sweep"], tmp_path / "report"))
    assert said["Plan"] == STATED[1]
    assert "exploratory" not in said["Outcome"]
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert "2 of 2 planned comparisons have their 4 pairs" in page
    other = dict(write_report([tmp_path / "sweep"], tmp_path / "other", "heads score=random"))
    assert "exploratory: 1 more" in other["Outcome"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pairs": 0}, "plan.pairs=0: allowed is above 0"),
        ({"difference": -1.0}, "plan.difference=-1.0: allowed is above 0"),
        ({"reference": " "}, "plan.reference: allowed is a strategy"),
    ],
)
def test_a_plan_that_is_none_is_refused(wrong, message):
    with pytest.raises(UserError, match=message):
        StatedPlan(**{**PLAN, **wrong})
