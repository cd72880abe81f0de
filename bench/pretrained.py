"""HiFi's step and the scoring on mpnet and gemma3-270m: an encoder that transformers gives eager attention alone, and
a decoder whose heads share keys and values and most of whose weights are embeddings."""

import os
from collections.abc import Callable
from typing import cast

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from bench.commands import configuration
from bench.models import BASE, LABELS, Shape, batch, spread_heads, step, their_step
from bench.models import backbone as bert
from bench.paired import alternate
from bench.report import Row, publish, slower
from bench.scoring import examples, forward, score
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.inputs.tokens import TokenisedSplit
from peftlab.output_layer import classes
from peftlab.strategies.registry import create_strategy
from peftlab.training.optimiser import build_optimiser

BATCH, ROUNDS = (4, 64), 3
FULL, LORA = "full fine-tuning", "peft LoRA r=8"
_TARGETS = {FULL: 0.60, LORA: 1.00}
_SCORING = 1.20


def backbone(name: str, attention: str = "auto") -> Backbone:
    """Return our backbone of a name, with its own weights."""
    given = configuration(f"+strategy=hifi task=rte backbone={name}")["backbone"] | {"attention": attention}
    return load_backbone(BackboneSpec(**given), classes(LABELS), seed=1)


def plain(made: Backbone) -> PreTrainedModel:
    """Return a model of the same configuration as transformers makes it, with random weights."""
    torch.manual_seed(1)
    config = type(made.model.config).from_dict(made.model.config.to_dict())
    return cast(PreTrainedModel, AutoModelForSequenceClassification.from_config(config))


def shape_of(made: Backbone) -> Shape:
    """Return the layers, query heads, width and vocabulary of a backbone."""
    config = made.model.config
    return Shape(config.num_hidden_layers, config.num_attention_heads, config.hidden_size, config.vocab_size)


def hifi_step(made: Backbone, size: int, length: int) -> Callable[[], object]:
    """Return a training step of HiFi on a quarter of each layer's heads."""
    shape = shape_of(made)
    attached = create_strategy("hifi", {}).attach(made, spread_heads(shape, k=shape.heads // 4))
    optimiser = build_optimiser(attached.parameter_groups(), 1e-4, 0.01)
    return step(made.model.train(), optimiser, batch(shape, size, length), torch.float32)


def steps(made: Backbone, size: int, length: int, rounds: int) -> list[Row]:
    """Return the rows of HiFi's step with batches [size, length] against full fine-tuning and peft's LoRA."""
    inputs = batch(shape_of(made), size, length)
    # peft has no usual places for mpnet; those that ours takes are the usual ones elsewhere.
    places = made.view.projection_names("query", "value")
    described = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=8, target_modules=places)
    lora = get_peft_model(plain(made), described)
    contenders = {
        "hifi": hifi_step(made, size, length),
        FULL: their_step(plain(made), inputs),
        LORA: their_step(cast(nn.Module, lora), inputs),
    }
    seconds = alternate(contenders, rounds)
    what = f"step: HiFi, {made.name}"
    return [slower(what, rival, seconds["hifi"], seconds[rival], target) for rival, target in _TARGETS.items()]


def scoring(made: Backbone, size: int, length: int, rounds: int) -> list[Row]:
    """Return the rows of scoring a batch [size, length] against the bare forward passes over it."""
    theirs, piece = plain(made).eval(), examples(shape_of(made), size, length)
    contenders: dict[str, Callable[[], object]] = {
        "scoring": lambda: score(made, piece, size),
        "theirs": lambda: forward(theirs, piece),
        "ours": lambda: forward(made.model, piece),
    }
    seconds = alternate(contenders, rounds)
    what = f"scoring all heads, {made.name}"
    rivals = {"theirs": "forward passes, as transformers makes them", "ours": "forward passes, with our products"}
    return [slower(what, title, seconds["scoring"], seconds[rival], _SCORING) for rival, title in rivals.items()]


def eager_loss(size: int, length: int, rounds: int) -> list[Row]:
    """Return the rows of mpnet's forward pass against the same with eager attention, and against a BERT of its size."""
    piece = examples(BASE, size, length)
    models = {
        "ours": backbone("mpnet").model,
        "eager attention, our products": backbone("mpnet", "eager").model,
        "BERT-base with our attention": bert(BASE).model,
    }
    seconds = alternate({name: _over(model, piece) for name, model in models.items()}, rounds)
    what, targets = "forward pass: mpnet", {"eager attention, our products": 1.00, "BERT-base with our attention": 1.10}
    return [slower(what, rival, seconds["ours"], seconds[rival], target) for rival, target in targets.items()]


def _over(model: PreTrainedModel, piece: TokenisedSplit) -> Callable[[], None]:
    return lambda: forward(model, piece)


def main() -> None:
    """Measure and publish, part by part: whoever stops it keeps what is done."""
    before = os.getloadavg()[0]
    made: list[Row] = []
    for name in ("mpnet", "gemma3-270m"):
        for part in (steps, scoring):
            made += part(backbone(name), *BATCH, ROUNDS)
            _publish(made, before)
    _publish([*made, *eager_loss(*BATCH, ROUNDS)], before)


def _publish(made: list[Row], before: float) -> None:
    load = f"load of the machine {before:.1f} to {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    size, length = BATCH
    publish("pretrained", f"Pretrained backbones: batch {size} x {length}, fp32, {load}", made)


if __name__ == "__main__":
    main()
