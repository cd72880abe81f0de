"""From the scores of all heads to the few that are tuned, and the file that keeps both (HiFi, Section 3.4)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from peftlab.errors import UserError, require
from peftlab.files import content_sha256, read_text, write_text_atomic
from peftlab.heads import picture, selection_json
from peftlab.heads.agreement import agreement
from peftlab.heads.allocation import Allocation
from peftlab.heads.layer_scores import LAYER_SCORES
from peftlab.heads.options import Orientation, Teleport, Variant, check_selection
from peftlab.heads.pagerank import pagerank
from peftlab.heads.ranking import RankingContext, rank_heads
from peftlab.heads.scores import MEASURES, HeadScores
from peftlab.heads.units import Unit, by_unit, query_heads, unit_size

FILE_NAME, PICTURE = "selection.json", "selection.png"
_LAYERS_SHOWN = 12  # in a line of the terminal


@dataclass(frozen=True)
class ChosenHeads:
    """The heads of each layer alone, as a stored delta remembers them."""

    heads: tuple[tuple[int, ...], ...]

    def facts(self) -> dict[str, Any]:
        """Return the chosen heads of each layer: the positions of the stored rows."""
        return {"heads": [list(heads) for heads in self.heads]}


@dataclass(frozen=True, eq=False)
class HeadSelection:
    """The heads to tune and everything they were chosen by.

    ranking [L, H] is the value that was ranked, higher is better; pagerank [L, H] and iterations [L] are
    there whatever was ranked; heads holds each layer's chosen heads in ascending order, none where a layer is
    not tuned.
    """

    files: ClassVar[tuple[str, ...]] = (FILE_NAME, PICTURE)

    scores: HeadScores
    ranking: Tensor
    pagerank: Tensor
    iterations: Tensor
    heads: tuple[tuple[int, ...], ...]
    options: dict[str, Any]

    @property
    def ranks(self) -> Tensor:
        """Places of the heads in their layer, int64 [L, H], 1 for the best."""
        return _order(self.ranking).argsort(-1) + 1

    @property
    def unit_size(self) -> int:
        """How many query heads were chosen as one."""
        group = self.options.get("group", 1)
        return group if isinstance(group, int) and group > 0 and self.ranking.shape[-1] % group == 0 else 1

    def describe(self) -> dict[str, Any]:
        """Return the facts for a run's record.

        They are examples scored, iterations of each layer, heads chosen, and what either metric alone would have chosen
        (`agreement.py`); where layers divide a budget, how many heads each has; where labels were read, of which
        examples.
        """
        return {
            **self.scores.counts,
            "iterations": self.iterations.tolist(),
            "heads": [list(layer) for layer in self.heads],
            "alone": agreement(self.ranking, self.scores.correlation, self.scores.richness, self.heads, self.unit_size),
            **self._heads_by_layer(),
            **({"labels": labels} if (labels := self._labels()) else {}),
        }

    def _heads_by_layer(self) -> dict[str, list[int]]:
        """Return how many heads each layer has, where the options divide a budget."""
        divided = "allocation" in self.options or "budget" in self.options
        return {"heads_by_layer": [len(layer) for layer in self.heads]} if divided else {}

    def _labels(self) -> str | None:
        """Return whose labels were read, by a score or by tuning before it: `full`, `shots`, or None."""
        tuned = self.options.get("pool", "full") if self.options.get("score_after_steps") else None
        found: str | None = self.options.get("labels", tuned)
        return found

    def summary(self) -> str:
        """Return the chosen heads of the first layers in a line."""
        shown = [" ".join(map(str, layer)) or "none" for layer in self.heads[:_LAYERS_SHOWN]]
        more = f" | ... ({FILE_NAME} has all {len(self.heads)} layers)" if len(self.heads) > _LAYERS_SHOWN else ""
        return f"heads by {self.scores.examples} examples, layer by layer: {' | '.join(shown)}{more}"

    def to_json(self) -> str:
        """Return the text of `selection.json`; every float64 comes back from it exactly, spectra to three digits."""
        fields = {
            "layers": len(self.heads),
            "heads": self.ranking.shape[-1],
            **self.scores.counts,
            "options": self.options,
            "chosen": [list(layer) for layer in self.heads],
            "ranks": self.ranks.tolist(),
            "iterations": self.iterations.tolist(),
            "ranking": self.ranking.tolist(),
            "pagerank": self.pagerank.tolist(),
            "richness": self.scores.richness.tolist(),
            "correlation": self.scores.correlation.tolist(),
            "spectrum": None if self.scores.spectrum is None else _short(self.scores.spectrum),
            **{name: values.tolist() for name, values in self.scores.measured.items()},
            **self._heads_by_layer(),
        }
        return selection_json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> "HeadSelection":
        """Read what `to_json` wrote; raises UserError with one line for anything else."""
        fields = selection_json.loads(text)
        kept = ("richness", "correlation", "examples", "spectrum", "sequences")
        measured = {name: fields[name] for name in MEASURES if fields[name] is not None}
        selection = cls(
            scores=HeadScores(**{name: fields[name] for name in kept}, measured=measured),
            ranking=fields["ranking"],
            pagerank=fields["pagerank"],
            iterations=fields["iterations"],
            heads=tuple(tuple(layer) for layer in fields["chosen"]),
            options=fields["options"],
        )
        require(torch.equal(selection.ranks, fields["ranks"]), "ranks: do not follow from ranking")
        return selection

    def save(self, folder: Path) -> list[Path]:
        """Write selection.json into a run's folder, and selection.png, its picture; return both."""
        file = folder / FILE_NAME
        write_text_atomic(file, self.to_json())
        return [file, picture.draw_text(self.to_json(), folder / PICTURE)]

    def facts(self) -> dict[str, Any]:
        """Return the chosen heads of each layer: the positions of the stored rows."""
        return ChosenHeads(self.heads).facts()

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> ChosenHeads:
        """Return the heads that a stored delta names."""
        heads = facts.get("heads")
        valid = isinstance(heads, list) and all(
            isinstance(layer, list) and all(isinstance(head, int) for head in layer) for layer in heads
        )
        require(valid, f"delta: `heads` lists the chosen heads of each layer, found {heads!r}"[:200])
        return ChosenHeads(tuple(tuple(layer) for layer in heads or []))

    @classmethod
    def fingerprint(cls, path: Path) -> str | None:
        """Return the SHA-256 of the file that `load` reads, None where there is none."""
        return content_sha256(_file(path))

    @classmethod
    def load(cls, path: Path) -> "HeadSelection":
        """Read the file `path`, or selection.json in the folder `path`; raises UserError naming the file."""
        file = _file(path)
        try:
            return cls.from_json(read_text(file))
        except OSError as error:
            raise UserError(f"selection {file}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise UserError(f"selection {file}: is not UTF-8 text") from error
        except UserError as error:
            raise UserError(f"selection {file}: {error}") from error


def select_heads(
    scores: HeadScores,
    *,
    k: int,
    score: str,
    variant: Variant,
    d: float,
    eps: float,
    max_iter: int,
    orientation: Orientation,
    teleport: Teleport,
    seed: int,
    unit: Unit = "query",
    group: int = 1,
    allocation: Allocation = Allocation(),  # noqa: B008 (it is frozen)
) -> HeadSelection:
    """Choose the best heads of each tuned layer, k of them or as many as it is given, ties going to the lower index.

    `score` names a class of `ranking`: a row of Table 3, a rival's, or a user's own. `variant` tunes every layer or the
    upper half (mid-top). With `unit=group` the `group` query heads that share a key and value head are chosen as one,
    by the mean of their values, and k counts groups. Raises UserError for k outside 1..H, an impossible budget, unknown
    names and the options that `pagerank` refuses.
    """
    layers, heads = scores.richness.shape
    check_selection(heads, k=k, score=score, variant=variant, seed=seed, unit=unit, group=group)
    richness = scores.richness.detach().to("cpu", torch.float64)
    correlation = scores.correlation.detach().to("cpu", torch.float64)
    walk: dict[str, Any] = {"d": d, "eps": eps, "max_iter": max_iter, "orientation": orientation, "teleport": teleport}
    ranked = pagerank(correlation, richness, **walk)
    ranking = rank_heads(score, RankingContext(richness, correlation, ranked.scores, seed, scores.measured))
    scores = replace(scores, richness=richness, correlation=correlation)
    size, first = unit_size(unit, group), layers // 2 if variant == "mid-top" else 0
    values = LAYER_SCORES[allocation.layer_score](scores) if allocation.reads_scores else ranking
    counts = [0] * first + allocation.counts(by_unit(values[first:], size), k, seed)
    best = _order(by_unit(ranking, size)).tolist()
    return HeadSelection(
        scores=scores,
        ranking=ranking,
        pagerank=ranked.scores,
        iterations=ranked.iterations,
        heads=tuple(query_heads(best[layer][:count], size) for layer, count in enumerate(counts)),
        options={
            **{"k": k, "score": score, "variant": variant, **walk, "seed": seed},
            **({"unit": unit, "group": group} if unit != "query" else {}),
            **allocation.told(),
        },
    )


def _order(ranking: Tensor) -> Tensor:
    return ranking.argsort(dim=-1, descending=True, stable=True)


def _short(spectrum: Tensor) -> list[Any]:
    """Return shares with three digits: what a picture shows, in a third of the bytes."""
    return spectrum.to("cpu", torch.float64).round(decimals=3).tolist()


def _file(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path
