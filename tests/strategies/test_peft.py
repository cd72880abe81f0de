"""Methods of the peft library: each trains, comes back and merges on BERT and RoBERTa, or says why it does not fit."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from models import batch, logits, tiny
from peftlab.check.small import snapshot, train
from peftlab.delta.delta import load_delta, save_delta
from peftlab.errors import UserError
from peftlab.strategies.peft import FORMS, methods
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import apply_delta, describe_delta
from peftlab.strategies.traits import Traits

# The methods that `conf/strategy/peft.yaml` names, with what a backbone of hidden size 32 needs beside the defaults.
METHODS: dict[str, dict[str, Any]] = {
    "adalora": {"total_step": 30, "tinit": 2, "tfinal": 2},
    "adamss": {},
    "beft": {},
    "boft": {},
    "c3a": {"block_size": 8},
    "deft": {},
    "delora": {},
    "fourierft": {"n_frequency": 64},
    "frod": {},
    "glora": {},
    "gralora": {},
    "hira": {},
    "hra": {},
    "ia3": {},
    "ln_tuning": {},
    "loha": {},
    "lokr": {},
    "lora": {},
    "miss": {"r": 8},
    "oft": {},
    "osf": {},
    "peanut": {},
    "psoft": {},
    "pvera": {},
    "randlora": {"r": 4},
    "road": {"group_size": 8},
    "shira": {"r": 4, "random_seed": 1},
    "supertuning": {},
    "tinylora": {},
    "trainable_tokens": {"token_indices": [5, 6, 7]},
    "unilora": {},
    "vblora": {"vector_length": 8, "num_vectors": 16},
    "vera": {},
    "waveft": {"n_frequency": 64},
    **{form: {} for form in FORMS},
}


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_comes_back_and_merges(method: str, kind: str, tmp_path: Path) -> None:
    if method not in {*methods(), *FORMS}:
        pytest.skip(f"peft {peft.__version__} has no {method}")
    strategy = create_strategy("peft", {"method": method, "options": METHODS[method]})
    backbone, fresh = tiny(kind), tiny(kind, seed=99)
    modules, before = [type(module) for module in backbone.model.modules()], snapshot(backbone)
    strategy.check(backbone)
    assert all(torch.equal(value, before[name]) for name, value in snapshot(backbone).items())

    attached = strategy.attach(backbone)
    tuned = {name for name, p in backbone.model.named_parameters() if p.requires_grad}
    before = snapshot(backbone)
    train(attached)
    after = snapshot(backbone)
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == tuned

    inputs = batch(backbone)
    trained = logits(backbone, inputs)
    save_delta(describe_delta(attached, {"name": backbone.name}, "rte", ["yes", "no"], {}), tmp_path)
    again = apply_delta(load_delta(tmp_path), fresh)
    assert torch.equal(logits(fresh, inputs), trained)
    attached.merge()
    tolerance = strategy.traits.merge_tolerance
    assert tolerance is not None
    assert (logits(backbone, inputs) - trained).abs().max() <= tolerance * trained.abs().max()
    assert [type(module) for module in backbone.model.modules()] == modules
    again.detach()
    assert [type(module) for module in fresh.model.modules()] == modules


def test_there_are_thirty_of_them() -> None:
    assert len(METHODS.keys() & {*methods(), *FORMS}) >= 30 or tuple(map(int, peft.__version__.split(".")[:2])) < (
        0,
        21,
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "lorra"}, "strategy.method=lorra: peft has no such method .*did you mean lora"),
        ({"method": "prefix_tuning"}, "no such method that puts layers into a backbone"),
        ({"options": {"rank": 4}}, "strategy.options.rank: lora has no such option"),
    ],
)
def test_names_that_peft_does_not_have_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        create_strategy("peft", options)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"method": "poly"}, "strategy.method=poly: does not fit backbone tiny-bert: task_ids"),
        ({"method": "adalora"}, "total_step"),
        ({"method": "c3a"}, "block size"),
        ({"options": {"target_modules": ["nowhere"]}}, "No modules were targeted"),
    ],
)
def test_what_does_not_fit_is_one_line_and_leaves_the_backbone_as_it_was(options: dict[str, Any], told: str) -> None:
    backbone = tiny()
    before = snapshot(backbone)
    strategy = create_strategy("peft", options)
    with pytest.raises(UserError, match=told) as mistake:
        strategy.check(backbone)
    assert "\n" not in str(mistake.value)
    assert snapshot(backbone).keys() == before.keys()
    assert all(p.requires_grad for p in backbone.model.parameters())


@pytest.mark.parametrize(
    ("options", "tuned"),
    [
        ({"target_modules": "all-linear"}, 7168),
        ({"target_modules": "all-linear", "exclude_modules": ["value"]}, 6144),
        ({"target_modules": "all-linear", "exclude_modules": ".*value"}, 6144),
        ({"target_modules": ["dense"]}, 4096),  # RoBERTa's classifier has one of that name
        ({"bias": "all"}, 2048 + 608),
    ],
)
def test_the_classifier_is_all_of_its_modules_and_gets_no_layer(options: dict[str, Any], tuned: int) -> None:
    backbone = tiny("roberta")
    own = sum(p.numel() for _, p in backbone.view.classifier_parameters())
    strategy = create_strategy("peft", {"options": options})
    strategy.check(backbone)
    attached = strategy.attach(backbone)
    assert (attached.num_tuned(), sum(p.numel() for p in attached.classifier().values()), own) == (tuned, 1122, 1122)


@pytest.mark.parametrize("start", ["eva", "corda", "lora_ga"])
def test_a_start_from_data_is_refused(start: str) -> None:
    with pytest.raises(UserError, match=f"init_lora_weights={start}: it starts from data.*allowed are"):
        create_strategy("peft", {"options": {"init_lora_weights": start}})


@pytest.mark.parametrize("options", [{"r": -3}, {"r": "x"}, {"target_modules": ["nowhere"]}, {"rank_pattern": 3}])
def test_what_peft_refuses_is_a_line_wherever_it_is_attached(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"strategy\.method=lora: does not fit backbone tiny-bert"):
        create_strategy("peft", {"options": options}).attach(tiny())


REPLICATED = {"options": {"layer_replication": [[0, 2], [1, 2]]}}


def test_mergeable_is_asked_of_the_options() -> None:
    strategy = create_strategy("peft", REPLICATED)
    strategy.check(tiny())
    assert not strategy.traits.mergeable
    assert create_strategy("peft", {}).traits.mergeable
    with pytest.raises(UserError, match="cannot be merged"):
        strategy.attach(tiny()).merge()


def test_what_would_be_left_of_a_merge_is_compared_with_what_was_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(create_strategy("peft", {})), "traits", Traits(merge_tolerance=1e-5))
    with pytest.raises(UserError, match="cannot be merged, other parameters would be left"):
        create_strategy("peft", REPLICATED).attach(tiny()).merge()


def test_a_method_that_cannot_be_merged_says_so() -> None:
    attached = create_strategy("peft", {"method": "lily"}).attach(tiny())
    with pytest.raises(UserError, match="cannot be merged"):
        attached.merge()


def test_lora_moves_b_alone_at_the_first_step_by_an_update_of_rank_r() -> None:
    backbone = tiny()
    before = snapshot(backbone)
    attached = create_strategy("lora", {"r": 2, "alpha": 4}).attach(backbone)
    inputs = batch(backbone)
    backbone.model(**inputs).loss.backward()
    for name, parameter in attached.tuned().items():
        assert parameter.grad is not None
        assert bool(parameter.grad.any()) == ("lora_B" in name)
    train(attached)
    attached.merge()
    name = "bert.encoder.layer.0.attention.self.query.weight"
    change = (snapshot(backbone)[name] - before[name]).double()
    assert torch.linalg.matrix_rank(change, rtol=1e-4) == 2


@pytest.mark.parametrize("options", [{"r": 0}, {"r": 64}, {"alpha": 0}, {"dropout": 1.0}])
def test_lora_refuses_what_is_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"strategy.{next(iter(options))}=.*allowed"):
        create_strategy("lora", options).check(tiny())


def test_the_penalty_of_adalora_vanishes_for_orthonormal_factors() -> None:
    backbone = tiny()
    attached = create_strategy("peft", {"method": "adalora", "options": METHODS["adalora"]}).attach(backbone)
    for name, parameter in attached.tuned().items():
        if "lora_A" in name or "lora_B" in name:
            torch.nn.init.orthogonal_(parameter)
    penalty = attached.penalty()
    assert penalty is not None
    assert penalty.item() == pytest.approx(0, abs=1e-5)
