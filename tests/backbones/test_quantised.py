"""`backbone.quantize`: frozen matrices take four or eight bits a number, and no number depends on how they are kept.

Training is refused on a CPU, where all below the refusal is the same as on a GPU but for the device.
"""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import peftlab
from models import batch, logits, output_layer, strategy_or_skip, tiny, tiny_spec, write_backbone
from peftlab.backbones.architecture import ARCHITECTURES
from peftlab.backbones.loading import Backbone, load_backbone
from peftlab.backbones.quantised import keep_in_codes, layer_matrices, round_layers
from peftlab.backbones.spec import BackboneSpec, Bits
from peftlab.cache import RunCache
from peftlab.check.promise import DoesNotApplyError
from peftlab.check.small import Trial, train
from peftlab.errors import MissingPackageError, UserError
from peftlab.export.peft_folder import export_peft
from peftlab.files import content_sha256
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.strategies.attached import Attached
from peftlab.strategies.registry import strategy_names
from peftlab.strategies.restore import export_merged, restore
from peftlab.training.frozen import keep_frozen, rounded_matrices
from peftlab.training.module import FineTuning
from peftlab.training.precision import check_kept
from runs import logged_rows, refused, small

HAS_LIBRARY = importlib.util.find_spec("bitsandbytes") is not None
needs_library = pytest.mark.skipif(not HAS_LIBRARY, reason="bitsandbytes is not installed: pip install bitsandbytes")
BITS: tuple[Bits, ...] = ("nf4", "fp4", "int8")

# QLoRA (arXiv 2305.14314), Appendix E, to the digits of float32.
NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip
# Four bits as sign, two of exponent, one of mantissa, the largest 1 (bitsandbytes' documentation).
FP4 = [sign * part / 12 for sign in (-1, 1) for part in (0, 1 / 16, 2, 3, 4, 6, 8, 12)]


def expected(weight: Tensor, bits: Bits) -> Tensor:
    """Round a matrix [N, D] by what is written of the codes: LLM.int8()'s Section 2.1, or the nearest of 16 values."""
    if bits == "int8":
        rows = weight.half().float()
        largest = rows.abs().amax(dim=1, keepdim=True)
        return (rows * (127 / largest)).round().double() * largest / 127
    blocks = weight.double().view(-1, 64)
    largest = blocks.abs().amax(dim=1, keepdim=True)
    values = torch.tensor(NF4 if bits == "nf4" else FP4, dtype=torch.float64)
    nearest = (blocks[..., None] / largest[..., None] - values).abs().argmin(dim=-1)
    return (values[nearest] * largest).view_as(weight)


def quantised(kind: str = "bert", bits: Bits = "nf4", cache: RunCache | None = None) -> Backbone:
    spec = replace(tiny_spec(kind), quantize=bits)
    return load_backbone(spec, output_layer(("yes", "no"), kind), seed=1, cache=cache)


@needs_library
@pytest.mark.parametrize("bits", BITS)
def test_matrices_of_layers_are_rounded_as_the_papers_say_and_nothing_else_is(bits: Bits) -> None:
    backbone, untouched = quantised(bits=bits), load_backbone(tiny_spec(), output_layer(("yes", "no")), seed=1)
    exact = dict(untouched.model.named_parameters())
    rounded = {id(weight) for weight in layer_matrices(backbone.view)}
    for name, parameter in backbone.model.named_parameters():
        if id(parameter) in rounded:
            found = expected(exact[name].detach(), bits)
            torch.testing.assert_close(parameter.detach().double(), found, rtol=1e-6, atol=0)
            assert not torch.equal(parameter, exact[name])
        else:
            assert torch.equal(parameter, exact[name]), name
    assert len(rounded) == 2 * 6
    assert backbone.fingerprint == untouched.fingerprint  # of the weights as they are in their files


@needs_library
@pytest.mark.parametrize("bits", BITS)
def test_what_is_rounded_once_more_is_what_it_was(bits: Bits) -> None:
    model = tiny()
    torch.manual_seed(0)
    for number, weight in enumerate(layer_matrices(model.view)):
        weight.data = torch.randn(weight.shape) * 10.0 ** ((number - 6) / 2)
        weight.data[0], weight.data[1, :5] = 0, 0
    round_layers(model.view, bits)
    once = [weight.clone() for weight in layer_matrices(model.view)]
    round_layers(model.view, bits)
    for weight, before in zip(layer_matrices(model.view), once, strict=True):
        assert torch.equal(weight, before)
        assert bool(weight.isfinite().all())


@needs_library
@pytest.mark.parametrize(
    ("bits", "bytes_a_number"), [("nf4", 0.5 + 4 / 64), ("fp4", 0.5 + 4 / 64), ("int8", 1 + 4 / 32)]
)
def test_what_is_frozen_takes_few_bits_and_is_read_as_the_numbers_it_was(bits: Bits, bytes_a_number: float) -> None:
    backbone = quantised(bits=bits)
    before = {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}
    rounded = rounded_matrices(backbone)
    whole, numbers = held(backbone.model), sum(weight.numel() for weight in rounded)
    backbone.model.requires_grad_(False)
    assert keep_in_codes(backbone.model, rounded, bits) == numbers
    # A row of one layer has 64 numbers, of the others 32.
    assert whole - held(backbone.model) == pytest.approx(numbers * (4 - bytes_a_number), rel=0.01)
    for name, tensor in before.items():
        module, _, own = name.rpartition(".")
        assert torch.equal(getattr(backbone.model.get_submodule(module), own), tensor), name


@needs_library
def test_a_weight_that_eight_bits_do_not_reach_is_told() -> None:
    backbone = tiny()
    layer_matrices(backbone.view)[0].data[0, 0] = 1e5
    round_layers(backbone.view, "nf4")
    with pytest.raises(
        UserError, match=r"^backbone.quantize=int8: allowed are null, nf4, fp4; a weight is above 65504"
    ):
        round_layers(backbone.view, "int8")


def held(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def tuned(trial: Trial, bits: Bits, keep: Callable[[Attached, list[nn.Parameter]], None], **options: bool) -> Attached:
    backbone = replace(trial.backbone(), quantize=bits)
    round_layers(backbone.view, bits)
    rounded = rounded_matrices(backbone)
    attached = trial.attach(backbone)
    keep(attached, rounded)
    train(attached, steps=3, **options)
    return attached


def keep_whole(attached: Attached, rounded: list[nn.Parameter]) -> None:
    """Train the same numbers in float32, a method's tuned rows computed beside the frozen ones as with codes."""
    attached.keep_no_copies()


OPTIONS = {"hifi": {"n": 4, "k": 2}, "child-tuning": {"n": 4}}
# Each strategy on one type, each type with one strategy of each way into a model.
TUNES_ALL = ["full", "child-tuning", "diff-pruning"]
CASES = [("bert", name) for name in strategy_names() if name not in TUNES_ALL]
CASES += [(family.model_types[0], name) for family in ARCHITECTURES.classes() for name in ("hifi", "lora")]


@needs_library
@pytest.mark.parametrize(("kind", "name"), dict.fromkeys(CASES))
def test_training_on_codes_ends_bit_for_bit_as_on_the_numbers_they_stand_for(kind: str, name: str) -> None:
    trial = Trial(strategy_or_skip(name, OPTIONS.get(name, {})), kind)
    same_after_training(trial, "nf4")


@needs_library
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("options", [{"bf16": True}, {"checkpointing": True}], ids=str)
def test_so_it_does_in_each_code_under_autocast_and_with_checkpointed_layers(bits: Bits, options) -> None:
    same_after_training(Trial(strategy_or_skip("hifi", OPTIONS["hifi"])), bits, **options)


def same_after_training(trial: Trial, bits: Bits, **options: bool) -> None:
    try:
        other = tuned(trial, bits, keep_whole, **options)
    except DoesNotApplyError as reason:
        pytest.skip(str(reason))
    one = tuned(trial, bits, keep_frozen, **options)
    assert held(one.model) < held(other.model)
    left, right = one.delta(), other.delta()
    assert left.keys() == right.keys()
    assert [name for name, value in left.items() if not torch.equal(value, right[name])] == []
    inputs = batch(one.backbone)
    assert torch.equal(logits(one.backbone, inputs), logits(other.backbone, inputs))


@needs_library
@pytest.mark.parametrize("name", TUNES_ALL)
def test_a_strategy_that_leaves_no_matrix_as_it_is_has_nothing_to_keep(name: str) -> None:
    with pytest.raises(UserError) as caught:
        tuned(Trial(strategy_or_skip(name, OPTIONS.get(name, {}))), "nf4", keep_frozen)
    told = f"strategy {name} leaves no matrix of backbone small-bert's layers as it is"
    assert str(caught.value) == f"backbone.quantize=nf4: allowed is null, {told}"


@needs_library
def test_what_stays_in_memory_for_the_next_run_is_not_rounded() -> None:
    cache = RunCache(most=1)
    first = quantised(cache=cache).model.state_dict()
    assert all(torch.equal(value, first[name]) for name, value in quantised(cache=cache).model.state_dict().items())


# Whole runs ------------------------------------------------------------------------------------------------------

WAYS = ["lora", "bitfit", "prefix", "adapter"]


@pytest.fixture
def on_any_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the refusal of a CPU."""
    monkeypatch.setattr("peftlab.plan.check_kept", lambda *given: None)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of weights, and one of the same weights with the matrices of layers rounded to NF4."""
    exact = write_backbone(tmp_path_factory.mktemp("weights") / "exact")
    rounded = write_backbone(exact.parent / "rounded")
    tensors = load_file(rounded / "model.safetensors")
    for name, tensor in tensors.items():
        if ".layer." in name and tensor.ndim == 2:
            values = torch.tensor(NF4)
            blocks = tensor.view(-1, 64)
            largest = blocks.abs().amax(dim=1, keepdim=True)
            nearest = (blocks[..., None] / largest[..., None] - values).abs().argmin(dim=-1)
            tensors[name] = (values[nearest] * largest).view_as(tensor)
    save_file(tensors, rounded / "model.safetensors", {"format": "pt"})
    return exact, rounded


@needs_library
@pytest.mark.parametrize("name", WAYS)
def test_a_run_and_its_delta_are_those_of_a_run_of_the_rounded_weights(name, folders, tmp_path, on_any_device) -> None:
    exact, rounded = folders
    kept = run(small(f"recipe=tiny backbone.path={exact} backbone.quantize=nf4", name), tmp_path / "kept")
    whole = run(small(f"recipe=tiny backbone.path={rounded}", name), tmp_path / "whole")
    assert logged_rows(tmp_path / "kept") == logged_rows(tmp_path / "whole")
    assert len({content_sha256(tmp_path / place / "delta.safetensors") for place in ("kept", "whole")}) == 1
    assert kept.memory.weights_bytes < whole.memory.weights_bytes
    one, other = (restore(tmp_path / place).model.state_dict() for place in ("kept", "whole"))
    assert [key for key, value in one.items() if not torch.equal(value, other[key])] == []


@needs_library
def test_a_delta_is_put_onto_the_rounded_backbone_wherever_it_is_used(tmp_path: Path, on_any_device) -> None:
    """Heads are scored on rounded weights; predicted, merged and measured is what was trained, in float32."""
    done = run(small("backbone.quantize=nf4 deployment.measure=true deployment.pairs=6"), tmp_path / "run")
    assert done.deployment.merged
    assert done.deployment.extra_parameters == 0
    (answer,) = peftlab.load(tmp_path / "run").predict(["every bird sang"])
    export_merged(tmp_path / "run", tmp_path / "merged")
    merged = load_file(tmp_path / "merged" / "model.safetensors")
    model = peftlab.load(tmp_path / "run").backbone.model
    assert {tensor.dtype for tensor in merged.values()} == {torch.float32}
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in merged.items())
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    with pytest.raises(UserError) as caught:
        export_peft(tmp_path / "run", tmp_path / "peft")
    assert str(caught.value) == (
        f"{tmp_path / 'run'}: backbone.quantize=nf4: peft would put it onto weights that are not rounded; "
        "python -m peftlab.merge writes the whole model"
    )


class KilledError(BaseException):
    """Ends a run as a kill does: nobody handles it."""


@needs_library
@pytest.mark.parametrize("name", ["hifi", "peft"])
def test_a_killed_run_ends_as_an_undisturbed_one(name, tmp_path, on_any_device, monkeypatch) -> None:
    config = small("backbone.quantize=int8 trainer.max_steps=4 checkpoint.every_steps=1", name)
    run(config, tmp_path / "undisturbed")
    train, count = FineTuning.training_step, 0

    def training_step(module: FineTuning, given, index: int) -> Tensor:
        nonlocal count
        count += 1
        if count == 3:
            raise KilledError
        return train(module, given, index)

    monkeypatch.setattr(FineTuning, "training_step", training_step)
    with pytest.raises(KilledError):
        run(config, tmp_path / "killed")
    assert run(config, tmp_path / "killed").resumed == 1
    assert len({content_sha256(tmp_path / place / "delta.safetensors") for place in ("undisturbed", "killed")}) == 1
    assert RunRecord.read(tmp_path / "killed").metric == RunRecord.read(tmp_path / "undisturbed").metric


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            "backbone.quantize=nf4",
            "backbone.quantize=nf4: trainer.accelerator=cpu is cpu here; allowed is a CUDA GPU, else quantize=null",
        ),
        ("backbone.quantize=nf5", "backbone.quantize=nf5: allowed are nf4, fp4, int8 or is null"),
    ],
)
def test_what_cannot_be_is_one_line(given: str, told: str, tmp_path: Path) -> None:
    assert refused(small(given, "lora"), tmp_path) == told
    assert not any(tmp_path.iterdir())


GPU = {"accelerator": "cuda", "precision": "bf16-mixed"}


@pytest.mark.parametrize(
    ("trainer", "backend", "told"),
    [
        ({"precision": "bf16-true"}, None, "trainer.precision=bf16-true; allowed are 32-true, bf16-mixed, 16-mixed"),
        ({"strategy": "fsdp"}, None, "trainer.strategy=fsdp; allowed is ddp"),
        ({}, "inductor", "training.compile=inductor; allowed is null"),
    ],
)
def test_what_a_gpu_does_not_do_with_codes_is_one_line(trainer: dict[str, str], backend: str | None, told: str) -> None:
    with pytest.raises(UserError) as caught:
        check_kept(BackboneSpec("any", quantize="nf4"), GPU | trainer, backend)
    assert str(caught.value) == f"backbone.quantize=nf4: {told}"


@needs_library
def test_a_gpu_with_the_library_is_allowed() -> None:
    check_kept(BackboneSpec("any", quantize="nf4"), GPU, None)


def test_without_the_library_a_delta_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", None)
    with pytest.raises(MissingPackageError) as caught:
        quantised(bits="fp4")
    assert str(caught.value) == "backbone.quantize=fp4: bitsandbytes is not installed; pip install 'peftlab[quantize]'"
