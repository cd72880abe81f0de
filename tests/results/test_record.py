"""The record: what is written comes back, and what is not a record is refused in one line."""

import json
import math
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from records import failed, finished

from peftlab.errors import UserError
from peftlab.results.found import find_records
from peftlab.results.record import FILE_NAME, Delay, Deployment, RunRecord

DEPLOYMENT = Deployment(
    extra_parameters=64,
    structure_changed=True,
    merged=False,
    delay=Delay(ratio=1.1, low=1.05, high=1.2, pairs=200, batch_size=1, length=128, bare_seconds=0.012, clock="wall"),
)


@pytest.mark.parametrize(
    "record", [finished(), finished(0.8, test=0.7, shots=16), finished(deployment=DEPLOYMENT), failed()]
)
def test_a_record_comes_back_as_it_was_written(record: RunRecord, tmp_path: Path):
    path = record.write(tmp_path / "run")
    assert RunRecord.read(path) == record
    assert RunRecord.read(path.parent) == record
    assert RunRecord.read(path).folder == tmp_path / "run"
    assert os.listdir(path.parent) == [FILE_NAME]


def test_the_file_has_the_documented_layout():
    data = json.loads(finished(0.85).to_json())
    assert data["schema"] == 1
    assert data["metric"] == {
        "name": "accuracy",
        "validation": 0.85,
        "test": None,
        "further": {"validation/accuracy": 0.85},
        "better": "higher",
        "unit": "%",
        "constant": None,
    }
    assert data["parameters"] == {"total": 22_713_986, "tuned": 663_552, "classifier": 770, "sizes": {}}
    assert data["seconds"] == {"selection": 4.0, "training": 60.0, "evaluation": 2.5, "total": 70.0}
    assert data["delta"] == {"bytes": 2_658_000, "file": "delta.safetensors", "sha256": None}
    assert {"status", "reason", "task", "strategy", "backbone", "seed", "shots", "collapsed"} <= data.keys()
    assert {"throughput", "memory", "training", "data", "selection", "curve", "config"} <= data.keys()
    assert {"id", "identity", "versions", "commit", "dirty", "device", "started", "command"} <= data.keys()
    assert "folder" not in data


def test_a_failed_run_keeps_what_defines_it_and_folds_its_reason_into_one_line():
    data = json.loads(failed("CUDA out of memory.\n  Tried to allocate\t2 GiB").to_json())
    assert data["status"] == "failed"
    assert data["reason"] == "CUDA out of memory. Tried to allocate 2 GiB"
    assert data["metric"] is None
    assert data["parameters"] is None
    assert (data["task"], data["strategy"], data["backbone"], data["seed"]) == ("rte", "hifi", "minilm", 9)
    assert data["config"]["strategy"]["k"] == 3


def test_an_error_without_words_still_gives_a_reason():
    record = finished()
    record.stop("interrupted", KeyboardInterrupt())
    assert record.status == "interrupted"
    assert record.reason == "no reason was given"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), np.array(np.nan)])
def test_a_number_that_is_none_becomes_null(value: float, tmp_path: Path):
    record = finished(value, curve=[{"epoch": 1, "train_loss": value}], config={"deep": [{"lr": value}]})
    read = RunRecord.read(record.write(tmp_path))
    assert read.metric is not None
    assert read.metric.validation is None
    assert read.curve == [{"epoch": 1, "train_loss": None}]
    assert read.config == {"deep": [{"lr": None}]}


def test_odd_values_do_not_cost_a_finished_run_its_record(tmp_path: Path):
    odd = {
        "path": Path("a/b"),
        "count": np.int64(3),
        "rows": np.eye(2),
        "pair": (1, 2),
        7: {1j},
        "bad": "\udc80",
        "big": 10**30,
    }
    read = RunRecord.read(finished(config=odd).write(tmp_path))
    assert read.config == {
        **{"path": "a/b", "count": 3, "rows": [[1.0, 0.0], [0.0, 1.0]], "pair": [1, 2]},
        **{"7": "{1j}", "bad": "\\udc80", "big": str(10**30)},
    }


def edited(path: str, value: object) -> str:
    """The JSON of a finished record in which the key at the dotted `path` holds `value`."""
    data = json.loads(finished().to_json())
    *parents, last = path.split(".")
    place = data
    for parent in parents:
        place = place[parent]
    place[last] = value
    return json.dumps(data)


NOT_RECORDS = {
    "empty": ("", "not a whole JSON file"),
    "half-written": (finished().to_json()[:300], "not a whole JSON file"),
    "bare NaN": (edited("metric.validation", math.nan), "NaN"),
    "nested without end": ("[" * 100_000, "nested too deeply"),
    "a list": ("[]", "no schema"),
    "no schema": ("{}", "no schema"),
    "schema true": (edited("schema", True), "no schema"),
    "schema 0": (edited("schema", 0), "no schema"),
    "newer schema": (edited("schema", 2), "schema 2 is newer .* \\(1\\)"),
    "unknown key": (edited("metrics", {}), "unknown key 'metrics' \\(did you mean metric"),
    "unknown inner key": (edited("metric.valid", 1), "unknown key 'metric.valid'"),
    "missing key": ('{"schema": 1, "strategy": "hifi"}', "'task' is missing"),
    "unknown status": (edited("status", "done"), "'status' is \"done\", .*running, finished, failed, interrupted"),
    "seed as text": (edited("seed", "1"), "'seed' is \"1\", must be a whole number"),
    "seed true": (edited("seed", True), "'seed' is true, must be a whole number"),
    "fractional count": (edited("parameters.tuned", 1.5), "'parameters.tuned' is 1.5, must be a whole number"),
    "score as text": (edited("metric.validation", "0.8"), "'metric.validation' is \"0.8\", must be a number"),
    "score too large": (edited("metric.validation", 0).replace('"validation": 0', '"validation": 1e999'), "a number"),
    "collapsed 0": (edited("collapsed", 0), "'collapsed' is 0, must be true or false"),
    "metric a number": (edited("metric", 0.8), "'metric' is 0.8, must be an object"),
    "curve not a list": (edited("curve", {}), "'curve' is {}, must be a list"),
    "bad curve": (edited("curve", [{"epoch": 1}, {"epoch": "b"}]), r"'curve\[1\].epoch' is \"b\", must be a number"),
    "memory kind": (edited("memory.kind", "swap"), "'memory.kind' .* one of rss, cuda"),
    "a line break in a key": (edited("metric.further", {"a\nb": "c"}), "must be a number"),
    "long value": (edited("seed", "x" * 5000), 'x{38}…x{19}", must be'),
    "nothing in all": (edited("parameters.total", 0), "parameters.total is 0, must be from 1 "),
    "a count of 400 digits": (edited("parameters.tuned", 10**400), "10{25}…0{13} is too large a number"),
    "a size beyond any": (edited("delta.bytes", 2**63), "9223372036854775808 is too large a number"),
    "a negative size": (edited("memory.peak_bytes", -1), "memory.peak_bytes is -1, must be from 0 "),
    "a time beyond any": (edited("seconds.training", 1e300), "seconds.training is 1e.300, must be from 0 "),
    "a loss beyond any": (edited("curve", [{"epoch": 1, "train/loss": 1e200}]), "curve.train/loss is 1e.200, must be"),
    "half a surrogate pair": (edited("reason", "\ud800"), "surrogates not allowed"),
    "half a pair in a key": (edited("metric.further", {"\udfff": 1}), "surrogates not allowed"),
    "thousands of levels": (edited("config", json.loads("[" * 900 + "]" * 900)), "nested too deeply"),
    "a task of control characters": (edited("task", "r\x1b[2Jte"), r"task=r\\x1b\[2Jte: allowed is a text"),
    "a task of a megabyte": (edited("task", "x" * 2**20), "allowed is a text of 1 to 200 printable"),
    "a group that is none": (edited("config", {"data": 3}), "config.data is 3, must be an object"),
    "deployment without delay": (
        edited("deployment", {"extra_parameters": 0, "structure_changed": False, "merged": True}),
        "'deployment.delay' is missing",
    ),
    "a delay that is no number": (
        edited("deployment", asdict(DEPLOYMENT) | {"delay": asdict(DEPLOYMENT.delay) | {"ratio": None}}),
        "'deployment.delay.ratio' is null, must be a number",
    ),
    "finished without metric": (edited("metric", None), "finished run must have a metric"),
    "finished without parameters": (edited("parameters", None), "finished run must have parameters"),
    "id that is a path": (edited("id", "../../x"), "must be hex digits"),
    "delta elsewhere": (edited("delta.file", "../../etc/passwd"), "delta.file is .* beside the record"),
    "delta above": (edited("delta.file", ".."), "beside the record"),
    "delta nowhere": (edited("delta.file", ""), "beside the record"),
}


@pytest.mark.parametrize(("text", "message"), NOT_RECORDS.values(), ids=NOT_RECORDS.keys())
def test_what_is_not_a_record_is_refused_in_one_line_that_names_the_file(text: str, message: str, tmp_path: Path):
    file = tmp_path / FILE_NAME
    file.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        RunRecord.read(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_bytes_that_are_no_text_and_files_that_are_not_there_are_refused(tmp_path: Path):
    (tmp_path / FILE_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a whole JSON file"):
        RunRecord.read(tmp_path)
    with pytest.raises(UserError, match="No such file"):
        RunRecord.read(tmp_path / "gone.json")


def test_optional_keys_may_be_absent_so_that_old_files_stay_readable(tmp_path: Path):
    (tmp_path / FILE_NAME).write_text('{"schema": 1, "task": "rte", "strategy": "lora", "backbone": "tiny", "seed": 0}')
    assert RunRecord.read(tmp_path) == RunRecord(task="rte", strategy="lora", backbone="tiny", seed=0)


def test_a_record_from_before_deployments_were_measured_has_none(tmp_path: Path):
    data = json.loads(finished().to_json())
    del data["deployment"]
    (tmp_path / FILE_NAME).write_text(json.dumps(data))
    assert RunRecord.read(tmp_path) == finished()


def test_records_are_found_at_any_depth_in_the_order_of_their_paths(tmp_path: Path):
    for place, seed in [("b", 2), ("a/deep/er", 1), (".", 3), ("c/0", 4)]:
        finished(seed=seed).write(tmp_path / place)
    (tmp_path / "a" / f".{FILE_NAME}.half").write_text("{")
    assert [record.seed for record in find_records(tmp_path)] == [1, 2, 4, 3]
    with pytest.raises(UserError, match="nowhere"):
        find_records(tmp_path / "nowhere")
