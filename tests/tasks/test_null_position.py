"""Where a sequence says that it holds no answer: where its model has read all of it."""

import pytest
import torch

from peftlab.inputs.text import collate
from peftlab.tasks.spans import null_positions

CLS = 101


@pytest.mark.parametrize(
    ("side", "cls", "expected"),
    [
        ("right", CLS, [0, 0]),
        ("left", CLS, [0, 2]),
        # A decoder's tokenizer has none: its last token alone has seen the text.
        ("right", None, [4, 2]),
        ("left", None, [4, 4]),
    ],
)
def test_no_answer_is_said_at_cls_or_else_at_the_last_real_token(side, cls, expected):
    texts = [[CLS, 7, 8, 9, 7], [CLS, 8, 9]]
    examples = [{"input_ids": torch.tensor(ids), "index": torch.tensor(place)} for place, ids in enumerate(texts)]
    batch = collate(examples, 0, side)
    assert null_positions(batch, cls).tolist() == expected
