"""Any configuration of the adapters library (AdapterHub), by its string there."""

import importlib
import logging
import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from peftlab.backbones.loading import Backbone
from peftlab.errors import MissingPackageError, UserError, nearest, require
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.library import AttachedLibrary, LibraryStrategy
from peftlab.strategies.bases.structure import Structure
from peftlab.strategies.traits import Traits

_ADAPTER = "task"


@dataclass(frozen=True)
class AdapterHub(LibraryStrategy):
    """A configuration of the adapters library, which asks for an environment of its own (`make test-adapters`).

    Options:
        config: the library's own string (`conf/strategy/adapterhub.yaml` lists those that are tested): a name, with
            options in brackets, several joined by `|`, as in `prefix_tuning[prefix_length=10]|par_bn`.
    """

    name = "adapterhub"

    config: str = "double_seq_bn"

    def __post_init__(self) -> None:
        _ = self.parts  # refuses a string that the library does not know

    @cached_property
    def parts(self) -> list[Any]:
        """The library's configurations that the string stands for."""
        return _parts(library(), self.config)

    @property
    def title(self) -> str:
        """What a message calls this strategy."""
        return f"strategy.config={self.config}"

    @property
    def traits(self) -> Traits:
        """Low-rank updates and bottlenecks that end in zeros start at the backbone's function; others anywhere.

        The library can merge updates or scales of matrices, without a gate.
        """
        near = all(_is_low_rank(part) or _ends_in_zeros(part) for part in self.parts)
        merge = super().traits.merge_tolerance if all(map(_is_low_rank, self.parts)) else None
        return replace(super().traits, start_tolerance=1e-5 if near else math.inf, merge_tolerance=merge)

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Let the library put its layers in."""
        return AttachedAdapterHub(self, backbone, selection)


class AttachedAdapterHub(AttachedLibrary):
    """Layers of the adapters library in a backbone."""

    strategy: AdapterHub

    def put_in(self) -> None:
        """Let the library turn the model into its own and add the configured layers."""
        model: Any = self.model
        library().init(model)
        model.add_adapter(_ADAPTER, config=self.strategy.config)
        model.train_adapter(_ADAPTER)
        for name in self.backbone.view.classifier_names():
            model.get_submodule(name).requires_grad_(False)

    def _insert(self, selection: Any) -> None:
        self._structure = Structure(self.model)
        super()._insert(selection)

    def _remove(self) -> None:
        self._structure.restore()

    def _merge(self) -> None:
        model: Any = self.model
        lora, context = (importlib.import_module(f"adapters.{name}") for name in ("methods.lora", "context"))
        with torch.no_grad(), context.ForwardContext(model, torch.empty(0, 1)) as forward:
            forward.shared_parameters = model.base_model.shared_parameters
            layers = [module for module in model.modules() if isinstance(module, lora.LoRALayer)]
            # The library merges the matrix alone, where (IA)^3 and DoRA scale the bias too: it is what zeros become.
            biases = [layer(layer.weight.new_zeros(1, 1, layer.in_features)).flatten() for layer in layers]
            model.merge_adapter(_ADAPTER)
            for layer, bias in zip(layers, biases, strict=True):
                layer.bias.copy_(bias)
        self._structure.restore()


def _is_low_rank(part: Any) -> bool:
    return part.get("architecture") == "lora" and not part.get("use_gating")


def _ends_in_zeros(part: Any) -> bool:
    return part.get("init_weights") == "mam_adapter" and not part.get("use_gating")


def library() -> Any:
    """Return the adapters library; raises MissingPackageError where it is not installed."""
    # It warns of adapters that are not active yet while it makes them active.
    logging.getLogger("adapters").setLevel(logging.ERROR)
    try:
        return importlib.import_module("adapters")
    except ImportError as error:
        raise MissingPackageError(
            "strategy=adapterhub: the adapters library is not installed; it asks for transformers 4.57.6, so install "
            "requirements-adapters.txt into an environment of its own (make test-adapters does, in .venv-adapters)"
        ) from error


def _parts(library: Any, config: str) -> list[Any]:
    """Return the configurations that a string stands for: several where they are joined.

    Raises:
        UserError: the library does not know a name or an option in it, or cannot join its parts.
    """
    known = importlib.import_module("adapters.configuration").ADAPTER_CONFIG_MAP
    for name in (part.split("[")[0].strip() for part in config.split("|")):
        require(
            name in known,
            f"strategy.config={config}: the adapters library has no configuration {name!r}{nearest(name, known)}; "
            f"there are {', '.join(sorted(known))}",
        )
    try:
        made = library.AdapterConfig.load(config)
    except (TypeError, ValueError) as error:
        raise UserError(f"strategy.config={config}: {' '.join(str(error).split())}") from error
    return list(getattr(made, "configs", [made]))
