"""The command line as a user types it, on a small simulated study and on bad input."""

import gzip
import json
import shutil
import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurosal import __version__
from neurosal.cli import main

QUICK = ["--window", "12", "--lag", "5", "--seed", "0"]


def neurosal(capfd, *words):
    """Type a command; return its exit code, what it printed and what it said."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    out = capfd.readouterr()
    return stop.value.code or 0, out.out, out.err


@pytest.fixture
def broken(study, tmp_path):
    """A copy of the study to break, and its first run's folder."""
    root = tmp_path / "broken"
    shutil.copytree(study, root)
    return root, sorted(root.glob("*/MNINonLinear/Results/*"))[0]


def test_simulate_writes_a_study_that_can_be_run(tmp_path, capfd):
    root = tmp_path / "new study"
    code, printed, _ = neurosal(
        capfd, "simulate", root, "--task", "EMOTION", "--subjects", "1", "--voxel-size", "12"
    )
    assert code == 0
    assert str(root) in printed
    assert len(list(root.glob("*/MNINonLinear/Results/tfMRI_EMOTION_*/*.nii.gz"))) == 2
    assert "holds a simulation" in refused(
        capfd, "simulate", root, "--subjects", "1", "--voxel-size", "12"
    )


def test_run_writes_everything_the_report_shows(study, tmp_path, capfd):
    out = tmp_path / "out"
    code, printed, said = neurosal(
        capfd, "run", "--hcp", study, "--task", "MOTOR", "--conditions", "hand=lh,rh", "foot=lf,rf",
        "t", *QUICK, "--cv", "subject", "--out", out,
    )  # fmt: skip
    assert code == 0
    assert "statistics over subjects left out: 6 are needed, not 4" in said
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n_folds"] == len(metrics["accuracy_per_fold"]) == 4
    assert metrics["n_windows"] == 4 * 2 * 10
    assert metrics["chance"] == pytest.approx(0.4)
    assert metrics["accuracy"] > 0.6
    assert metrics["accuracy_p"] < 0.01
    assert metrics["trust"]["known truth"]["verdict"] == "passed"
    assert "trust card         " in printed
    assert metrics["truth_aupr"] > 2 * metrics["truth_aupr_random"]
    assert f"{metrics['accuracy']:.3f}" in printed
    assert f"{metrics['baseline_accuracy']:.3f}" in printed
    assert str(out / "report.html") in printed

    table = pd.read_csv(out / "importance.tsv", sep="\t")
    assert list(table) == ["condition", "region", "network", "time", "importance"]
    assert set(table["condition"]) == {"hand", "foot", "t"}
    maps = sorted(out.glob("*_saliency.nii.gz"))
    assert [path.name.split("desc-")[1].split("_")[0] for path in maps] == ["foot", "hand", "t"]
    image = nib.load(maps[1])
    assert image.get_data_dtype() == np.float32
    assert image.header.get_zooms()[3] == pytest.approx(0.72)
    assert image.shape[3] == table["time"].nunique() == 17
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["seed"] == 0
    assert (out / "report.html").stat().st_size < 15e6
    assert list(out.rglob("*.png"))


def test_same_seed_same_numbers(study, tmp_path, capfd):
    tables = []
    for name in ("a", "b"):
        neurosal(
            capfd, "run", "--hcp", study, "--task", "MOTOR", "--conditions", "lh", "rh", *QUICK,
            "--trust", "none", "--out", tmp_path / name,
        )  # fmt: skip
        tables.append((tmp_path / name / "importance.tsv").read_text())
    assert tables[0] == tables[1]


def refused(capfd, *words):
    """Type a command that must end with exit code 2, one message and no traceback."""
    code, _, said = neurosal(capfd, *words)
    assert code == 2, said
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in said
    return errors[0]


def test_folder_that_is_no_study(tmp_path, capfd):
    for kind in ("--hcp", "--bids"):
        error = refused(capfd, "run", kind, tmp_path, "--task", "MOTOR", "--out", tmp_path / "o")
        assert str(tmp_path) in error


def test_task_that_is_not_there_lists_those_that_are(study, tmp_path, capfd):
    error = refused(capfd, "run", "--hcp", study, "--task", "WM", "--out", tmp_path)
    assert "MOTOR" in error
    assert "WM" in error


def test_neither_or_both_studies(study, tmp_path, capfd):
    assert "--hcp" in refused(capfd, "run", "--task", "MOTOR", "--out", tmp_path)
    assert "--hcp" in refused(
        capfd, "run", "--hcp", study, "--bids", study, "--task", "MOTOR", "--out", tmp_path
    )


def test_truncated_volume_is_named(broken, tmp_path, capfd):
    root, folder = broken
    volume = next(folder.glob("tfMRI*.nii.gz"))
    volume.write_bytes(volume.read_bytes()[:-5000])
    error = refused(capfd, "run", "--hcp", root, "--task", "MOTOR", *QUICK, "--out", tmp_path / "o")
    assert volume.name in error


def test_nan_voxels_are_named(broken, tmp_path, capfd):
    root, folder = broken
    volume = next(folder.glob("tfMRI*.nii.gz"))
    image = nib.load(volume)
    data = image.get_fdata(dtype=np.float32)
    data[..., 10] = np.nan
    nib.save(nib.Nifti1Image(data, image.affine, image.header), volume)
    error = refused(capfd, "run", "--hcp", root, "--task", "MOTOR", *QUICK, "--out", tmp_path / "o")
    assert volume.name in error
    assert "NaN" in error


def test_event_file_with_words(broken, tmp_path, capfd):
    root, folder = broken
    (folder / "EVs" / "lh.txt").write_text("ten seconds\n")
    error = refused(capfd, "run", "--hcp", root, "--task", "MOTOR", *QUICK, "--out", tmp_path / "o")
    assert "lh.txt" in error


def test_bids_events_without_onset(tmp_path, capfd):
    func = tmp_path / "bids" / "sub-01" / "func"
    func.mkdir(parents=True)
    (tmp_path / "bids" / "dataset_description.json").write_text(
        '{"Name":"x","BIDSVersion":"1.9.0"}'
    )
    stem = func / "sub-01_task-faces"
    image = nib.Nifti1Image(np.ones((4, 4, 4, 20), np.float32), np.eye(4))
    nib.save(image, f"{stem}_bold.nii.gz")
    (func / "sub-01_task-faces_bold.json").write_text('{"RepetitionTime": 2.0}')
    (func / "sub-01_task-faces_events.tsv").write_text("duration\ttrial_type\n2\tface\n")
    error = refused(
        capfd, "run", "--bids", tmp_path / "bids", "--task", "faces", "--out", tmp_path / "o"
    )
    assert "events.tsv" in error
    assert "onset" in error


def test_atlas_that_overlaps_nothing(study, tmp_path, capfd):
    far = np.eye(4)
    far[:3, 3] = 5000
    labels = np.zeros((5, 5, 5), np.int16)
    labels[2, 2, 2] = 1
    nib.save(nib.Nifti1Image(labels, far), tmp_path / "far_dseg.nii.gz")
    (tmp_path / "far_dseg.tsv").write_text("index\tname\n1\tfar\n")
    error = refused(
        capfd, "run", "--hcp", study, "--task", "MOTOR", "--atlas", tmp_path / "far_dseg.nii.gz",
        *QUICK, "--out", tmp_path / "o",
    )  # fmt: skip
    assert "lies inside" in error
    assert "affine" in error


def test_fewer_windows_than_folds(study, tmp_path, capfd):
    error = refused(
        capfd, "run", "--hcp", study, "--task", "MOTOR", "--conditions", "lh", "rh", *QUICK,
        "--cv", "block", "--folds", "20", "--out", tmp_path / "o",
    )  # fmt: skip
    assert "folds" in error


def test_output_folder_that_cannot_be_written(study, tmp_path, capfd):
    blocked = tmp_path / "file"
    blocked.write_text("")
    error = refused(
        capfd, "run", "--hcp", study, "--task", "MOTOR", *QUICK, "--out", blocked / "out"
    )
    assert str(blocked) in error


def test_gzip_that_is_not_nifti(broken, tmp_path, capfd):
    root, folder = broken
    volume = next(folder.glob("tfMRI*.nii.gz"))
    volume.write_bytes(gzip.compress(b"not an image" * 100))
    error = refused(capfd, "run", "--hcp", root, "--task", "MOTOR", *QUICK, "--out", tmp_path / "o")
    assert volume.name in error


def test_a_warning_is_told_once_however_often_it_comes(monkeypatch, capfd):
    def often(*_, **__):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for text in ("odd", "odder", "odd"):
                warnings.warn(text, stacklevel=1)
        return {}

    monkeypatch.setattr("neurosal.parcellation.atlas.list_atlases", often)
    code, _, said = neurosal(capfd, "atlas")
    assert (code, said) == (0, "warning: odd\nwarning: odder\n")


def test_version(capfd):
    assert neurosal(capfd, "--version") == (0, f"neurosal {__version__}\n", "")


@pytest.mark.parametrize("command", ["run", "demo", "simulate", "atlas"])
def test_help_reads(command, capfd):
    code, printed, _ = neurosal(capfd, command, "--help")
    assert code == 0
    assert "Usage: neurosal" in printed
