"""A new method in peft's tables. What peft keeps to itself is used here alone."""

from typing import Any

from peft.tuners.tuners_utils import BaseTuner
from peft.utils import PeftType, register_peft_method


def register(name: str, config: type, tuner: type[BaseTuner]) -> None:
    """Make a method known to peft, once: its configuration, its tuner, and the prefix of its parameters.

    Args:
        name: in lower case; its parameters begin with it and a `_`.
        config: a `PeftConfig`, whose `peft_type` is `peft_type(name)`.
        tuner: puts its layers in.
    """
    peft_type(name)
    register_peft_method(name=name, config_cls=config, model_cls=tuner)


def peft_type(name: str) -> Any:
    """Return the member of peft's list of methods of this name, which is made where there is none.

    peft asks those who bring a method to write it into that list, which a package of its own cannot.
    """
    value = name.upper()
    known: Any = PeftType
    if value not in known.__members__:
        member = str.__new__(known, value)
        member._name_, member._value_ = value, value
        known._member_map_[value] = known._value2member_map_[value] = member
        known._member_names_.append(value)
        type.__setattr__(known, value, member)
    return known.__members__[value]
