"""Decode eight object categories from one slice of one subject's brain, run by run left out.

    NEUROSAL_TEST_DATA=... python benchmarks/haxby.py [--seeds 5] [--settings NAME ...] [--jobs 1]

Data: Haxby et al. (2001), subject 1, 530 voxels, each a region; windows of 27.5 s from 2.5 s after
a block's onset; every voxel z-scored within its run. Chance is .125.

Two questions, answered apart. How good is each setting, over seeds and with the seeds' scores
averaged? And how good is the classifier a user gets who chooses a setting by cross-validation
inside the training runs only ("nested")? The best row of the first table is biased by having been
picked; the nested row is not, over the settings listed here.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import xarray as xr
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.feature_selection import SelectPercentile, f_classif
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from neurosal.loaders.bids import find_bids_runs
from neurosal.loaders.confounds import clean_series
from neurosal.loaders.events import concat_windows, make_windows
from neurosal.models.classifier import InputCellClassifier, NetworkClassifier
from neurosal.models.screening import screening_mask
from neurosal.models.training import Training
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.extract import extract_regions

INNER_FOLDS = 3
BOTH = {"bidirectional": True, "read": "both-ends"}
MASKED = Training(time_mask=(0.2, 0.5))

SETTINGS = {  # the classifier, and the percent of the cells that it is given
    "defaults, all cells": (InputCellClassifier(), 100),
    "defaults, best 20 %": (InputCellClassifier(), 20),
    "mean read, positional, best 20 %": (InputCellClassifier(read="mean", positional=True), 20),
    "both ends, time masked, best 20 % (the decoder's)": (
        InputCellClassifier(training=MASKED, **BOTH),
        20,
    ),
}
PEERS = {
    "plain lstm, best 20 %": (NetworkClassifier("lstm"), 20),
    "plain gru, mean read, best 20 %": (
        NetworkClassifier("gru", network_options={"read": "mean"}),
        20,
    ),
    "feed-forward, best 20 %": (NetworkClassifier("feed-forward"), 20),
}


def load_windows(root: Path) -> xr.DataArray:
    """Read the slice as windows (sample, time, region)."""
    atlas = Atlas.from_files(root / "atlas-voxels_dseg.nii.gz", root / "atlas-voxels_dseg.tsv")
    windows = []
    for run in find_bids_runs(root, task="objectviewing"):
        series = clean_series(extract_regions(run, atlas), t_r=run.t_r)
        windows.append(make_windows(series, run, window=27.5, lag=2.5))
    return concat_windows(windows)


def score(setting: tuple, data: tuple, train: np.ndarray, test: np.ndarray, seed: int):
    """Choose cells and fit on some windows, return the logits of others."""
    (estimator, percentile), (X, y, _) = setting, data
    mask = screening_mask(X[train], y[train], percentile=percentile)
    fitted = clone(estimator).set_params(random_state=seed).fit(X[train] * mask, y[train])
    return fitted.logits(X[test] * mask)


def judge_inside(setting: tuple, data: tuple, train: np.ndarray) -> tuple[float, float]:
    """Cross-validate over the training runs: accuracy, then minus the log-loss for ties."""
    _, y, runs = data
    classes = np.unique(y)
    logits = np.zeros((len(train), len(classes)))
    for inner, held_out in GroupKFold(INNER_FOLDS).split(train, groups=runs[train]):
        logits[held_out] = score(setting, data, train[inner], train[held_out], seed=0)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    accuracy = np.mean(classes[logits.argmax(axis=1)] == y[train])
    return accuracy, -log_loss(y[train], shares, labels=classes)


def over_folds(settings: dict, data: tuple, n_seeds: int, n_jobs: int) -> dict[str, np.ndarray]:
    """Return each setting's logits (seed, sample, class), every run left out once."""
    X, y, runs = data
    folds = list(LeaveOneGroupOut().split(X, y, runs))
    logits = {}
    for name, setting in settings.items():
        start = time.perf_counter()
        jobs = [(test, train, seed) for train, test in folds for seed in range(n_seeds)]
        results = Parallel(n_jobs)(
            delayed(score)(setting, data, train, test, seed) for test, train, seed in jobs
        )
        logits[name] = np.zeros((n_seeds, len(y), len(np.unique(y))))
        for (test, _, seed), values in zip(jobs, results, strict=True):
            logits[name][seed, test] = values
        print_row(name, logits[name], y, time.perf_counter() - start)
    return logits


def choose_inside(data: tuple, n_jobs: int, names: list[str]) -> list[tuple[np.ndarray, str]]:
    """Choose a setting for every left-out run, from the other runs alone."""
    X, y, runs = data
    chosen = []
    for train, test in LeaveOneGroupOut().split(X, y, runs):
        judged = Parallel(n_jobs)(
            delayed(judge_inside)(SETTINGS[name], data, train) for name in names
        )
        chosen.append((test, names[max(range(len(names)), key=lambda i: judged[i])]))
    return chosen


def print_row(name: str, logits: np.ndarray, y: np.ndarray, seconds: float) -> None:
    """Print the accuracy over seeds and of the averaged scores."""
    classes = np.unique(y)
    single = (classes[logits.argmax(axis=2)] == y).mean(axis=1)
    averaged = (classes[logits.mean(axis=0).argmax(axis=1)] == y).mean()
    spread = f"{single.mean():.3f} ({single.min():.3f} to {single.max():.3f})"
    print(f"| {name} | {spread} | {averaged:.3f} | {seconds / len(logits):.0f} |", flush=True)


def print_baselines(data: tuple) -> None:
    """Print the accuracy of linear models on voxels."""
    X, y, runs = data
    means, steps = X.mean(axis=1), X.reshape(len(X), -1)
    logistic, machine = LogisticRegression(C=0.01, max_iter=500), SVC(kernel="linear")
    selected = make_pipeline(SelectPercentile(f_classif, percentile=20), machine)
    rows = {
        "logistic regression, block means": (logistic, means),
        "logistic regression, all steps": (logistic, steps),
        "linear SVM, all steps": (machine, steps),
        "linear SVM, best 20 % of the values": (selected, steps),
    }
    for name, (model, flat) in rows.items():
        predicted = cross_val_predict(model, flat, y, groups=runs, cv=LeaveOneGroupOut())
        print(f"| {name} | {np.mean(predicted == y):.3f} | | |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default=os.environ.get("NEUROSAL_TEST_DATA"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--peers", action="store_true", help="also other networks")
    arguments = parser.parse_args()
    if not arguments.data:
        parser.error("give --data or set NEUROSAL_TEST_DATA")
    windows = load_windows(Path(arguments.data) / "haxby2001-slice")
    data = (windows.to_numpy(), windows["condition"].to_numpy(), windows["run"].to_numpy())
    print("| setting | accuracy over seeds (range) | seeds averaged | s per seed |")
    print("|---|---|---|---|")
    print_baselines(data)
    tried = {name: SETTINGS[name] for name in arguments.settings}
    if arguments.peers:
        over_folds(PEERS, data, arguments.seeds, arguments.jobs)
    logits = over_folds(tried, data, arguments.seeds, arguments.jobs)
    print_row("all settings averaged", np.mean(list(logits.values()), axis=0), data[1], 0.0)
    start = time.perf_counter()
    chosen = choose_inside(data, arguments.jobs, list(tried))
    nested = np.zeros_like(next(iter(logits.values())))
    for test, name in chosen:
        nested[:, test] = logits[name][:, test]
    print_row("nested choice", nested, data[1], time.perf_counter() - start)
    print("chosen:", ", ".join(name for _, name in chosen))


if __name__ == "__main__":
    main()
