"""Strategies whose modules stand in the place of frozen layers, which they hold as their attribute `frozen`."""

from collections.abc import Hashable
from typing import Any

from torch import nn

from peftlab.strategies.attached import Attached


class AttachedReplacements(Attached):
    """Modules in the place of layers; a derived class makes them, and names what they tune.

    `_modules`, which its `_insert` begins, has by a name of its choice the path in the model and the module, which
    writes what was tuned into the layer by `merged()`.
    """

    _modules: dict[Any, tuple[str, Any]]

    def _replace(self, name: Hashable, path: str, module: nn.Module) -> None:
        self.model.set_submodule(path, module)
        self._modules[name] = path, module

    def _remove(self) -> None:
        for path, module in self._modules.values():
            self.model.set_submodule(path, module.frozen)

    def _merge(self) -> None:
        for path, module in self._modules.values():
            self.model.set_submodule(path, module.merged())
