"""From the scores of all heads to the few that are tuned, and the file that keeps both (HiFi, Section 3.4)."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peftlab.backbones.fingerprint import file_sha256
from peftlab.errors import UserError, require
from peftlab.files import write_text_atomic
from peftlab.heads import selection_json
from peftlab.heads.options import Orientation, Score, Teleport, Variant, check_selection
from peftlab.heads.pagerank import pagerank

FILE_NAME = "selection.json"


@dataclass(frozen=True, eq=False)
class HeadScores:
    """Means over `examples` examples: richness [L, H] (Eq. 3) and correlation [L, H, H] (Eq. 7).

    spectrum [L, H, D'], None in older files: the share that the largest 1, 2, ... singular values have in their sum.
    """

    richness: Tensor
    correlation: Tensor
    examples: int
    spectrum: Tensor | None = None


@dataclass(frozen=True, eq=False)
class HeadSelection:
    """The heads to tune and everything they were chosen by.

    ranking [L, H] is the value that was ranked, higher is better; pagerank [L, H] and iterations [L] are
    there whatever was ranked; heads holds each layer's chosen heads in ascending order, none where a layer is
    not tuned.
    """

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
            "examples": self.scores.examples,
            "iterations": self.iterations.tolist(),
            "heads": [list(layer) for layer in self.heads],
        }

    def to_json(self) -> str:
        """Return the text of `selection.json`; every float64 comes back from it exactly, spectra to three digits."""
        fields = {
            "layers": len(self.heads),
            "heads": self.ranking.shape[-1],
            "examples": self.scores.examples,
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
            scores=HeadScores(fields["richness"], fields["correlation"], fields["examples"], fields["spectrum"]),
            ranking=fields["ranking"],
            pagerank=fields["pagerank"],
            iterations=fields["iterations"],
            heads=tuple(tuple(layer) for layer in fields["chosen"]),
            options=fields["options"],
        )
        require(torch.equal(selection.ranks, fields["ranks"]), "ranks: do not follow from ranking")
        return selection

    def save(self, path: Path) -> Path:
        """Write the file `path`, or selection.json in the folder `path`; return the file."""
        file = _file(path)
        write_text_atomic(file, self.to_json())
        return file

    @classmethod
    def load(cls, path: Path) -> "HeadSelection":
        """Read the file `path`, or selection.json in the folder `path`; raises UserError naming the file."""
        file = _file(path)
        try:
            return cls.from_json(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"selection {file}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError as error:
            raise UserError(f"selection {file}: is not UTF-8 text") from error
        except UserError as error:
            raise UserError(f"selection {file}: {error}") from error

    @classmethod
    def fingerprint(cls, path: Path) -> str | None:
        """Return the SHA-256 of the file that `load` reads; None where there is none."""
        file = _file(path)
        return file_sha256(file) if file.is_file() else None


def select_heads(
    scores: HeadScores,
    *,
    k: int,
    score: Score,
    variant: Variant,
    d: float,
    eps: float,
    max_iter: int,
    orientation: Orientation,
    teleport: Teleport,
    seed: int,
) -> HeadSelection:
    """Choose the k best heads of each tuned layer, ties going to the lower index.

    `score` names a row of Table 3: pagerank (HiFi), richness (w/o corr), richness-inverse, correlation (w/o
    info: row sums of R), pagerank-inverse, random (by `seed`). `variant` tunes every layer or the upper half
    (mid-top). Raises UserError for k outside 1..H, unknown names and the options that `pagerank` refuses.
    """
    layers, heads = scores.richness.shape
    check_selection(heads, k=k, score=score, variant=variant, seed=seed)
    richness = scores.richness.detach().to("cpu", torch.float64)
    correlation = scores.correlation.detach().to("cpu", torch.float64)
    walk: dict[str, Any] = {"d": d, "eps": eps, "max_iter": max_iter, "orientation": orientation, "teleport": teleport}
    ranked = pagerank(correlation, richness, **walk)
    ranking = _ranking(score, richness, correlation, ranked.scores, seed)
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


def _ranking(score: Score, richness: Tensor, correlation: Tensor, walked: Tensor, seed: int) -> Tensor:
    """Return the value [L, H] that `score` ranks by, turned so that higher is better."""
    match score:
        case "pagerank":
            return walked
        case "pagerank-inverse":
            return -walked
        case "richness":
            return richness
        case "richness-inverse":
            return -richness
        case "correlation":
            return correlation.sum(-1)
        case "random":
            generator = torch.Generator().manual_seed(seed)
            return torch.rand(richness.shape, generator=generator, dtype=torch.float64)


def _order(ranking: Tensor) -> Tensor:
    return ranking.argsort(dim=-1, descending=True, stable=True)


def _short(spectrum: Tensor) -> list[Any]:
    """Return shares with three digits: what a picture shows, in a third of the bytes."""
    return spectrum.to("cpu", torch.float64).round(decimals=3).tolist()


def _file(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path
