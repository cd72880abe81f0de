"""From the scores of all heads to the few that are tuned, and the file that keeps both (HiFi, Section 3.4)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from peftlab.errors import UserError, require
from peftlab.files import content_sha256, read_text, write_text_atomic
from peftlab.heads import picture, selection_json
from peftlab.heads.options import Orientation, Teleport, Variant, check_selection
from peftlab.heads.pagerank import pagerank
from peftlab.heads.ranking import RankingContext, rank_heads

FILE_NAME, PICTURE = "selection.json", "selection.png"
_LAYERS_SHOWN = 12  # in a line of the terminal


@dataclass(frozen=True, eq=False)
class HeadScores:
    """Means over `examples` examples: richness [L, H] (Eq. 3) and correlation [L, H, H] (Eq. 7).

    sequences, None for as many as examples: what the model read of them, such as windows or choices.
    spectrum [L, H, D'], None in older files: the share that the largest 1, 2, ... singular values have in their sum.
    """

    richness: Tensor
    correlation: Tensor
    examples: int
    spectrum: Tensor | None = None
    sequences: int | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many examples were scored, and how many sequences where they were several each."""
        several = self.sequences is not None and self.sequences != self.examples
        return {"examples": self.examples, **({"sequences": self.sequences or 0} if several else {})}


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

    def describe(self) -> dict[str, Any]:
        """Return the facts for a run's record: examples scored, iterations of each layer, heads chosen."""
        return {
            **self.scores.counts,
            "iterations": self.iterations.tolist(),
            "heads": [list(layer) for layer in self.heads],
        }

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
        }
        return selection_json.dumps(fields)

    @classmethod
    def from_json(cls, text: str) -> "HeadSelection":
        """Read what `to_json` wrote; raises UserError with one line for anything else."""
        fields = selection_json.loads(text)
        selection = cls(
            scores=HeadScores(
                *(fields[name] for name in ("richness", "correlation", "examples", "spectrum", "sequences"))
            ),
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
        return [file, picture.draw(json.loads(self.to_json()), folder / PICTURE)]

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
) -> HeadSelection:
    """Choose the k best heads of each tuned layer, ties going to the lower index.

    `score` names a class of `ranking`: a row of Table 3, or a user's own. `variant` tunes every layer or the upper half
    (mid-top). Raises UserError for k outside 1..H, unknown names and the options that `pagerank` refuses.
    """
    layers, heads = scores.richness.shape
    check_selection(heads, k=k, score=score, variant=variant, seed=seed)
    richness = scores.richness.detach().to("cpu", torch.float64)
    correlation = scores.correlation.detach().to("cpu", torch.float64)
    walk: dict[str, Any] = {"d": d, "eps": eps, "max_iter": max_iter, "orientation": orientation, "teleport": teleport}
    ranked = pagerank(correlation, richness, **walk)
    ranking = rank_heads(score, RankingContext(richness, correlation, ranked.scores, seed))
    best = _order(ranking)[:, :k].sort(-1).values.tolist()
    first = layers // 2 if variant == "mid-top" else 0
    return HeadSelection(
        scores=replace(scores, richness=richness, correlation=correlation),
        ranking=ranking,
        pagerank=ranked.scores,
        iterations=ranked.iterations,
        heads=tuple(tuple(best[layer]) if layer >= first else () for layer in range(layers)),
        options={"k": k, "score": score, "variant": variant, **walk, "seed": seed},
    )


def _order(ranking: Tensor) -> Tensor:
    return ranking.argsort(dim=-1, descending=True, stable=True)


def _short(spectrum: Tensor) -> list[Any]:
    """Return shares with three digits: what a picture shows, in a third of the bytes."""
    return spectrum.to("cpu", torch.float64).round(decimals=3).tolist()


def _file(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path
