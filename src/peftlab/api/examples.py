"""Examples that a user hands over, as batches or as texts, for what a method looks at before training."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from peftlab.backbones.forward import inputs_of
from peftlab.backbones.loading import Backbone
from peftlab.data.batching import ORDERS, Order, cut
from peftlab.errors import UserError, require, require_several
from peftlab.inputs.encoder import Batch, Example, Split, to_device
from peftlab.streams import Stream, seed_of

Texts = Sequence[str | tuple[str, str]]
Given = Texts | Iterable[Mapping[str, Any]]
_FILLS = {"attention_mask": 0, "token_type_ids": 0, "labels": -100}
MAX_LENGTH = 512  # tokens of a text, where the tokenizer names no limit
SIZE = 32  # texts that are tokenised at a time


class GivenSplit(Split):
    """Examples without pads: tensors of tokens [S] each, of pictures, and scalars."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return {**self._examples[index], "index": torch.tensor(index)}

    @property
    def lengths(self) -> Sequence[int]:
        """The tokens of each example; 1 for a picture."""
        return [len(one["input_ids"]) if "input_ids" in one else 1 for one in self._examples]

    @property
    def truncated_share(self) -> float:
        """Nothing is cut here."""
        return 0.0

    def select(self, indices: Sequence[int]) -> "GivenSplit":
        """Return a split of these examples, in this order."""
        return GivenSplit([self._examples[index] for index in indices])


class GivenExamples:
    """What a strategy asks of data (`strategies.contract.Examples`), answered from what a user hands over.

    Args:
        given: texts or pairs of texts, or batches as the model takes them: mappings of tensors, `labels` among them
            where the method needs a loss.
        tokenizer: of the model; texts need it.

    Raises:
        UserError: it is something else, or texts without a tokenizer.
    """

    def __init__(self, given: Given, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        require_several(given, "data", "texts, pairs of texts or batches")
        self._fills = {**_FILLS, "input_ids": getattr(tokenizer, "pad_token_id", None) or 0}
        self._side = getattr(tokenizer, "padding_side", "right")
        self._sizes: list[int] = []  # of the batches, as they were given
        self._examples = list(self._read(given, tokenizer))

    @property
    def batch_size(self) -> int:
        """How many examples a training batch has: as many as the largest that was given."""
        return max(self._sizes, default=SIZE)

    def sample(
        self, n: int | None, seed: int, pool: Literal["full", "shots"] = "full", stream: Stream = Stream.SAMPLE
    ) -> GivenSplit:
        """Return n examples, drawn by `seed` without replacement; all where there are fewer, or n is None.

        Raises:
            UserError: there are none.
        """
        require(bool(self._examples), "data: the method looks at examples first; data=TEXTS or data=BATCHES gives them")
        generator = torch.Generator().manual_seed(seed_of(stream, seed))
        order = torch.randperm(len(self._examples), generator=generator)
        return GivenSplit(self._examples).select(order[:n].tolist())

    def batches(self, examples: Split, size: int, device: torch.device, order: Order = "given") -> Iterator[Batch]:
        """Yield the examples in batches of `size` on `device`, padded to the longest of each."""
        for chosen in cut(ORDERS[order](examples.lengths), size):
            yield to_device(self._collate([examples[index] for index in chosen]), device)

    def loss_of(self, backbone: Backbone) -> Callable[[Batch], Tensor]:
        """Return the model's own loss of a batch, which its `labels` give.

        Raises:
            UserError: the batches have no labels.
        """
        labelled = bool(self._examples) and "labels" in self._examples[0]
        require(labelled, "data: the method needs a loss; allowed are batches with labels")

        def loss(batch: Batch) -> Tensor:
            found: Tensor = backbone.model(**inputs_of(backbone, batch), labels=batch["labels"]).loss
            return found

        return loss

    def _collate(self, examples: Sequence[Example]) -> Batch:
        return {name: self._joined(name, [one[name] for one in examples]) for name in examples[0]}

    def _joined(self, name: str, values: list[Tensor]) -> Tensor:
        if values[0].dim() != 1:
            return torch.stack(values)
        return pad_sequence(values, True, self._fills.get(name, 0), self._side)

    def _read(self, given: Given, tokenizer: PreTrainedTokenizerBase | None) -> Iterator[Example]:
        """Yield the examples of all batches, or of all texts, without their pads."""
        texts: list[Any] = []
        for part in given:
            if isinstance(part, Mapping):
                examples = list(_without_pads(part))
                self._sizes.append(len(examples))
                yield from examples
            else:
                texts.append(part)
        if texts:
            require(tokenizer is not None, "data: texts need the model's tokenizer; tokenizer=... gives it")
            assert tokenizer is not None
            yield from _tokenised(texts, tokenizer)


def _tokenised(texts: list[Any], tokenizer: PreTrainedTokenizerBase) -> Iterator[Example]:
    for text in texts:
        pair = isinstance(text, tuple | list) and len(text) == 2 and all(isinstance(part, str) for part in text)
        require(isinstance(text, str) or pair, f"data: {type(text).__name__}: allowed are texts, pairs and batches")
    longest = min(tokenizer.model_max_length, MAX_LENGTH)
    for some in cut(range(len(texts)), SIZE):
        chosen = [texts[index] for index in some]
        pairs = [text if isinstance(text, str) else tuple(text) for text in chosen]
        found = tokenizer(pairs, truncation=True, max_length=longest, padding=True, return_tensors="pt")
        yield from _without_pads(found)


def _without_pads(batch: Mapping[str, Any]) -> Iterator[Example]:
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    main = next((name for name in ("input_ids", "pixel_values") if name in tensors), None)
    if main is None:
        raise UserError(
            f"data: a batch of {', '.join(map(str, batch)) or 'nothing'}; input_ids or pixel_values is expected"
        )
    mask = tensors.get("attention_mask")
    for row in range(len(tensors[main])):
        kept = None if mask is None else mask[row].bool().cpu()
        yield {name: _kept(value[row].cpu(), kept) for name, value in tensors.items()}


def _kept(value: Tensor, kept: Tensor | None) -> Tensor:
    """Return the values of tokens without those of pads; others as they are."""
    return value[kept] if kept is not None and value.shape == kept.shape else value
