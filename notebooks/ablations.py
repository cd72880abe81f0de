# %% [markdown]
# # What the ranking is worth
#
# HiFi ranks heads before it tunes the best of them. Table 3 takes the ranking apart, down to random heads; Figure 6
# changes how many heads are tuned and how the walk is damped.

# %% tags=["parameters"]
import os

# The real study: "task=mrpc backbone=minilm data.root=GLUE", "1,2,3" and "1,2,3,4,5,6,8,12".
SMALL = "task=demo backbone=tiny strategy.n=20 shots=16 shots.epochs=1 trainer.limit_test_batches=1"
SETTING = os.environ.get("SETTING", SMALL)
SEEDS = os.environ.get("SEEDS", "1,2")
HEADS = os.environ.get("HEADS", "1,4")
RUNS = os.environ.get("RUNS", "multirun/notebooks/ablations")

# %%
import matplotlib.pyplot as plt

from peftlab.heads.pagerank import pagerank
from peftlab.heads.selection import HeadSelection
from peftlab.notebook import figures, show, study, tell, train
from peftlab.report import tables

# %% [markdown]
# ## Table 3: six ways of ranking
#
# `pagerank` is HiFi; `richness` leaves the correlation out, `correlation` the information; the inverse ones tune the
# worst heads; `random` does not look.

# %%
scores = "strategy.score=pagerank,richness,richness-inverse,correlation,pagerank-inverse,random"
train(f"experiment=table3 {scores} {SETTING} seed={SEEDS} hydra.sweep.dir={RUNS}/table3")

# %%
ablation = study(f"{RUNS}/table3")
tell(ablation, tables.ablation(ablation))

# %% [markdown]
# Whether a difference stands is a question of how many seeds there are: with n pairs the exact test cannot fall below
# 2/2ⁿ. The points say how far seeds lie apart, which is the scale to read the means on.

# %%
show(figures(ablation)["scores"])

# %% [markdown]
# ## Figure 6, left: how many heads

# %%
train(f"experiment=fig6 {SETTING} strategy.k={HEADS} seed={SEEDS} hydra.sweep.dir={RUNS}/fig6")

# %%
show(figures(study(f"{RUNS}/fig6"))["options"])

# %% [markdown]
# ## Figure 6, right: how far the walk is damped
#
# The smaller `d`, the sooner PageRank has converged. The scores of the heads are in a run's folder, so the walk can be
# taken again without any training; `experiment=fig6-d` does the same with runs.

# %%
run = ablation.cells[0].runs[0]
scores = HeadSelection.load(run.folder).scores
dampings = [0.1 * step for step in range(1, 10)]
walks = [pagerank(scores.correlation, scores.richness, d=d, teleport="richness") for d in dampings]
iterations = [walk.iterations.double().mean().item() for walk in walks]

# %%
figure, panel = plt.subplots(figsize=(5, 3))
panel.plot(dampings, iterations, marker="o")
panel.set(xlabel="damping factor d", ylabel="iterations, mean over layers")
print(f"iterations from d = {dampings[0]:.1f} to {dampings[-1]:.1f}: {iterations[0]:.1f} to {iterations[-1]:.1f}")
