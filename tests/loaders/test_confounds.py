"""Cleaning against projections written out, and what it refuses."""

import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from nilearn._utils.data_gen import create_fake_bids_dataset
from nilearn.interfaces.fmriprep import load_confounds
from nilearn.maskers import NiftiLabelsMasker

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.bids import find_bids_runs
from neurosal.loaders.confounds import choose_confounds, clean_series, select_motion
from neurosal.loaders.runs import Run
from neurosal.loaders.strategies import FMRIPREP_STRATEGIES, load_strategy
from neurosal.parcellation import Atlas, extract_regions

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


@pytest.mark.parametrize("scrubbed", [False, True])
def test_cleaning_region_series_equals_nilearn_s_masker_on_the_volumes(scrubbed):
    """The masker cleans what it averaged; scrubbed, it numbers the frames that are left."""
    generator = np.random.default_rng(3)
    labels = nib.Nifti1Image(np.arange(5, dtype="int16")[:, None, None].repeat(3, 1), np.eye(4))
    drift = np.cos(np.pi * np.arange(N) / N)
    values = generator.normal(100, 2, (5, 3, 1, N)) + 5 * drift
    img = nib.Nifti1Image(values.astype("float32"), np.eye(4))
    confounds = generator.normal(size=(N, 4)) + drift[:, None]
    kept = np.arange(N) % 9 != 4 if scrubbed else None
    atlas = Atlas(labels, pd.DataFrame({"index": [1, 2, 3, 4], "name": list("abcd")}))
    ours = clean_series(
        extract_regions(img, atlas, t_r=2.0), confounds, t_r=2.0, high_pass=0.01,
        detrend=not scrubbed, standardize="zscore_sample", sample_mask=kept,
    )  # fmt: skip
    masker = NiftiLabelsMasker(
        labels, standardize="zscore_sample", detrend=not scrubbed, high_pass=0.01, t_r=2.0,
        clean_args={"filter": "cosine"},
    )  # fmt: skip
    frames = None if kept is None else np.flatnonzero(kept)
    theirs = masker.fit_transform(img, confounds=confounds, sample_mask=frames)
    np.testing.assert_allclose(
        ours.values[slice(None) if kept is None else kept], theirs, atol=1e-4
    )


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
        ({"t_r": "2"}, "t_r must be .* Got '2'"),
        ({"high_pass": "0.01", "t_r": 2.0}, "high_pass must be .* Got '0.01'"),
        ({"confounds": "motion"}, r"confounds must be a run, .*choose_confounds.* Got 'motion'"),
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
    with pytest.raises(DataError, match=r"dimensions .* Got ndarray"):
        clean_series(np.zeros((N, 2)))
    with pytest.raises(DataError, match="2 frames; cleaning needs 3"):
        clean_series(make_series(np.zeros((2, 2))))


def find_fake_run(folder, **options):
    """A run as fMRIPrep leaves it; head motion too small to scrub but at frames 10 and 11."""
    root = create_fake_bids_dataset(folder, n_sub=1, n_ses=0, tasks=["main"], n_runs=[1])
    (path,) = root.glob("derivatives/sub-01/func/*_desc-confounds_timeseries.tsv")
    table = pd.read_csv(path, sep="\t")
    table["framewise_displacement"], table["std_dvars"] = 0.1, 1.0
    table.loc[[10, 11], "framewise_displacement"] = 0.9
    table.loc[0, ["framewise_displacement", "std_dvars"]] = np.nan
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    where = {"task": "main", "derivatives": "derivatives", "space": "MNI"} | options
    return find_bids_runs(root, **where)[0]


BY_HAND = {
    "simple": {"strategy": ("high_pass", "motion", "wm_csf"), "wm_csf": "basic"},
    "scrubbing": {"strategy": ("high_pass", "motion", "wm_csf", "scrub"), "wm_csf": "full"},
    "compcor": {"strategy": ("high_pass", "motion", "compcor"), "n_compcor": "all"},
}


@pytest.mark.parametrize("strategy", list(BY_HAND))
def test_strategies_are_those_of_fmriprep(tmp_path, strategy):
    run = find_fake_run(tmp_path)
    confounds, mask = load_strategy(run, strategy)
    expected, kept = load_confounds(str(run.img), motion="full", **BY_HAND[strategy])
    pd.testing.assert_frame_equal(confounds, expected)
    np.testing.assert_array_equal(np.flatnonzero(mask), kept)
    assert mask.shape == (30,)
    assert mask[[10, 11]].any() == (strategy != "scrubbing")
    assert not mask[0]  # not in a steady state yet
    series = make_series(RNG.normal(size=(30, 2)))
    if strategy == "compcor":
        with pytest.raises(DataError, match="confounds leave nothing of 29 frames"):
            clean_series(series, confounds, sample_mask=mask)
        return
    few = confounds[["trans_x", "csf"]]
    cleaned = clean_series(series, few, sample_mask=mask).values[mask]
    assert np.abs(few.to_numpy()[mask].T @ cleaned).max() < 1e-6


def test_strategies_take_options_and_a_threshold(tmp_path):
    run = find_fake_run(tmp_path)
    confounds, mask = load_strategy(run, "simple", motion="basic", scrub_mm=0.5)
    assert sum(name.startswith(("trans", "rot")) for name in confounds) == 6
    assert np.flatnonzero(~mask).tolist() == [0, 10, 11]
    confounds, mask = load_strategy(run, "motion", scrub_mm=0.5)
    assert confounds.shape == (30, 12)
    assert np.flatnonzero(~mask).tolist() == [10, 11]
    confounds, mask = load_strategy(run, None, scrub_mm=0.5)
    assert confounds is None
    assert mask.sum() == 28
    assert load_strategy(run, None) == (None, None)
    assert list(load_strategy(run, ["csf", "dvars"])[0]) == ["csf", "dvars"]
    everything, mask = load_strategy(run, "all")
    assert mask is None
    assert "framewise_displacement" not in everything
    with pytest.raises(DataError, match="all 30 frames are scrubbed"):
        load_strategy(run_of_restless(run), "motion", scrub_mm=0.01)


def run_of_restless(run):
    """The same run with a head that never lies still."""
    moved = run.confounds.assign(framewise_displacement=9.0)
    return Run(run.img, run.events, run.t_r, subject="1", task="t", confounds=moved)


def test_strategies_of_surfaces_and_of_aroma(tmp_path):
    run = find_fake_run(tmp_path)
    with pytest.raises(DataError, match=r"'ica_aroma' is for images with desc-smoothAROMAnonaggr"):
        load_strategy(run, "ica_aroma")
    aroma = run.img.with_name(run.img.name.replace("preproc", "smoothAROMAnonaggr"))
    aroma.write_bytes(run.img.read_bytes())
    denoised = Run(aroma, run.events, run.t_r, subject="1", task="t", confounds=run.confounds)
    confounds, mask = load_strategy(denoised, "ica_aroma")
    assert {"csf", "white_matter", "cosine00"} <= set(confounds)
    assert "trans_x" not in confounds
    with pytest.raises(DataError, match="'simple' is for images with desc-preproc"):
        load_strategy(denoised, "simple")
    stem = run.img.name.removesuffix("_space-MNI_desc-preproc_bold.nii.gz")
    tail = "space-fsaverage5_bold.func.gii"
    sides = {
        side: run.img.with_name(f"{stem}_hemi-{side[0].upper()}_{tail}")
        for side in ("left", "right")
    }
    surface = Run(sides, run.events, run.t_r, subject="1", task="t", confounds=run.confounds)
    plain, mask = load_strategy(run, "simple")
    same, kept = load_strategy(surface, "simple")
    pd.testing.assert_frame_equal(same, plain)
    np.testing.assert_array_equal(kept, mask)


def test_what_a_strategy_lacks_is_named(tmp_path):
    run = find_fake_run(tmp_path)
    table = next(run.img.parent.glob("*_timeseries.tsv"))
    table.with_suffix(".json").unlink()
    with pytest.raises(DataError, match=r"'compcor' needs fMRIPrep's .*timeseries.json in"):
        load_strategy(run, "compcor")
    content = pd.read_csv(table, sep="\t").drop(columns=["csf", "white_matter"])
    content.to_csv(table, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(DataError, match=r"'simple' cannot be used with .*missing: .*csf"):
        load_strategy(run, "simple")
    table.unlink()
    with pytest.raises(DataError, match=r"'simple' needs fMRIPrep's \*_desc-confounds_timeseries"):
        load_strategy(run, "simple")
    with pytest.raises(ArgumentError, match=r"strategy must be one of 'simple'.*Got 'aroma'"):
        load_strategy(run, "aroma")
    with pytest.raises(ArgumentError, match=r"^motion: only the strategies simple, .*Got .*'all'"):
        load_strategy(run, "all", motion="basic")
    memory = Run(object(), run.events, 2.0, subject="1", task="t", confounds=run.confounds)
    for strategy in FMRIPREP_STRATEGIES:
        with pytest.raises(DataError, match="the image is in memory"):
            load_strategy(memory, strategy)


def test_choosing_columns():
    table = pd.DataFrame({"csf": [1.0], "rot_x": [0.1], "rmsd": [0.2]})
    events = pd.DataFrame(columns=["onset", "duration", "trial_type"])
    run = Run("x.nii", events, 2.0, subject="1", task="t", confounds=table)
    assert list(choose_confounds(run, "all")) == ["csf", "rot_x"]
    assert list(choose_confounds(run, ["rmsd"])) == ["rmsd"]
    with pytest.raises(DataError, match=r"no column 'wm'. Columns found: csf, rot_x, rmsd"):
        choose_confounds(run, ["csf", "wm"])
    with pytest.raises(DataError, match=r"no confounds were found beside x.nii"):
        choose_confounds(Run("x.nii", events, 2.0, subject="1", task="t"), "motion")
