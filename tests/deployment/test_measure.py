"""What a deployed model holds, is made of and takes, measured on runs and on models whose difference is known."""

import copy
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models import tiny
from peftlab.deployment.measure import measure_delay, structure
from peftlab.preflight import DeploymentOptions
from peftlab.results.record import RunRecord
from peftlab.run import run
from runs import small, write_rte

OPTIONS = DeploymentOptions(measure=True, batch_size=1, length=16, pairs=40)


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rte(tmp_path_factory.mktemp("glue"))


def measured(strategy: str, overrides: str, glue: Path, folder: Path) -> RunRecord:
    asked = "deployment.measure=true deployment.pairs=6 deployment.batch_size=2 deployment.length=9"
    rest = f"task=rte data.root={glue} data.cache_dir={glue}/cache trainer.max_steps=1"
    return run(small(f"{asked} {rest} {overrides}", strategy), folder)


# Two layers, 32 wide: what each method leaves in the model that is deployed, computed by hand.
CASES = [
    ("full", "", True, 0),
    ("bitfit", "", True, 0),
    ("classifier", "", True, 0),
    ("hifi", "", True, 0),
    ("child-tuning", "strategy.n=8", True, 0),
    ("lora", "", True, 0),
    ("ia3", "", True, 0),
    ("peft", "strategy.method=dora", True, 0),
    ("prompt", "strategy.length=7", False, 7 * 32),
    # The MLP that made the prefix is gone: keys and values remain.
    ("prefix", "strategy.length=5 strategy.mlp=64", False, 2 * 5 * 2 * 32),
    # Twice a layer: down to 8 and up again, with biases.
    ("adapter", "strategy.bottleneck=8", False, 2 * 2 * (2 * 32 * 8 + 8 + 32)),
    # One rule of n^3 numbers for all; once a layer the factors and biases, 2d + 2m + m + d.
    ("compacter", "strategy.plus=true strategy.bottleneck=8", False, 4**3 + 2 * (3 * 32 + 3 * 8)),
]


@pytest.mark.parametrize(("strategy", "overrides", "merged", "extra"), CASES, ids=[case[0] for case in CASES])
def test_a_run_measures_what_its_delta_leaves_in_a_model(strategy, overrides, merged, extra, glue, tmp_path):
    record = measured(strategy, overrides, glue, tmp_path)
    found = record.deployment
    assert found is not None
    assert (found.merged, found.extra_parameters, found.structure_changed) == (merged, extra, not merged)
    delay = found.delay
    assert 0 < delay.low <= delay.ratio <= delay.high
    assert (delay.pairs, delay.batch_size, delay.length) == (6, 2, 9)
    assert 0 < delay.bare_seconds < 10
    assert RunRecord.read(tmp_path).deployment == found
    assert record.delta is not None
    assert record.delta.bytes == (tmp_path / "delta.safetensors").stat().st_size


def test_a_run_that_is_not_asked_measures_nothing(glue, tmp_path):
    assert measured("bitfit", "deployment.measure=false", glue, tmp_path).deployment is None


@pytest.mark.parametrize("kind", ["roberta", "distilbert"])
def test_other_architectures_are_measured_too(kind, glue, tmp_path):
    assert measured("bitfit", f"backbone.random.model_type={kind}", glue, tmp_path).deployment.extra_parameters == 0


def widened(model: nn.Module) -> None:
    model.classifier = nn.Linear(model.classifier.in_features, 5)


def wrapped(model: nn.Module) -> None:
    model.dropout = nn.Sequential(model.dropout)


def replaced(model: nn.Module) -> None:
    model.dropout = nn.Identity()


def registered(model: nn.Module) -> None:
    model.register_parameter("extra", nn.Parameter(torch.zeros(1)))


@pytest.mark.parametrize("change", [widened, wrapped, replaced, registered])
def test_any_change_of_modules_or_parameters_is_a_change_of_structure(change: Any) -> None:
    model = tiny().model
    other = copy.deepcopy(model)
    change(other)
    assert structure(other) != structure(model)


def test_other_values_in_the_same_places_are_no_change_of_structure() -> None:
    assert structure(tiny(seed=1).model) == structure(tiny(seed=2).model)


def test_a_deeper_model_is_slower_and_an_equal_one_is_not() -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2}
    bare, equal = tiny(**sizes).model, tiny(**sizes).model
    deeper = tiny(**{**sizes, "num_hidden_layers": 6}).model
    same, slower = measure_delay(bare, equal, OPTIONS), measure_delay(bare, deeper, OPTIONS)
    # Loose bounds: other work may go on beside a test. Six layers take 2.5 times what two do.
    assert 0.8 < same.ratio < 1.25
    assert slower.low > 1.25


def test_what_was_loaded_and_what_was_changed_lie_in_memory_alike(glue, tmp_path, monkeypatch):
    seen = []

    def look(bare, deployed, options):
        seen.extend(tensor for model in (bare, deployed) for tensor in model.state_dict().values())
        return measure_delay(bare, deployed, options)

    monkeypatch.setattr("peftlab.deployment.measure.measure_delay", look)
    measured("bitfit", "", glue, tmp_path)
    assert seen
    # A view into a file or into a larger tensor has more memory than its own numbers.
    assert all(tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size() for tensor in seen)


@pytest.mark.parametrize(("threads", "clock"), [(1, "processor"), (2, "wall")])
def test_one_thread_is_timed_by_its_own_clock(threads: int, clock: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    bare, waiting = tiny().model, tiny().model
    waiting.register_forward_pre_hook(lambda *_: time.sleep(0.02))
    found = measure_delay(bare, waiting, DeploymentOptions(measure=True, batch_size=1, length=8, pairs=12))
    assert found.clock == clock
    # A thread that sleeps, as one that is kept waiting by another program, has not worked.
    assert (found.ratio < 2) == (clock == "processor")


def test_the_texts_are_of_the_length_that_is_asked_for_and_hold_no_padding() -> None:
    model, seen = tiny("roberta").model, []
    model.register_forward_pre_hook(lambda module, positional, named: seen.append(named), with_kwargs=True)
    measure_delay(model, tiny("roberta").model, DeploymentOptions(True, batch_size=3, length=100, pairs=6))
    for inputs in seen:
        assert inputs["input_ids"].shape == (3, 100)
        assert (inputs["input_ids"] != model.config.pad_token_id).all()
        assert inputs["input_ids"].max() < model.config.vocab_size
        assert inputs["attention_mask"].all()
