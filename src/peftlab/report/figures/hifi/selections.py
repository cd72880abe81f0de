"""The `selection.json` beside a record: what its method saw of each attention head, as arrays."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from peftlab.errors import UserError, shown
from peftlab.files import read_text
from peftlab.options.schema import parse_json
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell
from peftlab.results.record import RunRecord

FILE_NAME = "selection.json"


@dataclass(frozen=True)
class Heads:
    """One method's heads in one setting, S seeds, L layers, H heads.

    `richness` [S, L, H] (Eq. 3), `correlation` [S, L, H, H] (Eq. 7), `ranks` [S, L, H] from 1, and which were
    `chosen` [S, L, H]. `spectrum` [S, L, H, D'], where all seeds hold it: the share of the singular values' sum that
    the largest 1, 2, ... have (Fig. 5); `xi` is the threshold they were counted to. The model was scored after
    `after_steps` steps of training, 0 for an untouched one.
    """

    seeds: list[int]
    richness: np.ndarray
    correlation: np.ndarray
    ranks: np.ndarray
    chosen: np.ndarray
    spectrum: np.ndarray | None = None
    xi: float | None = None
    after_steps: int = 0

    @property
    def degree(self) -> np.ndarray:
        """Row sums of the correlation as a share of their layer [S, L, H]."""
        sums = self.correlation.sum(axis=-1)
        total = sums.sum(axis=-1, keepdims=True)
        return np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)

    @property
    def pairs(self) -> np.ndarray:
        """The correlation of each two heads, once: [S, L, H (H - 1) / 2]."""
        rows, columns = np.triu_indices(self.correlation.shape[-1], k=1)
        return self.correlation[..., rows, columns]


@dataclass(frozen=True)
class Selections:
    """The heads of each cell whose runs left them, and a line for each selection that could not be read."""

    heads: dict[Cell, Heads]
    unread: list[str]


@lru_cache(maxsize=4)
def selections_of(study: Study) -> Selections:
    """Return the selections beside a study's records; figures that share a study read them once."""
    found: dict[Cell, Heads] = {}
    unread: list[str] = []
    for cell in study.cells:
        chosen, broken = heads_of(cell)
        unread += broken
        if chosen is not None:
            found[cell] = chosen
    return Selections(found, unread)


def heads_of(cell: Cell) -> tuple[Heads | None, list[str]]:
    """Return the heads of a cell's runs, and a line for each selection that could not be read.

    Seeds whose model has another shape than the first one's are told as unreadable too.
    """
    found: dict[int, dict[str, Any]] = {}
    broken: list[str] = []
    for run in cell.runs:
        try:
            one = _read(run)
        except UserError as error:
            broken.append(str(error))
            continue
        first = next(iter(found.items()), None)
        if one is not None and first and one["richness"].shape != first[1]["richness"].shape:
            broken.append(f"{run.folder}/{FILE_NAME}: another number of layers or heads than seed {first[0]}'s")
        elif one is not None:
            found[run.seed] = one
    return (_together(found) if found else None), broken


def _together(found: dict[int, dict[str, Any]]) -> Heads:
    parts = list(found.values())
    stacked = {name: np.stack([one[name] for one in parts]) for name in ("richness", "correlation", "ranks", "chosen")}
    shapes = {None if one["spectrum"] is None else one["spectrum"].shape for one in parts}
    kept = len(shapes) == 1 and None not in shapes
    return Heads(
        list(found),
        **stacked,
        spectrum=np.stack([one["spectrum"] for one in parts]) if kept else None,
        xi=parts[0]["xi"],
        after_steps=parts[0]["after_steps"],
    )


def _read(run: RunRecord) -> dict[str, Any] | None:
    """Return the fields of `Heads` for one run, or None where it has none of them."""
    file = run.folder / FILE_NAME if run.folder else None
    if file is None or not file.is_file():
        return None
    try:
        content = parse_json(read_text(file))
        if not isinstance(content, dict) or "richness" not in content:
            return None  # another method's selection, which is no matter of heads
        return _fields(content)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RuntimeError) as error:
        raise UserError(f"{file}: not a selection of heads ({type(error).__name__}: {error})") from error


def _fields(content: dict[str, Any]) -> dict[str, Any]:
    layers, heads = content["layers"], content["heads"]
    if np.shape(content["richness"]) != (layers, heads):  # before anything of the size that the file claims is made
        raise ValueError(f"richness is not {shown(layers, 40)} layers of {shown(heads, 40)} heads")
    options = content.get("options", {})
    xi = options.get("xi")
    chosen = np.zeros((layers, heads), dtype=bool)
    for layer, row in enumerate(content["chosen"]):
        chosen[layer, row] = True
    spectrum = content.get("spectrum")
    return {
        "richness": np.array(content["richness"], dtype=float).reshape(layers, heads),
        "correlation": np.array(content["correlation"], dtype=float).reshape(layers, heads, heads),
        "ranks": np.array(content["ranks"], dtype=float).reshape(layers, heads),
        "chosen": chosen,
        "spectrum": np.array(spectrum, dtype=float).reshape(layers, heads, -1) if spectrum else None,
        "xi": None if xi is None else float(xi),
        "after_steps": int(options.get("score_after_steps", 0)),
    }
