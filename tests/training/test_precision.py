"""`trainer.precision=auto` is what the device computes natively; what it emulates is told with its factor."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import ROOT
from peftlab.kernels.processor import has_native_bf16
from peftlab.run import run
from peftlab.training.precision import resolve_precision, warn_if_emulated
from runs import small

CPU = torch.device("cpu")
NATIVE = has_native_bf16("cpu")


def configured(**trainer: Any) -> dict[str, Any]:
    return {"trainer": {"accelerator": "cpu", "precision": "auto", **trainer}, "seed": 1}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true", None])
def test_what_was_chosen_stays(precision: str | None):
    assert resolve_precision(configured(precision=precision)) == configured(precision=precision)


def test_auto_is_recorded_as_what_it_stands_for(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    config = small("trainer.precision=auto trainer.max_steps=1 data.cache_dir=null", "bitfit")
    with caplog.at_level(logging.WARNING):
        record = run(config, tmp_path)
    chosen = "bf16-mixed" if NATIVE else "32-true"
    assert record.training.precision == record.config["trainer"]["precision"] == chosen
    assert "trainer.precision" not in caplog.text
    same = run(
        small(f"trainer.precision={chosen} trainer.max_steps=1 data.cache_dir=null", "bitfit"), tmp_path / "same"
    )
    assert same.id == record.id


def test_an_accelerator_of_which_nothing_is_known_computes_in_float32():
    assert resolve_precision(configured(accelerator="tpu"))["trainer"]["precision"] == "32-true"


ASKED = """
import json, logging, torch
from peftlab.kernels.linear import product
from peftlab.kernels.processor import has_native_bf16, onednn_has_avx512
from peftlab.training.precision import resolve_precision, warn_if_emulated
logging.basicConfig(format="%(message)s", filename={log!r})
config = {{"trainer": {{"accelerator": "cpu", "precision": "auto"}}}}
warn_if_emulated("bf16-mixed", torch.device("cpu"))
warn_if_emulated("32-true", torch.device("cpu"))
torch.manual_seed(0)
x, w = torch.randn(5, 16), torch.randn(8, 16)
print(json.dumps({{
    "native": has_native_bf16("cpu"), "avx512": onednn_has_avx512(),
    "auto": resolve_precision(config)["trainer"]["precision"],
    "torch's own": torch.equal(product(x, w), torch.nn.functional.linear(x, w)),
}}))
"""


def asked(folder: Path, **environment: str) -> tuple[dict[str, Any], str]:
    """Return what a process finds that is held to less than the processor has, and its warnings."""
    script = ASKED.format(log=str(folder / "log"))
    paths = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, env={**os.environ, **paths, **environment}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout), (folder / "log").read_text()


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.skipif(not torch.cpu._is_avx2_supported(), reason="no x86 processor with AVX2")
def test_a_processor_without_avx512_chooses_float32_and_says_what_bfloat16_costs(tmp_path: Path):
    found, warned = asked(tmp_path, ONEDNN_MAX_CPU_ISA="AVX2")
    assert found == {"native": False, "avx512": False, "auto": "32-true", "torch's own": True}
    assert warned.startswith("trainer.precision=bf16-mixed: without AVX512-BF16 or AMX a product takes ")
    factor = float(warned.partition("takes ")[2].split()[0])
    assert factor > 1.5  # 4 to 12, by the shape
    assert warned.count("\n") == 1


@pytest.mark.skipif(not NATIVE, reason="no processor with bfloat16")
def test_a_processor_that_has_it_is_not_warned_of(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        warn_if_emulated("bf16-mixed", CPU)
    assert caplog.text == ""
    assert resolve_precision(configured())["trainer"]["precision"] == "bf16-mixed"
