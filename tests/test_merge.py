"""A run's delta becomes a plain Hugging Face model that stock transformers loads, with the same logits."""

import errno
import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from models import TEXTS, output_layer, tiny_spec
from peftlab import merge
from peftlab.backbones.loading import Backbone, load_backbone
from peftlab.delta.delta import FACTS_FILE, TENSORS_FILE, save_delta
from peftlab.errors import UserError
from peftlab.kernels.linear import use_fast_products
from peftlab.strategies.contract import Traits
from peftlab.strategies.hifi import ChosenHeads
from peftlab.strategies.registry import create_strategy, strategy_class
from peftlab.strategies.restore import describe_delta, export_merged

HEADS = ChosenHeads(((0, 2), (3,)))
LABELS = ["entailment", "neutral", "contradiction"]
METHODS: list[tuple[str, dict[str, Any]]] = [
    ("hifi", {}),
    ("hifi", {"bias": True}),
    ("bitfit", {}),
    ("full", {}),
    ("classifier", {}),
]


def tuned(name: str, options: dict[str, Any], kind: str, folder: Path, labels: list[str] = LABELS) -> Backbone:
    """Save into `folder` a delta whose every number was changed, and return the model it belongs to."""
    spec = tiny_spec(kind)
    backbone, strategy = load_backbone(spec, output_layer(labels), seed=3), create_strategy(name, options)
    attached = strategy.attach(backbone, HEADS)
    generator = torch.Generator().manual_seed(5)
    for parameter in {**attached.tuned(), **attached.classifier()}.values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    save_delta(describe_delta(attached, asdict(spec), "mnli", labels, {}), folder)
    return backbone


def answers(model: PreTrainedModel, tokenizer: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**tokenizer(*TEXTS, padding=True, return_tensors="pt")).logits


def assert_same_answers(model: PreTrainedModel, backbone: Backbone) -> None:
    """Stock transformers answers alike: to rounding by torch's products, and bit for bit by those of the laboratory."""
    expected = answers(backbone.model, backbone.processor)
    torch.testing.assert_close(answers(model, backbone.processor), expected, rtol=1e-5, atol=1e-6)
    use_fast_products(model)
    assert torch.equal(answers(model, backbone.processor), expected)


def stock(folder: Path) -> PreTrainedModel:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    for parameter in model.parameters():
        # Mapped from the file, a matrix may begin at an address for which the CPU adds up in another order.
        parameter.data = parameter.data.clone()
    return model


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Callable[[], None]:
    monkeypatch.setattr("sys.argv", ["merge", *map(str, arguments)])
    return merge.main


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize(("name", "options"), METHODS, ids=str)
def test_stock_transformers_gives_the_same_logits(name: str, options: dict[str, Any], kind: str, tmp_path: Path):
    backbone = tuned(name, options, kind, tmp_path / "run")
    export_merged(tmp_path / "run", tmp_path / "plain")
    model = stock(tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "plain")
    expected = answers(backbone.model, backbone.processor)
    torch.testing.assert_close(answers(model, tokenizer), expected, rtol=1e-5, atol=1e-6)
    assert_same_answers(model, backbone)
    untouched = load_backbone(tiny_spec(kind), output_layer(LABELS), seed=3)
    assert not torch.allclose(answers(untouched.model, untouched.processor), expected)
    assert model.config.id2label == dict(enumerate(LABELS))
    assert model.config.label2id == {label: index for index, label in enumerate(LABELS)}


def test_a_regression_keeps_its_single_score(tmp_path: Path):
    backbone = tuned("bitfit", {}, "bert", tmp_path / "run", labels=[])
    export_merged(tmp_path / "run", tmp_path / "plain")
    model = stock(tmp_path / "plain")
    assert (model.config.num_labels, model.config.problem_type) == (1, "regression")
    assert_same_answers(model, backbone)


def test_the_folder_holds_safetensors_and_nothing_pickled(tmp_path: Path):
    tuned("hifi", {}, "bert", tmp_path / "run")
    export_merged(tmp_path / "run", tmp_path / "plain")
    names = {path.name for path in (tmp_path / "plain").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".py"))]


def test_a_merged_model_is_a_backbone_folder_itself(tmp_path: Path):
    tuned("hifi", {}, "bert", tmp_path / "run")
    export_merged(tmp_path / "run", tmp_path / "plain")
    # The delta of a run on that folder is restored by naming the folder again.
    spec = {"name": "mine", "path": str(tmp_path / "plain")}
    backbone = load_backbone(type(tiny_spec())(**spec), output_layer(LABELS), seed=1)
    attached = create_strategy("bitfit", {}).attach(backbone)
    save_delta(describe_delta(attached, spec, "mnli", LABELS, {}), tmp_path / "second")
    export_merged(tmp_path / "second", tmp_path / "again", str(tmp_path / "plain"))
    model = stock(tmp_path / "again")
    assert_same_answers(model, backbone)


def test_the_command_merges_and_says_how_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    backbone = tuned("hifi", {}, "bert", tmp_path / "run")
    (tmp_path / "empty").mkdir()
    command(monkeypatch, tmp_path / "run", tmp_path / "empty")()
    assert capsys.readouterr().out.strip() == (
        f"{tmp_path / 'empty'}: load it with AutoModelForSequenceClassification.from_pretrained"
    )
    model = stock(tmp_path / "empty")
    assert_same_answers(model, backbone)


def filled(folder: Path) -> None:
    (folder / "plain").mkdir()
    (folder / "plain" / "mine.txt").write_text("mine")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


# What is wrong, and what the one line names.
MISTAKES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "the target is not empty": (filled, "plain: is there already"),
    "the target is where one is": (lambda folder: os.chdir(_made(folder / "plain")), "plain: is the folder you are in"),
    "the target is a file": (lambda folder: (folder / "plain").write_text("mine"), "plain: is there already"),
    "no tensors": (lambda folder: (folder / "run" / TENSORS_FILE).unlink(), f"run/{TENSORS_FILE}: no such file"),
    "no facts": (lambda folder: (folder / "run" / FACTS_FILE).unlink(), f"run/{FACTS_FILE}: no such file"),
    "no run": (lambda folder: (folder / "run").rename(folder / "elsewhere"), f"run/{FACTS_FILE}: no such file"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    tuned("bitfit", {}, "bert", tmp_path / "run")
    spoil, named = MISTAKES[mistake]
    spoil(tmp_path)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as caught:
        command(monkeypatch, tmp_path / "run", tmp_path / "plain")()
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_method_that_cannot_be_merged_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tuned("bitfit", {}, "bert", tmp_path / "run")
    monkeypatch.setattr(strategy_class("bitfit"), "traits", Traits(merge_tolerance=None))
    with pytest.raises(UserError, match="strategy bitfit: its delta cannot be merged"):
        export_merged(tmp_path / "run", tmp_path / "plain")
    assert not (tmp_path / "plain").exists()


@pytest.mark.parametrize("part", ["the weights", "the tokenizer", "the whole"])
def test_a_model_that_cannot_be_written_leaves_no_half_of_it(part: str, tmp_path: Path, monkeypatch):
    tuned("bitfit", {}, "bert", tmp_path / "run")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    tokenizer = type(load_backbone(tiny_spec(), output_layer(LABELS), seed=1).processor)
    owners = {"the weights": (PreTrainedModel, "save_pretrained"), "the tokenizer": (tokenizer, "save_pretrained")}
    monkeypatch.setattr(*owners.get(part, (os, "fsync")), refuse)
    with pytest.raises(UserError, match=rf"^{tmp_path}/plain: No space left on device$"):
        export_merged(tmp_path / "run", tmp_path / "plain")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_killed_merge_leaves_no_model_folder(tmp_path: Path, monkeypatch):
    """Killed when all but the tokenizer is written, in a process of its own."""
    tuned("bitfit", {}, "bert", tmp_path / "run")
    tokenizer = type(load_backbone(tiny_spec(), output_layer(LABELS), seed=1).processor)
    process = os.fork()
    if not process:
        torch.set_num_threads(1)
        monkeypatch.setattr(tokenizer, "save_pretrained", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        export_merged(tmp_path / "run", tmp_path / "plain")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
    assert not (tmp_path / "plain").exists()
    monkeypatch.undo()
    export_merged(tmp_path / "run", tmp_path / "plain")
    stock(tmp_path / "plain")
