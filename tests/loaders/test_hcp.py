"""HCP folders as they come, with empty event files, missing runs and broken files."""

import nibabel
import numpy as np
import pytest
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.bids import is_bids
from neurosal.loaders.events import make_windows, parse_conditions
from neurosal.loaders.hcp import HCP_BLOCKS, find_hcp_runs, is_hcp

N_VOLUMES = 30


def write_image(path, *, t_r=0.72, unit="sec", shape=(2, 2, 2, N_VOLUMES)):
    image = nibabel.Nifti1Image(np.ones(shape, "float32"), np.eye(4))
    if len(shape) == 4:
        image.header.set_zooms((2, 2, 2, t_r))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)


def write_run(root, subject="100307", task="MOTOR", run="LR", *, ending=".nii.gz", **header):
    folder = root / subject / "MNINonLinear" / "Results" / f"tfMRI_{task}_{run}"
    (folder / "EVs").mkdir(parents=True)
    write_image(folder / f"{folder.name}{ending}", **header)
    (folder / "EVs" / "rh.txt").write_text("11.0\t12\t1\n3\t2.5\t1\n")
    (folder / "EVs" / "lh.txt").write_text("7.009 4 1\n")
    (folder / "EVs" / "error.txt").write_text("\n")
    (folder / "EVs" / "Sync.txt").write_text("12.3\n")
    (folder / "EVs" / "MOTOR_Stats.csv").write_text("a,b\n")
    movement = np.arange(N_VOLUMES * 12.0).reshape(N_VOLUMES, 12)
    np.savetxt(folder / "Movement_Regressors.txt", movement)
    return folder


def test_run_is_read_as_it_lies(tmp_path):
    write_run(tmp_path, run="RL", ending=".nii")
    folder = write_run(tmp_path, run="LR")
    runs = find_hcp_runs(tmp_path, task="motor")
    assert [run.label for run in runs] == [f"sub-100307 task-MOTOR run-{r}" for r in ("LR", "RL")]
    run = runs[0]
    assert run.img == folder / "tfMRI_MOTOR_LR.nii.gz"
    assert (run.t_r, run.space) == (0.72, "MNI152NLin6Asym")
    assert run.events.to_dict("list") == {
        "onset": [3.0, 7.009, 11.0],
        "duration": [2.5, 4.0, 12.0],
        "trial_type": ["rh", "lh", "rh"],
    }
    assert run.confounds.shape == (N_VOLUMES, 12)
    assert run.confounds["rot_z_derivative1"].iloc[0] == 11
    assert run.notes == ("empty event files, no such event in this run: error",)
    series = nibabel.load(run.img).get_fdata().reshape(8, N_VOLUMES).T
    windows = make_windows(_labelled(series), run, window=3, conditions=parse_conditions(["error"]))
    assert windows.sizes["sample"] == 0  # an empty file is no unknown condition
    assert is_hcp(tmp_path)
    assert not is_bids(tmp_path)


def _labelled(values):
    coords = {"time": 0.72 * np.arange(len(values))}
    return xr.DataArray(values, dims=("time", "region"), coords=coords)


def test_six_movement_columns_or_none(tmp_path):
    folder = write_run(tmp_path, run="LR")
    np.savetxt(folder / "Movement_Regressors.txt", np.zeros((N_VOLUMES, 6)))
    (write_run(tmp_path, run="RL") / "Movement_Regressors.txt").unlink()
    one, two = find_hcp_runs(tmp_path, task="MOTOR")
    assert list(one.confounds) == ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
    assert two.confounds is None
    assert "no Movement_Regressors.txt" in two.notes[-1]


def test_missing_runs_are_told_in_one_warning(tmp_path):
    write_run(tmp_path, "100307", run="LR")
    write_run(tmp_path, "100307", run="RL")
    write_run(tmp_path, "100408", run="RL")
    (write_run(tmp_path, "101107", run="LR") / "tfMRI_MOTOR_LR.nii.gz").unlink()
    write_run(tmp_path, "101107", task="WM")
    with pytest.warns(
        UserWarning, match="3 runs of MOTOR.*: 100408 LR, 101107 LR, 101107 RL"
    ) as told:
        runs = find_hcp_runs(tmp_path, task="MOTOR")
    assert len(told) == 1
    assert [(run.subject, run.run) for run in runs] == [
        ("100307", "LR"),
        ("100307", "RL"),
        ("100408", "RL"),
    ]
    assert len(find_hcp_runs(tmp_path, task="MOTOR", subjects=["100307"])) == 2


def test_milliseconds_in_the_header_are_understood(tmp_path):
    write_run(tmp_path, run="LR", t_r=720, unit="msec")
    write_run(tmp_path, run="RL")
    assert find_hcp_runs(tmp_path, task="MOTOR")[0].t_r == 0.72


@pytest.mark.parametrize(
    ("header", "said"), [({"t_r": 0}, "none"), ({"t_r": 2}, "2 s"), ({"t_r": 720}, "720 s")]
)
def test_another_repetition_time_is_refused(tmp_path, header, said):
    write_run(tmp_path, **header)
    with pytest.raises(DataError, match=rf"tfMRI_MOTOR_LR.nii.gz: .* as {said}; .*xyzt_units"):
        find_hcp_runs(tmp_path, task="MOTOR")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("EVs/rh.txt", "onset duration weight\n1 2 3\n", r"rh.txt as columns of numbers.*'onset'"),
        ("EVs/rh.txt", "1 2 1\n3 4\n", "rh.txt as columns of numbers"),
        ("EVs/rh.txt", "1 2\n", "rh.txt has 2 columns where"),
        ("EVs/rh.txt", "1 nan 1\n", "rh.txt holds values that are not finite"),
        ("EVs/rh.txt", "1 -2 1\n", "negative duration"),
        ("Movement_Regressors.txt", "1 2 3 4 5 6\n", r"has the shape \(1, 6\).*30 rows"),
        ("tfMRI_MOTOR_LR.nii.gz", "no image", "Cannot read .*tfMRI_MOTOR_LR.nii.gz as a NIfTI"),
        ("tfMRI_MOTOR_LR.nii.gz", "", "Cannot read .*tfMRI_MOTOR_LR.nii.gz as a NIfTI"),
    ],
)  # fmt: skip
def test_broken_files_are_named(tmp_path, name, text, message):
    (write_run(tmp_path) / name).write_text(text)
    with pytest.raises(DataError, match=message):
        find_hcp_runs(tmp_path, task="MOTOR")


def test_damaged_gzip_is_named(tmp_path):
    path = write_run(tmp_path) / "tfMRI_MOTOR_LR.nii.gz"
    path.write_bytes(path.read_bytes()[:12] + b"\xff" * 40)
    with pytest.raises(DataError, match="Cannot read"):
        find_hcp_runs(tmp_path, task="MOTOR")


def test_volume_without_time_is_refused(tmp_path):
    write_run(tmp_path, shape=(2, 2, 2))
    with pytest.raises(DataError, match=r"has shape \(2, 2, 2\). Give a 4D file"):
        find_hcp_runs(tmp_path, task="MOTOR")


def test_wrong_folders_tasks_and_subjects_are_named(tmp_path):
    with pytest.raises(DataError, match="not in the HCP's layout"):
        find_hcp_runs(tmp_path, task="MOTOR")
    folder = write_run(tmp_path)
    write_run(tmp_path, task="WM")
    with pytest.raises(DataError, match=r"no task 'SOCIAL'. Tasks there: MOTOR, WM"):
        find_hcp_runs(tmp_path, task="SOCIAL")
    with pytest.raises(ArgumentError, match=r"subjects must be among .*100307. Got .*'9'"):
        find_hcp_runs(tmp_path, task="MOTOR", subjects=["9"])
    with pytest.raises(DataError, match="folder of one subject"):
        find_hcp_runs(tmp_path / "100307", task="MOTOR")
    for path in (folder / "EVs").glob("*.txt"):
        path.unlink()
    with pytest.raises(DataError, match="EVs holds no event files"):
        find_hcp_runs(tmp_path, task="MOTOR")


def test_blocks_of_every_task_are_distinct():
    assert " ".join(HCP_BLOCKS) == "EMOTION GAMBLING LANGUAGE MOTOR RELATIONAL SOCIAL WM"
    assert len(HCP_BLOCKS["WM"]) == len(set(HCP_BLOCKS["WM"])) == 8
    assert "0bk_faces" in HCP_BLOCKS["WM"]
