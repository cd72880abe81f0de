"""The documentation as a site: it builds, its links lead somewhere, its commands compose, and no option is left out."""

import re
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

from conftest import ROOT
from peftlab.hydra_internals import first_values
from peftlab.strategies.registry import strategy_class, strategy_names
from peftlab.training.settings import CheckpointOptions, TrainingSettings
from runs import composed
from test_conf import names_its_strategy

sys.path.insert(0, str(ROOT / "docs"))
import option_list

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# What stands for something of the reader's own, and flags that are no overrides.
_PLACEHOLDERS = re.compile(r"\.\.\.|[A-Z_]*FOLDER|^-m$|^--")


def commands() -> list[str]:
    """Return what every page types after ``python train.py``, without remarks, a command of several lines in one."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += re.findall(r"^(?:    )?python train\.py ([^#\n]*)", text, re.MULTILINE)
    return sorted({" ".join(command.split()) for command in found})


def test_every_page_is_built_and_every_link_leads_somewhere(tmp_path: Path) -> None:
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)))
    first = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert 'href="hifi.html"' in first
    assert 'href="runs.html' in first
    assert "docs/" not in re.findall(r'href="([^"]*)"', first)
    for page in ("options", "changes", "contributing", "statistics", "results/study"):
        assert (tmp_path / f"{page}.html").exists()


def test_a_link_that_leads_nowhere_stops_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text("[there](nowhere.md)\n", encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text("site_name: broken\nstrict: true\nplugins: []\n", encoding="utf-8")
    with pytest.raises(Abort):
        build(load_config(str(tmp_path / "mkdocs.yml"), site_dir=str(tmp_path / "site")))


@pytest.mark.parametrize("command", [command for command in commands() if "resume=" not in command])
def test_a_command_of_the_documentation_composes(command: str) -> None:
    words = [word for word in shlex.split(command) if not _PLACEHOLDERS.search(word)]
    experiments = [word.removeprefix("experiment=") for word in words if word.startswith("experiment=")]
    brought = any(names_its_strategy("experiment", name) for name in experiments)
    has_one = brought or any(re.match(r"\+?strategy=", word) for word in words)
    # The other experiments sweep over theirs.
    config = composed(" ".join(first_values(words if has_one else ["+strategy=hifi", *words])))
    assert config["strategy"]["name"] in strategy_names()


def test_the_options_of_training_checkpoints_and_every_strategy_are_listed() -> None:
    page = option_list.page()
    for group, options in (("training", TrainingSettings), ("checkpoint", CheckpointOptions)):
        assert [f.name for f in fields(options) if f"| `{group}.{f.name}` |" not in page] == []
    for name in strategy_names():
        section = page.partition(f"### {name}\n")[2].partition("\n### ")[0]
        assert [f.name for f in fields(strategy_class(name)) if f"| `strategy.{f.name}` |" not in section] == []
    assert (
        "| `strategy.k` | whole number | 3 | heads per layer (Sec. 4.1; Fig. 6 left: the optimum is about 3) |" in page
    )
    assert "| `checkpoint.every_minutes` | number or null | 10 |" in page


def test_a_remark_of_several_lines_is_read_whole() -> None:
    entry = option_list.entries(ROOT / "conf" / "strategy" / "hifi.yaml")["teleport"]
    assert entry.value == "richness"
    assert entry.remark.startswith("richness: personalised by Eq. 8")
    assert entry.remark.endswith("(docs/results/study.md)")
