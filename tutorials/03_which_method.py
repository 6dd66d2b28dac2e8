# %% [markdown]
# # Which method?
#
# A saliency map answers a question about a network, and each method asks a different one. Here the
# same windows go through six methods. The study is simulated, so we can see which of them find the
# regions and times that carry the information.

# %%
from pathlib import Path

import pandas as pd

import neurosal
from neurosal.loaders import load_truth, truth_mask
from neurosal.models import Training
from neurosal.reporting import figures, plot_method_comparison
from neurosal.validation import truth_recovery

out = Path("tutorial-03")

# %% [markdown]
# ## Windows
#
# Four subjects who moved the left or right hand, a foot, or the tongue.

# %%
atlas = neurosal.load_atlas("dosenbach160")
root = neurosal.simulate_hcp(
    out / "study",
    labels=atlas.labels,
    regions=atlas.regions,
    task="MOTOR",
    n_subjects=4,
    voxel_size=6.0,
    seed=0,
)
movements = {name: [name] for name in ("lf", "rf", "lh", "rh", "t")}
decoder = neurosal.SaliencyDecoder(atlas, conditions=movements, window=12.0, lag=5.0)
windows = decoder.windows(neurosal.find_hcp_runs(root, task="MOTOR"))
print(dict(windows.sizes))

# %% [markdown]
# ## Two networks
#
# Both learn from three subjects; the fourth is explained. A plain LSTM reads one step after the
# other. With input-cell attention the LSTM reads, at every step, a weighted mean of all steps so
# far. Hiding a random part of each training window makes a network use all the evidence there is.

# %%
last = windows["subject"].values == windows["subject"].values[-1]
seen, unseen = windows[~last], windows[last]
training = Training(max_epochs=100, time_mask=(0.2, 0.5))
classifiers = {
    "LSTM": neurosal.NetworkClassifier("lstm", training=training),
    "input-cell LSTM": neurosal.InputCellClassifier(training=training),
}
for name, classifier in classifiers.items():
    classifier.fit(seen, seen["condition"].values)
    accuracy = classifier.score(unseen, unseen["condition"].values)
    print(f"{name}: accuracy {accuracy:.2f}, chance 0.20")

# %% [markdown]
# ## Six methods
#
# `compare_methods` explains the score of each window's true class. Its table holds the cost of one
# map (samples sent through the network, and back), the seconds for all maps, and the agreement: the
# mean rank correlation of absolute importance with the other methods.

# %%
methods = {
    "gradient": {},
    "smoothgrad": {},
    "integrated_gradients": {},
    "occlusion": {"window": (4, 1)},
    "lrp": {},
    "attention": {},
}
found = neurosal.compare_methods(classifiers["input-cell LSTM"], unseen, methods=methods)
print(found.table.round(2))
found.table.to_csv(out / "methods.csv")
plot_method_comparison(found.maps, found.agreement).savefig(out / "methods.png")

# %% [markdown]
# `attention` takes one pass, `gradient` one there and back, `occlusion` 801. The right panel of
# `methods.png` shows two families. `gradient` and `smoothgrad` say how steep the score is,
# whatever the signal in the window. `integrated_gradients` and `lrp` weigh that by the signal;
# `attention` is nothing but signal and a weight for each step, the same for all regions and all
# classes. `occlusion`, the only one that tries, agrees a little with all.

# %% [markdown]
# ## Which are true?
#
# The cells that tell a movement from the others are known. AUPR is the average precision of the
# mean map of a movement against them; the last column is that of random maps. A plain LSTM has no
# attention; `deep_taylor` takes its place.


# %%
def recovery(maps):
    """AUPR of the mean map of each movement."""
    means = maps.groupby("condition").mean("sample")
    truth = truth_mask(load_truth(root), conditions=movements, time_s=maps["time"].values)
    return truth_recovery(means, truth.sel(condition=means["condition"]))


without = {name: own for name, own in methods.items() if name != "attention"}
plain = neurosal.compare_methods(
    classifiers["LSTM"], unseen, methods={**without, "deep_taylor": {}}
)
rows = [
    {"network": network, "method": method, **recovery(maps)}
    for network, comparison in (("LSTM", plain), ("input-cell LSTM", found))
    for method, maps in comparison.maps.items()
]
table = pd.DataFrame(rows).pivot(index="method", columns="network", values="truth_aupr")
table["random"] = rows[0]["truth_aupr_random"]
table = table.sort_values("input-cell LSTM", ascending=False).round(2)
print(table)
table.to_csv(out / "recovery.csv")

# %%
best = found.maps["integrated_gradients"].groupby("condition").mean("sample")
truth = truth_mask(load_truth(root), conditions=movements, time_s=best["time"].values)
figure = figures.plot_truth_recovery(best, truth.sel(condition=best["condition"]))
figure.savefig(out / "integrated_gradients.png")

# %% [markdown]
# ## When to trust which
#
# The table is of one small study and two networks; another will have other numbers. What holds:
#
# - **The network comes first.** The same method on two networks of the same accuracy gives maps of
#   very different worth. A recurrent network that forgets early steps cannot show them.
# - `occlusion`, `feature_ablation`: what happens without this part? No assumption about the
#   network, so they check the others. They miss what is there twice, and cost hundreds of passes.
#   The window is the resolution.
# - `integrated_gradients`: the map adds up to the score minus the baseline's, and
#   `completeness_error` says how well. The first choice for "how much", with sign; it depends on
#   the baseline.
# - `gradient`, `smoothgrad`: what would change the score? Single gradients are noisy, which
#   `smoothgrad` averages away. They say nothing of how much was there.
# - `lrp`: close to `integrated_gradients` at the cost of one pass there and back, for the networks
#   it knows. The coordinate `leak` says how much of the score did not arrive; look at it.
# - `deep_taylor`: for networks of relus that were trained to be explained ("r-lstm", "deep").
#   For the tanh units of a usual LSTM its assumptions do not hold, and here it shows little.
# - `attention`: which steps were read. Not which regions, and not why.
#
# Trust a finding that two methods of different families share, on networks of more than one seed
# (`n_ensembles=5`), and never a map of a network that cannot tell the conditions apart.
