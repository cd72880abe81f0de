"""A landscape of real runs on the tiny backbone, from their folders to `landscape.json`."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from peftlab.cache import RunCache
from peftlab.errors import UserError
from peftlab.landscape import measure
from peftlab.landscape.command import main
from peftlab.landscape.directions import random_direction
from peftlab.landscape.tuned import FixedLoss, TunedRun
from peftlab.landscape.whole import draw
from peftlab.results.landscapes import FILE_NAME, Landscape, LandscapeOptions
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.streams import Stream
from runs import small, write_rte

SETTINGS = LandscapeOptions(seed=4, points=3, radius=1.0, examples=20, directions=2, sharpness_radius=0.3)
METHODS = ("full", "hifi")


def tune(glue: Path, folder: Path, strategy: str, overrides: str = "") -> Path:
    where = f"task=rte data.root={glue} data.cache_dir={glue}/cache trainer.limit_val_batches=null"
    run(
        small(f"{where} trainer.max_epochs=2 trainer.max_steps=4 checkpoint.trajectory=4 {overrides}", strategy), folder
    )
    return folder


@pytest.fixture(scope="module")
def tuned(glue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each method."""
    folder = tmp_path_factory.mktemp("runs")
    for strategy in METHODS:
        tune(glue, folder / strategy, strategy)
    return folder


def silent(line: str) -> None:
    pass


def drawn(tuned: Path, out: Path, settings: LandscapeOptions = SETTINGS, tell: Any = silent) -> Landscape:
    return draw([tuned], out, settings, None, None, tell)


@pytest.fixture(scope="module")
def landscape(tuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Landscape:
    return drawn(tuned, tmp_path_factory.mktemp("landscape"))


def facts(found: Landscape) -> dict[str, Any]:
    """All but when and by which command."""
    return {name: value for name, value in dataclasses.asdict(found).items() if name not in ("started", "command")}


def test_every_run_has_its_grids_its_sharpness_and_its_path(landscape: Landscape):
    assert [part.strategy for part in landscape.runs] == list(METHODS)
    for part in landscape.runs:
        surfaces = (part.surface, part.trajectory.surface)
        assert all(len(row) == 3 for surface in surfaces for row in surface.losses)
        assert all(surface.whole for surface in surfaces)
        assert part.surface.losses[1][1] == part.loss
        assert len(part.sharpness.rises) == 2
        assert [point.step for point in part.trajectory.waypoints] == [0, 1, 2, 3, 4]
        assert 0.5 < sum(part.trajectory.explained) <= 1 + 1e-9
    assert landscape.finished


def test_all_runs_share_their_grids(landscape: Landscape):
    full, hifi = landscape.runs
    assert (full.surface.x, full.surface.y) == (hifi.surface.x, hifi.surface.y) == ([-1, 0, 1], [-1, 0, 1])
    ways = full.trajectory, hifi.trajectory
    assert ways[0].surface.x == ways[1].surface.x
    assert ways[0].surface.y == ways[1].surface.y
    for way in ways:
        for values, line in (
            ([p.x for p in way.waypoints], way.surface.x),
            ([p.y for p in way.waypoints], way.surface.y),
        ):
            assert line[0] < min(values)
            assert max(values) < line[-1]


def test_the_path_passes_the_losses_that_the_kept_weights_have(landscape: Landscape, tuned: Path):
    for part in landscape.runs:
        found = TunedRun(RunRecord.read(tuned / part.strategy), RunCache())
        for point in (part.trajectory.waypoints[0], part.trajectory.waypoints[3]):
            backbone = found.rebuild(point.step)
            own = FixedLoss(backbone, found.data(backbone, None), SETTINGS.examples, SETTINGS.seed)()
            assert point.loss == pytest.approx(own, rel=1e-5)
            # Of this short path the plane holds nearly all: what it says there is nearly true.
            assert abs(point.plane_loss - point.loss) < 0.05
            assert point.distance**2 <= point.x**2 + point.y**2


def test_the_tuned_weights_are_on_the_path_and_the_origin_of_its_plane(landscape: Landscape, tuned: Path):
    for part in landscape.runs:
        places = [(point.x, point.y, point.distance) for point in part.trajectory.waypoints]
        assert any(place == pytest.approx((0, 0, 0), abs=1e-4) for place in places)


def test_the_loss_is_the_mean_over_examples_that_transformers_computes(tuned: Path):
    found = TunedRun(RunRecord.read(tuned / "full"), RunCache())
    backbone = found.rebuild()
    data = found.data(backbone, None)
    examples = data.sample(7, 2, "shots", Stream.LANDSCAPE)
    alone = []
    for example in examples:
        inputs = {name: example[name][None] for name in ("input_ids", "labels")}
        with torch.no_grad():
            alone.append(float(backbone.model(**inputs).loss))
    assert FixedLoss(backbone, data, 7, 2, batch_size=3)() == pytest.approx(sum(alone) / 7, rel=1e-5)


def test_both_methods_are_moved_along_the_same_draws(tuned: Path):
    models = [TunedRun(RunRecord.read(tuned / name), RunCache()).rebuild().model for name in METHODS]
    full, hifi = (random_direction(dict(model.named_parameters()), 4, 0) for model in models)
    assert full.keys() == hifi.keys()
    for name in full:
        alike = torch.nn.functional.cosine_similarity(full[name], hifi[name], dim=1)
        moved = full[name].norm(dim=1) > 0
        torch.testing.assert_close(alike[moved], torch.ones_like(alike[moved]))


def test_the_same_command_gives_the_same_landscape(landscape: Landscape, tuned: Path, tmp_path: Path):
    assert facts(drawn(tuned, tmp_path)) == facts(landscape)
    assert facts(Landscape.read(tmp_path / FILE_NAME)) == facts(landscape)


@pytest.mark.parametrize("losses", [8, 14, 20, 60])
def test_an_interrupted_landscape_goes_on_where_it_was(losses, landscape, tuned, tmp_path, monkeypatch):
    ask, asked = FixedLoss.__call__, []

    def call(loss: FixedLoss) -> float:
        asked.append(1)
        if len(asked) == losses:
            raise KeyboardInterrupt
        return ask(loss)

    monkeypatch.setattr(FixedLoss, "__call__", call)
    with pytest.raises(KeyboardInterrupt):
        drawn(tuned, tmp_path)
    assert facts(drawn(tuned, tmp_path)) == facts(landscape)
    # Both runs: 9 + 9 on grids, 10 along the path, 4 for sharpness and 1 at home; at most a row or a path is lost.
    assert len(asked) <= 66 + 13
    asked.clear()
    told: list[str] = []
    drawn(tuned, tmp_path, tell=told.append)
    assert (asked, told) == ([], [f"{tmp_path / FILE_NAME}: is complete"])


def test_embeddings_stay_where_they_are_if_asked_to(landscape: Landscape, tuned: Path, tmp_path: Path):
    still = drawn(tuned, tmp_path, dataclasses.replace(SETTINGS, embeddings=False))
    for part, other in zip(still.runs, landscape.runs, strict=True):
        assert part.surface.losses != other.surface.losses
        assert part.trajectory.surface.losses == other.trajectory.surface.losses


def test_a_run_without_a_path_is_drawn_around_its_weights(tuned: Path, tmp_path: Path):
    shutil.copytree(tuned / "hifi", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "trajectory")
    told: list[str] = []
    found = drawn(tmp_path / "run", tmp_path / "out", tell=told.append)
    assert found.runs[0].trajectory is None
    assert found.runs[0].surface.whole
    assert "kept no weights on its way (checkpoint.trajectory=N keeps N)" in told[0]


def test_the_grid_of_paths_reaches_beyond_all_of_them_and_the_weights():
    way = measure.Trajectory(
        [1, 0], [measure.Waypoint(0, -4.0, -1.0, 0, 0, 0), measure.Waypoint(1, -2.0, 1.0, 0, 0, 0)]
    )
    grid = measure.common_grid([way], 3)
    assert (grid.x, grid.y) == (pytest.approx([-5, -2, 1]), pytest.approx([-2, 0, 2]))


def edited(tuned: Path, tmp_path: Path, **changes: Any) -> Path:
    """Return a copy of the runs in which the record of HiFi's says something else."""
    folder = shutil.copytree(tuned, tmp_path / "runs")
    file = folder / "hifi" / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return folder


# What is wrong, and what the one line names.
MISTAKES: dict[str, tuple[str, dict[str, Any], str]] = {
    "even points": ("--points 4", {}, "--points 4: allowed are odd numbers from 3"),
    "no radius": ("--radius 0", {}, "--radius 0.0: allowed is above 0"),
    "no examples": ("--examples 0", {}, "--examples 0: allowed is 1 or more"),
    "no seed": ("--seed -1", {}, "--seed -1: allowed is 0 or more"),
    "another task": ("", {"task": "mrpc"}, "hifi: task is mrpc, that of {}/full is rte"),
    "other data": ("", {"data": {}}, "hifi: data is None, that of {}/full is another"),
    "no files": ("--data-root {}", {}, "train.tsv is missing under data.root="),
    "interrupted": ("", {"status": "interrupted"}, "hifi: its run is interrupted, not finished"),
    "no id": ("", {"id": None}, "hifi: its record has no id; run it again"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(mistake, tuned, tmp_path, capsys):
    options, changes, named = MISTAKES[mistake]
    folder = edited(tuned, tmp_path, **changes)
    typed = [str(folder), "--out", str(tmp_path / "out"), *options.format(tmp_path).split()]
    assert main(typed) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert named.format(folder) in line
    assert not (tmp_path / "out" / FILE_NAME).exists()


def test_files_that_hold_something_else_are_refused(tuned: Path, tmp_path: Path):
    other = write_rte(tmp_path / "glue", train=24)
    with pytest.raises(UserError, match=r"data.root=.*glue: not the data that .* was tuned on"):
        draw([tuned], tmp_path / "out", SETTINGS, str(other), None, silent)


def test_the_same_run_twice_is_refused(tuned: Path, tmp_path: Path):
    shutil.copytree(tuned / "full", tmp_path / "copy")
    with pytest.raises(UserError, match="the same run twice"):
        draw([tuned, tmp_path / "copy"], tmp_path / "out", SETTINGS, None, None, silent)


def test_a_folder_without_runs_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"no runs below .*: not one result.json was found"):
        drawn(tmp_path, tmp_path / "out")


def test_a_method_that_cannot_be_merged_is_refused_in_one_line(glue: Path, tmp_path: Path):
    tune(glue, tmp_path / "run", "adapter")
    with pytest.raises(
        UserError, match="run: strategy adapter: its delta cannot be merged into the backbone's weights"
    ):
        drawn(tmp_path / "run", tmp_path / "out")


def test_few_shots_take_the_few_examples_that_were_trained_on(glue: Path, tmp_path: Path):
    shots = "shots=16 shots.per_class=4 shots.epochs=4 trainer.max_steps=-1"
    tune(glue, tmp_path / "1", "hifi", shots)
    found = drawn(tmp_path, tmp_path / "out")
    record = RunRecord.read(tmp_path / "1")
    assert (found.shots, found.settings.examples) == (4, 8)
    assert record.data["examples"]["train"] == 8
    tune(glue, tmp_path / "2", "hifi", f"{shots} seed=2")
    with pytest.raises(UserError, match=r"2: seed is 2, that of .* is 1"):
        drawn(tmp_path, tmp_path / "other")


def test_a_landscape_of_other_settings_or_runs_is_not_written_over(landscape, tuned, tmp_path):
    landscape.write(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(UserError, match="is a landscape with points=3, not 5; name another folder, or remove it"):
        drawn(tuned, tmp_path, dataclasses.replace(SETTINGS, points=5))
    with pytest.raises(UserError, match="is a landscape with runs="):
        drawn(tuned / "full", tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_the_command_says_what_it_does_and_how_to_draw_it(tuned: Path, tmp_path: Path, capsys):
    typed = f"{tuned} --out {tmp_path} --points 3 --examples 8 --directions 1 --radius 0.5 --without-embeddings"
    assert main(typed.split()) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / FILE_NAME}: python report.py on a folder above it draws it\n"
    assert "hifi seed 1, random plane: row 3 of 3, about 0.0 minutes left" in said.err
    found = Landscape.read(tmp_path / FILE_NAME)
    assert found.settings == LandscapeOptions(points=3, examples=8, directions=1, radius=0.5, embeddings=False)


def test_an_interruption_says_how_to_go_on(tuned: Path, tmp_path: Path, monkeypatch, capsys):
    def interrupt(loss: FixedLoss) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(FixedLoss, "__call__", interrupt)
    assert main([str(tuned), "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err == "interrupted; the same command resumes\n"
