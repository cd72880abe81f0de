import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from tokenizers_for_tests import WORDS, small_tokenizer
from torch import Tensor

from peftlab.data.module import TaskData
from peftlab.errors import UserError
from peftlab.streams import Stream
from peftlab.tasks.sources.demo import make_demo
from tasks.shipped import shipped

DEMO = make_demo(0)


def make(task: str = "demo", **options: Any) -> TaskData:
    tokenizer = options.pop("tokenizer", None) or small_tokenizer()
    defaults: dict[str, Any] = {"root": None, "shots": None, "seed": 0, "batch_size": None, "cache_dir": None}
    return TaskData(shipped(task), tokenizer, **defaults | options)


def ready(task: str = "demo", **options: Any) -> TaskData:
    data = make(task, **options)
    data.setup()
    return data


@pytest.fixture
def mnli(tmp_path: Path) -> Path:
    """Make an MNLI of 120 training rows, 9 matched and 6 mismatched ones; a row's place is its length."""
    labels = ["entailment", "neutral", "contradiction"]
    (tmp_path / "MNLI").mkdir()
    for name, size in (("train", 120), ("dev_matched", 9), ("dev_mismatched", 6)):
        rows = [f"{'a ' * (number + 1)}\tb {name}\t{labels[number % 3]}" for number in range(size)]
        (tmp_path / "MNLI" / f"{name}.tsv").write_text("sentence1\tsentence2\tgold_label\n" + "\n".join(rows))
    return tmp_path


def test_the_full_sets_are_the_original_ones():
    data = ready()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 3200, "validation": 640}
    assert (data.validation_names, data.test_names, data.test_dataloader()) == (["validation"], [], [])
    assert data.splits["train"].labels.tolist() == DEMO["train"]["label"]


def test_few_shot_draws_both_sets_from_training_and_tests_on_validation(mnli: Path):
    data = ready("mnli", root=mnli, shots=16)
    sizes = {name: len(split) for name, split in data.splits.items()}
    assert sizes == {"train": 48, "validation": 48, "test": 9, "test_mismatched": 6}
    assert (data.validation_names, data.test_names) == (["validation"], ["test", "test_mismatched"])
    for name in ("train", "validation"):
        assert Counter(data.splits[name].labels.tolist()) == {0: 16, 1: 16, 2: 16}
    # In this set a row's length tells which row it is.
    assert not set(data.splits["train"].lengths) & set(data.splits["validation"].lengths)


def test_both_validation_sets_of_mnli_are_evaluated_in_their_order(mnli: Path):
    data = ready("mnli", root=mnli)
    assert data.validation_names == ["validation", "validation_mismatched"]
    assert [sum(len(batch["labels"]) for batch in loader) for loader in data.val_dataloader()] == [9, 6]


def test_the_few_shot_batch_is_the_whole_training_set_unless_one_is_given():
    assert [len(batch["labels"]) for batch in ready(shots=16).train_dataloader()] == [32]
    assert [len(batch["labels"]) for batch in ready(shots=16, batch_size=20).train_dataloader()] in ([20, 12], [12, 20])
    assert ready().batch_size == 32


def test_the_seed_draws_the_shots_and_seed_zero_is_its_own():
    first, again, other = (ready(shots=16, seed=seed).splits["train"].ids.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_a_holdout_stands_in_for_the_validation_sets_and_is_the_same_for_every_seed(mnli: Path):
    first, other = (ready("mnli", root=mnli, holdout=0.25, seed=seed) for seed in (0, 1))
    assert {name: len(split) for name, split in first.splits.items()} == {"train": 90, "validation": 30}
    assert first.splits["validation"].lengths == other.splits["validation"].lengths
    # In this set a row's length tells which row it is.
    assert not set(first.splits["train"].lengths) & set(first.splits["validation"].lengths)
    assert (first.validation_names, first.test_names) == (["validation"], [])


@pytest.mark.parametrize(
    ("share", "told"),
    [
        (0.25, []),
        (0.005, ["data.holdout=0.005: nothing is held out of {}: no score tells of that"]),
        (0.995, ["data.holdout=0.995: all of {} is held out: nothing learns that"]),
    ],
)
def test_a_class_that_a_holdout_leaves_on_one_side_is_told(share, told, mnli: Path, caplog: pytest.LogCaptureFixture):
    data = ready("mnli", root=mnli, holdout=share)
    smaller = min(("train", "validation"), key=lambda name: len(data.splits[name]))
    there = set(data.splits[smaller].labels.tolist())
    lacking = ", ".join(f"{name} (40 examples)" for i, name in enumerate(data.task.labels) if i not in there)
    warned = [record.getMessage() for record in caplog.records if "data.holdout" in record.getMessage()]
    assert warned == [line.format(lacking) for line in told]


def test_a_holdout_of_scores_has_no_classes_to_tell_of(shared_data: Path, caplog: pytest.LogCaptureFixture):
    ready("stsb", root=shared_data, holdout=0.001)
    assert "data.holdout" not in caplog.text


def test_setup_is_done_once():
    data = ready()
    splits = data.splits
    data.setup("fit")
    assert data.splits is splits


def test_evaluation_batches_carry_the_index_that_restores_the_order():
    data = ready(eval_batch_size=100)
    (loader,) = data.val_dataloader()
    batches = list(loader)
    order = torch.cat([batch["index"] for batch in batches])
    labels = torch.cat([batch["labels"] for batch in batches])
    restored = torch.empty_like(labels)
    restored[order] = labels
    assert order.tolist() != list(range(640))
    assert restored.tolist() == DEMO["validation"]["label"]
    widths = [batch["input_ids"].shape[1] for batch in batches]
    assert widths == sorted(widths, reverse=True)


class Recorder(LightningModule):
    """Trains one weight on nothing and remembers which examples it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[int]] = {}

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        self.seen.setdefault(self.current_epoch, []).extend(batch["index"].tolist())
        return self.weight * 1.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trained(tmp_path: Path) -> dict[int, list[int]]:
    module = Recorder()
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    quiet: dict[str, Any] = dict.fromkeys(off, False)
    trainer = Trainer(max_epochs=2, limit_val_batches=0, accelerator="cpu", default_root_dir=tmp_path, **quiet)
    trainer.fit(module, datamodule=make(batch_size=64))
    return module.seen


def test_the_trainer_gets_another_order_each_epoch_and_the_same_orders_in_each_run(tmp_path: Path):
    seen = trained(tmp_path)
    assert sorted(seen[0]) == sorted(seen[1]) == list(range(3200))
    assert seen[0] != seen[1]
    torch.manual_seed(99)
    assert trained(tmp_path) == seen


def test_a_sample_is_drawn_by_seed_without_replacement():
    data = make()
    first, again, other = (data.sample(300, seed) for seed in (0, 0, 1))
    assert len(first) == 300
    assert first.ids.tolist() == again.ids.tolist() != other.ids.tolist()
    assert Counter(data.sample(3200, 2).labels.tolist()) == {0: 1600, 1: 1600}


def test_few_shot_scoring_samples_the_full_training_set_unless_asked_otherwise(caplog: pytest.LogCaptureFixture):
    data = ready(shots=16)
    assert len(data.sample(300, 0)) == 300
    with caplog.at_level(logging.WARNING):
        few = data.sample(300, 0, pool="shots")
    assert sorted(few.lengths) == sorted(data.splits["train"].lengths)
    assert "n=300: the training set (shots) has 32 examples; all are taken" in caplog.text


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sample_of_the_full_set_is_another_draw_than_the_shots(seed: int):
    """It held every one of them, those of validation included."""
    data = ready(shots=16, seed=seed)
    few = {index for name in ("train", "validation") for index in data.splits[name].ids.tolist()}
    samples = {
        stream: set(data.sample(300, seed, stream=stream).ids.tolist()) for stream in (Stream.SAMPLE, Stream.LANDSCAPE)
    }
    for found in samples.values():
        assert len(few & found) < 20  # of 64; 6 are expected
    assert len(set.intersection(*samples.values())) < 60  # 28 are expected


@pytest.mark.parametrize(
    ("shots", "sizes"),
    [(None, {"train": 3200, "validation": 640}), (16, {"train": 32, "validation": 32, "test": 640})],
)
def test_the_record_gets_sizes_source_and_content(shots: int | None, sizes: dict[str, int]):
    facts = ready(shots=shots).describe()
    assert facts["examples"] == sizes
    assert facts["truncated_share"] == dict.fromkeys(sizes, 0.0)
    assert facts["source"] == {"generator": "demo"}
    assert (facts["max_length"], facts["batch_size"]) == (128, 32)
    assert list(facts["content_sha256"]) == ["train", "validation"]
    assert facts["overlap"] == {name: 0 for name in sizes if name != "train"}


def test_texts_of_training_that_are_evaluated_again_are_counted_and_told(
    shared_data: Path, caplog: pytest.LogCaptureFixture
):
    # CoLA's official files share 16 sentences; few-shot, only what is trained on counts.
    assert ready("cola", root=shared_data, shots=16).describe()["overlap"] == {"validation": 0, "test": 0}
    assert "training examples too" not in caplog.text
    assert ready("cola", root=shared_data).describe()["overlap"] == {"validation": 16}
    assert "16 of the 1043 examples of validation are training examples too" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 513}, "data.max_length=513: this tokenizer allows 5 to 512 tokens"),
        ({"max_length": 4}, "data.max_length=4: this tokenizer allows 5 to 512 tokens"),
        ({"batch_size": 0}, "data.batch_size=0: allowed are whole numbers from 1"),
        ({"eval_batch_size": -1}, "data.eval_batch_size=-1: allowed are whole numbers from 1"),
        ({"holdout": 0.0}, "data.holdout=0.0: allowed is a share in (0, 1), or null"),
        ({"holdout": 0.5, "shots": 16}, "data.holdout: few shots hold out validation examples already"),
        ({"tokenizer": small_tokenizer(pad_token=None)}, "it has no pad token"),
    ],
)
def test_sizes_out_of_range_are_refused_before_any_file_is_read(options: dict[str, Any], message: str):
    with pytest.raises(UserError) as caught:
        make(**options)
    assert message in str(caught.value)


def test_a_sample_of_nothing_is_refused():
    with pytest.raises(UserError, match="n=0: allowed are whole numbers from 1"):
        make().sample(0, 0)


def test_few_shot_regression_is_refused(tmp_path: Path):
    (tmp_path / "STS-B").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "STS-B" / name).write_text(f"sentence1\tsentence2\tscore\n{WORDS[0]}\tb\t1.0\n")
    with pytest.raises(UserError, match="shots=16: a regression task"):
        make("stsb", root=tmp_path, shots=16).setup()


def test_worker_processes_load_the_same_batches():
    alone, helped = (ready(shots=16, batch_size=8, num_workers=workers) for workers in (0, 2))
    for left, right in zip(alone.train_dataloader(), helped.train_dataloader(), strict=True):
        assert torch.equal(left["input_ids"], right["input_ids"])
