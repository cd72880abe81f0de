"""The task of `make demo`: is a review good or bad, where most reviews say both?

    Although the acting was superb, the ending was dull.        negative
    The ending was dull, although the acting was superb.        negative
    The acting was superb, but the ending was dull.             negative
    The acting was awful and the ending was dull.               negative

The verdict is the opinion of the main clause, which after "but" is the second one: contrast is what a sum of a
sentence's words misses (Socher et al. 2013, Sec. 5.3). Three reviews in four hold one word of praise and one of blame,
so that whoever knows every word and nothing of their order is right in 62.5 % at most. The splits share no aspect and
no opinion: what "dismal" means must come from pretraining.
"""

import random
from typing import Any

NEGATIVE, POSITIVE = 0, 1
TRAIN_SIZE, VALIDATION_SIZE = 480, 240

# {main} and {opinion} decide; {other} and {contrary} are the concession, {same} agrees with the verdict.
FRAMES = (
    "Although the {other} was {contrary}, the {main} was {opinion}.",
    "The {main} was {opinion}, although the {other} was {contrary}.",
    "The {other} was {contrary}, but the {main} was {opinion}.",
    "The {other} was {same} and the {main} was {opinion}.",
)

ASPECTS = {
    "train": "acting story music plot dialogue pacing ending script humor scenery makeup lighting",
    "validation": "cast direction soundtrack editing animation photography opening narration",
}
OPINIONS = {
    "train": {
        POSITIVE: "wonderful brilliant charming delightful superb touching clever lovely fantastic impressive gorgeous "
        "terrific enjoyable splendid magical thrilling elegant perfect",
        NEGATIVE: "terrible boring awful dreadful clumsy dull stupid horrible annoying ugly tedious disappointing "
        "weak ridiculous pathetic lifeless irritating miserable",
    },
    "validation": {
        POSITIVE: "excellent beautiful amazing marvelous great fascinating inspiring witty graceful exciting good "
        "refreshing",
        NEGATIVE: "bad disgusting poor lousy dismal tiresome mediocre shallow incompetent depressing inept confusing",
    },
}


def make_contrast(seed: int = 0) -> dict[str, dict[str, list[Any]]]:
    """Return the columns `text_a` and `label` (0 negative, 1 positive) of train and validation.

    Args:
        seed: decides the reviews and their order; the words of each split are always the same.
    """
    generator = random.Random(seed)
    sizes = {"train": TRAIN_SIZE, "validation": VALIDATION_SIZE}
    return {split: _reviews(split, size, generator) for split, size in sizes.items()}


def _reviews(split: str, size: int, generator: random.Random) -> dict[str, list[Any]]:
    """Return reviews of which each frame has as many, half of them positive; none is there twice."""
    rows: dict[str, int] = {}
    for frame in FRAMES:
        for label in (NEGATIVE, POSITIVE):
            wanted = len(rows) + size // (2 * len(FRAMES))
            while len(rows) < wanted:
                rows[_review(frame, label, split, generator)] = label
    shuffled = generator.sample(sorted(rows.items()), len(rows))
    return {"text_a": [text for text, _ in shuffled], "label": [label for _, label in shuffled]}


def _review(frame: str, label: int, split: str, generator: random.Random) -> str:
    main, other = generator.sample(ASPECTS[split].split(), 2)
    opinion, same = generator.sample(OPINIONS[split][label].split(), 2)
    contrary = generator.choice(OPINIONS[split][1 - label].split())
    return frame.format(main=main, other=other, opinion=opinion, same=same, contrary=contrary)
