"""Our methods as methods of peft: its own functions save, load, merge and combine them."""

import copy
import shutil

import pytest
import torch
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import peftlab
from peftlab.backbones.loading import BackboneSpec, load_backbone
from peftlab.backbones.tiny import character_tokenizer
from peftlab.check.small import small_backbone, small_sizes
from peftlab.errors import UserError
from peftlab.output_layer import classes
from peftlab.peft import BitFitConfig, CompacterConfig, HiFiConfig, HoulsbyConfig, SparseConfig, TinyAttentionConfig

HEADS = [[0], [1, 2]]
FAMILIES = ["bert", "llama", "gpt2", "modernbert", "gemma3_text"]
TOKENS = {"input_ids": torch.arange(10, 31).view(3, 7), "attention_mask": torch.ones(3, 7, dtype=torch.long)}


def model_of(family="bert"):
    return small_backbone(family, classes(["no", "yes"])).model


def logits(model, tokens=TOKENS):
    with torch.no_grad():
        return model.eval()(**tokens).logits


def some_places(model):
    """Return a mask of every fifth weight of all parameters, but for the classifier's, as a child network is."""
    own = {name: p for name, p in model.named_parameters() if not name.startswith(("classifier", "score"))}
    return {name: (torch.arange(p.numel()) % 5 == 1).view(p.shape) for name, p in own.items()}


# How each begins here: not where the untouched model is, so that it is seen to act.
METHODS = {
    "hifi": lambda: HiFiConfig(selection=HEADS, init_weights=False, task_type="SEQ_CLS"),
    "bitfit": lambda: BitFitConfig(init_weights=False, task_type="SEQ_CLS"),
    "houlsby": lambda: HoulsbyConfig(task_type="SEQ_CLS"),
    "compacter": lambda: CompacterConfig(bottleneck=8, rule_std=1.0, task_type="SEQ_CLS"),
    "compacter++": lambda: CompacterConfig(bottleneck=8, rule_std=1.0, plus=True, task_type="SEQ_CLS"),
    "tiny-attention": lambda: TinyAttentionConfig(size=4, init="constructor", task_type="SEQ_CLS"),
    "tiny-experts": lambda: TinyAttentionConfig(size=4, experts=2, init="constructor", task_type="SEQ_CLS"),
    "sparse": lambda: SparseConfig(places=some_places(model_of()), init_weights=False, task_type="SEQ_CLS"),
}
MERGED = ("hifi", "bitfit", "sparse")
CASES = [
    *((method, family) for method in ("hifi", "houlsby", "compacter", "tiny-attention") for family in FAMILIES),
    *(("bitfit", family) for family in ("bert", "gpt2")),
    *((method, "bert") for method in ("compacter++", "tiny-experts", "sparse")),
]


@pytest.mark.parametrize(("method", "family"), CASES)
@pytest.mark.filterwarnings("error:Found missing adapter keys")
def test_an_adapter_is_saved_loaded_and_merged_by_peft(method, family, tmp_path):
    base = model_of(family)
    untouched = logits(base)
    tuned = get_peft_model(copy.deepcopy(base), METHODS[method]())
    expected = logits(tuned)
    assert not torch.equal(expected, untouched)
    with tuned.disable_adapter():
        assert torch.equal(logits(tuned), untouched)
    tuned.save_pretrained(tmp_path, save_embedding_layers=False)
    stored = load_file(tmp_path / "adapter_model.safetensors")
    values = [tensor for name, tensor in stored.items() if not name.endswith("_places")]
    assert sum(map(torch.numel, values)) == tuned.get_nb_trainable_parameters()[0]
    for meta in (False, True):
        loaded = PeftModel.from_pretrained(copy.deepcopy(base), tmp_path, low_cpu_mem_usage=meta)
        # torch takes another kernel for attention whose weights need no gradients.
        atol = 1e-7 if method.startswith("tiny") else 0
        torch.testing.assert_close(logits(loaded), expected, rtol=0, atol=atol)
    if method not in MERGED:
        with pytest.raises(ValueError, match="cannot be merged"):
            loaded.merge_and_unload()
        assert torch.equal(logits(loaded.unload()), untouched)
        return
    merged = loaded.merge_and_unload(safe_merge=True)
    torch.testing.assert_close(logits(merged), expected, rtol=1e-5, atol=1e-6)
    assert merged.state_dict().keys() == base.state_dict().keys()


@pytest.mark.parametrize(
    ("config", "strategy", "options", "family"),
    [
        (HoulsbyConfig, "adapter", {"bottleneck": 8}, "bert"),
        (CompacterConfig, "compacter", {"bottleneck": 8, "rule_std": 1.0, "n": 2}, "llama"),
        (CompacterConfig, "compacter", {"bottleneck": 8, "rule_std": 1.0, "plus": True}, "bert"),
        (
            CompacterConfig,
            "compacter",
            {"bottleneck": 8, "rule_std": 1.0, "plus": True, "plus_place": "feed-forward"},
            "gpt2",
        ),
        (TinyAttentionConfig, "tiny-attention", {"size": 4, "heads": 2, "init": "constructor"}, "llama"),
        (TinyAttentionConfig, "tiny-attention", {"experts": 3, "init": "constructor"}, "bert"),
        (TinyAttentionConfig, "tiny-attention", {"experts": 2, "average": False, "init": "constructor"}, "gpt2"),
    ],
)
def test_what_is_put_in_gives_the_logits_of_the_strategy(config, strategy, options, family):
    base = model_of(family)
    theirs = get_peft_model(copy.deepcopy(base), config(**options))
    with peftlab.attach(base, strategy, **options) as ours:
        # Both go through the layers in order; what is shared, peft keeps behind the model and we at its first place.
        shared = {name: p for name, p in ours.attached.tuned().items() if name.endswith("rule")}
        own = [p for name, p in ours.attached.tuned().items() if name not in shared]
        tuned = [p for p in theirs.parameters() if p.requires_grad]
        with torch.no_grad():
            for parameter, value in zip(tuned, [*own, *shared.values()], strict=True):
                parameter.copy_(value)
        assert torch.equal(logits(theirs), logits(base))


@pytest.mark.parametrize(
    "config", [HiFiConfig(selection=[[0], [1]]), HoulsbyConfig(), CompacterConfig(), TinyAttentionConfig()]
)
def test_heads_that_do_not_divide_the_hidden_size_take_several_adapters(config):
    """As in Qwen3-0.6B the output projection reads more than the hidden size; it is wrapped when the second comes."""
    sizes = {**small_sizes("qwen3"), "head_dim": 16}
    spec = BackboneSpec("qwen3", random={"model_type": "qwen3", **sizes}, kernels=False)
    model = get_peft_model(load_backbone(spec, classes(["no", "yes"]), 1).model, config)
    first = logits(model)
    model.add_adapter("other", copy.deepcopy(config))
    assert torch.equal(logits(model), first)


def test_tiny_attention_does_not_see_pads():
    model = get_peft_model(model_of(), METHODS["tiny-attention"]())
    longer = {name: torch.nn.functional.pad(value, (0, 3)) for name, value in TOKENS.items()}
    torch.testing.assert_close(logits(model, longer), logits(model), rtol=1e-4, atol=1e-5)
    plain = model.unload()
    assert not plain.base_model._forward_pre_hooks


def test_the_average_of_experts_is_stored_alone(tmp_path):
    base = model_of()
    model = get_peft_model(copy.deepcopy(base), METHODS["tiny-experts"]())
    expected = logits(model)
    model.average_experts()
    torch.testing.assert_close(logits(model), expected, rtol=0, atol=1e-7)
    model.save_pretrained(tmp_path, save_embedding_layers=False)
    assert not any(".experts.1." in name for name in load_file(tmp_path / "adapter_model.safetensors"))
    torch.testing.assert_close(logits(PeftModel.from_pretrained(base, tmp_path)), expected, rtol=0, atol=1e-7)


def test_tiny_attention_refuses_a_cache_that_it_is_not_in():
    model = get_peft_model(model_of("gpt2"), TinyAttentionConfig())
    cache = model(**TOKENS, use_cache=True).past_key_values
    further = {"input_ids": TOKENS["input_ids"][:, :1], "past_key_values": cache}
    with pytest.raises(UserError, match="use_cache"):
        model(**further)
    with model.disable_adapter():
        model(**further)


def test_a_model_with_tiny_attention_generates_what_it_answers_to_the_whole_text():
    sizes = {**small_sizes("llama"), "vocab_size": 50, "eos_token_id": None, "pad_token_id": 0}
    plain = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    cached, given = plain.generation_config.use_cache, {"input_ids": TOKENS["input_ids"]}
    model = get_peft_model(plain, TinyAttentionConfig(size=4, init="constructor", task_type="CAUSAL_LM"))
    expected = TOKENS["input_ids"]
    for _ in range(4):
        answer = logits(model, {"input_ids": expected})[:, -1].argmax(-1, keepdim=True)
        expected = torch.cat([expected, answer], 1)
    assert torch.equal(model.generate(**given, max_new_tokens=4, do_sample=False), expected)
    assert model.unload().generation_config.use_cache == cached


def test_a_model_without_biases_has_nothing_for_bitfit():
    with pytest.raises(ValueError, match="the layers of the model have no biases"):
        get_peft_model(model_of("llama"), BitFitConfig())


def test_hifi_tunes_what_the_strategy_tunes():
    tokenizer, texts = character_tokenizer(), ["a good one", "a bad one", "another"]
    model = model_of()
    chosen = peftlab.select_heads(model, tokenizer, texts, k=2)
    with peftlab.attach(model, "hifi", selection=chosen, k=2) as ours:
        number = ours.num_tuned
    theirs = get_peft_model(model, HiFiConfig(selection=chosen))
    assert theirs.get_nb_trainable_parameters()[0] == number
    theirs(**TOKENS, labels=torch.tensor([0, 1, 0])).loss.backward()
    assert {name.split(".hifi_rows")[1] for name, p in theirs.named_parameters() if p.requires_grad} == {".default"}
    assert all(p.grad is None for p in theirs.parameters() if not p.requires_grad)


@pytest.mark.parametrize("method", METHODS)
def test_two_adapters_take_turns(method):
    model = get_peft_model(model_of(), METHODS[method]())
    first = logits(model)
    assert torch.equal(logits(copy.deepcopy(model)), first)
    model.add_adapter("other", METHODS[method]())
    model.set_adapter("other")
    assert not torch.equal(logits(model), first)
    model(**TOKENS).logits.sum().backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert trained == {name for name, p in model.named_parameters() if p.requires_grad}
    assert not any("default" in name for name in trained)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)
    model.delete_adapter("other")
    assert not any("other" in name for name in model.state_dict())
    assert torch.equal(logits(model), first)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_tuned_is_float32_on_a_model_of_half_precision(method):
    model = get_peft_model(model_of().to(torch.bfloat16), METHODS[method]())
    tuned = [p for name, p in model.named_parameters() if model.base_model.prefix in name]
    assert {p.dtype for p in tuned} == {torch.float32}
    assert logits(model).isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_adapters_are_added_up_rightly_or_not_at_all(method):
    base, config = model_of(), METHODS[method]()
    config.task_type = None
    model = get_peft_model(copy.deepcopy(base), config)
    model.add_adapter("other", copy.deepcopy(config))
    if method not in MERGED:
        with pytest.raises(ValueError, match="cannot be added up"):
            model.add_weighted_adapter(["default", "other"], [0.5, 2.0], "both")
        assert list(model.peft_config) == ["default", "other"]
        return
    first, before = logits(model), base.state_dict()
    merged = {}
    for name in ("default", "other"):
        model.set_adapter(name)
        merged[name] = copy.deepcopy(model).merge_and_unload().state_dict()
    assert any(not torch.equal(merged["default"][name], merged["other"][name]) for name in before)
    model.add_weighted_adapter(["default", "other"], [0.5, 2.0], "both")
    summed = {
        name: value + 0.5 * (merged["default"][name] - value) + 2.0 * (merged["other"][name] - value)
        for name, value in before.items()
        if value.is_floating_point()
    }
    model.set_adapter("both")
    base.load_state_dict(summed, strict=False)
    torch.testing.assert_close(logits(model), logits(base), rtol=1e-4, atol=1e-5)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)


def test_what_two_adapters_keep_whole_is_not_added_up():
    model = get_peft_model(model_of(), METHODS["hifi"]())
    model.add_adapter("other", METHODS["hifi"]())
    with pytest.raises(ValueError, match="modules_to_save"):
        model.add_weighted_adapter(["default", "other"], [1.0, 1.0], "both")


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("c++") or shutil.which("g++")), reason="torch.compile needs a compiler of C++")
@pytest.mark.parametrize("method", METHODS)
def test_a_compiled_model_gives_the_numbers_of_the_plain_one(method):
    torch.compiler.reset()
    model = get_peft_model(model_of(), METHODS[method]()).eval()
    found = []
    for called in (model, torch.compile(model, fullgraph=True)):
        model.zero_grad()
        loss = called(**TOKENS, labels=torch.tensor([0, 1, 0])).loss
        loss.backward()
        found.append([loss.detach(), *(p.grad for p in model.parameters() if p.requires_grad)])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sparse_difference_has_the_gradients_of_a_masked_model(family):
    """As Child-Tuning D masks them."""
    base = model_of(family).eval()
    masks, labels = some_places(base), torch.tensor([0, 1, 0])
    model = get_peft_model(copy.deepcopy(base), SparseConfig(places=masks)).eval()
    for one in (base, model):
        one(**TOKENS, labels=labels).loss.backward()
    own = dict(base.named_parameters())
    checked = 0
    for name, module in model.base_model.model.named_modules():
        for leaf, (places, values) in module.parts("default").items() if hasattr(module, "parts") else ():
            expected = own[f"{name}.{leaf}"].grad
            found = torch.zeros_like(values) if values.grad is None else values.grad
            whole = torch.zeros_like(found) if expected is None else expected.flatten()[places]
            torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-6)
            checked += len(places)
    assert checked == sum(int(mask.sum()) for mask in masks.values())


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (None, "allowed are masks by parameter"),
        ({"bert.nowhere.weight": torch.tensor([1])}, "bert.nowhere.weight: the model has no such weight or bias"),
        ({"classifier.bias": torch.tensor([0, 9])}, "classifier.bias: place 9 of 2 weights"),
    ],
)
def test_places_that_do_not_fit_are_one_line(places, told):
    with pytest.raises(ValueError, match=told):
        get_peft_model(model_of(), SparseConfig(places=places))


def test_two_adapters_of_hifi_add_up():
    model = get_peft_model(model_of(), HiFiConfig(selection=HEADS, init_weights=False))
    first = logits(model)
    model.add_adapter("other", HiFiConfig(selection=[[1], [3]], init_weights=False))
    model.set_adapter("other")
    second = logits(model)
    assert not torch.equal(first, second)
    model.add_weighted_adapter(["default", "other"], [0.5, 2.0], "both")
    model.set_adapter("both")
    weights = dict(model.named_parameters())
    query = "base_model.model.bert.encoder.layer.0.attention.self.query.hifi_rows"
    joined = torch.cat([0.5 * weights[f"{query}.default"], 2.0 * weights[f"{query}.other"]])  # heads 0 and 1
    torch.testing.assert_close(weights[f"{query}.both"].data, joined.data)
    model.set_adapter("default")
    assert torch.equal(logits(model), first)
    with pytest.raises(ValueError, match="allowed is linear"):
        model.add_weighted_adapter(["default", "other"], [1.0, 1.0], "svd", combination_type="svd")


@pytest.mark.parametrize(
    ("selection", "told"),
    [
        (None, "peftlab.select_heads gives them"),
        ([[0]], "selection: 1 layers, the model has 2"),
        ([[0], [9]], "allowed are 0 to 3"),
        ([[], []], "it chooses no head"),
    ],
)
def test_a_selection_that_does_not_fit_is_one_line(selection, told):
    with pytest.raises(ValueError, match=told):
        get_peft_model(model_of(), HiFiConfig(selection=selection))


@pytest.mark.parametrize("method", METHODS)
def test_the_trainer_of_transformers_trains_it(method, tmp_path):
    model = get_peft_model(model_of(), METHODS[method]())
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    tuned = {name: p.clone() for name, p in model.named_parameters() if p.requires_grad}
    rows = [{"input_ids": TOKENS["input_ids"][i], "labels": i % 2} for i in (0, 1, 2, 0)]
    options = TrainingArguments(
        str(tmp_path),
        max_steps=3,
        report_to=[],
        use_cpu=True,
        save_strategy="no",
        learning_rate=1e-2,
        disable_tqdm=True,
    )
    Trainer(model, options, train_dataset=rows).train()
    now = dict(model.named_parameters())
    assert all(torch.equal(now[name], value) for name, value in frozen.items())
    assert not any(torch.equal(now[name], value) for name, value in tuned.items())
