"""Records to test with: what a run would leave, made without running anything."""

from typing import Any

from peftlab.results.record import Delta, Memory, Metric, Parameters, RunRecord, Seconds, Throughput, Training


def finished(score: float = 0.85, *, seed: int = 1, test: float | None = None, **fields: Any) -> RunRecord:
    """A finished HiFi run with `score` on validation; `fields` replace those of the record."""
    config = {
        "seed": seed,
        "strategy": {"name": "hifi", "k": 3},
        "trainer": {"max_epochs": 3},
        "data": {"root": f"/somewhere/{seed}", "cache_dir": f"/cache/{seed}"},
        "logger": {"name": f"run-{seed}"},
    }
    given: dict[str, Any] = {
        "status": "finished",
        "task": "rte",
        "strategy": "hifi",
        "backbone": "minilm",
        "seed": seed,
        "metric": Metric("accuracy", score, test, {"validation/accuracy": score}),
        "parameters": Parameters(total=22_713_986, tuned=663_552, classifier=770),
        "delta": Delta(2_658_000, "delta.safetensors"),
        "seconds": Seconds(selection=4.0, training=60.0, evaluation=2.5, total=70.0),
        "throughput": Throughput(120.5, 4000.0),
        "memory": Memory(900_000_000, "rss"),
        "training": Training(steps=468, epochs=3, batch_size=16, learning_rate=1e-3, best_epoch=2),
        "curve": [{"epoch": 1, "train_loss": 0.69, "accuracy": 0.55}],
        "config": config,
        "versions": {"python": "3.11.7"},
        "commit": "0" * 40,
        "dirty": False,
        "device": "cpu: a processor (2 cores)",
        "started": "2024-01-01T00:00:00+00:00",
        "command": ["train.py", "+strategy=hifi", "task=rte"],
    }
    return RunRecord(**(given | fields))


def failed(reason: str = "loss is NaN", *, seed: int = 9, **fields: Any) -> RunRecord:
    """A run that stopped before it had a number: everything it never reached is None."""
    gone: dict[str, Any] = dict.fromkeys(("metric", "parameters", "delta", "throughput", "memory", "training"))
    record = finished(seed=seed, **(gone | {"seconds": Seconds()} | fields))
    record.stop("failed", reason)
    return record
