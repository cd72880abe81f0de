# %% [markdown]
# # Heads and their scores
#
# HiFi asks two questions of every attention head before anything is trained: how much information does its output hold,
# and how does it move with the other heads of its layer? A walk over the heads joins the two answers into one rank, and
# only the best are tuned. This notebook looks at the answers: Figures 3-5 and 8-11 of the paper.

# %% tags=["parameters"]
import os

# The real study: "task=mrpc backbone=minilm data.root=GLUE", and "1,2,3".
SMALL = "task=demo backbone=minilm strategy.n=8 strategy.score_after_steps=0 training.batch_size=2"
SETTING = os.environ.get("SETTING", SMALL)
SEEDS = os.environ.get("SEEDS", "1,2")
RUNS = os.environ.get("RUNS", "multirun/notebooks/heads")
TEXT = "PEFT Lab compares ways of tuning a transformer lightly, fairly and with statistics."
XI = 0.9  # the share of the singular values that counts as all of the information (Eq. 2)

# %%
from peftlab.notebook import configured, figures, show, study, train

# %% [markdown]
# ## One text, head by head (Fig. 5)
#
# The output of a head is a matrix of tokens × features. Its singular values say in how many directions it reaches: a
# curve that rises late belongs to a head that holds much.

# %%
import matplotlib.pyplot as plt
import torch

from peftlab.backbones.loading import load_backbone
from peftlab.heads.correlation import head_correlation
from peftlab.heads.outputs import head_outputs
from peftlab.heads.pagerank import pagerank
from peftlab.heads.richness import cumulative_shares, information_richness
from peftlab.plan import make_parts

plan = make_parts(configured(f"+strategy=hifi {SETTING}"))
backbone = load_backbone(plan.spec, plan.kind.output_layer, seed=1)
batch = backbone.processor(TEXT, return_tensors="pt")
outputs: dict[int, torch.Tensor] = {}
with torch.no_grad(), head_outputs(backbone.view, outputs.__setitem__):
    backbone.model.base_model(**batch)

shares = torch.stack([cumulative_shares(outputs[layer], batch["attention_mask"])[0] for layer in sorted(outputs)])
richness = information_richness(shares, XI).long()

# %%
figure, panels = plt.subplots(1, len(shares), figsize=(2.4 * len(shares), 2.6), sharey=True)
for layer, (panel, curves) in enumerate(zip(panels, shares, strict=True), start=1):
    panel.plot(range(1, curves.shape[-1] + 1), curves.T)
    panel.axhline(XI, color="black", linestyle=":", linewidth=1)
    panel.set(title=f"layer {layer}", xlabel="singular values")
panels[0].set_ylabel("share of their sum")
figure.tight_layout()
print("information richness, layers × heads:", *richness.tolist(), sep="\n")

# %% [markdown]
# ## The walk
#
# The heads of a layer are a graph whose edges are their covariances (Eq. 7). PageRank starts from the richness (Eq. 8)
# and needs few steps.

# %%
correlation = torch.stack([head_correlation(outputs[layer], batch["attention_mask"])[0] for layer in sorted(outputs)])
walk = pagerank(correlation, richness.double(), d=0.85)
print("iterations in each layer:", walk.iterations.tolist())
for layer, scores in enumerate(walk.scores, start=1):
    print(f"layer {layer}: heads by rank", [head + 1 for head in scores.argsort(descending=True).tolist()])

# %% [markdown]
# ## Over many examples, in several settings (Fig. 3 and 8-10)
#
# The same scores as means over examples of a task, with another batch size, sequence length or number of examples. A
# run leaves them in its `selection.json`. What had finished before is not run again.

# %%
train(f"experiment=fig3 {SETTING} seed={SEEDS} hydra.sweep.dir={RUNS}/fig3")

# %%
robust = study(f"{RUNS}/fig3")
drawn = figures(robust)
for name in drawn:
    if name.startswith("robustness"):
        show(drawn[name])

# %% [markdown]
# The curves of Fig. 5 as means over those examples.

# %%
show(drawn["spectra"])

# %% [markdown]
# ## The maps, and how heads move together (Fig. 4 and 11)

# %%
show(drawn["heads"])
show(drawn["covariance"])
