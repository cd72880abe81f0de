"""A run's identity changes with all that reaches its result, and with nothing else."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from peftlab import identity
from peftlab.backbones.tiny import character_tokenizer, random_model
from peftlab.cache import RunCache
from peftlab.identity import Identity, code_version
from peftlab.output_layer import OutputLayer
from peftlab.plan import make_plan
from peftlab.strategies.registry import strategy_class
from runs import small, write_rte


def identity_of(overrides: str, strategy: str = "hifi") -> Identity:
    config = small(overrides, strategy)
    return make_plan(config, RunCache()).identity


@pytest.fixture(scope="module")
def plain(glue: Path) -> Identity:
    return identity_of(f"task=rte data.root={glue}")


@pytest.mark.parametrize(
    "override",
    [
        "logger=tensorboard",
        "data.cache_dir=elsewhere",
        "data.num_workers=1",
        "trainer.log_every_n_steps=3",
        "force=true",
        "checkpoint.every_steps=5",
        "any_code=true",
        "training.learning_rate=1e-3",  # what the recipe gives, given by hand
        "training.batch_size=16 trainer.profiler=simple",
        "deployment.measure=true deployment.pairs=9",
        "checkpoint.trajectory=3",
        "strategy.xi=0.9 trainer.gradient_clip_val=1.0",
    ],
)
def test_what_reaches_no_number_makes_no_other_run(override, glue, plain):
    assert identity_of(f"task=rte data.root={glue} {override}").id == plain.id


@pytest.mark.parametrize(
    "override",
    [
        "seed=2",
        "strategy.k=2",
        "training.learning_rate=2e-3",
        "training.warmup=0",
        "trainer.precision=bf16-mixed",
        "trainer.max_epochs=9",
        "data.max_length=40",
        "data.holdout=0.5",
        "task.metrics=[accuracy,f1]",
        "backbone.attention=eager",
        "shots.per_class=4",
    ],
)
def test_a_setting_that_reaches_the_numbers_makes_another_run(override, glue, plain):
    found = identity_of(f"task=rte data.root={glue} {override}")
    assert found.differs_from(asdict(plain)) == ["settings"]
    assert found.id != plain.id


def test_the_same_files_elsewhere_are_the_same_data(tmp_path, plain):
    assert identity_of(f"task=rte data.root={write_rte(tmp_path)}").id == plain.id


def test_other_examples_are_other_data(tmp_path, plain):
    found = identity_of(f"task=rte data.root={write_rte(tmp_path, train=42)}")
    assert found.differs_from(asdict(plain)) == ["data"]


def test_a_backbone_is_its_sizes_or_its_files(glue, plain):
    found = identity_of(f"task=rte data.root={glue} backbone.random.hidden_size=64")
    assert found.differs_from(asdict(plain)) == ["backbone"]


def test_a_folder_with_other_weights_is_another_backbone(tmp_path, glue):
    sizes = small()["backbone"]["random"]
    hashes = []
    for seed in (1, 2, 2):
        folder = tmp_path / f"copy-{len(hashes)}"
        torch.manual_seed(seed)
        tokenizer = character_tokenizer()
        random_model(sizes, tokenizer, "sdpa", OutputLayer(options={"num_labels": 2})).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        where = f"backbone=minilm backbone.sha256=null backbone.path={folder}"
        hashes.append(identity_of(f"task=rte data.root={glue} {where}"))
    assert hashes[1].differs_from(asdict(hashes[0])) == ["backbone"]
    assert hashes[2].id == hashes[1].id


# What each strategy reads from a path: the option, the files that it takes of a run's folder, the one it may name.
PATHS = [
    ("hifi", "selection", ["selection.json"], "selection.json"),
    ("child-tuning", "selection", ["child_network.safetensors"], "child_network.safetensors"),
    ("tiny-attention", "start", ["delta.json", "delta.safetensors"], ""),
]


@pytest.mark.parametrize(("strategy", "option", "files", "file"), PATHS, ids=[case[0] for case in PATHS])
def test_a_path_counts_by_what_it_holds(strategy, option, files, file, tmp_path, glue):
    def found(path: Path | str) -> Identity:
        return identity_of(f"task=rte data.root={glue} strategy.{option}={path}", strategy)

    for name in ("run-a", "run-b", "run-c"):
        (tmp_path / name).mkdir()
        for number, held in enumerate(files):
            (tmp_path / name / held).write_text(f"{number} of run {'c' if name == 'run-c' else 'a or b'}")
    none, first, same, other = (found(path) for path in ("null", *(tmp_path / f"run-{run}" for run in "abc")))
    assert first.id == same.id == found(tmp_path / "run-b" / file).id
    assert len({none.id, first.id, other.id, found(tmp_path / "nowhere").id}) == 3
    assert other.differs_from(asdict(first)) == ["settings"]
    for held in files:
        (tmp_path / "run-b" / held).write_text("another")
        assert found(tmp_path / "run-b").id != first.id


MODULES = {
    "run": '"""Doc."""\nfrom peftlab.training.fit import fit\nfrom peftlab.results import table\n',
    "training/fit": "def fit():\n    return 1\n",
    "results/table": "def show():\n    return 1\n",
    "strategies/first": "from peftlab.layers import rows\n",
    "strategies/second_one": "x = 1\n",
    "layers/rows": "y = 1\n",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a small package in the laboratory's place."""
    for name, text in MODULES.items():
        path = tmp_path / "peftlab" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(identity, "PACKAGE", tmp_path / "peftlab")
    identity._code.cache_clear()
    yield tmp_path / "peftlab"
    identity._code.cache_clear()


def version(*modules: str) -> str:
    """Return the version of the code of a run with a class of each of these modules."""
    identity._code.cache_clear()
    return code_version([type("Part", (), {"__module__": module}) for module in modules])


@pytest.mark.parametrize(
    ("module", "text", "first", "second"),
    [
        ("training/fit", "def fit():\n    return 2\n", True, True),
        ("run", MODULES["run"] + "z = 1\n", True, True),
        ("strategies/first", MODULES["strategies/first"] + "z = 1\n", True, False),
        ("layers/rows", "y = 2\n", True, False),
        ("strategies/second_one", "x = 2\n", False, True),
        ("results/table", "def show():\n    return 2\n", False, False),
        ("training/fit", 'def fit():\n    """Docstring."""\n    # comment\n    return 1\n', False, False),
        ("run", MODULES["run"].replace("Doc.", "Other."), False, False),
    ],
)
def test_the_code_that_counts_is_what_the_run_imports(module, text, first, second, package):
    both = "peftlab.strategies.first", "peftlab.strategies.second_one"
    before = [version(name) for name in both]
    (package / f"{module}.py").write_text(text)
    after = [version(name) for name in both]
    assert (after[0] != before[0], after[1] != before[1]) == (first, second)


# A user's package: another module of it, what it takes from the laboratory, what says nothing.
@pytest.mark.parametrize(
    ("file", "text", "differs"),
    [
        ("user_lab/mine.py", "from peftlab.layers import rows\nz = 1\n", True),
        ("user_lab/helpers/tool.py", "x = 2\n", True),
        ("user_lab/new.py", "x = 1\n", True),
        ("user_lab/helpers/tool.py", "# comment\nx = 1\n", False),
        ("peftlab/layers/rows.py", "y = 2\n", True),
        ("peftlab/strategies/first.py", "y = 2\n", False),
        ("alone.py", "x = 2\n", False),
    ],
)
def test_of_a_users_class_its_whole_package_counts(file, text, differs, package, monkeypatch):
    theirs = {"user_lab/mine.py": "from peftlab.layers import rows\n", "user_lab/helpers/tool.py": "x = 1\n"}
    for name, content in {**theirs, "user_lab/__init__.py": "", "alone.py": "x = 1\n"}.items():
        (package.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (package.parent / name).write_text(content)
    monkeypatch.syspath_prepend(package.parent)
    for name in ("user_lab", "alone"):
        monkeypatch.setitem(sys.modules, name, None)
        del sys.modules[name]
        importlib.import_module(name)
    before, alone = version("user_lab.mine"), version("alone")
    assert len({before, alone, version("peftlab.strategies.first")}) == 3
    (package.parent / file).write_text(text)
    assert (version("user_lab.mine") != before) == differs
    assert (version("alone") != alone) == (file == "alone.py")


def test_the_real_code_of_each_strategy_is_its_own():
    assert len({code_version([strategy_class(name)]) for name in ("hifi", "bitfit", "full")}) == 3


def test_the_id_is_short_and_that_of_all_parts(plain):
    assert len(plain.id) == 16
    assert Identity("a", "b", "c", "d").id != Identity("b", "a", "c", "d").id
