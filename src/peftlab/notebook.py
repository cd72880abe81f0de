"""What the notebooks share: commands typed in a cell, a setting composed, and the page's figures shown."""

import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from IPython.display import Markdown, display
from omegaconf import OmegaConf

from peftlab import resolvers
from peftlab.arguments import normalise
from peftlab.cli import CONF
from peftlab.report import writers
from peftlab.report.comparisons import compare_all
from peftlab.report.figures.base import Figure
from peftlab.report.figures.found import draw_all
from peftlab.report.study import Study, read
from peftlab.report.summary import sentences
from peftlab.report.tables import Table

# Progress bars of other libraries are plain text without ipywidgets, which is no loss.
warnings.filterwarnings("ignore", message="IProgress not found")

ROOT = CONF.parent  # of the repository: commands are typed there, and relative paths mean it
QUIET = "trainer.enable_progress_bar=false trainer.enable_model_summary=false"


def python(command: str) -> None:
    """Type ``python COMMAND`` in the repository's folder and print what it says.

    Raises:
        RuntimeError: it did not end well; with the end of what it said.
    """
    typed = [sys.executable, *shlex.split(command)]
    done = subprocess.run(typed, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"python {command}: exit code {done.returncode}\n{done.stdout[-2000:]}")
    print(done.stdout)


def train(command: str) -> None:
    """Type ``python train.py COMMAND``, without its progress bars; see `python`."""
    python(f"train.py {command} {QUIET}")


def configured(overrides: str) -> dict[str, Any]:
    """Return the configuration that ``python train.py OVERRIDES`` gives to its run."""
    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", normalise(shlex.split(overrides))), resolve=True)
    assert isinstance(config, dict)
    return {str(name): value for name, value in config.items()}


def study(*folders: str | Path) -> Study:
    """Return the study of every record below `folders`, which are relative to the repository's."""
    return read([ROOT / folder for folder in folders])


def figures(of: Study) -> dict[str, Figure]:
    """Return the figures that the page of `report.py` would show, by their short names, as far as there are any."""
    return {figure.slug: figure for figure in draw_all(of, compare_all(of)) if figure.drawings}


def show(figure: Figure, most: int = 1) -> None:
    """Show a figure with its caption: up to `most` of its drawings, each with its notes."""
    display(Markdown(f"**{_md(figure.title)}.** {_md(figure.caption)}"))
    for drawing in figure.drawings[:most]:
        display(Markdown(f"*{_md(drawing.label)}*"))
        drawing.figure.show()
        for note in drawing.notes:
            display(Markdown(_md(note)))


def tell(of: Study, tables: list[Table]) -> None:
    """Show tables, and below them what can be concluded from the study."""
    display(Markdown(writers.markdown(tables)))
    display(Markdown("\n".join(f"- **{_md(about)}:** {_md(said)}" for about, said in sentences(of, compare_all(of)))))


def _md(text: str) -> str:
    return text.translate(writers.MARKDOWN_SPECIAL)
