"""A folder of weights is a backbone of its own: its name, its recipe, and how its deltas find it again."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models import batch, logits, write_backbone
from peftlab import merge
from peftlab.errors import UserError
from peftlab.results.record import RunRecord
from peftlab.results.table import summarise
from peftlab.run import run
from peftlab.strategies.restore import restore
from runs import SILENT, composed, refused

FEW = f"task=demo trainer=cpu trainer.max_steps=2 trainer.limit_val_batches=1 data.max_length=48 {SILENT}"


def configured(folder: Path, strategy: str = "bitfit", overrides: str = "recipe=tiny") -> dict[str, Any]:
    return composed(f"+strategy={strategy} {FEW} backbone.path={folder} {overrides}")


@pytest.fixture
def tuned(tmp_path: Path) -> RunRecord:
    return run(configured(write_backbone(tmp_path / "mine")), tmp_path / "run")


def test_other_weights_are_never_one_backbone(tmp_path: Path) -> None:
    records = []
    for kind, strategy in (("electra", "bitfit"), ("roberta", "lora")):
        folder = write_backbone(tmp_path / kind / "checkpoint", kind)
        records.append(run(configured(folder, strategy), tmp_path / f"run-{kind}"))
    for record in records:
        assert record.fingerprint is not None
        assert record.backbone == f"checkpoint-{record.fingerprint[:8]}"
    assert len({cell.setting for cell in summarise(records)}) == 2


@pytest.mark.parametrize("chosen", ["backbone=bert-large", "backbone=tiny"])
def test_the_name_of_another_backbone_is_not_a_folders(chosen: str, tmp_path: Path, tuned: RunRecord) -> None:
    config = configured(tmp_path / "mine", overrides=f"{chosen} recipe=tiny")
    record = run(config, tmp_path / "again")
    assert (record.backbone, record.fingerprint, record.id) == (tuned.backbone, tuned.fingerprint, tuned.id)


def test_a_name_that_is_given_is_the_folders(tmp_path: Path) -> None:
    config = configured(write_backbone(tmp_path / "mine"), overrides="recipe=tiny backbone.name=ours")
    assert run(config, tmp_path / "run").backbone == "ours"


def test_a_recipe_is_asked_for_where_none_fits(tmp_path: Path) -> None:
    folder = write_backbone(tmp_path / "mine")
    line = refused(configured(folder, overrides=""), tmp_path / "run")
    assert "no learning rate for strategy bitfit" in line
    assert "recipe=NAME" in line
    record = run(configured(folder, overrides="training.learning_rate=2e-3"), tmp_path / "run")
    assert record.training is not None
    assert record.training.learning_rate == 2e-3


def test_a_delta_finds_its_folder_where_the_run_found_it(tuned: RunRecord) -> None:
    assert tuned.folder is not None
    attached = restore(tuned.folder)
    assert attached.backbone.fingerprint == tuned.fingerprint
    assert attached.backbone.name == tuned.backbone


def test_a_folder_that_has_gone_is_named_by_the_option_of_whoever_asks(
    tmp_path: Path, tuned: RunRecord, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tuned.folder is not None
    before = logits(restore(tuned.folder).backbone, batch(restore(tuned.folder).backbone))
    (tmp_path / "mine").rename(tmp_path / "moved")
    other = write_backbone(tmp_path / "other", seed=2)
    with pytest.raises(UserError, match="backbone_path=FOLDER"):
        restore(tuned.folder)
    found = restore(tuned.folder, str(tmp_path / "moved"))
    assert torch.equal(logits(found.backbone, batch(found.backbone)), before)
    for arguments in ((), ("--backbone", other)):
        monkeypatch.setattr("sys.argv", ["merge", *map(str, (tuned.folder, tmp_path / "plain", *arguments))])
        with pytest.raises(SystemExit):
            merge.main()
        (line,) = capsys.readouterr().err.splitlines()
        assert "--backbone FOLDER" in line
        assert not (tmp_path / "plain").exists()
