"""Typing commands, and a BIDS study as fMRIPrep leaves it, for the tests of whole studies."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from neurosal.cli import main


def neurosal_run(*words, code=0):
    """Type ``neurosal run`` and see that it ends as it should."""
    trust = [] if "--trust" in words else ["--trust", "none"]  # it trains many times
    with pytest.raises(SystemExit) as stop:
        main(["run", *map(str, words), *trust])
    assert (stop.value.code or 0) == code


def importance(out):
    """(condition, region) to the mean absolute importance over time."""
    table = pd.read_csv(out / "importance.tsv", sep="\t")
    return table.assign(importance=table["importance"].abs()).pivot_table(
        index="condition", columns="region", values="importance"
    )


def metrics(out):
    return json.loads((out / "metrics.json").read_text())


def inspected(capfd, *words, code=0):
    with pytest.raises(SystemExit) as stop:
        main(["inspect", *map(str, words)])
    assert (stop.value.code or 0) == code
    told = capfd.readouterr()
    return told.out if code == 0 else told.err


REGIONS = ["FFA", "PPA", "V1", "M1"]
RESPONDS = {"face": "FFA", "house": "PPA"}
N_FRAMES = 100
SPIKES = (23, 24, 61, 90)
MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]


def bids_events(shift):
    onsets = np.arange(10, 170, 20.0)
    kinds = np.resize(["face", "house"] if shift else ["house", "face"], len(onsets))
    return pd.DataFrame(
        {
            "onset": onsets,
            "duration": 12.0,
            "response_time": 0.7,
            "trial_type": kinds,
            "kind": np.where(kinds == "face", "animate", "inanimate"),
        }
    )


def bids_series(events, rng):
    """What each region measures (time, region), 2 s apart."""
    times = 2.0 * np.arange(N_FRAMES)
    series = pd.DataFrame(rng.normal(800, 1.0, (N_FRAMES, len(REGIONS))), columns=REGIONS)
    for row in events.itertuples():
        during = (times >= row.onset + 4) & (times < row.onset + row.duration + 4)
        series.loc[during, RESPONDS[row.trial_type]] += 3.0
    return series.to_numpy()


def fmriprep_confounds(rng):
    """Motion and tissue with the columns, and the n/a, of fMRIPrep's tables."""
    table = pd.DataFrame(rng.normal(0, 0.1, (N_FRAMES, 6)).cumsum(axis=0) / 5, columns=MOTION)
    for name in MOTION:
        table[f"{name}_derivative1"] = table[name].diff()
        table[f"{name}_power2"] = table[name] ** 2
        table[f"{name}_derivative1_power2"] = table[f"{name}_derivative1"] ** 2
    for name in ("csf", "white_matter", "global_signal"):
        table[name] = rng.normal(500, 5, N_FRAMES)
    phase = np.pi * (np.arange(N_FRAMES) + 0.5) / N_FRAMES
    for number in (0, 1):
        table[f"cosine0{number}"] = np.cos((number + 1) * phase)
    table["framewise_displacement"] = 0.1
    table.loc[0, "framewise_displacement"] = np.nan
    table.loc[list(SPIKES), "framewise_displacement"] = 1.5
    return table


def spoil(series, confounds):
    """Add what confounds explain, and nonsense where the head jumped."""
    leak = 20 * confounds["trans_x"] + 0.5 * confounds["csf"] + 4 * confounds["cosine01"]
    out = series + leak.to_numpy()[:, None] * np.array([1.0, -2.0, 0.5, 1.5])
    out[list(SPIKES)] += 400.0
    return out


def save_volumes(stem, series):
    """Each region in its slab of a small volume, in two spaces."""
    data = np.repeat(series.T[:, None, None, :], 3, axis=1).repeat(2, axis=2)
    image = nib.Nifti1Image(data.astype(np.float64), np.diag([3.0, 3, 3, 1]))
    image.header.set_zooms((3, 3, 3, 2))
    image.header.set_xyzt_units("mm", "sec")
    for space in ("MNI152NLin2009cAsym", "T1w"):
        nib.save(image, f"{stem}_space-{space}_desc-preproc_bold.nii.gz")


def save_surfaces(stem, series):
    """Regions 1 and 2 on the left surface, 3 and 4 on the right, 6 vertices each."""
    for number, side in enumerate("LR"):
        data = series[:, 2 * number : 2 * number + 2].repeat(6, axis=1).astype(np.float32)
        frames = [
            nib.gifti.GiftiDataArray(frame, intent="NIFTI_INTENT_TIME_SERIES") for frame in data
        ]
        nib.save(
            nib.GiftiImage(darrays=frames), f"{stem}_hemi-{side}_space-fsaverage5_bold.func.gii"
        )


def write_atlases(folder):
    """The regions as a volume with a table, and as a pair of label files."""
    labels = np.arange(1, 5, dtype=np.int16)[:, None, None].repeat(3, axis=1).repeat(2, axis=2)
    nib.save(nib.Nifti1Image(labels, np.diag([3.0, 3, 3, 1])), folder / "mini_dseg.nii.gz")
    rows = "".join(f"{number}\t{name}\n" for number, name in enumerate(REGIONS, start=1))
    (folder / "mini_dseg.tsv").write_text(f"index\tname\n{rows}")
    for number, side in enumerate("LR"):
        table = nib.gifti.GiftiLabelTable()
        for key in range(3):
            label = nib.gifti.GiftiLabel(key, 1, 0, 0, 1)
            label.label = REGIONS[2 * number + key - 1] if key else "???"
            table.labels.append(label)
        array = nib.gifti.GiftiDataArray(
            np.repeat([1, 2], 6).astype(np.int32),
            intent="NIFTI_INTENT_LABEL",
            meta={"AnatomicalStructurePrimary": f"Cortex{'Left' if side == 'L' else 'Right'}"},
        )
        image = nib.GiftiImage(darrays=[array], labeltable=table)
        nib.save(image, folder / f"hemi-{side}_mini.label.gii")


def write_bids(root, *, spoiled):
    """Three subjects in two sessions, raw and preprocessed; the same numbers each time."""
    (root / "derivatives").mkdir(parents=True)
    (root / "dataset_description.json").write_text('{"Name": "mini", "BIDSVersion": "1.9.0"}')
    (root / "task-faces_bold.json").write_text('{"RepetitionTime": 2.0, "TaskName": "faces"}')
    rng = np.random.default_rng(2)
    for subject in ("01", "02", "03"):
        for session in ("a", "b"):
            inner = f"sub-{subject}/ses-{session}/func"
            name = f"sub-{subject}_ses-{session}_task-faces"
            raw, prep = root / inner, root / "derivatives" / "fmriprep" / inner
            raw.mkdir(parents=True)
            prep.mkdir(parents=True)
            events, confounds = bids_events(session == "a"), fmriprep_confounds(rng)
            series = bids_series(events, rng)
            series = spoil(series, confounds) if spoiled else series
            events.to_csv(raw / f"{name}_events.tsv", sep="\t", index=False)
            dummy = nib.Nifti1Image(np.ones((2, 2, 2, N_FRAMES), np.float32), np.eye(4))
            nib.save(dummy, raw / f"{name}_bold.nii.gz")
            table = prep / f"{name}_desc-confounds_timeseries.tsv"
            confounds.to_csv(table, sep="\t", index=False, na_rep="n/a")
            table.with_suffix(".json").write_text("{}")
            save_volumes(prep / name, series)
            save_surfaces(prep / name, series)
    write_atlases(root.parent)
    return root
