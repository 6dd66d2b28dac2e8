"""Patterns of linear models: the identity, known sources, and the simulated truth."""

import numpy as np
import pytest
import xarray as xr
from region_study import decoded
from scipy.stats import spearmanr
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression

from neurosal.errors import ArgumentError
from neurosal.models.folds import baseline_classifier
from neurosal.validation.localization import truth_recovery
from neurosal.validation.patterns import haufe_comparison, haufe_pattern, linear_patterns


def test_equal_to_the_formula_with_weights():
    """Cov(X) W Cov(s)^-1, written out."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6))
    weights = rng.normal(size=(6, 3))
    expected = np.cov(X.T) @ weights @ np.linalg.inv(np.cov((X @ weights).T))
    np.testing.assert_allclose(haufe_pattern(X, X @ weights + 5), expected, atol=1e-9)


def test_patterns_of_a_fitted_model_come_from_its_weights():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(90, 3, 2)) * [1.0, 9.0], np.tile(list("abc"), 30)
    X[y == "a", 1] += 1
    flat = X.reshape(90, -1)
    for model in (LogisticRegression(), LinearDiscriminantAnalysis()):
        found = linear_patterns(X, y=y, model=model)
        weights = model.fit(flat, y).coef_.T
        scores = np.cov((flat @ weights).T)
        expected = np.cov(flat.T) @ weights @ np.linalg.pinv(scores, rcond=1e-10)
        np.testing.assert_allclose(found.to_numpy().reshape(3, -1).T, expected, atol=1e-6)
    two = linear_patterns(X[y != "c"], y=y[y != "c"])
    np.testing.assert_allclose(two[0], -two[1])
    assert two["condition"].values.tolist() == ["a", "b"]
    assert (X[y == "a"].mean(axis=0) - X[y == "b"].mean(axis=0))[1, 0] > 0
    assert float(two.sel(condition="a")[1, 0]) > 0


def test_patterns_do_not_hang_on_the_precision_of_the_windows():
    """Scores of all classes add up to 0, in float32 but for its rounding."""
    X, y = np.random.default_rng(0).normal(size=(90, 3, 4)), np.tile(list("abc"), 30)
    X[y == "a", 1] += 1
    single = linear_patterns(X.astype(np.float32), y=y)
    np.testing.assert_allclose(single, linear_patterns(X, y=y), atol=1e-3)


def test_known_sources_are_recovered_where_weights_mislead():
    """One source with a known pattern; a second cell has only noise, which the weights subtract."""
    rng = np.random.default_rng(0)
    n, pattern = 50_000, np.array([1.0, 0.0, 0.5, -2.0, 0.0])
    source, noise = rng.normal(size=(2, n))
    X = np.outer(source, pattern) + np.outer(noise, [3.0, 3.0, 0, 0, 0])
    X += 0.3 * rng.normal(size=(n, 5))
    weights = np.linalg.lstsq(X, source, rcond=None)[0]
    found = haufe_pattern(X, X @ weights).ravel()
    found /= found[3] / pattern[3]
    np.testing.assert_allclose(found, pattern, atol=0.05)
    assert weights[1] == pytest.approx(-weights[0], rel=0.1)
    assert abs(weights[1]) > 0.05


def test_patterns_recover_the_simulated_truth_better_than_weights():
    for seed in (0, 1):
        study = decoded(seed).study
        found = linear_patterns(study.windows, y=study.y)
        flat = study.windows.to_numpy().reshape(len(study.y), -1)
        weights = baseline_classifier().fit(flat, study.y)[-1].coef_.reshape(found.shape)
        recovered = truth_recovery(found, study.truth)
        assert recovered["truth_aupr"] > 10 * recovered["truth_aupr_random"]
        by_weights = truth_recovery(found.copy(data=weights), study.truth)
        assert recovered["truth_aupr"] > by_weights["truth_aupr"] + 0.02


def test_comparison_is_the_rank_correlation_of_sizes():
    found = decoded(0)
    check = haufe_comparison(found.mean_map, found.study.windows, y=found.y)
    patterns = linear_patterns(found.study.windows, y=found.y)
    expected = [
        spearmanr(
            np.abs(found.mean_map.sel(condition=name)).values.ravel(),
            np.abs(patterns.sel(condition=name)).values.ravel(),
        )[0]
        for name in ("lf", "rh", "t")
    ]
    np.testing.assert_allclose(check.data["correlation"], expected)
    assert check.values["rank_correlation"] == pytest.approx(np.mean(expected))
    assert check.values["rank_correlation"] > 0.3
    assert check.verdict == "reported"
    random = found.mean_map.copy(data=np.random.default_rng(0).random(found.mean_map.shape))
    other = haufe_comparison(random, found.study.windows, y=found.y)
    assert abs(other.values["rank_correlation"]) < 0.1


def test_regions_that_no_run_covers_are_left_out():
    found = decoded(0)
    expected = haufe_comparison(found.mean_map, found.study.windows, y=found.y)
    names = [*found.maps["region"].values, "outside"]
    wider = [
        one.pad(region=(0, 1)).assign_coords(region=names)
        for one in (found.mean_map, found.study.windows)
    ]
    check = haufe_comparison(*wider, y=found.y)
    assert check.values == expected.values


def test_bad_arguments():
    X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    maps = xr.DataArray(
        np.ones((2, 4, 3)), dims=("condition", "time", "region"), coords={"condition": ["a", "b"]}
    )
    with pytest.raises(ArgumentError, match="importance must have the conditions"):
        haufe_comparison(maps, X, y=y)
    with pytest.raises(ArgumentError, match="must have the same samples"):
        haufe_pattern(X.reshape(8, -1), np.ones(7))
