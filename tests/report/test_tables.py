"""The paper's tables: what stands where, what is marked, and that no name can break a format."""

import csv
import io
import re
from dataclasses import dataclass

import pytest

from peftlab.report import tables, writers
from peftlab.report.study import gather
from peftlab.report.tables import Entry, Table
from studies import broken, run, runs

TWO_TASKS = runs({"lora": [0.80, 0.84], "full": [0.90, 0.92]}, task="mrpc") + runs({"lora": [0.50, 0.60]}, task="rte")


def cells_of(table: Table) -> dict[str, list[Entry]]:
    return dict(table.rows)


def test_table_2_has_tasks_in_columns_and_methods_in_rows() -> None:
    (table,) = tables.performance(gather(TWO_TASKS))
    assert table.header == [("MRPC", "F1"), ("RTE", "Acc."), ("Avg.", "")]
    lora, full = cells_of(table)["lora"], cells_of(table)["full"]
    assert (lora[0].mean, lora[0].std, lora[0].seeds) == (pytest.approx(82), pytest.approx(2.828, abs=1e-3), 2)
    assert (full[1].text, full[2].mean) == ("not run", None)
    assert lora[2].mean == pytest.approx((82 + 55) / 2)


def test_mnlis_mismatched_set_has_its_own_column() -> None:
    record = run(0.85, task="mnli", further={"validation_mismatched/accuracy": 0.84, "validation/f1": 0.1})
    (table,) = tables.performance(gather([record]))
    assert [name for name, _ in table.header] == ["MNLI", "MNLI mismatched", "Avg."]
    assert [entry.mean for entry in table.rows[0][1]] == pytest.approx([85, 84, 84.5])


def test_best_and_second_are_marked_by_what_is_printed() -> None:
    scores = {"a": [0.8004], "b": [0.8001], "c": [0.79], "d": [0.78]}
    (table,) = tables.performance(gather(runs(scores)))
    marks = {name: entries[0].mark for name, entries in table.rows}
    assert marks == {"a": "best", "b": "best", "c": "second", "d": ""}


def test_what_has_no_score_says_why_and_what_collapsed_is_marked() -> None:
    records = [run(0.5, collapsed=True), broken("full"), *runs({"full": [0.6]}, task="cola")]
    (table,) = tables.performance(gather(records))
    assert cells_of(table)["full"][1].text == "failed"
    assert cells_of(table)["lora"][1].collapsed == 1
    assert "**50.0**†" in writers.markdown([table])


def test_table_3_holds_variants_that_differ_in_a_word_and_no_numbers() -> None:
    words = [run(0.8, "heads", options={"score": score}) for score in ("pagerank", "random")]
    numbers = [run(0.8, "other", options={"k": k, "bias": k > 1}) for k in (1, 2)]
    (table,) = tables.ablation(gather(words + numbers))
    assert table.title == "Ablation of heads · minilm · full data"
    assert [name for name, _ in table.rows] == ["heads score=pagerank", "heads score=random"]


@dataclass
class Delay:
    ratio: float = 1.2
    low: float = 1.1
    high: float = 1.3


@dataclass
class Deployment:
    extra_parameters: int = 12_345
    structure_changed: bool = True
    delay: Delay | None = None


def test_table_1_stands_on_what_was_measured() -> None:
    records = [run(strategy=name) for name in ("adapter", "lora", "silent")]
    assert tables.deployment(gather(records)) == []
    records[0].deployment = Deployment(delay=Delay())
    records[1].deployment = Deployment(0, structure_changed=False)
    (table,) = tables.deployment(gather(records))
    texts = {name: [entry.text for entry in entries] for name, entries in table.rows}
    assert texts == {
        "adapter": ["12,345", "yes", "1.200 [1.100, 1.300]", "4,000"],
        "lora": ["0", "no", "–", "4,000"],
    }


HOSTILE = "a|b_c&d%e$f#{g}~h^i\\j<k>*l*"


def table_named(name: str) -> Table:
    return Table("table2", name, [(name, name)], [(name, [Entry(90.04, 1.26, 3, mark="best")])], [name])


def test_markdown_keeps_its_columns_whatever_the_names() -> None:
    text = writers.markdown([table_named(HOSTILE)])
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {3}
    assert rows[-1].endswith("| **90.0** ± 1.3 |")
    assert "<k>" not in text.replace("\\<", "").replace("\\>", "")


def test_latex_has_booktabs_rules_and_no_bare_special_characters() -> None:
    text = writers.latex([table_named(HOSTILE)])
    assert [rule for rule in ("\\toprule", "\\midrule", "\\bottomrule") if rule in text] == [
        "\\toprule", "\\midrule", "\\bottomrule",
    ]  # fmt: skip
    row = next(line for line in text.splitlines() if "textbf" in line)
    assert row.endswith(r"& \textbf{90.0}$_{\pm 1.3}$ \\")
    name = row[: row.rindex(" & ")]
    assert re.sub(r"\\textbackslash\{\}|\\text\w+\{\}|\\[&%$#_{}]", "", name) == "abcdefghijk*l*"


def test_csv_reads_back_and_runs_no_formula() -> None:
    text = writers.csv_of([table_named("=cmd()")])
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["row"], float(row["mean"]), row["seeds"]) == ("'=cmd()", 90.04, "3")
    assert writers.csv_text([[-1.5, None, 'a "quoted", cell']]) == '-1.5,,"a ""quoted"", cell"\n'
