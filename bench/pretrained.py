"""HiFi's step and the scoring on mpnet and gemma3-270m: an encoder that transformers gives eager attention alone, and
a decoder whose heads share keys and values and most of whose weights are embeddings.

    python -m bench.pretrained          batch 4 x 64
    python -m bench.pretrained 16 128   another batch, a section of its own
"""

import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from bench.commands import configuration
from bench.models import BASE, LABELS, Shape, batch, spread_heads, step, their_step
from bench.models import backbone as bert
from bench.paired import Seconds, alternate
from bench.report import Row, publish, single, slower
from bench.scoring import examples, forward, score
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.inputs.tokens import TokenisedSplit
from peftlab.output_layer import classes
from peftlab.strategies.registry import create_strategy
from peftlab.training.optimiser import build_optimiser

BATCH, ROUNDS = (4, 64), 7
# On a core of an AMD EPYC of AVX2 that does nothing else, most of it full fine-tuning; time goes with the tokens.
SECONDS_A_TOKEN = 1.0
OURS, FULL, LORA = "ours", "full fine-tuning", "peft LoRA r=8"
_TARGETS = {FULL: 0.60, LORA: 1.00}
_SCORING = 1.20
# What torch's counter does not know: [..., D] by [N, D] takes 2 D for each of the output's [..., N].
_BY_ONEDNN = {
    torch.ops.mkldnn._linear_pointwise: lambda inputs, weight, *rest, out_shape: 2 * weight[1] * math.prod(out_shape)
}
# One thread, and its seconds alone: what else the machine does would cost one contender more than another.
_in_turns = partial(alternate, clock=time.process_time)


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
        OURS: hifi_step(made, size, length),
        FULL: their_step(plain(made), inputs),
        LORA: their_step(cast(nn.Module, lora), inputs),
    }
    work = {name: operations(contender) for name, contender in contenders.items()}
    seconds = _in_turns(contenders, rounds)
    counted = [
        single(
            f"products of a step: HiFi, {made.name}",
            rival,
            work[OURS] / work[rival],
            note="counted: what a step of equal kernels is near",
        )
        for rival in _TARGETS
    ]
    return [*_rows(f"step: HiFi, {made.name}", seconds, _TARGETS), *counted]


def operations(action: Callable[[], object]) -> int:
    """Return how many floating-point operations the matrix products of `action` have."""
    with FlopCounterMode(display=False, custom_mapping=_BY_ONEDNN) as counter:
        action()
    counted: int = counter.get_total_flops()
    return counted


def scoring(made: Backbone, size: int, length: int, rounds: int) -> list[Row]:
    """Return the rows of scoring a batch [size, length] against the bare forward passes over it."""
    theirs, piece = plain(made).eval(), examples(shape_of(made), size, length)
    contenders: dict[str, Callable[[], object]] = {
        OURS: lambda: score(made, piece, size),
        "forward passes, as transformers makes them": lambda: forward(theirs, piece),
        "forward passes, with our products": lambda: forward(made.model, piece),
    }
    seconds = _in_turns(contenders, rounds)
    targets = {rival: _SCORING for rival in contenders if rival != OURS}
    return _rows(f"scoring all heads, {made.name}", seconds, targets)


def eager_loss(size: int, length: int, rounds: int) -> list[Row]:
    """Return the rows of mpnet's forward pass against the same with eager attention, and against a BERT of its size."""
    piece = examples(BASE, size, length)
    models = {
        OURS: backbone("mpnet").model,
        "eager attention, our products": backbone("mpnet", "eager").model,
        "BERT-base with our attention": bert(BASE).model,
    }
    seconds = _in_turns({name: _over(model, piece) for name, model in models.items()}, rounds)
    targets = {"eager attention, our products": 1.00, "BERT-base with our attention": 1.10}
    return _rows("forward pass: mpnet", seconds, targets)


def _rows(what: str, seconds: Seconds, targets: Mapping[str, float]) -> list[Row]:
    """Return the row of each rival that has a target."""
    ours, made = seconds[OURS], []
    for rival, target in targets.items():
        note = f"{statistics.median(ours):.2f} against {statistics.median(seconds[rival]):.2f} s"
        made.append(slower(what, rival, ours, seconds[rival], target, note))
    return made


def _over(model: PreTrainedModel, piece: TokenisedSplit) -> Callable[[], None]:
    return lambda: forward(model, piece)


def main(typed: Sequence[str]) -> None:
    """Measure and publish, part by part: whoever stops it keeps what is done."""
    torch.set_num_threads(1)
    size, length = (int(word) for word in typed) if typed else BATCH
    expected = SECONDS_A_TOKEN * size * length / 60
    print(f"batch {size} x {length}, {ROUNDS} rounds: about {expected:.0f} minutes of a core that does nothing else")
    before, began = os.getloadavg()[0], time.perf_counter()
    made: list[Row] = []

    def publish_all(rows: list[Row]) -> None:
        made.extend(rows)
        load = f"load of the machine {before:.1f} to {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        title = f"Pretrained backbones: batch {size} x {length}, fp32, CPU seconds of one thread, {load}"
        publish("pretrained" if (size, length) == BATCH else f"pretrained-{size}x{length}", title, made)
        print(f"  {(time.perf_counter() - began) / 60:.0f} minutes so far", flush=True)

    for name in ("mpnet", "gemma3-270m"):
        for part in (steps, scoring):
            publish_all(part(backbone(name), size, length, ROUNDS))
    publish_all(eager_loss(size, length, ROUNDS))


if __name__ == "__main__":
    main(sys.argv[1:])
