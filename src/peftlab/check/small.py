"""Small random backbones, inputs and data that promises are checked on: no files, no network, seconds."""

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch import Tensor
from transformers import AutoConfig

from peftlab.backbones.architecture import architecture, known_types
from peftlab.backbones.checkpointing import checkpoint_layers
from peftlab.backbones.forward import inputs_of
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.backbones.modality import family_of
from peftlab.backbones.spec import Attention
from peftlab.cache import RunCache
from peftlab.check.promise import DoesNotApplyError
from peftlab.data.module import TaskData
from peftlab.errors import UserError
from peftlab.output_layer import OutputLayer
from peftlab.strategies.attached import Attached
from peftlab.strategies.contract import SelectionContext, Strategy
from peftlab.tasks.kind import KINDS, KindExample, TaskKind
from peftlab.training.optimiser import build_optimiser
from peftlab.training.phases import PhaseSchedule

SIZES = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
# Of the kinds of task, those that a backbone is checked on: the first for which its family has an output layer.
CHECKED_ON = ("classification", "token-classification", "image-classification")
# Declared and never reached: rows of embeddings that no token uses.
UNREACHED = ("position",)

# Each promise takes fresh backbones, of few types: what is untouched is made once, and copied.
_untouched = RunCache(most=32)
_selections: dict[tuple[str, str], Any] = {}


class ExampleData(TaskData):
    """The few rows of a kind's own example as the data of a task."""

    def __init__(self, kind: TaskKind, rows: Dataset, backbone: Backbone) -> None:
        sizes: dict[str, Any] = {"batch_size": 2, "eval_batch_size": 2, "max_length": 32}
        places: dict[str, Any] = {"root": None, "shots": None, "seed": 0, "cache_dir": None}
        super().__init__(kind.task, backbone.processor, **places, **sizes)
        self._full_train = kind.encode(rows, self.encoder)
        self.splits = {"train": self._full_train, "validation": self._full_train}


@dataclass(frozen=True)
class Trial:
    """A strategy on small backbones of one type; each call gives a fresh backbone.

    `unreached` are parts of names of parameters that are declared, and that no token of `batch` reaches.
    """

    strategy: Strategy
    model_type: str = "bert"
    unreached: tuple[str, ...] = UNREACHED

    def backbone(self, seed: int = 1) -> Backbone:
        """Return an untouched backbone; the same one for the same seed."""
        return small_backbone(self.model_type, example(self.model_type).kind.output_layer, seed)

    def context(self, backbone: Backbone) -> SelectionContext:
        """Return what the strategy may look at before training."""
        kind, rows, _ = example(self.model_type)
        return SelectionContext(backbone, ExampleData(kind, rows, backbone), 1, torch.device("cpu"))

    def attach(self, backbone: Backbone) -> Attached:
        """Attach the strategy as a run does: it is asked whether it fits, and looks at data.

        Raises:
            DoesNotApplyError: it says that it does not fit the backbone.
        """
        reason = self.strategy.skip(backbone.view, example(self.model_type).kind)
        if reason is not None:
            raise DoesNotApplyError(f"{self.strategy.name} does not fit ({reason})")
        self.strategy.fitted(backbone).check(backbone)
        torch.manual_seed(0)
        return self.strategy.attach(backbone, self.selection())

    def selection(self) -> Any:
        """Return what the strategy's look at data decides, once a process for the same options."""
        key = repr(self.strategy), self.model_type
        if key not in _selections:
            _selections[key] = self.strategy.select(self.context(self.backbone()))
        return _selections[key]


@cache
def example(model_type: str) -> KindExample:
    """Return the task that strategies are checked on with models of a type: for most, sentences of two classes.

    Raises:
        UserError: the family of this type has no output layer for any of `CHECKED_ON`.
    """
    known = architecture(model_type).output_layers
    for name in CHECKED_ON:
        found = KINDS.get(name).example()
        if found.kind.output_layer.auto_class in known:
            return found
    raise UserError(f"backbone: no kind of task to check {model_type} on; allowed are {', '.join(CHECKED_ON)}")


def type_for(kind: TaskKind) -> str:
    """Return the type that a kind of task is checked on: BERT, ViT, or the first that has its output layer."""
    types = ["bert", "vit", *known_types()]
    return next(one for one in types if kind.output_layer.auto_class in architecture(one).output_layers)


def small_sizes(model_type: str) -> dict[str, Any]:
    """Return the entries that make a config of a type small."""
    family = architecture(model_type)
    config = family.sizes(AutoConfig.for_model(model_type))
    return {
        **{name: value for name, value in SIZES.items() if hasattr(config, name)},
        **family.small,
    }


def small_backbone(model_type: str, output: OutputLayer, seed: int = 1) -> Backbone:
    """Return a random backbone of a type, as small as its configuration allows."""
    attention: Attention = "eager" if architecture(model_type).eager_only else "sdpa"
    random = {"model_type": model_type, **small_sizes(model_type)}
    spec = BackboneSpec(f"small-{model_type}", attention=attention, random=random)
    return with_biases(load_backbone(spec, output, seed, _untouched))


def with_biases(backbone: Backbone) -> Backbone:
    """Give biases values, which random initialisation leaves at zero: who looks for them must be able to see them."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in backbone.model.named_parameters():
        if name.endswith("bias") and "classifier" not in name:
            parameter.data.normal_(0.0, 0.02, generator=generator)
    return backbone


def batch(backbone: Backbone, seed: int = 0, size: int = 6, length: int = 12) -> dict[str, Tensor]:
    """Return inputs [size, length] with right padding of random lengths, or images, and binary labels."""
    generator = torch.Generator().manual_seed(seed)
    if family_of(backbone.model).reads == "images":
        images = backbone.modality.random_inputs(backbone.model, size, length, generator)
        return {**images, "labels": torch.randint(0, 2, (size,), generator=generator)}
    vocabulary = backbone.model.config.vocab_size
    ids = torch.randint(5, vocabulary, (size, length), generator=generator)
    lengths = torch.randint(3, length + 1, (size,), generator=generator)
    mask = (torch.arange(length)[None, :] < lengths[:, None]).long()
    ids = ids * mask + (1 - mask) * backbone.model.config.pad_token_id
    labels = torch.randint(0, 2, (size,), generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def logits(backbone: Backbone, inputs: dict[str, Tensor]) -> Tensor:
    """Return the logits [size, classes] without gradients, in the mode that the model is in."""
    with torch.no_grad():
        found: Tensor = backbone.model(**inputs_of(backbone, inputs)).logits
    return found


def loss_of(backbone: Backbone, inputs: dict[str, Tensor]) -> Tensor:
    """Return the cross-entropy of a batch, a scalar; where each token has logits, its text's label is its own."""
    found, labels = backbone.model(**inputs_of(backbone, inputs)).logits.float(), inputs["labels"]
    if found.dim() == 3:
        found, labels = found.flatten(0, 1), labels.repeat_interleave(found.shape[1])
    return F.cross_entropy(found, labels)


@dataclass(frozen=True)
class Gradients:
    """Names in the untouched backbone of parameters that had a gradient other than 0 in some step.

    `given` are those that the loss reached, `taken` those for which the optimiser saw one: a method may mask some.
    """

    given: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=set)


def train(attached: Attached, steps: int = 20, *, checkpointing: bool = False, bf16: bool = False) -> Gradients:
    """Train as a run does, with weight decay, on batches of random tokens; evaluation mode afterwards."""
    backbone, gradients = attached.backbone, Gradients()
    torch.manual_seed(0)
    backbone.model.train()
    undo = checkpoint_layers(backbone.view) if checkpointing else None
    phases = PhaseSchedule(attached, steps)
    for step in range(steps):
        if step == 0 or phases.advance(step):
            optimiser = build_optimiser(attached.parameter_groups(), learning_rate=1e-2, weight_decay=0.1)
        inputs = batch(backbone, seed=step)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            loss = loss_of(backbone, inputs)
        penalty = attached.penalty()
        (loss if penalty is None else loss + penalty).backward()
        gradients.given.update(_with_gradient(backbone))
        attached.after_clipping()
        gradients.taken.update(_with_gradient(backbone))
        optimiser.step()
        attached.after_step()
        optimiser.zero_grad()
    phases.finish()
    if undo:
        undo()
    backbone.model.eval()
    return gradients


def snapshot(backbone: Backbone) -> dict[str, Tensor]:
    """Return copies of all parameters and buffers, by their names in the untouched backbone."""
    # A parameter that modules share has one name here, and several in the state dict.
    model = backbone.model
    return {pretrained(name): value.clone() for name, value in [*model.named_parameters(), *model.named_buffers()]}


def _with_gradient(backbone: Backbone) -> list[str]:
    named = backbone.model.named_parameters()
    return [pretrained(name) for name, p in named if p.grad is not None and bool(p.grad.any())]


def pretrained(name: str) -> str:
    """Return a tensor's name in the untouched backbone, where a parametrization has moved it."""
    return re.sub(r"\.parametrizations\.(\w+)\.original$", r".\1", name)
