"""`backbone.dtype=bfloat16`: half the memory for what is frozen, and the numbers of the rounded model."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import peftlab
from models import tiny, write_backbone
from peftlab.backbones.bfloat16 import keep_frozen_in_bfloat16, round_matrices
from peftlab.files import content_sha256
from peftlab.run import run
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import restore
from runs import logged_rows, refused, small

# One of each way into a model: rows of a matrix, layers beside it, its bias, differences from it, keys and values.
WAYS = ["hifi", "lora", "bitfit", "diff-pruning", "prefix"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of weights, and one of the same weights with every matrix of a layer or embedding rounded."""
    exact = write_backbone(tmp_path_factory.mktemp("weights") / "exact")
    rounded = write_backbone(exact.parent / "rounded")
    tensors = load_file(rounded / "model.safetensors")
    for name, tensor in tensors.items():
        if tensor.ndim == 2:
            tensors[name] = tensor.bfloat16().float()
    save_file(tensors, rounded / "model.safetensors", {"format": "pt"})
    return exact, rounded


@pytest.mark.parametrize("name", WAYS)
def test_a_run_ends_bit_for_bit_as_one_of_the_rounded_weights(name: str, folders, tmp_path: Path) -> None:
    exact, rounded = folders
    given = "recipe=tiny trainer.precision=bf16-mixed"
    run(small(f"{given} backbone.path={exact} backbone.dtype=bfloat16", name), tmp_path / "kept")
    run(small(f"{given} backbone.path={rounded}", name), tmp_path / "float32")
    assert logged_rows(tmp_path / "kept") == logged_rows(tmp_path / "float32")
    tensors = {content_sha256(tmp_path / place / "delta.safetensors") for place in ("kept", "float32")}
    assert len(tensors) == 1
    one, other = (restore(tmp_path / place).model.state_dict() for place in ("kept", "float32"))
    assert [key for key, value in one.items() if not torch.equal(value, other[key])] == []


def test_what_is_frozen_takes_two_bytes_a_number_and_what_is_tuned_four() -> None:
    backbone = tiny()
    attached = create_strategy("lora", {}).attach(backbone)
    keep_frozen_in_bfloat16(backbone.model)
    tuned = {id(parameter) for parameter in (*attached.tuned().values(), *attached.classifier().values())}
    for name, parameter in backbone.model.named_parameters():
        half = parameter.ndim == 2 and id(parameter) not in tuned
        assert parameter.dtype == (torch.bfloat16 if half else torch.float32), name


def test_rounding_is_done_once_and_leaves_vectors_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    before = {name: p.clone() for name, p in model.named_parameters()}
    round_matrices(model)
    round_matrices(model)
    for name, parameter in model.named_parameters():
        expected = before[name].bfloat16().float() if name == "0.weight" else before[name]
        assert torch.equal(parameter, expected), name


def test_it_is_predicted_with_what_was_trained(tmp_path: Path) -> None:
    run(small("backbone.dtype=bfloat16 trainer.precision=bf16-mixed", "lora"), tmp_path)
    (answer,) = peftlab.load(tmp_path).predict(["every bird sang"])
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "backbone.dtype=bfloat16",
            "backbone.dtype=bfloat16: trainer.precision=32-true; allowed are bf16-mixed and bf16-true",
        ),
        ("backbone.dtype=nf4", "backbone.dtype=nf4: allowed are float32, bfloat16"),
    ],
)
def test_what_cannot_be_is_one_line(given: str, told: str, tmp_path: Path) -> None:
    assert refused(small(given, "lora"), tmp_path) == told
