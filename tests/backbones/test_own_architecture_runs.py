"""HiFi and LoRA on a user's own family: from a command line to a record, a table, a page and a merged model."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from commands import command
from models import batch, logits
from peftlab.delta.delta import load_delta
from peftlab.report.command import write as write_report
from peftlab.results.found import find_records
from peftlab.results.table import sweep_in_markdown
from peftlab.strategies.restore import export_merged, restore

TOY = "backbone=tiny backbone.name=toy backbone.random.model_type=toy plugins=[plugins.toy_architecture]"
SMALL = "task=demo trainer=cpu trainer.max_steps=4 training.learning_rate=0.01 data.max_length=48 data.cache_dir=null"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    with pytest.MonkeyPatch.context() as patch:
        assert command(f"+strategy=hifi,lora {TOY} {SMALL} hydra.sweep.dir=sweep -m", folder, patch) == 0
    return folder / "sweep"


def test_both_are_in_the_table_and_on_the_page(sweep: Path, tmp_path: Path) -> None:
    records = find_records(sweep)
    assert {(record.strategy, record.backbone, record.status) for record in records} == {
        ("hifi", "toy", "finished"),
        ("lora", "toy", "finished"),
    }
    table = sweep_in_markdown(records)
    assert all(name in table for name in ("hifi", "lora", "toy"))
    write_report([sweep], tmp_path)
    assert "toy" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_bias_that_its_projections_do_not_have_is_refused_before_heads_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(f"+strategy=hifi strategy.bias=true {TOY} {SMALL}", tmp_path, monkeypatch) != 0
    assert "strategy.bias=true: allowed is false, projections of backbone toy have no bias" in capsys.readouterr().err


def of(sweep: Path, strategy: str) -> Path:
    (folder,) = (path.parent for path in sweep.rglob("result.json") if path.parent.name.startswith(strategy))
    return folder


def test_hifi_tunes_the_rows_of_its_heads_in_the_fused_matrix_those_that_are_shared_once(sweep: Path) -> None:
    delta = load_delta(of(sweep, "hifi"))
    chosen = delta.facts.selection["heads"]
    for layer, heads in enumerate(chosen):
        shared = {head // 2 for head in heads}
        rows = delta.tensors[f"layers.{layer}.query-key-value.weight_rows"]
        assert rows.shape == (8 * (len(heads) + 2 * len(shared)), 32)


@pytest.mark.parametrize("strategy", ["hifi", "lora"])
def test_the_merged_model_is_one_that_stock_transformers_loads(strategy: str, sweep: Path, tmp_path: Path) -> None:
    tuned = restore(of(sweep, strategy)).backbone
    given = batch(tuned)
    expected = logits(tuned, given)
    export_merged(of(sweep, strategy), tmp_path / "merged")
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    found = stock(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
