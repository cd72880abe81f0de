"""Child-Tuning: what its masks are made of, what they let through, and what a strict child network leaves alone."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from models import batch, tiny
from peftlab.backbones.loading import Backbone
from peftlab.check.small import snapshot, train
from peftlab.data.module import TaskData
from peftlab.errors import UserError
from peftlab.masks.child_network import FILE_NAME, ChildNetwork
from peftlab.masks.fisher import clipped, fisher_information
from peftlab.masks.packing import unpack
from peftlab.run import run
from peftlab.strategies.attached import Attached
from peftlab.strategies.contract import SelectionContext, Strategy
from peftlab.strategies.registry import create_strategy
from peftlab.tasks.task import Task
from runs import composed, small

CPU = torch.device("cpu")


def demo(backbone: Backbone, **options: Any) -> TaskData:
    task = Task.from_config(composed("+strategy=full task=demo")["task"])
    data = TaskData(
        task, backbone.processor, root=None, shots=4, seed=0, batch_size=4, max_length=48, cache_dir=None, **options
    )
    data.setup()
    return data


@pytest.fixture
def still() -> Backbone:
    """Return a backbone without dropout, whose gradients can be computed a second time."""
    backbone = tiny()
    for module in backbone.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0
    backbone.model.config.attention_probs_dropout_prob = 0.0
    return backbone


@pytest.mark.parametrize("max_norm", [None, 1e-3])
def test_fisher_information_is_the_mean_of_squared_gradients(still: Backbone, max_norm: float | None) -> None:
    data = demo(still)
    examples = data.sample(5, 0, "shots")
    encoder = still.view.encoder_parameters()
    found = fisher_information(still.model, data.loss_of(still), data.batches(examples, 1, CPU), encoder, max_norm)
    expected = {name: torch.zeros_like(p) for name, p in encoder.items()}
    for index in range(5):
        still.model.zero_grad()
        row = examples[index]
        logits = still.model(input_ids=row["input_ids"][None], token_type_ids=row["token_type_ids"][None]).logits
        F.cross_entropy(logits, row["labels"][None]).backward()
        for name, p in encoder.items():
            assert p.grad is not None
            if max_norm is not None:
                torch.nn.utils.clip_grad_norm_(p, max_norm)
            expected[name] += p.grad.square() / 5
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-12)


def test_a_batch_is_averaged_before_it_is_squared_and_gradients_are_left_alone(still: Backbone) -> None:
    data = demo(still)
    examples = data.sample(4, 0, "shots")
    encoder = still.view.encoder_parameters()
    by_example, by_batch = (
        fisher_information(still.model, data.loss_of(still), data.batches(examples, size, CPU), encoder, None)
        for size in (1, 4)
    )
    assert all((by_batch[name] <= by_example[name] * (1 + 1e-4) + 1e-12).all() for name in encoder)
    assert all(p.grad is None for p in still.model.parameters())
    assert not still.model.training


def test_a_short_gradient_is_not_scaled() -> None:
    gradient = torch.tensor([0.3, -0.4])
    assert torch.equal(clipped(gradient, 1.0), gradient)
    torch.testing.assert_close(clipped(10 * gradient, 1.0), 2 * gradient)


@pytest.mark.parametrize("options", [{}, {"fisher": "example", "max_norm": None, "n": 6, "p": 0.1}])
def test_the_mask_keeps_a_share_of_the_encoder_alone(options: dict[str, Any], tmp_path: Path) -> None:
    backbone = tiny()
    strategy = create_strategy("child-tuning", options)
    network = strategy.select(SelectionContext(backbone, demo(backbone), 0, CPU))
    assert isinstance(network, ChildNetwork)
    assert network.masks.keys() == backbone.view.encoder_parameters().keys()
    assert network.kept == pytest.approx(options.get("p", 0.3) * network.entries, abs=2)
    assert network.describe()["density"] == network.kept / network.entries

    stored = safetensors.torch.load_file(network.save(tmp_path)[0])
    assert all(torch.equal(unpack(stored[name], mask.shape), mask) for name, mask in network.masks.items())
    assert strategy.attach(backbone, network).num_tuned() == backbone.size - network.entries + network.kept


def gradients(attached: Attached) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    attached.model(**batch(attached.backbone)).loss.backward()
    everything = {**attached.tuned(), **attached.classifier()}
    before = {name: p.grad.clone() for name, p in everything.items() if p.grad is not None}
    attached.after_clipping()
    return before, {name: everything[name].grad for name in before}


def test_d_masks_gradients_of_the_encoder_and_leaves_all_others() -> None:
    backbone = tiny()
    strategy = create_strategy("child-tuning", {})
    network = child_network(strategy, backbone)
    before, after = gradients(strategy.attach(backbone, network))
    for name, gradient in before.items():
        mask = network.masks.get(name, torch.ones_like(gradient))
        assert torch.equal(after[name], gradient * mask), name


def test_f_draws_a_mask_for_everything_and_divides_by_p() -> None:
    backbone = tiny()
    torch.manual_seed(5)
    strategy = create_strategy("child-tuning", {"variant": "F", "p": 0.25})
    assert strategy.select(SelectionContext(backbone, None, 0, CPU)) is None  # type: ignore[arg-type]
    attached = strategy.attach(backbone)
    before, after = gradients(attached)
    kept = torch.cat([(after[name] != 0).flatten()[before[name].flatten() != 0] for name in before])
    assert kept.float().mean().item() == pytest.approx(0.25, abs=0.02)
    for name, gradient in before.items():
        chosen = after[name] != 0
        torch.testing.assert_close(after[name][chosen], gradient[chosen] / 0.25)
    first = {name: value.clone() for name, value in after.items()}
    backbone.model.zero_grad()
    _, second = gradients(attached)
    assert any(not torch.equal(second[name] != 0, first[name] != 0) for name in first)


@pytest.mark.parametrize("strict", [False, True])
def test_decay_reaches_weights_outside_the_child_network_unless_it_is_strict(strict: bool) -> None:
    backbone = tiny()
    strategy = create_strategy("child-tuning", {"strict": strict})
    network = child_network(strategy, backbone)
    before = snapshot(backbone)
    train(strategy.attach(backbone, network))
    after = snapshot(backbone)
    for name, mask in network.masks.items():
        held, expected = after[name][~mask], before[name][~mask]
        if strict or after[name].ndim < 2:
            assert torch.equal(held, expected), name
        else:
            # 20 steps at rate 1e-2 and decay 0.1, and no gradient.
            torch.testing.assert_close(held, expected * (1 - 1e-3) ** 20, rtol=1e-5, atol=1e-8)


def test_a_strict_delta_is_a_third_of_the_encoder_and_refuses_what_does_not_fit() -> None:
    backbone = tiny()
    strategy = create_strategy("child-tuning", {"strict": True})
    network = child_network(strategy, backbone)
    attached, whole = (
        strategy.attach(backbone, network),
        create_strategy("child-tuning", {}).attach(tiny(), network),
    )
    delta = attached.delta()
    saved = whole.stored_bytes() - attached.stored_bytes()
    assert saved == pytest.approx(network.entries * (4 - 0.3 * 4 - 1 / 8), rel=0.01)
    name = next(name for name in delta if name.endswith(".values"))
    fresh = create_strategy("child-tuning", {"strict": True}).attach(tiny())
    with pytest.raises(UserError, match="delta"):
        fresh.load_delta({**delta, name: delta[name][1:]})
    with pytest.raises(UserError, match="delta"):
        fresh.load_delta({key: value for key, value in delta.items() if key != name})


@pytest.mark.parametrize(
    "options",
    [
        {"p": 0.0},
        {"p": 1.5},
        {"n": 0},
        {"max_norm": 0.0},
        {"strict": True, "variant": "F"},
        {"selection": "run", "variant": "F"},
    ],
)
def test_options_out_of_range_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"strategy.*allowed"):
        create_strategy("child-tuning", options)


@pytest.mark.parametrize("options", ["", "strategy.strict=true shots=16", "strategy.variant=F"])
def test_a_whole_run(options: str, tmp_path: Path) -> None:
    record = run(small(options, strategy="child-tuning"), tmp_path)
    assert record.status == "finished"
    assert (tmp_path / FILE_NAME).exists() == ("variant=F" not in options)
    assert record.parameters is not None
    assert (record.selection is None) == ("variant=F" in options)


def test_a_reused_mask_is_that_of_the_run_and_no_gradient_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(small("shots=16 strategy.p=0.2", strategy="child-tuning"), tmp_path / "first")
    monkeypatch.setattr("peftlab.strategies.child_tuning.fisher_information", lambda *_: pytest.fail("measured anew"))
    options = f"shots=16 strategy.p=0.2 strategy.selection={tmp_path / 'first'}"
    again = run(small(options, strategy="child-tuning"), tmp_path / "again")
    assert again.selection == first.selection
    masks, reused = (ChildNetwork.load(tmp_path / name).masks for name in ("first", "again"))
    assert all(torch.equal(reused[name], mask) for name, mask in masks.items())


@pytest.fixture
def network() -> ChildNetwork:
    return child_network(create_strategy("child-tuning", {}), tiny())


@pytest.mark.parametrize("given", ["folder", "file"])
def test_a_child_network_comes_back_as_it_was_saved(network: ChildNetwork, given: str, tmp_path: Path) -> None:
    (file,) = network.save(tmp_path)
    again = ChildNetwork.load(file if given == "file" else tmp_path)
    assert again.describe() == network.describe()
    assert all(torch.equal(again.masks[name], mask) for name, mask in network.masks.items())


def with_shapes(shapes: Any) -> Callable[[Path], None]:
    """Return what writes a file of one float tensor named `mask` that claims to hold masks of these shapes."""
    facts = json.dumps({"threshold": 0.0, "examples": 1, "shapes": shapes})
    return lambda file: safetensors.torch.save_file({"mask": torch.ones(2)}, file, {"peftlab": facts})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: file.write_bytes(file.read_bytes()[:-9]), "cannot be read"),
        (lambda file: safetensors.torch.save_file({"mask": torch.ones(2)}, file), "holds no masks with shapes"),
        (with_shapes({"mask": [2]}), "does not hold a mask of shape"),
        (with_shapes({"mask": [2, "b"]}), "holds no masks with shapes"),
        (with_shapes({"another": [2]}), "cannot be read .*another"),
        (with_shapes([2]), "holds no masks with shapes"),
        (with_shapes({}), "holds no masks"),
    ],
)
def test_a_file_that_is_no_child_network_is_named(
    network: ChildNetwork, spoil: Any, message: str, tmp_path: Path
) -> None:
    (file,) = network.save(tmp_path)
    spoil(file)
    with pytest.raises(UserError, match=f"^child network {file}: .*{message}"):
        create_strategy("child-tuning", {"selection": str(file)}).check(tiny())


@pytest.mark.parametrize(
    ("options", "shapes"),
    [({"num_hidden_layers": 3}, "none there and .* here"), ({"hidden_size": 64}, r".*\[32, 32\] there and \[64, 64\]")],
)
def test_a_child_network_of_another_encoder_is_refused(
    network: ChildNetwork, options: dict[str, int], shapes: str, tmp_path: Path
) -> None:
    strategy = create_strategy("child-tuning", {"selection": str(network.save(tmp_path)[0])})
    with pytest.raises(UserError, match=f"strategy.selection=.*another encoder.* has shape {shapes}"):
        strategy.check(tiny(**options))


def test_a_child_network_of_another_share_is_taken_with_a_word(
    network: ChildNetwork, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    strategy = create_strategy("child-tuning", {"selection": str(network.save(tmp_path)[0]), "p": 0.1})
    found = strategy.select(SelectionContext(tiny(), None, 0, CPU))  # type: ignore[arg-type]
    assert isinstance(found, ChildNetwork)
    assert found.kept == network.kept
    assert "not p=0.1" in caplog.text


def child_network(strategy: Strategy, backbone: Backbone) -> ChildNetwork:
    """Stand in for Fisher information: random masks of the encoder's weights."""
    generator = torch.Generator().manual_seed(3)
    encoder = backbone.view.encoder_parameters()
    return ChildNetwork({name: torch.rand(p.shape, generator=generator) < 0.3 for name, p in encoder.items()}, 0.0, 8)
