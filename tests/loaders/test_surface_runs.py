"""BIDS runs on surfaces and in grayordinates."""

import json

import nibabel
import numpy as np
import pytest

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.bids import find_bids_runs
from neurosal.loaders.surfaces import read_frames

N_VOLUMES = 12
WHERE = {"task": "faces", "derivatives": "derivatives/fmriprep"}


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.ones((2, 2, 2, N_VOLUMES), "float32"), np.eye(4))
    nibabel.save(image, path)


def write_raw(root, stem="sub-01_task-faces"):
    folder = root / stem.split("_")[0] / "func"
    write_image(folder / f"{stem}_bold.nii.gz")
    (folder / f"{stem}_bold.json").write_text(json.dumps({"RepetitionTime": 2.0}))
    (folder / f"{stem}_events.tsv").write_text("onset\tduration\ttrial_type\n4\t2\ta\n0\t2\tb\n")


def write_surface(root, stem="sub-01_task-faces", *, sides="LR", n=N_VOLUMES, t_r=None):
    """One array a frame, as fMRIPrep's FreeSurfer writes them."""
    folder = root / "derivatives" / "fmriprep" / stem.split("_")[0] / "func"
    folder.mkdir(parents=True, exist_ok=True)
    meta = {} if t_r is None else {"TimeStep": str(t_r)}
    frames = [
        nibabel.gifti.GiftiDataArray(
            np.full(3, k, "float32"), intent="NIFTI_INTENT_TIME_SERIES", meta=meta
        )
        for k in range(n)
    ]
    paths = [folder / f"{stem}_hemi-{side}_space-fsaverage5_bold.func.gii" for side in sides]
    for path in paths:
        nibabel.save(nibabel.GiftiImage(darrays=frames), path)
    return paths


def write_cifti(root, stem="sub-01_task-faces", *, den="91k", t_r=2.0):
    folder = root / "derivatives" / "fmriprep" / stem.split("_")[0] / "func"
    folder.mkdir(parents=True, exist_ok=True)
    series = nibabel.cifti2.SeriesAxis(0, t_r, N_VOLUMES)
    brain = nibabel.cifti2.BrainModelAxis.from_surface([0, 2], 4, "CORTEX_LEFT")
    image = nibabel.Cifti2Image(np.ones((N_VOLUMES, 2), "float32"), (series, brain))
    path = folder / f"{stem}_space-fsLR_den-{den}_bold.dtseries.nii"
    nibabel.save(image, path)
    return path


def test_surfaces_come_in_pairs(tmp_path):
    write_raw(tmp_path)
    left, right = write_surface(tmp_path)
    table = left.parent / "sub-01_task-faces_desc-confounds_timeseries.tsv"
    table.write_text("csf\n" + "1.5\n" * N_VOLUMES)
    (run,) = find_bids_runs(tmp_path, **WHERE, space="fsaverage5")
    assert run.img == {"left": left, "right": right}
    assert (run.space, run.t_r, len(run.events)) == ("fsaverage5", 2.0, 2)
    assert run.confounds.shape == (N_VOLUMES, 1)
    assert run.image_name == f"{left} and {right}"
    write_image(left.with_name("sub-01_task-faces_space-MNI_desc-preproc_bold.nii.gz"))
    (run,) = find_bids_runs(tmp_path, **WHERE)  # volumes, where no space is asked for
    assert run.space == "MNI"
    with pytest.raises(
        DataError, match=r"No images of the kind 'cifti' are .*There: .*volume, in MNI, fsav"
    ):
        find_bids_runs(tmp_path, **WHERE, kind="cifti")


def test_hemispheres_that_differ_or_lack_are_told(tmp_path):
    write_raw(tmp_path)
    write_raw(tmp_path, "sub-02_task-faces")
    write_surface(tmp_path)
    (left,) = write_surface(tmp_path, "sub-02_task-faces", sides="L")
    with pytest.warns(
        UserWarning, match=r"1 runs have one hemisphere only.*sub-02_task-faces_hemi"
    ):
        runs = find_bids_runs(tmp_path, **WHERE, space="fsaverage5")
    assert runs[1].img == {"left": left}
    write_surface(tmp_path, "sub-02_task-faces", sides="R", n=N_VOLUMES - 1)
    with pytest.raises(DataError, match=r"Two hemispheres of one run differ: .*12 frames.*11 fra"):
        find_bids_runs(tmp_path, **WHERE, space="fsaverage5")


@pytest.mark.parametrize(("step", "t_r"), [("2000.0", 2.0), ("1.5", 1.5), (None, None)])
def test_headers_of_surfaces_tell_seconds_or_milliseconds(tmp_path, step, t_r):
    (left,) = write_surface(tmp_path, sides="L", t_r=step)
    assert read_frames({"left": left}) == (N_VOLUMES, t_r)
    whole = nibabel.gifti.GiftiDataArray(np.zeros((3, 7), "float32"))
    nibabel.save(nibabel.GiftiImage(darrays=[whole]), left)
    assert read_frames({"left": left}) == (7, None)
    for text in (b"", b"<GIFTI NumberOfDataArrays='0'>", b"<GIFTI NumberOfDataArrays='1'>"):
        left.write_bytes(text)
        with pytest.raises(DataError, match=r"hemi-L_space-fsaverage5_bold.func.gii"):
            read_frames({"left": left})


def test_grayordinates_are_found_by_their_space(tmp_path):
    write_raw(tmp_path)
    path = write_cifti(tmp_path)
    (run,) = find_bids_runs(tmp_path, **WHERE, space="fsLR")
    assert (run.img, run.space, run.t_r) == (path, "fsLR", 2.0)
    write_cifti(tmp_path, den="170k")
    (run,) = find_bids_runs(tmp_path, **WHERE, space="fsLR", resolution="91k")
    assert run.img == path
    (run,) = find_bids_runs(tmp_path, **WHERE, kind="cifti")
    assert run.notes[-1] == "resolution '170k' taken of ['170k', '91k']"
    (left, right) = write_surface(tmp_path)
    for one in (left, right):
        one.rename(one.with_name(one.name.replace("fsaverage5", "fsLR_den-91k")))
    with pytest.raises(DataError, match=r"'fsLR' are of several kinds: cifti, surface. Choose"):
        find_bids_runs(tmp_path, **WHERE, space="fsLR")
    (run,) = find_bids_runs(tmp_path, **WHERE, space="fsLR", kind="surface")
    assert set(run.img) == {"left", "right"}
    with pytest.raises(ArgumentError, match=r"kind must be one of None, 'volume'.*Got 'gifti'"):
        find_bids_runs(tmp_path, **WHERE, kind="gifti")
