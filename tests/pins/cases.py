"""The runs whose numbers are pinned: every strategy and its main options, on small models, for a few steps each."""

from dataclasses import dataclass
from itertools import product

# Options as a command line gives them; each is a case on every backbone.
STRATEGIES = {
    "adapter": [
        "",
        "strategy.placement=pfeiffer strategy.nonlinearity=relu",
        "strategy.placement=parallel strategy.init=identity strategy.scale=4.0",
        "strategy.init=near-identity strategy.layer_norms=true",
    ],
    "adapterbias": ["", "strategy.share=true"],
    "adapterdrop": ["", "strategy.drop=1 strategy.robust=false strategy.placement=houlsby"],
    "bitfit": [""],
    "child-tuning": ["", "strategy.strict=true strategy.n=8", "strategy.variant=F strategy.p=0.5"],
    "classifier": [""],
    "compacter": ["strategy.n=2 strategy.bottleneck=8", "strategy.n=2 strategy.plus=true strategy.bottleneck=8"],
    "diff-pruning": ["", "strategy.structured=false strategy.target=0.05 strategy.finetune_rate=null"],
    "full": [""],
    "hifi": [
        "strategy.n=12",
        "strategy.n=12 strategy.k=1 strategy.bias=true strategy.teleport=uniform",
        "strategy.n=12 strategy.variant=mid-top strategy.score=richness",
        "strategy.n=12 strategy.score_after_steps=2 strategy.batch_size=4",
    ],
    "ia3": [""],
    "lora": ["", "strategy.target=qk strategy.r=2 strategy.dropout=0.1", "strategy.init=gaussian strategy.target=qkv"],
    "mam": ["", "strategy.mlp=null strategy.length=3 strategy.bottleneck=4"],
    "peft": [
        "strategy.method=dora strategy.options.r=4",
        "strategy.method=ln_tuning",
        "strategy.method=adalora strategy.options.init_r=4 strategy.options.target_r=2 strategy.options.total_step=6 "
        "strategy.options.tinit=1 strategy.options.tfinal=1 strategy.options.deltaT=1",
        "strategy.method=vera strategy.options.r=4",
    ],
    "prefix": ["", "strategy.mlp=null strategy.length=5 strategy.shift=true strategy.dropout=0.1"],
    "prompt": ["", "strategy.place=first strategy.init=uniform strategy.length=3"],
    "tiny-attention": ["", "strategy.experts=2 strategy.size=4 strategy.heads=2 strategy.backbone_dropout=true"],
}
SIX_STEPS = "task=rte trainer=cpu trainer.max_steps=6 trainer.max_epochs=2 data.max_length=48 training.batch_size=10"
EXTRAS = [
    *(("stsb", name, "task=stsb") for name in ("hifi", "full", "lora", "child-tuning", "diff-pruning")),
    *(("few-shot", name, "shots=16 shots.per_class=4") for name in ("hifi", "adapter", "tiny-attention", "prompt")),
    ("three labels", "bitfit", "task=mnli"),
    ("held out", "lora", "data.holdout=0.25"),
    ("accumulated", "child-tuning", "trainer.accumulate_grad_batches=2"),
    ("ungrouped", "full", "data.length_grouped=false"),
    ("eager", "prefix", "backbone.attention=eager"),
]
MINILM = {"hifi": "strategy.n=12", "lora": "", "full": "", "bitfit": "", "adapter": ""}


@dataclass(frozen=True)
class Case:
    """One run: its name in the table, its strategy and its options."""

    name: str
    strategy: str
    overrides: str


def cases() -> list[Case]:
    """Return all cases, in the order of the table."""
    found = []
    for backbone, (strategy, options) in product(("tiny", "tiny-roberta"), STRATEGIES.items()):
        for option in options:
            name = f"{backbone} {strategy} {option.replace('strategy.', '')}".strip()
            found.append(Case(name, strategy, f"{SIX_STEPS} backbone={backbone} {option}"))
    for name, strategy, option in EXTRAS:
        scored = "strategy.n=12" if strategy == "hifi" else ""
        found.append(Case(f"{name} {strategy}", strategy, f"{SIX_STEPS} backbone=tiny {option} {scored}"))
    for strategy, option in MINILM.items():
        few = "trainer.max_steps=3 data.max_length=32"
        found.append(Case(f"minilm {strategy}", strategy, f"{SIX_STEPS} backbone=minilm {few} {option}"))
    return found
