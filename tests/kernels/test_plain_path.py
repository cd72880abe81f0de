"""What makes a run fast leaves its numbers: losses, scores and heads are those of transformers by itself."""

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from models import batch, tiny
from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import PROJECTIONS, BackboneView
from peftlab.data.batching import cut
from peftlab.heads.scoring import score_heads
from peftlab.heads.selection import select_heads
from peftlab.inputs.text import TextEncoder
from peftlab.layers.head_rows import rows_of_heads
from peftlab.strategies.hifi import ChosenHeads
from peftlab.strategies.registry import create_strategy
from peftlab.tasks.sources.demo import make_demo

SILENT = {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}
HEADS = ChosenHeads(((0, 2), (1, 3)))
WALK = {"d": 0.85, "eps": 1e-5, "max_iter": 100, "orientation": "column", "teleport": "uniform"}


def as_transformers_makes_it(backbone: Backbone) -> PreTrainedModel:
    """Return a model with the backbone's weights that nothing of ours has touched."""
    plain = AutoModelForSequenceClassification.from_config(backbone.model.config, attn_implementation="sdpa")
    plain.load_state_dict(backbone.model.state_dict())
    return plain.train()


def losses(model: PreTrainedModel, backbone: Backbone, tuned: list[torch.nn.Parameter], mixed: bool) -> torch.Tensor:
    optimiser = torch.optim.AdamW(tuned, lr=1e-2, weight_decay=0.0)
    found = []
    for step in range(12):
        given = batch(backbone, seed=step)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            logits = model(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
        loss = F.cross_entropy(logits.float(), given["labels"])
        loss.backward()
        for parameter in tuned:  # a masked gradient stands for HiFi's rows
            parameter.grad.mul_(getattr(parameter, "mask", 1.0))
        optimiser.step()
        optimiser.zero_grad()
        found.append(loss.item())
    return torch.tensor(found)


def plain_losses(strategy: str, mixed: bool = False) -> torch.Tensor:
    """Train transformers' own model; HiFi's rows by gradient masks, which hold where nothing decays."""
    backbone = tiny(**SILENT)
    plain = as_transformers_makes_it(backbone)
    if strategy == "full":
        return losses(plain, backbone, list(plain.parameters()), mixed)
    plain.requires_grad_(False)
    view = BackboneView(plain)
    tuned = [parameter for _, parameter in view.classifier_parameters()]
    for layer, heads in enumerate(HEADS.heads):
        for which in PROJECTIONS:
            weight = view.projection(layer, which).weight
            weight.mask = torch.zeros_like(weight)
            weight.mask[rows_of_heads(heads, view.head_dim)] = 1.0
            tuned.append(weight)
    for parameter in tuned:
        parameter.requires_grad_(True)
    return losses(plain, backbone, tuned, mixed)


def our_losses(strategy: str, mixed: bool = False) -> torch.Tensor:
    backbone = tiny(**SILENT)
    way = create_strategy(strategy, {}).attach(backbone, HEADS if strategy == "hifi" else None)
    backbone.model.train()
    return losses(backbone.model, backbone, [*way.tuned().values(), *way.classifier().values()], mixed)


@pytest.mark.parametrize("strategy", ["full", "hifi"])
def test_training_loses_what_it_loses_on_the_plain_path(strategy: str) -> None:
    ours, theirs = our_losses(strategy), plain_losses(strategy)
    assert theirs.std() > 5e-3
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_mixed_precision_stays_as_near_to_float32_as_on_the_plain_path() -> None:
    exact = plain_losses("full")
    ours, theirs = ((found - exact).abs().max() for found in (our_losses("full", True), plain_losses("full", True)))
    assert ours < max(2 * theirs, torch.tensor(0.02))


def test_heads_are_scored_and_chosen_alike() -> None:
    columns = {name: column[:24] for name, column in make_demo()["train"].items()}
    found = []
    for attention in ("auto", "sdpa"):
        backbone = tiny(attention=attention)
        if attention == "sdpa":
            object.__setattr__(backbone, "model", as_transformers_makes_it(backbone))
            object.__setattr__(backbone, "view", BackboneView(backbone.model))
        encoder = TextEncoder(backbone.processor, 64)
        examples = encoder.encode(Dataset.from_dict(columns))
        batches = (encoder.collate([examples[i] for i in chosen]) for chosen in cut(range(24), 8))
        found.append(score_heads(backbone, batches, 0.9))
    torch.testing.assert_close(found[0].richness, found[1].richness, rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0].correlation, found[1].correlation, rtol=1e-4, atol=1e-8)
    chosen = [select_heads(s, k=2, score="pagerank", variant="layer-wise", seed=1, **WALK).heads for s in found]
    assert chosen[0] == chosen[1]
