"""Learned input embeddings among those of a text (Lester et al., 2021, arXiv 2104.08691)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class Prompts(nn.Module):
    """Puts its tokens [P, D] among the input embeddings, and lets every token attend to them.

    Args:
        tokens: the embeddings to begin with.
        place: how many of the text's tokens go before them; pads before a text are none of its tokens.
    """

    def __init__(self, tokens: Tensor, place: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(tokens)
        self._place = place
        self._before = torch.zeros(1, 1, dtype=torch.long)  # of the batch that is running: how many go before, [B, 1]

    def insert_into(self, base: PreTrainedModel, read_tokens: bool = False) -> Callable[[], None]:
        """Let `base` see the prompts in every text, as its submodule `prompts`; return what takes them out again.

        Args:
            base: a base model.
            read_tokens: the output layer reads each token: it is given those of the text alone.
        """
        hooks = [base.register_forward_pre_hook(self._prompted, with_kwargs=True)]
        if read_tokens:
            hooks.append(base.register_forward_hook(self._without_prompts))
        base.add_module("prompts", self)

        def take_out() -> None:
            for hook in hooks:
                hook.remove()
            del base.prompts

        return take_out

    def _prompted(
        self, base: PreTrainedModel, positional: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[()], dict[str, Any]]:
        """Turn token numbers [B, S] into embeddings [B, S + P, D], with mask and segments of that length."""
        options = {**dict(zip(("input_ids", "attention_mask"), positional, strict=False)), **named}
        embeddings = base.get_input_embeddings()(options.pop("input_ids"))
        tokens = self.tokens.to(embeddings.dtype).expand(len(embeddings), -1, -1)
        self._before = self._count_before(embeddings, options.get("attention_mask"))
        options["inputs_embeds"] = self._among(embeddings, tokens)
        for name, value in (("attention_mask", 1), ("token_type_ids", 0)):
            if options.get(name) is not None:
                given = options[name]
                options[name] = self._among(given, given.new_full(tokens.shape[:2], value))
        return (), options

    def _without_prompts(self, base: PreTrainedModel, inputs: tuple[Any, ...], outputs: Any) -> Any:
        hidden, count = outputs.last_hidden_state, len(self.tokens)
        own = torch.arange(hidden.shape[1] - count, device=hidden.device)
        outputs.last_hidden_state = _taken(hidden, own + count * (own >= self._before))
        return outputs

    def _count_before(self, embeddings: Tensor, mask: Tensor | None) -> Tensor:
        """Return how many places of each row go before the prompts, [B, 1]: pads before the text, and `place` of it."""
        batch, length, _ = embeddings.shape
        pads = torch.zeros(batch, 1, dtype=torch.long, device=embeddings.device)
        if mask is not None:
            pads = (mask != 0).long().argmax(1, keepdim=True)
        return (pads + self._place).clamp(max=length)

    def _among(self, text: Tensor, prompts: Tensor) -> Tensor:
        length, count = text.shape[1], prompts.shape[1]
        places = torch.arange(length + count, device=text.device)
        after = torch.where(places < self._before + count, places - self._before + length, places - count)
        return _taken(torch.cat([text, prompts], dim=1), torch.where(places < self._before, places, after))


def _taken(values: Tensor, places: Tensor) -> Tensor:
    """Return values [B, T, ...] at places [B, S] of each row."""
    return values.gather(1, places.view(*places.shape, *[1] * (values.dim() - 2)).expand(-1, -1, *values.shape[2:]))
