"""Runs in the folders of the Human Connectome Project's S1200 release.

Each run of "minimally preprocessed" task fMRI (Glasser et al. 2013,
doi:10.1016/j.neuroimage.2013.04.127; tasks: Barch et al. 2013,
doi:10.1016/j.neuroimage.2013.05.033) is a folder
``{subject}/MNINonLinear/Results/tfMRI_{TASK}_{LR|RL}/`` with the volume, ``EVs/*.txt`` (onset and
duration in seconds and a weight, one file an event type) and ``Movement_Regressors.txt``.
"""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.loaders.hcp_files import (
    ENDINGS,
    T_R,
    find_image,
    hcp_folders,
    locked_subjects,
    read_evs,
    read_hcp_header,
    read_movement,
    run_folders,
)
from neurosal.loaders.locked import warn_locked
from neurosal.loaders.runs import Run, choose_subjects, shorten

SPACES = {"volume": "MNI152NLin6Asym", "cifti": "fsLR"}
ENCODINGS = ("LR", "RL")
ALL = "all"

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
    return next(run_folders(root), None) is not None


def hcp_conditions(task: str | Sequence[str]) -> dict[str, list[str]]:
    """Name the block conditions of one or more tasks, as :func:`neurosal.make_windows` takes them.

    Parameters
    ----------
    task : str or sequence of str
        The seven tasks' names; small letters will do, and ``"all"`` are all seven.

    Returns
    -------
    dict of str to list of str
        Each condition by its own name.

    Raises
    ------
    ArgumentError
        If there is no such task.

    Examples
    --------
    >>> hcp_conditions(["GAMBLING", "SOCIAL"])
    {'win': ['win'], 'loss': ['loss'], 'mental': ['mental'], 'rnd': ['rnd']}
    """
    tasks = [task] if isinstance(task, str) else list(task)
    if tasks == [ALL]:
        tasks = list(HCP_BLOCKS)
    blocks = (HCP_BLOCKS[check_one_of("task", name.upper(), HCP_BLOCKS)] for name in tasks)
    return {name: [name] for names in blocks for name in names}


def find_hcp_runs(
    root: str | Path,
    *,
    task: str | Sequence[str],
    subjects: list[str] | None = None,
    exclude: Sequence[str] | None = None,
    kind: str = "volume",
    runs: Sequence[str] | None = ENCODINGS,
) -> list[Run]:
    """Find the runs of one task or several in a folder in the HCP's layout.

    Parameters
    ----------
    root : str or pathlib.Path
        The folder that holds one folder a subject.
    task : str or sequence of str
        ``"MOTOR"``, ``["MOTOR", "WM"]``, ...; small letters will do. ``"all"`` takes every task
        there, to tell tasks apart (``label="task"`` of :func:`neurosal.make_windows`).
    subjects : list of str, optional
        Which subjects; None takes all.
    exclude : sequence of str, optional
        Subjects to leave out.
    kind : {"volume", "cifti"}
        The volumes, or the grayordinates (``.dtseries.nii``): those aligned by areal features
        (``_Atlas_MSMAll``), or else by folding (``_Atlas``), which is noted.
    runs : sequence of {"LR", "RL"}, optional
        The phase encodings wanted; None takes those that are there for some subject.

    Returns
    -------
    list of Run
        By subject, task and run (``"LR"``, ``"RL"``). ``events`` holds all event files, each by
        its name without ``.txt``; the blocks among them are in ``HCP_BLOCKS``, as conditions in
        :func:`hcp_conditions`. Empty event files are noted; ``trial_types`` holds the types of all
        runs found. ``confounds`` holds the movement regressors, translations (mm), rotations
        (degrees) and their derivatives, and ``rmsd``, the relative displacement of the head (mm).
        A run that a subject lacks, or a folder that may not be read, is warned of;
        :func:`~neurosal.loaders.inspect.inspect_study` lists them.

    Raises
    ------
    ArgumentError
        If a subject is not there, or an argument is none of those above.
    DataError
        If the folder has another layout, the task is not there, or a file is not as it should be.

    Examples
    --------
    >>> find_hcp_runs("nowhere", task="MOTOR")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is not a folder. Give the folder that holds ...
    """
    root = Path(root)
    check_one_of("kind", kind, ENDINGS)
    folders = hcp_folders(root)
    warn_locked(locked_subjects(root), subjects)
    tasks = _choose_tasks(task, folders, root)
    encodings = _choose_encodings(runs, folders, tasks)
    there = sorted({subject for subject, _, _ in folders})
    chosen = choose_subjects(there, subjects, root, exclude=exclude)
    found, missing = [], []
    for key in itertools.product(chosen, tasks, encodings):
        image = find_image(folders[key], kind) if key in folders else None
        if image:
            found.append(_read_run(image, *key))
        else:
            missing.append(key)
    if not found:
        _refuse_none(root, missing, kind, folders)
    _warn_missing(missing, found, root)
    _warn_mixed(found)
    types = tuple(sorted({name for run in found for name in run.trial_types}))
    return [replace(run, trial_types=types) for run in found]


def _choose_tasks(task: str | Sequence[str], folders: dict, root: Path) -> list[str]:
    """Bring the tasks asked for to a list; an error if one is not there."""
    there = sorted({name for _, name, _ in folders})
    wanted = [task] if isinstance(task, str) else list(task)
    if wanted == [ALL]:
        return there
    wanted = list(dict.fromkeys(name.upper() for name in wanted))
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(
            f"{root} has no task {', '.join(map(repr, missing))}. Tasks there: {shorten(there)}."
        )
    if not wanted:
        raise ArgumentError(f"task must name one task or more, of {shorten(there)}. Got none.")
    return wanted


def _choose_encodings(
    runs: Sequence[str] | None, folders: dict, tasks: list[str]
) -> tuple[str, ...]:
    """Bring the phase encodings asked for to a tuple, in the order of the HCP."""
    if runs is None:
        wanted = {encoding for _, task, encoding in folders if task in tasks}
    else:
        wanted = {runs} if isinstance(runs, str) else set(runs)
        for encoding in sorted(wanted):
            check_one_of("runs", encoding, ENCODINGS)
    if not wanted:
        raise ArgumentError("runs must name 'LR', 'RL' or both. Got none.")
    return tuple(encoding for encoding in ENCODINGS if encoding in wanted)


def _refuse_none(root: Path, missing: list[tuple], kind: str, folders: dict) -> None:
    """Say why no run was found."""
    tasks = list(dict.fromkeys(task for _, task, _ in missing))
    example = f"tfMRI_{tasks[0]}_{missing[0][2]}{ENDINGS[kind][0]}"
    other = next(name for name in ENDINGS if name != kind)
    what = {"volume": "volume", "cifti": "grayordinates"}
    if any(find_image(folders[key], other) for key in missing if key in folders):
        remedy = f"There are {what[other]}: choose kind={other!r}."
    else:
        remedy = "Download the images, not only the EVs."
    raise DataError(
        f"{root} holds no {what[kind]} of the task {', '.join(tasks)} for the subjects chosen "
        f"({example} and so on). {remedy}"
    )


def _warn_missing(missing: list[tuple], found: list[Run], root: Path) -> None:
    """Warn once of all runs that are not there; an encoding that nobody has is told as such."""
    have = {(run.task, run.run) for run in found}
    absent = sorted({key[1:] for key in missing} - have)
    if absent:
        pairs = ", ".join(f"{task} {encoding}" for task, encoding in absent)
        warnings.warn(
            f"{root} has no run {pairs} of any subject chosen. Give runs with the encodings "
            "there are, or runs=None, if that is as it should be.",
            stacklevel=3,
        )
    single = [key for key in missing if key[1:] in have]
    if single:
        tasks = sorted({task for _, task, _ in single})
        short = len({run.task for run in found} | set(tasks)) == 1
        names = (f"{key[0]} {key[2]}" if short else " ".join(key) for key in single)
        warnings.warn(
            f"{root} has no image for {len(single)} runs of {', '.join(tasks)}, which are left "
            f"out: {shorten(names)}.",
            stacklevel=3,
        )


def _warn_mixed(found: list[Run]) -> None:
    """Warn of runs that are aligned in different ways."""
    folded = [run.label for run in found if run.img.name.endswith(ENDINGS["cifti"][1])]
    if folded and len(folded) < len(found):
        warnings.warn(
            f"{len(folded)} of {len(found)} runs are aligned by folding (_Atlas), the others by "
            f"areal features (_Atlas_MSMAll): {shorten(folded)}. Download the missing files to "
            "compare like with like.",
            stacklevel=3,
        )


def _read_run(image: Path, subject: str, task: str, encoding: str) -> Run:
    """Read all that belongs to one run but its voxels."""
    n_volumes = read_hcp_header(image)
    events, notes, empty = read_evs(image.parent / "EVs", run_length=n_volumes * T_R)
    confounds, more = read_movement(image.parent, n_volumes)
    notes += more
    cifti = image.name.endswith(".dtseries.nii")
    if image.name.endswith(ENDINGS["cifti"][1]):
        notes += ("grayordinates aligned by folding: there is no _Atlas_MSMAll.dtseries.nii",)
    return Run(
        image,
        events,
        T_R,
        subject=subject,
        task=task,
        run=encoding,
        confounds=confounds,
        space=SPACES["cifti" if cifti else "volume"],
        notes=notes,
        trial_types=tuple(sorted([*empty, *events["trial_type"].unique()])),
        rotations="degrees",
    )
