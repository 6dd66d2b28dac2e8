# %% [markdown]
# # fMRIPrep's derivatives, with confounds
#
# fMRIPrep leaves a preprocessed image and hundreds of confounds for each run. Which of them to
# regress out, and which frames to leave out, is a choice; this script makes it four times and looks
# at what is left. So that it runs anywhere, it first writes a small study as fMRIPrep would; with
# your own data, begin at "Find the runs".

# %%
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn.glm.first_level.design_matrix import create_cosine_drift
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score

import neurosal
from neurosal.loaders import clean_series, framewise_displacement, load_strategy
from neurosal.models.folds import baseline_classifier

out = Path("tutorial-05")

# %% [markdown]
# ## A study as fMRIPrep leaves it
#
# Events stay in the raw data set. Images and confounds are in `derivatives/fmriprep`: motion
# parameters and the means of ventricles and white matter, with their derivatives and squares, slow
# cosines, and how far the head moved. In two runs the head jerks, and the signal with it.

# %%
atlas = neurosal.load_atlas("dosenbach160")
source = neurosal.simulate_hcp(
    out / "source",
    labels=atlas.labels,
    regions=atlas.regions,
    n_subjects=4,
    voxel_size=6.0,
    effect_size=2.0,
    seed=2,
)
bids, space = out / "bids", "MNI152NLin6Asym"
fmriprep = bids / "derivatives" / "fmriprep"


# %%
def fmriprep_confounds(run, data, jerks):
    """Make the table that fMRIPrep writes beside an image."""
    labels = np.asarray(atlas.resample_to(nib.load(run.img)).dataobj)
    rest = data[(data.mean(axis=3) > 0) & (labels == 0)]
    table = run.confounds.filter(regex="^(trans|rot)_[xyz]$").copy()
    table[["rot_x", "rot_y", "rot_z"]] = np.deg2rad(table[["rot_x", "rot_y", "rot_z"]])
    table.loc[jerks, "trans_z"] += 1.5
    still = replace(run, confounds=table, rotations="radians")
    moved = framewise_displacement(still)
    table["csf"], table["white_matter"] = rest[::2].mean(axis=0), rest[1::2].mean(axis=0)
    for name in list(table):
        table[f"{name}_derivative1"] = table[name].diff()
    for name in list(table):
        table[f"{name}_power2"] = table[name] ** 2
    frame_times = run.t_r * np.arange(len(table))
    for number, cosine in enumerate(create_cosine_drift(1 / 128, frame_times)[:, :-1].T):
        table[f"cosine{number:02d}"] = cosine
    table["framewise_displacement"] = moved.where(moved.index > 0)
    table["std_dvars"] = 1.0
    return table


# %%
for number, run in enumerate(neurosal.find_hcp_runs(source, task="MOTOR")):
    subject = f"sub-{number // 2 + 1:02d}"
    stem = f"{subject}_task-motor_run-{number % 2 + 1}"
    for folder in (bids / subject / "func", fmriprep / subject / "func"):
        folder.mkdir(parents=True, exist_ok=True)
    run.events.to_csv(bids / subject / "func" / f"{stem}_events.tsv", sep="\t", index=False)
    preprocessed = fmriprep / subject / "func" / stem
    image = nib.load(run.img)
    data = image.get_fdata(dtype=np.float32)
    jerks = list(range(60, 74, 2)) if number in (1, 4) else []
    data[..., jerks] *= 1.05
    image = nib.Nifti1Image(data, image.affine, image.header)
    nib.save(image, f"{preprocessed}_space-{space}_desc-preproc_bold.nii.gz")
    table = fmriprep_confounds(run, data, jerks)
    confounds = f"{preprocessed}_desc-confounds_timeseries"
    table.to_csv(f"{confounds}.tsv", sep="\t", index=False, na_rep="n/a")
    Path(f"{confounds}.json").write_text(json.dumps({"csf": {"Method": "Mean"}}))
for folder in (bids, fmriprep):
    description = {"Name": "Movements", "BIDSVersion": "1.9.0"}
    (folder / "dataset_description.json").write_text(json.dumps(description))
(bids / "task-motor_bold.json").write_text('{"TaskName": "motor", "RepetitionTime": 0.72}')

# %% [markdown]
# ## Find the runs
#
# Give the raw data set, the folder of derivatives, and the space. `inspect_study` says which spaces
# there are and what is missing.

# %%
print(neurosal.inspect_study(bids, derivatives="derivatives/fmriprep"))
runs = neurosal.find_bids_runs(
    bids, task="motor", derivatives="derivatives/fmriprep", space="MNI152NLin6Asym"
)
print(runs[1].label, "has", runs[1].confounds.shape[1], "confounds")

# %% [markdown]
# ## Strategies
#
# `load_strategy` names what goes: `"motion"` takes the motion parameters, for any data. `"simple"`,
# `"scrubbing"`, `"compcor"` and `"ica_aroma"` are fMRIPrep's, through nilearn. They bring slow
# cosines along, so that no `high_pass` is needed beside them. `"scrubbing"` also leaves out the
# frames at which the head moved, and short stretches between them.

# %%
for strategy in (None, "motion", "simple", "scrubbing"):
    confounds, kept = load_strategy(runs[1], strategy)
    columns = 0 if confounds is None else confounds.shape[1]
    frames = "all" if kept is None else f"{kept.sum()} of {len(kept)}"
    print(f"{strategy}: {columns} columns, {frames} frames kept")

# %% [markdown]
# ## Sample masks
#
# Frames that are left out take no part in cleaning. Afterwards they are bridged by straight lines,
# so that time stays even, and marked. `scrub_mm` leaves out further frames by a threshold of yours,
# with any strategy.

# %%
confounds, kept = load_strategy(runs[1], "simple", scrub_mm=0.5)
print("frames left out:", np.flatnonzero(~kept))
series = neurosal.extract_regions(runs[1], atlas)
clean = clean_series(series, confounds, t_r=runs[1].t_r, sample_mask=kept)
print("marked:", int(clean["scrubbed"].sum()), "of", clean.sizes["time"])

# %% [markdown]
# ## Windows
#
# A window with more than 0.3 of its frames bridged is dropped, and told. The same strategy serves
# all runs. Compare a few by what they lose and what can still be decoded; a difference that is no
# larger than the standard error is none. Choose before you look at the maps, and say in your paper
# what you chose.

# %%
movements = {name: [name] for name in ("lf", "rf", "lh", "rh", "t")}
rows = []
for strategy in (None, "motion", "simple", "scrubbing"):
    windows = neurosal.extract_windows(
        runs,
        atlas,
        conditions=movements,
        window=12.0,
        confounds=strategy,
        scrub_mm=0.5 if strategy == "simple" else None,
        cache=out / "cache",
    )
    scores = cross_val_score(
        baseline_classifier(),
        windows.to_numpy().reshape(len(windows), -1),
        windows["condition"].values,
        groups=windows["subject"].values,
        cv=LeaveOneGroupOut(),
    )
    accuracy = scores.mean()
    rows.append(
        {
            "strategy": strategy or "none",
            "windows": len(windows),
            "dropped": len(windows.attrs["dropped"]),
            "accuracy": accuracy,
            "standard error": np.sqrt(accuracy * (1 - accuracy) / len(windows)),
        }
    )
print(pd.DataFrame(rows).round(2).to_string(index=False))

# %% [markdown]
# Every column takes away signal too, and thirty columns of 284 frames are many. These heads lie
# still in most runs, so that the larger strategies cost more than they bring; where heads move
# more, it can be the other way round.

# %% [markdown]
# ## The same from the shell
#
# ```
# neurosal run --bids BIDS --task motor --derivatives derivatives/fmriprep \
#     --space MNI152NLin6Asym --confounds simple --scrub 0.5 --out OUT
# ```
