"""A model that a user has loaded, seen as a backbone: nothing in it is changed."""

import inspect
from dataclasses import dataclass

from transformers import PreTrainedModel

from peftlab.backbones.architecture import architecture
from peftlab.backbones.fingerprint import fingerprint
from peftlab.backbones.loading import Backbone
from peftlab.backbones.modality import Processor
from peftlab.backbones.view import BackboneView
from peftlab.errors import require

_READ = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")


@dataclass(frozen=True)
class Inputs:
    """What stands for the tokenizer of a model that came without one: the names that its forward pass takes."""

    model_input_names: list[str]
    pad_token_id: int
    padding_side: str = "right"


def adopt(model: PreTrainedModel, tokenizer: Processor | None = None) -> Backbone:
    """Return a loaded model as a backbone, with the output layer that its class has.

    A model without an output layer of a task, as `AutoModel` and `AutoModelForCausalLM` give it, has no classifier:
    what stands on its base stays frozen.

    Args:
        model: of transformers, of a known architecture, untouched.
        tokenizer: its own, or its image processor; only texts need it.

    Raises:
        UserError: the architecture is not known, or not built as its family says.
    """
    mine = isinstance(model, PreTrainedModel)
    require(mine, f"model: {type(model).__name__}; allowed is a model of transformers, without what wraps it")
    output = _auto_class(model)
    view = BackboneView(model, output)
    # A model of two towers takes what its base model, one of them, does not.
    taken = [inspect.signature(part.forward).parameters for part in (model, view.base)]
    names = [name for name in _READ if all(name in own for own in taken)]
    reader = tokenizer or Inputs(names, getattr(model.config, "pad_token_id", None) or 0)
    own = {id(parameter) for _, parameter in view.classifier_parameters()}
    size = sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in own)
    name = str(model.config.name_or_path or model.config.model_type)
    return Backbone(name, model, reader, view, fingerprint(model), size)  # type: ignore[arg-type]


def _auto_class(model: PreTrainedModel) -> str | None:
    """Return the class of transformers that puts such an output layer on a model, by the names of its classes."""
    classes = [one.__name__ for one in type(model).__mro__]
    for auto_class in architecture(model.config.model_type).output_layers:
        if any(name.endswith(auto_class.removeprefix("AutoModel")) for name in classes):
            return auto_class
    return None
