"""`peftlab.select_heads(model, tokenizer, texts)`: HiFi's choice of heads on any model, nothing tuned."""

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from peftlab.api.examples import Given, GivenExamples
from peftlab.backbones.adopted import adopt
from peftlab.heads.selection import HeadSelection
from peftlab.strategies.contract import SelectionContext
from peftlab.strategies.hifi import HiFi
from peftlab.strategies.registry import create_strategy


def select_heads(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase | None,
    data: Given | Sequence[str],
    *,
    seed: int = 1,
    **options: Any,
) -> HeadSelection:
    """Score, rank and choose the heads of a model; it is left as it was, and `attach` takes what comes back.

    Args:
        model: of transformers, of a known architecture.
        tokenizer: the model's; batches need none.
        data: texts, pairs of texts, or batches as the model takes them.
        seed: draws the examples.
        options: of HiFi (`conf/strategy/hifi.yaml`), as `k=3`.

    Raises:
        UserError: an option or the architecture is not known, or there are no examples.
    """
    method = create_strategy(HiFi.name, options)
    backbone = adopt(model, tokenizer)
    method.check(backbone)
    found = method.select(SelectionContext(backbone, GivenExamples(data, tokenizer), seed, model.device))
    assert isinstance(found, HeadSelection)
    return found
