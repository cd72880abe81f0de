"""The demo's reviews: right by an independent reading, without a short cut, and new in every word that decides."""

import re
from collections import Counter

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from peftlab.tasks.sources.contrast import ASPECTS, OPINIONS, make_contrast
from peftlab.tasks.sources.splits import load_splits
from tasks.shipped import shipped

REVIEWS = make_contrast(0)
# The aspect and the opinion of the main clause, by the words around them.
MAIN = [
    r"Although the \w+ was \w+, the (\w+) was (\w+)\.",
    r"The (\w+) was (\w+), although the \w+ was \w+\.",
    r"The \w+ was \w+, but the (\w+) was (\w+)\.",
    r"The \w+ was \w+ and the (\w+) was (\w+)\.",
]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_label_is_the_opinion_of_the_main_clause(split):
    by_word = {word: label for label, words in OPINIONS[split].items() for word in words.split()}
    for text, label in zip(REVIEWS[split]["text_a"], REVIEWS[split]["label"], strict=True):
        (found,) = [match for pattern in MAIN if (match := re.fullmatch(pattern, text))]
        assert by_word[found[2]] == label
        # Only where nothing is conceded do both opinions agree.
        opinions = {by_word[word] for word in re.findall(r"\w+", text) if word in by_word}
        assert (len(opinions) == 1) == (" and " in text)


@pytest.mark.parametrize("split", ["train", "validation"])
def test_frames_and_labels_are_balanced_and_nothing_is_there_twice(split):
    texts, labels = REVIEWS[split].values()
    frames = [next(n for n, pattern in enumerate(MAIN) if re.fullmatch(pattern, text)) for text in texts]
    assert set(Counter(zip(frames, labels, strict=True)).values()) == {len(texts) // 8}
    assert len(set(texts)) == len(texts)


def test_no_aspect_and_no_opinion_of_validation_is_seen_in_training():
    def words(split: str) -> list[str]:
        return " ".join([ASPECTS[split], *OPINIONS[split].values()]).split()

    assert not set(words("train")) & set(words("validation"))
    assert max(Counter(words("train") + words("validation")).values()) == 1


def test_who_knows_every_word_and_no_order_is_right_in_five_of_eight_at_most():
    # Fitted on other reviews of the same words, of which it sees all that there are.
    drawn = [make_contrast(seed)["validation"] for seed in range(1, 9)]
    counter = CountVectorizer()
    counts = counter.fit_transform([text for split in drawn for text in split["text_a"]])
    model = LogisticRegression(C=0.01).fit(counts, [label for split in drawn for label in split["label"]])
    asked = REVIEWS["validation"]
    assert model.score(counter.transform(asked["text_a"]), asked["label"]) < 0.66


def test_the_seed_alone_decides_and_the_task_loads_it_anywhere():
    assert make_contrast(0) == REVIEWS != make_contrast(1)
    assert load_splits(shipped("contrast"), None)["validation"][:] == REVIEWS["validation"]
