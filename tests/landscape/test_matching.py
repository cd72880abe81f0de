"""Runs that are compared at one loss: each where its own path first comes down to what all of them reach."""

import dataclasses
from pathlib import Path

import pytest
from test_landscape import SETTINGS, drawn, facts, silent, tune

from peftlab.cache import RunCache
from peftlab.errors import UserError
from peftlab.landscape.matching import TOLERANCE
from peftlab.landscape.tuned import FixedLoss, TunedRun
from peftlab.landscape.whole import draw
from peftlab.results.landscapes import Landscape
from peftlab.results.record import RunRecord

# So few examples, seen so often, that both methods learn them by heart.
FEW = "shots=16 shots.per_class=4 shots.epochs=20 trainer.max_epochs=20 trainer.max_steps=-1 checkpoint.trajectory=5"
MATCHED = dataclasses.replace(SETTINGS, matched=True)


@pytest.fixture(scope="module")
def tuned(glue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each method, whose losses end far from one another."""
    folder = tmp_path_factory.mktemp("runs")
    for strategy, rate in (("full", "3e-3"), ("hifi", "1e-2")):
        tune(
            glue,
            folder / strategy,
            strategy,
            f"{FEW} training.learning_rate={rate}",
        )
    return folder


@pytest.fixture(scope="module")
def matched(tuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    return drawn(tuned, tmp_path_factory.mktemp("matched"), MATCHED)


def losses_along(folder: Path) -> dict[int, float]:
    """The loss at each point of a run's path, by its step; each model rebuilt alone."""
    found = TunedRun(RunRecord.read(folder), RunCache())
    losses = {}
    for step in found.steps:
        backbone = found.rebuild(step)
        losses[step] = FixedLoss(backbone, found.data(backbone, None), SETTINGS.examples, SETTINGS.seed)()
    return losses


def test_all_runs_have_the_highest_of_their_lowest_losses(matched: Landscape, tuned: Path):
    paths = [losses_along(tuned / part.strategy) for part in matched.runs]
    lowest = [min(path.values()) for path in paths]
    common = max(lowest)
    assert max(lowest) - min(lowest) > TOLERANCE * (paths[0][0] - common)  # at their ends they differ
    for part, path in zip(matched.runs, paths, strict=True):
        assert part.loss == pytest.approx(common, abs=TOLERANCE * (path[0] - common))
        assert path[part.place.after] > common >= path[part.place.before]
        assert all(path[step] > common for step in path if step < part.place.before)


def test_the_weights_lie_on_the_line_between_two_that_were_kept(matched: Landscape, tuned: Path):
    for part in matched.runs:
        run, place = TunedRun(RunRecord.read(tuned / part.strategy), RunCache()), part.place
        backbone = run.rebuild(place.after)
        later = dict(run.rebuild(place.before).model.named_parameters())
        for name, weight in backbone.model.named_parameters():
            weight.data = (1 - place.share) * weight.data + place.share * later[name].data
        own = FixedLoss(backbone, run.data(backbone, None), SETTINGS.examples, SETTINGS.seed)()
        assert part.loss == pytest.approx(own, rel=1e-5)
        assert part.surface.losses[1][1] == part.loss
        assert part.trajectory is None
        assert place.after <= place.step <= place.before


def test_a_matched_landscape_is_read_and_resumed(matched: Landscape, tuned: Path, tmp_path: Path):
    assert facts(drawn(tuned, tmp_path, MATCHED)) == facts(matched)
    with pytest.raises(UserError, match="matched=True, not False"):
        drawn(tuned, tmp_path)


def test_runs_that_kept_no_path_cannot_be_matched(glue: Path, tmp_path: Path):
    folder = tune(glue, tmp_path / "run", "full", "checkpoint.trajectory=null")
    with pytest.raises(UserError, match=r"--matched needs its path; run it with checkpoint\.trajectory=20"):
        draw([folder], tmp_path / "out", MATCHED, None, None, silent)


def test_a_run_that_starts_at_the_loss_where_another_ends_is_refused(glue: Path, tmp_path: Path):
    tune(glue, tmp_path / "learns", "full", f"{FEW} training.learning_rate=3e-3")
    tune(glue, tmp_path / "does-not", "hifi", f"{FEW} training.learning_rate=1e-12")
    with pytest.raises(UserError, match="before training its loss is"):
        draw([tmp_path], tmp_path / "out", MATCHED, None, None, silent)
