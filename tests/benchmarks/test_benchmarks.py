"""Every benchmark at a size of milliseconds: it measures what it says, whatever the numbers."""

import sys

import pytest
import torch

from bench import gpu, models, pretrained, scoring, steps, twins
from bench.models import Shape
from bench.precision import measure as measure_precision
from bench.precision import measure_held
from peftlab.backbones.loading import BackboneSpec, load_backbone
from peftlab.output_layer import classes

TINY = Shape(2, 4, 32, vocabulary=200)


def test_steps_give_every_pair_of_the_issue_a_row():
    rows = steps.measure(TINY, 2, 8, rounds=2)
    targets = {(row.what, row.rival): row.target for row in rows if row.target not in (None, 1.0)}
    assert targets == {
        ("step: HiFi", "full fine-tuning"): 0.60,
        ("step: HiFi mid-top", "full fine-tuning"): 0.46,
        ("step: HiFi mid-top", "peft LoRA r=8"): 0.78,
    }
    assert all(row.value > 0 for row in rows)


def test_upper_layers_alone_keep_fewer_activations_than_lora():
    row = steps.memory(TINY, 4, 16)
    assert 0 < row.value < 1


def test_saved_activations_are_counted_by_storage_without_the_weights():
    model = torch.nn.Sequential(torch.nn.Linear(4, 8, bias=False), torch.nn.Sigmoid())

    class Named(torch.nn.Module):
        def forward(self, inputs):
            return model(inputs)

    named = Named()
    named.add_module("inner", model)
    # The layer keeps its input [2, 4], the sigmoid its output [2, 8]; four bytes each.
    assert models.saved_bytes(named, {"inputs": torch.ones(2, 4)}) == 4 * (2 * 4 + 2 * 8)


@pytest.mark.parametrize("upper", [False, True])
def test_spread_heads_are_k_different_ones_in_the_layers_that_are_tuned(upper):
    heads = models.spread_heads(Shape(4, 12, 24), upper=upper).heads
    assert [len(set(layer)) for layer in heads] == ([0, 0, 3, 3] if upper else [3, 3, 3, 3])


def test_every_step_learns_what_it_is_given():
    inputs = models.batch(TINY, 4, 8)
    for step in (
        models.our_step("full", TINY, inputs),
        models.their_step(models.plain(TINY), inputs),
        models.our_step("full", TINY, inputs, precision=torch.bfloat16),
    ):
        first = step()
        for _ in range(20):
            last = step()
        assert last < first


def test_scoring_is_measured_against_forward_passes_and_the_papers_way():
    rows = [*scoring.against_forward(TINY, 32), *scoring.against_the_papers_way(TINY, 2)]
    assert [row.target for row in rows] == [1.10, 1.10, 5.0, 0.0]
    # The same richness by a decomposition of each head.
    assert rows[-1].value == 0.0


@pytest.mark.parametrize(
    ("kind", "shared"), [("mpnet", {}), ("gemma3_text", {"num_key_value_heads": 1, "head_dim": 8})]
)
def test_other_families_are_measured_against_a_model_of_the_same_configuration(kind, shared):
    made = load_backbone(
        BackboneSpec(kind, random={"model_type": kind, **TINY.sizes(), **shared}), classes(models.LABELS), seed=1
    )
    theirs = pretrained.plain(made)
    assert {name: p.shape for name, p in theirs.named_parameters()} == {
        name: p.shape for name, p in made.model.named_parameters()
    }
    rows = [*pretrained.scoring(made, 2, 8, rounds=1), *pretrained.steps(made, 2, 8, rounds=1)]
    assert [row.target for row in rows] == [1.20, 1.20, 0.60, 1.00, None, None]


def test_operations_of_products_are_counted():
    # Forward, and of each product two back: 2 * 3 * 4 * 5 for [3, 4] by [4, 5].
    left, right = torch.ones(3, 4, requires_grad=True), torch.ones(4, 5, requires_grad=True)
    assert pretrained.operations(lambda: (left @ right).sum().backward()) == 3 * 2 * 3 * 4 * 5


def test_mixed_precision_is_measured_against_float32():
    assert [row.target for row in measure_precision(TINY, 2, 8, rounds=1)] == [1.8, None]
    assert [row.target for row in measure_held(TINY, 2, 8, rounds=1)] == [None, 1.0]


def test_twins_of_peft_are_measured_one_by_one():
    rows = twins.against_peft(TINY, 2, 8, rounds=1)
    assert {row.what.removeprefix("step: ") for row in rows} == {*twins.PEFT_TWINS, "bitfit", "classifier"}


def test_the_worker_of_another_environment_answers_line_by_line(tmp_path):
    echo = tmp_path / "worker.py"
    echo.write_text(
        "import sys\nfor number, line in enumerate(sys.stdin):\n    print(number + len(line), flush=True)\n"
    )
    with twins.worker(twins.Path(sys.executable), echo) as ask:
        assert [ask("step"), ask("step")] == [7.0, 8.0]


def test_a_frozen_backbone_in_codes_answers_as_its_numbers_do_and_steps_alike():
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed: pip install bitsandbytes")
    inputs = models.batch(TINY, 2, 8)
    assert [row.value for row in gpu.exactness(TINY, inputs)] == [0.0, 0.0]
    losses = [float(models.our_step("lora", TINY, inputs, bits=bits)()) for bits in (None, "int8")]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)


def test_without_a_gpu_its_benchmark_says_so_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        gpu.main()
    assert stopped.value.code == "bench.gpu: there is no CUDA GPU here; the other benchmarks measure the CPU"
