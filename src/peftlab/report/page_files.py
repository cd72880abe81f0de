"""The files of a report: what each is called and what it holds."""

from collections.abc import Callable

from peftlab.report import answers, overview, page, provenance, tables, tuning, writers
from peftlab.report.comparisons import ComparisonFamily, verdict
from peftlab.report.examples import Examples, on_examples
from peftlab.report.instability import instability
from peftlab.report.study import Study
from peftlab.report.tables import Table

ABSENT = {
    "table1": "No record holds a measurement of the deployed model.",
    "table2": "No run has a score.",
    "table3": "No strategy has variants that differ in an option given as a word.",
    "instability": "No run collapsed or failed.",
    "tuning": f"There are no {tuning.RUNS}.",
}
MAKERS: dict[str, Callable[[Study], list[Table]]] = {
    "table1": tables.deployment,
    "table2": tables.performance,
    "table3": tables.ablation,
    "instability": instability,
    "tuning": tuning.tables,
}


def contents(study: Study, families: list[ComparisonFamily], reference: str | None = None) -> dict[str, str]:
    """Return every file's text by name. A table without rows says so: an earlier report's must not remain."""
    made = {name: make(study) for name, make in MAKERS.items()}
    found: dict[str, str] = {}
    for name, of in made.items():
        found[f"{name}.md"] = writers.markdown(of) if of else f"{ABSENT[name]}\n"
        found[f"{name}.tex"] = writers.latex(of) if of else f"% {ABSENT[name]}\n"
        found[f"{name}.csv"] = writers.csv_of(of)
    found["comparison.csv"] = writers.csv_text(overview.csv_rows(overview.rows(study)))
    found["tests.csv"] = writers.csv_text(_tests(families))
    found["runs.csv"] = writers.csv_text(provenance.csv_rows(provenance.trace(study)[1]))
    examples = on_examples(study, families)
    found["examples.csv"] = writers.csv_text(_on_examples(examples))
    questions = answers.ask(study, families, reference)
    found["answers.csv"] = writers.csv_text(answers.csv_rows(questions))
    shown = [table for of in made.values() for table in of]
    found["index.html"] = page.render(study, families, shown, reference, examples, questions)
    return found


def _tests(families: list[ComparisonFamily]) -> list[list[object]]:
    names = ("n", "mean", "low", "high", "effect", "wins", "ties", "losses", "p", "floor", "p_holm")
    header = ["setting", "family", "tasks", "first", "second", *names, "p_t", "p_t_holm", "p_tasks", "detectable"]
    rows: list[list[object]] = [[*header, "collapsed", "shows"]]
    for family in families:
        for c in family.comparisons:
            r, (low, high) = c.result, c.result.interval or (None, None)
            place = [family.block.title, "over tasks" if family.over_tasks else "each task", " ".join(c.tasks)]
            numbers = [r.n, r.mean, low, high, r.effect, r.wins, r.ties, r.losses, r.p, r.floor, c.p_holm]
            last = [r.p_t, c.p_t_holm, c.p_tasks, c.detectable, c.collapsed, verdict(c)]
            rows.append([*place, c.first.label, c.second.label, *numbers, *last])
    return rows


def _on_examples(examples: Examples) -> list[list[object]]:
    header = ["setting", "first", "second", "seeds", "examples", "difference", "low", "high"]
    rows: list[list[object]] = [[*header, "first_alone", "second_alone", "p_mcnemar"]]
    for one in examples.compared:
        place = [one.setting.title, one.first.label, one.second.label, " ".join(map(str, one.seeds))]
        each = [" ".join(map(str, values)) for values in (*zip(*one.alone, strict=True), one.p)]
        rows.append([*place, one.n, one.difference, *one.interval, *each])
    return rows
