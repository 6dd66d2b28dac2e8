"""Runs in the folders of the Human Connectome Project's S1200 release.

Each run of "minimally preprocessed" task fMRI (Glasser et al. 2013,
doi:10.1016/j.neuroimage.2013.04.127; tasks: Barch et al. 2013,
doi:10.1016/j.neuroimage.2013.05.033) is a folder
``{subject}/MNINonLinear/Results/tfMRI_{TASK}_{LR|RL}/`` with the volume, ``EVs/*.txt`` (onset and
duration in seconds and a weight, one file an event type) and ``Movement_Regressors.txt``.
"""

import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.errors import DataError
from neurosal.loaders.runs import Run, choose_subjects, read_header, shorten, tidy_events

SPACE = "MNI152NLin6Asym"
T_R = 0.72
ENCODINGS = ("LR", "RL")

#: The block conditions of each task; a run's events hold every other event type too.
HCP_BLOCKS: dict[str, tuple[str, ...]] = {
    "EMOTION": ("fear", "neut"),
    "GAMBLING": ("win", "loss"),
    "LANGUAGE": ("story", "math"),
    "MOTOR": ("lf", "rf", "lh", "rh", "t"),
    "RELATIONAL": ("relation", "match"),
    "SOCIAL": ("mental", "rnd"),
    "WM": tuple(f"{n}bk_{what}" for n in (0, 2) for what in ("body", "faces", "places", "tools")),
}

_RUN_FOLDER = re.compile(r"tfMRI_(?P<task>[A-Za-z0-9]+)_(?P<run>LR|RL)$")
_AXES = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
_MOVEMENT = [*_AXES, *(f"{name}_derivative1" for name in _AXES)]


def is_hcp(root: str | Path) -> bool:
    """Whether a folder holds subjects in the HCP's layout.

    Parameters
    ----------
    root : str or pathlib.Path
        The folder of all subjects.

    Returns
    -------
    bool
        True if there is at least one task run, of whatever task.

    Examples
    --------
    >>> import tempfile
    >>> is_hcp(tempfile.mkdtemp())
    False
    """
    return next(_run_folders(Path(root)), None) is not None


def find_hcp_runs(root: str | Path, *, task: str, subjects: list[str] | None = None) -> list[Run]:
    """Find the runs of one task in a folder in the HCP's layout.

    Parameters
    ----------
    root : str or pathlib.Path
        The folder that holds one folder a subject.
    task : str
        ``"MOTOR"``, ``"WM"``, ...; small letters will do.
    subjects : list of str, optional
        Which subjects; None takes all.

    Returns
    -------
    list of Run
        By subject and run (``"LR"``, ``"RL"``). ``events`` holds all event files, each by its
        name without ``.txt``; the blocks among them are in ``HCP_BLOCKS``. Empty event files are
        noted. ``confounds`` holds the movement regressors: translations (mm), rotations (degrees)
        and their derivatives. A run that a subject lacks is warned of.

    Raises
    ------
    ArgumentError
        If a subject is not there.
    DataError
        If the folder has another layout, the task is not there, or a file is not as it should be.

    Examples
    --------
    >>> find_hcp_runs("nowhere", task="MOTOR")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is not a folder. Give the folder that holds ...
    """
    root, task = Path(root), task.upper()
    everything = _all_run_folders(root)
    tasks = sorted({name for _, name, _ in everything})
    if task not in tasks:
        raise DataError(f"{root} has no task {task!r}. Tasks there: {shorten(tasks)}.")
    found = sorted({subject for subject, _, _ in everything})
    chosen = choose_subjects(found, subjects, root)
    runs, missing = [], []
    for subject in chosen:
        for encoding in ENCODINGS:
            folder = everything.get((subject, task, encoding))
            image = folder and _find_image(folder)
            if image:
                runs.append(_read_run(image, subject, task, encoding))
            else:
                missing.append(f"{subject} {encoding}")
    _report_missing(missing, runs, task, root)
    return runs


def _run_folders(root: Path):
    """Yield every folder of a task run."""
    for folder in root.glob("*/MNINonLinear/Results/tfMRI_*"):
        if _RUN_FOLDER.match(folder.name) and folder.is_dir():
            yield folder


def _all_run_folders(root: Path) -> dict[tuple[str, str, str], Path]:
    """(subject, task, run) to folder; an error if there is none."""
    expected = "{subject}/MNINonLinear/Results/tfMRI_{TASK}_{LR|RL}/"
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Give the folder that holds {expected}.")
    if (root / "MNINonLinear").is_dir():
        raise DataError(f"{root} is the folder of one subject. Give the one above it.")
    everything = {}
    for folder in _run_folders(root):
        match = _RUN_FOLDER.match(folder.name)
        everything[folder.parents[2].name, match["task"].upper(), match["run"]] = folder
    if not everything:
        raise DataError(f"{root} is not in the HCP's layout: it holds no {expected}.")
    return everything


def _find_image(folder: Path) -> Path | None:
    """Find the volume of a run, if it is there."""
    for ending in (".nii.gz", ".nii"):
        image = folder / f"{folder.name}{ending}"
        if image.is_file():
            return image
    return None


def _report_missing(missing: list[str], runs: list[Run], task: str, root: Path) -> None:
    """Warn once of all runs that are not there; an error if none is."""
    if not runs:
        raise DataError(
            f"{root} holds no volume of the task {task} for the subjects chosen "
            f"(tfMRI_{task}_LR.nii.gz and so on). Download the volumes, not only the EVs."
        )
    if missing:
        warnings.warn(
            f"{root} has no volume for {len(missing)} runs of {task}, which are left out: "
            f"{shorten(missing)}.",
            stacklevel=3,
        )


def _read_run(image: Path, subject: str, task: str, encoding: str) -> Run:
    """Read all that belongs to one run but its voxels."""
    n_volumes, t_r = read_header(image)
    if t_r is None or abs(t_r - T_R) > 0.01:
        said = "none" if t_r is None else f"{t_r:g} s"
        raise DataError(
            f"{image}: the header gives the repetition time as {said}; the HCP's is {T_R} s. "
            "Correct pixdim[4] and the unit of time (xyzt_units), or convert the data to BIDS."
        )
    events, empty = _read_evs(image.parent / "EVs")
    events, notes = tidy_events(events, image.parent / "EVs")
    if empty:
        notes += (f"empty event files, no such event in this run: {', '.join(empty)}",)
    confounds = _read_movement(image.parent / "Movement_Regressors.txt", n_volumes)
    if confounds is None:
        notes += ("no Movement_Regressors.txt: confounds are unknown",)
    return Run(
        image,
        events,
        T_R,
        subject=subject,
        task=task,
        run=encoding,
        confounds=confounds,
        space=SPACE,
        notes=notes,
        trial_types=tuple(sorted([*empty, *events["trial_type"].unique()])),
    )


def _read_evs(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read every event file of a run; also the names of the empty ones."""
    files = [path for path in sorted(folder.glob("*.txt")) if path.stem.lower() != "sync"]
    if not files:
        raise DataError(f"{folder} holds no event files (*.txt). Download the run's EVs folder.")
    tables, empty = [], []
    for path in files:
        rows = _read_numbers(path)
        if not rows.size:
            empty.append(path.stem)
            continue
        if rows.shape[1] != 3:
            raise DataError(
                f"{path} has {rows.shape[1]} columns where an event file has three: onset, "
                "duration, weight. Remove the file or correct it."
            )
        table = pd.DataFrame(rows[:, :2], columns=["onset", "duration"])
        tables.append(table.assign(trial_type=path.stem))
    columns = ["onset", "duration", "trial_type"]
    return pd.concat(tables) if tables else pd.DataFrame(columns=columns), empty


def _read_numbers(path: Path) -> np.ndarray:
    """Read a file of numbers only, as a table; an empty one has size 0."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        rows = np.array([line for line in lines if line], dtype=float)
    except (ValueError, OSError) as error:
        raise DataError(
            f"Cannot read {path} as columns of numbers: {error}. Remove the file or correct it."
        ) from error
    if not np.isfinite(rows).all():
        raise DataError(f"{path} holds values that are not finite. Correct or remove these rows.")
    return rows


def _read_movement(path: Path, n_volumes: int) -> pd.DataFrame | None:
    """Read the movement regressors, None where there are none."""
    if not path.is_file():
        return None
    rows = _read_numbers(path)
    if rows.ndim != 2 or rows.shape[1] not in (6, 12) or len(rows) != n_volumes:
        raise DataError(
            f"{path} has the shape {rows.shape}; 6 or 12 columns and {n_volumes} rows, one a "
            "volume, are expected. Download it anew or remove it."
        )
    return pd.DataFrame(rows, columns=_MOVEMENT[: rows.shape[1]])
