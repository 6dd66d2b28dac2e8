"""A look at a study before it is analysed: what there is, and what is missing or broken."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.bids import image_folder, is_bids
from neurosal.loaders.bids_files import NATIVE, BidsImage, list_images
from neurosal.loaders.bids_runs import BidsReader
from neurosal.loaders.hcp import HCP_BLOCKS, is_hcp
from neurosal.loaders.hcp_files import (
    ENDINGS,
    HCP_VOLUMES,
    SPACES,
    T_R,
    ev_files,
    find_image,
    hcp_folders,
    read_ev,
    read_hcp_header,
    read_movement,
)
from neurosal.loaders.runs import shorten, tidy_events
from neurosal.loaders.study import Ledger, StudyInspection
from neurosal.loaders.surfaces import read_frames


def inspect_study(
    root: str | Path,
    *,
    task: str | Sequence[str] | None = None,
    derivatives: str | Path | None = None,
    space: str | None = None,
    event_column: str = "trial_type",
) -> StudyInspection:
    """Find out what a study in the HCP's layout or in BIDS holds, and what is wrong with it.

    Headers, events and confounds are read, no voxels. A file that is broken or missing is listed
    among the problems, and the rest is read.

    Parameters
    ----------
    root : str or pathlib.Path
        The study's folder.
    task : str or sequence of str, optional
        Look at these tasks only.
    derivatives : str or pathlib.Path, optional
        BIDS: the folder of preprocessed images to look at, absolute or within ``root``; None
        looks at the images of ``root``, and counts those of its derivatives.
    space : str, optional
        Look at the images of this space only (``"native"`` for those that name none).
    event_column : str
        BIDS: the column that tells the events' types.

    Returns
    -------
    StudyInspection
        Tables ``images``, ``conditions``, ``spaces`` and ``problems``; ``print`` shows them.

    Raises
    ------
    DataError
        If the folder is neither in the HCP's layout nor in BIDS.
    ArgumentError
        If a task or space is not there.

    Examples
    --------
    >>> inspect_study("nowhere")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is not a folder. Give the top folder of a study.
    """
    root = Path(root)
    tasks = None if task is None else [task] if isinstance(task, str) else list(task)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Give the top folder of a study.")
    if is_hcp(root):
        return _inspect_hcp(root, tasks, space)
    if not is_bids(root):
        raise DataError(
            f"{root} is neither in the HCP's layout ({{subject}}/MNINonLinear/Results/tfMRI_*) nor "
            "in BIDS (sub-*/func). Give the folder that holds the subjects."
        )
    return _inspect_bids(root, tasks, derivatives, space, event_column)


def _check_known(name: str, wanted: Iterable[str], there: Iterable[str]) -> None:
    """Refuse a task or space that the study does not have."""
    there = sorted(set(there))
    unknown = [one for one in wanted if one not in there]
    if unknown:
        raise ArgumentError(f"{name} must be among {shorten(there)}. Got {unknown[0]!r}.")


def _inspect_hcp(root: Path, tasks: list[str] | None, space: str | None) -> StudyInspection:
    """Look at every run that some subject has, of every subject."""
    folders, ledger = hcp_folders(root), Ledger()
    tasks = None if tasks is None else [name.upper() for name in tasks]
    _check_known("task", tasks or (), {name for _, name, _ in folders})
    _check_known("space", [space] if space else (), SPACES.values())
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
    n_events, empty, late = 0, [], []
    for path in files:
        table = ledger.attempt(where, "broken event file", read_ev, path)
        tidy = None if table is None else ledger.attempt(
            where, "broken event file", tidy_events, table, path
        )
        if tidy is None:
            continue
        ledger.add_events(where, tidy[0], [] if len(table) else [path.stem])
        n_events += len(table)
        empty += [] if len(table) else [path.stem]
        late += [path.stem] * (n_frames is not None and (table["onset"] >= n_frames * T_R).any())
    _note_evs(ledger, where, folder, empty, late)
    return n_events


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
        detail = f"{folder}: {', '.join(late)} go on after the last volume."
        ledger.add_problem("warning", where, "events after the end", detail)


def _count_hcp_spaces(ledger: Ledger, root: Path) -> None:
    """Sum the images up by kind."""
    for kind in ENDINGS:
        rows = [row for row in ledger.images if row["kind"] == kind]
        if rows:
            counts = {"subjects": len({row["subject"] for row in rows}), "images": len(rows)}
            name = {"folder": ".", "space": SPACES[kind], "kind": kind, "resolution": ""}
            ledger.spaces.append(name | counts)
