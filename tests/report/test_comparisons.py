"""What is paired with what, which tests are one family, and when nothing could have been shown."""

import random
from itertools import product

import numpy as np
import pytest
from scipy import stats

from peftlab.errors import UserError
from peftlab.report.comparisons import compare_all, match, verdict
from peftlab.report.study import gather
from studies import run, runs, study

THREE_TASKS = [
    record
    for task in ("rte", "cola", "mrpc")
    for record in runs({"good": [0.80, 0.82, 0.81], "poor": [0.70, 0.73, 0.72]}, task=task)
]


def test_pairs_share_the_seed_and_the_better_method_is_first() -> None:
    records = [run(0.5, "lora", seed=s) for s in (1, 2, 3)] + [run(0.5 + s / 100, "full", seed=s) for s in (2, 3, 4)]
    (family,) = compare_all(gather(records))
    (comparison,) = family.comparisons
    assert (comparison.first.label, comparison.second.label) == ("full", "lora")
    assert (comparison.result.n, comparison.result.mean) == (2, pytest.approx(2.5))


def test_runs_of_other_data_are_not_paired_and_the_page_is_told() -> None:
    records = [run(0.5, "lora", seed=s) for s in (1, 2)]
    records += [run(0.6, "full", seed=1), run(0.6, "full", seed=2, content="other")]
    (family,) = compare_all(gather(records))
    assert family.comparisons[0].result.n == 1
    assert family.unpaired == ("RTE · minilm · full data: full and lora saw different data with seed 2: not paired",)


def test_records_are_paired_by_the_hashes_that_both_hold() -> None:
    fewer = {"content_sha256": {"train": "same"}}
    records = [run(0.5, "lora", data={}), run(0.6, "full"), run(0.6, "bitfit", data=fewer)]
    (family,) = compare_all(gather(records))
    assert [comparison.result.n for comparison in family.comparisons] == [1, 1, 1]


def test_settings_are_never_paired_with_one_another() -> None:
    records = [run(0.5, "lora", shots=16, test=0.5), run(0.6, "full"), run(0.7, "bitfit", holdout=0.2)]
    assert [family.comparisons for family in compare_all(gather(records))] == [(), (), ()]


def test_on_single_tasks_three_seeds_stay_at_a_quarter_and_over_tasks_they_add_up() -> None:
    single, over = compare_all(gather(THREE_TASKS))
    assert [comparison.result.p for comparison in single.comparisons] == [0.25, 0.25, 0.25]
    assert [comparison.p_holm for comparison in single.comparisons] == [0.75, 0.75, 0.75]
    assert single.out_of_reach
    (comparison,) = over.comparisons
    assert (comparison.result.n, comparison.result.p) == (9, 2 / 2**9)
    assert comparison.p_tasks == 0.25  # three tasks as the sample
    assert not over.out_of_reach
    assert verdict(comparison) == "ahead"


def test_conditions_taken_together_are_one_family_in_which_each_counts_as_a_task() -> None:
    few = {"shots": 16, "task": "rte"}
    records = runs({"good": [0.80, 0.82, 0.81], "poor": [0.70, 0.73, 0.72]})
    records += [
        run(score, name, seed=seed, test=score, **few) for name, score, seed in [("good", 0.6, 1), ("poor", 0.7, 1)]
    ]
    assert not any(family.over_tasks for family in compare_all(gather(records)))
    (block,) = gather(records, together=True).blocks
    assert block.title == "all conditions"
    single, over = compare_all(gather(records, together=True))
    assert [comparison.tasks for comparison in single.comparisons] == [("rte@minilm",), ("rte@minilm@16-shot",)]
    (comparison,) = over.comparisons
    assert (comparison.first.label, comparison.result.n) == ("poor", 4)
    # The conditions count alike, however many pairs each has: (28 / 3 - 10) / 2.
    assert comparison.result.mean == pytest.approx((10 - 28 / 3) / 2)


def test_holms_family_is_the_whole_table() -> None:
    names = {name: [0.5 + step / 10 + seed / 100 for seed in range(6)] for step, name in enumerate("abc")}
    (family,) = compare_all(study(names))
    assert [comparison.result.p for comparison in family.comparisons] == [0.03125] * 3
    assert [comparison.p_holm for comparison in family.comparisons] == [pytest.approx(0.09375)] * 3
    assert {verdict(comparison) for comparison in family.comparisons} == {"not told apart"}
    assert family.pairs_needed == 7


def test_a_reference_makes_a_smaller_family_and_stands_second() -> None:
    names = {name: [0.5 + step / 10 + seed / 100 for seed in range(7)] for step, name in enumerate("abcd")}
    (family,) = compare_all(study(names), reference="d")
    assert [(c.first.label, c.second.label) for c in family.comparisons] == [("a", "d"), ("b", "d"), ("c", "d")]
    assert all(comparison.result.mean < 0 for comparison in family.comparisons)
    assert {verdict(comparison) for comparison in family.comparisons} == {"behind"}
    assert family.comparisons[0].p_holm == pytest.approx(3 * 2 / 2**7)


def test_an_unknown_reference_names_what_there_is() -> None:
    with pytest.raises(
        UserError, match=r"--reference loar: no such method \(did you mean lora\?\); there is full, lora"
    ):
        compare_all(study({"lora": [0.5], "full": [0.6]}), reference="loar")


def test_collapsed_pairs_are_counted_in_and_counted() -> None:
    records = [*runs({"a": [0.5, 0.6]}), run(0.4, "b", seed=1, collapsed=True), run(0.5, "b", seed=2)]
    (family,) = compare_all(gather(records))
    assert (family.comparisons[0].result.n, family.comparisons[0].collapsed) == (2, 1)


def test_one_pair_has_a_difference_and_no_test() -> None:
    (family,) = compare_all(study({"a": [0.5], "b": [0.6]}))
    assert verdict(family.comparisons[0]) == "one pair: no test"
    assert (family.tested, family.out_of_reach) == ([], False)


def test_a_match_read_from_the_other_side_has_the_other_sign() -> None:
    records = runs({"a": [0.5, 0.6, 0.7], "b": [0.55, 0.58, 0.79]})
    first, second = gather(records).cells
    ours, theirs = match(first, second), match(second, first)
    assert ours[0] == pytest.approx([-value for value in theirs[0]])
    assert ours[1:] == (0, None) == theirs[1:]


@pytest.mark.parametrize("seed", range(5))
def test_the_order_in_which_records_are_found_decides_nothing(seed: int) -> None:
    mixed = random.Random(seed).sample(THREE_TASKS, len(THREE_TASKS))
    assert compare_all(gather(mixed)) == compare_all(gather(THREE_TASKS))


def test_the_numbers_of_a_comparison_are_scipys_on_the_differences() -> None:
    scores = {"a": [0.50, 0.61, 0.55, 0.58, 0.49], "b": [0.60, 0.64, 0.66, 0.59, 0.62]}
    (family,) = compare_all(study(scores))
    result = family.comparisons[0].result
    differences = 100 * (np.array(scores["b"]) - np.array(scores["a"]))
    assert result.mean == pytest.approx(differences.mean())
    assert result.p_t == pytest.approx(stats.ttest_rel(scores["b"], scores["a"]).pvalue)
    assert result.p == pytest.approx(stats.wilcoxon(differences).pvalue)  # unanimous: both tests are exact at 2 / 2^n


def test_the_tasks_as_a_sample_are_tested_on_one_mean_a_task() -> None:
    gains = {"rte": 0.10, "cola": 0.02, "mrpc": 0.05, "stsb": 0.01, "sst2": 0.03, "qnli": -0.005}
    records = []
    for task, gain in gains.items():
        records += runs({"a": [0.5, 0.6], "b": [0.5 + gain, 0.6 + gain]}, task=task)
    over = compare_all(gather(records))[1]
    means = np.array(list(gains.values()))
    signs = np.array(list(product((1, -1), repeat=len(means))))
    expected = np.mean(np.abs(signs @ means) >= abs(means.sum()) - 1e-12)
    assert over.comparisons[0].p_tasks == pytest.approx(expected)


def test_a_reference_may_be_a_strategy_with_all_its_variants() -> None:
    records = [run(0.5 + k / 100 + s / 1000, "heads", seed=s, options={"k": k}) for k in (1, 2) for s in (1, 2)]
    records += runs({"lora": [0.6, 0.7], "full": [0.65, 0.66]})
    (family,) = compare_all(gather(records), reference="heads")
    pairs = {frozenset((c.first.label, c.second.label)) for c in family.comparisons}
    assert frozenset(("lora", "full")) not in pairs
    assert frozenset(("heads k=1", "lora")) in pairs
    assert frozenset(("heads k=1", "heads k=2")) in pairs
    assert len(pairs) == 5


def test_a_method_without_a_score_is_compared_with_nothing() -> None:
    records = runs({"a": [0.5, 0.6], "b": [0.6, 0.7], "c": [None, None]})
    (family,) = compare_all(gather(records))
    assert [(c.first.label, c.second.label) for c in family.comparisons] == [("b", "a")]


def test_a_lone_method_makes_a_family_without_tests() -> None:
    (family,) = compare_all(study({"a": [0.5, 0.6]}))
    assert (family.comparisons, family.most_pairs, family.out_of_reach, family.pairs_needed) == ((), 0, False, 6)
