"""The character tokenizer reads any English text without files."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import tiny

from peftlab.backbones.tiny import character_tokenizer

TOKENIZER = character_tokenizer()
UNKNOWN = TOKENIZER.unk_token_id


# Without the bracket that could begin a special token, such as [MASK]; it is read below.
@given(st.text(alphabet=string.printable.replace("[", ""), max_size=60))
def test_any_ascii_text_is_read_in_known_pieces(text):
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    assert UNKNOWN not in ids
    pieces = "".join(piece.removeprefix("##") for piece in TOKENIZER.convert_ids_to_tokens(ids))
    assert pieces == "".join(text.lower().split())


@given(st.text(alphabet=string.ascii_letters + string.digits, min_size=1, max_size=20))
def test_a_word_comes_back_in_lower_case(word):
    ids = TOKENIZER(word, add_special_tokens=False).input_ids
    assert len(ids) == len(word)
    assert TOKENIZER.decode(ids) == word.lower()


def test_a_bracket_is_a_piece_unless_it_begins_a_special_token():
    pieces = TOKENIZER.convert_ids_to_tokens(TOKENIZER("[a] [MASK]", add_special_tokens=False).input_ids)
    assert pieces == ["[", "a", "]", "[MASK]"]


def test_accents_are_dropped_and_other_scripts_are_unknown():
    assert TOKENIZER("café").input_ids == TOKENIZER("cafe").input_ids
    assert UNKNOWN in TOKENIZER("雀").input_ids


@pytest.mark.parametrize(
    ("texts", "tokens", "types"),
    [
        (("ab",), "[CLS] a ##b [SEP]", [0, 0, 0, 0]),
        (("ab", "c"), "[CLS] a ##b [SEP] c [SEP]", [0, 0, 0, 0, 1, 1]),
        (("", "c"), "[CLS] [SEP] c [SEP]", [0, 0, 1, 1]),
    ],
)
def test_the_sentences_of_a_pair_are_told_apart(texts, tokens, types):
    encoded = TOKENIZER(*texts)
    assert TOKENIZER.convert_ids_to_tokens(encoded.input_ids) == tokens.split()
    assert encoded.token_type_ids == types


def test_a_batch_is_padded_and_the_padding_masked():
    encoded = TOKENIZER(["a", "abc"], padding=True)
    assert encoded.attention_mask == [[1, 1, 1, 0, 0], [1] * 5]
    assert encoded.input_ids[0][-2:] == [TOKENIZER.pad_token_id] * 2


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_tiny_models_read_what_the_tokenizer_gives(kind):
    backbone = tiny(kind)
    encoded = backbone.processor(["a bird sang", "no"], ["it sang", "~"], padding=True, return_tensors="pt")
    assert backbone.model(**encoded).logits.shape == (2, 2)
    assert backbone.model.config.vocab_size == len(backbone.processor)
