"""Contrasts of region series against nilearn's model of the same data in an image."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nilearn.glm.first_level import FirstLevelModel
from region_study import CONDITIONS, region_study
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.runs import Run
from neurosal.validation.region_contrasts import glm_contrasts, window_contrasts

pytestmark = pytest.mark.filterwarnings("ignore:.*Generation of a mask.*")

T_R, FRAMES, REGIONS = 2.0, 120, list("abcdef")


def make_run(seed, name):
    """A run whose region b answers to faces, c to houses, all to the cue."""
    rng = np.random.default_rng(seed)
    events = pd.DataFrame(
        {
            "onset": np.arange(10, 220, 20.0)[:10],
            "duration": 10.0,
            "trial_type": rng.permutation(["face", "face2", "house", "house", "cue"] * 2),
        }
    )
    times = T_R * np.arange(FRAMES)
    values = 100 + rng.normal(size=(FRAMES, 6)).cumsum(axis=0) * 0.3 + rng.normal(size=(FRAMES, 6))
    for row in events.itertuples():
        during = (times >= row.onset + 4) & (times < row.onset + 14)
        values[during, {"f": 1, "h": 2, "c": 3}[row.trial_type[0]]] += 2
    series = xr.DataArray(
        values, dims=("time", "region"), coords={"time": times, "region": REGIONS}
    )
    return series, Run("none", events, T_R, subject="01", task="faces", run=name)


@pytest.fixture(scope="module")
def runs():
    return [make_run(seed, name) for seed, name in enumerate("12")]


def in_image(series):
    return nib.Nifti1Image(series.to_numpy().T[:, None, None, :], np.diag([3.0, 3, 3, 1]))


def nilearn_z(runs, weights, *, pooled=None, confounds=None, masks=None, slice_time_ref=0.0):
    """z scores (region,) of a contrast by FirstLevelModel."""
    mask = nib.Nifti1Image(np.ones((6, 1, 1), np.uint8), np.diag([3.0, 3, 3, 1]))
    model = FirstLevelModel(
        T_R,
        hrf_model="glover",
        drift_model="cosine",
        high_pass=0.01,
        mask_img=mask,
        slice_time_ref=slice_time_ref,
    )
    events = [run.events.replace({"trial_type": pooled or {}}) for _, run in runs]
    images = [in_image(series) for series, _ in runs]
    model.fit(images, events=events, confounds=confounds, sample_masks=masks)
    vectors = [[weights.get(name, 0.0) for name in one] for one in model.design_matrices_]
    found = model.compute_contrast([np.array(one) for one in vectors], output_type="z_score")
    return found.get_fdata().ravel()


def test_equal_to_the_first_level_model(runs):
    series, each = zip(*runs, strict=True)
    pooled = {"face2": "face"}
    found = glm_contrasts(series, each, conditions={"face": ["face", "face2"], "house": ["house"]})
    expected = nilearn_z(runs, {"face": 1, "house": -1}, pooled=pooled)
    np.testing.assert_allclose(found.sel(condition="face"), expected, rtol=1e-6)
    np.testing.assert_allclose(found.sel(condition="house"), -expected, rtol=1e-6)
    assert found["region"].values.tolist() == REGIONS
    assert found.sel(condition="face").values.argmax() == 1
    assert abs(float(found.sel(condition="face", region="d"))) < 3


def test_equal_with_confounds_and_scrubbed_frames(runs):
    series, each = zip(*runs, strict=True)
    rng = np.random.default_rng(3)
    confounds = [pd.DataFrame(rng.normal(size=(FRAMES, 2)), columns=["x", "y"]) for _ in runs]
    masks = [rng.random(FRAMES) > 0.1 for _ in runs]
    conditions = {"face": "face", "house": "house", "cue": "cue"}
    options = {"confounds": confounds, "sample_masks": masks}
    found = glm_contrasts(series, each, conditions=conditions, **options)
    indices = [np.flatnonzero(mask) for mask in masks]
    weights = {"face": 1, "house": -0.5, "cue": -0.5}
    expected = nilearn_z(runs, weights, confounds=confounds, masks=indices)
    np.testing.assert_allclose(found.sel(condition="face"), expected, rtol=1e-6)


def test_equal_where_slice_timing_moved_the_volumes(runs):
    series, each = zip(*runs, strict=True)
    each = [replace(run, start_time=T_R / 2) for run in each]
    found = glm_contrasts(series, each, conditions={"face": "face", "house": "house"})
    expected = nilearn_z(runs, {"face": 1, "house": -1}, slice_time_ref=0.5)
    np.testing.assert_allclose(found.sel(condition="face"), expected, rtol=1e-6)


def test_rest_is_the_baseline(runs):
    series, each = zip(*runs, strict=True)
    found = glm_contrasts(series, each, conditions={"house": ["house"], "rest": []})
    expected = nilearn_z(runs, {"house": 1})
    np.testing.assert_allclose(found.sel(condition="house"), expected, rtol=1e-6)
    np.testing.assert_allclose(found.sel(condition="rest"), -expected, rtol=1e-6)


def test_a_run_without_a_condition_and_regions_not_covered(runs):
    (first, run), (second, other) = runs
    faceless = other.events[~other.events["trial_type"].str.startswith("face")]
    other = Run("none", faceless, T_R, subject="01", task="faces", run="2")
    series = [first.copy(), second.copy()]
    series[0][:, 4] = np.nan
    conditions = {"face": ["face"], "house": ["house"]}
    found = glm_contrasts(series, [run, other], conditions=conditions)
    expected = nilearn_z([(first, run)], {"face": 1, "house": -1})
    assert np.isnan(found.sel(region="e")).all()
    kept = [0, 1, 2, 3, 5]
    np.testing.assert_allclose(found.sel(condition="face")[kept], expected[kept], rtol=1e-6)


def test_contrasts_find_the_planted_regions():
    """Area under the curve, mean over four studies and three conditions."""
    scores = {"model": [], "windows": []}
    for seed in range(4):
        study = region_study(seed=seed)
        planted = study.truth.any("time")
        found = {
            "model": glm_contrasts(study.series, study.runs, conditions=CONDITIONS),
            "windows": window_contrasts(study.windows, y=study.y),
        }
        for kind, sizes in found.items():
            for name in CONDITIONS:
                flags = planted.sel(condition=name).to_numpy()
                scores[kind].append(roc_auc_score(flags, abs(sizes.sel(condition=name))))
    assert np.mean(scores["model"]) > 0.9
    assert np.mean(scores["windows"]) > 0.9


def test_window_contrasts_equal_scipy():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 4, 3)), np.tile(["a", "b", "c", "c"], 5)
    X[:, 0, 2] = np.nan
    found = window_contrasts(X, y=y)
    for place, name in enumerate("abc"):
        for region in (0, 1):
            ours = [X[i, :, region].mean() for i in range(20) if y[i] == name]
            others = [X[i, :, region].mean() for i in range(20) if y[i] != name]
            expected = ttest_ind(ours, others, equal_var=False).statistic
            assert float(found[place, region]) == pytest.approx(expected)
    assert np.isnan(found[:, 2]).all()


def test_bad_arguments(runs):
    series, each = zip(*runs, strict=True)
    wrong = [
        ({"conditions": {"face": ["faces"], "house": ["house"]}}, "a trial type of 'face' must be"),
        ({"conditions": {"face": [], "house": ["house"]}}, "only 'rest' may"),
        ({"conditions": {"face": ["face"]}}, "two or more to contrast"),
        ({"confounds": [None]}, "the same length. Got 2, 2, 1, 2"),
    ]
    for change, message in wrong:
        with pytest.raises(ArgumentError, match=message):
            glm_contrasts(series, each, **change)
    with pytest.raises(DataError, match="run-1: a region's mean is no larger"):
        glm_contrasts([one - one.mean("time") for one in series], each)
    with pytest.raises(ArgumentError, match="each with two windows or more"):
        window_contrasts(np.zeros((3, 2, 2)), y=["a", "a", "b"])
