"""Records of whole studies for tests, with the selections that lie beside them, made without running anything."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from peftlab.report.study import Study, gather, read
from peftlab.results.landscapes import (
    Landscape,
    LandscapeOptions,
    RunLandscape,
    Sharpness,
    Surface,
    Trajectory,
    Waypoint,
)
from peftlab.results.record import Delta, Metric, Parameters, RunRecord, Seconds
from results.records import failed, finished

METRICS = {"mrpc": "f1", "cola": "matthews", "stsb": "spearman"}


def run(
    score: float | None = 0.8,
    strategy: str = "lora",
    *,
    seed: int = 1,
    task: str = "rte",
    test: float | None = None,
    further: dict[str, float | None] | None = None,
    content: str = "same",
    holdout: float | None = None,
    tuned: int = 1_000,
    options: dict[str, Any] | None = None,
    **fields: Any,
) -> RunRecord:
    """A finished run: `options` are the strategy's, `content` stands for the hash of its data."""
    config = {
        "seed": seed,
        "strategy": {"name": strategy, **(options or {})},
        "data": {"root": f"/data/{seed}", "holdout": holdout},
        "task": {"name": task},
    }
    given: dict[str, Any] = {
        "task": task,
        "strategy": strategy,
        "metric": Metric(METRICS.get(task, "accuracy"), score, test, further or {}),
        "parameters": Parameters(total=100_000, tuned=tuned, classifier=10),
        "delta": Delta(4 * tuned, "delta.safetensors"),
        "seconds": Seconds(training=tuned / 100),
        "data": {"content_sha256": {"train": content, "validation": content}},
        "config": config,
        "curve": [
            {"epoch": epoch, "train/loss": 1.0 / epoch, f"validation/{METRICS.get(task, 'accuracy')}": 0.5 + epoch / 10}
            for epoch in (1, 2, 3)
        ],
    }
    return finished(seed=seed, **(given | fields))


def broken(strategy: str = "lora", *, seed: int = 9, task: str = "rte", reason: str = "loss is NaN") -> RunRecord:
    """A failed run of the same kind."""
    config = run(strategy=strategy, seed=seed, task=task).config
    return failed(reason, seed=seed, strategy=strategy, task=task, config=config)


def runs(scores: dict[str, list[float]], **fields: Any) -> list[RunRecord]:
    """Runs with seeds 1, 2, ... for each strategy's list of scores (fractions)."""
    return [run(s, name, seed=i, **fields) for name, of in scores.items() for i, s in enumerate(of, start=1)]


def study(scores: dict[str, list[float]], **fields: Any) -> Study:
    """The study of `runs`."""
    return gather(runs(scores, **fields))


def write(folder: Path, records: list[RunRecord]) -> Path:
    """Write each record into a folder of its own, as a sweep would; return `folder`."""
    for number, record in enumerate(records):
        record.write(folder / f"{number}-{record.task}-seed{record.seed}")
    return folder


def write_selection(
    record: RunRecord,
    layers: int = 2,
    heads: int = 4,
    k: int = 2,
    *,
    features: int | None = None,
    after_steps: int = 0,
    flipped: bool = False,
) -> None:
    """Write a selection of heads beside a written record: richness differs a little from seed to seed.

    With `features` it keeps the spectra of heads whose singular values halve (head 1), fall by a third (head 2), ...;
    `flipped` turns the order of the heads around.
    """
    noise = np.random.default_rng(record.seed)
    richness = np.arange(1.0, heads + 1) + np.arange(layers)[:, None] + 0.1 * noise.random((layers, heads))
    richness = richness[:, ::-1] if flipped else richness
    correlation = noise.random((layers, heads, heads))
    correlation = (correlation + correlation.transpose(0, 2, 1)) * (1 - np.eye(heads))
    ranks = (-richness).argsort(axis=1).argsort(axis=1) + 1
    content: dict[str, Any] = {
        "layers": layers,
        "heads": heads,
        "options": {"xi": 0.9, "score_after_steps": after_steps},
        "richness": richness.tolist(),
        "correlation": correlation.tolist(),
        "ranks": ranks.tolist(),
        "chosen": [[head for head in range(heads) if row[head] <= k] for row in ranks.tolist()],
    }
    if features is not None:
        content["spectrum"] = np.broadcast_to(spectra(heads, features), (layers, heads, features)).tolist()
    assert record.folder is not None
    (record.folder / "selection.json").write_text(json.dumps(content), encoding="utf-8")


def study_with_heads(folder: Path) -> Study:
    """The study of two variants of a method with two seeds each, which left their selections in `folder`."""
    records = [run(0.8, "heads", seed=s, options={"n": n}) for n in (100, 300) for s in (1, 2)]
    write(folder, records)
    for record in records:
        write_selection(record)
    return read([folder])


def landscape(sharpness: tuple[float, float] = (0.4, 0.2), *, path: bool = True, finished: bool = True) -> Landscape:
    """Two runs with bowls of these sharpnesses; with a path of three points each, the last at the weights."""
    line = [-1.0, -0.5, 0.0, 0.5, 1.0]
    parts = []
    for number, (strategy, sharp) in enumerate(zip(("full", "heads"), sharpness, strict=True)):
        bowl = [[0.1 + sharp * (x * x + y * y) for x in line] for y in line]
        way = [
            Waypoint(step, -x, -x / 2, 0.01, 0.1 + x / 2, 0.15 + x / 2) for step, x in ((0, 0.8), (5, 0.3), (10, 0.0))
        ]
        part = RunLandscape(
            str(number) * 16,
            strategy,
            1,
            0.1,
            Surface(line, line, bowl),
            Sharpness([[sharp, sharp]] * 4, sharp, sharp, sharp / 10),
        )
        part.trajectory = Trajectory([0.9, 0.05], way, Surface(line, line, bowl)) if path else None
        parts.append(part)
    return Landscape(
        finished=finished,
        task="rte",
        backbone="minilm",
        shots=None,
        settings=LandscapeOptions(points=5, directions=4, examples=128),
        examples_sha256="0" * 64,
        runs=parts,
        command=["python", "-m", "peftlab.landscape", "runs", "--out", "drawn"],
    )


def spectra(heads: int, features: int) -> np.ndarray:
    """Cumulative shares [heads, features] of singular values that fall by h / (h + 1) in head h = 1, 2, ..."""
    rates = np.arange(1, heads + 1) / np.arange(2, heads + 2)
    sums = (rates[:, None] ** np.arange(features)).cumsum(axis=1)
    return sums / sums[:, -1:]
