"""HiFi on a backbone: what it looks at, what it reuses, and what it refuses."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from models import tiny
from peftlab.backbones.loading import Backbone
from peftlab.data.module import TaskData
from peftlab.errors import UserError
from peftlab.heads.pagerank import pagerank
from peftlab.heads.selection import ChosenHeads, HeadSelection
from peftlab.strategies.contract import SelectionContext
from peftlab.strategies.hifi import HiFi
from peftlab.tasks.task import Task

DEMO = {"name": "demo", "labels": ["entailment", "not_entailment"], "metrics": ["accuracy"], "generator": "demo"}
FAST: dict[str, Any] = {"n": 12, "k": 2}


def preparation(backbone: Backbone, seed: int = 1, shots: int | None = None) -> SelectionContext:
    options: dict[str, Any] = {"root": None, "shots": shots, "batch_size": 8, "max_length": 64, "cache_dir": None}
    data = TaskData(Task.from_config(DEMO), backbone.processor, seed=seed, **options)
    return SelectionContext(backbone, data, seed, torch.device("cpu"))


@pytest.fixture(scope="module")
def prepared() -> SelectionContext:
    context = preparation(tiny(max_position_embeddings=256))
    context.data.setup()  # it warns of texts that are cut, once, and not in whichever test comes first
    return context


def test_each_tuned_layer_gets_k_heads(prepared: SelectionContext) -> None:
    assert [len(layer) for layer in HiFi(**FAST).select(prepared).heads] == [2, 2]
    assert [len(layer) for layer in HiFi(**FAST, variant="mid-top").select(prepared).heads] == [0, 2]


def test_the_walk_teleports_by_richness_unless_it_is_told_otherwise(prepared: SelectionContext) -> None:
    rich: dict[str, Any] = {**FAST, "xi": 0.999}  # at 0.9 all heads of this untrained model are equally rich
    selection, printed = HiFi(**rich).select(prepared), HiFi(**rich, teleport="uniform").select(prepared)
    correlation, richness = selection.scores.correlation, selection.scores.richness
    torch.testing.assert_close(selection.pagerank, pagerank(correlation, richness, teleport="richness").scores)
    assert not torch.allclose(selection.pagerank, printed.pagerank, rtol=1e-3)


def test_the_same_seed_draws_the_same_examples(prepared: SelectionContext) -> None:
    first, again = HiFi(**FAST).select(prepared), HiFi(**FAST).select(prepared)
    assert torch.equal(first.scores.richness, again.scores.richness)
    other = HiFi(**FAST).select(SelectionContext(prepared.backbone, prepared.data, 2, prepared.device))
    assert not torch.equal(first.scores.correlation, other.scores.correlation)


def test_examples_of_like_length_share_a_batch(prepared: SelectionContext, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[list[int]] = []
    plain = prepared.data.batches

    def watched(*options: Any) -> Any:
        for batch in plain(*options):
            lengths.append(batch["attention_mask"].sum(1).tolist())
            yield batch

    monkeypatch.setattr(prepared.data, "batches", watched)
    HiFi(n=24, batch_size=5).select(prepared)
    assert [len(batch) for batch in lengths] == [5, 5, 5, 5, 4]
    found = [length for batch in lengths for length in batch]
    assert found == sorted(prepared.data.sample(24, 1).lengths)


def test_scores_are_of_the_full_training_set_even_with_few_shots() -> None:
    few = preparation(tiny(max_position_embeddings=256), shots=4)
    assert HiFi(n=20).select(few).scores.examples == 20
    assert HiFi(n=20, pool="shots").select(few).scores.examples == 8


def test_more_examples_than_there_are_take_all_and_warn(caplog: pytest.LogCaptureFixture) -> None:
    few = preparation(tiny(max_position_embeddings=256), shots=4)
    with caplog.at_level(logging.WARNING):
        selection = HiFi(n=9, pool="shots").select(few)
    assert selection.describe()["examples"] == 8
    assert "n=9" in caplog.text


def test_a_stored_selection_is_reused_as_it_is(
    prepared: SelectionContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = HiFi(**FAST, score="random").select(prepared)
    made.save(tmp_path)
    with caplog.at_level(logging.WARNING):
        again = HiFi(**FAST, score="random", selection=str(tmp_path)).select(prepared)
        assert not caplog.records
        HiFi(k=1, selection=str(tmp_path / "selection.json")).select(prepared)
    assert again.heads == made.heads
    assert "k=2, score=random" in caplog.text


def test_a_selection_of_another_shape_is_refused(prepared: SelectionContext, tmp_path: Path) -> None:
    HiFi(**FAST).select(prepared).save(tmp_path)
    deeper = preparation(tiny(num_hidden_layers=3, max_position_embeddings=256))
    with pytest.raises(UserError, match=r"2 layers of 4 heads.*3 of 4"):
        HiFi(selection=str(tmp_path)).select(deeper)


@pytest.mark.parametrize(
    ("heads", "message"),
    [
        (((0,),), "1 layers"),
        (((0,), (4,)), "allowed are 0 to 3"),
        (((0,), (-1,)), "allowed are 0 to 3"),
        (((0,), (1, 1)), "allowed are 0 to 3"),
    ],
)
def test_heads_that_the_backbone_does_not_have_are_refused(heads: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        HiFi().attach(tiny(), ChosenHeads(heads))


@pytest.mark.parametrize("facts", [{}, {"heads": 3}, {"heads": [3]}, {"heads": [["a"], []]}])
def test_facts_of_a_delta_that_name_no_heads_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="heads"):
        HeadSelection.from_facts(facts)


def test_more_heads_than_a_layer_has_are_refused_before_any_data_is_read() -> None:
    with pytest.raises(UserError, match=r"strategy.k=5.*1 to 4"):
        HiFi(k=5).check(tiny())


def test_no_graph_reaches_below_the_lowest_tuned_layer() -> None:
    backbone = tiny()
    HiFi(variant="mid-top").attach(backbone, ChosenHeads(((), (0, 1))))
    reached: list[bool] = []
    backbone.view.layer(0).register_forward_hook(
        lambda module, inputs, output: reached.append((output if torch.is_tensor(output) else output[0]).requires_grad)
    )
    backbone.model(input_ids=torch.randint(5, 60, (2, 9))).logits.sum().backward()
    assert reached == [False]


@pytest.mark.parametrize(("variant", "row"), [("layer-wise", "hifi"), ("mid-top", "hifi-mid-top")])
def test_each_variant_has_its_own_row_of_table_five(variant: Any, row: str) -> None:
    assert HiFi(variant=variant).recipe == row


def test_scores_after_steps_are_those_of_another_model_and_the_backbone_is_as_before(
    prepared: SelectionContext,
) -> None:
    before = {name: tensor.clone() for name, tensor in prepared.backbone.model.state_dict().items()}
    untouched = HiFi(**FAST).select(prepared)
    after = HiFi(**FAST, score_after_steps=3, score_learning_rate=1e-3).select(prepared)
    assert not torch.equal(after.scores.correlation, untouched.scores.correlation)
    assert all(torch.equal(tensor, before[name]) for name, tensor in prepared.backbone.model.state_dict().items())
    assert torch.equal(HiFi(**FAST).select(prepared).scores.correlation, untouched.scores.correlation)


def test_a_selection_says_in_which_state_the_model_was_scored(prepared: SelectionContext) -> None:
    options = HiFi(**FAST).select(prepared).options
    assert options["score_after_steps"] == 0
    assert "score_learning_rate" not in options
    options = HiFi(**FAST, score_after_steps=2, score_learning_rate=5e-5, batch_size=4).select(prepared).options
    state = {"score_after_steps": 2, "score_learning_rate": 5e-5, "batch_size": 4}
    assert {name: options[name] for name in state} == state


@pytest.mark.parametrize("change", [{"score_learning_rate": 1e-4}, {"batch_size": 6}])
def test_rate_and_batch_reach_the_scores_only_of_a_trained_model(
    prepared: SelectionContext, change: dict[str, Any]
) -> None:
    for steps in (0, 3):
        plain, changed = ({"score_after_steps": steps, **more} for more in ({}, change))
        first, second = (HiFi(**FAST, **options).select(prepared).scores.correlation for options in (plain, changed))
        assert torch.allclose(first, second, rtol=1e-5, atol=1e-9) == (steps == 0)


def test_a_selection_keeps_the_spectra_its_richness_was_counted_from(
    prepared: SelectionContext, tmp_path: Path
) -> None:
    selection = HiFi(**FAST).select(prepared)
    assert selection.scores.spectrum is not None
    assert selection.scores.spectrum.shape == (2, 4, 8)
    read = HeadSelection.load(selection.save(tmp_path)[0]).scores.spectrum
    assert read is not None
    torch.testing.assert_close(read, selection.scores.spectrum, rtol=0, atol=5e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_after_steps": -1}, "strategy.score_after_steps=-1: allowed is 0 or more"),
        ({"score_learning_rate": 0.0}, "strategy.score_learning_rate=0.0: allowed is above 0"),
        ({"score_learning_rate": float("inf")}, "strategy.score_learning_rate=inf: allowed is above 0"),
    ],
)
def test_impossible_states_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        HiFi(**options)
