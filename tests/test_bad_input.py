"""Whatever a user gets wrong in options, data or files is told in one line: what it is, where, and what is allowed."""

import errno
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peftlab.errors import UserError
from peftlab.results.record import RunRecord
from peftlab.run import run
from runs import small, train, write_rte, write_split


def refused(config: dict[str, Any], folder: Path) -> str:
    """Return the one line with which a run is refused."""
    with pytest.raises(UserError) as caught:
        run(config, folder)
    message = str(caught.value)
    assert message.splitlines() == [message]
    return message


OPTIONS = [
    ("strategy.k=0", "strategy.k=0: allowed is 1 or more"),
    ("strategy.k=5", "strategy.k=5: must be a whole number from 1 to 4, the heads of a layer"),
    ("strategy.k=three", "strategy.k=three: allowed is a whole number"),
    ("strategy.xi=0", "strategy.xi=0.0: the share of singular values must be a number in (0, 1]"),
    ("strategy.xi=1.5", "strategy.xi=1.5: the share of singular values must be a number in (0, 1]"),
    ("strategy.xi=nan", "strategy.xi=nan: the share"),
    ("strategy.d=1", "strategy.d=1.0: the damping factor must be a number in [0, 1)"),
    ("strategy.d=-0.1", "strategy.d=-0.1: the damping factor must be a number in [0, 1)"),
    ("strategy.eps=0", "strategy.eps=0.0: the bound on the change must be a number above 0"),
    ("strategy.eps=inf", "strategy.eps=inf: the bound"),
    ("strategy.max_iter=0", "strategy.max_iter=0: must be a whole number of at least 1"),
    ("strategy.n=0", "strategy.n=0: allowed is 1 or more"),
    ("strategy.batch_size=0", "strategy.batch_size=0: allowed is 1 or more"),
    ("strategy.bias=maybe", "strategy.bias=maybe: allowed are true, false"),
    ("strategy.orientation=diagonal", "strategy.orientation=diagonal: allowed are column, row"),
    ("strategy.teleport=nowhere", "strategy.teleport=nowhere: allowed are uniform, richness"),
    ("strategy.score=luck", "strategy.score=luck: allowed are pagerank, richness, richness-inverse, correlation"),
    ("strategy.variant=bottom", "strategy.variant=bottom: allowed are layer-wise, mid-top"),
    ("strategy.pool=none", "strategy.pool=none: allowed are full, shots"),
    ("strategy.name=hfi", "strategy=hfi: no such strategy (did you mean hifi"),
    ("training.learning_rate=0", "training.learning_rate=0.0: allowed is above 0"),
    ("training.learning_rate=-1", "training.learning_rate=-1.0: allowed is above 0"),
    ("training.learning_rate=nan", "training.learning_rate=nan: allowed is above 0"),
    ("training.learning_rate=inf", "training.learning_rate=inf: allowed is above 0"),
    ("trainer.devices=4999", "trainer.devices=4999: this machine has "),
    ("training.learning_rate=fast", "training.learning_rate=fast: allowed is a number"),
    ("training.batch_size=0", "training.batch_size=0: allowed is 1 or more"),
    ("training.batch_size=1.5", "training.batch_size=1.5: allowed is a whole number"),
    ("training.warmup=1", "training.warmup=1.0: allowed is [0, 1)"),
    ("training.weight_decay=-1", "training.weight_decay=-1.0: allowed is 0 or more"),
    ("data.max_length=1", "data.max_length=1: this tokenizer allows 5 to 256 tokens"),
    ("data.max_length=100000", "data.max_length=100000: this tokenizer allows 5 to 256 tokens"),
    ("data.max_length=long", "data.max_length=long: allowed is a whole number"),
    ("data.eval_batch_size=0", "data.eval_batch_size=0: allowed are whole numbers from 1"),
    ("data.eval_batch_size=null", "data.eval_batch_size=None: allowed is a whole number"),
    ("data.num_workers=-1", "data.num_workers=-1: allowed is 0 or more"),
    ("data.length_grouped=maybe", "data.length_grouped=maybe: allowed are true, false"),
    ("data.holdout=2", "data.holdout=2: allowed is a share in (0, 1)"),
    ("data.holdout=some", "data.holdout=some: allowed is a number or is null"),
    ("data.holdout=0.1 shots=16", "data.holdout: few shots hold out validation examples already"),
    ("data.root=3", "data.root=3: allowed is a text or is null"),
    ("shots.per_class=0", "shots=0: allowed are whole numbers from 1, or full"),
    ("shots.per_class=1601", "shots=1601: fewer than 1601 examples of class 0; the training set has 1600"),
    ("shots.epochs=0", "training.epochs=0: allowed is 1 or more"),
    ("backbone.attention=flash", "backbone.attention=flash: allowed are auto, sdpa, eager"),
    ("backbone.random.model_type=gpt2", "where 'gpt2' keeps its attention heads is not known (known: bert"),
    ("backbone.random.model_type=nonsense", "where 'nonsense' keeps its attention heads is not known (known: bert"),
    ("backbone.random.num_attention_heads=5", "backbone.random: The hidden size (32) is not a multiple"),
    ("+backbone.path=nowhere backbone.random=null", "backbone.path=nowhere: no such folder"),
    ("trainer.accelerator=tpu", "trainer: Requirement 'torch_xla"),
    ("trainer.accelerator=abacus", "trainer: You selected an invalid accelerator name: `accelerator='abacus'`"),
    ("trainer.precision=12", "trainer.precision=12: allowed are "),
    ("trainer.max_epochs=0", "trainer.max_epochs=0: allowed is 1 or more, or -1 for no end"),
    ("trainer.max_epochs=-3", "trainer.max_epochs=-3: allowed is 1 or more, or -1 for no end"),
    ("trainer.max_epochs=many", "trainer.max_epochs=many: allowed is 1 or more"),
    ("trainer.max_steps=0", "trainer.max_steps=0: allowed is 1 or more, or -1 for no end"),
    ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0: allowed is 1 or more"),
    ("trainer.check_val_every_n_epoch=-1", "trainer.check_val_every_n_epoch=-1: allowed is 1 or more"),
    ("trainer.limit_train_batches=0", "trainer.limit_train_batches=0: allowed is above 0"),
    ("trainer.limit_val_batches=0.0", "trainer.limit_val_batches=0.0: allowed is above 0"),
    ("checkpoint.every_steps=0", "checkpoint.every_steps=0: allowed is above 0, or null"),
    ("checkpoint.every_minutes=-1", "checkpoint.every_minutes=-1: allowed is above 0, or null"),
    ("checkpoint.trajectory=0", "checkpoint.trajectory=0: allowed is above 0, or null"),
    ("checkpoint.trajectory=true", "checkpoint.trajectory=True: allowed is a whole number or is null"),
    ("checkpoint.every_epoch=sometimes", "checkpoint.every_epoch=sometimes: allowed are true, false"),
    ("+checkpoint.every_day=1", "checkpoint.every_day: no such option (did you mean every_"),
    ("logger.name=diary", "logger=diary: no such logger; there are csv, tensorboard, wandb"),
    ("task.metrics=[f2]", "task=demo: metrics=f2 (did you mean f1?); allowed are accuracy, f1, matthews"),
    ("task.labels=[yes]", "task=demo: give either labels (two or more) or a range of scores"),
    ("task.generator=demon", "task.generator=demon: allowed are demo"),
    ("+strategy.kk=3", "strategy.kk: no such option (did you mean k"),
    ("+data.rot=x", "data.rot: no such option (did you mean root"),
    ("+training.lr=1", "training.lr: no such option; allowed are learning_rate, "),
    ("+backbone.hob=x", "backbone.hob: no such option (did you mean hub"),
    ("+task.metric=x", "task.metric: no such option (did you mean metrics"),
    ("+trainer.max_step=3", "trainer: "),
    ("deployment.measure=maybe", "deployment.measure=maybe: allowed are true, false"),
    ("deployment.pairs=5", "deployment.pairs=5: allowed is 6 or more"),
    ("deployment.batch_size=0", "deployment.batch_size=0: allowed is 1 or more"),
    ("deployment.length=0", "deployment.length=0: allowed is 1 or more"),
    (
        "deployment.measure=true deployment.length=257",
        "deployment.length=257: strategy hifi takes 0 of the 256 positions",
    ),
    ("+deployment.pair=9", "deployment.pair: no such option (did you mean pairs?)"),
]


@pytest.mark.parametrize(("overrides", "message"), OPTIONS)
def test_a_wrong_option_is_one_line_and_its_record_says_so(overrides, message, tmp_path):
    told = refused(small(f"data.cache_dir=null {overrides}"), tmp_path)
    assert message in told
    record = RunRecord.read(tmp_path)
    assert (record.status, record.reason) == ("failed", " ".join(told.split()))
    assert not list(tmp_path.glob("delta*"))


# Other strategies' options: out of range, or not for this backbone (32 wide, 256 positions; texts of 48 tokens).
STRATEGIES = [
    ("adapter", "strategy.bottleneck=0", "strategy.bottleneck=0: allowed is 1 or more"),
    ("adapter", "strategy.scale=0", "strategy.scale=0.0: allowed are numbers other than 0"),
    ("adapter", "strategy.scale=nan", "strategy.scale=nan: allowed are numbers other than 0"),
    (
        "adapter",
        "strategy.placement=inside",
        "strategy.placement=inside: allowed are houlsby, pfeiffer, feed-forward, parallel",
    ),
    (
        "adapter",
        "strategy.placement=parallel backbone.random.model_type=distilbert",
        "strategy.placement=parallel: backbone tiny has no place for it",
    ),
    ("compacter", "strategy.bottleneck=30", "strategy.bottleneck=30: allowed are multiples of strategy.n=4"),
    ("compacter", "strategy.n=5 strategy.bottleneck=5", "strategy.n=5: allowed are divisors of the hidden size, 32"),
    ("compacter", "strategy.rule_std=inf", "strategy.rule_std=inf: allowed are numbers above 0"),
    ("prefix", "strategy.length=0", "strategy.length=0: allowed is 1 or more"),
    ("prefix", "strategy.shift=true strategy.length=209", "data.max_length=48: strategy prefix takes 209 of the 256"),
    (
        "prefix",
        "backbone.random.model_type=distilbert",
        "strategy=prefix: the self-attention of backbone tiny takes no",
    ),
    ("prompt", "strategy.length=209", "data.max_length=48: strategy prompt takes 209 of the 256 positions"),
    ("prompt", "deployment.measure=true deployment.length=237", "deployment.length=237: strategy prompt takes 20 of"),
    ("lora", "strategy.r=0", "strategy.r=0: allowed is 1 or more"),
    ("lora", "strategy.r=33", "strategy.r=33: allowed are 1 to 32, the hidden size of tiny"),
    ("lora", "strategy.dropout=1", "strategy.dropout=1.0: allowed is 0 or more, less than 1"),
    ("tiny-attention", "strategy.heads=3", "strategy.heads=3: allowed are divisors of strategy.size=1"),
    ("tiny-attention", "strategy.experts=0", "strategy.experts=0: allowed is 1 or more"),
    ("child-tuning", "strategy.p=0", "strategy.p=0.0: allowed is above 0, up to 1"),
    ("child-tuning", "strategy.max_norm=nan", "strategy.max_norm=nan: allowed is above 0, or null"),
    (
        "peft",
        "strategy.method=lorra",
        "strategy.method=lorra: peft has no such method that puts layers into a backbone",
    ),
    (
        "peft",
        "strategy.method=c3a",
        "strategy.method=c3a: does not fit backbone tiny: The block size should be a factor",
    ),
    ("peft", "++strategy.options.rank=4", "strategy.options.rank: lora has no such option"),
]


@pytest.mark.parametrize(("strategy", "overrides", "message"), STRATEGIES)
def test_an_option_that_does_not_fit_the_strategy_or_the_backbone_is_one_line(strategy, overrides, message, tmp_path):
    told = refused(small(f"data.cache_dir=null {overrides}", strategy), tmp_path)
    assert told.startswith(message)
    assert RunRecord.read(tmp_path).status == "failed"
    assert not (tmp_path / "delta.safetensors").exists()


UNNAMED = [
    ("seed=one", "seed=one: allowed are whole numbers from 0 to 4294967295"),
    ("seed=-1", "seed=-1: allowed are whole numbers from 0"),
    ("seed=1.5", "seed=1.5: allowed are whole numbers from 0"),
    ("seed=true", "seed=True: allowed are whole numbers from 0"),
    ("seed=null", "seed=None: allowed are whole numbers from 0"),
    ("seed=4294967296", "seed=4294967296: allowed are whole numbers from 0 to 4294967295"),
    ("shots.per_class=few", "shots.per_class=few: allowed is a whole number or is null"),
    ("task.name=null", "task.name=None: allowed is a text"),
    ("backbone.name=3", "backbone.name=3: allowed is a text"),
]


@pytest.mark.parametrize(("overrides", "message"), UNNAMED)
def test_what_a_record_is_filed_by_is_checked_before_there_is_one(overrides, message, tmp_path):
    assert refused(small(overrides), tmp_path).startswith(message)
    assert list(tmp_path.iterdir()) == []


HEADER = "index\tsentence1\tsentence2\tlabel"
ROW = "0\ta bird sang\ta dog sang\tentailment"

# What RTE's train.tsv holds instead, where it is wrong, and what is said.
FILES = [
    (None, "", "is missing under data.root="),
    (b"", "", "the file is empty"),
    (HEADER, "", "empty, no example in it"),
    (f"index\tsentence1\tlabel\n{ROW}", ":1", "no column 'sentence2'; the columns are index, sentence1, label"),
    (f"{HEADER}\n{ROW}\n1\tshort\trow", ":3", "3 columns where 4 are expected"),
    (f"{HEADER}\n{ROW}\n{ROW}\textra", ":3", "5 columns where 4 are expected"),
    (f"{HEADER}\n{ROW[:-10]}perhaps", ":2", "label 'perhaps'; allowed are entailment, not_entailment"),
    (HEADER.encode() + b"\n0\tcaf\xe9\tdog\tentailment", ":2", "not UTF-8"),
    (f"{HEADER}\n{ROW}".encode("utf-16"), ":1", "not UTF-8"),
    (b"\x1f\x8b\x08" + bytes(60), ":1", "not UTF-8"),
    (f"{HEADER}\n{ROW}".replace("\t", ","), ":1", "no column 'sentence1'; the columns are index,sentence1,"),
    (f"{HEADER}\n{ROW}\n1\ta bird sang\ta do", ":3", "3 columns where 4 are expected"),
    (f"{HEADER}\n{ROW}\n1\ta bird sang\ta dog sang\tentail", ":3", "label 'entail'; allowed are entailment,"),
    (f"{HEADER}\n{ROW}\n1\tx\ty\tentailment\n{ROW}", ":4", "index '0' stands in line 2 already"),
    (f"{HEADER}\n{ROW}\n\n{ROW}", ":3", "1 columns where 4 are expected"),
    (b"\n\n\n", "", "the file is empty"),
]


@pytest.mark.parametrize(("content", "line", "message"), FILES)
def test_a_wrong_data_file_is_told_with_its_line(content, line, message, tmp_path):
    root = write_rte(tmp_path / "glue")
    path = root / "RTE" / "train.tsv"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    told = refused(small(f"task=rte data.root={root} data.cache_dir={tmp_path}/cache"), tmp_path / "run")
    assert f"{path}{line}" in told
    assert message in told
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("score", ["nan", "5.1", "-1", "inf", "high", ""])
def test_a_score_outside_the_range_is_told_with_its_line(score, tmp_path):
    rows = ["a bird sang\ta bird sang\t5.0", f"a bird sang\ta dog slept\t{score}"]
    path = write_split(tmp_path / "STS-B" / "train.tsv", "sentence1\tsentence2\tscore", rows)
    write_split(tmp_path / "STS-B" / "dev.tsv", "sentence1\tsentence2\tscore", rows[:1])
    told = refused(small(f"task=stsb data.root={tmp_path} data.cache_dir=null"), tmp_path / "run")
    assert told == f"{path}:3: score {score!r}; allowed are numbers from 0.0 to 5.0"


def test_a_folder_of_data_that_is_not_there_is_named(tmp_path):
    told = refused(small(f"task=rte data.root={tmp_path}/nowhere"), tmp_path / "run")
    assert told == f"data.root={tmp_path}/nowhere: no such folder"


def test_a_regression_has_no_shots(tmp_path):
    for name in ("train.tsv", "dev.tsv"):
        write_split(tmp_path / "STS-B" / name, "sentence1\tsentence2\tscore", ["a\tb\t1.0"] * 40)
    told = refused(small(f"task=stsb shots=16 data.root={tmp_path} data.cache_dir=null"), tmp_path / "run")
    assert told == "shots=16: a regression task (such as stsb) has no classes to draw from"


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (30, "fewer than 16 examples of class 0; the training set has 15"),
        (62, "class 0 has 31 examples in the training set; 16 to train and 16 to validate are needed"),
    ],
)
def test_too_few_examples_of_a_class_are_counted(examples, message, tmp_path):
    root = write_rte(tmp_path / "glue", train=examples)
    told = refused(small(f"task=rte shots=16 data.root={root} data.cache_dir=null"), tmp_path / "run")
    assert told == f"shots=16: {message}"


@pytest.fixture(scope="module")
def selection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A selection made on the tiny backbone: 2 layers of 4 heads."""
    folder = tmp_path_factory.mktemp("selected")
    root = write_rte(folder / "glue")
    run(small(f"task=rte data.root={root} data.cache_dir=null"), folder)
    return folder / "selection.json"


def _edited(**changes: Any):
    return lambda text: json.dumps({**json.loads(text), **changes})


EDITS = [
    (lambda text: text[:-40], "is not JSON"),
    (lambda text: "[]", "must hold one JSON object"),
    (_edited(schema=2), "schema=2: must be 1"),
    (_edited(chosen=[[0, 1, 7], [0, 1, 2]]), "chosen, layer 0: [0, 1, 7] must be different heads from 0 to 3"),
    (_edited(chosen=[[], []]), "chosen: no layer has a head"),
    (_edited(ranks=[[1, 2, 3, 4]]), "ranks: must be numbers in lists of shape [2, 4]"),
    (_edited(extra=1), "unknown extra; known are schema, "),
]


@pytest.mark.parametrize(("edit", "message"), EDITS)
def test_an_edited_selection_is_refused(edit, message, selection, tmp_path):
    path = tmp_path / "selection.json"
    path.write_text(edit(selection.read_text()))
    told = refused(small(f"strategy.selection={path} data.cache_dir=null"), tmp_path / "run")
    assert told.startswith(f"selection {path}: ")
    assert message in told


def test_a_selection_that_is_not_there_is_named(tmp_path):
    told = refused(small(f"strategy.selection={tmp_path}/none.json data.cache_dir=null"), tmp_path / "run")
    assert told == f"selection {tmp_path}/none.json: cannot be read (No such file or directory)"


def test_a_selection_of_another_backbone_is_told_with_both_sizes(selection, tmp_path):
    wider = "backbone.random.num_attention_heads=8 data.cache_dir=null"
    told = refused(small(f"strategy.selection={selection} {wider}"), tmp_path / "run")
    assert told.endswith("it is for 2 layers of 4 heads, backbone tiny has 2 of 8")


def whole_record(folder: Path) -> str:
    record = RunRecord(task="rte", strategy="hifi", backbone="tiny", seed=1)
    return record.write(folder).read_text()


RECORDS = [
    (lambda text: text[: len(text) // 2], "is not a whole JSON file"),
    (lambda text: "", "is not a whole JSON file"),
    (lambda text: "[]", "not a run's record: it has no schema number"),
    (_edited(schema=99), "schema 99 is newer than this version reads"),
    (_edited(notes="mine"), "unknown key 'notes'"),
    (_edited(seed="one"), "'seed' is \"one\", must be a whole number"),
]


@pytest.mark.parametrize(("edit", "message"), RECORDS)
def test_a_folder_with_a_record_of_something_else_is_left_as_it_is(edit, message, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(edit(whole_record(tmp_path)))
    before = path.read_bytes()
    told = refused(small("data.cache_dir=null"), tmp_path)
    assert told.startswith(str(path))
    assert message in told
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_named_and_left(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    assert refused(small("data.cache_dir=null"), path / "run").endswith(("File exists", "Not a directory"))
    assert path.read_text() == "mine"


# Where a disk says no: in a file of its own, when the record is begun, a checkpoint, the delta, or the picture.
@pytest.mark.parametrize("place", ["result.json", "last.safetensors", "delta.safetensors", "delta.json"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_a_disk_refuses_is_one_line_and_nothing_is_half_written(place, number, tmp_path, monkeypatch):
    replace = os.replace

    def refuse(source, target):
        if Path(target).name == place:
            raise OSError(number, os.strerror(number), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    told = refused(small("data.cache_dir=null", "bitfit"), tmp_path)
    assert told.endswith(f"{place}: {os.strerror(number)}")
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") or path.name == place]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 kB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode
    except OSError:
        done = 1
    if done:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


def test_a_full_disk_is_one_line_and_leaves_whole_files(small_disk):
    told = refused(small("data.cache_dir=null", "full"), small_disk)
    assert "No space left on device" in told
    assert not [path for path in small_disk.rglob("*") if path.name.startswith(".")]
    assert RunRecord.read(small_disk).status in ("failed", "running")


TINY = "+strategy=hifi task=demo backbone=tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (f"{TINY} strategy.k=5", "strategy.k=5: must be a whole number from 1 to 4, the heads of a layer"),
        (f"{TINY} seed=one", "seed=one: allowed are whole numbers from 0"),
        (f"{TINY} task=rte data.root=nowhere", "data.root=nowhere: no such folder"),
    ],
)
def test_on_the_command_line_a_mistake_is_one_line_of_stderr_and_exit_code_2(arguments, message, tmp_path):
    done = train(arguments, tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr), done.stderr
    assert message in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "cache").exists()
