"""Takes steps with the adapters library, in its own environment: one line in, one line of seconds out.

Reads JSON lines: `{"shape": {...}, "size": 16, "length": 128, "config": "double_seq_bn"}` makes a model, `"step"` takes
one training step with it. Imports nothing of ours, whose dependencies ask for a later transformers.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import adapters  # type: ignore[import-not-found]
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertForSequenceClassification


def main() -> None:
    """Answer every line of the standard input."""
    once: Callable[[], None] | None = None
    for line in sys.stdin:
        asked = json.loads(line)
        started = time.perf_counter()
        if asked == "step":
            assert once is not None
            once()
        else:
            once = make(**asked)
        print(time.perf_counter() - started, flush=True)


def make(shape: dict[str, int], size: int, length: int, config: str) -> Callable[[], None]:
    """Return a training step of a BERT with one adapter of the library."""
    torch.manual_seed(1)
    model: Any = BertForSequenceClassification(BertConfig(**shape, num_labels=2))
    adapters.init(model)
    model.add_adapter("bench", config=config)
    model.train_adapter("bench")
    model.classifier.requires_grad_(True)
    model.train()
    tuned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(tuned, lr=1e-4, weight_decay=0.01, fused=True)
    ids, labels = torch.randint(5, shape["vocab_size"], (size, length)), torch.randint(0, 2, (size,))
    mask = torch.ones_like(ids)

    def once() -> None:
        F.cross_entropy(model(input_ids=ids, attention_mask=mask).logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(tuned, 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return once


if __name__ == "__main__":
    main()
