"""The files of a run in the Human Connectome Project's layout: where they lie, what they hold."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.errors import DataError
from neurosal.loaders.locked import locked_folders, tell_locked
from neurosal.loaders.runs import tidy_events
from neurosal.loaders.surfaces import read_frames

T_R = 0.72
ENDINGS = {
    "volume": (".nii.gz", ".nii"),
    "cifti": ("_Atlas_MSMAll.dtseries.nii", "_Atlas.dtseries.nii"),
}

#: Volumes of a whole run of each task.
HCP_VOLUMES = {
    "EMOTION": 176,
    "GAMBLING": 253,
    "LANGUAGE": 316,
    "MOTOR": 284,
    "RELATIONAL": 232,
    "SOCIAL": 274,
    "WM": 405,
}

_RUN_FOLDER = re.compile(r"tfMRI_(?P<task>[A-Za-z0-9]+)_(?P<run>LR|RL)$")
_FOLDERS = ("[0-9]*", "*/MNINonLinear", "*/MNINonLinear/Results")
_AXES = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]
_MOVEMENT = [*_AXES, *(f"{name}_derivative1" for name in _AXES)]


def run_folders(root: str | Path) -> Iterator[Path]:
    """Yield the folder of every task run.

    Parameters
    ----------
    root : str or pathlib.Path
        The folder of all subjects.

    Yields
    ------
    pathlib.Path
        In no order.

    Examples
    --------
    >>> list(run_folders("nowhere"))
    []
    """
    for folder in Path(root).glob("*/MNINonLinear/Results/tfMRI_*"):
        if _RUN_FOLDER.match(folder.name) and os.path.isdir(folder):
            yield folder


def hcp_folders(root: str | Path) -> dict[tuple[str, str, str], Path]:
    """Find the folder of every task run.

    Parameters
    ----------
    root : str or pathlib.Path
        The folder that holds one folder a subject.

    Returns
    -------
    dict of (str, str, str) to pathlib.Path
        Subject, task and phase encoding to the run's folder; sorted.

    Raises
    ------
    DataError
        If there is none.

    Examples
    --------
    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "100307/MNINonLinear/Results/tfMRI_WM_RL").mkdir(parents=True)
    >>> list(hcp_folders(root))
    [('100307', 'WM', 'RL')]
    """
    root = Path(root)
    expected = "{subject}/MNINonLinear/Results/tfMRI_{TASK}_{LR|RL}/"
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Give the folder that holds {expected}.")
    if (root / "MNINonLinear").is_dir():
        raise DataError(f"{root} is the folder of one subject. Give the one above it.")
    everything = {}
    for folder in run_folders(root):
        match = _RUN_FOLDER.match(folder.name)
        everything[folder.parents[2].name, match["task"].upper(), match["run"]] = folder
    if not everything:
        told = tell_locked([path for _, path in locked_subjects(root)])
        raise DataError(f"{root} is not in the HCP's layout: it holds no {expected}.{told}")
    return dict(sorted(everything.items()))


def locked_subjects(root: str | Path) -> list[tuple[str, Path]]:
    """Find the subjects' folders that may not be read.

    Parameters
    ----------
    root : str or pathlib.Path
        The folder of all subjects.

    Returns
    -------
    list of (str, pathlib.Path)
        The subject and the folder.

    Examples
    --------
    >>> locked_subjects("nowhere")
    []
    """
    root = Path(root)
    found = locked_folders(root, (*_FOLDERS, f"{_FOLDERS[-1]}/tfMRI_*"))
    return [("".join(path.relative_to(root).parts[:1]), path) for path in found]


def find_image(folder: Path, kind: str) -> Path | None:
    """Find the image of a run.

    Parameters
    ----------
    folder : pathlib.Path
        The run's folder.
    kind : {"volume", "cifti"}
        Which image.

    Returns
    -------
    pathlib.Path or None
        The image, if it is there.

    Examples
    --------
    >>> find_image(Path("nowhere/tfMRI_WM_LR"), "cifti") is None
    True
    """
    names = (f"{folder.name}{ending}" for ending in ENDINGS[kind])
    return next((folder / name for name in names if os.path.isfile(folder / name)), None)


def read_hcp_header(image: Path) -> int:
    """Count the frames of a run, and make sure that it has the HCP's repetition time.

    Parameters
    ----------
    image : pathlib.Path
        A volume or a ``.dtseries.nii``.

    Returns
    -------
    int
        How many frames.

    Raises
    ------
    DataError
        If the file is not as it should be.

    Examples
    --------
    >>> read_hcp_header(Path("nowhere.nii.gz"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: Cannot read nowhere.nii.gz as a NIfTI file: ...
    """
    n_frames, t_r = read_frames(image)
    if t_r is None or abs(t_r - T_R) > 0.01:
        said = "none" if t_r is None else f"{t_r:g} s"
        cifti = image.name.endswith(".dtseries.nii")
        where = "its series axis" if cifti else "pixdim[4] and the unit of time (xyzt_units)"
        raise DataError(
            f"{image}: the header gives the repetition time as {said}; the HCP's is {T_R} s. "
            f"Correct {where}, or convert the data to BIDS."
        )
    return n_frames


def read_evs(folder: Path, *, run_length: float | None = None) -> tuple:
    """Read the event files of a run.

    Parameters
    ----------
    folder : pathlib.Path
        The run's ``EVs``.
    run_length : float, optional
        The run's length in seconds, to note events behind its end.

    Returns
    -------
    events : pandas.DataFrame
        Columns ``onset``, ``duration``, ``trial_type``.
    notes : tuple of str
        What is odd.
    empty : list of str
        The types whose file is empty.

    Raises
    ------
    DataError
        If there is no event file, or one is not as it should be.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "lh.txt").write_text("3 12 1"), (folder / "error.txt").write_text("")
    >>> read_evs(folder)[0].to_dict("records"), read_evs(folder)[2]
    ([{'onset': 3.0, 'duration': 12.0, 'trial_type': 'lh'}], ['error'])
    """
    tables, empty = [], []
    for path in ev_files(folder):
        table = read_ev(path)
        if len(table):
            tables.append(table)
        else:
            empty.append(path.stem)
    columns = ["onset", "duration", "trial_type"]
    table = pd.concat(tables) if tables else pd.DataFrame(columns=columns)
    events, notes = tidy_events(table, folder, run_length=run_length)
    if empty:
        notes += (f"empty event files, no such event in this run: {', '.join(empty)}",)
    return events, notes, empty


def ev_files(folder: Path) -> list[Path]:
    """List the event files of a run.

    Parameters
    ----------
    folder : pathlib.Path
        The run's ``EVs``.

    Returns
    -------
    list of pathlib.Path
        By name, without ``Sync.txt`` and hidden files.

    Raises
    ------
    DataError
        If there is none.

    Examples
    --------
    >>> ev_files(Path("nowhere"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere holds no event files (*.txt). ...
    """
    there = sorted(folder.glob("*.txt")) if os.path.isdir(folder) else []
    files = [p for p in there if p.stem.lower() != "sync" and not p.name.startswith(".")]
    if not files:
        raise DataError(f"{folder} holds no event files (*.txt). Download the run's EVs folder.")
    return files


def read_ev(path: Path) -> pd.DataFrame:
    """Read one event file.

    Parameters
    ----------
    path : pathlib.Path
        Three columns: onset (s), duration (s), weight.

    Returns
    -------
    pandas.DataFrame
        Columns ``onset``, ``duration``, ``trial_type``; no row if the file is empty, nor for an
        event of weight 0, which FSL writes where there is none.

    Raises
    ------
    DataError
        If it holds anything else.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "rh.txt"
    >>> _ = path.write_text("11 12 1")
    >>> read_ev(path).to_dict("records")
    [{'onset': 11.0, 'duration': 12.0, 'trial_type': 'rh'}]
    """
    rows = _read_numbers(path)
    if rows.size and rows.shape[1] != 3:
        raise DataError(
            f"{path} has {rows.shape[1]} columns where an event file has three: onset, "
            "duration, weight. Remove the file or correct it."
        )
    rows = rows.reshape(-1, 3)
    table = pd.DataFrame(rows[rows[:, 2] != 0, :2], columns=["onset", "duration"])
    return table.assign(trial_type=path.stem)


def read_movement(folder: Path, n_volumes: int) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Read how the head moved during a run.

    Parameters
    ----------
    folder : pathlib.Path
        The run's folder.
    n_volumes : int
        Frames of the run.

    Returns
    -------
    confounds : pandas.DataFrame of shape (n_volumes, 6 or 12, and 1) or None
        ``Movement_Regressors.txt``: translations (mm), rotations (degrees) and, if the file has
        them, their derivatives; and ``rmsd`` (mm), of ``Movement_RelativeRMS.txt``.
    notes : tuple of str
        What is not there.

    Raises
    ------
    DataError
        If a file does not fit the run.

    Examples
    --------
    >>> read_movement(Path("nowhere"), 284)
    (None, ('no Movement_Regressors.txt: confounds are unknown',))
    """
    tables = []
    for name, columns in (("Regressors", _MOVEMENT), ("RelativeRMS", ["rmsd"])):
        path = folder / f"Movement_{name}.txt"
        if os.path.isfile(path):
            tables.append(_read_columns(path, columns, n_volumes))
        elif name == "Regressors":
            return None, ("no Movement_Regressors.txt: confounds are unknown",)
    return pd.concat(tables, axis=1), ()


def _read_columns(path: Path, names: list[str], n_volumes: int) -> pd.DataFrame:
    """Read a table of movement with a row a volume."""
    rows = _read_numbers(path)
    widths = (6, 12) if len(names) > 1 else (1,)
    if rows.ndim != 2 or rows.shape[1] not in widths or len(rows) != n_volumes:
        raise DataError(
            f"{path} has the shape {rows.shape}; {' or '.join(map(str, widths))} columns and "
            f"{n_volumes} rows, one a volume, are expected. Download it anew or remove it."
        )
    return pd.DataFrame(rows, columns=names[: rows.shape[1]])


def _read_numbers(path: Path) -> np.ndarray:
    """Read a file of numbers only, as a table; an empty one has size 0."""
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        rows = np.array([line for line in lines if line], dtype=float)
    except (ValueError, OSError) as error:
        raise DataError(
            f"Cannot read {path} as columns of numbers: {error}. Remove the file or correct it."
        ) from error
    if not np.isfinite(rows).all():
        raise DataError(f"{path} holds values that are not finite. Correct or remove these rows.")
    return rows
