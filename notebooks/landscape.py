# %% [markdown]
# # The loss around tuned weights
#
# Figure 7: is the minimum that HiFi finds flatter than that of full fine-tuning? Both are looked at in the same plane:
# filter-normalised directions after Li et al. (2018), one draw, scale, grid and set of examples for both; and in the
# plane of the path that training took.

# %% tags=["parameters"]
import os

# The real study: "backbone=minilm data.root=GLUE" and "--points 11 --examples 128".
SETTING = os.environ.get("SETTING", "task=demo backbone=tiny trainer.max_steps=12")
GRID = os.environ.get("GRID", "--points 5 --examples 16 --directions 2")
RUNS = os.environ.get("RUNS", "multirun/notebooks/landscape")

# %%
from peftlab.notebook import ROOT, figures, python, show, study, train
from peftlab.results.landscapes import FILE_NAME, Landscape

# %% [markdown]
# ## Training, with weights kept on the way

# %%
train(f"experiment=fig7 {SETTING} hydra.sweep.dir={RUNS}")

# %% [markdown]
# ## Losses over both planes
#
# A run is merged first: what is moved is the backbone's own weights, for both strategies alike. An interrupted
# landscape goes on where it was.

# %%
python(f"-m peftlab.landscape {RUNS} --out {RUNS}/landscape {GRID}")

# %%
show(figures(study(RUNS))["landscape"], most=2)

# %% [markdown]
# ## Sharpness as a number
#
# How much the loss rises, on average (± the standard error) and at most, when the weights are moved along random
# directions by a set share of their own length.

# %%
measured = Landscape.read(ROOT / RUNS / "landscape" / FILE_NAME)
print(f"within {measured.settings.sharpness_radius} of the weights' length, in nats:")
for run in measured.runs:
    rise = run.sharpness
    print(f"{run.strategy:10} seed {run.seed}: mean rise {rise.mean:.4f} ± {rise.error:.4f}, highest {rise.worst:.4f}")
