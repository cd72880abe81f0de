"""How often methods collapse, with the interval of the share."""

import pytest
from scipy.stats import beta

from peftlab.report.instability import instability
from peftlab.report.study import gather
from studies import broken, run


def test_collapsed_and_failed_runs_are_counted_over_tasks_and_seeds_with_an_exact_interval() -> None:
    records = [
        run(0.5, "lora", seed=seed, task=task, collapsed=seed == 1) for seed in range(5) for task in ("rte", "mrpc")
    ]
    records += [run(0.5, "full", seed=seed) for seed in range(4)]
    (table,) = instability(gather([*records, broken("full", seed=9)]))
    assert [name for name, _ in table.header] == ["runs", "collapsed", "%", "95 % interval", "failed"]
    rows = {name: [entry.text for entry in entries] for name, entries in table.rows}
    low, high = 100 * beta.ppf(0.025, 2, 9), 100 * beta.ppf(0.975, 3, 8)
    assert rows["lora"] == ["10", "2", "20.0", f"{low:.1f} to {high:.1f}", "0"]
    assert (round(low, 1), round(high, 1)) == (2.5, 55.6)  # Clopper and Pearson for 2 of 10, as in tables
    none = 100 * (1 - 0.025 ** (1 / 4))
    assert rows["full"] == ["4", "0", "0.0", f"0.0 to {none:.1f}", "1"]


@pytest.mark.parametrize("records", [[], [run(0.5)]])
def test_where_nothing_collapsed_or_failed_there_is_no_table(records) -> None:
    assert instability(gather(records)) == []
