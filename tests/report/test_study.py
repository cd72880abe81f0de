"""Which runs belong together, and that nothing is left out without a word."""

from pathlib import Path

import pytest

from peftlab.errors import UserError
from peftlab.report.study import gather, read
from peftlab.results.aggregate import Block
from studies import broken, run, runs, study, write


def labels(records) -> dict[str, list[int]]:
    return {cell.method.label: list(cell.scores) for cell in gather(records).cells}


def test_runs_that_differ_in_the_seed_are_one_cell() -> None:
    (cell,) = study({"lora": [0.8, 0.9, 0.7]}).cells
    assert cell.scores == pytest.approx({1: 80, 2: 90, 3: 70})
    assert (cell.mean, cell.std) == pytest.approx((80.0, 10.0))
    assert cell.setting.title == "RTE · minilm · full data"


def test_an_option_varied_on_one_task_names_the_method_on_all_of_them() -> None:
    records = [run(options={"r": r}) for r in (1, 8)] + [run(task="cola", options={"r": 8})]
    assert [(cell.setting.task, cell.method.label) for cell in gather(records).cells] == [
        ("cola", "lora r=8"), ("rte", "lora r=1"), ("rte", "lora r=8"),
    ]  # fmt: skip


def test_what_follows_the_task_or_another_block_does_not_name_the_method() -> None:
    records = [run(task="rte", options={"epochs": 3}), run(task="cola", options={"epochs": 5})]
    records += [run(shots=16, options={"epochs": epochs}) for epochs in (50, 100)]
    found = {(cell.setting.block.shots, cell.method.label) for cell in gather(records).cells}
    assert found == {(None, "lora"), (16, "lora epochs=50"), (16, "lora epochs=100")}


@pytest.mark.parametrize(
    ("trainer", "partial"),
    [
        ({"limit_val_batches": 1}, True),
        ({"limit_test_batches": 2}, True),
        ({"limit_val_batches": 0.5}, True),
        ({"limit_val_batches": 1.0, "limit_test_batches": None, "limit_train_batches": 3}, False),
    ],
)
def test_runs_that_evaluated_some_batches_only_compare_with_one_another_at_most(trainer, partial: bool) -> None:
    whole, limited = run(), run(seed=2)
    limited.config["trainer"] = trainer
    titles = [block.title for block in gather([whole, limited]).blocks]
    assert titles == ["minilm · full data", *["minilm · full data · evaluated in part"] * partial]


def test_runs_validated_on_held_out_training_data_are_another_setting() -> None:
    blocks = gather([run(), run(holdout=0.2)]).blocks
    assert blocks == [Block("minilm", None), Block("minilm", None, 0.2)]
    assert blocks[1].title == "minilm · full data · 20 % held out"


def test_test_scores_where_there_are_any_and_never_mixed_with_validation() -> None:
    records = [run(0.9, "lora", test=0.6, shots=16), run(0.95, "full", shots=16)]
    cells = {cell.method.strategy: cell for cell in gather(records).cells}
    assert {cell.split for cell in cells.values()} == {"test"}
    assert cells["lora"].mean == pytest.approx(60)
    assert cells["full"].mean is None


def test_a_repeated_run_counts_once_the_latest_that_finished() -> None:
    old = run(0.5, started="2024-01-01T00:00:00")
    new = run(0.6, started="2024-01-02T00:00:00")
    (cell,) = gather([new, old]).cells
    assert (cell.scores, cell.repeated) == ({1: 60.0}, 1)


def test_failed_and_collapsed_runs_stay_visible() -> None:
    (cell,) = gather([run(0.5, collapsed=True), broken(seed=2)]).cells
    assert cell.scores == {1: 50.0}
    assert cell.collapsed == [1]
    assert cell.missing == [(2, "failed: loss is NaN")]


def test_tasks_stand_in_the_papers_order_best_method_first() -> None:
    records = [r for task in ("rte", "zeta", "cola", "qnli") for r in runs({"a": [0.5], "b": [0.6]}, task=task)]
    found = gather(records)
    assert found.tasks(found.blocks[0]) == ["qnli", "cola", "rte", "zeta"]
    assert [cell.method.label for cell in found.of(found.settings[0])] == ["b", "a"]


def test_overlapping_folders_are_read_once(tmp_path: Path) -> None:
    folder = write(tmp_path / "sweep", runs({"lora": [0.5, 0.6]}))
    (cell,) = read([tmp_path, folder, folder / "0-rte-seed1"]).cells
    assert (len(cell.runs), cell.repeated) == (2, 0)


def test_one_bad_record_is_listed_and_hides_no_other(tmp_path: Path) -> None:
    write(tmp_path, [run()])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "result.json").write_text('{"schema": 99}')
    found = read([tmp_path])
    assert len(found.cells) == 1
    assert "bad/result.json" in found.unreadable[0]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: folder / "nowhere", "no folder .*nowhere"),
        (lambda folder: folder, "no runs to report on: not one result.json was found"),
    ],
)
def test_nothing_to_read_is_one_clear_line(prepare, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read([prepare(tmp_path)])


def test_runs_that_differ_in_their_recipe_alone_are_two_methods_and_the_backbones_own_is_the_usual_one() -> None:
    records = [run(0.8, seed=seed) for seed in (1, 2)]  # from before a record held its recipe's name
    records += [run(0.7, seed=seed) for seed in (1, 2)]
    for record, name in zip(records[1:], ("minilm", "searched", "searched"), strict=True):
        record.config |= {"recipe": name, "backbone": {"name": "minilm"}}
    records[0].config["backbone"] = {"name": "minilm"}
    found = {cell.method.label: cell.scores for cell in gather(records).cells}
    assert found == {"lora": {1: 80, 2: 80}, "lora recipe=searched": {1: 70, 2: 70}}
