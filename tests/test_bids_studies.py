"""BIDS studies, raw and preprocessed, from the files to the maps, as a user types it."""

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from study_cases import (
    N_FRAMES,
    RESPONDS,
    importance,
    inspected,
    metrics,
    neurosal_run,
    write_bids,
)

import neurosal
from neurosal.labelled import load_array

WORDS = ("--task", "faces", "--window", "12", "--lag", "4", "--cv", "subject")


@pytest.fixture(scope="module")
def bids(tmp_path_factory):
    """A study full of motion and drift."""
    return write_bids(tmp_path_factory.mktemp("bids") / "study", spoiled=True)


@pytest.fixture(scope="module")
def clean_bids(tmp_path_factory):
    """The same without."""
    return write_bids(tmp_path_factory.mktemp("clean") / "study", spoiled=False)


PREPROCESSED = ("--derivatives", "derivatives/fmriprep", "--confounds", "simple", "--scrub", "0.5")


def cleaned_windows(root, kind, space, atlas):
    """Windows of the study without motion and drift, cleaned all the same."""
    runs = neurosal.find_bids_runs(
        root, task="faces", derivatives="derivatives/fmriprep", space=space, kind=kind
    )
    return neurosal.extract_windows(
        runs, neurosal.load_atlas(atlas), window=12.0, lag=4.0, confounds="simple", scrub_mm=0.5
    )


@pytest.mark.parametrize("kind", ["volume", "surface"])
def test_fmriprep_s_confounds_and_scrubbed_frames_leave_no_trace(bids, clean_bids, kind, tmp_path):
    atlas, space = bids.parent / "mini_dseg.nii.gz", "MNI152NLin2009cAsym"
    if kind == "surface":
        atlas = tuple(str(bids.parent / f"hemi-{side}_mini.label.gii") for side in "LR")
        space = "fsaverage5"
    neurosal_run(
        "--bids", bids, *PREPROCESSED, "--space", space, *WORDS, "--out", tmp_path,
        "--screening", 100, "--atlas", ",".join(atlas) if kind == "surface" else atlas,
    )  # fmt: skip
    found = importance(tmp_path)
    assert {name: found.loc[name].idxmax() for name in RESPONDS} == RESPONDS
    assert metrics(tmp_path)["accuracy"] > 0.9
    assert (tmp_path / "report.html").is_file()
    spoiled, clean = (
        load_array(tmp_path / "windows.nc"),
        cleaned_windows(clean_bids, kind, space, atlas),
    )
    assert set(spoiled["session"].to_numpy()) == {"a", "b"}
    assert int(spoiled["scrubbed"].sum()) > 0
    np.testing.assert_array_equal(spoiled["scrubbed"], clean["scrubbed"])
    np.testing.assert_allclose(spoiled, clean, atol=1e-6 if kind == "volume" else 1e-3)
    ending = ".nii.gz" if kind == "volume" else ".ptseries.nii"
    maps = list(tmp_path.glob(f"*_saliency{ending}"))
    assert len(maps) == 2
    for path in maps:
        assert np.isfinite(nib.load(path).get_fdata()).all()


def test_several_spaces_and_no_choice(bids, tmp_path, capfd):
    words = ("--bids", bids, *PREPROCESSED, *WORDS, "--out", tmp_path)
    neurosal_run(*words, code=2)
    said = capfd.readouterr().err
    assert "several spaces: MNI152NLin2009cAsym, T1w, fsaverage5" in said
    neurosal_run(*words, "--kind", "surface", "--atlas", "a.label.gii,b.label.gii", code=2)
    assert "a.label.gii" in capfd.readouterr().err
    neurosal_run(*words, "--kind", "cifti", code=2)
    assert "No images of the kind 'cifti'" in capfd.readouterr().err


def test_nilearn_s_fake_data_set_runs_to_the_report(tmp_path):
    from nilearn._utils.data_gen import create_fake_bids_dataset

    root = create_fake_bids_dataset(tmp_path, n_sub=2, n_ses=2, tasks=["main"], n_runs=[2])
    image = nib.load(next((root / "derivatives").rglob("*space-MNI_desc-preproc_bold.nii.gz")))
    labels = np.zeros(image.shape[:3], np.int16)
    labels[:2], labels[2:] = 4, 9
    nib.save(nib.Nifti1Image(labels, image.affine), tmp_path / "halves_dseg.nii.gz")
    (tmp_path / "halves_dseg.tsv").write_text("index\tname\n4\tfront\n9\tback\n")
    neurosal_run(
        "--bids", root, "--derivatives", "derivatives", "--space", "MNI", "--task", "main",
        "--confounds", "trans_x,rot_z", "--window", "6", "--cv", "subject",
        "--atlas", tmp_path / "halves_dseg.nii.gz", "--out", tmp_path / "out",
    )  # fmt: skip
    windows = load_array(tmp_path / "out" / "windows.nc")
    counts = windows["condition"].to_series().value_counts().to_dict()
    assert counts == {"c0": 8, "c1": 16, "c2": 8}  # the runs end after 45 s
    assert set(windows["session"].to_numpy()) == {"01", "02"}
    assert set(windows["run"].to_numpy()) == {"01", "02"}
    assert (tmp_path / "out" / "report.html").is_file()


def test_a_run_that_cannot_be_cleaned_is_named(bids, tmp_path, capfd):
    root = shutil.copytree(bids, tmp_path / "study")
    table = next(root.rglob("sub-02_ses-b*_desc-confounds_timeseries.tsv"))
    rows = pd.read_csv(table, sep="\t", na_values="n/a")
    more = pd.DataFrame(np.random.default_rng(0).normal(size=(N_FRAMES, N_FRAMES)))
    pd.concat([rows, more.add_prefix("more")], axis=1).to_csv(
        table, sep="\t", index=False, na_rep="n/a"
    )
    neurosal_run(
        "--bids", root, *PREPROCESSED[:2], "--confounds", "all", "--space", "T1w", *WORDS,
        "--atlas", bids.parent / "mini_dseg.nii.gz", "--out", tmp_path / "out", code=2,
    )  # fmt: skip
    assert "sub-02 ses-b task-faces" in capfd.readouterr().err.splitlines()[-1]


def test_inspect_tells_what_is_raw_and_what_is_preprocessed(bids, capfd):
    told = inspected(capfd, bids)
    assert "(BIDS): 3 subjects, 1 task, 6 runs" in told
    assert "fsaverage5" in told
    told = inspected(capfd, bids, "--derivatives", "derivatives/fmriprep", "--space", "T1w")
    assert "No problems." in told
    assert "error: " in inspected(capfd, bids, "--space", "T2w", code=2)
