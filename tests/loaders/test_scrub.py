"""Head motion: how far, which frames go, and that the frames which go change nothing."""

import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.confounds import clean_series
from neurosal.loaders.events import concat_windows, make_windows
from neurosal.loaders.runs import Run
from neurosal.loaders.scrub import as_mask, fill_scrubbed, framewise_displacement, scrub_mask

RNG = np.random.default_rng(11)
N = 90
SIX = ["rot_z", "trans_x", "rot_x", "trans_z", "trans_y", "rot_y"]


def make_run(confounds=None, *, rows=(), **options):
    events = pd.DataFrame(list(rows), columns=["onset", "duration", "trial_type"])
    names = {"subject": "01", "task": "faces"} | options
    return Run("bold.nii.gz", events, 2.0, confounds=confounds, **names)


def make_series(values):
    coords = {
        "time": 2.0 * np.arange(len(values)),
        "region": [f"R{k}" for k in range(values.shape[1])],
    }
    return xr.DataArray(values, dims=("time", "region"), coords=coords)


def slow_displacement(table, *, degrees):
    """Power's measure, one number at a time."""
    out = [0.0]
    for k in range(1, len(table)):
        total = 0.0
        for axis in "xyz":
            total += abs(table[f"trans_{axis}"][k] - table[f"trans_{axis}"][k - 1])
            turn = table[f"rot_{axis}"][k] - table[f"rot_{axis}"][k - 1]
            total += abs(turn * np.pi / 180 if degrees else turn) * 50
        out.append(total)
    return out


@pytest.mark.parametrize("degrees", [False, True])
def test_displacement_equals_powers_sum(degrees):
    table = pd.DataFrame(RNG.normal(size=(N, 6)).cumsum(axis=0) * 0.01, columns=SIX)
    table["csf"] = np.nan
    unit = "degrees" if degrees else "radians"
    expected = slow_displacement(table, degrees=degrees)
    measured = framewise_displacement(make_run(table, rotations=unit))
    np.testing.assert_allclose(measured, expected, atol=1e-12)
    assert measured.name == "power"
    other = framewise_displacement(make_run(table), rotations=unit)
    np.testing.assert_array_equal(other, measured)


def test_a_measure_on_file_comes_first():
    table = pd.DataFrame(np.zeros((3, 6)), columns=SIX).assign(rmsd=[0.0, 0.2, 0.3])
    assert framewise_displacement(make_run(table)).tolist() == [0.0, 0.2, 0.3]
    table["framewise_displacement"] = [np.nan, 0.5, 0.6]
    moved = framewise_displacement(make_run(table))
    assert (moved.tolist(), moved.name) == ([0.0, 0.5, 0.6], "framewise_displacement")
    assert scrub_mask(make_run(table), 0.5).tolist() == [True, True, False]


def test_displacement_that_cannot_be_known_is_refused():
    with pytest.raises(DataError, match=r"sub-01 task-faces: no confounds .* beside bold.nii.gz"):
        scrub_mask(make_run(), 0.5)
    five = pd.DataFrame(np.zeros((3, 5)), columns=SIX[:5])
    with pytest.raises(
        DataError, match=r"all six motion parameters; missing: rot_y. Columns found"
    ):
        scrub_mask(make_run(five), 0.5)
    gap = pd.DataFrame({"framewise_displacement": [np.nan, 0.1, np.nan]})
    with pytest.raises(DataError, match=r"'framewise_displacement' is missing at the frames 2"):
        scrub_mask(make_run(gap), 0.5)
    turned = pd.DataFrame(np.zeros((3, 6)), columns=SIX).assign(rot_y=[0.0, 1.2, 0.3])
    with pytest.raises(DataError, match=r"up to 1.2 .* cannot be radians. Give rotations='deg"):
        scrub_mask(make_run(turned), 0.5)
    assert scrub_mask(make_run(turned), 2.0, rotations="degrees").all()
    for wrong in (0, -1, float("nan"), "0.5", True):
        with pytest.raises(ArgumentError, match="scrub_mm must be"):
            scrub_mask(make_run(turned), wrong)
    with pytest.raises(ArgumentError, match="rotations must be one of 'radians', 'degrees'"):
        scrub_mask(make_run(turned), 0.5, rotations="turns")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=30).filter(any))
def test_booleans_and_nilearns_indices_are_one_mask(mask):
    mask = np.array(mask)
    np.testing.assert_array_equal(as_mask(np.flatnonzero(mask), len(mask)), mask)
    np.testing.assert_array_equal(as_mask(mask, len(mask)), mask)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones(4, bool), r"must be 5 booleans.*Got bool of shape \(4,\)"),
        ([0, 5], "must be 5 booleans"),
        ([-1, 2], "must be 5 booleans"),
        ([1, 1, 0, 1, 1], "must be 5 booleans, one a frame, or the rising indices"),
        ([0.5], "must be 5 booleans.*float"),
        (np.zeros(5, bool), "all 5 frames are scrubbed. Raise the threshold"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, message):
    with pytest.raises(DataError, match=message):
        as_mask(mask, 5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=2, max_size=25).filter(any), st.integers(0, 1000))
def test_scrubbed_frames_lie_on_straight_lines(mask, seed):
    mask = np.array(mask)
    values = np.random.default_rng(seed).normal(size=(len(mask), 2))
    filled = fill_scrubbed(make_series(values), mask)
    np.testing.assert_array_equal(filled.scrubbed, ~mask)
    for k in range(len(mask)):
        before = max((j for j in range(k + 1) if mask[j]), default=None)
        after = min((j for j in range(k, len(mask)) if mask[j]), default=None)
        after = before if after is None else after
        before = after if before is None else before
        share = 0.0 if after == before else (k - before) / (after - before)
        expected = (1 - share) * values[before] + share * values[after]
        np.testing.assert_allclose(filled.values[k], expected, atol=1e-12)


def cosines(n, high_pass):
    """Discrete cosines slower than the cut-off, at frames 2 s apart."""
    count = int(np.floor(2 * n * high_pass * 2.0))
    return [np.cos(np.pi * k * (np.arange(n) + 0.5) / n) for k in range(1, count + 1)]


@pytest.mark.parametrize("high_pass", [None, 0.02])
@pytest.mark.parametrize("scale", ["zscore_sample", "psc", None])
def test_cleaning_is_least_squares_on_the_frames_kept(high_pass, scale):
    values = 500 + RNG.normal(size=(N, 3)).cumsum(axis=0)
    confounds = pd.DataFrame(RNG.normal(size=(N, 2)).cumsum(axis=0), columns=["csf", "wm"])
    mask = RNG.random(N) > 0.3
    values[~mask] += 1000 * RNG.normal(size=((~mask).sum(), 3))
    cleaned = clean_series(
        make_series(values), confounds, t_r=2.0, high_pass=high_pass, standardize=scale,
        sample_mask=mask,
    )  # fmt: skip
    slow = cosines(N, high_pass) if high_pass else []
    design = np.column_stack([np.ones(N), np.arange(N), confounds, *slow])[mask]
    kept = values[mask]
    expected = kept - design @ np.linalg.lstsq(design, kept, rcond=None)[0]
    if scale == "psc":
        expected = 100 * expected / kept.mean(axis=0)
    elif scale:
        expected = expected / expected.std(axis=0, ddof=1)
    np.testing.assert_allclose(cleaned.values[mask], expected, atol=1e-7)
    bridged = fill_scrubbed(cleaned.drop_vars("scrubbed"), mask)
    xr.testing.assert_allclose(bridged, cleaned)
    assert cleaned.attrs["cleaned"]["scrubbed"] == (~mask).sum()


def test_scrubbed_frames_change_nothing_that_is_kept():
    values, table = RNG.normal(size=(N, 2)), pd.DataFrame(RNG.normal(size=(N, 2)))
    mask = np.arange(N) % 7 != 3
    options = {"t_r": 2.0, "high_pass": 0.01, "sample_mask": mask}
    calm = clean_series(make_series(values), table, **options)
    values[~mask], table.loc[~mask] = 1e6, -1e3
    wild = clean_series(make_series(values), table, **options)
    np.testing.assert_allclose(wild, calm, atol=1e-9)
    np.testing.assert_allclose(calm.values[mask].std(axis=0, ddof=1), 1)


def test_a_mask_that_keeps_all_is_none():
    series, table = make_series(9 + RNG.normal(size=(N, 2))), pd.DataFrame(RNG.normal(size=(N, 1)))
    masked = clean_series(series, table, sample_mask=np.ones(N, bool), t_r=2.0, high_pass=0.01)
    plain = clean_series(series, table, t_r=2.0, high_pass=0.01)
    np.testing.assert_allclose(masked, plain, atol=1e-10)
    raw = clean_series(series, standardize=None, detrend=False, sample_mask=np.ones(N, bool))
    np.testing.assert_array_equal(raw, series)


def test_constant_and_missing_regions_under_a_mask():
    values = RNG.normal(size=(N, 3))
    values[:, 0], values[5:, 1] = np.nan, 3.0
    mask = np.arange(N) >= 5
    with pytest.warns(UserWarning, match="1 regions are constant.*: R1"):
        cleaned = clean_series(make_series(values), sample_mask=mask)
    assert np.isnan(cleaned[:, 0]).all()
    assert (cleaned[:, 1] == 0).all()


def test_too_few_frames_are_refused():
    series = make_series(RNG.normal(size=(N, 2)))
    with pytest.raises(DataError, match="2 frames are left after scrubbing"):
        clean_series(series, sample_mask=[4, 5])
    with pytest.raises(DataError, match=r"9 confounds leave nothing of 10 frames.*or scrub less"):
        clean_series(series, np.ones((N, 9)), sample_mask=np.arange(10))


def test_windows_count_and_refuse_scrubbed_frames():
    run = make_run(rows=[(0, 8, "a"), (20, 8, "b"), (40, 8, "a"), (60, 8, "b")])
    mask = np.ones(N, bool)
    mask[[10, 11, 12, 20, 31]] = False  # three, one and one of the later windows' four frames
    series = make_series(np.arange(2.0 * N).reshape(N, 2))
    with pytest.warns(UserWarning, match="1 windows dropped: b at 20 s has 3 of 4 frames scrubbed"):
        windows = make_windows(series, run, window=8, lag=0, sample_mask=mask)
    assert windows.scrubbed.values.tolist() == [0, 1, 1]
    np.testing.assert_allclose(windows[0], series[0:4])
    np.testing.assert_allclose(windows[1], series[20:24])  # a straight line is bridged exactly
    assert windows.attrs["dropped"][0]["reason"] == "has 3 of 4 frames scrubbed"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        everything = make_windows(
            series, run, window=8, lag=0, sample_mask=np.flatnonzero(mask), max_scrubbed=0.75
        )
    assert everything.scrubbed.values.tolist() == [0, 3, 1, 1]
    with pytest.warns(UserWarning, match="3 windows dropped"):
        strict = make_windows(series, run, window=8, lag=0, sample_mask=mask, max_scrubbed=0)
    assert strict.onset.values.tolist() == [0]


def test_the_mask_travels_with_the_cleaned_series():
    run = make_run(rows=[(0, 8, "a"), (20, 8, "b")])
    series, mask = make_series(RNG.normal(size=(N, 2))), np.arange(N) != 11
    cleaned = clean_series(series, sample_mask=mask)
    carried = make_windows(cleaned, run, window=8, lag=0)
    given = make_windows(cleaned.drop_vars("scrubbed"), run, window=8, lag=0, sample_mask=mask)
    xr.testing.assert_allclose(carried, given)
    assert carried.scrubbed.values.tolist() == [0, 1]
    plain = make_windows(series, run, window=8, lag=0)
    assert "scrubbed" not in plain.coords
    both = concat_windows([plain, carried])
    assert both.scrubbed.values.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("share", [-0.1, 1.1, "half", None, True])
def test_shares_that_are_none_are_refused(share):
    run = make_run(rows=[(0, 8, "a")])
    with pytest.raises(ArgumentError, match="max_scrubbed must be a share from 0 to 1"):
        make_windows(make_series(np.zeros((N, 1))), run, window=8, max_scrubbed=share)
    with pytest.raises(DataError, match="sub-01 task-faces: sample_mask must be 90 booleans"):
        make_windows(make_series(np.zeros((N, 1))), run, window=8, sample_mask=[True])
