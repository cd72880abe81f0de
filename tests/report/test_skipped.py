"""A run that was skipped because its method does not fit: told with its reason, no failure, nothing to repeat."""

import pytest

from peftlab.report import provenance, tables
from peftlab.report.comparisons import compare_all
from peftlab.report.overview import rows
from peftlab.report.page_files import contents
from peftlab.report.study import Study, gather
from peftlab.report.summary import sentences
from peftlab.results.record import RunRecord
from peftlab.results.table import sweep_in_markdown
from studies import broken, run, runs

REASON = "it tunes attention heads, which this backbone does not have"


def skipped(strategy: str = "heads", **fields) -> RunRecord:
    record = broken(strategy, **fields)
    record.stop("skipped", REASON)
    return record


@pytest.fixture
def records() -> list[RunRecord]:
    return [*runs({"lora": [0.5, 0.6]}), skipped(seed=1), skipped(seed=2), broken("full", seed=1)]


@pytest.fixture
def study(records: list[RunRecord]) -> Study:
    return gather(records)


def test_a_record_of_it_reads_back(tmp_path) -> None:
    read = RunRecord.read(skipped().write(tmp_path))
    assert (read.status, read.reason) == ("skipped", REASON)


def test_the_terminals_table_notes_the_reason_once_and_lists_no_failure(records: list[RunRecord]) -> None:
    text = sweep_in_markdown(records)
    assert "| heads | – | skipped |" in text
    assert text.count(f"heads skipped: {REASON}") == 1
    assert [line for line in text.splitlines() if line.startswith("!")] == ["! full: seed 1 failed: loss is NaN"]


def test_skipped_seeds_do_not_count_among_those_that_should_have_a_score() -> None:
    text = sweep_in_markdown([run(0.5, "heads"), skipped(seed=2), broken("heads", seed=3)])
    assert "| heads | 50.0 ± n/a | 1 of 2 |" in text


def test_the_pages_row_tells_it_and_counts_nothing_missing(study: Study) -> None:
    found = {row.method: (row.flags, row.runs, row.missing) for row in rows(study)}
    assert found["heads"] == (f"skipped: {REASON}", 0, 0)
    assert found["full"] == ("1 of 1 without a score", 1, 1)


def test_the_papers_tables_note_it(study: Study) -> None:
    (table,) = tables.performance(study)
    assert f"heads on RTE skipped: {REASON}." in table.notes


def test_where_a_method_fits_one_task_the_other_says_skipped() -> None:
    records = [*runs({"heads": [0.5], "lora": [0.6]}), skipped(task="cola"), run(0.3, "lora", task="cola")]
    (table,) = tables.performance(gather(records))
    assert dict(table.rows)["heads"][0].text == "skipped"


def test_the_page_lists_it_apart_from_failures(study: Study) -> None:
    _, sources = provenance.trace(study)
    assert [source.method for source in provenance.collapsed_or_missing(sources)] == ["full"]
    assert [(source.method, source.seed) for source in provenance.skipped(sources)] == [("heads", 1), ("heads", 2)]
    html = contents(study, compare_all(study))["index.html"]
    failures, _, apart = html[html.index('id="failures"') : html.index('id="missing"')].partition("What was skipped")
    assert REASON not in failures
    assert apart.count(REASON) == 2


def test_the_summary_counts_it(study: Study) -> None:
    said = dict(sentences(study, []))["What was read"]
    assert said.startswith("5 runs of 3 strategies on RTE: 2 finished, 2 skipped, 1 failed.")
