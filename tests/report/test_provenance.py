"""Where a number comes from: commands that a shell takes back, environments, and conditions that were not alike."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from peftlab.report import provenance
from peftlab.report.study import gather, read
from peftlab.results.record import Training
from studies import broken, run, write


def training(**changes) -> Training:
    given = {"steps": 10, "epochs": 3, "batch_size": 16, "learning_rate": 1e-3, "best_epoch": 1}
    return Training(**(given | changes))


@given(some.lists(some.text(some.characters(blacklist_categories=["Cs"], blacklist_characters="\0")), min_size=1))
@settings(max_examples=50, deadline=None)
def test_a_shell_reads_the_command_back_word_by_word(words: list[str]) -> None:
    assert shlex.split(provenance.command(run(command=words))) == ["python", *words]


def test_a_record_without_a_command_says_so() -> None:
    assert provenance.command(run(command=[])) == "not recorded"


def test_environments_are_numbered_by_how_many_runs_they_made() -> None:
    records = [run(seed=seed, commit="a" * 40) for seed in (1, 2, 3)] + [run(seed=4, commit="b" * 40), run("x", seed=5)]
    environments, sources = provenance.trace(gather(records[:4]))
    assert [(environment.number, environment.runs) for environment in environments] == [(1, 3), (2, 1)]
    assert [source.environment for source in sources] == [1, 1, 1, 2]
    assert dict(environments[1].facts)["commit"] == "b" * 40


@pytest.mark.parametrize(
    ("fields", "name", "told"),
    [
        ({"commit": None}, "commit", "not recorded"),
        ({"commit": "c" * 40, "dirty": True}, "commit", "c" * 40 + " with changes"),
        ({"device": None}, "device", "not recorded"),
        ({"versions": {"torch": "2.13.0"}}, "torch", "2.13.0"),
    ],
)
def test_an_environment_holds_commit_device_and_versions(fields: dict, name: str, told: str) -> None:
    (environment,), _ = provenance.trace(gather([run(**fields)]))
    assert dict(environment.facts)[name] == told


def test_a_source_holds_how_the_run_was_trained() -> None:
    trained = training(learning_rate=3e-4, batch_size=8, epochs=2.5, steps=77, precision="bf16-mixed")
    _, (source,) = provenance.trace(gather([run(0.75, training=trained)]))
    assert (source.learning_rate, source.batch_size, source.epochs, source.steps) == (3e-4, 8, 2.5, 77)
    assert (source.precision, source.score, source.status, source.reason) == ("bf16-mixed", 75.0, "finished", "")


def test_a_run_that_never_trained_has_no_invented_numbers() -> None:
    _, (source,) = provenance.trace(gather([broken(reason="out of memory")]))
    assert (source.learning_rate, source.batch_size, source.epochs, source.steps, source.precision) == (None,) * 5
    assert (source.score, source.status, source.reason) == (None, "failed", "out of memory")


def test_folders_are_told_without_the_paths_of_the_machine(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "multirun" / "table3", [run()])
    _, (source,) = provenance.trace(read([tmp_path]))
    assert source.folder == "multirun/table3/0-rte-seed1"
    assert str(tmp_path) not in source.folder
    _, (unwritten,) = provenance.trace(gather([run()]))
    assert unwritten.folder == ""


def test_the_csv_has_a_column_for_all_that_a_source_holds() -> None:
    _, sources = provenance.trace(gather([run(0.5), broken("full")]))
    header, *rows = provenance.csv_rows(sources)
    assert {"setting", "method", "seed", "status", "reason", "score", "command", "environment"} <= set(header)
    assert {len(row) for row in rows} == {len(header)}
    assert {row[header.index("method")] for row in rows} == {"lora", "full"}


def test_equal_conditions_are_not_told() -> None:
    assert provenance.unequal(gather([run(0.5, "a"), run(0.6, "b")])) == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"training": training(precision="bf16-mixed")}, "precision is None for a; bf16-mixed for b"),
        ({"training": training(epochs=5)}, "epochs is 3 for a; 5 for b"),
        ({"commit": "f" * 40, "dirty": True}, "commit is 00000000 for a; ffffffff+ for b"),
        ({"data": {"max_length": 64}}, "max_length is None for a; 64 for b"),
    ],
)
def test_a_condition_that_differs_names_who_had_which(fields: dict, told: str) -> None:
    records = [run(0.6, "a", training=training()), run(0.5, "b", **({"training": training()} | fields))]
    assert f"RTE · minilm · full data: {told}" in provenance.unequal(gather(records))


def test_of_many_methods_four_are_named_and_the_others_counted() -> None:
    records = [run(0.9 - n / 100, f"m{n}", device="a") for n in range(6)] + [run(0.1, "last", device="b")]
    assert provenance.unequal(gather(records)) == [
        "RTE · minilm · full data: device is a for m0, m1, m2, m3 and 2 more; b for last"
    ]


def test_conditions_are_compared_within_a_setting_alone() -> None:
    assert provenance.unequal(gather([run(0.5, device="a"), run(0.5, task="cola", device="b")])) == []


def test_failed_runs_do_not_make_conditions_unequal() -> None:
    failed = broken("full")
    failed.device = "another"
    assert provenance.unequal(gather([run(0.5, device="one"), failed])) == []
