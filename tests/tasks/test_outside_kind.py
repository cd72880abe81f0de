"""A user's own kind of task, one file outside the package: ordered classes, scored by how far answers are off."""

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from commands import command
from peftlab.check.kinds import PROMISES
from peftlab.errors import UserError
from peftlab.registry import load_plugins
from peftlab.report.command import write as write_report
from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.strategies.restore import restore
from peftlab.tasks.kind import KINDS, TaskKind, kind_of
from peftlab.tasks.task import Task
from runs import SILENT, composed, write_split

PLUGINS = Path(__file__).parents[1] / "plugins"
TASK = yaml.safe_load((PLUGINS / "task" / "reviews.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module", autouse=True)
def plugin() -> Iterator[None]:
    """Load the user's file as a configuration's `plugins` does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS))
        load_plugins(["my_ordinal_kind"])
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, size in (("train.tsv", 40), ("dev.tsv", 24)):
        # Most are good: whoever learns but that is less often wrong than an untrained model.
        stars = [(3, 3, 3, 2, 1)[number % 5] for number in range(size)]
        rows = [f"{'abc'[star - 1] * 12} {number}\t{star}" for number, star in enumerate(stars)]
        write_split(folder / "REVIEWS" / name, "text\tstars", rows)
    return folder


FEW = "trainer=cpu trainer.max_epochs=6 data.max_length=32 data.cache_dir=null training.batch_size=8"
RATE = "training.learning_rate=0.001"


def done(strategy: str, root: Path, folder: Path, options: str = "") -> RunRecord:
    config = composed(f"+strategy={strategy} task=demo backbone=tiny {FEW} {RATE} data.root={root} {SILENT} {options}")
    return run({**config, "task": TASK}, folder)


@pytest.fixture(scope="module")
def sweep(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Do a sweep of HiFi and LoRA as a user types it; return its folder and what the terminal showed."""
    folder = tmp_path_factory.mktemp("typed")
    own = f"--config-dir {PLUGINS} plugins=[my_ordinal_kind] task=reviews data.root={root}"
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(shown):
        patch.syspath_prepend(str(PLUGINS))
        typed = f"+strategy=hifi,lora {own} backbone=tiny {FEW} {RATE} {SILENT} hydra.sweep.dir=sweep -m"
        assert command(typed, folder, patch) == 0
    return folder / "sweep", shown.getvalue()


def test_it_is_found_by_its_name_and_its_options_are_checked() -> None:
    assert "ordinal" in KINDS.names()
    assert kind_of(Task.from_config(TASK)).sharpness == 2.0
    with pytest.raises(UserError, match=r"task.options.sharpnes: no such option \(did you mean sharpness\?\)"):
        kind_of(Task.from_config({**TASK, "options": {"sharpnes": 2.0}}))
    with pytest.raises(UserError, match=r"task=reviews: metrics=accuracy; allowed are mae"):
        kind_of(Task.from_config({**TASK, "metrics": ["accuracy"]}))


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_what_every_kind_promises(promise: Callable[[type[TaskKind]], None]) -> None:
    promise(KINDS.get("ordinal"))


def test_runs_keep_the_epoch_with_the_lowest_error_and_record_the_direction(sweep: tuple[Path, str]) -> None:
    records = find_records(sweep[0])
    assert {record.strategy for record in records} == {"hifi", "lora"}
    for record in records:
        errors = [row["validation/mae"] for row in record.curve]
        assert record.training.best_epoch == errors.index(min(errors)) + 1 != errors.index(max(errors)) + 1
        assert (record.metric.name, record.metric.better, record.metric.unit) == ("mae", "lower", "")
        assert record.metric.validation == pytest.approx(min(errors))
        assert restore(record.folder).model.config.num_labels == len(TASK["labels"]) - 1


def test_the_table_has_the_lowest_error_first_and_no_percent(sweep: tuple[Path, str]) -> None:
    folder, shown = sweep
    ranked = sorted(find_records(folder), key=lambda record: record.metric.validation)
    names = [line.split()[0] for line in shown.splitlines() if line.split()[:1] in (["hifi"], ["lora"])]
    assert names == [record.strategy for record in ranked]
    assert "reviews · tiny · full data · mae on validation" in shown
    assert f"{ranked[0].metric.validation:.3f}"[:4] in shown


def test_the_page_shows_the_runs(sweep: tuple[Path, str], tmp_path: Path) -> None:
    write_report([sweep[0]], tmp_path)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "mae" in page
    assert "mae × 100" not in page


def test_shots_are_drawn_from_each_of_its_classes(root: Path, tmp_path: Path) -> None:
    record = done("bitfit", root, tmp_path, "shots=16 shots.per_class=3")
    assert record.data["examples"] == {"train": 9, "validation": 9, "test": 24}
    assert record.metric.test is not None
