"""A look at a study in BIDS, raw or preprocessed."""

from collections import Counter
from pathlib import Path

import pandas as pd

from neurosal.loaders.bids import image_folder, is_bids
from neurosal.loaders.bids_files import NATIVE, BidsImage, list_images, locked_subjects
from neurosal.loaders.bids_runs import BidsReader
from neurosal.loaders.bids_tables import has_events, read_confounds, start_time
from neurosal.loaders.study import Ledger, StudyInspection, check_known
from neurosal.loaders.surfaces import read_frames

PREPROCESSED = "preproc"


def inspect_bids(
    root: Path,
    *,
    tasks: list[str] | None = None,
    derivatives: str | Path | None = None,
    space: str | None = None,
    event_column: str = "trial_type",
) -> StudyInspection:
    """Look at every functional image of a data set, or of its derivatives.

    Parameters
    ----------
    root : pathlib.Path
        The raw data set.
    tasks : list of str, optional
        Look at these only.
    derivatives : str or pathlib.Path, optional
        The folder of preprocessed images, absolute or within ``root``; None looks at ``root``.
    space : str, optional
        Look at this space only.
    event_column : str
        The column of the event tables that tells the events' types.

    Returns
    -------
    StudyInspection
        What was found.

    Raises
    ------
    DataError
        If a folder is not there or not BIDS.
    ArgumentError
        If a task or space is not there.

    Examples
    --------
    >>> inspect_bids(Path("nowhere"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is not a folder. Give the top folder of a BIDS data set.
    """
    folder, ledger = image_folder(root, derivatives), Ledger()
    for subject, path in locked_subjects([root, folder]):
        detail = f"{path} may not be read. Get the right to read it."
        where = {"subject": subject, "session": "", "task": "", "run": ""}
        ledger.add_problem("warning", where, "locked folder", detail)
    everything = list_images(folder, desc=None if derivatives is None else PREPROCESSED)
    check_known("task", tasks or (), (image.identity[2] for image in everything))
    check_known("space", [space] if space else (), (_space(image) for image in everything))
    images = [
        image
        for image in everything
        if (tasks is None or image.identity[2] in tasks) and space in (None, _space(image))
    ]
    reader = BidsReader(root, folder, event_column)
    eventful = _tasks_with_events(ledger, reader, images)
    seen: set = set()
    for image in images:
        _look_at_image(ledger, reader, image, eventful, seen)
    _compare_images(ledger)
    _find_missing(ledger, root, images, tasks, derivatives)
    _count_spaces(ledger, root, folder, everything)
    return ledger.inspection(root, "BIDS")


def _space(image: BidsImage) -> str:
    """The space by the name a user gives it."""
    return image.space or NATIVE


def _where(image: BidsImage) -> dict:
    """Where a problem of an image is."""
    subject, session, task, _ = image.identity
    return {"subject": subject, "session": session, "task": task, "run": image.run}


def _tasks_with_events(ledger: Ledger, reader: BidsReader, images: list[BidsImage]) -> set[str]:
    """Find the tasks of which some run has events; the others are noted once."""
    everything, eventful = {image.identity[2] for image in images}, set()
    for image in images:
        task = image.identity[2]
        if task not in eventful and has_events(
            reader.raw_folder(image), reader.root, image.entities
        ):
            eventful.add(task)
    for task in sorted(everything - eventful):
        detail = f"{reader.root}: no run of {task} has *_events.tsv; it cannot be decoded."
        ledger.add_problem("note", {"task": task}, "task without events", detail)
    return eventful


def _look_at_image(
    ledger: Ledger, reader: BidsReader, image: BidsImage, eventful: set, seen: set
) -> None:
    """Look at one image and what belongs to it; events once a run."""
    where = _where(image)
    n_frames, step = ledger.attempt(where, "unreadable image", read_frames, image.img) or (None, 0)
    t_r = _look_at_timing(ledger, reader, image, step) if n_frames else None
    if image.kind == "surface" and len(image.img) == 1:
        detail = f"{image.path}: the other hemisphere is not there."
        ledger.add_problem("warning", where, "one hemisphere", detail)
    events = None
    if image.identity[2] in eventful:
        told = Ledger() if image.identity in seen else ledger
        length = n_frames * t_r if n_frames and t_r else None
        events = _look_at_events(told, reader, image, length)
    seen.add(image.identity)
    for note in reader.lost_volumes(image, n_frames) if n_frames else ():
        ledger.add_problem("warning", where, "length", f"{note}.")
    confounds = n_frames and ledger.attempt(
        where, "confounds", read_confounds, image.path.parent, image.entities, n_frames
    )
    for note in confounds[1] if confounds else ():
        ledger.add_problem("warning", where, "confounds", f"{note}.")
    ledger.images.append(
        where
        | {"space": _space(image), "kind": image.kind, "n_volumes": n_frames, "t_r": t_r}
        | {"n_events": None if events is None else len(events), "file": str(image.path)}
        | {"confounds": bool(confounds and confounds[0] is not None)}
    )


def _look_at_timing(
    ledger: Ledger, reader: BidsReader, image: BidsImage, header: float | None
) -> float | None:
    """Find the repetition time of an image."""
    where = _where(image)
    found = ledger.attempt(where, "repetition time", reader.repetition_time, image, header)
    for note in found[1] if found else ():
        severity = "warning" if "not" in note.split() else "note"
        ledger.add_problem(severity, where, "repetition time", f"{image.path.name}: {note}.")
    if found:
        ledger.attempt(where, "start time", start_time, reader.sidecars(image))
    return found[0] if found else None


def _look_at_events(
    ledger: Ledger, reader: BidsReader, image: BidsImage, length: float | None
) -> pd.DataFrame | None:
    """Read the events of a run."""
    where = _where(image)
    found = ledger.attempt(where, "events", reader.events, image, length)
    if found is None:
        return None
    ledger.add_events(where, found[0])
    for note in found[1]:
        ledger.add_problem("warning", where, "events", f"{note}.")
    return found[0]


def _compare_images(ledger: Ledger) -> None:
    """Find the images whose repetition time or length is not that of most of their task."""
    for task in sorted({row["task"] for row in ledger.images}):
        rows = [row for row in ledger.images if row["task"] == task]
        for key, problem, severity in (
            ("t_r", "repetition time differs", "warning"),
            ("n_volumes", "length differs", "note"),
        ):
            counts = Counter(row[key] for row in rows if row[key])
            usual = counts.most_common(1)[0][0] if counts else None
            for row in rows:
                if row[key] and row[key] != usual:
                    where = {name: row[name] for name in ("subject", "session", "task", "run")}
                    detail = f"{row['file']}: {row[key]:g}; most images of the task have {usual:g}."
                    ledger.add_problem(severity, where, problem, detail)


def _find_missing(
    ledger: Ledger,
    root: Path,
    images: list[BidsImage],
    tasks: list[str] | None,
    derivatives: str | Path | None,
) -> None:
    """Find runs that half of the subjects or more have, and raw ones not preprocessed."""
    have = {image.identity for image in images}
    if derivatives is not None and is_bids(root):
        for raw in list_images(root):
            if raw.identity not in have and (tasks is None or raw.identity[2] in tasks):
                have.add(raw.identity)
                detail = f"{raw.path} has no preprocessed image in {derivatives}."
                ledger.add_problem("warning", _where(raw), "not preprocessed", detail)
    subjects = {identity[0] for identity in have}
    counts = Counter(identity[1:] for identity in have)
    for (session, task, run), count in sorted(counts.items()):
        if 2 * count < len(subjects):
            continue
        for subject in sorted(
            subjects - {one[0] for one in have if one[1:] == (session, task, run)}
        ):
            where = {"subject": subject, "session": session, "task": task, "run": run}
            detail = f"{count} of {len(subjects)} subjects have this run."
            ledger.add_problem("warning", where, "missing run", detail)


def _count_spaces(ledger: Ledger, root: Path, folder: Path, images: list[BidsImage]) -> None:
    """Sum the images up by space, those of the derivatives too."""
    listed = {folder: images}
    for other in sorted(root.glob("derivatives/*")) if folder == root else ():
        if other.is_dir() and is_bids(other):
            listed[other] = list_images(other, desc=PREPROCESSED)
    flat = root / "derivatives"
    if folder == root and is_bids(flat):
        listed[flat] = list_images(flat, desc=PREPROCESSED)
    for place, found in listed.items():
        name = str(place.relative_to(root)) if place.is_relative_to(root) else str(place)
        keys = [(_space(image), image.kind, image.resolution) for image in found]
        for key in sorted(set(keys)):
            own = [image for image, its in zip(found, keys, strict=True) if its == key]
            counts = {"subjects": len({one.entities["sub"] for one in own}), "images": len(own)}
            labels = dict(zip(("space", "kind", "resolution"), key, strict=True))
            ledger.spaces.append({"folder": name, **labels, **counts})
