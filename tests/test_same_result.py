"""The same seed gives the same result, bit for bit, however its data comes to it."""

from pathlib import Path

import pytest

from peftlab.results.record import RunRecord
from peftlab.run import run
from runs import small


def done(glue: Path, folder: Path, strategy: str, overrides: str) -> RunRecord:
    return run(
        small(f"task=rte data.root={glue} data.cache_dir=null trainer.max_steps=4 {overrides}", strategy), folder
    )


@pytest.fixture(scope="module", params=["hifi", "lora", "adapterdrop"])
def first(request: pytest.FixtureRequest, glue: Path, tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return done(glue, tmp_path_factory.mktemp("first"), request.param, "")


@pytest.mark.parametrize("overrides", ["", "data.num_workers=2", "data.cache_dir={cache}", "data.cache_dir={made}"])
def test_loader_processes_and_token_cache_do_not_reach_a_number(overrides, first, glue, tmp_path):
    where = overrides.format(cache=tmp_path / "cache", made=glue / "cache")
    if "made" in overrides:
        done(glue, tmp_path / "before", first.strategy, where)
    again = done(glue, tmp_path / "again", first.strategy, where)
    for name in ("delta.safetensors", "metrics.csv"):
        assert (again.folder / name).read_bytes() == (first.folder / name).read_bytes()
    assert (again.metric, again.curve, again.id) == (first.metric, first.curve, first.id)


def test_another_seed_gives_another_result(first, glue, tmp_path):
    other = done(glue, tmp_path, first.strategy, "seed=2")
    assert (other.folder / "delta.safetensors").read_bytes() != (first.folder / "delta.safetensors").read_bytes()
