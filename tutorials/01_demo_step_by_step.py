# %% [markdown]
# # The demo, step by step
#
# `neurosal demo` does in one command what this script does in ten lines of Python each: it writes
# a small study whose truth is known, decodes which movement was made, asks the decoder where and
# when it looked, and compares the answer with the truth.

# %%
import json
from pathlib import Path

import numpy as np

import neurosal
from neurosal.loaders import load_truth, truth_mask
from neurosal.reporting import figures
from neurosal.validation import truth_recovery

out = Path("tutorial-01")

# %% [markdown]
# ## A study
#
# Five subjects perform the HCP motor task in two runs: blocks of 12 s in which they move the left
# or right hand, a foot, or the tongue, each after a cue of 3 s. The atlas is 160 spheres around the
# coordinates of Dosenbach et al. (2010); each movement raises the signal of the regions that are
# known to respond to it. A real study in this layout would be read in exactly the same way.

# %%
atlas = neurosal.load_atlas("dosenbach160")
root = neurosal.simulate_hcp(
    out / "study",
    labels=atlas.labels,
    regions=atlas.regions,
    atlas_name=atlas.name,
    atlas_hash=atlas.hash,
    task="MOTOR",
    n_subjects=5,
    voxel_size=5.0,
    seed=0,
)
runs = neurosal.find_hcp_runs(root, task="MOTOR")
print(len(runs), "runs; the first is", runs[0].label)
print(runs[0].events.head())

# %% [markdown]
# ## Decode and explain
#
# One estimator does the rest. Whole subjects are held out; each window is explained by the
# classifier that never saw its subject.

# %%
movements = {name: [name] for name in ("lf", "rf", "lh", "rh", "t")}
decoder = neurosal.SaliencyDecoder(
    atlas, conditions=movements, window=12.0, lag=5.0, cv="subject", random_state=0
)
decoder.fit(runs)
print("accuracy in each fold:", np.round(decoder.cv_scores_, 2), "chance: 0.20")
print("logistic regression:  ", np.round(decoder.baseline_scores_, 2))

# %% [markdown]
# ## The map
#
# `saliency_` is a labelled array: a value for every window, time point (seconds from the event's
# onset) and region. Because it is labelled, questions are short.

# %%
print(decoder.saliency_.sizes)
right_hand = decoder.mean_saliency_.sel(condition="rh")
print(right_hand.mean("time").to_series().nlargest(5))
figures.plot_top_regions(decoder.mean_saliency_.mean("time")).savefig(out / "top-regions.png")

# %% [markdown]
# ## Is it true?
#
# The study is simulated, so the cells (time point and region) that tell a movement from the others
# are known. AUPR is the average precision of the map against them; a map of random numbers has the
# value printed beside it.

# %%
truth = truth_mask(
    load_truth(root), conditions=movements, time_s=decoder.windows_["time"].to_numpy()
)
truth = truth.sel(condition=decoder.classes_)
print(json.dumps(truth_recovery(decoder.mean_saliency_, truth), indent=2))

# %% [markdown]
# ## Images and the report
#
# `saliency_img_` holds a 4D image for each condition, as nilearn's `Decoder.coef_img_` does, and
# `generate_report` writes everything: one HTML page, tables, NIfTI files and figures.

# %%
print(decoder.saliency_img_["rh"].shape, decoder.saliency_img_["rh"].header.get_zooms())
print("report:", decoder.generate_report(out / "results", truth=truth))
