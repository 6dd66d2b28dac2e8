"""Decoding above chance: exact shuffles within runs, and the level of both tests."""

import itertools

import numpy as np
import pytest
import xarray as xr
from scipy import stats
from sklearn.model_selection import LeaveOneGroupOut, cross_val_score, permutation_test_score
from sklearn.neighbors import NearestCentroid

from neurosal.errors import ArgumentError, DataError
from neurosal.inference import prediction_test, retraining_test

RUNS, WINDOWS = 6, 8


def balanced(rng, n_runs=RUNS, n_windows=WINDOWS, n_classes=2):
    y = [rng.permutation(np.arange(n_windows) % n_classes) for _ in range(n_runs)]
    return np.concatenate(y), np.repeat(np.arange(n_runs), n_windows)


def centroid_predictions(x, y, runs):
    """Nearest class mean, each run held out in turn."""
    predicted = np.empty_like(y)
    classes = np.unique(y)
    for run in np.unique(runs):
        train = runs != run
        means = np.array([x[train & (y == one)].mean(axis=0) for one in classes])
        scores = x[~train] @ means.T - 0.5 * (means**2).sum(axis=1)
        predicted[~train] = classes[scores.argmax(axis=1)]
    return predicted


def bounds(n, level):
    return stats.binom.interval(0.99, n, level)


def test_predictions_are_compared_with_every_order_within_runs():
    y = np.array([0, 0, 1, 1, 0, 1, 1, 1])
    runs = np.array([5, 5, 5, 5, 2, 2, 2, 2])
    predicted = np.array([0, 0, 1, 0, 1, 1, 1, 0])
    accuracies = [
        np.mean(np.array([*first, *second]) == predicted)
        for first in itertools.permutations(y[:4])
        for second in itertools.permutations(y[4:])
    ]
    test = prediction_test(predicted, y, runs, cross_validated=False, n_permutations=20_000)
    assert test["chance"].item() == pytest.approx(np.mean(accuracies), abs=1e-12)
    for accuracy in np.unique(accuracies):
        share = np.mean(np.array(accuracies) == accuracy)
        assert np.mean(test["null"] == accuracy) == pytest.approx(share, abs=0.015)
    observed = test["observed"].item()
    assert observed == np.mean(y == predicted)
    expected = (1 + (test["null"].values >= observed - 1e-12).sum()) / 20_001
    assert test["p"].item() == expected
    wide = prediction_test(predicted, y, runs, n_permutations=20_000)
    np.testing.assert_allclose(
        wide["null"] - wide["chance"], np.sqrt(2) * (test["null"] - test["chance"]), atol=1e-12
    )


def test_a_run_of_another_subject_is_another_run():
    rng = np.random.default_rng(0)
    y, runs = balanced(rng, 4)
    coords = {
        "subject": ("sample", np.repeat(["a", "b"], 16)),
        "run": ("sample", np.tile(np.repeat(["1", "2"], 8), 2)),
    }
    windows = xr.DataArray(np.zeros((32, 1, 1)), dims=("sample", "time", "region"), coords=coords)
    predicted = rng.permutation(y)
    by_windows = prediction_test(predicted, y, windows, seed=4)
    xr.testing.assert_identical(by_windows, prediction_test(predicted, y, runs, seed=4))
    assert by_windows.attrs["n_runs"] == 4
    unknown = windows.assign_coords(session=("sample", np.full(32, np.nan)))
    for one in (windows["run"], unknown):
        assert prediction_test(predicted, y, one, seed=4)["p"] == by_windows["p"]


def test_p_of_predictions_is_uniform_where_labels_trained_nothing():
    rng = np.random.default_rng(1)
    found = []
    for study in range(400):
        y, runs = balanced(rng, 12)
        predicted = rng.integers(0, 2, len(y))
        options = {"cross_validated": False, "n_permutations": 199, "seed": study}
        found.append(prediction_test(predicted, y, runs, **options)["p"].item())
    for level in (0.05, 0.2, 0.5):
        low, high = bounds(400, level)
        count = np.sum(np.array(found) <= level)
        atom = stats.norm.pdf(stats.norm.isf(level)) * 2 / np.sqrt(len(y)) * 400
        assert low - atom <= count <= high  # accuracies are steps: p may be above its level


def test_p_of_cross_validated_predictions_holds_its_level_when_widened():
    rng = np.random.default_rng(2)
    found = {True: [], False: []}
    for study in range(300):
        y, runs = balanced(rng, 12, 8, 4)
        predicted = centroid_predictions(rng.standard_normal((len(y), 100)), y, runs)
        for widened, kept in found.items():
            options = {"cross_validated": widened, "n_permutations": 199, "seed": study}
            test = prediction_test(predicted, y, runs, **options)
            z = (test["observed"] - test["chance"]) / test["null"].std()
            kept.append((test["p"].item(), z.item()))
    p, z = np.array(found[True]).T
    assert np.sum(p <= 0.05) <= bounds(300, 0.05)[1]
    assert z.std() <= 1
    assert np.array(found[False])[:, 1].std() > 1.1  # why it is widened


def test_p_of_retraining_is_uniform_without_information_and_small_with():
    rng = np.random.default_rng(3)
    found, effect = [], []
    for study in range(200):
        y, runs = balanced(rng)
        x = rng.standard_normal((len(y), 12))
        for kept, data in ((found, x), (effect, x + 0.8 * y[:, None])):

            def decode(labels, data=data, runs=runs):
                return np.mean(centroid_predictions(data, labels, runs) == labels)

            if kept is found or study < 5:
                options = {"n_permutations": 39, "seed": study, "progress": False}
                kept.append(retraining_test(decode, y, runs, **options)["p"].item())
    for level in (0.05, 0.25, 0.5):
        low, high = bounds(200, level)
        atom = 200 * stats.norm.pdf(stats.norm.isf(level)) * 2 / np.sqrt(len(y))
        assert low - atom <= np.sum(np.array(found) <= level) <= high
    assert max(effect) == 1 / 40


def test_retraining_is_what_scikit_learn_does():
    rng = np.random.default_rng(4)
    y, runs = balanced(rng)
    x = rng.standard_normal((len(y), 6)) + 0.4 * y[:, None]
    folds = list(LeaveOneGroupOut().split(x, y, runs))
    seen = []

    def decode(labels):
        seen.append(labels)
        return cross_val_score(NearestCentroid(), x, labels, cv=folds).mean()

    ours = retraining_test(decode, y, runs, n_permutations=80, progress=False)
    observed, null, p = permutation_test_score(
        NearestCentroid(), x, y, groups=runs, cv=LeaveOneGroupOut(), n_permutations=80,
        random_state=0,
    )  # fmt: skip
    assert ours["observed"].item() == observed
    assert abs(ours["null"].mean() - null.mean()) < 4 * null.std() * np.sqrt(2 / 80)
    assert abs(ours["p"].item() - p) < 0.08
    np.testing.assert_array_equal(seen[0], y)
    for labels in seen:
        for run in range(RUNS):
            assert sorted(labels[runs == run]) == sorted(y[runs == run])
    assert len({tuple(labels) for labels in seen}) > 75
    parallel = retraining_test(decode, y, runs, n_permutations=6, n_jobs=2, progress=False)
    np.testing.assert_allclose(parallel["null"], ours["null"][:6])


def test_an_interrupt_keeps_the_shuffles_that_are_done():
    y, runs = balanced(np.random.default_rng(5))
    calls = []

    def decode(labels):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return float(np.mean(labels == y))

    with pytest.warns(UserWarning, match="interrupted: 6 of 50 shuffles were done"):
        test = retraining_test(decode, y, runs, n_permutations=50, progress=False)
    assert test.sizes["permutation"] == 6
    assert test["p"].item() == pytest.approx(1 / 7)


def test_what_does_not_fit_is_refused():
    y, runs = balanced(np.random.default_rng(6))
    with pytest.raises(ArgumentError, match=r"\(47,\), \(48,\), \(48,\)"):
        prediction_test(y[1:], y, runs)
    with pytest.raises(ArgumentError, match="within runs there is nothing to exchange"):
        prediction_test(y, y, y)
    for n in (0, 1e4):
        with pytest.raises(ArgumentError, match="n_permutations must be a whole number of at le"):
            prediction_test(y, y, runs, n_permutations=n)
    with pytest.raises(ArgumentError, match="have no class in common: 'rh' and the like against"):
        prediction_test(np.full(48, "rh"), y, runs)
    with pytest.raises(ArgumentError, match="lack the coordinate 'run'"):
        prediction_test(y, y, xr.DataArray(np.zeros((48, 1, 1)), dims=("sample", "time", "region")))
    with pytest.raises(DataError, match="decode returned nan"):
        retraining_test(lambda labels: np.nan, y, runs, progress=False)
