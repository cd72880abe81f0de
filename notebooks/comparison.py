# %% [markdown]
# # The comparison
#
# Table 2 of the paper: every strategy on the same data with the same seeds, a classifier that is trained alike, and
# rates that were searched with the same effort. Here for a few strategies; name more, and nothing that has finished is
# run again.

# %% tags=["parameters"]
import os

# The real study: "task=mrpc,rte,cola backbone=minilm data.root=GLUE shots=16", all strategies, and "1,2,3,4,5".
SETTING = os.environ.get("SETTING", "task=demo backbone=tiny shots=16 shots.epochs=2 trainer.limit_test_batches=1")
STRATEGIES = os.environ.get("STRATEGIES", "hifi,bitfit,full,classifier")
SEEDS = os.environ.get("SEEDS", "1,2")
RUNS = os.environ.get("RUNS", "multirun/notebooks/comparison")

# %%
from peftlab.notebook import figures, show, study, tell, train
from peftlab.report import tables

# %%
train(f"+strategy={STRATEGIES} {SETTING} -m seed={SEEDS} hydra.sweep.dir={RUNS}")

# %% [markdown]
# ## Table 2
#
# Few-shot runs are scored on the original validation set, which chose nothing. Below the table: what can be concluded,
# after an exact paired test over seeds and Holm's correction.

# %%
comparison = study(RUNS)
tell(comparison, tables.performance(comparison))

# %% [markdown]
# ## Every seed, and who beats whom

# %%
drawn = figures(comparison)
show(drawn["scores"])
show(drawn["duels"])

# %% [markdown]
# ## What quality costs
#
# A method is worth its price where nothing cheaper is as good: the Pareto front.

# %%
show(drawn["pareto"])

# %% [markdown]
# ## While they train

# %%
show(drawn["learning"])
