"""What the layers and tuners of this package have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, check_adapters_to_merge
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn

from peftlab.backbones.view import BackboneView
from peftlab.errors import UserError


class Layer(nn.Module, BaseTunerLayer):
    """Stands for a module of the model, with something of each adapter beside it."""

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        for size in ("in_features", "out_features"):
            if hasattr(base_layer, size):
                setattr(self, size, getattr(base_layer, size))
        self._disable_adapters = False
        self.merged_adapters: list[str] = []

    def active(self) -> list[str]:
        """Return the adapters that act now and that this layer has."""
        if self.disable_adapters:
            if self.merged:
                self.unmerge()
            return []
        own = self._get_available_adapters()
        return [] if self.merged else [name for name in self.active_adapters if name in own]

    def ready(self, adapter_name: str, inference_mode: bool) -> None:
        """Move what was added to where the module lies, and let it be trained if it is active."""
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=inference_mode)


class AddedLayer(Layer):
    """A layer whose adapters add numbers to a parameter of the module, which can therefore be merged."""

    def change(self, adapter_name: str, sign: float) -> None:
        """Add an adapter's numbers, times 1 or -1, to the module's parameter."""
        raise NotImplementedError

    def add_up(self, adapters: list[str], weights: list[float], adapter_name: str) -> None:
        """Make an adapter, which this layer has, the weighted sum of others."""
        raise NotImplementedError

    @torch.no_grad()
    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Write the active adapters into the module's parameter.

        Raises:
            ValueError: with `safe_merge`, when what would be merged is not finite.
        """
        for name in check_adapters_to_merge(self, adapter_names):
            if name not in self._get_available_adapters():
                continue
            parts = [found[name] for own in self.adapter_layer_names if name in (found := getattr(self, own))]
            if safe_merge and not all(bool(part.isfinite().all()) for part in parts):
                raise ValueError(f"NaNs detected in the merged weights. The adapter {name} seems to be broken")
            self.change(name, 1.0)
            self.merged_adapters.append(name)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take what was merged out again."""
        while self.merged_adapters:
            self.change(self.merged_adapters.pop(), -1.0)


class Tuner(BaseTuner):
    """Puts a method's layers into a model of a known family."""

    target_module_mapping: ClassVar[dict[str, list[str]]] = {}  # type: ignore[misc]

    def targets(self, config: Any, view: BackboneView) -> list[str]:
        """Return the names in the whole model of the modules that get a layer."""
        raise NotImplementedError

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        with _said_as_peft_does():
            peft_config.target_modules = self.targets(peft_config, BackboneView(self.model, None))
        return peft_config

    def add_weighted_adapter(
        self, adapters: list[str], weights: list[float], adapter_name: str, combination_type: str = "linear"
    ) -> None:
        """Add an adapter that is the weighted sum of others.

        Raises:
            ValueError: an adapter that is not there, another combination (what is added has no ranks), or modules that
                are saved whole by several adapters.
        """
        if combination_type != "linear":
            raise ValueError(f"combination_type={combination_type}: allowed is linear")
        if missing := [name for name in adapters if name not in self.peft_config]:
            raise ValueError(f"Adapter {missing[0]} does not exist")
        if len(adapters) != len(weights):
            raise ValueError(f"{len(weights)} weights for {len(adapters)} adapters; allowed is one for each")
        for saved in (module for module in self.model.modules() if isinstance(module, ModulesToSaveWrapper)):
            if sum(name in saved.modules_to_save for name in adapters) > 1:
                raise ValueError("modules_to_save: what several adapters keep whole cannot be added up")
        config = self.joined([self.peft_config[name] for name in adapters])
        config.inference_mode = True
        self.peft_config[adapter_name] = config
        self.inject_adapter(self.model, adapter_name)
        with torch.no_grad():
            for layer in (module for module in self.model.modules() if isinstance(module, AddedLayer)):
                if adapter_name in layer._get_available_adapters():
                    layer.add_up(adapters, weights, adapter_name)

    def joined(self, configs: list[Any]) -> Any:
        """Return the configuration of the sum of adapters."""
        raise NotImplementedError

    def fill(self, layer: Any, adapter_name: str, config: Any, name: str) -> None:
        """Give a layer, which stands at `name` in the whole model, what an adapter adds to it."""
        raise NotImplementedError

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        if isinstance(target, self.tuner_layer_cls):
            self.fill(target, adapter_name, peft_config, current_key)
            return
        made: Any = self.tuner_layer_cls
        layer = made(target)
        layer._active_adapter = adapter_name
        self.fill(layer, adapter_name, peft_config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)  # another adapter is the one that is trained
        self._replace_module(parent, target_name, layer, target)

    def _replace_module(self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module) -> None:
        """Exchange a module: it keeps its own parameters, whatever they are called."""
        setattr(parent, child_name, new_module)


@contextmanager
def _said_as_peft_does() -> Iterator[None]:
    """Let mistakes be what peft raises for them: a `ValueError`."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error)) from error


def zeros_or_noise(shape: tuple[int, ...], zeros: bool, like: Tensor) -> nn.Parameter:
    """Return numbers that an adapter begins with: zeros, or noise, with which tests see that it acts."""
    made = torch.zeros(shape) if zeros else torch.randn(shape) * 0.1
    return nn.Parameter(made.to(like.device if like.device.type != "meta" else "cpu", torch.float32))
