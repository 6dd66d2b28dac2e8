"""A look at a study in the Human Connectome Project's layout."""

from pathlib import Path

import numpy as np
import pandas as pd

from neurosal.loaders.hcp import HCP_BLOCKS, SPACES
from neurosal.loaders.hcp_files import (
    ENDINGS,
    HCP_VOLUMES,
    T_R,
    ev_files,
    find_image,
    hcp_folders,
    locked_subjects,
    read_ev,
    read_hcp_header,
    read_movement,
)
from neurosal.loaders.runs import tidy_events
from neurosal.loaders.study import Ledger, StudyInspection, check_known


def inspect_hcp(
    root: Path, *, tasks: list[str] | None = None, space: str | None = None
) -> StudyInspection:
    """Look at every run that some subject has, of every subject.

    Parameters
    ----------
    root : pathlib.Path
        The folder that holds one folder a subject.
    tasks : list of str, optional
        Look at these only.
    space : {"MNI152NLin6Asym", "fsLR"}, optional
        Look at the volumes, or the grayordinates, only.

    Returns
    -------
    StudyInspection
        What was found.

    Raises
    ------
    DataError
        If the folder has another layout.
    ArgumentError
        If a task or space is not there.

    Examples
    --------
    >>> inspect_hcp(Path("nowhere"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is not a folder. Give the folder that holds ...
    """
    folders, ledger = hcp_folders(root), Ledger()
    for subject, path in locked_subjects(root):
        detail = f"{path} may not be read. Get the right to read it."
        where = {"subject": subject, "session": "", "task": "", "run": ""}
        ledger.add_problem("warning", where, "locked folder", detail)
    tasks = None if tasks is None else [name.upper() for name in tasks]
    check_known("task", tasks or (), {name for _, name, _ in folders})
    check_known("space", [space] if space else (), SPACES.values())
    subjects = sorted({subject for subject, _, _ in folders})
    pairs = sorted({key[1:] for key in folders if tasks is None or key[1] in tasks})
    kinds = [kind for kind in ENDINGS if space in (None, SPACES[kind])]
    for subject in subjects:
        for name, encoding in pairs:
            where = {"subject": subject, "session": "", "task": name, "run": encoding}
            folder = folders.get((subject, name, encoding))
            if folder is None:
                detail = f"{root / subject} has no tfMRI_{name}_{encoding}, which others have."
                ledger.add_problem("warning", where, "missing run", detail)
            else:
                _look_at_hcp_run(ledger, where, folder, kinds)
    _count_hcp_spaces(ledger, root)
    return ledger.inspection(root, "HCP")


def _look_at_hcp_run(ledger: Ledger, where: dict, folder: Path, kinds: list[str]) -> None:
    """Look at the images, events and movement of one run."""
    images = {kind: image for kind in kinds if (image := find_image(folder, kind))}
    if not images:
        detail = f"{folder} holds no {folder.name}.nii.gz and no {folder.name}_Atlas*.dtseries.nii."
        ledger.add_problem("error", where, "missing image", detail)
    lengths = {
        kind: ledger.attempt(where, "unreadable image", read_hcp_header, image)
        for kind, image in images.items()
    }
    known = [length for length in lengths.values() if length is not None]
    _check_lengths(ledger, where, folder, known)
    n_events = _look_at_evs(ledger, where, folder / "EVs", max(known, default=None))
    moved = None
    if known:
        found = ledger.attempt(where, "movement", read_movement, folder, known[0])
        moved = found and found[0]
        if found and moved is None:
            detail = f"{folder} holds no Movement_Regressors.txt: no confounds, no scrubbing."
            ledger.add_problem("warning", where, "missing movement", detail)
    for kind, image in images.items():
        ledger.images.append(
            where
            | {"space": SPACES[kind], "kind": kind, "n_volumes": lengths[kind], "t_r": T_R}
            | {"n_events": n_events, "confounds": moved is not None, "file": str(image)}
        )
        if lengths[kind] is None:
            ledger.images[-1]["t_r"] = None


def _check_lengths(ledger: Ledger, where: dict, folder: Path, lengths: list[int]) -> None:
    """Compare a run's length with the whole run's, and the volume's with the grayordinates'."""
    whole = HCP_VOLUMES.get(where["task"])
    if len(set(lengths)) > 1:
        detail = f"{folder}: the volume has {lengths[0]} frames, the grayordinates {lengths[1]}."
        ledger.add_problem("warning", where, "lengths differ", detail)
    elif lengths and whole and lengths[0] != whole:
        detail = f"{folder}: {lengths[0]} volumes, where a whole run has {whole}."
        ledger.add_problem("warning", where, "length", detail)


def _look_at_evs(ledger: Ledger, where: dict, folder: Path, n_frames: int | None) -> int | None:
    """Look at every event file by itself; how many events there are."""
    files = ledger.attempt(where, "missing events", ev_files, folder)
    if files is None:
        return None
    tables = {path.stem: _look_at_ev(ledger, where, path) for path in files}
    tables = {name: table for name, table in tables.items() if table is not None}
    empty = [name for name, table in tables.items() if not len(table)]
    end = np.inf if n_frames is None else n_frames * T_R
    late = [name for name, table in tables.items() if (table["onset"] >= end).any()]
    _note_evs(ledger, where, folder, empty, late)
    if tables:
        ledger.add_events(where, pd.concat(tables.values()), empty)
    return sum(map(len, tables.values()))


def _look_at_ev(ledger: Ledger, where: dict, path: Path) -> pd.DataFrame | None:
    """Read one event file, if it can be read."""
    table = ledger.attempt(where, "broken event file", read_ev, path)
    if table is not None and (table["duration"] < 0).any():
        ledger.attempt(where, "broken event file", tidy_events, table, path)
        return None
    return table


def _note_evs(ledger: Ledger, where: dict, folder: Path, empty: list, late: list) -> None:
    """Write down empty event files, and events behind the run's end."""
    blocks = set(HCP_BLOCKS.get(where["task"], ()))
    absent = sorted(blocks & set(empty))
    if absent:
        detail = f"{folder}: no block of {', '.join(absent)} (empty files)."
        ledger.add_problem("warning", where, "empty block files", detail)
    others = sorted(set(empty) - blocks)
    if others:
        detail = f"{folder}: no such event in this run: {', '.join(others)}."
        ledger.add_problem("note", where, "empty event files", detail)
    if late:
        detail = f"{folder}: {', '.join(late)} begin after the last volume."
        ledger.add_problem("warning", where, "events after the end", detail)


def _count_hcp_spaces(ledger: Ledger, root: Path) -> None:
    """Sum the images up by kind."""
    for kind in ENDINGS:
        rows = [row for row in ledger.images if row["kind"] == kind]
        if rows:
            counts = {"subjects": len({row["subject"] for row in rows}), "images": len(rows)}
            name = {"folder": ".", "space": SPACES[kind], "kind": kind, "resolution": ""}
            ledger.spaces.append(name | counts)
