"""`python two_parts.py RANK PORT FOLDER`: one of two processes that share out small models; not a test itself.

Every strategy trains on BERT, and HiFi on some types, once whole and once shared out. FOLDER gets, by strategy and
type, how far the logits are apart, and which share of the frozen ones this process held; or why not.
"""

import json
import os
import sys
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor

from peftlab.check.promise import DoesNotApplyError
from peftlab.check.small import Trial, batch, logits, train
from peftlab.errors import UserError
from peftlab.strategies.registry import create_strategy, strategy_names
from peftlab.training.arguments import check_sharding
from peftlab.training.settings import TrainingSettings
from peftlab.training.sharding import share_out

OPTIONS = {"hifi": {"n": 4, "k": 2, "rows": ["q", "k", "v", "o"], "bias": False}, "child-tuning": {"n": 4}}
# Layers that serve several depths, fused matrices, columns, shared keys, a frozen decoder, images.
TYPES = ["albert", "deberta", "gpt2", "gemma3_text", "t5", "vit"]
SETTINGS = TrainingSettings(1e-2, 4, 1, 0.01, 0.1)


def compared(name: str, kind: str) -> dict[str, float | str]:
    """Return how far training in parts is from training whole."""
    try:
        strategy = create_strategy(name, OPTIONS.get(name, {}))
        trial = Trial(strategy, kind)
        check_sharding({"strategy": "fsdp"}, name, strategy.traits, SETTINGS)
        whole, parts = trial.attach(trial.backbone()), trial.attach(trial.backbone())
        share_out(parts, torch.device("cpu"))
    except (UserError, DoesNotApplyError) as reason:
        return {"refused": str(reason)}
    for attached in (whole, parts):
        train(attached, 2)
    inputs = batch(whole.backbone)
    apart = float((logits(whole.backbone, inputs) - logits(parts.backbone, inputs)).abs().max())
    frozen = [p for p in parts.model.parameters() if not p.requires_grad]
    held = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in frozen)
    return {"apart": apart, "held": held / sum(p.numel() for p in frozen)}


def main(rank: int, port: int, folder: Path) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    pairs = {(name, "bert") for name in strategy_names()} | {("hifi", kind) for kind in TYPES}
    found = {f"{name} {kind}": compared(name, kind) for name, kind in sorted(pairs)}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
