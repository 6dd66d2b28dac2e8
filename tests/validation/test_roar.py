"""Remove and retrain: what is removed, what it is ranked by, and what is left."""

import numpy as np
import pytest
import xarray as xr
from region_study import decoded
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from neurosal.errors import ArgumentError
from neurosal.validation.roar import roar, training_maps

SEEN = []


class CentroidDecoder(ClassifierMixin, BaseEstimator):
    """Nearest class mean, all cells given; keeps what it was trained on."""

    def fit(self, X, y):
        values = np.asarray(X)
        self.screening_ = xr.DataArray(np.ones(values.shape[1:], bool), dims=("time", "region"))
        self.classes_ = np.unique(y)
        self.means_ = np.stack([values[y == one].mean(axis=0) for one in self.classes_])
        SEEN.append(values)
        return self

    def predict(self, X):
        apart = np.square(np.asarray(X)[:, None] - self.means_).sum(axis=(2, 3))
        return self.classes_[apart.argmin(axis=1)]

    def explain(self, X, y):
        return X * (self.means_[1] - self.means_[0])


@pytest.fixture
def study():
    rng = np.random.default_rng(0)
    y = np.tile(["rest", "task"], 30)
    X = rng.normal(size=(60, 4, 5))
    X[1::2, 1:3, 0] += 1.5
    groups = np.arange(60) // 15
    folds = [(np.flatnonzero(groups != g), np.flatnonzero(groups == g)) for g in range(4)]
    fitted = [CentroidDecoder().fit(X[train], y[train]) for train, _ in folds]
    return X, {"y": y, "folds": folds, "fold_decoders": fitted}


def test_accuracy_equals_a_plain_loop(study):
    X, options = study
    rankings = np.random.default_rng(1).random((4, 4, 5))
    check = roar(CentroidDecoder(), X, rankings=rankings, fractions=(0.2, 0.5), **options)
    y, cells = options["y"], [(t, r) for t in range(4) for r in range(5)]
    for fold, (train, test) in enumerate(options["folds"]):
        orders = {
            "map": rankings[fold],
            "variance of the signal": np.var([X[i] for i in train], axis=0),
        }
        for name, importance in orders.items():
            falling = sorted(cells, key=lambda cell, by=importance: -by[cell])
            for share in (0.2, 0.5):
                emptied = X.copy()
                for cell in falling[: int(share * 20)]:
                    emptied[:, *cell] = X[train][:, *cell].mean()
                twin = CentroidDecoder().fit(emptied[train], y[train])
                expected = np.mean(twin.predict(emptied[test]) == y[test])
                found = check.data["accuracy"].sel(ranking=name, fraction=share)[fold]
                assert float(found) == pytest.approx(expected, abs=1e-12)


def test_removed_cells_tell_nothing_any_more(study):
    X, options = study
    SEEN.clear()
    rankings = np.zeros((4, 4, 5))
    rankings[:, 1:3, 0] = 1
    check = roar(CentroidDecoder(), X, rankings=rankings, fractions=(0.1,), **options)
    by_map = SEEN[::3]
    assert all(np.ptp(trained[:, 1:3, 0], axis=0).max() == 0 for trained in by_map)
    assert check.values["accuracy_map"] < 0.65 < check.values["accuracy_random"]
    assert check.verdict == "passed"
    missed = roar(CentroidDecoder(), X, rankings=1 - rankings, fractions=(0.5,), **options)
    assert missed.flagged, missed.finding


def test_rankings_never_see_the_held_out_windows(study):
    X, options = study
    _, test = options["folds"][1]
    plain = training_maps(options["fold_decoders"], X, y=options["y"], folds=options["folds"])
    spoilt, labels = X.copy(), options["y"].copy()
    spoilt[test], labels[test] = 1e6, labels[test][::-1]
    other = training_maps(options["fold_decoders"], spoilt, y=labels, folds=options["folds"])
    np.testing.assert_array_equal(plain[1], other[1])
    train, _ = options["folds"][1]
    decoder, y = options["fold_decoders"][1], options["y"]
    maps = np.asarray(decoder.explain(X[train], y[train]))
    expected = sum(np.abs(maps[y[train] == one].mean(axis=0)) for one in ("rest", "task")) / 2
    np.testing.assert_allclose(plain[1], expected)


def test_only_cells_that_were_given_are_removed(study):
    X, options = study
    mask = np.zeros((4, 5), bool)
    mask[1:3, :2] = True
    narrow = [clone(one).fit(X, options["y"]) for one in options["fold_decoders"]]
    for one in narrow:
        one.screening_[:] = mask
    SEEN.clear()
    roar(CentroidDecoder(), X, fractions=(0.5,), **options | {"fold_decoders": narrow})
    for trained in SEEN:
        emptied = np.ptp(trained, axis=0) == 0
        assert emptied.sum() == 2
        assert not (emptied & ~mask).any()


@pytest.mark.slow
def test_true_maps_pass_and_random_maps_are_flagged():
    for seed in (0, 1):
        found = decoded(seed)
        options = {"y": found.y, "folds": found.study.folds(), "seed": seed}
        options |= {"fold_decoders": found.fold_decoders, "fractions": (0.3, 0.6)}
        check = roar(found.decoder, found.study.windows, n_random=2, **options)
        assert check.verdict == "passed", check.finding
        random = np.random.default_rng(seed).random((4, *found.maps.shape[1:]))
        check = roar(found.decoder, found.study.windows, rankings=random, **options)
        assert check.flagged, check.finding


def test_bad_arguments(study):
    X, options = study
    wrong = [
        ({"fractions": (0.5, 1.0)}, "fractions must rise within 0.01 and 0.99"),
        ({"n_random": 0}, "n_random must be 1 or more"),
        ({"rankings": np.ones((3, 4, 5))}, r"rankings must be finite .* = \(4, 4, 5\)"),
    ]
    for change, message in wrong:
        with pytest.raises(ArgumentError, match=message):
            roar(CentroidDecoder(), X, **options | change)
