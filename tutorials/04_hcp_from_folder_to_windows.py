# %% [markdown]
# # The HCP: from a folder to windows
#
# What `neurosal run --hcp` does before any network is trained: look at the folder, find the runs,
# choose conditions, leave out frames in which the head moved, average over regions, cut windows.
# At the end a plain classifier tells from a window which task the subject was doing. So that the
# script runs anywhere, the folder is simulated; with your own download, set `root` to the folder
# that holds the subjects.

# %%
from pathlib import Path

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import neurosal
from neurosal.loaders import framewise_displacement, hcp_conditions, scrub_mask

out = Path("tutorial-04")

# %%
atlas = neurosal.load_atlas("dosenbach160")
root = neurosal.simulate_hcp(
    out / "hcp",
    labels=atlas.labels,
    regions=atlas.regions,
    task=["EMOTION", "SOCIAL"],
    n_subjects=4,
    voxel_size=6.0,
    effect_size=1.5,
    seed=4,
)

# %% [markdown]
# ## Look first
#
# `inspect_study` reads headers, events and confounds, no voxels, and lists what is missing or
# broken. In the shell: `neurosal inspect ROOT`.

# %%
study = neurosal.inspect_study(root)
print(study)

# %% [markdown]
# ## The runs
#
# A run knows its image, its events, its repetition time and its motion. Every file in `EVs` becomes
# an event type. If a subject lacks a run, a warning says so; `kind="cifti"` takes the grayordinates
# instead of the volumes.

# %%
runs = neurosal.find_hcp_runs(root, task="all")
print(len(runs), "runs;", runs[0].label, "repeats every", runs[0].t_r, "s")
print(runs[0].events.head(4))
print(list(runs[0].confounds.columns[:6]), "and", runs[0].confounds.shape[1] - 6, "more")

# %% [markdown]
# ## Conditions
#
# The EVs of the HCP hold cues, single trials and errors beside the blocks. `hcp_conditions` names
# the blocks, each by its own name. Your own dictionary may rename or pool them; in the social task,
# triangles move either as people do or at random.

# %%
conditions = hcp_conditions(["EMOTION", "SOCIAL"])
print(conditions)
films = {"people": ["mental"], "random": ["rnd"]}

# %% [markdown]
# ## Frames to leave out
#
# The HCP measures how far the head moved since the frame before (`Movement_RelativeRMS.txt`, mm).
# Frames above a threshold take no part in cleaning and are bridged by a straight line; windows with
# too many of them are dropped.

# %%
limit = 0.15
moved = framewise_displacement(runs[0])
print(f"{moved.name}: median {moved.median():.2f} mm, largest {moved.max():.2f} mm")
lost = pd.Series({run.label: 1 - scrub_mask(run, limit).mean() for run in runs})
print(lost.round(3).to_string())

# %% [markdown]
# ## Windows of one task
#
# `extract_windows` averages each run over the regions, removes slow drifts and motion, z-scores,
# and cuts a window for each block, 5 s after its onset because the blood is late.

# %%
social = neurosal.extract_windows(
    [run for run in runs if run.task == "SOCIAL"],
    atlas,
    conditions=films,
    window=12.0,
    high_pass=0.008,
    confounds="motion",
    scrub_mm=limit,
    cache=out / "cache",
)
print(dict(social.sizes), social["condition"].to_series().value_counts().to_dict())

# %% [markdown]
# ## Windows of both tasks, labelled by task
#
# With `label="task"` every block is labelled by the task it belongs to, and measured from the run's
# rest: the mean of the frames that no event reaches is 0. A run is of one task, so that z-scoring
# alone would take away what the task does throughout, and the blocks of different tasks would look
# much alike. Runs with less than 10 s of rest (LANGUAGE has none) stay as they are, with a warning.
#
# The runs of the social task are read from the cache this time: it holds a small file for each run,
# and a run is averaged again only if its image or the atlas has changed.

# %%
windows = neurosal.extract_windows(
    runs,
    atlas,
    conditions=conditions,
    window=12.0,
    label="task",
    high_pass=0.008,
    confounds="motion",
    scrub_mm=limit,
    cache=out / "cache",
)
print(len(list((out / "cache").iterdir())), "runs in the cache")
names = {"rownames": ["subject"], "colnames": ["task"]}
print(pd.crosstab(windows["subject"].values, windows["condition"].values, **names))
print(len(windows.attrs["dropped"]), "windows dropped; the first:", windows.attrs["dropped"][0])

# %% [markdown]
# ## Which task was it?
#
# Whole subjects are held out. The mean of each region over the window is enough for a first look;
# `neurosal.SaliencyDecoder(atlas, extraction={"label": "task"})` is the way to a map, and in the
# shell `neurosal run --hcp ROOT --task EMOTION SOCIAL`, or `--task all`.

# %%
features = windows.mean("time").to_numpy()
tasks, subjects = windows["condition"].values, windows["subject"].values
scores = cross_val_score(
    make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced")),
    features,
    tasks,
    groups=subjects,
    cv=LeaveOneGroupOut(),
    scoring="balanced_accuracy",
)
print("balanced accuracy in each held-out subject:", scores.round(2), "chance: 0.50")
