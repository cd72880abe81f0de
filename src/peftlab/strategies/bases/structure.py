"""The build of a model at one moment: of which classes its modules are, and what each one holds."""

import copy
from typing import Any

from torch import nn


class Structure:
    """Remembers a model's modules, so that whatever is put in, put around or turned into another class comes out.

    Parameters and buffers are kept as the same tensors: `restore` brings back places, not values.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = [(module, type(module), _contents(module)) for module in model.modules()]

    def restore(self) -> None:
        """Give every module back its class and what it held."""
        for module, kind, contents in self._modules:
            module.__class__ = kind
            module.__dict__.clear()
            module.__dict__.update(contents)


def _contents(module: nn.Module) -> dict[str, Any]:
    """Return a module's attributes; its tables of parameters, children and hooks are copied, not what they name."""
    return {name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(module).items()}
