"""A user's own callbacks: ``+trainer.callbacks=[{_target_: my_module.MyCallback, option: 1}]``."""

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning import Callback

from peftlab.errors import UserError, require
from peftlab.options.schema import checked
from peftlab.registry import from_here


def own_callbacks(options: Any) -> list[Callback]:
    """Return the callbacks that `trainer.callbacks` describes, each by its class and what it is made with.

    This runs whatever `_target_` names, from the folder that the command was typed in too: `options` are a user's own
    words, never a folder's that is resumed (`resume.py`, `job.py`).

    Raises:
        UserError: one that cannot be made, or is no callback of Lightning's.
    """
    made = []
    for place, given in enumerate(checked(options or [], list[dict[str, Any]], "trainer.callbacks")):
        where = f"trainer.callbacks[{place}]"
        require("_target_" in given, f"{where}: missing _target_, the class of the callback, as my_module.MyCallback")
        try:
            with from_here():
                callback = instantiate(given, _convert_="all")
        except (InstantiationException, ImportError) as error:
            raise UserError(f"{where}: {' '.join(str(error).split())}") from error
        require(isinstance(callback, Callback), f"{where}: {given['_target_']} is no lightning.Callback")
        made.append(callback)
    return made
