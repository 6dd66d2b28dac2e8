"""A look at studies in which something is missing or broken."""

import json
import os
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.bids import find_bids_runs
from neurosal.loaders.hcp import find_hcp_runs
from neurosal.loaders.inspect import inspect_study

EVENTS = "onset\tduration\ttrial_type\n4\t2\thouse\n0\t2\tface\n"
needs_data = pytest.mark.skipif(
    "NEUROSAL_TEST_DATA" not in os.environ, reason="NEUROSAL_TEST_DATA is not set"
)


def write_image(path, *, t_r=0.72, n=232):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.ones((1, 1, 1, n), "float32"), np.eye(4))
    image.header.set_zooms((2, 2, 2, t_r))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)
    return path


def write_hcp(root, subject, *, run="LR", task="RELATIONAL", **header):
    folder = root / subject / "MNINonLinear" / "Results" / f"tfMRI_{task}_{run}"
    image = write_image(folder / f"{folder.name}.nii.gz", **header)
    (folder / "EVs").mkdir()
    (folder / "EVs" / "relation.txt").write_text("10 16 1\n40 16 1\n")
    (folder / "EVs" / "match.txt").write_text("70 16 1\n")
    (folder / "EVs" / "error.txt").write_text("")
    n_frames = nibabel.load(image).shape[3]
    np.savetxt(folder / "Movement_Regressors.txt", np.zeros((n_frames, 12)))
    return folder


def write_bids(root, stem, *, derivative=False, t_r=2.0, n=12, events=EVENTS):
    folder = root / "derivatives" / "prep" if derivative else root
    folder = folder / stem.split("_")[0] / "func"
    tail = "_space-MNI_desc-preproc" if derivative else ""
    image = write_image(folder / f"{stem}{tail}_bold.nii.gz", t_r=t_r, n=n)
    (folder / f"{stem}_bold.json").write_text(json.dumps({"RepetitionTime": t_r}))
    if events and not derivative:
        (folder / f"{stem}_events.tsv").write_text(events)
    return image


def told(found, severity=None):
    """(Subject, run, problem) of each problem."""
    table = found.problems
    table = table if severity is None else table[table["severity"] == severity]
    return sorted(zip(table["subject"], table["run"], table["problem"], strict=True))


def test_a_whole_hcp_study_is_told_in_numbers(tmp_path):
    for subject in ("100307", "100408"):
        for run in ("LR", "RL"):
            write_hcp(tmp_path, subject, run=run)
    found = inspect_study(tmp_path)
    assert (found.layout, found.ok) == ("HCP", True)
    assert len(found.images) == 4
    assert set(found.images["n_volumes"]) == {232}
    assert set(found.images["n_events"]) == {3}
    assert found.images["confounds"].all()
    assert found.conditions.set_index("condition").to_dict("index") == {
        "error": {"task": "RELATIONAL", "subjects": 0, "runs": 0, "events": 0, "duration": nan()},
        "match": {"task": "RELATIONAL", "subjects": 2, "runs": 4, "events": 4, "duration": 16.0},
        "relation": {"task": "RELATIONAL", "subjects": 2, "runs": 4, "events": 8, "duration": 16.0},
    }
    assert told(found, "note") == sorted(told(found))
    assert {problem for *_, problem in told(found)} == {"empty event files"}
    text = found.to_text()
    assert str(found) == text
    assert f"{tmp_path} (HCP): 2 subjects, 1 task, 4 runs" in text
    assert "Problems: 4 notes\n  note: empty event files (4)\n    sub-100307 task-RELATI" in text
    assert "... and 1 more" in text


def nan():
    """Equal to a NaN."""
    return pytest.approx(np.nan, nan_ok=True)


def test_every_broken_hcp_file_is_told_and_the_rest_is_read(tmp_path):
    write_hcp(tmp_path, "1", run="LR")
    write_hcp(tmp_path, "1", run="RL", n=200)
    two = write_hcp(tmp_path, "2", run="LR")
    (two / "EVs" / "match.txt").write_text("70 16\n")
    (two / "EVs" / "relation.txt").write_text("200 16 1\n")
    (two / "EVs" / "error.txt").write_text("20 -1 1\n")
    (two / "Movement_Regressors.txt").unlink()
    three = write_hcp(tmp_path, "3", run="LR")
    (three / "tfMRI_RELATIONAL_LR.nii.gz").write_bytes(b"nothing")
    (three / "EVs" / "match.txt").write_text("")
    (write_hcp(tmp_path, "3", run="RL", t_r=2.0) / "Movement_Regressors.txt").write_text("x")
    four = write_hcp(tmp_path, "4", run="LR")
    (four / "tfMRI_RELATIONAL_LR.nii.gz").unlink()
    for path in (four / "EVs").glob("*"):
        path.unlink()
    np.savetxt(write_hcp(tmp_path, "4", run="RL") / "Movement_Regressors.txt", np.zeros((9, 6)))
    found = inspect_study(tmp_path)
    assert not found.ok
    assert told(found, "error") == [
        ("2", "LR", "broken event file"),
        ("2", "LR", "broken event file"),
        ("3", "LR", "unreadable image"),
        ("3", "RL", "unreadable image"),
        ("4", "LR", "missing events"),
        ("4", "LR", "missing image"),
        ("4", "RL", "movement"),
    ]
    assert told(found, "warning") == [
        ("1", "RL", "length"),
        ("2", "LR", "events after the end"),
        ("2", "LR", "missing movement"),
        ("2", "RL", "missing run"),
        ("3", "LR", "empty block files"),
    ]
    ranks = found.problems["severity"].map({"error": 0, "warning": 1, "note": 2})
    assert ranks.is_monotonic_increasing
    by_run = found.images.set_index(["subject", "run"])
    assert by_run.loc[("2", "LR"), "n_events"] == 1
    assert np.isnan(by_run.loc[("3", "LR"), "n_volumes"])
    assert "200 volumes, where a whole run has 232" in found.to_text()
    with pytest.raises(DataError):
        find_hcp_runs(tmp_path, task="RELATIONAL")


def test_hcp_tasks_and_spaces_may_be_chosen(tmp_path):
    folder = write_hcp(tmp_path, "1")
    write_hcp(tmp_path, "1", task="SOCIAL", n=274)
    series = nibabel.cifti2.SeriesAxis(0, 0.72, 230)
    brain = nibabel.cifti2.BrainModelAxis.from_surface([0, 2], 4, "CORTEX_LEFT")
    image = nibabel.Cifti2Image(np.ones((230, 2), "float32"), (series, brain))
    nibabel.save(image, folder / f"{folder.name}_Atlas.dtseries.nii")
    found = inspect_study(tmp_path, task="relational")
    assert found.images["kind"].tolist() == ["volume", "cifti"]
    assert found.images["n_volumes"].tolist() == [232, 230]
    assert ("1", "LR", "lengths differ") in told(found, "warning")
    assert found.spaces["space"].tolist() == ["MNI152NLin6Asym", "fsLR"]
    only = inspect_study(tmp_path, space="fsLR")
    assert only.images["kind"].tolist() == ["cifti"]
    assert ("1", "LR", "missing image") in told(only, "error")
    with pytest.raises(ArgumentError, match=r"task must be among RELATIONAL, SOCIAL. Got 'WM'"):
        inspect_study(tmp_path, task=["SOCIAL", "WM"])
    with pytest.raises(ArgumentError, match=r"space must be among .*fsLR. Got 'T1w'"):
        inspect_study(tmp_path, space="T1w")


def test_every_broken_bids_file_is_told_and_the_rest_is_read(tmp_path):
    for subject in ("01", "02", "03", "04"):
        write_bids(tmp_path, f"sub-{subject}_task-faces_run-1")
    write_bids(tmp_path, "sub-01_task-faces_run-2")
    write_bids(tmp_path, "sub-02_task-faces_run-2", t_r=1.0)
    write_bids(tmp_path, "sub-03_task-faces_run-2", events=None, n=11)
    write_bids(tmp_path, "sub-01_task-rest", events=None)
    (tmp_path / "sub-02/func/sub-02_task-faces_run-1_bold.nii.gz").write_bytes(b"nothing")
    (tmp_path / "sub-03/func/sub-03_task-faces_run-1_bold.json").write_text("{")
    events = tmp_path / "sub-04/func/sub-04_task-faces_run-1_events.tsv"
    events.write_text("onset\tduration\ttrial_type\n100\t1\tface\n1\t1\tn/a\n")
    found = inspect_study(tmp_path)
    assert told(found, "error") == [
        ("02", "1", "unreadable image"),
        ("03", "1", "repetition time"),
        ("03", "2", "events"),
    ]
    assert told(found, "warning") == [
        ("02", "2", "repetition time differs"),
        ("04", "1", "events"),
        ("04", "1", "events"),
        ("04", "2", "missing run"),
    ]
    assert told(found, "note") == [("", "", "task without events"), ("03", "2", "length differs")]
    assert len(found.images) == 8
    counts = found.conditions.set_index("condition")["events"].to_dict()
    assert counts == {"face": 6, "house": 5}
    assert found.spaces["images"].tolist() == [8]
    with pytest.raises(DataError):
        find_bids_runs(tmp_path, task="faces")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named = inspect_study(tmp_path, task="rest", event_column="kind")
    assert named.problems["problem"].tolist() == ["task without events"]
    named = inspect_study(tmp_path, task="faces", event_column="kind")
    assert "no column 'kind'. Columns found: 'onset', 'duration', 'trial_type'" in named.to_text()


def test_derivatives_are_counted_and_compared_with_the_raw_runs(tmp_path):
    for run in ("run-1", "run-2"):
        write_bids(tmp_path, f"sub-01_task-faces_{run}")
    image = write_bids(tmp_path, "sub-01_task-faces_run-01", derivative=True)
    (image.parent / "sub-01_task-faces_run-01_desc-confounds_timeseries.tsv").write_text("csf\n1\n")
    half = image.parent / "sub-01_task-faces_run-01_hemi-L_space-fsaverage5_bold.func.gii"
    frame = nibabel.gifti.GiftiDataArray(np.ones(3, "float32"))
    nibabel.save(nibabel.GiftiImage(darrays=[frame] * 12), half)
    raw = inspect_study(tmp_path)
    assert raw.spaces[["folder", "space", "kind", "images"]].to_numpy().tolist() == [
        [".", "native", "volume", 2],
        ["derivatives/prep", "MNI", "volume", 1],
        ["derivatives/prep", "fsaverage5", "surface", 1],
    ]
    assert told(raw) == []
    assert "No problems." in str(raw)
    found = inspect_study(tmp_path, derivatives="derivatives/prep", space="MNI")
    assert found.images["n_events"].tolist() == [2]
    assert told(found) == [("01", "01", "confounds"), ("01", "2", "not preprocessed")]
    surface = inspect_study(tmp_path, derivatives="derivatives/prep", space="fsaverage5")
    assert ("01", "01", "one hemisphere") in told(surface, "warning")
    with pytest.raises(ArgumentError, match=r"space must be among MNI, fsaverage5. Got 'T1w'"):
        inspect_study(tmp_path, derivatives="derivatives/prep", space="T1w")


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"neither in the HCP's layout .* nor in BIDS"):
        inspect_study(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        inspect_study(tmp_path / "nowhere")


@needs_data
def test_haxby_has_no_problems():
    found = inspect_study(Path(os.environ["NEUROSAL_TEST_DATA"]) / "haxby2001-slice")
    assert len(found.problems) == 0
    assert found.conditions["events"].tolist() == [12] * 8
    assert set(found.images["t_r"]) == {2.5}
    assert "1 subject, 1 task, 12 runs" in str(found)
