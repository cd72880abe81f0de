"""BitFit against its authors' own code: which parameters are trained, and ten steps of them."""

import re

import pytest
from authors import assert_same, backbone, fixture, movement, train

from peftlab.strategies.registry import create_strategy
from shapes import BERT_BASE, BERT_LARGE, ROBERTA_BASE, ROBERTA_LARGE, let_meta_tensors_stay, shape_of

THEIRS = fixture("bitfit")
CONFIGS = {
    "bert-base": BERT_BASE,
    "bert-large": BERT_LARGE,
    "roberta-base": ROBERTA_BASE,
    "roberta-large": ROBERTA_LARGE,
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_trained_parameters_are_the_authors(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    let_meta_tensors_stay(monkeypatch)
    strategy = create_strategy("bitfit", {}).attach(shape_of(CONFIGS[name]))
    trained = {name: p.numel() for name, p in strategy.model.named_parameters() if p.requires_grad}
    theirs = THEIRS["trained"][name]
    assert sorted({re.sub(r"layer\.\d+\.", "layer.#.", name) for name in trained}) == theirs["names"]
    assert (len(trained), sum(trained.values())) == (theirs["tensors"], theirs["weights"])
    assert strategy.num_tuned() == theirs["biases"]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_ten_steps_are_the_authors(kind: str) -> None:
    ours = backbone(kind)
    strategy = create_strategy("bitfit", {}).attach(ours)
    theirs = THEIRS[kind]["moved"]
    compared = []

    def compare(step: int) -> None:
        if str(step + 1) in theirs:
            compared.append(step + 1)
            assert_same(movement({**strategy.tuned(), **strategy.classifier()}), theirs[str(step + 1)], relative=1e-6)

    # They decay nothing and keep the rate; their eps is the default of the AdamW they take.
    train(strategy, steps=10, rate=1e-3, decay=0.0, after=compare, linear=False, huggingface_eps=1e-6)
    assert compared == [1, 5, 10]
