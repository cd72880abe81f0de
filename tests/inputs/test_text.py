import pytest
import torch
from torch import Tensor

from data.tokenizers_for_tests import small_tokenizer
from peftlab.errors import UserError
from peftlab.inputs.encoder import to_device
from peftlab.inputs.text import TextEncoder, collate


def example(ids: list[int], label: float, index: int, *, types: bool = True) -> dict[str, Tensor]:
    made = {"input_ids": torch.tensor(ids), "labels": torch.tensor(label), "index": torch.tensor(index)}
    return made | ({"token_type_ids": torch.ones(len(ids), dtype=torch.long)} if types else {})


def test_a_batch_is_padded_to_its_longest_example():
    batch = collate([example([5, 6, 7], 1, 8), example([9], 0, 2)], pad_token_id=4)
    assert {name: value.tolist() for name, value in batch.items()} == {
        "input_ids": [[5, 6, 7], [9, 4, 4]],
        "attention_mask": [[1, 1, 1], [1, 0, 0]],
        "token_type_ids": [[1, 1, 1], [1, 0, 0]],
        "labels": [1, 0],
        "index": [8, 2],
    }
    assert all(value.dtype == torch.int64 for value in batch.values())


def test_a_token_that_equals_the_pad_is_still_attended():
    assert collate([example([4, 4], 0, 0)], pad_token_id=4)["attention_mask"].tolist() == [[1, 1]]


def test_scores_stay_scores_and_missing_token_types_stay_missing():
    batch = collate([example([5], 2.5, 0, types=False)], pad_token_id=1)
    assert (batch["labels"].dtype, "token_type_ids" in batch) == (torch.float32, False)


def test_pads_may_stand_on_the_left():
    batch = collate([example([5, 6, 7], 1, 8), example([9], 0, 2)], pad_token_id=4, side="left")
    assert batch["input_ids"].tolist() == [[5, 6, 7], [4, 4, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [0, 0, 1]]
    assert batch["token_type_ids"].tolist() == [[1, 1, 1], [0, 0, 1]]


def test_an_encoder_pads_with_its_tokenizers_pad():
    tokenizer = small_tokenizer()
    batch = TextEncoder(tokenizer).collate([example([5, 6], 1, 0), example([7], 0, 1)])
    assert batch["input_ids"].tolist() == [[5, 6], [7, tokenizer.pad_token_id]]


def test_an_encoder_is_known_by_its_tokenizer_and_length():
    first, again, shorter = (TextEncoder(small_tokenizer(), length).fingerprint() for length in (64, 64, 32))
    assert first == again != shorter
    assert TextEncoder(small_tokenizer(types=False), 64).fingerprint() != first


@pytest.mark.parametrize("length", [4, 513])
def test_a_length_that_the_tokenizer_does_not_allow_is_refused(length: int):
    with pytest.raises(UserError, match=f"data.max_length={length}: this tokenizer allows 5 to 512 tokens"):
        TextEncoder(small_tokenizer(), length)


def test_what_is_no_tensor_stays_as_it_is_on_every_device():
    batch = to_device({"input_ids": torch.ones(1), "texts": ["a"]}, torch.device("meta"))
    assert (batch["input_ids"].device.type, batch["texts"]) == ("meta", ["a"])
