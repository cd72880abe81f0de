"""Whatever a user gets wrong in options is told in one line: what it is, where, and what is allowed."""

import re
from pathlib import Path

import pytest

from models import HAS_ADAPTERS_LIBRARY
from peftlab.results.record import RunRecord
from peftlab.run import run
from runs import refused, small, train

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
    (
        "strategy.score=luck",
        "strategy.score=luck: unknown; allowed are correlation, fisher, gradient, pagerank, ",
    ),
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
    ("training.compile=fast", "training.compile=fast: allowed are null, inductor, cudagraphs, aot_eager, eager"),
    ("training.weight_decay=-1", "training.weight_decay=-1.0: allowed is 0 or more"),
    ("data.max_length=1", "data.max_length=1: this tokenizer allows 5 to 256 tokens"),
    ("data.max_length=100000", "data.max_length=100000: this tokenizer allows 5 to 256 tokens"),
    ("data.max_length=long", "data.max_length=long: allowed is a whole number"),
    ("data.eval_batch_size=0", "data.eval_batch_size=0: allowed are whole numbers from 1"),
    ("data.eval_batch_size=null", "data.eval_batch_size=None: allowed is a whole number"),
    ("data.num_workers=-1", "data.num_workers=-1: allowed is 0 or more"),
    ("data.length_grouped=maybe", "data.length_grouped=maybe: allowed are true, false"),
    ("data.holdout=2", "data.holdout=2.0: allowed is a share in (0, 1)"),
    ("data.holdout=some", "data.holdout=some: allowed is a number or is null"),
    ("data.holdout=0.1 shots=16", "data.holdout: few shots hold out validation examples already"),
    ("data.root=3", "data.root=3: allowed is a text or is null"),
    ("shots.per_class=0", "shots=0: allowed are whole numbers from 1, or full"),
    ("shots.per_class=1601", "shots=1601: fewer than 1601 examples of class 0; the training set has 1600"),
    ("shots.epochs=0", "training.epochs=0: allowed is 1 or more"),
    ("backbone.attention=flash", "backbone.attention=flash: allowed are auto, sdpa, eager"),
    (
        "backbone.random.model_type=bloom",
        "where 'bloom' keeps its attention heads is not known (known: albert, bert, camembert",
    ),
    (
        "backbone.random.model_type=nonsense",
        "where 'nonsense' keeps its attention heads is not known (known: albert, bert, camembert",
    ),
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
    ("checkpoint.every_minutes=-1", "checkpoint.every_minutes=-1.0: allowed is above 0, or null"),
    ("checkpoint.trajectory=0", "checkpoint.trajectory=0: allowed is above 0, or null"),
    ("checkpoint.trajectory=true", "checkpoint.trajectory=True: allowed is a whole number or is null"),
    ("checkpoint.every_epoch=sometimes", "checkpoint.every_epoch=sometimes: allowed are true, false"),
    ("+logger.foo=1", "logger.foo: no such option; allowed are name, project, entity, delta, offline"),
    ("+search.x=1", "search.x: no such option; allowed are trial, rates"),
    ("robustness={a:1}", "robustness.a: no such option; allowed are setting, settings"),
    ("+lr=1e-3", "lr: no such option"),
    ("++recipe.defualt.learning_rate=3", "recipe.defualt: no such option (did you mean default?); allowed are default"),
    ("++recipe.default.lr=3", "recipe.default.lr: no such option; allowed are learning_rate, batch_size, epochs"),
    ("++recipe.strategies.hifi.rte.epoch=3", "recipe.strategies.hifi.rte.epoch: no such option (did you mean epochs?)"),
    ("+backbone.random.num_layer=1", "backbone.random.num_layer: bert has no such option"),
    (
        "+backbone.random.vocab_size=20",
        "backbone.random.vocab_size=20: allowed is 141 or more, what its tokenizer knows",
    ),
    ("+backbone.random.vocab_size=x", "backbone.random.vocab_size=x: allowed is 141 or more"),
    ("+checkpoint.every_day=1", "checkpoint.every_day: no such option (did you mean every_"),
    ("logger.name=diary", "logger=diary: no such logger; there are csv, tensorboard, wandb"),
    ("logger.name=null", "logger=None: no such logger; there are csv, tensorboard, wandb"),
    ("checkpoint.every_steps=often", "checkpoint.every_steps=often: allowed is a whole number or is null"),
    ("checkpoint.every_steps=1.5", "checkpoint.every_steps=1.5: allowed is a whole number or is null"),
    ("checkpoint.every_minutes=never", "checkpoint.every_minutes=never: allowed is a number or is null"),
    ("checkpoint.every_minutes=nan", "checkpoint.every_minutes=nan: allowed is above 0, or null"),
    ("trainer.val_check_interval=201", "trainer.val_check_interval=201: allowed are 1 to 200, the batches of an epoch"),
    ("trainer.val_check_interval=0", "trainer.val_check_interval=0: allowed are 1 to 200, the batches of an epoch"),
    (
        "trainer.limit_train_batches=4 trainer.val_check_interval=5",
        "trainer.val_check_interval=5: allowed are 1 to 4, the batches of an epoch, or a share up to 1.0",
    ),
    ("trainer.val_check_interval=1.5", "trainer: You have passed invalid value 1.5 for val_check_interval"),
    ("trainer.limit_train_batches=0.001", "trainer: You requested to check 0.001 of the `train_dataloader`"),
    ("trainer.limit_val_batches=0.01", "trainer: You requested to check 0.01 of the `val_dataloader`"),
    ("task.metrics=[f2]", "task=demo: metrics=f2 (did you mean f1?); allowed are accuracy, f1, matthews"),
    ("task.labels=[yes]", "task=demo: give either labels (two or more) or a range of scores"),
    ("task.generator=demon", "task.generator=demon: allowed are contrast, demo"),
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


def check_left(folder: Path, told: str) -> None:
    """A run that was refused before it began left nothing; else its record says why, and there is no delta."""
    if not any(folder.iterdir()):
        return
    record = RunRecord.read(folder)
    assert (record.status, record.mistake, record.reason) == ("failed", True, " ".join(told.split()))
    assert not list(folder.glob("delta*"))


@pytest.mark.parametrize(("overrides", "message"), OPTIONS)
def test_a_wrong_option_is_one_line_and_leaves_nothing_or_a_record_that_says_so(overrides, message, tmp_path):
    told = refused(small(f"data.cache_dir=null {overrides}"), tmp_path)
    assert message in told
    check_left(tmp_path, told)


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
    ("diff-pruning", "training.compile=eager", "training.compile=eager: allowed is null, diff-pruning cannot be"),
    ("compacter", "strategy.bottleneck=30", "strategy.bottleneck=30: allowed are multiples of strategy.n=4"),
    ("compacter", "strategy.n=5 strategy.bottleneck=5", "strategy.n=5: allowed are divisors of the hidden size, 32"),
    ("compacter", "strategy.rule_std=inf", "strategy.rule_std=inf: allowed are numbers above 0"),
    ("prefix", "strategy.length=0", "strategy.length=0: allowed is 1 or more"),
    ("prefix", "strategy.shift=true strategy.length=209", "data.max_length=48: strategy prefix takes 209 of the 256"),
    ("prompt", "strategy.length=209", "data.max_length=48: strategy prompt takes 209 of the 256 positions"),
    ("prompt", "deployment.measure=true deployment.length=237", "deployment.length=237: strategy prompt takes 20 of"),
    ("lora", "strategy.r=0", "strategy.r=0: allowed is 1 or more"),
    ("lora", "strategy.r=33", "strategy.r=33: allowed are 1 to 32, the hidden size of tiny"),
    ("lora", "strategy.dropout=1", "strategy.dropout=1.0: allowed is 0 or more, less than 1"),
    ("tiny-attention", "strategy.heads=3", "strategy.heads=3: allowed are divisors of strategy.size=1"),
    ("tiny-attention", "strategy.experts=0", "strategy.experts=0: allowed is 1 or more"),
    ("child-tuning", "strategy.p=0", "strategy.p=0.0: allowed is above 0, up to 1"),
    ("child-tuning", "strategy.max_norm=nan", "strategy.max_norm=nan: allowed is above 0, or null"),
    ("diff-pruning", "strategy.target=0", "strategy.target=0.0: allowed is between 0 and 1"),
    ("diff-pruning", "strategy.target=nan", "strategy.target=nan: allowed is between 0 and 1"),
    ("diff-pruning", "strategy.share=1", "strategy.share=1.0: allowed is between 0 and 1"),
    ("diff-pruning", "strategy.l0=-1", "strategy.l0=-1.0: allowed is 0 or more"),
    ("diff-pruning", "strategy.l0=inf", "strategy.l0=inf: allowed is 0 or more"),
    ("diff-pruning", "strategy.l0_form=max", "strategy.l0_form=max: allowed are product, sum"),
    ("diff-pruning", "strategy.alpha=nan", "strategy.alpha=nan: allowed are numbers"),
    ("diff-pruning", "strategy.alpha_rate=0", "strategy.alpha_rate=0.0: allowed is above 0"),
    ("diff-pruning", "strategy.alpha_rate=inf", "strategy.alpha_rate=inf: allowed is above 0"),
    ("diff-pruning", "strategy.finetune_rate=0", "strategy.finetune_rate=0.0: allowed is above 0, or null for"),
    ("diff-pruning", "strategy.finetune_rate=inf", "strategy.finetune_rate=inf: allowed is above 0, or null for"),
    ("diff-pruning", "strategy.lower=0", "strategy.lower=0.0: allowed is below 0"),
    ("diff-pruning", "strategy.lower=-inf", "strategy.lower=-inf: allowed is below 0"),
    ("diff-pruning", "strategy.upper=1", "strategy.upper=1.0: allowed is above 1"),
    (
        "adapterdrop",
        "strategy.drop=2",
        "strategy.drop=2: allowed are 0 to 1, one less than the layers of backbone tiny",
    ),
    ("adapterdrop", "strategy.robust=perhaps", "strategy.robust=perhaps: allowed are true, false"),
    ("peft", "++strategy.options.r=0", "strategy.method=lora: does not fit backbone tiny: `r` should be a positive"),
    (
        "peft",
        "++strategy.options.target_modules=[qeury]",
        "strategy.method=lora: does not fit backbone tiny: No modules",
    ),
    ("peft", "strategy.options=4", "strategy.options=4: allowed is a table, each"),
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
    check_left(tmp_path, told)


@pytest.mark.parametrize(
    ("strategy", "model_type", "reason"),
    [
        ("prefix", "deberta", "the self-attention of its layers takes no keys and values"),
        ("bitfit", "llama", "its layers have no biases"),
        ("mam", "albert", "the feed-forward of its layers is no module to stand beside"),
    ],
)
def test_a_strategy_that_a_family_cannot_carry_is_skipped_with_the_reason(strategy, model_type, reason, tmp_path):
    run(small(f"data.cache_dir=null backbone.random.model_type={model_type}", strategy), tmp_path)
    record = RunRecord.read(tmp_path)
    assert record.status == "skipped"
    assert record.reason == f"strategy {strategy} does not fit backbone tiny: {reason}"
    assert not (tmp_path / "delta.safetensors").exists()


@pytest.mark.skipif(not HAS_ADAPTERS_LIBRARY, reason="the adapters library is not installed")
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("lorra", "the adapters library has no configuration 'lorra' (did you mean lora"),
        ("lora[rank=4]", "strategy.config=lora[rank=4]: "),
        ("'lora|'", "the adapters library has no configuration ''"),
    ],
)
def test_a_wrong_configuration_of_the_adapters_library_is_one_line(config, message, tmp_path):
    assert message in refused(small(f"data.cache_dir=null strategy.config={config}", "adapterhub"), tmp_path)


@pytest.mark.skipif(HAS_ADAPTERS_LIBRARY, reason="the adapters library is installed")
def test_without_the_adapters_library_one_line_says_how_to_get_it(tmp_path):
    told = refused(small("data.cache_dir=null", "adapterhub"), tmp_path)
    assert told.startswith("strategy=adapterhub: the adapters library is not installed; ")
    assert "make test-adapters" in told


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
    ("deployment=true", "deployment=True: deployment is a group of options; give one, as deployment.OPTION=VALUE"),
    ("training=3", "training=3: training is a group of options; give one, as training.OPTION=VALUE"),
    ("~deployment", "deployment: missing"),
    ("~backbone.name", "backbone.name: missing"),
]


@pytest.mark.parametrize(("overrides", "message"), UNNAMED)
def test_what_a_record_is_filed_by_is_checked_before_there_is_one(overrides, message, tmp_path):
    assert refused(small(overrides), tmp_path).startswith(message)
    assert list(tmp_path.iterdir()) == []


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
    # The one line that a run begins with may stand before what its strategy finds.
    assert re.fullmatch(r"(loading [^\n]+\n)?", done.stdout)
    assert not (tmp_path / "cache").exists()
