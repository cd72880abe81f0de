"""Tokenizers and models that do not belong together are told at loading; weights in several files load."""

from pathlib import Path

import pytest
import torch

from models import SIZES, output_layer, write_backbone
from peftlab.backbones.architecture import architecture
from peftlab.backbones.loading import Backbone, load_backbone
from peftlab.backbones.spec import BackboneSpec
from peftlab.backbones.tiny import character_tokenizer, random_model
from peftlab.errors import UserError

FIELD = "field/backbones"


def load(folder: Path) -> Backbone:
    return load_backbone(BackboneSpec(None, path=str(folder)), output_layer(["no", "yes"]), seed=1)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("bert-added-tokens", "token ids go up to .*, the model has embeddings for 141"),
        ("roberta-tv1", "a pair of texts has 2 token types, the model has 1"),
    ],
)
def test_what_does_not_fit_is_told_at_loading(name: str, told: str, shared: Path) -> None:
    with pytest.raises(UserError, match=told):
        load(shared / FIELD / name)


@pytest.mark.parametrize("kind", ["deberta", "deberta-v2"])
def test_token_types_that_a_published_deberta_leaves_out_are_no_misfit(kind: str, tmp_path: Path) -> None:
    options = {"model_type": kind, **SIZES, **architecture(kind).small, "type_vocab_size": 0}
    tokenizer = character_tokenizer()
    random_model(options, tokenizer, None, output_layer(["no", "yes"])).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load(tmp_path).model
    pair = tokenizer("a bird sang", "a dog slept", return_tensors="pt")
    assert set(pair["token_type_ids"][0].tolist()) == {0, 1}
    with torch.no_grad():
        given, left_out = (model(**{k: v for k, v in pair.items() if k != name}) for name in ("", "token_type_ids"))
    assert torch.equal(given.logits, left_out.logits)


def test_pads_and_positions_are_the_models(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the tokenizer pads with 0, the model with 3"):
        load(write_backbone(tmp_path / "pads", pad_token_id=3))
    with pytest.raises(UserError, match="takes 5 positions at least, the model has 4"):
        load(write_backbone(tmp_path / "short", max_position_embeddings=4))


def test_weights_in_several_files_load(shared: Path, tmp_path: Path) -> None:
    load(shared / FIELD / "bert-sharded")
    for file in (shared / FIELD / "bert-sharded").iterdir():
        if "00003" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(UserError, match="has no model-00003-of-00007"):
        load(tmp_path)
