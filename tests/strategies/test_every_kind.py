"""Every strategy learns every kind of task and comes back from its delta, or says in a line why not; in one table."""

from pathlib import Path

import pytest
import torch

from conftest import ROOT
from models import strategy_or_skip
from peftlab.backbones.forward import outputs_of
from peftlab.check.kinds import backbone_for, batch_for
from peftlab.check.small import ExampleData
from peftlab.delta.delta import load_delta, save_delta
from peftlab.strategies.contract import SelectionContext
from peftlab.strategies.registry import strategy_names
from peftlab.strategies.restore import apply_delta, describe_delta
from peftlab.tasks.kind import KINDS
from peftlab.training.optimiser import build_optimiser
from peftlab.training.phases import PhaseSchedule

OPTIONS = {"hifi": {"n": 4, "k": 2}, "compacter": {"n": 2, "bottleneck": 8}, "child-tuning": {"n": 2}}
OWN = [cls.name for cls in KINDS.classes() if cls.__module__.startswith("peftlab.")]
PAGE = ROOT / "docs" / "kinds.md"


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("strategy_name", strategy_names())
def test_a_strategy_learns_a_kind_and_comes_back(strategy_name: str, name: str, tmp_path: Path) -> None:
    strategy = strategy_or_skip(strategy_name, OPTIONS.get(strategy_name, {}))
    kind, rows, _ = KINDS.get(name).example()
    backbone, fresh = backbone_for(kind), backbone_for(kind)
    reason = strategy.skip(backbone.view, kind)
    if reason is not None:
        pytest.skip(reason)
    data = ExampleData(kind, rows, backbone)
    selection = strategy.select(SelectionContext(backbone, data, 1, torch.device("cpu")))
    attached = strategy.attach(backbone, selection)
    batch = batch_for(kind, backbone, rows)
    phases = PhaseSchedule(attached, 8)
    before, optimiser = None, None
    for step in range(8):
        if optimiser is None or phases.advance(step):
            optimiser = build_optimiser(attached.parameter_groups(), learning_rate=1e-2, weight_decay=0.0)
        loss = kind.loss(outputs_of(backbone, batch), batch)
        before = loss.item() if before is None else before
        loss.backward()
        attached.after_clipping()
        optimiser.step()
        attached.after_step()
        optimiser.zero_grad()
    phases.finish()
    with torch.no_grad():
        after = kind.loss(outputs_of(backbone, batch), batch).item()
        assert after != before
        save_delta(describe_delta(attached, {"name": "x"}, "example", [], {}, kind.output_layer), tmp_path)
        apply_delta(load_delta(tmp_path), fresh)
        outputs = outputs_of(fresh, batch)
        assert kind.loss(outputs, batch).item() == after
        assert len(kind.answers(kind.predict(outputs, batch))) == len(rows)


def test_the_documentation_names_every_kind_and_says_that_none_is_left_out() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in OWN:
        assert f"`{name}`" in text
