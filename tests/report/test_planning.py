"""How many seeds a study needs: against studies that scipy draws and tests by itself."""

import numpy as np
import pytest
from scipy import stats

from peftlab.power import main
from peftlab.report.comparisons import compare_all
from peftlab.report.planning import SIMULATED_UP_TO, chance, plan, seeds_needed, spreads
from peftlab.report.power import noncentrality
from peftlab.report.study import gather
from peftlab.results.pairs import ALPHA
from studies import runs, write

SCORES = {"lora": [0.80, 0.82, 0.85, 0.81], "full": [0.85, 0.86, 0.83, 0.88]}


def scipys_share(deviations: tuple[float, ...], difference: float, seeds: int, level: float, draws: int) -> float:
    """How often scipy's permutation test of paired samples finds the difference, all patterns of signs counted."""
    rng, found = np.random.default_rng(7), 0
    for _ in range(draws):
        gains = np.concatenate([rng.normal(difference, deviation, seeds) for deviation in deviations])
        p = stats.permutation_test(
            (gains, np.zeros_like(gains)), _mean_difference, permutation_type="samples",
            vectorized=True, n_resamples=np.inf,
        ).pvalue  # fmt: skip
        found += p < level
    return found / draws


def _mean_difference(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    return (first - second).mean(axis=axis)


@pytest.mark.parametrize(
    ("deviations", "difference", "seeds", "level"),
    [((1.0,), 1.2, 8, ALPHA), ((2.0,), 3.0, 10, ALPHA / 6), ((1.0, 3.0), 2.5, 5, ALPHA / 3)],
)
def test_the_power_is_that_of_studies_which_scipy_draws_and_tests(deviations, difference, seeds, level) -> None:
    ours = chance(deviations, difference, seeds, level)
    theirs = scipys_share(deviations, difference, seeds, level, draws=300)
    assert ours.error is not None
    # Three standard errors of the difference of two drawn shares.
    assert abs(ours.value - theirs) < 3 * np.hypot(ours.error, np.sqrt(theirs * (1 - theirs) / 300))


@pytest.mark.parametrize("level", [ALPHA, ALPHA / 6, ALPHA / 136])
def test_where_drawing_ends_the_t_tests_power_is_the_sign_flip_tests(level: float) -> None:
    shift = noncentrality(SIMULATED_UP_TO - 1.0, level) / np.sqrt(SIMULATED_UP_TO)
    drawn = chance((1.0,), float(shift), SIMULATED_UP_TO, level)
    assert drawn.error is not None
    assert drawn.value == pytest.approx(0.8, abs=3 * drawn.error)


@pytest.mark.parametrize(("tests", "tasks"), [(1, 1), (10, 1), (3, 4)])
def test_the_seeds_are_the_fewest_that_reach_the_power(tests: int, tasks: int) -> None:
    given = (2.0,) * tasks, 3.0
    seeds = seeds_needed(*given, ALPHA / tests)
    assert seeds is not None
    assert chance(*given, seeds - 1, ALPHA / tests).value < 0.8 <= chance(*given, seeds, ALPHA / tests).value


def test_few_seeds_are_bounded_by_what_the_test_can_reach_at_all() -> None:
    # However large the difference: with 5 pairs p is 0.0625 at the least.
    assert seeds_needed((0.001,), 100.0, ALPHA) == 6
    assert seeds_needed((0.001,) * 3, 100.0, ALPHA) == 2
    assert seeds_needed((1000.0,), 0.001, ALPHA) is None


def test_the_spread_is_pooled_within_comparisons_and_bounded_by_chi_squared() -> None:
    scores = SCORES | {"bitfit": [0.70, 0.90, 0.75, 0.80]}
    (family,) = [f for f in compare_all(gather(runs(scores))) if not f.over_tasks]
    (spread,) = spreads(family.tested)
    pairs = [("lora", "full"), ("lora", "bitfit"), ("full", "bitfit")]
    variances = [np.var(100 * (np.array(scores[a]) - np.array(scores[b])), ddof=1) for a, b in pairs]
    assert spread.deviation == pytest.approx(np.sqrt(np.mean(variances)))
    assert spread.low == pytest.approx(spread.deviation * np.sqrt(3 / stats.chi2.ppf(0.95, 3)))
    assert spread.high == pytest.approx(spread.deviation * np.sqrt(3 / stats.chi2.ppf(0.05, 3)))


def test_more_comparisons_and_smaller_differences_need_more_seeds() -> None:
    (family,) = [f for f in compare_all(gather(runs(SCORES))) if not f.over_tasks]
    seeds = [plan(family, 1.0, count).on_tasks[0].seeds for count in (1, 5, 20)]
    assert seeds == sorted(set(seeds))
    assert plan(family, 0.5).on_tasks[0].seeds > seeds[0]


def test_the_command_is_short_and_names_seeds_for_a_task_and_for_several(tmp_path, capsys) -> None:
    write(tmp_path, runs(SCORES))
    assert main([str(tmp_path), "--difference", "4"]) == 0
    out = capsys.readouterr().out
    assert "RTE alone" in out
    assert "a true difference of 4.0 points, 1 planned comparison, 80 % power" in out
    assert "4 tasks" in out
    assert len(out.splitlines()) < 15


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--difference", "0"], "--difference 0: must be more than 0"),
        (["--difference", "nan"], "--difference nan: must be more than 0"),
        (["--difference", "1", "--power", "80"], "--power 80: must be between"),
        (["--difference", "1", "--comparisons", "0"], "--comparisons 0: must be 1 or more"),
        (["--difference", "1", "--reference", "lore"], "--reference lore: no such method (did you mean lora?)"),
    ],
)
def test_mistakes_are_one_line(given, told, tmp_path, capsys) -> None:
    write(tmp_path, runs(SCORES))
    assert main([str(tmp_path), *given]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {told}")
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_a_pilot_without_pairs_that_vary_is_refused(tmp_path, capsys) -> None:
    write(tmp_path, runs({"lora": [0.8], "full": [0.9]}))
    assert main([str(tmp_path), "--difference", "1"]) == 2
    assert "a spread needs a pilot" in capsys.readouterr().err
    write(tmp_path, runs({"lora": [0.8, 0.8], "full": [0.9, 0.9]}))
    assert main([str(tmp_path), "--difference", "1"]) == 2
    assert "spread is not known" in capsys.readouterr().err
