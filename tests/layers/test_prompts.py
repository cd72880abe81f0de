"""Prompts stand at their place in every text, and every token may attend to them."""

import pytest
import torch

from models import batch, tiny
from peftlab.layers.prompts import Prompts


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("by_name", [True, False])
def test_the_base_sees_the_prompts_among_the_embeddings_with_mask_and_segments(place, by_name):
    torch.manual_seed(0)
    backbone = tiny()
    base, inputs = backbone.model.base_model.eval(), batch(backbone)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    segments = (torch.arange(12) > 5).long().expand_as(ids)
    tokens = torch.randn(3, 32)
    words = base.get_input_embeddings()(ids).detach()
    expected = base(
        inputs_embeds=torch.cat([words[:, :place], tokens.expand(6, 3, 32), words[:, place:]], 1),
        attention_mask=torch.cat([mask[:, :place], torch.ones(6, 3), mask[:, place:]], 1),
        token_type_ids=torch.cat([segments[:, :place], torch.zeros(6, 3).long(), segments[:, place:]], 1),
    ).last_hidden_state
    before = base(ids, mask, token_type_ids=segments).last_hidden_state
    take_out = Prompts(tokens, place).insert_into(base)
    given = (ids, mask) if not by_name else ()
    named = {"input_ids": ids, "attention_mask": mask} if by_name else {}
    torch.testing.assert_close(base(*given, **named, token_type_ids=segments).last_hidden_state, expected)
    assert dict(base.named_parameters())["prompts.tokens"].tolist() == tokens.tolist()
    take_out()
    assert torch.equal(base(ids, mask, token_type_ids=segments).last_hidden_state, before)
    assert "prompts.tokens" not in dict(base.named_parameters())


def test_a_text_without_mask_and_segments_stays_without():
    backbone = tiny()
    base, ids = backbone.model.base_model.eval(), batch(backbone)["input_ids"]
    tokens = torch.randn(2, 32)
    words = base.get_input_embeddings()(ids).detach()
    expected = base(inputs_embeds=torch.cat([words[:, :1], tokens.expand(6, 2, 32), words[:, 1:]], 1))
    Prompts(tokens, 1).insert_into(base)
    seen = {}
    base.embeddings.register_forward_pre_hook(lambda module, args, named: seen.update(named), with_kwargs=True)
    torch.testing.assert_close(base(ids).last_hidden_state, expected.last_hidden_state)
    assert seen["inputs_embeds"].shape == (6, 14, 32)


def test_prompts_are_as_precise_as_the_text():
    backbone = tiny()
    base, ids = backbone.model.base_model.to(torch.bfloat16).eval(), batch(backbone)["input_ids"]
    Prompts(torch.randn(2, 32), 1).insert_into(base)
    assert base(ids).last_hidden_state.dtype == torch.bfloat16
