"""Which run answers for a task: that of a named seed, or the one whose validation score is the best."""

from collections.abc import Iterable, Mapping, Sequence

from peftlab.errors import nearest, require
from peftlab.results.record import RunRecord
from peftlab.results.scores import Scale
from peftlab.submission.formats import Benchmark


def seeds_of(words: Sequence[str], benchmark: Benchmark) -> dict[str, int]:
    """Return the seed that is asked for of each task, given as ``42`` for all of them or as ``rte=42``.

    Raises:
        UserError: anything else, or a task that the benchmark has not.
    """
    found: dict[str, int] = {}
    for word in sorted(words, key=lambda word: "=" in word):
        task, _, seed = word.rpartition("=")
        whole = seed.isascii() and seed.isdigit() and len(seed) < 20
        require(whole, f"--seed {word}: allowed are a whole number, or TASK=NUMBER")
        known = sorted(benchmark.tasks)
        hint = nearest(task, known)
        require(not task or task in known, f"--seed {word}: no such task{hint}; there are {', '.join(known)}")
        found |= dict.fromkeys([task] if task else known, int(seed))
    return found


def choose(records: Iterable[RunRecord], benchmark: Benchmark, seeds: Mapping[str, int]) -> dict[str, RunRecord]:
    """Return the run that answers for each task that has one.

    Args:
        records: of any runs; those that are not finished, or were not kept, cannot answer.
        benchmark: whose tasks count.
        seeds: by task; of tasks that are not named, or of several runs with the seed, the best validation score wins.

    Raises:
        UserError: a task has runs, and none of the seed that is named.
    """
    found: dict[str, list[RunRecord]] = {}
    for record in records:
        if record.task in benchmark.tasks and record.status == "finished" and record.delta is not None:
            found.setdefault(record.task, []).append(record)
    for task, seed in seeds.items():
        own = found.get(task, [])
        kept = [record for record in own if record.seed == seed]
        there = ", ".join(sorted({str(record.seed) for record in own}))
        require(bool(kept) or not own, f"task {task}: no finished run has seed {seed}; there are {there}")
        if kept:
            found[task] = kept
    return {task: min(own, key=_order) for task, own in found.items()}


def described(record: RunRecord) -> str:
    """Return in words which run it is, and how good it was."""
    metric = record.metric
    score = "no validation score"
    if metric is not None and metric.validation is not None:
        scale = Scale.of(metric)
        score = f"{scale.name} {scale.text(scale.score(metric.validation))} on validation"
    shots = f", {record.shots} shots" if record.shots is not None else ""
    collapsed = ", collapsed" if record.collapsed else ""
    return f"{record.strategy} on {record.backbone}, seed {record.seed}{shots}, {score}{collapsed} ({record.folder})"


def _order(record: RunRecord) -> tuple[tuple[bool, float], int, str]:
    metric = record.metric
    assert metric is not None  # as every finished run's
    return Scale.of(metric).order(metric.validation), record.seed, str(record.folder)
