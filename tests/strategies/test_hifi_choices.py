"""HiFi's choices of heads beside the paper's: by units, under one budget, by its rivals' scores, once for all seeds."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models import tiny
from peftlab.backbones.loading import Backbone
from peftlab.data.module import TaskData
from peftlab.errors import UserError
from peftlab.heads.selection import HeadSelection
from peftlab.run import run
from peftlab.strategies.contract import SelectionContext
from peftlab.strategies.hifi import HiFi
from peftlab.tasks.task import Task
from runs import SILENT, composed

DEMO = {"name": "demo", "labels": ["entailment", "not_entailment"], "metrics": ["accuracy"], "generator": "demo"}
N: dict[str, Any] = {"n": 10}


def context(kind: str = "bert", seed: int = 1, shots: int | None = None, layers: int = 2) -> SelectionContext:
    backbone = tiny(kind, seed=seed, max_position_embeddings=256, num_hidden_layers=layers)
    sizes: dict[str, Any] = {"root": None, "shots": shots, "batch_size": 8, "max_length": 64, "cache_dir": None}
    data = TaskData(Task.from_config(DEMO), backbone.processor, seed=seed, **sizes)
    return SelectionContext(backbone, data, seed, torch.device("cpu"))


@pytest.fixture(scope="module")
def bert() -> SelectionContext:
    return context(layers=4)


@dataclass
class Unlabelled:
    """Examples of which nobody may ask for a loss."""

    data: TaskData

    @property
    def batch_size(self) -> int:
        return self.data.batch_size

    def sample(self, *options: Any) -> Any:
        return self.data.sample(*options)

    def batches(self, *options: Any) -> Iterator[Any]:
        for batch in self.data.batches(*options):
            assert "labels" in batch
            yield {name: value for name, value in batch.items() if name != "labels"}

    def loss_of(self, backbone: Backbone) -> Callable[[Any], Tensor]:
        raise AssertionError("labels were asked for")


# Units ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["pagerank", "richness", "random", "gradient"])
def test_a_group_is_chosen_whole_by_the_mean_of_its_heads_and_k_counts_groups(score: str) -> None:
    found = HiFi(**N, k=1, unit="group", score=score).select(context("llama"))
    means = found.ranking.unflatten(-1, (2, 2)).mean(-1)
    assert list(found.heads) == [(2 * best, 2 * best + 1) for best in means.argmax(-1).tolist()]
    assert (found.options["unit"], found.options["group"]) == ("group", 2)


def test_where_no_keys_are_shared_a_group_is_a_head(bert: SelectionContext) -> None:
    assert HiFi(**N, k=2, unit="group").select(bert).heads == HiFi(**N, k=2).select(bert).heads


def test_groups_of_equal_number_tune_equally_many_weights_and_single_heads_bring_their_groups_once() -> None:
    sizes = set()
    for seed in (1, 2, 3, 4):
        made = HiFi(**N, k=1, unit="group", score="random")
        sizes.add(made.attach(tiny("llama"), made.select(context("llama", seed=seed))).num_tuned())
    # 2 layers of 2 query heads, a key and a value head, of 8 rows of 32 each.
    assert sizes == {2 * (2 + 1 + 1) * 8 * 32}


def test_more_groups_than_there_are_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"^strategy\.k=3: must be a whole number from 1 to 2, the key groups of a layer$"
    ):
        HiFi(k=3, unit="group").check(tiny("llama"))
    HiFi(k=3).check(tiny("llama"))


# One budget ----------------------------------------------------------------------------------------------

WAYS = ["uniform", "global", "share", "global-random", "share-random"]


@pytest.mark.parametrize("layer_score", ["richness", "spectrum", "gradient", "fisher"])
@pytest.mark.parametrize("way", WAYS)
def test_every_allocation_tunes_as_many_weights(bert: SelectionContext, way: Any, layer_score: Any) -> None:
    options: dict[str, Any] = {"budget": 9, "k_min": 1, "k_max": 3}
    strategy = HiFi(**N, allocation=way, layer_score=layer_score, **options)
    strategy.check(bert.backbone)
    found = strategy.select(bert)
    counts = [len(layer) for layer in found.heads]
    assert sum(counts) == 9
    assert all(1 <= count <= 3 for count in counts)
    best = found.ranking.argsort(dim=-1, descending=True, stable=True)
    assert found.heads == tuple(tuple(sorted(best[i, :count].tolist())) for i, count in enumerate(counts))
    attached = strategy.attach(tiny(num_hidden_layers=4), found)
    assert attached.num_tuned() == 9 * 3 * 8 * 32
    assert found.describe()["heads_by_layer"] == counts
    assert HeadSelection.from_json(found.to_json()).to_json() == found.to_json()


def test_of_the_upper_half_only_its_layers_divide_the_budget(bert: SelectionContext) -> None:
    found = HiFi(**N, variant="mid-top", allocation="share", k=2).select(bert)
    assert [len(layer) for layer in found.heads][:2] == [0, 0]
    assert sum(map(len, found.heads)) == 4
    with pytest.raises(UserError, match=r"^strategy\.budget=9: 2 tuned layers of 0 to 4 heads hold 1 to 8$"):
        HiFi(variant="mid-top", budget=9).check(bert.backbone)


def test_a_layer_without_heads_is_frozen(bert: SelectionContext) -> None:
    found = HiFi(**N, allocation="global", budget=2, k_max=2).select(bert)
    assert () in found.heads
    attached = HiFi().attach(tiny(num_hidden_layers=4), found)
    assert {name.split(".")[1] for name in attached.tuned()} == {str(i) for i, own in enumerate(found.heads) if own}


def test_a_file_says_the_heads_of_each_layer_and_refuses_others(bert: SelectionContext, tmp_path: Path) -> None:
    found = HiFi(**N, allocation="share", budget=7).select(bert)
    file, picture = found.save(tmp_path)
    document = json.loads(file.read_text())
    assert document["heads_by_layer"] == [len(layer) for layer in found.heads]
    options = {"allocation": "share", "budget": 7, "k_min": 0, "k_max": None, "layer_score": "richness"}
    assert options.items() <= document["options"].items()
    with pytest.raises(UserError, match="heads_by_layer: must be"):
        HeadSelection.from_json(json.dumps({**document, "heads_by_layer": [1, 1, 1, 4]}))
    del document["heads_by_layer"]
    plain = HeadSelection.from_json(json.dumps({**document, "options": {"k": 2}}))
    assert picture.read_bytes() != plain.save(tmp_path)[1].read_bytes()


def test_the_file_of_default_options_says_no_more_than_it_did(bert: SelectionContext) -> None:
    document = json.loads(HiFi(**N).select(bert).to_json())
    assert list(document["options"]) == [
        *("k", "score", "variant", "d", "eps", "max_iter", "orientation", "teleport", "seed"),
        *("xi", "pool", "score_after_steps"),
    ]
    assert not {"gradient", "fisher", "shift", "heads_by_layer"} & document.keys()


# Scores that read labels -----------------------------------------------------------------------------------

LABELLED: dict[str, dict[str, Any]] = {
    "gradient": {"score": "gradient"},
    "fisher": {"score": "fisher"},
    "shift": {"score": "shift", "score_after_steps": 2, "score_learning_rate": 1e-3},
}


@pytest.mark.parametrize("name", LABELLED)
def test_a_score_by_labels_ranks_by_what_was_measured_and_says_so(bert: SelectionContext, name: str) -> None:
    before = {key: value.clone() for key, value in bert.backbone.model.state_dict().items()}
    found = HiFi(**N, **LABELLED[name]).select(bert)
    assert torch.equal(found.ranking, found.scores.measured[name])
    assert (found.ranking > 0).all()
    assert found.options["labels"] == found.describe()["labels"] == "full"
    assert json.loads(found.to_json())[name] == found.ranking.tolist()
    assert HeadSelection.from_json(found.to_json()).to_json() == found.to_json()
    assert all(torch.equal(value, before[key]) for key, value in bert.backbone.model.state_dict().items())


@pytest.mark.parametrize("score", ["pagerank", "richness", "correlation", "random"])
@pytest.mark.parametrize("allocation", ["uniform", "share"])
def test_no_other_score_reads_labels(bert: SelectionContext, score: str, allocation: Any) -> None:
    data: Any = Unlabelled(bert.data)  # type: ignore[arg-type]
    blind = SelectionContext(bert.backbone, data, 1, bert.device)
    found = HiFi(**N, score=score, allocation=allocation, layer_score="spectrum").select(blind)
    assert "labels" not in found.options
    assert "labels" not in found.describe()
    with pytest.raises(AssertionError, match="labels were asked for"):
        HiFi(**N, score=score, allocation="share", layer_score="fisher").select(blind)


def test_tuning_before_the_scores_reads_labels_too_and_the_record_says_so(bert: SelectionContext) -> None:
    assert HiFi(**N, score_after_steps=1).select(bert).describe()["labels"] == "full"


def test_the_batch_size_does_not_matter_to_gradients(bert: SelectionContext) -> None:
    one, other = (HiFi(**N, score="gradient", batch_size=size).select(bert).ranking for size in (2, 32))
    assert torch.equal(one, other)


def test_fisher_is_of_the_weights_that_are_tuned(bert: SelectionContext) -> None:
    q, v, both = (HiFi(**N, score="fisher", rows=rows).select(bert).ranking for rows in (["q"], ["v"], ["q", "v"]))
    torch.testing.assert_close(both, q + v, rtol=1e-6, atol=0)
    assert not torch.allclose(q, v, rtol=0.1, atol=0)


def test_labels_that_the_run_does_not_train_on_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    few = context(shots=4)
    with caplog.at_level(logging.WARNING):
        HiFi(n=8, score="gradient", pool="shots").select(few)
        HiFi(n=8).select(few)
        assert "labels" not in caplog.text
        HiFi(n=8, score="gradient").select(few)
    assert "labels of the full training set are read, the run trains on 8 examples" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score": "shift"}, "strategy.score=shift: it compares weights before and after tuning; allowed with "),
        ({"selection_seed": -1}, "strategy.selection_seed=-1: allowed is 0 or more, or null"),
        ({"selection_seed": 1, "pool": "shots"}, "strategy.selection_seed: the shots are others with each seed; "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        HiFi(**options)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# One choice for all seeds ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"score": "random"}, *LABELLED.values()], ids=["pagerank", "random", *LABELLED]
)
def test_a_selection_seed_gives_every_seed_the_same_heads(options: dict[str, Any]) -> None:
    first, second = context(seed=1), context(seed=2)
    assert not torch.equal(first.backbone.model.classifier.weight, second.backbone.model.classifier.weight)
    classifier = second.backbone.model.classifier.weight.clone()
    fixed = HiFi(**N, selection_seed=7, **options)
    one, other = (fixed.select(where) for where in (first, second))
    assert torch.equal(one.ranking, other.ranking)
    assert one.options["seed"] == one.options["selection_seed"] == 7
    assert torch.equal(second.backbone.model.classifier.weight, classifier)
    free = [HiFi(**N, **options).select(where).ranking for where in (first, second)]
    assert not torch.equal(*free)


def test_a_selection_seed_that_is_the_runs_own_changes_nothing() -> None:
    for options in ({}, *LABELLED.values()):
        fixed, free = (HiFi(**N, **more, **options).select(context(seed=3)) for more in ({"selection_seed": 3}, {}))
        assert torch.equal(fixed.ranking, free.ranking)


def test_a_run_records_what_was_chosen_and_by_what(tmp_path: Path) -> None:
    options = "strategy.n=8 strategy.score=gradient strategy.allocation=share strategy.budget=5 strategy.rows=[v,o]"
    small = "task=demo backbone=tiny trainer=cpu trainer.max_steps=2 data.max_length=32 data.cache_dir=null"
    record = run(composed(f"+strategy=hifi {options} {small} {SILENT}"), tmp_path)
    assert record.selection is not None
    assert record.selection["labels"] == "full"
    assert sum(record.selection["heads_by_layer"]) == 5
    assert set(record.selection["alone"]) == {"degree", "richness"}
    again = HiFi(selection=str(tmp_path), allocation="share", budget=5, score="gradient")
    assert again.selection_type.load(tmp_path).describe() == record.selection
