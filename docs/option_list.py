"""Every option of a run by its name, for the documentation: from the dataclasses, with what `conf/` says of each."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from peftlab.backbones.spec import BackboneSpec
from peftlab.options.roles import role_of
from peftlab.run_config import DataOptions, DeploymentOptions, LoggerOptions, ShotsOptions
from peftlab.strategies.registry import strategy_class, strategy_names
from peftlab.training.settings import CheckpointOptions, TrainingSettings

CONF = Path(__file__).resolve().parents[1] / "conf"
_LINE = re.compile(r"^(?P<indent> *)(?P<name>[\w-]+):(?P<value> [^#]*?)?(?: *# (?P<remark>.*))?$")
_GROUPS: dict[str, tuple[type, str]] = {
    "training": (TrainingSettings, "config.yaml"),
    "data": (DataOptions, "config.yaml"),
    "checkpoint": (CheckpointOptions, "config.yaml"),
    "deployment": (DeploymentOptions, "config.yaml"),
    "shots": (ShotsOptions, "shots/16.yaml"),
    "backbone": (BackboneSpec, "backbone/mpnet.yaml"),
    "logger": (LoggerOptions, "logger/wandb.yaml"),
}
_HEAD = """# Options

Any option is given as `name=value` on the command line; what `python train.py --cfg job` shows is what a run takes. The
tables are made from the code: *counts* says what another value of the option changes (`src/peftlab/options/roles.py`).
Arguments of Lightning's Trainer go by Lightning's own names, `trainer.max_epochs=3`.
"""


@dataclass(frozen=True)
class Entry:
    """What a file of `conf/` says of an option: its value there, and the remark beside it and below."""

    value: str
    remark: str


def page() -> str:
    """Return the page of all options in Markdown: a table for each group and each strategy."""
    parts = [_HEAD]
    for group, (options, file) in _GROUPS.items():
        parts += [f"## {group}", _table(group, options, entries(CONF / file, "" if "/" in file else group))]
    parts.append("## strategy")
    for name in strategy_names():
        own, options = CONF / "strategy" / f"{name}.yaml", strategy_class(name)
        command = own.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        parts += [f"### {name}", f"    {command}"]
        parts.append(_table("strategy", options, entries(own)) if fields(options) else "No options.")
    return "\n\n".join(parts) + "\n"


def entries(file: Path, group: str = "") -> dict[str, Entry]:
    """Return what a file says of each option of a group at its top, or of the file itself where no group is named."""
    found: dict[str, Entry] = {}
    inside, last = not group, None
    for line in file.read_text(encoding="utf-8").splitlines():
        if group and re.match(r"[\w-]", line):
            inside, last = line.startswith(f"{group}:"), None
        elif inside and last and (more := re.match(r" {8,}# ?(.*)", line)):
            found[last] = Entry(found[last].value, f"{found[last].remark} {more[1]}")
        elif inside and (said := _LINE.match(line)) and len(said["indent"]) == (2 if group else 0):
            last = said["name"]
            found[last] = Entry((said["value"] or "").strip(), (said["remark"] or "").strip())
    return found


def in_words(kind: Any) -> str:
    """Return a type as a reader says it: ``whole number``, ``qv, qk, qkv``, ``text or null``."""
    names = {int: "whole number", float: "number", bool: "true, false", str: "text", type(None): "null"}
    if kind in names:
        return names[kind]
    origin, of = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, of))
    if origin in (Union, UnionType):
        return " or ".join(in_words(part) for part in of)
    if origin in (list, tuple):
        return f"list of {in_words(of[0])}"
    return "table" if origin is not None else getattr(kind, "__name__", str(kind))


def _table(group: str, options: type, said: dict[str, Entry]) -> str:
    rows = [
        f"| `{group}.{name}` | {kind} | {default} | {remark} | {counts} |"
        for name, kind, default, remark, counts in _rows(group, options, said)
    ]
    return "\n".join(["| option | values | default | what it is | counts |", "|---|---|---|---|---|", *rows])


def _rows(group: str, options: type, said: dict[str, Entry]) -> Iterator[tuple[str, ...]]:
    kinds = get_type_hints(options)
    for option in fields(options):
        entry = said.get(option.name, Entry("", ""))
        default = entry.value or ("" if group == "shots" else str(_plain(option.default)))
        counts = role_of(f"{group}.{option.name}").changes.partition(":")[0]
        yield tuple(map(_cell, (option.name, in_words(kinds[option.name]), default, entry.remark, counts)))


def _plain(default: Any) -> Any:
    return (
        {None: "null", True: "true", False: "false"}.get(default, default) if isinstance(default, bool | None) else ""
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("${", "$\u200b{")
