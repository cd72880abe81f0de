"""`python two_ranks.py FOLDER [STRATEGY [SPREAD]]`: fit on two CPU processes; each writes what it saw into FOLDER.

The strategy is HiFi, whose looks are counted, or Diff-Pruning in its two phases; SPREAD is one of SPREADS. Not a test
itself.
"""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from fitting import fit
from torch.distributed.tensor import DTensor

from peftlab.strategies.diff_pruning import DiffPruning
from peftlab.strategies.hifi import HiFi

LEAN: dict[str, Any] = {"precision": "bf16-mixed", "accumulate_grad_batches": 2, "gradient_checkpointing": True}
# What a fit is given besides the Trainer's strategy, which is the first word.
SPREADS: dict[str, dict[str, Any]] = {"ddp": {}, "fsdp": {}, "fsdp lean": LEAN}
SIZES = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


class Counted(HiFi):
    looks = 0

    def select(self, context):
        self.looks += 1
        return super().select(context)


STRATEGIES = {"hifi": Counted(k=1, n=5), "diff-pruning": DiffPruning(target=0.01)}


def main(folder: Path, name: str = "hifi", spread: str = "ddp") -> None:
    strategy = STRATEGIES[name]
    options = {"sizes": SIZES, "spread": spread.split()[0], **SPREADS[spread]}
    fitted = fit(folder / "data", strategy, devices=2, **options)
    digest = hashlib.sha256()
    for value in fitted.weights().values():
        digest.update(value.numpy().tobytes())
    frozen = [p for p in fitted.module.parameters() if not p.requires_grad]
    held = sum(p.to_local().numel() if isinstance(p, DTensor) else p.numel() for p in frozen)
    seen = {
        "looks": getattr(strategy, "looks", None),
        "heads": fitted.attach.selection.facts()["heads"] if fitted.attach.selection else None,
        "phase": fitted.module.phases.current,
        "tuned": fitted.module.attached.num_tuned(),
        "weights": digest.hexdigest(),
        "held": held / sum(p.numel() for p in frozen),
        "classifier": fitted.module.model.classifier.weight.tolist(),
        "steps": fitted.trainer.global_step,
        "examples": fitted.module.examples_seen,
        "tokens": fitted.module.tokens_seen,
        "results": fitted.module.results,
        "evaluated": len(fitted.module.predictions["validation"].gold),
    }
    (folder / f"rank{fitted.trainer.global_rank}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
