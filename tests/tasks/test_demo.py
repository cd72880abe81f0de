"""The demo task: right by an independent reading of its sentences, and without a short cut."""

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from peftlab.tasks.sources.demo import make_demo
from peftlab.tasks.sources.lexicon import TRAIN_EVENTS, TRAIN_KINDS, VALIDATION_EVENTS, VALIDATION_KINDS, Taxonomy
from peftlab.tasks.sources.splits import load_splits
from tasks.shipped import shipped

DEMO = make_demo(0)
SENTENCE = re.compile(r"(it is not true that )?(every|no|at most one|at least one|more than one) (\w+) (.*)\.")
KINDS = {"train": TRAIN_KINDS, "validation": VALIDATION_KINDS}


def parsed(sentence: str) -> tuple[str, str, str, str]:
    """Return negation, quantifier, noun and event of a sentence."""
    match = re.fullmatch(SENTENCE, sentence[0].lower() + sentence[1:])
    assert match, sentence
    return match.group(1) or "", match.group(2), match.group(3), match.group(4)


def words_of(kinds: Taxonomy) -> list[str]:
    middle = [group for groups in kinds.values() for group in groups]
    narrow = [word for groups in kinds.values() for words in groups.values() for word in words]
    return [*kinds, *middle, *narrow]


def things(kinds: Taxonomy, noun: str) -> frozenset[str]:
    """Return the narrow nouns that `noun` names: what it means, as a set."""
    return frozenset(
        word
        for wide, groups in kinds.items()
        for group, words in groups.items()
        for word in words
        if noun in (wide, group, word)
    )


def truth(quantifier: str, true_of: int, size: int) -> bool:
    """Say whether "QUANTIFIER NOUN EVENT" holds when the event is true of `true_of` of `size` things."""
    return {
        "every": true_of == size,
        "no": true_of == 0,
        "at most one": true_of <= 1,
        "at least one": true_of >= 1,
        "more than one": true_of >= 2,
    }[quantifier]


def entails(premise: str, hypothesis: str, kinds: Taxonomy) -> bool:
    """Decide by models: does the hypothesis hold in all worlds where the premise does?

    A world is told by how many things the event is true of among those of both nouns, of the first alone and of
    the second alone. Each of these three parts, where it is not empty, gets two individuals, so that "one" and
    "two" can be told apart.
    """
    negated, quantifier, noun, event = parsed(premise)
    other = parsed(hypothesis)[2]
    assert parsed(hypothesis) == (negated, quantifier, other, event)
    first, second = things(kinds, noun), things(kinds, other)
    both, left, right = (2 * bool(part) for part in (first & second, first - second, second - first))
    return all(
        truth(quantifier, b + r, both + right) != bool(negated)
        for b in range(both + 1)
        for l in range(left + 1)  # noqa: E741
        for r in range(right + 1)
        if truth(quantifier, b + l, both + left) != bool(negated)
    )


@pytest.mark.parametrize("split", ["train", "validation"])
def test_every_label_is_what_the_models_of_the_sentences_say(split: str):
    rows = DEMO[split]
    decided = {
        (premise, hypothesis): 0 if entails(premise, hypothesis, KINDS[split]) else 1
        for premise, hypothesis in zip(rows["text_a"], rows["text_b"], strict=True)
    }
    assert list(decided.values()) == rows["label"]


def test_the_reference_itself_knows_the_textbook_cases():
    def decide(quantifier: str, premise: str, hypothesis: str, negation: str = "") -> bool:
        return entails(*(f"{negation}{quantifier} {n} sang." for n in (premise, hypothesis)), VALIDATION_KINDS)

    assert decide("at least one", "sparrow", "bird")
    assert not decide("at least one", "bird", "sparrow")
    assert decide("every", "bird", "sparrow")
    assert not decide("every", "sparrow", "bird")
    assert decide("no", "animal", "bird")
    assert not decide("no", "bird", "trout")
    assert decide("every", "sparrow", "bird", "it is not true that ")


@pytest.mark.parametrize(("split", "size"), [("train", 3200), ("validation", 640)])
def test_splits_are_large_and_balanced_and_repeat_nothing(split: str, size: int):
    rows = DEMO[split]
    assert Counter(rows["label"]) == {0: size // 2, 1: size // 2}
    assert len(set(zip(rows["text_a"], rows["text_b"], strict=True))) == size
    lengths = [len(text.split()) for text in rows["text_a"] + rows["text_b"]]
    assert (min(lengths) >= 5, max(lengths) <= 14) == (True, True)


def test_no_noun_and_no_event_of_validation_is_seen_in_training():
    assert not set(words_of(TRAIN_KINDS)) & set(words_of(VALIDATION_KINDS))
    function_words = {"the", "was", "in", "by", "a", "from", "into", "on", "to", "of"}
    train, validation = (
        {word for event in events for word in event.split()} for events in (TRAIN_EVENTS, VALIDATION_EVENTS)
    )
    assert train & validation <= function_words


@pytest.mark.parametrize("split", ["train", "validation"])
def test_each_noun_has_one_place_among_the_kinds(split: str):
    assert [word for word, times in Counter(words_of(KINDS[split])).items() if times > 1] == []


def test_the_seed_alone_decides_the_pairs():
    assert make_demo(0) == DEMO
    assert make_demo(1)["train"]["text_a"] != DEMO["train"]["text_a"]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_quantifier_and_the_level_of_the_hypothesis_say_nothing_about_the_label(split: str):
    kinds = KINDS[split]
    middle = {group for groups in kinds.values() for group in groups}
    balance: Counter[tuple[str, str, bool, bool]] = Counter()
    for hypothesis, label in zip(DEMO[split]["text_b"], DEMO[split]["label"], strict=True):
        negated, quantifier, noun, _ = parsed(hypothesis)
        balance[negated, quantifier, noun in kinds, noun in middle] += 1 if label == 0 else -1
    assert len(balance) == 20
    assert set(balance.values()) == {0}


def features(split: str, parts: list[str], fitted: dict[str, CountVectorizer]) -> Any:
    return hstack([fitted[part].transform(DEMO[split][part]) for part in parts])


@pytest.mark.parametrize("parts", [["text_a", "text_b"], ["text_b"], ["text_a"]])
@pytest.mark.parametrize("analyzer", ["word", "char_wb"])
def test_a_bag_of_words_stays_near_chance_on_validation(parts: list[str], analyzer: str):
    ngrams = (1, 2) if analyzer == "word" else (1, 3)
    fitted = {part: CountVectorizer(analyzer=analyzer, ngram_range=ngrams).fit(DEMO["train"][part]) for part in parts}
    model = LogisticRegression(max_iter=2000).fit(features("train", parts, fitted), DEMO["train"]["label"])
    assert model.score(features("validation", parts, fitted), DEMO["validation"]["label"]) < 0.60


def test_lengths_and_overlap_with_the_quantifier_stay_near_chance_on_validation():
    def surface(split: str) -> np.ndarray:
        rows = []
        for premise, hypothesis in zip(DEMO[split]["text_a"], DEMO[split]["text_b"], strict=True):
            a, b = premise.lower().split(), hypothesis.lower().split()
            marks = [word in a for word in ("not", "every", "no", "most", "least", "more")]
            rows.append([len(premise), len(hypothesis), len(a), len(b), len(set(a) & set(b)), *marks])
        return np.array(rows)

    forest = RandomForestClassifier(200, min_samples_leaf=20, random_state=0)
    forest.fit(surface("train"), DEMO["train"]["label"])
    assert forest.score(surface("validation"), DEMO["validation"]["label"]) < 0.60


def test_the_task_loads_it_wherever_the_data_root_points():
    splits = load_splits(shipped("demo"), None)
    assert splits["validation"][:] == DEMO["validation"]
    assert splits["train"].column_names == ["text_a", "text_b", "label"]
