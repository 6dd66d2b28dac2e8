# %% [markdown]
# # Is it real?
#
# A map can be looked at, and it will always show something. Four questions stand between a map and
# a sentence in a paper, in this order: can the decoder tell the conditions apart? Is the map the
# same from subject to subject? Does it show what the network has learnt? And what could none of
# this have shown? Here they are asked of a small simulated study, whose truth is known, so that the
# answers can be compared with it.

# %%
import importlib.util
from pathlib import Path

import numpy as np

import neurosal
from neurosal.loaders import load_truth, truth_mask
from neurosal.reporting import brain_slider, plot_brain_mosaic, plot_significant
from neurosal.validation import trust_card

out = Path("tutorial-08")

# %% [markdown]
# ## A decoder
#
# Eight subjects move the left or right hand, a foot, or the tongue. Two subjects are held out at a
# time; each window is explained by the network that saw neither of them. `integrated_gradients`,
# the default, gives maps with a sign: above zero for what speaks for the condition, below for what
# speaks against it. A test over subjects needs that sign.

# %%
atlas = neurosal.load_atlas("dosenbach160")
root = neurosal.simulate_hcp(
    out / "study",
    labels=atlas.labels,
    regions=atlas.regions,
    task="MOTOR",
    n_subjects=8,
    voxel_size=6.0,
    seed=0,
)
movements = {name: [name] for name in ("lf", "rf", "lh", "rh", "t")}
decoder = neurosal.SaliencyDecoder(
    atlas, conditions=movements, window=12.0, lag=5.0, cv="subject", n_folds=4, random_state=0
)
decoder.fit(neurosal.find_hcp_runs(root, task="MOTOR"))
print("accuracy in each fold:", np.round(decoder.cv_scores_, 2), "chance: 0.20")

# %% [markdown]
# ## Can it tell the conditions apart?
#
# A decoder at chance has nothing to explain, so this comes first. `prediction_test` shuffles the
# true labels within each run and asks how often the held-out predictions then fit as well. Nothing
# is trained again. Each fold's test labels train the other folds, which makes the accuracy vary
# more than shuffles say; the null distribution is therefore widened. Where every window counts, use
# `retraining_test`, which trains again for every shuffle and is exact.
#
# What it cannot say: *why* the conditions can be told apart. Head movement that goes with a
# condition is decoded as well.

# %%
windows = decoder.windows_
decoding = neurosal.prediction_test(
    decoder.cv_predictions_, windows["condition"].values, windows, seed=0
)
print(
    f"accuracy {decoding['observed'].item():.2f}, by chance {decoding['chance'].item():.2f}, "
    f"p = {decoding['p'].item():.2g}"
)

# %% [markdown]
# ## Is the map the same from subject to subject?
#
# Windows of one subject are not independent, so `group_test` first averages them, and then has one
# map a subject. If a cell (a region at a time point) did not matter on average, a subject's map
# would be as likely as its negative. So the signs of whole subjects are flipped, in all ways there
# are, and each time the largest *t* of the map is kept (max-T). A cell whose *t* few flips reach
# anywhere in the map has a small *p*, corrected for all cells of its condition.
#
# With n subjects there are 2^(n-1) ways that differ (two-sided), so the smallest p is 1/128 for
# eight subjects; five subjects cannot come below 1/16 and need no test.

# %%
result = neurosal.group_test(decoder.saliency_, correction="max-t", alpha=0.05)
print("subjects:", result.attrs["n_subjects"], " smallest p:", result.attrs["smallest_p"])
counts = result["significant"].sum(("time", "region")).to_series()
tested = (result["status"] == 0).sum(("time", "region")).to_series()
print("significant cells:", counts.to_dict(), "of", tested.to_dict())

# %% [markdown]
# Not all cells are tested. Those that screening withheld from every fold are zero for every
# subject, by construction and not by measurement; their `status` is 2, and no p-value is given.
#
# The figure frames what is significant and pales the rest instead of hiding it: a cell that is not
# significant is not a cell without effect.

# %%
plot_significant(result.sel(condition=["lh", "rh"])).savefig(out / "significant.png")

# %% [markdown]
# Cluster tests ask less of each cell: neighbours in the atlas and in time stand or fall together.
# They find weak effects that are wide. But the p-value belongs to the cluster, and says nothing of
# its edges or of any one cell in it. They need mne (`pip install "neurosal[stats]"`). The spheres
# of this atlas do not touch; neighbours are those whose centres lie within 20 mm.

# %%
if importlib.util.find_spec("mne") is None:
    print("mne is not installed: the cluster test is skipped.")
else:
    adjacency = neurosal.region_adjacency(
        atlas, distance_mm=20.0, regions=decoder.saliency_["region"].values
    )
    clusters = neurosal.group_test(
        decoder.saliency_,
        contrast="rh",
        correction="cluster",
        adjacency=adjacency,
        n_permutations=1000,
        progress=False,
    )
    print("cells in significant clusters for the right hand:", int(clusters["significant"].sum()))

# %% [markdown]
# ## On the brain
#
# `thresholded` keeps the mean map where it is significant. It is an array like any other, and goes
# to the brain like any other: as images, as a figure, or as a page with a brain that turns, a
# slider for time, and a choice between the whole map and what is significant. Give the reader both.

# %%
kept = neurosal.thresholded(result)
for name in decoder.classes_:
    neurosal.to_nifti(kept.sel(condition=name), atlas).to_filename(
        out / f"{name}_thresholded.nii.gz"
    )
figure = plot_brain_mosaic(
    neurosal.to_nifti(kept.sel(condition="t"), atlas),
    times_s=kept["time"].values,
    space="MNI152NLin6Asym",
    title="Tongue, significant cells",
)
figure.savefig(out / "tongue.png")
slider = brain_slider(result["mean"], atlas, significant=result["significant"])
print("a page to turn:", slider.save_as_html(out / "brain.html"))

# %% [markdown]
# ## Does it show what the network has learnt?
#
# A map can hold over subjects for reasons that no network had to learn: all subjects share its
# weights, and their brains respond alike. Even an untrained network gives maps whose mean is not
# zero. The trust card asks what statistics cannot: does the map change when the network's
# parameters are drawn anew, or its labels shuffled? Is it more than a picture of the signal's size?
# Does the method find a signal at the start of a window as well as at its end? Does the decoder go
# by the cells that the map names?
#
# `checks="quick"` runs all that do not train decoders by the dozen, `"full"` all of them. To keep
# this script short, some are chosen by name.

# %%
chosen = {
    "accuracy": {},
    "signal size": {},
    "parameter randomisation": {"n_networks": 3},
    "label permutation": {"n_permutations": 2},
    "deletion and insertion": {"most_windows": 60},
    "linear pattern": {},
}
card = trust_card(decoder, checks=chosen, seed=0)
for check in card:
    print(f"\n{check.name}: {check.verdict}\n  {check.finding}")
    print(f"  It cannot show: {check.cannot_show}")

# %% [markdown]
# No check can show that a map is true. Each could have failed; those that did not leave one reason
# less to doubt. A row that is `reported` informs and never decides: a map may be right and differ
# from a contrast of means.
#
# A check that cannot fail is worth nothing, so here is a map that should not pass: in place of the
# decoder's, the absolute signal of each window, a picture that needs no decoder.

# %%
sizes = np.abs(windows).where(np.isfinite(decoder.saliency_))
impostor = trust_card(
    decoder, checks=["signal size", "parameter randomisation"], maps=sizes, seed=0
)
for check in impostor:
    print(f"\n{check.name}: {check.verdict}\n  {check.finding}")

# %% [markdown]
# The first check sees it. The second is at its limit, a correlation of 0.5 with the map of a
# network trained again: in this study the signal is strong where the information is, so that a
# picture of the signal resembles what a trained network shows, and no untrained one. A single check
# that passes proves little. Read the card as a whole.

# %% [markdown]
# ## And the truth?
#
# For simulated data it is known. A significant cell is right if that movement really raises the
# region's signal at that time more than the others do. Sensitivity is the share of the true cells
# that were found, of all there are and not only of those tested: few, because eight subjects are
# few for a correction over a thousand cells, and because a decoder does not need all that differs.
# The test's 5 % is no bound on the share of wrong cells either. It concerns what is consistent over
# subjects, and a decoder may use, consistently, what tells one movement from the others by being
# lower.

# %%
truth = truth_mask(load_truth(root), conditions=movements, time_s=result["time"].to_numpy())
truth = truth.sel(condition=result["condition"], region=result["region"])
found = result["significant"]
right = int((found & truth).sum())
print(f"{int(found.sum())} cells significant, {right} of them true")
print(f"sensitivity: {right} of {int(truth.sum())}, {right / int(truth.sum()):.2f}")

# %% [markdown]
# What to write, then: that the conditions could be decoded (accuracy, p, how it was tested); where
# and when the decoder's map was consistent over so many subjects (correction, level); which checks
# were made and what they found; and that a map shows what this decoder used, which is neither all
# that differs nor only what differs. The guide "Which method, which readout, which window?"
# (`docs/guide.md`) says more on each.
