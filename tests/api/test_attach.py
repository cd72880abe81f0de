"""`peftlab.attach`: a method on a user's own model, without Hydra, Lightning or a task."""

import copy
import re
import subprocess
import sys
import warnings

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

import peftlab
from conftest import ROOT
from peftlab.api.examples import GivenExamples
from peftlab.backbones.adopted import adopt
from peftlab.backbones.tiny import character_tokenizer
from peftlab.check.small import small_backbone
from peftlab.errors import UserError
from peftlab.heads.scoring import score_heads
from peftlab.output_layer import classes

TEXTS = [f"{word} number {number}" for number in range(6) for word in ("good", "bad and longer")]


def model_of(model_type="bert"):
    """A small model of transformers, as a user has loaded it."""
    return small_backbone(model_type, classes(["no", "yes"])).model


@pytest.fixture(scope="module")
def tokenizer():
    return character_tokenizer()


def batch_of(tokenizer, texts=TEXTS):
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    return {**tokens, "labels": torch.arange(len(texts)) % 2}


def train(tuned, batch, steps=30):
    optimizer = torch.optim.AdamW(tuned.parameter_groups(1e-2, 0.1))
    for _ in range(steps):
        tuned.loss(tuned.model(**batch).loss).backward()
        tuned.step(optimizer)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_method_of_peft_is_attached_without_a_warning_on_either_axis_of_weights(family, tokenizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        peftlab.attach(model_of(family), "lora", r=2, tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("hifi", {"k": 1}),
        ("lora", {"r": 2}),
        ("bitfit", {}),
        ("adapter", {"bottleneck": 4}),
        ("child-tuning", {"p": 0.5}),
        ("full", {}),
        ("classifier", {}),
    ],
)
def test_a_method_is_trained_saved_taken_back_and_taken_out(strategy, options, tokenizer, tmp_path):
    model, batch = model_of(), batch_of(tokenizer)
    before = copy.deepcopy(model.state_dict())
    with peftlab.attach(model, strategy, data=[batch], **options) as tuned:
        first = model(**batch).loss
        train(tuned, batch)
        tuned.save(tmp_path)
        last = model(**batch)
        assert last.loss < first
    for name, tensor in model.state_dict().items():  # the output layer keeps what it learnt
        assert name.startswith("classifier") or torch.equal(tensor, before[name]), name
    fresh = model_of()
    again = peftlab.reattach(fresh, tmp_path)
    assert torch.equal(again.model(**batch).logits, last.logits)
    with pytest.raises(UserError, match="made on backbone"):
        peftlab.reattach(model_of("electra"), tmp_path)


def test_a_merged_model_is_one_of_transformers(tokenizer, tmp_path):
    model, batch = model_of(), batch_of(tokenizer)
    tuned = peftlab.attach(model, "lora", r=2)
    train(tuned, batch)
    tuned_logits = model(**batch).logits
    tuned.merge().save_pretrained(tmp_path)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(stock(**batch).logits, tuned_logits, atol=1e-5, rtol=0)
    with pytest.raises(UserError, match="merged or detached"):
        tuned.parameters()


def test_texts_and_batches_of_them_choose_the_same_heads(tokenizer):
    model = model_of()
    by_texts = peftlab.select_heads(model, tokenizer, TEXTS, k=1)
    one_at_a_time = [tokenizer([text], return_tensors="pt") for text in TEXTS]
    by_batches = peftlab.select_heads(model, None, one_at_a_time, k=1)
    assert by_texts.heads == by_batches.heads
    assert torch.equal(by_texts.scores.richness, by_batches.scores.richness)
    # Scored once more by the function that runs use, on the same examples in one padded batch.
    batch = {**batch_of(tokenizer), "index": torch.arange(len(TEXTS))}
    scores = score_heads(adopt(model, tokenizer), [batch], 0.9)
    torch.testing.assert_close(by_texts.scores.richness, scores.richness.double(), atol=1e-5, rtol=1e-5)


def test_a_selection_stands_in_place_of_data(tokenizer):
    model = model_of()
    chosen = peftlab.select_heads(model, tokenizer, TEXTS, k=2)
    tuned = peftlab.attach(model, "hifi", selection=chosen, k=2)
    assert tuned.selection.heads == chosen.heads
    # Q, K and V of two heads in each of the layers: rows of head_dim, each as wide as the model.
    size = model.config.hidden_size // model.config.num_attention_heads
    assert tuned.num_tuned == model.config.num_hidden_layers * 3 * 2 * size * model.config.hidden_size


@pytest.mark.parametrize(("model_type", "auto"), [("llama", AutoModelForCausalLM), ("bert", AutoModel)])
def test_a_model_without_a_task_trains_the_method_alone(model_type, auto, tokenizer):
    model = auto.from_config(model_of(model_type).config).eval()
    tuned = peftlab.attach(model, "hifi", data=TEXTS, tokenizer=tokenizer, k=1)
    assert sum(p.numel() for p in tuned.parameters()) == tuned.num_tuned
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == tuned.num_tuned
    out = model(**tokenizer(TEXTS, padding=True, return_tensors="pt"))
    out[0].square().mean().backward()
    assert all(p.grad is not None for p in tuned.parameters())


@pytest.mark.parametrize(("strategy", "options"), [("lora", {"r": 2}), ("ia3", {})])
def test_a_decoder_without_a_pad_as_most_are_published_takes_methods_of_peft(strategy, options):
    config = model_of("llama").config
    config.pad_token_id = None
    tuned = peftlab.attach(AutoModelForCausalLM.from_config(config), strategy, **options)
    assert tuned.num_tuned == sum(p.numel() for p in tuned.parameters()) > 0


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"strategy": "hify"}, "hify"),
        ({"strategy": "hifi", "K": 2}, "strategy.K"),
        ({"strategy": "hifi", "k": 99}, "strategy.k=99"),
        ({"strategy": "hifi"}, "looks at examples first"),
        ({"strategy": "hifi", "data": TEXTS}, "need the model's tokenizer"),
        ({"strategy": "hifi", "data": [{"text": "a"}]}, "input_ids or pixel_values is expected"),
        ({"strategy": "hifi", "data": TEXTS[0], "tokenizer": ...}, "data: one str; allowed is a list of texts"),
        ({"strategy": "hifi", "data": {"text": TEXTS}, "tokenizer": ...}, "data: one dict; allowed is a list"),
        ({"strategy": "hifi", "data": [3], "tokenizer": ...}, "allowed are texts, pairs and batches"),
        ({"strategy": "child-tuning", "data": TEXTS, "tokenizer": ...}, "allowed are batches with labels"),
        ({"strategy": "diff-pruning"}, "phases"),
    ],
)
def test_mistakes_are_one_line_and_leave_the_model_alone(asked, told, tokenizer):
    model = model_of()
    given = {name: tokenizer if value is ... else value for name, value in asked.items()}
    names = set(model.state_dict())
    with pytest.raises(UserError, match=re.escape(told)) as raised:
        peftlab.attach(model, given.pop("strategy"), **given)
    assert "\n" not in str(raised.value)
    assert set(model.state_dict()) == names
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_holds_one_method_at_a_time(tmp_path):
    model = model_of()
    tuned = peftlab.attach(model, "lora")
    tuned.save(tmp_path)
    for again in (lambda: peftlab.attach(model, "bitfit"), lambda: peftlab.reattach(model, tmp_path)):
        with pytest.raises(UserError, match=re.escape("model: a method is attached to it; detach() takes it out")):
            again()
    tuned.detach()
    peftlab.attach(model, "bitfit").merge()
    peftlab.attach(model, "lora")


@pytest.mark.parametrize("given", [torch.nn.Linear(2, 2), "bert-base-uncased"])
def test_what_is_no_model_of_transformers_is_told_in_one_line(given):
    with pytest.raises(UserError, match=f"model: {type(given).__name__}; allowed is a model of transformers"):
        peftlab.attach(given, "lora")


def test_examples_lose_their_pads_on_either_side(tokenizer):
    padded = tokenizer(TEXTS[:2], padding=True, return_tensors="pt")
    flipped = {name: value.flip(1) for name, value in padded.items()}  # pads to the left
    for batch in (padded, flipped):
        examples = GivenExamples([batch])
        assert sorted(examples.sample(None, 1).lengths) == sorted(padded["attention_mask"].sum(1).tolist())
        assert examples.batch_size == 2


def test_the_page_about_python_runs_as_it_stands(tmp_path):
    model_of().save_pretrained(tmp_path / "bert-base-uncased")
    character_tokenizer().save_pretrained(tmp_path / "bert-base-uncased")
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "merged" / "config.json").is_file()
