"""Small studies, locked folders and full disks that tests of bad input share."""

import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import neurosal

N_TIMES, T_R = 60, 2.0
LABELS = np.zeros((4, 4, 4), dtype=np.int16)
LABELS[0], LABELS[1], LABELS[2] = 3, 7, 40
TABLE = "index\tname\n3\tGyrus é\n7\tb 名\n40\tc\n"
EVENTS = [(12 * k, 8, "fäce" if k % 2 else "house 名") for k in range(8)]
CONFOUNDS = [
    f"{kind}_{axis}{change}"
    for kind in ("trans", "rot")
    for axis in "xyz"
    for change in ("", "_derivative1", "_power2", "_derivative1_power2")
]
EVIL = "__import__('os').system('touch pwned')"
DEEP = "[" * 100_000


def bold_image(rng, labels=LABELS, n_times=N_TIMES):
    """Noise around 100, every 2 s."""
    image = nib.Nifti1Image(
        rng.normal(100, 1, (*labels.shape, n_times)).astype(np.float32), np.eye(4)
    )
    image.header.set_zooms((1, 1, 1, T_R))
    image.header.set_xyzt_units("mm", "sec")
    return image


def write_bids(root, rng, subjects=("01",)):
    """A raw study of one task."""
    for subject in subjects:
        stem = root / f"sub-{subject}" / "func" / f"sub-{subject}_task-faces"
        stem.parent.mkdir(parents=True)
        nib.save(bold_image(rng), f"{stem}_bold.nii.gz")
        table = pd.DataFrame(EVENTS, columns=["onset", "duration", "trial_type"])
        table.to_csv(f"{stem}_events.tsv", sep="\t", index=False)
        Path(f"{stem}_bold.json").write_text(json.dumps({"RepetitionTime": T_R}))
    return root


def write_derivatives(folder, rng):
    """What fMRIPrep would make of subject 01, but for most of the confounds."""
    stem = folder / "sub-01" / "func" / "sub-01_task-faces"
    stem.parent.mkdir(parents=True)
    nib.save(bold_image(rng), f"{stem}_space-MNI_desc-preproc_bold.nii.gz")
    table = pd.DataFrame(
        rng.normal(size=(N_TIMES, len(CONFOUNDS) + 2)), columns=[*CONFOUNDS, "csf", "white_matter"]
    )
    table["cosine00"] = np.cos(np.pi * (np.arange(N_TIMES) + 0.5) / N_TIMES)
    table.to_csv(f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)
    return folder


def write_atlas(path, labels=LABELS, table=TABLE):
    """A label image and its table."""
    nib.save(nib.Nifti1Image(labels, np.eye(4)), path)
    path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text(table, encoding="utf-8")
    return path


def write_hcp(root, rng, evs):
    """One motor run with the event files given."""
    folder = root / "100307" / "MNINonLinear" / "Results" / "tfMRI_MOTOR_LR"
    (folder / "EVs").mkdir(parents=True)
    image = bold_image(rng)
    image.header["pixdim"][4] = 0.72
    nib.save(image, folder / "tfMRI_MOTOR_LR.nii.gz")
    for name, text in evs.items():
        (folder / "EVs" / f"{name}.txt").write_text(text)
    return root


def find_lr(root, task):
    """The runs LR."""
    return neurosal.find_hcp_runs(root, task=task, runs=["LR"])


@contextmanager
def locked(path):
    """Take the right to read from a file or folder, even from root."""
    mode, root = path.stat().st_mode, os.geteuid() == 0
    path.chmod(0)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        path.chmod(mode)


@contextmanager
def small_disk(folder, size):
    """A disk of so many bytes."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
