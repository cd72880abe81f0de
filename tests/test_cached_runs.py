"""A run in a sweep gives what it gives in a process of its own, whatever ran before it."""

import pytest
import torch

from peftlab.cache import RunCache
from peftlab.errors import UserError
from peftlab.run import run
from peftlab.strategies.registry import strategy_names
from runs import small, write_rte


@pytest.fixture(scope="module")
def shared_cache() -> RunCache:
    """What the runs of this module share, as those of a sweep do."""
    return RunCache(1)


@pytest.mark.parametrize("strategy", [*strategy_names(), "full"])
def test_every_strategy_leaves_the_next_run_an_untouched_backbone(strategy, glue, shared_cache, tmp_path):
    config = small(f"task=rte data.root={glue} data.cache_dir=null", strategy)
    try:
        alone = run(config, tmp_path / "alone")
    except UserError as error:
        pytest.skip(str(error))
    torch.manual_seed(123)
    swept = run(config, tmp_path / "swept", shared_cache)
    for name in ("delta.safetensors", "delta.json"):
        assert (tmp_path / "swept" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert (swept.metric, swept.data, swept.curve) == (alone.metric, alone.data, alone.curve)
    assert (swept.id, swept.identity) == (alone.id, alone.identity)


def test_a_sweep_reads_loads_and_tokenises_once(glue, tmp_path, monkeypatch):
    counts = {
        "peftlab.data.raw_splits._read": 0,
        "peftlab.inputs.tokens._encode": 0,
        "peftlab.backbones.loading._load": 0,
    }
    for place in counts:
        module, _, name = place.rpartition(".")
        original = getattr(__import__(module, fromlist=[name]), name)

        def counted(*arguments, _place=place, _original=original):
            counts[_place] += 1
            return _original(*arguments)

        monkeypatch.setattr(place, counted)
    cache = RunCache(1)
    for seed in (1, 2, 3):
        run(small(f"task=rte data.root={glue} data.cache_dir=null seed={seed}", "bitfit"), tmp_path / str(seed), cache)
    assert list(counts.values()) == [1, 2, 1]  # two splits are tokenised


def test_files_that_change_between_two_runs_are_read_again(tmp_path):
    cache, sizes = RunCache(1), []
    for examples in (40, 44):
        root = write_rte(tmp_path / "glue", train=examples)
        config = small(f"task=rte data.root={root} data.cache_dir=null", "bitfit")
        sizes.append(run(config, tmp_path / str(examples), cache).data["examples"]["train"])
    assert sizes == [40, 44]
