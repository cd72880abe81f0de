"""`backbone.kernels=false`: transformers and torch by themselves, and the same numbers to rounding."""

import sys

import pytest
import torch

from models import batch, logits, tiny
from peftlab.backbones.architecture import known_types
from peftlab.heads.selection import ChosenHeads
from peftlab.strategies.registry import create_strategy

HEADS = ChosenHeads(((0, 2), (1, 3)))


class Calls:
    """Notes the functions of `peftlab.kernels` that are called."""

    def __enter__(self):
        self.names = set()
        sys.setprofile(self._note)
        return self.names

    def __exit__(self, *_):
        sys.setprofile(None)

    def _note(self, frame, event, argument):
        if event == "call" and frame.f_globals.get("__name__", "").startswith("peftlab.kernels"):
            self.names.add(frame.f_code.co_qualname)


def kernels_of_a_step(kernels):
    """Return the kernels that a training step of HiFi calls, forwards and back."""
    backbone = tiny(attention="auto", kernels=kernels)
    create_strategy("hifi", {}).attach(backbone, HEADS)
    backbone.model.train()
    given = batch(backbone)
    with Calls() as names:
        backbone.model(**given).loss.backward()
    return names


def test_a_step_calls_the_kernels_unless_they_are_switched_off():
    assert {"attention", "dropout", "product"} <= kernels_of_a_step(kernels=True)
    assert kernels_of_a_step(kernels=False) == set()


@pytest.mark.parametrize("kind", known_types())
def test_no_module_is_the_laboratorys_own(kind):
    for module in tiny(kind, attention="auto", kernels=False).model.modules():
        own = (type(module), *vars(module).values())
        assert not [value for value in own if getattr(value, "__module__", "").startswith("peftlab.kernels")]


@pytest.mark.parametrize("kind", known_types())
def test_the_logits_are_the_same_to_rounding(kind):
    ours, theirs = (tiny(kind, attention="auto", kernels=kernels) for kernels in (True, False))
    given = batch(ours)
    torch.testing.assert_close(logits(ours, given), logits(theirs, given), rtol=1e-4, atol=1e-5)
