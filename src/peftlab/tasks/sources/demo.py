"""The demo task: lexical inference made from a grammar, right by construction, hard without knowing words.

Premise and hypothesis are one sentence with one noun exchanged, so neither length nor overlap tells anything:

    [It is not true that] QUANTIFIER NOUN EVENT

The place of the noun is *upward* monotone after "at least one" and "more than one" ("at least one sparrow sang"
entails "at least one bird sang"), *downward* monotone after "every", "no" and "at most one" ("every bird sang"
entails "every sparrow sang"), and "it is not true that" turns the direction round (van Benthem 1986; MacCartney
& Manning 2007). So the answer is `entailment` exactly when the noun became wider in an upward place or narrower
in a downward one; "every" takes no existence for granted, since the quantifier never changes.

Nouns stand on three levels, narrow (sparrow), middle (bird) and wide (animal). For each quantifier the mixture in
`_UPWARD_MIXTURE` gives both labels alike for every level of the hypothesis, so that the hypothesis alone tells
nothing even to a reader who knows all words. No noun and no event of validation occurs in training: what a sparrow
is must come from pretraining.
"""

import random
from dataclasses import dataclass
from typing import Any

from peftlab.tasks.sources.lexicon import TRAIN_EVENTS, TRAIN_KINDS, VALIDATION_EVENTS, VALIDATION_KINDS, Taxonomy

ENTAILMENT, NOT_ENTAILMENT = 0, 1
TRAIN_SIZE, VALIDATION_SIZE = 3200, 640

UPWARD = ("at least one", "more than one")
DOWNWARD = ("every", "no", "at most one")
NEGATION = "it is not true that"

NARROW, MIDDLE, WIDE = 0, 1, 2


@dataclass(frozen=True)
class Pattern:
    """How the two nouns of a pair relate: their levels, and whether the narrower is a kind of the wider."""

    premise: int
    hypothesis: int
    related: bool


# Eighths of the examples of one upward quantifier; half entail. Per level of the hypothesis the labels balance:
# MIDDLE 2:2, WIDE 2:2. One in eight has the right words in the wrong direction.
_UPWARD_MIXTURE = (
    Pattern(NARROW, MIDDLE, True),
    Pattern(NARROW, MIDDLE, True),
    Pattern(NARROW, WIDE, True),
    Pattern(MIDDLE, WIDE, True),
    Pattern(WIDE, MIDDLE, True),
    Pattern(NARROW, MIDDLE, False),
    Pattern(NARROW, WIDE, False),
    Pattern(MIDDLE, WIDE, False),
)
# The mirror image, for a downward quantifier.
_DOWNWARD_MIXTURE = (
    Pattern(WIDE, MIDDLE, True),
    Pattern(WIDE, MIDDLE, True),
    Pattern(WIDE, NARROW, True),
    Pattern(MIDDLE, NARROW, True),
    Pattern(NARROW, MIDDLE, True),
    Pattern(WIDE, MIDDLE, False),
    Pattern(WIDE, NARROW, False),
    Pattern(MIDDLE, NARROW, False),
)


def make_demo(seed: int = 0) -> dict[str, dict[str, list[Any]]]:
    """Return the columns `text_a`, `text_b` and `label` (0 entailment, 1 not) of train and validation.

    Args:
        seed: decides the pairs and their order; the words of each split are always the same.
    """
    generator = random.Random(seed)
    return {
        "train": _split(TRAIN_KINDS, TRAIN_EVENTS, TRAIN_SIZE, generator),
        "validation": _split(VALIDATION_KINDS, VALIDATION_EVENTS, VALIDATION_SIZE, generator),
    }


def is_upward(quantifier: str, negated: bool) -> bool:
    """Return True when a noun after this quantifier may be replaced by a wider one."""
    return (quantifier in UPWARD) != negated


def label_of(pattern: Pattern, upward: bool) -> int:
    """Return `ENTAILMENT` when the noun moves in the direction that its place allows."""
    widens = pattern.hypothesis > pattern.premise
    return ENTAILMENT if pattern.related and widens == upward else NOT_ENTAILMENT


def _split(kinds: Taxonomy, events: list[str], size: int, generator: random.Random) -> dict[str, list[Any]]:
    frames = [(quantifier, negated) for quantifier in UPWARD + DOWNWARD for negated in (False, True)]
    repeats = size // (len(frames) * len(_UPWARD_MIXTURE))
    rows: dict[tuple[str, str], int] = {}
    for quantifier, negated in frames:
        upward = is_upward(quantifier, negated)
        for pattern in _UPWARD_MIXTURE if upward else _DOWNWARD_MIXTURE:
            for _ in range(repeats):
                pair = _pair(kinds, events, pattern, quantifier, negated, generator)
                while pair in rows:
                    pair = _pair(kinds, events, pattern, quantifier, negated, generator)
                rows[pair] = label_of(pattern, upward)
    shuffled = generator.sample(sorted(rows.items()), len(rows))
    return {
        "text_a": [premise for (premise, _), _ in shuffled],
        "text_b": [hypothesis for (_, hypothesis), _ in shuffled],
        "label": [label for _, label in shuffled],
    }


def _pair(
    kinds: Taxonomy, events: list[str], pattern: Pattern, quantifier: str, negated: bool, generator: random.Random
) -> tuple[str, str]:
    premise, hypothesis = _nouns(kinds, pattern, generator)
    event = generator.choice(events)
    return _sentence(quantifier, negated, premise, event), _sentence(quantifier, negated, hypothesis, event)


def _nouns(kinds: Taxonomy, pattern: Pattern, generator: random.Random) -> tuple[str, str]:
    """Return the premise's and the hypothesis's noun.

    An unrelated middle noun is a sister half of the time (sparrow, fish); all else comes from another wide kind.
    """
    first = _path(kinds, generator.choice(sorted(kinds)), generator)
    if pattern.related:
        return first[pattern.premise], first[pattern.hypothesis]
    wide = first[WIDE]
    sister = WIDE not in (pattern.premise, pattern.hypothesis) and generator.random() < 0.5
    second = first
    while second[MIDDLE] == first[MIDDLE] or (second[WIDE] == wide) != sister:
        second = _path(kinds, generator.choice(sorted(kinds)), generator)
    return first[pattern.premise], second[pattern.hypothesis]


def _path(kinds: Taxonomy, wide: str, generator: random.Random) -> tuple[str, str, str]:
    middle = generator.choice(sorted(kinds[wide]))
    return generator.choice(kinds[wide][middle]), middle, wide


def _sentence(quantifier: str, negated: bool, noun: str, event: str) -> str:
    words = f"{NEGATION} {quantifier} {noun} {event}." if negated else f"{quantifier} {noun} {event}."
    return words[0].upper() + words[1:]
