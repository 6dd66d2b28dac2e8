# %% [markdown]
# # Finding the truth: boxes
#
# Does a map of importance show where the evidence is? On brains nobody knows. So the paper on
# input-cell attention (Ismail et al. 2019) draws data whose evidence is in a box that one can
# mark: noise over 100 time steps and 100 features, and within the box a mean of +1 in one class
# and -1 in the other. Here three networks are trained on such data, and each map is asked for the
# box.

# %%
from pathlib import Path

import numpy as np
import pandas as pd

import neurosal
from neurosal.experiments import make_boxes
from neurosal.experiments.box_reports import plot_box_maps, plot_time_shares
from neurosal.models import Training
from neurosal.validation.localization_metrics import min_max, score_maps

out = Path("tutorial-07")
out.mkdir(exist_ok=True)

# %% [markdown]
# ## The data
#
# The box lies early: steps 0 to 29, features 10 to 89. The paper has 1000 training samples; half of
# that will do here.

# %%
train, test = make_boxes("earlier", seed=0, n_train=500, n_test=100)
print(train.x.shape, "share of cells in the box:", test.truth[0].mean())

# %% [markdown]
# ## Two networks, trained as published
#
# A plain LSTM reads one step after the other; what it saw at step 10 has to survive ninety updates
# of its state. With input-cell attention its gates read, at every step, a weighted mean of all
# steps so far. Training stops when every training sample is told right.

# %%
published = Training(
    learning_rate=1e-3,
    weight_decay=0.0,
    batch_size=50,
    schedule="constant",
    input_noise=0.0,
    clip_norm=None,
    max_epochs=60,
    stop_accuracy=1.0,
)
plain = {
    "LSTM": neurosal.NetworkClassifier("lstm", hidden_size=5, training=published),
    "input-cell LSTM": neurosal.InputCellClassifier(hidden_size=5, hops=20, training=published),
}
for name, classifier in plain.items():
    classifier.fit(train.x, train.y)
    print(f"{name}: accuracy {classifier.score(test.x, test.y):.2f}")

# %% [markdown]
# The LSTM has not learned: it tells no new sample's class. A map of a network that cannot tell the
# classes apart explains nothing, whatever it looks like. The next box is where the LSTM can learn,
# at the end of time.

# %%
late_train, late_test = make_boxes("latter", seed=0, n_train=500, n_test=100)
late = neurosal.NetworkClassifier("lstm", hidden_size=5, training=published)
late.fit(late_train.x, late_train.y)
print(f"LSTM, box at the end: accuracy {late.score(late_test.x, late_test.y):.2f}")

# %% [markdown]
# ## What their gradients show
#
# `score_maps` compares each sample's map with its box. `slope` is that of log importance against
# the distance from the end, per step: below zero, importance vanishes backwards in time. AUPR is
# the average precision of the cells ranked by importance; the weighted Jaccard index (the paper's)
# compares the map, scaled to 0 to 1, with the box. Neither says anything without its value for
# maps of random numbers, so those stand beside.


# %%
def judge(classifier, data, **method):
    """Maps of 40 test samples, and their mean scores."""
    x, y, truth = (part[:40] for part in data)
    maps = neurosal.explain(classifier, x, y=y, progress=False, **method).to_numpy()
    return maps, score_maps(maps, truth).mean()


maps, scores = {}, {}
gradient = {"method": "gradient", "output": "probability"}
maps["LSTM, late box"], scores["LSTM, late box"] = judge(late, late_test, **gradient)
for name, classifier in plain.items():
    maps[name], scores[name] = judge(classifier, test, **gradient)
random = np.random.default_rng(0).random((40, 100, 100))
scores["random"] = score_maps(random, test.truth[:40]).mean()
columns = ["aupr", "weighted_jaccard", "slope"]
print(pd.DataFrame(scores).T[columns].round(3))

# %% [markdown]
# The paper's claim holds: the LSTM's importance falls off backwards, by an order of magnitude every
# few steps, and input-cell attention's does not. But that is not yet finding the box. By the
# paper's index, the input-cell map scores below random numbers, for its importance is scattered.
#
# ## Training that localises
#
# A network trained to the first perfect epoch needs only some of the evidence, and its map shows
# some of it. Heavy noise on the inputs leaves no single cell worth trusting, so that all of the
# evidence has to be used; hiding stretches of time spreads it over the steps; strong weight decay
# takes back what noise wrote elsewhere. The cell reads from both ends, because one that reads
# forwards favours one end of time.

# %%
localizing = Training(
    input_noise=20.0,
    time_mask=(0.3, 0.6),
    weight_decay=0.5,
    batch_size=64,
    max_epochs=50,
)
network = neurosal.NetworkClassifier(
    "input-cell-bi-rnn",
    hidden_size=16,
    network_options={"hops": 1, "positional": True},
    training=localizing,
)
network.fit(train.x, train.y)
print(f"input-cell RNN, localising: accuracy {network.score(test.x, test.y):.2f}")

# %% [markdown]
# `training="localizing"` stands for nearly the same settings, with more epochs. Such a network is
# explained by SmoothGrad under the noise that it was trained under.

# %%
smooth = {"method": "smoothgrad", "sd": 20.0, "n_samples": 60}
name = "input-cell RNN, localising"
maps[name], scores[name] = judge(network, test, **smooth)
print(pd.DataFrame(scores).T[columns].round(3))
pd.DataFrame(scores).T.to_csv(out / "scores.csv")

# %% [markdown]
# SmoothGrad says which cells count, and under noise this heavy it says nearly the same of every
# sample. Where the box differs from sample to sample, multiply it by the input: the product,
# averaged over neighbouring cells, is the evidence near each cell of this sample.

# %%
shown = {
    "LSTM": "LSTM\n(has not learned)",
    "input-cell LSTM": "input-cell LSTM",
    "input-cell RNN, localising": "input-cell RNN,\nlocalising",
}
means = {title: min_max(np.abs(maps[name])).mean(axis=0) for name, title in shown.items()}
plot_box_maps(means, "earlier", title="Mean maps; the box is outlined").savefig(out / "maps.png")

# %%
shares = pd.DataFrame(scores).T.rename_axis("network").reset_index()
shares["readout"], shares["learned"] = "-", shares["network"] != "LSTM"
shares.loc[shares["network"] == "random", ["network", "method"]] = ["-", "random"]
figure = plot_time_shares(shares, title="Share of importance by tenth of time")
figure.savefig(out / "shares.png")

# %% [markdown]
# ## What to take home
#
# - Look at accuracy first, then at the map.
# - A map that does not vanish is not yet a map that finds anything. Compare it with random numbers
#   where the truth is known, and with the checks of `neurosal.validation` where it is not.
# - How a network is trained decides more about its map than the method that reads it.
#
# All sets, networks and methods, over five seeds: `neurosal reproduce boxes` and
# `neurosal reproduce moving-box`; `--quick` shows the outline in minutes.
