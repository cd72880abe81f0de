"""How rows become sequences of tokens: windows of a context, one sequence for each choice, words with labels."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from transformers import PreTrainedTokenizerBase

from peftlab.errors import require
from peftlab.inputs.sequences import OUTSIDE, Sequences


@dataclass(frozen=True)
class Choices:
    """A sequence for each choice: `text_a` and the choice, as a pair; the longer of both is cut."""

    token_values: ClassVar[tuple[str, ...]] = ()

    def arrange(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Iterator[Sequences]:
        """Yield each row's sequences in the order of its `choices`."""
        firsts = [text for text, choices in zip(rows["text_a"], rows["choices"], strict=True) for _ in choices]
        seconds = [choice for choices in rows["choices"] for choice in choices]
        encoded = tokenizer(firsts, seconds, truncation="longest_first", max_length=max_length)
        encodings = iter(encoded.encodings or [])
        for choices in rows["choices"]:
            own = [next(encodings) for _ in choices]
            truncated = any(encoding.overflowing for encoding in own)
            yield Sequences([one.ids for one in own], [one.type_ids for one in own], {}, truncated)


@dataclass(frozen=True)
class Words:
    """One sequence of all `tokens`, words that somebody else has cut; the last are dropped where it is too long.

    `word`: of the first token of each word the word's number. A word that the tokenizer makes nothing of has none.
    """

    token_values: ClassVar[tuple[str, ...]] = ("word",)

    def arrange(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Iterator[Sequences]:
        """Yield the sequence of each row."""
        # Joined by blanks, words are read alike by every tokenizer; with `is_split_into_words` a byte-level one, such
        # as RoBERTa's, has to be made with `add_prefix_space` first.
        texts = [" ".join(words) for words in rows["tokens"]]
        encoded = tokenizer(texts, truncation=True, max_length=max_length)
        for words, encoding in zip(rows["tokens"], encoded.encodings or [], strict=True):
            numbers = _first_tokens(words, encoding.offsets, encoding.special_tokens_mask)
            yield Sequences([encoding.ids], [encoding.type_ids], {"word": [numbers]}, bool(encoding.overflowing))


def _first_tokens(words: Sequence[str], offsets: Sequence[tuple[int, int]], special: Sequence[int]) -> list[int]:
    """Return for each token the number of the word whose first token it is, else `OUTSIDE`."""
    word_of = [number for index, word in enumerate(words) for number in (*[index] * len(word), OUTSIDE)]
    numbers: list[int] = []
    for (start, end), is_special in zip(offsets, special, strict=True):
        # By its last character: byte-level tokens begin with the blank before the word.
        number = word_of[end - 1] if end > start and not is_special else OUTSIDE
        numbers.append(OUTSIDE if number in numbers else number)
    return numbers


@dataclass(frozen=True)
class Windows:
    """Pairs of `question` and a window of `context`: as many windows as it takes to see all of the context.

    `start` and `end`: of each token of the context its place among the characters. `owned`: 1 where, of all windows
    that hold a token of the context, this one has the most context around it (the "max context" rule of Google's
    run_squad.py), else 0.

    Attributes:
        overlap: tokens that a window shares with the one before, at most half of those that fit.
        max_question: tokens of the question, at most half of a sequence; the rest of it is cut.
    """

    overlap: int = 128
    max_question: int = 64

    token_values: ClassVar[tuple[str, ...]] = ("start", "end", "owned")

    def arrange(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Iterator[Sequences]:
        """Yield each row's windows, from the beginning of its context to its end; a cut question counts as truncated.

        Raises:
            UserError: sequences so short that nothing of a context fits.
        """
        free = max_length - tokenizer.num_special_tokens_to_add(pair=True)
        most = min(self.max_question, free // 2)
        require(most >= 1 and free - most >= 2, f"data.max_length={max_length}: no room for a question and its context")
        tokenizer.truncation_side = "right"
        asked = list(_shortened([question.lstrip() for question in rows["question"]], tokenizer, most))
        groups: dict[int, list[int]] = defaultdict(list)
        for number, (_, length, _) in enumerate(asked):
            groups[min(self.overlap, (free - length) // 2)].append(number)
        found: dict[int, list[Any]] = {}
        for overlap, numbers in groups.items():
            encoded = tokenizer(
                [asked[number][0] for number in numbers],
                [rows["context"][number] for number in numbers],
                truncation="only_second",
                max_length=max_length,
                stride=overlap,
                return_overflowing_tokens=True,
            )
            for place, encoding in zip(encoded["overflow_to_sample_mapping"], encoded.encodings or [], strict=True):
                found.setdefault(numbers[place], []).append(encoding)
        for number, (_, length, cut) in enumerate(asked):
            step = free - length - min(self.overlap, (free - length) // 2)
            yield _windows(found[number], step, cut)


def _shortened(
    questions: Sequence[str], tokenizer: PreTrainedTokenizerBase, most: int
) -> Iterator[tuple[str, int, bool]]:
    """Yield questions of at most `most` tokens, each with how many it has, and whether it lost any."""
    encodings = tokenizer(list(questions), add_special_tokens=False).encodings or []
    for question, encoding in zip(questions, encodings, strict=True):
        if len(encoding.ids) <= most:
            yield question, len(encoding.ids), False
        else:
            shorter = question[: encoding.offsets[most - 1][1]]
            yield shorter, len(tokenizer(shorter, add_special_tokens=False)["input_ids"]), True


def _windows(encodings: Sequence[Any], step: int, cut: bool) -> Sequences:
    """Return the windows of one question, each of which begins `step` tokens of the context after the one before."""
    inside = [np.array([of == 1 for of in encoding.sequence_ids]) for encoding in encodings]
    owned = _owned([int(mask.sum()) for mask in inside], step)
    tokens: dict[str, list[list[int]]] = {"start": [], "end": [], "owned": []}
    for encoding, mask, own in zip(encodings, inside, owned, strict=True):
        offsets = np.array(encoding.offsets).reshape(-1, 2)
        for name, values in (("start", offsets[:, 0]), ("end", offsets[:, 1])):
            tokens[name].append(np.where(mask, values, OUTSIDE).tolist())
        flags = np.zeros(len(mask), dtype=int)
        flags[mask] = own
        tokens["owned"].append(flags.tolist())
    return Sequences([one.ids for one in encodings], [one.type_ids for one in encodings], tokens, cut)


def _owned(sizes: Sequence[int], step: int) -> list[Any]:
    """Return for each window, of so many tokens of the context, which of them have most context in it."""
    total = step * (len(sizes) - 1) + sizes[-1]
    places = np.arange(total)
    scores = []
    for number, size in enumerate(sizes):
        left = places - number * step
        context = np.minimum(left, size - 1 - left)
        scores.append(np.where(context >= 0, context + 0.01 * size, -1.0))
    best = np.argmax(scores, axis=0)
    return [best[number * step : number * step + size] == number for number, size in enumerate(sizes)]
