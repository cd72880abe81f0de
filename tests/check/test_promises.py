"""Each promise notices what breaks it, and says what it found."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from models import tiny
from peftlab.backbones.architectures.bert import Bert
from peftlab.check import architectures, kinds, strategies
from peftlab.check.promise import DoesNotApplyError, Finding, Subject, find_out
from peftlab.check.small import Trial
from peftlab.errors import UserError
from peftlab.strategies.attached import Attached, ParameterGroup
from peftlab.strategies.contract import Strategy, Traits
from peftlab.tasks.kind import Metric
from peftlab.tasks.kinds.classification import Classification


class Biases(Attached):
    """Tunes the biases of the first layer, as a method should."""

    def _insert(self, selection: Any) -> None:
        for parameter in self.tuned().values():
            parameter.requires_grad_(True)
        self.before = {name: p.detach().clone() for name, p in self.tuned().items()}

    def _remove(self) -> None:
        for name, parameter in self.tuned().items():
            parameter.data = self.before[name]

    def _merge(self) -> None:
        """They are the backbone's own."""

    def tuned(self) -> dict[str, nn.Parameter]:
        layer = self.backbone.view.layer(0)
        return {name: p for name, p in layer.named_parameters() if name.endswith("dense.bias")}


class MovesAtTheStart(Biases):
    def _insert(self, selection: Any) -> None:
        super()._insert(selection)
        next(iter(self.tuned().values())).data += 0.1


class FreesMore(Biases):
    def _insert(self, selection: Any) -> None:
        super()._insert(selection)
        next(iter(self.model.parameters())).requires_grad_(True)


class Forgets(Biases):
    def parameter_groups(self) -> list[ParameterGroup]:
        return super().parameter_groups()[:1]


class TouchesMore(Biases):
    def after_step(self) -> None:
        next(iter(self.model.parameters())).data += 0.1


class StoresLess(Biases):
    def delta(self) -> dict[str, Tensor]:
        return {name: torch.zeros_like(tensor) for name, tensor in super().delta().items()}


class StaysOnMerging(Biases):
    def _merge(self) -> None:
        self._remove()


class LeavesATrace(Biases):
    def _remove(self) -> None:
        """What was tuned stays."""


class CountsWrongly(Biases):
    def stored_bytes(self) -> int:
        return 3


@dataclass(frozen=True)
class Method(Strategy):
    """Its attached object is named by its option."""

    name = "some-method"

    kind: type[Attached] = field(default=Biases, metadata={"path": lambda path: None})  # in no delta

    def attach(self, backbone: Any, selection: Any = None) -> Attached:
        return self.kind(self, backbone, selection)


@dataclass(frozen=True)
class FitsNothing(Method):
    def skip(self, view: Any, kind: Any) -> str | None:
        return "it needs a cross"


@dataclass(frozen=True)
class CannotBeMerged(Method):
    @property
    def traits(self) -> Traits:
        return Traits(merge_tolerance=None)


NEEDS_NO_NAME = [
    promise
    for promise in strategies.PROMISES
    # A strategy that no registry knows does not come back by its name.
    if promise
    not in (
        strategies.comes_back_from_its_delta,
        strategies.draws_nothing_that_its_delta_lacks,
        strategies.has_options_that_come_back,
    )
]


@pytest.mark.parametrize("promise", NEEDS_NO_NAME, ids=lambda promise: promise.__name__)
def test_a_method_that_does_as_it_should_keeps_them(promise: Any) -> None:
    with suppress(DoesNotApplyError):
        promise(Trial(Method()))


@pytest.mark.parametrize(
    ("promise", "attached", "found"),
    [
        (strategies.starts_as_the_untouched_backbone, MovesAtTheStart, "start_tolerance allows 0"),
        (
            strategies.gives_gradients_to_what_it_declares_alone,
            FreesMore,
            "not declared, and with a gradient: bert.emb",
        ),
        (strategies.groups_each_parameter_once, Forgets, "the groups hold 1, or others"),
        (strategies.changes_nothing_else_in_fp32, TouchesMore, "not declared, and changed: bert.embeddings.word"),
        (strategies.changes_nothing_else_in_bf16, TouchesMore, "not declared, and changed"),
        (strategies.changes_nothing_else_in_fp32, Forgets, "declared, with a gradient, and not moved: bert.encoder"),
        (strategies.merges_into_a_plain_model, StaysOnMerging, "cannot be merged, the model would answer"),
        (strategies.gives_the_backbone_back, LeavesATrace, "changed: bert.encoder.layer.0."),
        (strategies.stores_what_it_says, CountsWrongly, "stored_bytes() says 3, delta() holds"),
    ],
)
def test_a_broken_promise_is_noticed(promise: Any, attached: type[Attached], found: str) -> None:
    with pytest.raises(AssertionError) as broken:
        promise(Trial(Method(attached)))
    assert found in str(broken.value)
    assert "\n" not in str(broken.value)


def test_a_delta_that_does_not_hold_what_was_tuned_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "create_strategy", lambda name, options: Method(StoresLess))
    monkeypatch.setattr("peftlab.strategies.restore.strategy_names", lambda: ["some-method"])
    monkeypatch.setattr("peftlab.strategies.restore.create_strategy", lambda name, options: Method(StoresLess))
    with pytest.raises(AssertionError, match=r"logits differ by .* of the largest; delta\(\) allows 0"):
        strategies.comes_back_from_its_delta(Trial(Method(StoresLess)))


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (FitsNothing(), "some-method does not fit (it needs a cross)"),
        (CannotBeMerged(), "some-method declares that it cannot be merged"),
    ],
)
def test_what_does_not_apply_is_skipped_with_its_reason(strategy: Strategy, reason: str) -> None:
    subjects = [Subject(kind, lambda kind=kind: Trial(strategy, kind)) for kind in ("bert", "roberta")]
    finding = find_out(strategies.merges_into_a_plain_model, subjects)
    assert (finding.verdict, finding.why) == ("skipped", reason)


def test_a_line_names_the_promise_what_became_of_it_and_where() -> None:
    def promise(number: int) -> None:
        """It is even.

        More is said here.
        """
        if number == 0:
            raise DoesNotApplyError("zero")
        if number == 9:
            raise UserError("nine is\n not allowed")
        if number == 7:
            raise ValueError("a defect")
        if number % 2:
            raise AssertionError(f"{number} is odd")

    def found(*numbers: int) -> str:
        return str(find_out(promise, [Subject(f"at {number}", lambda number=number: number) for number in numbers]))

    assert found(2, 4) == found(2, 0) == "ok       It is even"
    assert found(2, 3, 5) == "broken   It is even: at 3: 3 is odd"
    assert found(0, 0) == "skipped  It is even: zero"
    assert found(9) == r"broken   It is even: at 9: nine is\n not allowed"
    assert found(7) == "broken   It is even: at 7: ValueError: a defect"
    assert Finding("It is even", "ok").why == ""


@dataclass(frozen=True)
class Upside(Classification):
    """A kind with an error rate that claims to be better when higher."""

    name = "classification"
    metrics: ClassVar = {"accuracy": replace(Classification.metrics["accuracy"], better="lower")}


@dataclass(frozen=True)
class Silent(Classification):
    metrics: ClassVar = {"accuracy": Metric(lambda predictions: float("nan"))}

    def answers(self, predictions: Any) -> list[str]:
        return super().answers(predictions)[:1]

    def strata(self, rows: Any) -> list[list[int]] | None:
        return [[0]]

    def loss(self, outputs: Any, batch: Any) -> Tensor:
        return outputs.logits.detach().sum(0)


@pytest.mark.parametrize(
    ("promise", "cls", "found"),
    [
        (kinds.prefers_right_answers, Upside, "accuracy, lower is better: 1.0 for right answers, "),
        (kinds.predicts_in_batches, Silent, "scores that are no finite numbers"),
        (kinds.draws_each_row_once, Silent, "4 rows, the strata hold [0]"),
        (kinds.trains_the_output_layer, Silent, "the loss has the shape [2]"),
    ],
)
def test_a_broken_promise_of_a_kind_is_noticed(promise: Any, cls: Any, found: str) -> None:
    with pytest.raises(AssertionError) as broken:
        promise(cls)
    assert found in str(broken.value)


def test_rows_that_belong_to_another_head_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    view = type(tiny().view)
    rows = view.head_rows
    monkeypatch.setattr(view, "head_rows", lambda self, layer, which, heads: rows(self, layer, which, [1]))
    with pytest.raises(AssertionError, match=r"bert: the query rows of head 0 move \[1\]"):
        architectures.keeps_heads_where_it_says(Bert)
