# %% [markdown]
# # Your own BIDS data
#
# What a folder must hold, how events become labelled windows, and what to look at before you
# believe the map. So that the script runs anywhere, it first writes a small BIDS study, five
# subjects who moved a hand in two runs; with your own data, begin at "Find the runs".

# %%
import json
from pathlib import Path

import nibabel as nib
import pandas as pd

import neurosal

out = Path("tutorial-02")

# %%
atlas = neurosal.load_atlas("dosenbach160")
source = neurosal.simulate_hcp(
    out / "source", labels=atlas.labels, regions=atlas.regions, n_subjects=5, voxel_size=6.0, seed=1
)
bids, prep = out / "bids", out / "bids" / "derivatives" / "prep"
prep.mkdir(parents=True, exist_ok=True)
(bids / "dataset_description.json").write_text('{"Name": "Hands", "BIDSVersion": "1.9.0"}')
(bids / "task-hands_bold.json").write_text('{"TaskName": "hands", "RepetitionTime": 0.72}')
for number, run in enumerate(neurosal.find_hcp_runs(source, task="MOTOR")):
    subject, repeat = f"{number // 2 + 1:02d}", number % 2 + 1
    name = f"sub-{subject}_task-hands_run-{repeat}"
    raw, preprocessed = (top / f"sub-{subject}" / "func" for top in (bids, prep))
    for folder in (raw, preprocessed):
        folder.mkdir(parents=True, exist_ok=True)
    run.events.to_csv(raw / f"{name}_events.tsv", sep="\t", index=False)
    nib.save(
        nib.load(run.img),
        preprocessed / f"{name}_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
    )

# %% [markdown]
# ## Find the runs
#
# `find_bids_runs` pairs each preprocessed run with the events of the raw one, and takes the
# repetition time from the sidecars. For fMRIPrep's output say `derivatives="derivatives/fmriprep"`
# and `space="MNI152NLin2009cAsym"`. Raw images are in the scanner's own space: without
# `derivatives` the regions of an atlas would lie elsewhere in them, and a warning says so.

# %%
runs = neurosal.find_bids_runs(
    bids, task="hands", derivatives="derivatives/prep", space="MNI152NLin6Asym"
)
print(pd.DataFrame([{"run": run.label, "t_r": run.t_r, "events": len(run.events)} for run in runs]))

# %% [markdown]
# ## An atlas
#
# Any label image will do, with a table beside it (BIDS `_dseg.tsv` or a FreeSurfer colour table):
# `neurosal.Atlas.from_files("dseg.nii.gz", "dseg.tsv")`. It must be in the space of the runs; its
# grid may differ. This one is shipped:

# %%
print(atlas.regions.head())
print(atlas.source)

# %% [markdown]
# ## Choose conditions and windows
#
# Here both feet are pooled, both hands too, and the tongue is left out. A window starts `lag`
# seconds after the onset, because the haemodynamic response is late. It should not be so long that
# it reaches into the response to the next event.

# %%
decoder = neurosal.SaliencyDecoder(
    atlas,
    conditions={"hand": ["lh", "rh"], "foot": ["lf", "rf"]},
    window=12.0,
    lag=5.0,
    cv="subject",
    high_pass=0.008,
    confounds=None,
    random_state=0,
)
windows = decoder.windows(runs)
print(windows.sizes, windows["condition"].to_series().value_counts().to_dict())
print("dropped:", windows.attrs["dropped"])

# %% [markdown]
# ## Decode, explain, report
#
# Look at the accuracy first: a decoder that is no better than chance has nothing to explain. Then
# at the plain baseline on the same folds: where it is as good, a linear map may be all you need.

# %%
decoder.fit(runs)
report = decoder.generate_report(out / "results")
metrics = json.loads((out / "results" / "metrics.json").read_text())
print({name: metrics[name] for name in ("accuracy", "chance", "baseline_accuracy", "n_folds")})

# %% [markdown]
# ## The same from the shell
#
# ```
# neurosal run --bids BIDS --derivatives derivatives/prep --space MNI152NLin6Asym \
#     --task hands --atlas dosenbach160 \
#     --conditions hand=lh,rh foot=lf,rf --window 12 --lag 5 \
#     --high-pass 0.008 --cv subject --out OUT
# ```
#
# The maps are ordinary images:

# %%
for path in sorted((out / "results").glob("*_saliency.nii.gz")):
    image = nib.load(path)
    print(path.name, image.shape, image.get_data_dtype())
print("report:", report)
