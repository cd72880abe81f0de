"""The rows that benchmarks give, kept as JSON beside one another, and the page that shows them."""

import dataclasses
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from bench.paired import Ratio, ratio
from peftlab.files import write_bytes_atomic
from peftlab.results.environment import device_name, versions

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
PAGE = "benchmarks.md"
_HEADER = """# Benchmarks

`make bench` writes this page; `python -m bench.<name>` writes the part of one. Contenders take turns, round by round.
A number is the median of the rounds' ratios, with their quartiles in brackets; `x` is ours through the rival's seconds,
`x faster` the other way round. A target that is not met stands as not met.
"""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `target` None: shown for comparison. `sense` says whether the value must be at most or at least the target.
    """

    what: str
    rival: str
    value: float
    low: float
    high: float
    unit: str = "x"
    target: float | None = None
    sense: Literal["at most", "at least"] = "at most"
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return whether the target is met."""
        if self.target is None:
            return ""
        met = self.value <= self.target if self.sense == "at most" else self.value >= self.target
        return "met" if met else "**not met**"

    def cells(self) -> list[str]:
        """Return the cells of the table."""
        spread = f" [{self.low:.2f}, {self.high:.2f}]" if self.low != self.high else ""
        target = "" if self.target is None else f"{self.sense} {self.target:g} {self.unit}"
        return [self.what, self.rival, f"{self.value:.2f} {self.unit}{spread}", target, self.verdict, self.note]


def slower(
    what: str, rival: str, ours: Sequence[float], theirs: Sequence[float], target: float | None = None, note: str = ""
) -> Row:
    """Return the row of ours through theirs, in seconds."""
    return _row(what, rival, ratio(ours, theirs), Row("", "", 0, 0, 0, target=target, note=note))


def faster(
    what: str, rival: str, ours: Sequence[float], theirs: Sequence[float], target: float | None = None, note: str = ""
) -> Row:
    """Return the row of how many times faster ours is than theirs."""
    how = Row("", "", 0, 0, 0, "x faster", target, "at least", note)
    return _row(what, rival, ratio(theirs, ours), how)


def single(what: str, rival: str, value: float, unit: str = "x", target: float | None = None, note: str = "") -> Row:
    """Return the row of one number that must be at most `target`."""
    return Row(what, rival, value, value, value, unit, target, "at most", note)


def publish(name: str, title: str, rows: Sequence[Row], folder: Path = RESULTS, device: str = "cpu") -> None:
    """Print the rows, keep them as `benchmarks/<name>.json`, and write the page anew from all that is kept."""
    print(f"\n{title}")
    for row in rows:
        print("  " + " | ".join(cell for cell in row.cells() if cell))
    content = {
        "title": title,
        "machine": f"{device_name(device)}, {torch.get_num_threads()} threads, {platform.system()}",
        "versions": versions(),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    kept = folder / "benchmarks"
    kept.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(kept / f"{name}.json", (json.dumps(content, indent=1) + "\n").encode())
    write_bytes_atomic(folder / PAGE, page(kept).encode())


def page(kept: Path) -> str:
    """Return the Markdown page of all benchmarks in a folder."""
    return "\n".join([_HEADER, *(_section(json.loads(path.read_text())) for path in sorted(kept.glob("*.json")))])


def _section(content: dict[str, object]) -> str:
    rows = [Row(**row) for row in content["rows"]]  # type: ignore[attr-defined]
    lines = [["what", "rival", "measured", "target", "", "note"], ["---"] * 6, *(row.cells() for row in rows)]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    named = ", ".join(f"{name} {version}" for name, version in content["versions"].items())  # type: ignore[attr-defined]
    return f"## {content['title']}\n\n{table}\n\n{content['machine']}; {named}.\n"


def _row(what: str, rival: str, measured: Ratio, how: Row) -> Row:
    return dataclasses.replace(how, what=what, rival=rival, value=measured.median, low=measured.low, high=measured.high)
