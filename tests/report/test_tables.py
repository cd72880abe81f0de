"""The paper's tables: what stands where, what is marked, and that no name can break a format."""

import csv
import io
import re
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

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


def test_balanced_accuracy_and_one_answer_to_everything_stand_in_the_tables_of_runs_that_know_them() -> None:
    scored = (("lora", 0.80, 0.51), ("full", 0.70, 0.60))
    records = [
        run(score, method, task="mrpc", further={"validation/balanced_accuracy": balanced})
        for method, score, balanced in scored
    ]
    for record in records:
        record.metric.constant = 0.812
    scores, balanced = tables.performance(gather([*records, *runs({"lora": [0.9]}, task="rte")]))
    assert cells_of(scores)["one answer"][0].text == "81.2"
    assert cells_of(scores)["one answer"][0].mark == ""
    assert balanced.header == [("MRPC", "Bal. acc."), ("Avg.", "")]
    assert [(name, entries[0].mean, entries[0].mark) for name, entries in balanced.rows] == [
        ("lora", pytest.approx(51), "second"),
        ("full", pytest.approx(60), "best"),
    ]


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
    assert r"**50.0**\*" in writers.markdown([table])


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


def test_methods_with_all_tasks_come_first_and_then_the_best_average() -> None:
    records = runs({"low": [0.6], "high": [0.7]}, task="mrpc") + runs({"low": [0.5], "high": [0.6], "alone": [0.99]})
    (table,) = tables.performance(gather(records))
    assert [name for name, _ in table.rows] == ["high", "low", "alone"]


def test_one_task_has_no_average() -> None:
    (table,) = tables.performance(gather(runs({"a": [0.5, 0.6]})))
    assert cells_of(table)["a"][-1].mean is None


def test_settings_that_are_never_compared_stand_in_tables_of_their_own() -> None:
    records = [run(0.8), run(0.6, shots=16, test=0.5), run(0.7, holdout=0.2)]
    titles = {table.title: table for table in tables.performance(gather(records))}
    assert set(titles) == {
        "Performance · minilm · full data",
        "Performance · minilm · 16 shots",
        "Performance · minilm · full data · 20 % held out",
    }
    assert "on test." in titles["Performance · minilm · 16 shots"].notes[0]
    assert cells_of(titles["Performance · minilm · 16 shots"])["lora"][0].mean == pytest.approx(50)


def test_a_block_without_any_score_has_no_table() -> None:
    assert tables.performance(gather([broken()])) == []


def test_a_score_that_is_no_number_is_a_dash_and_not_a_zero() -> None:
    (table,) = tables.performance(gather([run(None, "a"), run(0.5, "b"), *runs({"a": [0.5], "b": [0.6]}, task="cola")]))
    entry = cells_of(table)["a"][1]
    assert (entry.mean, entry.text) == (None, "–")


def test_table_3_needs_a_word_and_two_variants() -> None:
    one = [run(0.8, "heads", options={"score": "pagerank"})]
    flags = [run(0.8, "other", options={"bias": bias}) for bias in (True, False, None)]
    assert tables.ablation(gather(one + flags)) == []


def test_the_second_best_is_underlined_and_a_collapsed_run_has_its_star() -> None:
    rows = [("a", [Entry(90, mark="best")]), ("b", [Entry(80, 1.0, 2, collapsed=1, mark="second")]), ("c", [Entry(70)])]
    text = writers.latex([Table("table2", "t", [("RTE", "")], rows, [])])
    assert r"a & \textbf{90.0} \\" in text
    assert r"b & \underline{80.0}$_{\pm 1.0}$$^{*}$ \\" in text
    assert r"c & 70.0 \\" in text
    assert text.count("&") == 4  # no line of metrics where there are none


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(start: str) -> None:
    assert writers.csv_text([[f"{start}x", "x", -1]]) == f"'{start}x,x,-1\n"


PRINTABLE = some.text(some.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=30)


@given(PRINTABLE)
@settings(max_examples=50, deadline=None)
def test_no_name_adds_a_column_to_markdown(name: str) -> None:
    lines = writers.markdown([table_named(name)]).splitlines()
    rows = [line for line in lines if line.startswith("| ") or line.startswith("|---")]
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows] == [3, 3, 3]


@given(PRINTABLE)
@settings(max_examples=50, deadline=None)
def test_no_name_breaks_latex_out_of_its_cell(name: str) -> None:
    text = writers.latex([table_named(name)])
    plain = re.sub(r"\\(?:textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}", "", text)
    plain = re.sub(r"\\[&%$#_{}]", "", plain)
    assert plain.count("{") == plain.count("}")
    assert plain.count("%") == plain.count("#") == 0
    assert sum(line.count("&") for line in plain.splitlines()) == 3  # names, metrics, the one row


@given(some.lists(some.lists(PRINTABLE, min_size=2, max_size=2), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_csv_gives_back_every_text_but_for_the_apostrophe(rows: list[list[str]]) -> None:
    read = list(csv.reader(io.StringIO(writers.csv_text(rows))))
    stripped = [[[cell.removeprefix("'") for cell in row] for row in of] for of in (read, rows)]
    assert stripped[0] == stripped[1]
