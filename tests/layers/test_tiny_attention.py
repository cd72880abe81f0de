"""Tiny attention: pads are never seen, alike experts average to themselves, the start is near nothing."""

import pytest
import torch

from models import batch, logits, tiny
from peftlab.errors import UserError
from peftlab.layers.tiny_attention import AfterAttention, Pads, TinyAttention
from peftlab.strategies.registry import create_strategy


def grown(size: int = 2, heads: int = 1) -> TinyAttention:
    """Return a module that changes much."""
    module = TinyAttention(8, size, heads, 0.0, "published").eval()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def test_it_is_attention_of_a_projected_norm() -> None:
    module, hidden = grown().double(), torch.randn(2, 5, 8, dtype=torch.float64)
    query, key, value = module.down(module.norm(hidden)).chunk(3, -1)
    weights, biases = module.attention.in_proj_weight.chunk(3), module.attention.in_proj_bias.chunk(3)
    query, key, value = (
        part @ weight.T + bias for part, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    mixed = torch.softmax(query @ key.transpose(1, 2) / 2**0.5, -1) @ value
    torch.testing.assert_close(module(hidden, None), module.up(module.attention.out_proj(mixed)))


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_pads_do_not_change_the_logits(kind: str) -> None:
    backbone = tiny(kind)
    attached = create_strategy("tiny-attention", {"size": 4, "heads": 2}).attach(backbone)
    for parameter in attached.tuned().values():
        torch.nn.init.normal_(parameter)
    inputs = batch(backbone, size=1, length=9)
    short = {name: value[:, : int(inputs["attention_mask"].sum())] for name, value in inputs.items() if value.ndim > 1}
    pad = backbone.model.config.pad_token_id
    longer = {
        "input_ids": torch.nn.functional.pad(short["input_ids"], (0, 4), value=pad),
        "attention_mask": torch.nn.functional.pad(short["attention_mask"], (0, 4)),
    }
    torch.testing.assert_close(logits(backbone, longer), logits(backbone, short), rtol=1e-4, atol=1e-5)


def test_alike_experts_average_to_one_of_them() -> None:
    expert, pads, hidden = grown(), Pads(), torch.randn(2, 5, 8)
    one = AfterAttention(torch.nn.Identity(), [expert], pads, average=False).eval()
    averaged = AfterAttention(torch.nn.Identity(), [expert] * 4, pads, average=True).eval()
    torch.testing.assert_close(averaged(hidden), one(hidden))


def test_a_mixture_goes_through_its_experts_one_by_one() -> None:
    first, second, hidden = grown(), grown(), torch.randn(2, 5, 8)
    mixture = AfterAttention(torch.nn.Identity(), [first, second], Pads(), average=False)
    middle = hidden + first(hidden, None) / 2
    torch.testing.assert_close(mixture(hidden), middle + second(middle, None) / 2)
    assert not torch.allclose(mixture(hidden), hidden + (first(hidden, None) + second(hidden, None)) / 2)


@pytest.mark.parametrize("init", ["published", "constructor"])
def test_hidden_states_change_by_less_than_a_hundredth_at_the_start(init: str) -> None:
    hidden = torch.nn.functional.layer_norm(torch.randn(4, 16, 1024), (1024,))
    change = TinyAttention(1024, 1, 1, 0.1, init).eval()(hidden, None)  # type: ignore[arg-type]
    assert change.norm() < 0.01 * hidden.norm()


@pytest.mark.parametrize("dropout", [False, True])
def test_the_backbone_has_no_dropout_unless_asked(dropout: bool) -> None:
    backbone = tiny()
    attached = create_strategy("tiny-attention", {"backbone_dropout": dropout}).attach(backbone)
    attached.model.train()
    assert (backbone.model.base_model.embeddings.dropout.p > 0) == dropout
    assert backbone.model.dropout.p > 0
    own = [module for module in attached.model.modules() if isinstance(module, TinyAttention)]
    assert own
    assert all(module.training and module.attention.dropout > 0 for module in own)


@pytest.mark.parametrize("options", [{"size": 0}, {"heads": 2}, {"experts": 0}, {"dropout": 1.0}])
def test_options_out_of_range_are_told(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"strategy.*allowed"):
        create_strategy("tiny-attention", options)


def test_published_starts_are_narrow_normals_without_bias_and_the_constructors_are_pytorchs() -> None:
    torch.manual_seed(0)
    published, plain = (TinyAttention(200, 50, 5, 0.25, init) for init in ("published", "constructor"))  # type: ignore[arg-type]
    for linear in (published.down, published.attention.out_proj, published.up):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
        assert float(linear.weight.detach().mean()) == pytest.approx(0.0, abs=0.002)
        assert not linear.bias.any()
    assert (plain.down.weight.shape, plain.up.weight.shape) == ((150, 200), (200, 50))
    # nn.Linear draws weights and biases from +-1 / sqrt(inputs); the last ones are a hundredth of that.
    assert float(plain.down.weight.detach().abs().max()) == pytest.approx(200**-0.5, rel=0.02)
    for parameter in (plain.up.weight, plain.up.bias):
        assert float(parameter.detach().abs().max()) == pytest.approx(0.01 * 50**-0.5, rel=0.05)
    assert (plain.attention.dropout, plain.attention.num_heads) == (0.25, 5)


def test_no_token_attends_to_a_pad() -> None:
    module, pads, hidden = grown(), Pads(), torch.randn(2, 5, 8)
    after = AfterAttention(torch.nn.Identity(), [module], pads, average=False)
    pads(module, (), {"attention_mask": torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])})
    assert pads.where is not None
    assert pads.where.tolist() == [[False, False, False, True, True], [False] * 5]
    padded = after(hidden)
    pads(module, (), {})
    assert pads.where is None
    torch.testing.assert_close(padded[0, :3], after(hidden[:1, :3])[0])
    torch.testing.assert_close(padded[1], after(hidden)[1])
    assert not torch.allclose(padded[0], after(hidden)[0])


def test_a_mixture_is_deployed_as_its_average_or_expert_by_expert() -> None:
    experts, hidden = [grown(), grown()], torch.randn(2, 5, 8)
    mixture = AfterAttention(torch.nn.Identity(), experts, Pads(), average=True)
    names = [name for name, _ in experts[0].named_parameters()]
    mean = {name: (experts[0].get_parameter(name) + experts[1].get_parameter(name)) / 2 for name in names}
    assert set(mixture.deployed()) == {f"experts.0.{name}" for name in names}
    for name in names:
        torch.testing.assert_close(mixture.deployed()[f"experts.0.{name}"], mean[name])
    averaged = mixture.eval()(hidden)
    # In training, and without an average, each expert counts.
    one_by_one = AfterAttention(torch.nn.Identity(), experts, Pads(), average=False).eval()
    torch.testing.assert_close(mixture.train()(hidden), one_by_one(hidden))
    assert set(one_by_one.deployed()) == {f"experts.{i}.{name}" for i in range(2) for name in names}
    mixture.eval().keep_average()
    assert (len(mixture.experts), mixture.average) == (1, False)
    torch.testing.assert_close(mixture(hidden), averaged)
    one_by_one.keep_average()
    assert len(one_by_one.experts) == 2
