"""What was done to a model's modules is undone, whatever it was; values are left as they are."""

import torch
from torch import nn

from models import batch, logits, tiny
from peftlab.strategies.bases.structure import Structure


class Doubled(nn.Linear):
    def forward(self, inputs):
        return 2 * super().forward(inputs)


def test_classes_children_attributes_and_hooks_come_back():
    backbone = tiny()
    model, inputs = backbone.model, batch(backbone)
    before = logits(backbone, inputs)
    kinds, names = [type(module) for module in model.modules()], list(model.state_dict())
    structure = Structure(model)
    layer = model.bert.encoder.layer[0]
    layer.output.dense.__class__ = Doubled
    layer.attention.self.query = nn.Linear(32, 32)
    layer.extra = nn.Linear(2, 2)
    layer.note = "put in"
    model.bert.register_forward_hook(lambda *_: None)
    model.register_buffer("more", torch.zeros(1))
    assert not torch.equal(logits(backbone, inputs), before)
    structure.restore()
    assert [type(module) for module in model.modules()] == kinds
    assert list(model.state_dict()) == names
    assert not hasattr(layer, "note")
    assert not model.bert._forward_hooks
    assert torch.equal(logits(backbone, inputs), before)


def test_values_written_meanwhile_stay():
    backbone = tiny()
    structure = Structure(backbone.model)
    weight = backbone.model.classifier.weight
    weight.data = torch.ones_like(weight)
    structure.restore()
    assert backbone.model.classifier.weight is weight
    assert bool((weight == 1).all())
