"""What users' disks hold: each fault is told with the name of the file, or handled."""

import re
import warnings
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bad_cases import (
    EVENTS,
    LABELS,
    T_R,
    bold_image,
    find_lr,
    write_atlas,
    write_bids,
    write_derivatives,
    write_hcp,
)

import neurosal
from neurosal.errors import DataError, NeurosalError
from neurosal.labelled import load_array, save_array
from neurosal.loaders import clean_series
from neurosal.loaders.store import open_windows, save_windows


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# --------------------------------------------------------------------- names of files and folders


def test_brackets_spaces_and_letters_of_any_script_are_names_like_others(tmp_path, rng):
    home = tmp_path / "Ünï cödé 名 [x] #1 %20"
    root = write_bids(home / "my study", rng)
    write_derivatives(root / "derivatives" / "fmri prep", rng)
    atlas = neurosal.load_atlas(write_atlas(home / "atlas-é 名_dseg.nii.gz"))
    assert not len(neurosal.inspect_study(root, derivatives="derivatives/fmri prep").problems)
    runs = neurosal.find_bids_runs(root, task="faces", derivatives="derivatives/fmri prep")
    windows = neurosal.extract_windows(
        runs, atlas, window=8.0, confounds="simple", cache=home / "the cache é"
    )
    assert windows["region"].values.tolist() == ["Gyrus é", "b 名", "c"]
    assert windows["condition"].values.tolist() == [name for *_, name in EVENTS]
    assert len(list((home / "the cache é").iterdir())) == 1
    again = load_array(save_array(windows, home / "wïndows [1].nc"))
    xr.testing.assert_identical(again, windows)
    pytest.importorskip("zarr")
    stored = open_windows(save_windows(windows, home / "störe [2].zarr"))
    np.testing.assert_array_equal(stored.values, windows.values)
    assert stored["condition"].values.tolist() == windows["condition"].values.tolist()


# ---------------------------------------------------------------------------------------- events


def test_hcp_events_out_of_order_before_the_start_after_the_end_and_over_each_other(tmp_path, rng):
    evs = {"lh": "14 6 1\n-2 6 1\n", "rh": "16 6 1\n300 6 1\n", "error": ""}
    (run,) = find_lr(write_hcp(tmp_path, rng, evs), "MOTOR")
    assert run.events["onset"].tolist() == [-2, 14, 16, 300]
    said = " ".join(run.notes)
    for part in ("tfMRI_MOTOR_LR", "1 events begin before", "1 events begin after", "empty.*error"):
        assert re.search(part, said)
    atlas = neurosal.load_atlas(write_atlas(tmp_path / "x_dseg.nii.gz"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        windows = neurosal.extract_windows([run], atlas, window=6.0, lag=3.0)
    assert windows["onset"].values.tolist() == [-2, 14, 16]
    told = " ".join(str(one.message) for one in caught)
    assert "rh at 300 s" in told
    assert "share more than half of their frames" in told


def test_what_the_loader_noted_is_told_with_the_windows(tmp_path, rng):
    root = write_bids(tmp_path, rng, subjects=("01", "02", "03"))
    for path in root.rglob("*_events.tsv"):
        path.write_text(path.read_text() + "100\t8\tn/a\n")
    runs = neurosal.find_bids_runs(root, task="faces")
    atlas = neurosal.load_atlas(write_atlas(tmp_path / "x_dseg.nii.gz"))
    with pytest.warns(UserWarning, match=r"3 of 3 runs come with notes\..*1 of 9 rows dropped"):
        neurosal.extract_windows(runs, atlas, window=8.0)


def test_conditions_without_a_window_are_told(tmp_path, rng):
    runs = neurosal.find_bids_runs(write_bids(tmp_path, rng), task="faces")
    atlas = neurosal.load_atlas(write_atlas(tmp_path / "x_dseg.nii.gz"))
    words = r"No run has a window of rest: no gap between events lasts 8 s, or .*shorter window"
    with pytest.warns(UserWarning, match=words):
        neurosal.extract_windows(runs, atlas, conditions={"fäce": ["fäce"], "rest": []})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        neurosal.extract_windows(runs, atlas, conditions={"fäce": ["fäce"], "rest": []}, window=4.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"confounds": ["rmsd"]}, "sub-02 task-faces: no confounds"),
        ({"scrub_mm": 0.5}, "sub-02 task-faces: no confounds"),
        ({"conditions": {"x": ["x"]}}, "the trial type 'x', which sub-01 task-faces does not have"),
        ({"lag": -1}, "lag must be a number of seconds"),
        ({"merge": "8", "window": None}, "merge must be a number of seconds"),
        ({"window": 0}, "window must be a number of seconds"),
        ({"t_r": 1.0}, r"sub-02 task-faces cannot join those of sub-01 .*: t_r 1 and 2 s"),
    ],
)  # fmt: skip
def test_what_the_last_run_lacks_is_told_before_the_first_is_read(tmp_path, rng, options, words):
    root = write_bids(tmp_path, rng, subjects=("01", "02"))
    first, last = neurosal.find_bids_runs(root, task="faces")
    first = replace(first, confounds=pd.DataFrame({"rmsd": np.zeros(60)}))
    options = {"window": 8.0} | options
    last = replace(last, t_r=options.pop("t_r", last.t_r))
    with pytest.raises(NeurosalError, match=words):
        neurosal.extract_windows([first, last], "no atlas", **options)


# --------------------------------------------------------------------------------------- the atlas


def test_three_thousand_labels_are_three_thousand_means(tmp_path, rng):
    labels = np.zeros((20, 20, 20), dtype=np.int32)
    ids = 5 + 7 * np.arange(3000)
    labels.flat[:6000] = rng.permutation(np.repeat(ids, 2))
    table = "index\tname\n" + "".join(f"{one}\tparcel {one}\n" for one in ids)
    atlas = neurosal.load_atlas(write_atlas(tmp_path / "x_dseg.nii.gz", labels, table))
    image = bold_image(rng, labels, n_times=4)
    nib.save(image, tmp_path / "bold.nii.gz")
    series = neurosal.extract_regions(tmp_path / "bold.nii.gz", atlas)
    order = np.argsort(labels.ravel(), kind="stable")[-6000:]
    voxels = image.get_fdata().reshape(-1, 4)[order].reshape(3000, 2, 4)
    np.testing.assert_allclose(series.values, voxels.mean(axis=1).T, rtol=1e-12)
    assert series["label_id"].values.tolist() == ids.tolist()
    assert series["region"].values[-1] == f"parcel {ids[-1]}"


@pytest.mark.parametrize("how", ["float", "scaled"])
def test_label_files_of_whole_floats_are_read_and_of_fractions_refused_by_name(tmp_path, how):
    plain = neurosal.load_atlas(write_atlas(tmp_path / "plain_dseg.nii.gz"))
    path = write_atlas(tmp_path / "odd_dseg.nii.gz", LABELS.astype(np.float32))
    if how == "scaled":
        halves = nib.Nifti1Image(LABELS * np.int16(2), np.eye(4))
        halves.header.set_slope_inter(0.5, 0)
        nib.save(halves, path)
    whole = neurosal.load_atlas(path)
    assert whole.hash == plain.hash
    assert np.asarray(whole.labels.dataobj).dtype.kind in "iu"
    nib.save(nib.Nifti1Image(LABELS * 0.5, np.eye(4)), path)
    with pytest.raises(DataError, match="odd_dseg are not whole numbers"):
        neurosal.load_atlas(path)


def test_raw_runs_are_told_when_the_atlas_is_in_a_space_of_its_own(tmp_path, rng):
    root = write_bids(tmp_path / "study", rng, subjects=("01", "02", "03"))
    runs = neurosal.find_bids_runs(root, task="faces")
    placed = neurosal.load_atlas(
        write_atlas(tmp_path / "atlas-x_space-MNI152NLin6Asym_dseg.nii.gz")
    )
    told = "3 of 3 runs do not say in which space.*atlas x is in MNI152NLin6Asym.*Take preprocessed"
    with pytest.warns(UserWarning, match=told):
        neurosal.extract_windows(runs, placed, window=8.0)
    own = neurosal.load_atlas(write_atlas(tmp_path / "mine_dseg.nii.gz"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        neurosal.extract_windows(runs, own, window=8.0)
        neurosal.extract_windows(
            [replace(run, space="MNI152NLin6Asym") for run in runs], placed, window=8.0
        )


# ----------------------------------------------------------------------------- what a header says


def test_milliseconds_that_pass_for_seconds_are_refused_by_name(tmp_path, rng):
    image = bold_image(rng)
    image.header["pixdim"][4] = 720
    nib.save(image, tmp_path / "bold.nii.gz")
    atlas = neurosal.load_atlas(write_atlas(tmp_path / "x_dseg.nii.gz"))
    with pytest.raises(DataError, match=r"bold\.nii\.gz.*720"):
        neurosal.extract_regions(tmp_path / "bold.nii.gz", atlas)


def test_a_repetition_time_that_is_no_number_is_refused(tmp_path, rng):
    root = write_bids(tmp_path, rng)
    (sidecar,) = root.rglob("*_bold.json")
    sidecar.write_text('{"RepetitionTime": true}')
    with pytest.raises(DataError, match=r"bold\.json.*True"):
        neurosal.find_bids_runs(root, task="faces")


# ------------------------------------------------------------------------- regions without signal


def test_what_is_odd_about_several_runs_is_told_once(tmp_path, rng):
    root = write_bids(tmp_path, rng, subjects=("01", "02", "03", "04", "05"))
    runs = neurosal.find_bids_runs(root, task="faces")
    for run in runs[1:]:
        image = nib.load(run.img)
        data = image.get_fdata(dtype=np.float32)
        data[LABELS == 3], data[LABELS == 7] = 0, 5
        nib.save(nib.Nifti1Image(data, image.affine, image.header), run.img)
    atlas = neurosal.load_atlas(write_atlas(tmp_path / "x_dseg.nii.gz"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        windows = neurosal.extract_windows(runs, atlas, window=40.0)
    texts = [str(one.message) for one in caught]
    assert len(texts) == 4
    for start, names in (
        ("4 of 5 runs lack regions of x", ["zeros: Gyrus é. The first is ", "sub-02_task-faces"]),
        ("4 of 5 runs have regions that are 0", ["sub-02 task-faces: ", "b 名", "and 2 more"]),
        ("5 of 5 runs have windows that were dropped", ["sub-01 task-faces: 1 windows dropped"]),
        ("5 of 5 runs have windows that share much", ["Choose conditions", "and 3 more"]),
    ):
        (text,) = [text for text in texts if text.startswith(start)]
        assert all(name in text for name in names)
    assert len(windows.attrs["dropped"]) == 5


def test_silent_and_constant_regions_are_told_with_the_run(tmp_path, rng):
    root = write_bids(tmp_path / "bids", rng)
    (run,) = neurosal.find_bids_runs(root, task="faces")
    image = nib.load(run.img)
    data = image.get_fdata(dtype=np.float32)
    data[LABELS == 3], data[LABELS == 7] = 0, 5
    nib.save(nib.Nifti1Image(data, image.affine, image.header), tmp_path / "flat.nii.gz")
    atlas = neurosal.load_atlas(write_atlas(tmp_path / "x_dseg.nii.gz"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        windows = neurosal.extract_windows(
            [replace(run, img=tmp_path / "flat.nii.gz")], atlas, window=8.0
        )
    assert np.isnan(windows.sel(region="Gyrus é")).all()
    assert (windows.sel(region="b 名") == 0).all()
    told = [str(one.message) for one in caught]
    assert any("Gyrus é" in text and "flat.nii.gz" in text for text in told)
    assert any("b 名" in text and run.label in text for text in told)


@pytest.mark.filterwarnings("ignore:Cosine filter")
@pytest.mark.parametrize("scrubbed", [False, True])
def test_a_head_that_sinks_slowly_does_not_switch_the_filter_off(rng, scrubbed):
    n_times = 284
    frames = (np.arange(n_times) + 0.5) / n_times
    slow = np.cos(2 * np.pi * frames)
    values = rng.normal(size=(n_times, 2)) + 100
    values[:, 0] += 5 * slow
    series = xr.DataArray(values, dims=("time", "region"), coords={"region": ["slow", "quiet"]})
    motion = pd.DataFrame({"trans_z": np.cos(np.pi * frames) + rng.normal(0, 0.1, n_times)})
    mask = np.arange(n_times) != 5 if scrubbed else None
    for sign in (1, -1):
        clean = clean_series(series, sign * motion, t_r=0.72, high_pass=0.008, sample_mask=mask)
        assert abs(np.corrcoef(clean[:, 0], slow)[0, 1]) < 0.05


def test_cosines_among_the_confounds_are_not_taken_twice(rng):
    n_times, high_pass = 120, 0.01
    frames = (np.arange(n_times) + 0.5) / n_times
    slow = [np.cos(np.pi * k * frames) for k in range(1, int(2 * n_times * T_R * high_pass) + 1)]
    table = pd.DataFrame({"cosine00": np.round(slow[0], 9), "motion": rng.normal(size=n_times)})
    series = xr.DataArray(rng.normal(size=(n_times, 3)).cumsum(axis=0), dims=("time", "region"))
    clean = clean_series(
        series, table, t_r=T_R, high_pass=high_pass, standardize=None, detrend=True
    )
    known = np.column_stack([np.ones(n_times), frames, *slow, table["motion"]])
    rest = series.values - known @ np.linalg.lstsq(known, series.values, rcond=None)[0]
    np.testing.assert_allclose(clean.values, rest, atol=1e-5)


@pytest.mark.parametrize("scrubbed", [False, True])
def test_confounds_and_cosines_that_use_up_all_frames_are_refused_with_counts(
    tmp_path, rng, scrubbed
):
    root = write_bids(tmp_path, rng)
    (run,) = neurosal.find_bids_runs(root, task="faces")
    names = [f"noise{k}" for k in range(35 if scrubbed else 49)]
    table = pd.DataFrame(rng.normal(size=(60, len(names))), columns=names)
    table["framewise_displacement"] = np.where(np.arange(60) % 4 == 3, 1.0, 0.0)
    run = replace(run, confounds=table)
    atlas = neurosal.load_atlas(write_atlas(tmp_path / "x_dseg.nii.gz"))
    options = {"window": 8.0, "confounds": names, "scrub_mm": 0.5 if scrubbed else None}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = neurosal.extract_windows([run], atlas, high_pass=0.008, **options)
    assert float(kept.std()) > 0
    told = {
        False: "49 confounds and 9 slow cosines leave nothing of 60 frames. ",
        True: "35 confounds and 9 slow cosines leave nothing of 45 frames that are left of 60 ",
    }
    with pytest.raises(DataError, match=told[scrubbed]) as error:
        neurosal.extract_windows([run], atlas, high_pass=0.04, **options)
    assert run.label in str(error.value)
    assert str(run.img) in str(error.value)


def test_a_run_too_short_for_the_cut_off_is_told(rng):
    series = xr.DataArray(rng.normal(size=(10, 2)), dims=("time", "region"))
    with pytest.warns(UserWarning, match=r"sub-07: high_pass 0\.001 Hz removes nothing.*20 s"):
        clean_series(series, t_r=T_R, high_pass=0.001, name="sub-07")
