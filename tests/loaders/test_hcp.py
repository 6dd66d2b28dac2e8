"""HCP folders as they come, with empty event files, missing runs and broken files."""

import warnings

import nibabel
import numpy as np
import pytest
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.bids import is_bids
from neurosal.loaders.confounds import choose_confounds
from neurosal.loaders.events import make_windows, parse_conditions
from neurosal.loaders.hcp import HCP_BLOCKS, find_hcp_runs, hcp_conditions, is_hcp
from neurosal.loaders.scrub import framewise_displacement

N_VOLUMES = 30


def write_image(path, *, t_r=0.72, unit="sec", shape=(2, 2, 2, N_VOLUMES)):
    image = nibabel.Nifti1Image(np.ones(shape, "float32"), np.eye(4))
    if len(shape) == 4:
        image.header.set_zooms((2, 2, 2, t_r))
    image.header.set_xyzt_units("mm", unit)
    nibabel.save(image, path)


def write_cifti(folder, *, ending="_Atlas_MSMAll", t_r=0.72, unit="SECOND", n=N_VOLUMES):
    series = nibabel.cifti2.SeriesAxis(0, t_r, n, unit=unit)
    brain = nibabel.cifti2.BrainModelAxis.from_surface([0, 2], 4, "CORTEX_LEFT")
    image = nibabel.Cifti2Image(np.ones((n, 2), "float32"), (series, brain))
    path = folder / f"{folder.name}{ending}.dtseries.nii"
    nibabel.save(image, path)
    return path


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


def test_files_that_other_systems_leave_are_no_events(tmp_path):
    folder = write_run(tmp_path) / "EVs"
    (folder / "._rh.txt").write_bytes(b"\x00\x05\x16\x07\xb0")
    (folder / "lf.txt").write_text("\ufeff5\t12\t1\r\n", newline="")
    (folder / "rf.txt").write_text("0 0 0\n")
    (run,) = find_hcp_runs(tmp_path, task="MOTOR", runs="LR")
    assert run.events.query("trial_type == 'lf'")["onset"].tolist() == [5.0]
    assert run.trial_types == ("error", "lf", "lh", "rf", "rh")
    assert "error, rf" in run.notes[0]


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
        UserWarning, match="no image for 3 runs of MOTOR.*: 100408 LR, 101107 LR, 101107 RL"
    ) as told:
        runs = find_hcp_runs(tmp_path, task="MOTOR")
    assert len(told) == 1
    assert [(run.subject, run.run) for run in runs] == [
        ("100307", "LR"),
        ("100307", "RL"),
        ("100408", "RL"),
    ]
    for subjects in (["100307"], "100307", 100307):
        assert len(find_hcp_runs(tmp_path, task="MOTOR", subjects=subjects)) == 2


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


def test_grayordinates_are_found_areal_alignment_first(tmp_path):
    folder = write_run(tmp_path, run="LR")
    areal = write_cifti(folder)
    write_cifti(folder, ending="_Atlas")
    folded = write_cifti(write_run(tmp_path, run="RL"), ending="_Atlas")
    with pytest.warns(UserWarning, match="1 of 2 runs are aligned by folding.*: sub-100307 .*RL"):
        runs = find_hcp_runs(tmp_path, task="MOTOR", kind="cifti")
    assert [run.img for run in runs] == [areal, folded]
    assert [run.space for run in runs] == ["fsLR", "fsLR"]
    assert all(run.t_r == 0.72 and len(run.confounds) == N_VOLUMES for run in runs)
    assert "aligned by folding" not in " ".join(runs[0].notes)
    assert "aligned by folding" in runs[1].notes[-1]
    assert find_hcp_runs(tmp_path, task="MOTOR")[0].img.name == "tfMRI_MOTOR_LR.nii.gz"


@pytest.mark.parametrize(
    ("axis", "said"), [({"t_r": 2.0}, "2 s"), ({"unit": "HERTZ"}, "none"), ({"t_r": 0}, "none")]
)
def test_grayordinates_of_another_repetition_time_are_refused(tmp_path, axis, said):
    write_cifti(write_run(tmp_path), **axis)
    with pytest.raises(DataError, match=rf"MSMAll.dtseries.nii: .* as {said}; .*its series axis"):
        find_hcp_runs(tmp_path, task="MOTOR", kind="cifti")


def test_the_kind_that_is_there_is_named(tmp_path):
    folder = write_run(tmp_path)
    with pytest.raises(DataError, match=r"no grayordinates .*LR_Atlas_MSMAll.* choose kind='vol"):
        find_hcp_runs(tmp_path, task="MOTOR", kind="cifti")
    write_cifti(folder)
    (folder / "tfMRI_MOTOR_LR.nii.gz").unlink()
    with pytest.raises(DataError, match=r"no volume .*tfMRI_MOTOR_LR.nii.gz.* choose kind='cifti'"):
        find_hcp_runs(tmp_path, task="MOTOR")
    with pytest.raises(ArgumentError, match=r"kind must be one of 'volume', 'cifti'. Got 'gifti'"):
        find_hcp_runs(tmp_path, task="MOTOR", kind="gifti")
    (folder / "tfMRI_MOTOR_LR_Atlas_MSMAll.dtseries.nii").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"Cannot read .*MSMAll.dtseries.nii as a CIFTI file"):
        find_hcp_runs(tmp_path, task="MOTOR", kind="cifti")
    write_image(folder / "tfMRI_MOTOR_LR_Atlas_MSMAll.dtseries.nii")
    with pytest.raises(DataError, match=r"MSMAll.dtseries.nii"):
        find_hcp_runs(tmp_path, task="MOTOR", kind="cifti")


def test_several_tasks_come_together(tmp_path):
    for task in ("MOTOR", "WM"):
        folder = write_run(tmp_path, task=task)
        (folder / "EVs" / f"{task}_own.txt").write_text("1 2 1\n")
    write_run(tmp_path, "100408", task="WM")
    with pytest.warns(UserWarning, match="1 runs of MOTOR, which .*: 100408 MOTOR LR"):
        runs = find_hcp_runs(tmp_path, task="all", runs=None)
    assert [(run.subject, run.task) for run in runs] == [
        ("100307", "MOTOR"),
        ("100307", "WM"),
        ("100408", "WM"),
    ]
    assert {run.trial_types for run in runs} == {("MOTOR_own", "WM_own", "error", "lh", "rh")}
    series = _labelled(np.zeros((N_VOLUMES, 1)))
    conditions = {"a": ["MOTOR_own"], "b": ["WM_own"]}
    windows = [make_windows(series, r, window=3, conditions=conditions, label="task") for r in runs]
    assert [w.condition.values.tolist() for w in windows] == [["MOTOR"], ["WM"], []]
    two = find_hcp_runs(tmp_path, task=["wm", "motor"], subjects=["100307"], runs="LR")
    assert [run.task for run in two] == ["WM", "MOTOR"]
    with pytest.raises(DataError, match=r"no task 'SOCIAL'. Tasks there: MOTOR, WM"):
        find_hcp_runs(tmp_path, task=["WM", "SOCIAL"])
    with pytest.raises(ArgumentError, match="task must name one task"):
        find_hcp_runs(tmp_path, task=[])


def test_an_encoding_that_nobody_has_is_told_once(tmp_path):
    for subject in ("1", "2", "3"):
        write_run(tmp_path, subject)
    with pytest.warns(UserWarning, match="no run MOTOR RL of any subject") as told:
        assert len(find_hcp_runs(tmp_path, task="MOTOR")) == 3
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(find_hcp_runs(tmp_path, task="MOTOR", runs=("LR",))) == 3
        assert len(find_hcp_runs(tmp_path, task="MOTOR", runs=None)) == 3
    with pytest.raises(DataError, match=r"tfMRI_MOTOR_RL.nii.gz and so on"):
        find_hcp_runs(tmp_path, task="MOTOR", runs=["RL"])
    for wrong in ("AP", ["LR", "AP"]):
        with pytest.raises(ArgumentError, match=r"runs must be one of 'LR', 'RL'. Got 'AP'"):
            find_hcp_runs(tmp_path, task="MOTOR", runs=wrong)
    with pytest.raises(ArgumentError, match="runs must name"):
        find_hcp_runs(tmp_path, task="MOTOR", runs=())


def test_displacement_is_read_beside_the_regressors(tmp_path):
    folder = write_run(tmp_path)
    moved = np.linspace(0, 1, N_VOLUMES)
    np.savetxt(folder / "Movement_RelativeRMS.txt", moved)
    (run,) = find_hcp_runs(tmp_path, task="MOTOR", runs=None)
    assert run.confounds.shape == (N_VOLUMES, 13)
    np.testing.assert_allclose(framewise_displacement(run), moved)
    assert "rmsd" not in choose_confounds(run, "motion")
    assert "rmsd" not in choose_confounds(run, "all")
    np.savetxt(folder / "Movement_RelativeRMS.txt", moved[1:])
    with pytest.raises(DataError, match=r"RelativeRMS.txt has the shape \(29, 1\); 1 columns and"):
        find_hcp_runs(tmp_path, task="MOTOR", runs=None)


def test_rotations_of_the_hcp_are_degrees(tmp_path):
    folder = write_run(tmp_path)
    turns = np.zeros((N_VOLUMES, 6))
    turns[5:, 3] = 2.0
    np.savetxt(folder / "Movement_Regressors.txt", turns)
    (run,) = find_hcp_runs(tmp_path, task="MOTOR", runs=None)
    moved = framewise_displacement(run)
    assert moved.idxmax() == 5
    np.testing.assert_allclose(moved.max(), 50 * 2 * np.pi / 180)


def test_events_after_the_end_are_noted(tmp_path):
    folder = write_run(tmp_path)
    (folder / "EVs" / "rh.txt").write_text("30 12 1\n")
    (run,) = find_hcp_runs(tmp_path, task="MOTOR", runs=None)
    assert "1 events begin after the run's end at 21.6 s, the last at 30 s" in run.notes[0]


def test_conditions_are_the_blocks_of_the_tasks():
    assert hcp_conditions("motor") == {name: [name] for name in HCP_BLOCKS["MOTOR"]}
    assert len(hcp_conditions("all")) == sum(map(len, HCP_BLOCKS.values())) == 23
    with pytest.raises(ArgumentError, match=r"task must be one of 'EMOTION'.*Got 'REST'"):
        hcp_conditions("rest")
