"""The page as text: the summary, what must not be overlooked, provenance, and that data cannot become markup."""

import json
import re
from pathlib import Path

import pytest

from peftlab.report import page, provenance
from peftlab.report.comparisons import compare_all
from peftlab.report.figures.found import draw_all
from peftlab.report.overview import rows
from peftlab.report.page_files import contents
from peftlab.report.study import Study, gather, read
from peftlab.report.summary import number_of_p, sentences
from studies import broken, run, runs, study, write, write_selection

HOSTILE = "</script><img src=x onerror=alert(1)>"


def summary_of(found: Study) -> dict[str, str]:
    return dict(sentences(found, compare_all(found)))


def test_the_summary_counts_what_was_read() -> None:
    records = [*runs({"lora": [0.5, 0.6]}), run(0.4, "full", collapsed=True), broken("full", seed=2)]
    assert summary_of(gather(records))["What was read"] == (
        "4 runs of 2 strategies on RTE: 3 finished, 1 failed."
        " 1 collapsed to one answer; they count in every number and are marked."
    )


def test_the_summary_says_when_nothing_could_have_been_concluded() -> None:
    said = summary_of(study({"a": [0.5, 0.6, 0.7], "b": [0.8, 0.9, 0.91]}))["minilm · full data"]
    assert said == (
        "On single tasks nothing can be told apart, whatever the runs gave: with 3 pairs the sign-flip test cannot "
        "fall below p = 0.25; one test needs 6."
    )


def test_the_summary_names_what_stands_with_its_interval() -> None:
    found = study({"a": [0.50, 0.51, 0.52, 0.53, 0.54, 0.55], "b": [0.60, 0.62, 0.61, 0.64, 0.66, 0.65]})
    assert summary_of(found)["minilm · full data"] == (
        "On single tasks the one comparison stands at 5 % after Holm: "
        "b against a on RTE (+10.5 points [9.4, 11.6], 6 pairs, p = 0.031)."
    )
    assert summary_of(found)["In brackets"].startswith("95 % t intervals. Simulated, they cover")


def test_the_summary_says_how_much_could_have_been_seen() -> None:
    found = study({"a": [0.50, 0.55, 0.52, 0.51, 0.57, 0.5], "b": [0.55, 0.50, 0.53, 0.50, 0.56, 0.52]})
    assert re.search(
        r"no difference stands at 5 % \(1 comparison, Holm\); to stand with 80 % .* have to be \d\.\d points",
        summary_of(found)["minilm · full data"],
    )


@pytest.mark.parametrize(("p", "text"), [(None, "–"), (0.0004, "< 0.001"), (0.03125, "0.031"), (0.25, "0.25")])
def test_p_values_are_told_with_two_digits(p: float | None, text: str) -> None:
    assert number_of_p(p) == text


def test_rows_of_one_setting_share_the_scale_of_their_strips() -> None:
    of = rows(study({"a": [0.5, 0.7], "b": [0.6]}))
    strips = dict(zip((row.method for row in of), page.strips(of), strict=True))
    assert [x for x, _ in strips["a"].points] == [5, page.STRIP - 5]
    assert [x for x, _ in strips["b"].points] == [page.STRIP / 2]
    assert strips["a"].range == (0, page.STRIP)  # of two seeds: far wider than the strip


def test_data_cannot_become_markup_or_end_a_script() -> None:
    records = [run(0.5, HOSTILE, seed=s, task=HOSTILE, command=["train.py", HOSTILE]) for s in (1, 2)]
    records.append(broken(HOSTILE, reason=HOSTILE))
    html = contents(found := gather(records), compare_all(found))["index.html"]
    assert "<img" not in html.replace("<image", "")
    assert html.count("</script>") == 3


def test_the_figures_json_holds_no_angle_bracket_and_reads_back() -> None:
    figures = draw_all(found := study({HOSTILE: [0.5, 0.6]}), compare_all(found))
    text = page.figures_json(figures)
    assert "<" not in text
    assert len(json.loads(text)["scores"]) == 1


def test_what_is_not_shown_is_named() -> None:
    html = contents(found := study({"a": [0.5]}), compare_all(found))["index.html"]
    for told in ("Cumulative singular values", "Loss contours", "Table 1", "Table 3", "Head maps: no run has"):
        assert told in html


def test_tables_without_rows_say_so_instead_of_leaving_an_older_one() -> None:
    files = contents(found := study({"a": [0.5]}), compare_all(found))
    assert files["table1.md"] == "No record holds a measurement of the deployed model.\n"
    assert files["table1.tex"].startswith("% No record")
    assert files["tests.csv"].count("\n") == 1


def test_every_run_has_its_command_and_environment() -> None:
    records = [
        run(seed=1, command=["train.py", "+strategy=lora", "name=a b"]),
        run(seed=2, commit="f" * 40, dirty=True),
    ]
    environments, sources = provenance.trace(gather(records))
    assert sources[0].command == "python train.py +strategy=lora 'name=a b'"
    assert {source.environment for source in sources} == {1, 2}
    assert {dict(environment.facts)["commit"] for environment in environments} == {"0" * 40, "f" * 40 + " with changes"}


def test_conditions_that_differ_between_methods_are_told() -> None:
    records = [run(0.5, "a"), run(0.6, "b", device="cuda: another")]
    assert provenance.unequal(gather(records)) == [
        "RTE · minilm · full data: device is cuda: another for b; cpu: a processor (2 cores) for a"
    ]


def test_what_failed_or_collapsed_is_listed_with_its_reason() -> None:
    records = [run(0.5), run(0.5, seed=2, collapsed=True), broken(seed=3, reason="loss is NaN")]
    found = provenance.collapsed_or_missing(provenance.trace(gather(records))[1])
    assert [(source.seed, source.collapsed, source.reason) for source in found] == [
        (2, True, ""), (3, False, "loss is NaN"),
    ]  # fmt: skip


def test_over_tasks_comes_first_and_blocks_without_pairs_say_so() -> None:
    records = [r for task in ("rte", "cola") for r in runs({"a": [0.5, 0.6, 0.7], "b": [0.8, 0.9, 0.9]}, task=task)]
    said = summary_of(gather([*records, run(0.5, "a", shots=16, test=0.4)]))
    assert said["minilm · full data"].startswith(
        "Over tasks the one comparison stands at 5 % after Holm: b against a ("
    )
    assert "On single tasks nothing can be told apart" in said["minilm · full data"]
    assert said["minilm · 16 shots"] == "No two methods share two runs of the same data and seed, so nothing is tested."


def test_what_is_the_same_of_several_conditions_is_said_once() -> None:
    lone = [run(0.5, shots=16, test=0.4), run(0.5, shots=64, test=0.4), run(0.5, holdout=0.2)]
    found = gather([*lone, *runs({"a": [0.5, 0.6, 0.7], "b": [0.8, 0.9, 0.9]})])
    nothing = "No two methods share two runs of the same data and seed"
    said = summary_of(found)
    (titles,) = [about for about, text in said.items() if text == f"{nothing}, so nothing is tested."]
    assert set(titles.split("; ")) == {
        "minilm · 16 shots", "minilm · 64 shots", "minilm · full data · 20 % held out",
    }  # fmt: skip
    html = " ".join(contents(found, compare_all(found))["index.html"].split())
    assert html.count(nothing) == 2  # on top, and where the tests are
    end = html.partition(f'<p class="quiet">{nothing}: ')[2].partition(" </p>")[0]
    assert end.rstrip(".").split("; ") == [f"{title}, each task" for title in titles.split("; ")]
    assert "<h3>minilm · full data, each task</h3>" in html


def test_the_summary_tells_of_repeated_and_unreadable_runs() -> None:
    said = dict(sentences(gather([run(0.5), run(0.6)], ["bad/result.json: key 'task' is missing"]), []))
    assert said["What was read"] == (
        "1 run of 1 strategy on RTE: 1 finished. 1 repeated run left out: the latest that finished counts."
        " 1 record could not be read."
    )


def test_only_the_largest_differences_are_told_one_by_one() -> None:
    scores = {name: [0.3 + step / 10 + seed / 100 for seed in range(10)] for step, name in enumerate("abcd")}
    said = summary_of(study(scores))["minilm · full data"]
    assert said.startswith(
        "On single tasks 6 of 6 comparisons stand at 5 % after Holm: d against a on RTE (+30.0 points"
    )
    assert said.endswith("and 3 more.")


@pytest.mark.parametrize(
    ("value", "digits", "unit", "text"),
    [(None, 0, 1.0, "–"), (1_234_567, 0, 1.0, "1,234,567"), (2_658_000, 2, 1e6, "2.66"), (0, 2, 1.0, "0.00")],
)
def test_amounts_are_told_with_their_thousands(value: float | None, digits: int, unit: float, text: str) -> None:
    assert page.amount(value, digits, unit) == text


def test_the_same_runs_give_the_same_files_byte_for_byte() -> None:
    found = gather([*runs({"a": [0.5, 0.6], "b": [0.6, 0.7]}), broken("a", seed=3)])
    assert contents(found, compare_all(found)) == contents(found, compare_all(found))


def test_every_link_of_the_page_leads_somewhere_on_it_and_nowhere_else() -> None:
    html = contents(found := study({"a": [0.5, 0.6], "b": [0.6, 0.7]}), compare_all(found))["index.html"]
    head = html[: html.index('<script type="application/json"')]
    links, places = set(re.findall(r'href="([^"]*)"', head)), set(re.findall(r'id="([^"]*)"', head))
    assert links
    assert {link.removeprefix("#") for link in links} <= places
    assert not re.findall(r"(?:src|action)=", head)


def test_the_page_forbids_itself_to_fetch_anything() -> None:
    html = contents(found := study({"a": [0.5]}), compare_all(found))["index.html"]
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert all("http" not in rule and "*" not in rule for rule in rules.values())


def test_the_order_of_the_records_changes_nothing_that_is_concluded() -> None:
    records = runs({"a": [0.5, 0.6, 0.7], "b": [0.6, 0.7, 0.9]})
    records += [broken("b", seed=4), run(0.4, "a", seed=4, collapsed=True)]
    assert summary_of(gather(records)) == summary_of(gather(records[::-1]))


@pytest.mark.parametrize(("scores", "places"), [([0.5], [48]), ([0.5, 0.5], [48, 48]), ([0.2, 0.8], [5, 91])])
def test_strips_place_seeds_between_the_settings_extremes(scores: list[float], places: list[float]) -> None:
    (strip,) = page.strips(rows(study({"a": scores})))
    assert [x for x, _ in strip.points] == places
    assert all(0 < x < page.STRIP for x, _ in strip.points)


def test_a_strip_tells_its_seeds_in_words_and_marks_the_collapsed_one() -> None:
    (strip,) = page.strips(rows(gather([run(0.5), run(0.75, seed=2, collapsed=True)])))
    assert strip.label == "seed 1: 50.00, seed 2: 75.00"
    assert [collapsed for _, collapsed in strip.points] == [False, True]
    assert strip.low == 50.0


def test_a_row_without_a_score_has_an_empty_strip_that_sorts_last() -> None:
    (strip,) = page.strips(rows(gather([broken()])))
    assert (strip.points, strip.range, strip.label, strip.low) == ([], None, "", "")


def test_a_selection_that_cannot_be_read_is_named_among_what_is_not_shown(tmp_path: Path) -> None:
    write(tmp_path, [run()])
    (tmp_path / "0-rte-seed1" / "selection.json").write_text("{")
    html = contents(found := read([tmp_path]), compare_all(found))["index.html"]
    missing = html[html.index('id="missing"') : html.index('id="provenance"')]
    assert "selection.json: not a selection of heads" in missing


def test_a_figure_that_is_drawn_is_not_called_missing(tmp_path: Path) -> None:
    records = [run(seed=seed) for seed in (1, 2)]
    write(tmp_path, records)
    for record in records:
        write_selection(record, features=6)
    html = contents(found := read([tmp_path]), compare_all(found))["index.html"]
    missing = html[html.index('id="missing"') : html.index('id="provenance"')]
    for title in ("Cumulative singular values", "Robustness of the richness", "Head maps"):
        assert title not in missing
        assert title in html
