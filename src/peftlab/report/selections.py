"""The `selection.json` beside a record: what its method saw of each attention head, as arrays."""

import json
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from peftlab.errors import UserError
from peftlab.report.study import Cell
from peftlab.results.record import RunRecord

FILE_NAME = "selection.json"


@dataclass(frozen=True)
class Heads:
    """One method's heads in one setting, S seeds, L layers, H heads.

    `richness` [S, L, H] (Eq. 3), `correlation` [S, L, H, H] (Eq. 7), `ranks` [S, L, H] from 1, and which were
    `chosen` [S, L, H].
    """

    seeds: list[int]
    richness: np.ndarray
    correlation: np.ndarray
    ranks: np.ndarray
    chosen: np.ndarray

    @property
    def degree(self) -> np.ndarray:
        """Row sums of the correlation as a share of their layer [S, L, H]."""
        sums = self.correlation.sum(axis=-1)
        total = sums.sum(axis=-1, keepdims=True)
        return np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)


def heads_of(cell: Cell) -> tuple[Heads | None, list[str]]:
    """Return the heads of a cell's runs, and a line for each selection that could not be read.

    Seeds whose model has another shape than the first one's are told as unreadable too.
    """
    seeds: list[int] = []
    found: list[tuple[np.ndarray, ...]] = []
    broken: list[str] = []
    for run in cell.runs:
        try:
            arrays = _read(run)
        except UserError as error:
            broken.append(str(error))
            continue
        if arrays is not None and found and arrays[0].shape != found[0][0].shape:
            broken.append(f"{run.folder}/{FILE_NAME}: another number of layers or heads than seed {seeds[0]}'s")
        elif arrays is not None:
            seeds.append(run.seed)
            found.append(arrays)
    if not found:
        return None, broken
    return Heads(seeds, *(np.stack(parts) for parts in zip(*found, strict=True))), broken


def agreement(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return Spearman's rank correlation of two [L, H] scores, the mean over layers; None where nothing varies."""
    layers = [(a, b) for a, b in zip(first, second, strict=True) if np.ptp(a) > 0 and np.ptp(b) > 0]
    return float(np.mean([stats.spearmanr(a, b).statistic for a, b in layers])) if layers else None


def overlap(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return the share of chosen heads [L, H] that two selections have in common: 2 |A ∩ B| / (|A| + |B|)."""
    total = first.sum() + second.sum()
    return float(2 * (first & second).sum() / total) if total else None


def between_seeds(heads: Heads) -> tuple[float | None, float | None]:
    """Return the mean `agreement` of richness and the mean `overlap` over all pairs of seeds."""
    pairs = list(combinations(range(len(heads.seeds)), 2))
    agreements = [agreement(heads.richness[a], heads.richness[b]) for a, b in pairs]
    overlaps = [overlap(heads.chosen[a], heads.chosen[b]) for a, b in pairs]
    return _mean(agreements), _mean(overlaps)


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _read(run: RunRecord) -> tuple[np.ndarray, ...] | None:
    """Return richness, correlation, ranks and chosen of one run, or None where it has none of them."""
    file = run.folder / FILE_NAME if run.folder else None
    if file is None or not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "richness" not in content:
            return None  # another method's selection, which is no matter of heads
        layers, heads = content["layers"], content["heads"]
        richness = np.array(content["richness"], dtype=float).reshape(layers, heads)
        correlation = np.array(content["correlation"], dtype=float).reshape(layers, heads, heads)
        ranks = np.array(content["ranks"], dtype=float).reshape(layers, heads)
        chosen = np.zeros((layers, heads), dtype=bool)
        for layer, row in enumerate(content["chosen"]):
            chosen[layer, row] = True
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise UserError(f"{file}: not a selection of heads ({type(error).__name__}: {error})") from error
    return richness, correlation, ranks, chosen
