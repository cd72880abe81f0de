"""The tasks that the project ships, as `conf/task/` describes them."""

from pathlib import Path

import yaml

from peftlab.tasks.task import Task

FOLDER = Path(__file__).resolve().parents[2] / "conf" / "task"


def shipped(name: str) -> Task:
    return Task.from_config(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))
