"""Models of a real shape with random weights, ours and as transformers makes them, and what a step of each is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification

from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.backbones.spec import Bits
from peftlab.output_layer import classes
from peftlab.strategies.hifi import ChosenHeads
from peftlab.strategies.registry import create_strategy
from peftlab.training.frozen import keep_frozen, rounded_matrices
from peftlab.training.optimiser import build_optimiser

LABELS = ("no", "yes")
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Shape:
    """Layers, heads and width of a BERT; the feed-forward is four times as wide."""

    layers: int
    heads: int
    width: int
    vocabulary: int = 30522

    def sizes(self) -> dict[str, int]:
        """Return the entries of BERT's configuration."""
        return {
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "hidden_size": self.width,
            "intermediate_size": 4 * self.width,
            "vocab_size": self.vocabulary,
        }


HALF_BASE = Shape(6, 12, 768)
BASE = Shape(12, 12, 768)
LARGE = Shape(24, 16, 1024)


def backbone(shape: Shape, attention: str = "auto", bits: Bits | None = None) -> Backbone:
    """Return our backbone of a shape; with `bits` the matrices of its layers hold what codes stand for."""
    options = {"model_type": "bert", **shape.sizes()}
    spec = BackboneSpec("bench", attention=attention, quantize=bits, random=options)  # type: ignore[arg-type]
    return load_backbone(spec, classes(LABELS), seed=1)


def plain(shape: Shape) -> BertForSequenceClassification:
    """Return the model as transformers makes it."""
    torch.manual_seed(1)
    return BertForSequenceClassification(BertConfig.from_dict({**shape.sizes(), "num_labels": len(LABELS)}))


def batch(shape: Shape, size: int, length: int, device: str = "cpu") -> Batch:
    """Return inputs [size, length] without pads, and labels."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, shape.vocabulary, (size, length), generator=generator)
    labels = torch.randint(0, len(LABELS), (size,), generator=generator)
    made = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    return {name: value.to(device) for name, value in made.items()}


def spread_heads(shape: Shape, k: int = 3, upper: bool = False) -> ChosenHeads:
    """Return k heads of each layer, or of each layer in the upper half; which ones makes no difference in time."""
    first = shape.layers // 2 if upper else 0
    chosen = tuple(range(0, shape.heads, shape.heads // k))[:k]
    return ChosenHeads(tuple(chosen if layer >= first else () for layer in range(shape.layers)))


def our_step(
    strategy: str,
    shape: Shape,
    inputs: Batch,
    options: Mapping[str, Any] | None = None,
    selection: Any = None,
    precision: torch.dtype = torch.float32,
    bits: Bits | None = None,
) -> Callable[[], Tensor]:
    """Return a training step of one of our strategies: forward, backward, clipping, optimiser."""
    made = backbone(shape, bits=bits)
    nn.Module.to(made.model, inputs["labels"].device)
    rounded = rounded_matrices(made)
    attached = create_strategy(strategy, options or {}).attach(made, selection)
    keep_frozen(attached, rounded)
    made.model.train()
    optimiser = build_optimiser(attached.parameter_groups(), 1e-4, 0.01)
    return step(made.model, optimiser, inputs, precision)


def their_step(
    model: nn.Module, inputs: Batch, precision: torch.dtype = torch.float32, fused: bool = True
) -> Callable[[], Tensor]:
    """Return a training step of another library's model, with the optimiser that Hugging Face's Trainer takes."""
    tuned = [
        parameter for parameter in model.to(inputs["labels"].device).train().parameters() if parameter.requires_grad
    ]
    return step(model, torch.optim.AdamW(tuned, lr=1e-4, weight_decay=0.01, fused=fused), inputs, precision)


def step(
    model: nn.Module, optimiser: torch.optim.Optimizer, inputs: Batch, precision: torch.dtype
) -> Callable[[], Tensor]:
    """Return a function that takes one training step and returns the loss."""
    tuned = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    given = {name: value for name, value in inputs.items() if name != "labels"}
    kind = inputs["labels"].device.type

    def once() -> Tensor:
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == torch.bfloat16):
            logits = model(**given).logits
        loss = F.cross_entropy(logits.float(), inputs["labels"])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tuned, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if kind == "cuda":
            torch.cuda.synchronize()
        return loss.detach()

    return once


def saved_bytes(model: nn.Module, given: Batch) -> int:
    """Return the bytes that autograd keeps of one forward pass: each storage once, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # a freed address could be given out again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model(**given)
    return sum(kept.values())
