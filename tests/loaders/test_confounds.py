"""Cleaning against projections written out, and what it refuses."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.confounds import clean_series, select_motion
from neurosal.loaders.runs import Run

RNG = np.random.default_rng(7)
N = 120


def make_series(values):
    coords = {
        "time": 2.0 * np.arange(len(values)),
        "region": [f"R{k}" for k in range(values.shape[1])],
        "label_id": ("region", np.arange(values.shape[1])),
    }
    return xr.DataArray(values, dims=("time", "region"), coords=coords, attrs={"atlas": "toy"})


def residual(values, *regressors):
    """What least squares on the regressors leaves."""
    design = np.column_stack(regressors)
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def zscore(values):
    return (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)


def test_trend_and_confounds_are_projected_out():
    values = 1000 + 5 * RNG.normal(size=(N, 4)) + np.arange(N)[:, None]
    confounds = pd.DataFrame(RNG.normal(size=(N, 2)).cumsum(axis=0), columns=["rot_x", "csf"])
    cleaned = clean_series(make_series(values), confounds)
    expected = zscore(residual(values, np.ones(N), np.arange(N), confounds.to_numpy()))
    np.testing.assert_allclose(cleaned.values, expected, atol=1e-8)
    assert cleaned.attrs["atlas"] == "toy"
    assert cleaned.attrs["cleaned"]["confounds"] == ["rot_x", "csf"]
    assert cleaned.coords.equals(make_series(values).coords)


def test_high_pass_takes_slow_cosines_only():
    time = 2.0 * np.arange(N) + 1.0  # cosines are exact between frames
    slow, fast = np.cos(2 * np.pi * time / 240), np.cos(2 * np.pi * time / 20)
    series = make_series(np.column_stack([fast + 3 * slow, fast]))
    cleaned = clean_series(series, t_r=2.0, high_pass=0.01, standardize=False)
    np.testing.assert_allclose(cleaned[:, 0], cleaned[:, 1], atol=1e-8)
    assert np.corrcoef(cleaned[:, 0], fast)[0, 1] > 0.999
    kept = clean_series(series, t_r=2.0, standardize=False)
    assert np.corrcoef(kept[:, 0], slow)[0, 1] > 0.9


def test_a_run_brings_its_motion_parameters_and_repetition_time():
    table = pd.DataFrame(RNG.normal(size=(N, 3)), columns=["rot_x", "csf", "rot_x_derivative1"])
    table.iloc[0, 2] = np.nan
    events = pd.DataFrame(columns=["onset", "duration", "trial_type"])
    run = Run("x.nii", events, 2.0, subject="1", task="t", confounds=table)
    series = make_series(RNG.normal(size=(N, 2)))
    cleaned = clean_series(series, run, high_pass=0.01)
    filled = table.assign(rot_x_derivative1=table["rot_x_derivative1"].bfill())
    by_hand = clean_series(series, filled[["rot_x", "rot_x_derivative1"]], t_r=2.0, high_pass=0.01)
    np.testing.assert_array_equal(cleaned, by_hand)
    none = clean_series(series, Run("x.nii", events, 2.0, subject="1", task="t"))
    np.testing.assert_array_equal(none, clean_series(series))


def test_scales():
    series = make_series(100 + RNG.normal(size=(N, 2)))
    plain = residual(series.values, np.ones(N), np.arange(N))
    np.testing.assert_allclose(clean_series(series, standardize=None), plain, atol=1e-9)
    np.testing.assert_array_equal(clean_series(series, standardize=True), clean_series(series))
    percent = clean_series(series, standardize="psc")
    np.testing.assert_allclose(percent, 100 * plain / series.values.mean(axis=0), atol=1e-6)
    raw = clean_series(series, standardize=None, detrend=False)
    np.testing.assert_array_equal(raw, series)


def test_missing_region_stays_missing_and_constant_ones_become_zero():
    values = RNG.normal(size=(N, 4))
    values[:, 1] = np.nan
    values[:, 2] = 1e4 + 1 / 3
    values[:, 3] = 1e4 + np.arange(N) / 3  # a trend and nothing else
    with pytest.warns(UserWarning, match="2 regions are constant.*: R2, R3"):
        cleaned = clean_series(make_series(values))
    assert np.isnan(cleaned[:, 1]).all()
    assert (cleaned[:, 2:] == 0).all()
    alone = clean_series(make_series(values[:, :1]))
    np.testing.assert_allclose(cleaned[:, 0], alone[:, 0], atol=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(clean_series(make_series(values[:, 1:2]))).all()


def test_small_changes_on_a_large_mean_are_not_taken_for_constant():
    noise = RNG.normal(size=(N, 1))
    big = clean_series(make_series(1e5 + 1e-2 * noise))
    np.testing.assert_allclose(big, clean_series(make_series(noise)), atol=1e-5)


def test_gaps_in_a_region_are_refused_by_name():
    values = RNG.normal(size=(N, 3))
    values[5, 1] = np.nan
    values[6, 2] = np.inf
    with pytest.raises(DataError, match=r"2 regions have missing or infinite .*: R1, R2. Leave"):
        clean_series(make_series(values))


@pytest.mark.parametrize(
    ("confounds", "message"),
    [
        (np.zeros((N - 1, 2)), "have 119 rows but the series 120 frames"),
        (RNG.normal(size=(N, N)), "120 confounds leave nothing of 120 frames"),
        (pd.DataFrame({"a": ["x"] * N}), "must be numbers; these are not: a"),
        (pd.DataFrame({"a": [1.0] * (N - 1) + [np.nan]}), "missing or infinite values .*: a"),
        (pd.DataFrame({"a": [1.0, np.nan, *[2.0] * (N - 2)]}), "missing or infinite values .*: a"),
        (pd.DataFrame({"a": [np.nan] * N}), "missing or infinite values .*: a"),
    ],
)
def test_confounds_that_do_not_fit_are_refused(confounds, message):
    with pytest.raises(DataError, match=message):
        clean_series(make_series(RNG.normal(size=(N, 2))), confounds)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"high_pass": 0.01}, "high_pass needs t_r"),
        ({"high_pass": 0.3, "t_r": 2.0}, "below 0.25 Hz.*Got 0.3"),
        ({"high_pass": -1, "t_r": 2.0}, "Got -1"),
        ({"t_r": 0}, "t_r must be .* Got 0"),
        ({"standardize": "z"}, "standardize must be one of 'zscore_sample', 'psc', None. Got 'z'"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options, message):
    with pytest.raises(ArgumentError, match=message):
        clean_series(make_series(RNG.normal(size=(N, 2))), **options)


def test_table_without_motion_is_refused():
    with pytest.raises(DataError, match=r"no motion parameters .* Columns found: csf"):
        select_motion(pd.DataFrame({"csf": [1.0]}))


def test_series_of_other_shape_is_refused():
    with pytest.raises(DataError, match="dimensions"):
        clean_series(make_series(np.zeros((N, 2))).T)
    with pytest.raises(DataError, match="2 frames; cleaning needs 3"):
        clean_series(make_series(np.zeros((2, 2))))
