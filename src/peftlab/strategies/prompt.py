"""Prompt tuning (Lester et al., 2021, arXiv 2104.08691): learned tokens in the input, the whole backbone frozen."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from peftlab.backbones.loading import Backbone
from peftlab.errors import require
from peftlab.layers.prompts import Prompts
from peftlab.strategies.contract import Strategy


@dataclass
class Prompt(Strategy):
    """Tune the embeddings of a few tokens that stand in every text.

    Options (defaults and their sources in `conf/strategy/prompt.yaml`):
        length: tokens of the prompt.
        place: `second`, after the token that the classifier reads; `first`, before it: the classifier then reads
            the first token of the prompt.
        init: `vocabulary`, embeddings of tokens drawn at random; `uniform`, numbers from -0.5 to 0.5.
    """

    name = "prompt"

    length: int = 20
    place: Literal["second", "first"] = "second"
    init: Literal["vocabulary", "uniform"] = "vocabulary"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.length >= 1, f"strategy.length={self.length}: allowed is 1 or more")

    @property
    def start_tolerance(self) -> float:
        """New tokens change what is attended to: 0.006 on tiny models, and 1.3 where the prompt itself is read."""
        return 2.0 if self.place == "first" else 0.1

    @property
    def mergeable(self) -> bool:
        """Never: the prompt is in the input, not in the weights."""
        return False

    @property
    def prompt_positions(self) -> int:
        """Each token of the prompt has a position."""
        return self.length

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the prompt, [P, D]."""
        return {"prompts.tokens": self._prompts.tokens}

    def _attach(self, backbone: Backbone, selection: Any) -> None:
        base = cast(PreTrainedModel, backbone.model.base_model)
        tokens = self._first_tokens(cast(nn.Embedding, base.get_input_embeddings()).weight.detach())
        self._prompts = Prompts(tokens, place=1 if self.place == "second" else 0)
        self._take_out = self._prompts.insert_into(base)

    def _first_tokens(self, vocabulary: Tensor) -> Tensor:
        # Drawn on the CPU, so that a seed means the same tokens on every device.
        if self.init == "vocabulary":
            return vocabulary[torch.randint(len(vocabulary), (self.length,)).to(vocabulary.device)].clone()
        return (torch.rand(self.length, vocabulary.shape[1]) - 0.5).to(vocabulary.device)

    def _detach(self, backbone: Backbone) -> None:
        self._take_out()

    def _merge(self, backbone: Backbone) -> None:
        raise NotImplementedError("a prompt has no counterpart in the backbone")
