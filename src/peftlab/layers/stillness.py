"""A frozen backbone that trains as it evaluates: its dropout is off in training mode too."""

from collections.abc import Callable

from torch import nn


def without_dropout(model: nn.Module) -> Callable[[], None]:
    """Set every dropout of a model to 0, modules and rates alike; return what gives them their rates back.

    Modules that are put into the model afterwards keep their own.
    """
    found = [(module, name, rate) for module in model.modules() for name, rate in _rates(module)]
    for module, name, _ in found:
        setattr(module, name, 0.0)

    def undo() -> None:
        for module, name, rate in found:
            setattr(module, name, rate)

    return undo


def _rates(module: nn.Module) -> list[tuple[str, float]]:
    """Return where a module keeps rates of dropout: in itself, or as numbers for a function (`attention_dropout`)."""
    if isinstance(module, nn.Dropout):
        return [("p", module.p)]
    return [(name, value) for name, value in vars(module).items() if "dropout" in name and isinstance(value, float)]
