"""Nobody is let in: no file of another can run code, lead out of its folder, or carry a secret away."""

import ast
import json
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from models import output_layer, tiny
from peftlab.backbones.loading import BackboneSpec, load_backbone
from peftlab.delta.delta import load_delta, save_delta
from peftlab.errors import UserError
from peftlab.masks.child_network import ChildNetwork
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.strategies.bitfit import BitFit
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import describe_delta, restore
from peftlab.training.checkpoint_files import read_checkpoint
from runs import small, write_rte

SOURCE = Path(__file__).resolve().parents[1] / "src"


class Payload:
    """Pickled, it writes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.write_text, (self.mark, "somebody's code was run")


def plain_pickle(mark: Path, path: Path) -> None:
    path.write_bytes(pickle.dumps(Payload(mark)))


def torch_file(mark: Path, path: Path) -> None:
    torch.save({"state_dict": Payload(mark)}, path)


PAYLOADS = [plain_pickle, torch_file]


@pytest.mark.parametrize("write", PAYLOADS)
def test_the_payloads_are_real(write, mark, tmp_path):
    write(mark, tmp_path / "file")
    if write is torch_file:
        torch.load(tmp_path / "file", weights_only=False)
    else:
        pickle.loads((tmp_path / "file").read_bytes())
    assert mark.exists()


def a_delta(folder: Path) -> None:
    backbone = tiny()
    save_delta(describe_delta(BitFit().attach(backbone), {"name": "tiny"}, "rte", ["yes", "no"], {}), folder)


READERS = {
    "last.safetensors": lambda folder: read_checkpoint(folder / "last.safetensors"),
    "delta.safetensors": load_delta,
    "delta.json": load_delta,
    "child_network.safetensors": ChildNetwork.load,
    "selection.json": lambda folder: run(small(f"strategy.selection={folder}"), folder / "run"),
    "result.json": RunRecord.read,
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("write", PAYLOADS)
def test_a_file_that_would_run_code_is_refused(write, name, mark, tmp_path):
    a_delta(tmp_path)
    write(mark, tmp_path / name)
    with pytest.raises(UserError, match=name):
        READERS[name](tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("write", PAYLOADS)
def test_a_cached_file_that_would_run_code_is_made_anew(write, mark, tmp_path):
    root = write_rte(tmp_path / "glue")
    config = small(f"task=rte data.root={root} data.cache_dir={tmp_path}/cache", "bitfit")
    first = run(config, tmp_path / "first")
    for path in (tmp_path / "cache").iterdir():
        write(mark, path)
    again = run(config, tmp_path / "again")
    assert not mark.exists()
    assert (again.folder / "delta.safetensors").read_bytes() == (first.folder / "delta.safetensors").read_bytes()


@pytest.fixture
def backbone_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "backbone"
    backbone = tiny()
    backbone.model.save_pretrained(folder)
    backbone.processor.save_pretrained(folder)
    return folder


def load(folder: Path) -> None:
    load_backbone(BackboneSpec("mine", path=str(folder)), output_layer(["yes", "no"]), 1)


def edit(path: Path, **entries: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


@pytest.mark.parametrize("write", PAYLOADS)
@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_pickled_weights_are_not_read(name, write, mark, backbone_folder):
    load(backbone_folder)
    (backbone_folder / "model.safetensors").unlink()
    write(mark, backbone_folder / name)
    with pytest.raises(UserError, match=r"^backbone=mine: "):
        load(backbone_folder)
    assert not mark.exists()


FOREIGN = [
    ("config.json", {"auto_map": {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}}),
    ("config.json", {"auto_map": {"AutoConfig": "code.Config"}, "model_type": "unheard-of"}),
    ("config.json", {"auto_map": {"AutoConfig": "nobody/elsewhere--code.Config"}}),
    ("config.json", {"_attn_implementation": "nobody/kernel"}),
    ("config.json", {"_attn_implementation_internal": "nobody/kernel"}),
    ("config.json", {"text_config": {"_attn_implementation_internal": "nobody/kernel:forward"}}),
    ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": [None, "code.Tokenizer"]}}),
]


@pytest.mark.parametrize("trust", [None, True])
@pytest.mark.parametrize(("name", "entries"), FOREIGN)
def test_settings_that_name_code_outside_transformers_are_refused(name, entries, trust, mark, backbone_folder):
    (backbone_folder / "code.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    edit(backbone_folder / name, **entries, **({"trust_remote_code": trust} if trust else {}))
    with pytest.raises(
        UserError, match=rf"^backbone=mine: {re.escape(str(backbone_folder / name))} names code outside"
    ):
        load(backbone_folder)
    assert not mark.exists()


def test_trust_in_remote_code_is_never_asked_for():
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path


def test_nothing_in_the_source_reads_or_writes_code():
    forbidden = {"pickle", "dill", "joblib", "shelve", "marshal", "torch.load", "torch.save", "eval", "exec"}
    for path in SOURCE.rglob("*.py"):
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        assert not forbidden & (imported | called), path


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "a/b", "..", ""])
def test_a_record_cannot_lead_out_of_its_folder(name, tmp_path):
    record = RunRecord(task="rte", strategy="hifi", backbone="tiny", seed=1)
    record.write(tmp_path)
    edit(tmp_path / "result.json", delta={"bytes": 1, "file": name})
    with pytest.raises(UserError, match=r"delta\.file is .* must be the name of a file beside the record"):
        RunRecord.read(tmp_path)


@pytest.mark.parametrize("path", ["..", "/", "backbone"])
def test_a_delta_says_nothing_about_paths_of_this_machine(path, backbone_folder, tmp_path):
    a_delta(tmp_path)
    facts = json.loads((tmp_path / "delta.json").read_text())
    edit(tmp_path / "delta.json", backbone={**facts["backbone"], "path": str(tmp_path / path)})
    with pytest.raises(UserError, match=r"its backbone .* was a folder.s, and is not where the run found it"):
        restore(tmp_path)


def test_a_delta_cannot_import_a_package(tmp_path, monkeypatch, mark):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "__init__.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    a_delta(tmp_path)
    edit(tmp_path / "delta.json", backbone={"name": "tiny", "package": "evil.part"})
    with pytest.raises(UserError, match=r"backbone\.package=evil\.part: allowed is a package's plain name"):
        restore(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["megatron_core", "megatron_config"])
def test_a_delta_cannot_name_a_module_for_peft_to_import(name):
    with pytest.raises(UserError, match=rf"^strategy\.options\.{name}: Megatron's layers are not supported$"):
        create_strategy("peft", {"method": "lora", "options": {name: "evil"}})


def test_a_delta_cannot_have_a_package_imported(tmp_path, mark, monkeypatch):
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    run(small("", strategy="bitfit"), tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "delta.json").read_text())
    (tmp_path / "run" / "delta.json").write_text(json.dumps({**facts, "strategy": "evil"}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no strategy evil here; where it is a package's, name the package"):
        restore(tmp_path / "run")
    assert not mark.exists()
