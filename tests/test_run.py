"""A run leaves a whole record, a delta that gives its numbers back, and says so when it did not get to its end."""

import csv
import json
import logging
import signal
from datetime import datetime
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from lightning import Trainer

from peftlab.backbones.forward import outputs_of
from peftlab.inputs.text import collate
from peftlab.inputs.tokens import tokenise
from peftlab.recording import REPOSITORY
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.strategies.attached import Attached
from peftlab.strategies.restore import restore
from peftlab.tasks.kind import kind_of
from peftlab.tasks.sources.splits import load_splits
from peftlab.training.module import FineTuning
from runs import small, write_rte, write_split
from tasks.shipped import shipped

PAIRS = ["a bird sang\ta dog slept", "every bird sang\tsome sparrow sang", "no dog ran\ta puppy ran", "it\tit did"]


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release of GLUE with made-up RTE, STS-B and MNLI."""
    root = write_rte(tmp_path_factory.mktemp("glue"))
    scores = [f"{PAIRS[i % 4]} {i}\t{i % 6}.5" if i % 6 < 5 else f"{PAIRS[i % 4]}\t5.0" for i in range(24)]
    for name in ("train.tsv", "dev.tsv"):
        write_split(root / "STS-B" / name, "sentence1\tsentence2\tscore", scores)
    labels = ("entailment", "neutral", "contradiction")
    rows = [f"{PAIRS[i % 4]} {i}\t{labels[i % 3]}" for i in range(24)]
    for name, part in (("train", rows), ("dev_matched", rows[:9]), ("dev_mismatched", rows[9:])):
        write_split(root / "MNLI" / f"{name}.tsv", "sentence1\tsentence2\tgold_label", part)
    return root


@pytest.fixture(scope="module")
def do(glue: Path, tmp_path_factory: pytest.TempPathFactory):
    """Return a function that does a small run on RTE and returns its record; a folder of its own if none is given."""

    def run_small(overrides: str = "", strategy: str = "hifi", folder: Path | None = None) -> RunRecord:
        where = f"task=rte data.root={glue} data.cache_dir={glue}/cache trainer.limit_val_batches=null"
        return run(small(f"{where} {overrides}", strategy), folder or tmp_path_factory.mktemp("run"))

    return run_small


@pytest.fixture(scope="module")
def finished(do) -> RunRecord:
    return do("trainer.max_steps=-1 trainer.max_epochs=2")


def content(record: RunRecord, name: str = "delta.safetensors") -> bytes:
    assert record.folder is not None
    return (record.folder / name).read_bytes()


def test_the_record_names_what_was_run(finished):
    assert (finished.status, finished.reason, finished.schema) == ("finished", None, 1)
    assert (finished.task, finished.strategy, finished.backbone) == ("rte", "hifi", "tiny")
    assert (finished.seed, finished.shots) == (1, None)
    assert finished.config["strategy"]["k"] == 3
    assert finished.config["backbone"]["random"]["num_attention_heads"] == 4
    assert "recipe" not in finished.config
    assert {"python", "torch", "transformers", "lightning", "peftlab"} <= finished.versions.keys()
    assert finished.device.startswith("cpu: ")
    assert finished.command
    assert datetime.fromisoformat(finished.started).tzinfo is not None


def test_the_record_holds_the_commit_it_was_made_at(finished):
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this copy of the laboratory is no git checkout")
    assert len(finished.commit) == 40
    assert isinstance(finished.dirty, bool)


def test_the_record_holds_what_came_out(finished):
    assert finished.metric.name == "accuracy"
    assert 0 <= finished.metric.validation <= 1
    assert (finished.metric.test, list(finished.metric.further)) == (None, ["validation/balanced_accuracy"])
    assert 0.5 <= finished.metric.constant < 1  # of two labels one has half of the examples or more
    # Q, K and V of 3 heads of 8 x 32 weights, in 2 layers; a classifier of 2 x 32 weights and 2 biases.
    assert (finished.parameters.tuned, finished.parameters.classifier) == (3 * 3 * 8 * 32 * 2, 66)
    assert finished.parameters.total > finished.parameters.tuned
    assert finished.selection["examples"] == 12
    assert [len(heads) for heads in finished.selection["heads"]] == [3, 3]
    assert finished.data["examples"] == {"train": 40, "validation": 12}
    assert [row["epoch"] for row in finished.curve] == [1, 2]
    assert max(row["validation/accuracy"] for row in finished.curve) == pytest.approx(finished.metric.validation)


def test_the_record_holds_what_it_cost(finished):
    assert finished.delta.bytes == len(content(finished))
    seconds = finished.seconds
    for part in (seconds.selection, seconds.training, seconds.evaluation):
        assert 0 < part < seconds.total
    assert finished.throughput.examples_per_second == pytest.approx(80 / seconds.training)
    assert finished.throughput.tokens_per_second > finished.throughput.examples_per_second
    assert finished.memory.kind == "rss"
    assert finished.memory.peak_bytes > 10**7
    assert (finished.training.steps, finished.training.epochs, finished.training.batch_size) == (6, 2, 16)
    assert (finished.training.learning_rate, finished.training.precision) == (1e-3, "32-true")
    assert finished.training.best_epoch in (1, 2)


@pytest.mark.parametrize(("learns", "collapsed"), [(False, True), (True, False)])
def test_a_run_that_gives_one_answer_to_everything_carries_it_in_its_record(learns, collapsed, do, monkeypatch):
    forward = FineTuning.forward

    def answers(module, batch):
        answer = batch["labels"] if learns else torch.zeros_like(batch["labels"])
        outputs = forward(module, batch)
        outputs.logits = 0 * outputs.logits + torch.nn.functional.one_hot(answer, 2)
        return outputs

    monkeypatch.setattr(FineTuning, "forward", answers)
    record = do("", "bitfit")
    assert record.metric.validation == (1.0 if learns else 0.5)
    assert RunRecord.read(record.folder).collapsed is collapsed


def test_the_record_on_disk_is_the_one_returned(finished):
    assert RunRecord.read(finished.folder) == finished


def test_a_run_leaves_its_files_and_no_checkpoint(finished):
    names = {path.name for path in finished.folder.rglob("*") if path.is_file()}
    expected = {"delta.json", "delta.safetensors", "metrics.csv", "predictions.parquet"}
    expected |= {"result.json", "selection.json", "selection.png"}
    assert names == expected
    assert content(finished, "selection.png").startswith(b"\x89PNG")


def test_the_csv_log_has_the_metrics_of_every_epoch(finished):
    with open(finished.folder / "metrics.csv", newline="") as file:
        logged = [row["validation/accuracy"] for row in csv.DictReader(file) if row.get("validation/accuracy")]
    in_training = logged[:2]  # one more follows: the best epoch, evaluated again
    assert [float(value) for value in in_training] == pytest.approx(
        [row["validation/accuracy"] for row in finished.curve]
    )


@pytest.mark.parametrize("strategy", ["hifi", "bitfit", "full", "classifier"])
def test_the_restored_delta_gives_the_recorded_metric_exactly(strategy, do, glue):
    record = do("training.learning_rate=0.05 trainer.max_steps=5", strategy)
    backbone = restore(record.folder).backbone
    task = shipped("rte")
    split = tokenise(load_splits(task, glue)["validation"], backbone.processor, 48)
    batch = collate([split[index] for index in range(len(split))], backbone.processor.pad_token_id)
    with torch.no_grad():
        outputs = outputs_of(backbone, batch)
    kind = kind_of(task)
    assert kind.score(kind.predict(outputs, batch))["accuracy"] == record.metric.validation


def test_a_selection_that_is_reused_gives_the_delta_of_the_run_that_made_it(finished, do, monkeypatch):
    def never(*_, **__):
        pytest.fail("heads are scored although a selection is given")

    monkeypatch.setattr("peftlab.strategies.hifi.score_heads", never)
    settings = "trainer.max_steps=-1 trainer.max_epochs=2"
    for path in (finished.folder, finished.folder / "selection.json"):
        again = do(f"{settings} strategy.selection={path}")
        assert content(again) == content(finished)
        assert content(again, "selection.json") == content(finished, "selection.json")
        assert again.selection == finished.selection


def test_a_seed_gives_its_own_delta_and_the_same_one_again(do):
    deltas = {seed: content(do(f"seed={seed}")) for seed in (0, 1, 2)}
    assert len(set(deltas.values())) == 3
    assert content(do("seed=0")) == deltas[0]


def test_seed_zero_seeds_everything_as_any_other_does(do):
    torch.manual_seed(123)
    first = content(do("seed=0", "full"))
    torch.manual_seed(321)
    assert content(do("seed=0", "full")) == first


def test_more_examples_than_there_are_takes_them_all_and_says_so(do, caplog):
    with caplog.at_level(logging.WARNING):
        record = do("strategy.n=300")
    assert "n=300: the training set (full) has 40 examples; all are taken" in caplog.text
    assert record.selection["examples"] == 40
    assert json.loads(content(record, "selection.json"))["examples"] == 40


@pytest.mark.parametrize(("pool", "scored"), [("full", 30), ("shots", 8)])
def test_with_few_shots_the_full_set_is_scored_unless_asked_otherwise(pool, scored, do):
    record = do(f"shots.per_class=4 shots.epochs=2 strategy.pool={pool} strategy.n=30")
    assert record.selection["examples"] == scored
    assert json.loads(content(record, "selection.json"))["options"]["pool"] == pool


def test_a_few_shot_run_chooses_on_validation_and_reports_the_test_set(do):
    record = do("shots=16 shots.per_class=4 trainer.max_steps=-1 trainer.max_epochs=3")
    assert record.shots == 4
    assert record.data["examples"] == {"train": 8, "validation": 8, "test": 12}
    assert (record.training.batch_size, record.training.steps) == (8, 3)
    assert record.metric.validation == pytest.approx(max(row["validation/accuracy"] for row in record.curve))
    assert 0 <= record.metric.test <= 1


def test_few_shots_of_the_embedded_task(tmp_path, glue):
    record = run(small(f"shots=16 data.cache_dir={glue}/cache trainer.limit_test_batches=2"), tmp_path)
    assert record.data["examples"] == {"train": 32, "validation": 32, "test": 640}
    assert record.training.batch_size == 32


def test_mnli_reports_the_mismatched_set_beside_the_matched_one(do):
    record = do("task=mnli")
    assert record.parameters.classifier == 3 * 32 + 3
    assert record.data["examples"] == {"train": 24, "validation": 9, "validation_mismatched": 15}
    beside = {"validation/balanced_accuracy", "validation_mismatched/balanced_accuracy"}
    assert set(record.metric.further) == {"validation_mismatched/accuracy", *beside}
    assert json.loads(content(record, "delta.json"))["labels"] == ["entailment", "neutral", "contradiction"]


def test_mnli_without_its_mismatched_file_warns_and_goes_on(do, glue, tmp_path, caplog):
    (tmp_path / "MNLI").mkdir()
    for name in ("train.tsv", "dev_matched.tsv"):
        (tmp_path / "MNLI" / name).write_bytes((glue / "MNLI" / name).read_bytes())
    record = do(f"task=mnli data.root={tmp_path}")
    assert set(record.metric.further) == {"validation/balanced_accuracy"}
    assert "dev_mismatched.tsv is missing; continuing without validation_mismatched" in caplog.text


def test_stsb_is_a_regression(do):
    record = do("task=stsb")
    assert record.parameters.classifier == 33
    assert record.metric.name == "spearman"
    assert -1 <= record.metric.validation <= 1
    assert set(record.metric.further) == {"validation/pearson"}


def test_a_share_of_the_training_set_may_be_held_out(do):
    assert do("data.holdout=0.25").data["examples"] == {"train": 30, "validation": 10}


def test_strategies_without_a_look_at_the_data_leave_no_selection(do):
    record = do("", "bitfit")
    assert record.selection is None
    assert not list(record.folder.glob("selection*"))


@pytest.mark.parametrize(
    ("place", "name"),
    [(FineTuning, "training_step"), (Attached, "delta"), (Trainer, "validate")],
)
def test_a_failure_leaves_a_record_that_says_why(place, name, do, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(place, name, fail)
    with pytest.raises(RuntimeError):
        do(folder=tmp_path)
    record = RunRecord.read(tmp_path)
    assert (record.status, record.reason) == ("failed", "RuntimeError: out of memory")
    assert record.metric is None
    assert record.seconds.total > 0
    assert not (tmp_path / "delta.safetensors").exists()


@pytest.fixture
def ctrl_c():
    """Give Ctrl-C its meaning back afterwards: Lightning takes it away when it was pressed once."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "place", ["run.load_backbone", "strategies.hifi.score_heads", "training.module.FineTuning.training_step"]
)
def test_an_interrupted_run_leaves_a_record_that_says_so(place, do, tmp_path, monkeypatch, ctrl_c):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"peftlab.{place}", interrupt)
    with pytest.raises(KeyboardInterrupt):
        do(folder=tmp_path)
    record = RunRecord.read(tmp_path)
    assert (record.status, record.reason) == ("interrupted", "interrupted by a signal")
    assert not (tmp_path / "delta.safetensors").exists()


def test_while_a_run_goes_on_its_record_says_so(do, tmp_path, monkeypatch):
    seen = []
    setup = FineTuning.configure_optimizers

    def look(module):
        seen.append(RunRecord.read(tmp_path).status)
        return setup(module)

    monkeypatch.setattr(FineTuning, "configure_optimizers", look)
    do(folder=tmp_path)
    assert seen == ["running"]


def test_tokens_are_read_back_from_the_cache(do, glue, monkeypatch):
    first = do()

    def never(dataset: Dataset, *_):
        pytest.fail("the split is tokenised again")

    monkeypatch.setattr("peftlab.inputs.tokens._encode", never)
    assert content(do()) == content(first)
