"""Prompt tuning (Lester et al., 2021, arXiv 2104.08691): learned tokens in the input, the whole backbone frozen."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView
from peftlab.layers.prompts import Prompts
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.sized import SizedStrategy
from peftlab.strategies.traits import Traits
from peftlab.tasks.kind import TaskKind


@dataclass(frozen=True)
class Prompt(SizedStrategy):
    """Tune the embeddings of a few tokens that stand in every text.

    Options (defaults and their sources in `conf/strategy/prompt.yaml`):
        length: tokens of the prompt.
        place: `second`, after the text's first token, which an encoder's classifier reads; `first`, before it: that
            classifier then reads the first token of the prompt. One that reads each token, or the last, is given the
            text's alone.
        init: `vocabulary`, embeddings of tokens drawn at random; `uniform`, numbers from -0.5 to 0.5.
    """

    name = "prompt"
    sized_by = "length"

    length: int = 20
    place: Literal["second", "first"] = "second"
    init: Literal["vocabulary", "uniform"] = "vocabulary"

    @property
    def traits(self) -> Traits:
        """New tokens change what is attended to: 0.006 on tiny models, and 1.3 where the prompt itself is read.

        Each token of the prompt has a position. It is in the input and not in the weights, so it cannot be merged.
        """
        tolerance = 2.0 if self.place == "first" else 0.1
        return Traits(start_tolerance=tolerance, merge_tolerance=None, prompt_positions=self.length)

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Name a backbone of images."""
        return None if view.reads == "texts" else "a prompt stands among the tokens of a text, and it reads images"

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Put the prompt into every text."""
        return AttachedPrompt(self, backbone, selection)

    def first_tokens(self, embeddings: nn.Module) -> Tensor:
        """Return what the prompt starts with, [P, D], for the embeddings of a vocabulary, a weight [V, D]."""
        weight = cast(Tensor, embeddings.weight).detach()
        # Drawn on the CPU, so that a seed means the same tokens on every device.
        if self.init == "vocabulary":
            # Asked for, not taken from the weight: some backbones scale them.
            with torch.no_grad():
                return cast(Tensor, embeddings(torch.randint(len(weight), (self.length,)).to(weight.device))).clone()
        return (torch.rand(self.length, weight.shape[1]) - 0.5).to(weight.device)


class AttachedPrompt(Attached):
    """A prompt in the input of a frozen backbone."""

    strategy: Prompt

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the prompt, [P, D]."""
        return {"prompts.tokens": self._prompts.tokens}

    def _insert(self, selection: Any) -> None:
        base = self.backbone.view.base
        tokens = self.strategy.first_tokens(base.get_input_embeddings())
        self._prompts = Prompts(tokens, place=1 if self.strategy.place == "second" else 0)
        self._take_out = self._prompts.insert_into(base, self.backbone.view.reads_tokens)

    def _remove(self) -> None:
        self._take_out()
