"""Imports of thousands of modules, torch's and transformers' among them."""

import gc
import importlib
import sys
from types import ModuleType


def import_to_stay(name: str) -> ModuleType:
    """Import a module, and what it needs, without looking for garbage: then, at later collections and at the end.

    None of it is garbage before the process ends, and to look through it again and again takes two fifths of a
    command's start and end.
    """
    if name in sys.modules:
        return sys.modules[name]  # what a run has made since is not to stay
    collects = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        if collects:
            gc.enable()
