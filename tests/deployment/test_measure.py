"""What a deployed model holds, is made of and takes, measured on runs and on models whose difference is known."""

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from models import tiny
from peftlab.deployment.measure import measure_delay, settle, structure
from peftlab.deployment.paired import paired_ratio
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.run_config import DeploymentOptions
from runs import small

OPTIONS = DeploymentOptions(measure=True, batch_size=1, length=16, pairs=40)


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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch at work in one thread, so that its own clock can time it whatever goes on beside the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_deeper_model_is_slower_and_an_equal_one_is_not(one_thread: None) -> None:
    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2}
    bare, equal = tiny(**sizes).model, tiny(**sizes).model
    deeper = tiny(**{**sizes, "num_hidden_layers": 6}).model
    same, slower = measure_delay(bare, equal, OPTIONS), measure_delay(bare, deeper, OPTIONS)
    # Loose bounds: six layers take more than twice what two do, and caches are shared with other programs.
    assert 0.8 < same.ratio < 1.25
    assert slower.low > 1.25


def test_settling_gives_each_tensor_memory_of_its_own_and_changes_nothing_else() -> None:
    model, untouched = tiny().model, tiny().model
    model.classifier.twin = model.classifier.weight
    file = torch.cat([model.classifier.weight.data.flatten(), torch.zeros(100)])
    model.classifier.weight.data = file[:-100].view(2, -1)
    settle(model, torch.device("cpu"))
    assert model.classifier.weight.untyped_storage().nbytes() == 4 * 2 * 32
    assert model.classifier.twin is model.classifier.weight
    for name, value in untouched.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize(
    ("threads", "clock", "name"), [(1, time.thread_time, "processor"), (2, time.perf_counter, "wall")]
)
def test_one_thread_is_timed_by_its_own_clock(threads, clock, name, monkeypatch):
    used = []

    def paired(reference, candidate, pairs, clock):
        used.append(clock)
        return paired_ratio(reference, candidate, pairs, clock)

    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("peftlab.deployment.measure.paired_ratio", paired)
    assert measure_delay(tiny().model, tiny().model, OPTIONS).clock == name
    assert used == [clock]


def test_the_texts_are_of_the_length_that_is_asked_for_and_hold_no_padding() -> None:
    model, seen = tiny("roberta").model, []
    model.register_forward_pre_hook(lambda module, positional, named: seen.append(named), with_kwargs=True)
    measure_delay(model, tiny("roberta").model, DeploymentOptions(True, batch_size=3, length=100, pairs=6))
    for inputs in seen:
        assert inputs["input_ids"].shape == (3, 100)
        assert (inputs["input_ids"] != model.config.pad_token_id).all()
        assert inputs["input_ids"].max() < model.config.vocab_size
        assert inputs["attention_mask"].all()
