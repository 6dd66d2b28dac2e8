"""Runs in a BIDS data set, raw or preprocessed in fMRIPrep's manner.

The Brain Imaging Data Structure (Gorgolewski et al. 2016, doi:10.1038/sdata.2016.44) keeps the
facts of a run in its file names, in ``*_events.tsv``, and in JSON files that may lie at any level
above the run: the inheritance principle.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from neurosal.errors import DataError, check_one_of
from neurosal.loaders.bids_files import (
    KINDS,
    BidsImage,
    choose_label,
    choose_space,
    list_images,
    locked_subjects,
    one_resolution,
    plain_entities,
)
from neurosal.loaders.bids_runs import BidsReader
from neurosal.loaders.locked import tell_locked, warn_locked
from neurosal.loaders.runs import Run, choose_subjects, shorten

PREPROCESSED = "preproc"


def is_bids(root: str | Path) -> bool:
    """Whether a folder holds functional images in BIDS.

    Parameters
    ----------
    root : str or pathlib.Path
        The top folder of the data set.

    Returns
    -------
    bool
        True if there is a ``sub-*/func`` or ``sub-*/ses-*/func`` folder.

    Examples
    --------
    >>> import tempfile
    >>> is_bids(tempfile.mkdtemp())
    False
    """
    patterns = ("sub-*/func", "sub-*/ses-*/func")
    return any(os.path.isdir(folder) for one in patterns for folder in Path(root).glob(one))


def find_bids_runs(
    root: str | Path,
    *,
    task: str | Sequence[str],
    space: str | None = None,
    derivatives: str | Path | None = None,
    subjects: list[str] | None = None,
    exclude: Sequence[str] | None = None,
    resolution: str | None = None,
    sessions: Sequence[str] | None = None,
    runs: Sequence[str] | None = None,
    kind: str | None = None,
    desc: str | None = None,
    event_column: str = "trial_type",
    keep: Sequence[str] = (),
) -> list[Run]:
    """Find the runs of one task or several in a BIDS data set.

    Parameters
    ----------
    root : str or pathlib.Path
        The raw data set; its ``*_events.tsv`` files are read.
    task : str or sequence of str
        The tasks' names in the file names.
    space : str, optional
        Which space of the images (``"MNI152NLin6Asym"``, ``"fsaverage5"``, ``"fsLR"``);
        ``"native"`` for those that name none. May be left out if all volumes are in one.
    derivatives : str or pathlib.Path, optional
        Folder with ``*_desc-preproc_bold`` images, absolute or within ``root``. None takes the
        images of ``root`` itself.
    subjects : list of str, optional
        Which subjects, with or without ``sub-``; None takes all.
    exclude : sequence of str, optional
        Subjects to leave out.
    resolution : str, optional
        Which ``res-`` or ``den-`` of the images. Where there are several and none is chosen, the
        first by name is taken, and noted.
    sessions, runs : sequence of str, optional
        Which sessions, and which runs by number; None takes all.
    kind : {"volume", "cifti", "surface"}, optional
        Needed only where a space has more than one of them.
    desc : str, optional
        Which ``desc-`` of the derivatives' images; None takes ``"preproc"``.
    event_column : str
        The column of the event tables that tells the events' types.
    keep : sequence of str
        Further columns of the event tables to keep in ``events`` (``response_time``).

    Returns
    -------
    list of Run
        By file name. ``t_r`` is RepetitionTime from the JSON files by inheritance, or else the
        header's. ``img`` of surfaces is ``{"left": path, "right": path}``. ``confounds`` is the
        ``*_desc-confounds_timeseries.tsv`` beside the image as it is, or a ``*_motion.tsv`` with
        a row for each volume. ``run`` joins what the file name gives as ``acq``, ``ce``, ``rec``,
        ``dir`` and ``run``. ``trial_types`` holds the types of all runs found. ``run-1`` in one
        folder and ``run-01`` in the other are one run. Folders that may not be read are warned of.

    Raises
    ------
    ArgumentError
        If a subject is not there.
    DataError
        If the folder is not BIDS, the task, session, run or space is not there, images are
        ambiguous, or a file is not as it should be.

    Examples
    --------
    >>> find_bids_runs("nowhere", task="faces")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is not a folder. Give the top folder of a BIDS data set.
    """
    root = Path(root)
    check_one_of("kind", kind, (None, *KINDS))
    folder = image_folder(root, derivatives)
    warn_locked(locked_subjects([root, folder]), subjects)
    wanted = desc if derivatives is None else desc or PREPROCESSED
    images = choose_label(_list(folder, wanted), "task", task, folder)
    there = sorted({image.entities["sub"] for image in images})
    chosen = choose_subjects(there, subjects, folder, exclude=exclude)
    images = [image for image in images if image.entities["sub"] in chosen]
    for entity, labels in (("ses", sessions), ("run", runs)):
        images = images if labels is None else choose_label(images, entity, labels, folder)
    images = choose_space(images, space, kind, root if derivatives is None else None)
    if resolution is not None:
        entity = "res" if images[0].kind == "volume" else "den"
        images = choose_label(images, entity, resolution, folder)
    images, choices = one_resolution(images)
    _warn_lone(images)
    if derivatives is not None:
        labels = {"task": task, "ses": sessions, "run": runs}
        everyone = subjects is None and exclude is None
        _warn_unprocessed(root, images, labels, None if everyone else chosen)
    reader = BidsReader(root, folder, event_column, tuple(keep))
    found = [reader.read(image, choices.get(image.identity)) for image in images]
    types = tuple(sorted({name for run in found for name in run.events["trial_type"]}))
    return [replace(run, trial_types=types) for run in found]


def image_folder(root: Path, derivatives: str | Path | None) -> Path:
    """Find the folder that holds the images.

    Parameters
    ----------
    root : pathlib.Path
        The data set.
    derivatives : str, pathlib.Path or None
        Absolute, or within ``root``; None is ``root``.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    DataError
        If there is no such folder, or no functional images in it.

    Examples
    --------
    >>> image_folder(Path("nowhere"), None)
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is not a folder. Give the top folder of a BIDS data set.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder. Give the top folder of a BIDS data set.")
    folder = root if derivatives is None else root / Path(derivatives).expanduser()
    if not folder.is_dir():
        there = sorted(str(p.relative_to(root)) for p in root.glob("derivatives/*") if p.is_dir())
        raise DataError(
            f"{folder} is not a folder. Give derivatives within {root} or as an absolute path; "
            f"there: {shorten(there) or 'none'}."
        )
    if not is_bids(folder):
        told = tell_locked([path for _, path in locked_subjects([folder])])
        raise DataError(
            f"{folder} is not BIDS: it holds no sub-*/func or sub-*/ses-*/func folder.{told}"
        )
    return folder


def _list(folder: Path, desc: str | None) -> list[BidsImage]:
    """List the images, or say what was looked for."""
    images = list_images(folder, desc=desc)
    if not images:
        wanted = "*_bold.nii.gz" if desc is None else f"*_desc-{desc}_bold.nii.gz"
        raise DataError(f"{folder} holds no {wanted} in its sub-*/func folders.")
    return images


def _warn_lone(images: list[BidsImage]) -> None:
    """Warn once of surfaces that lack a hemisphere."""
    surfaces = [image for image in images if image.kind == "surface"]
    lone = [image.path.name for image in surfaces if len(image.img) == 1]
    if lone:
        warnings.warn(
            f"{len(lone)} runs have one hemisphere only, so that the regions of the other will be "
            f"missing: {shorten(lone)}. Copy the other hemisphere beside it.",
            stacklevel=3,
        )


def _warn_unprocessed(
    root: Path, images: list[BidsImage], labels: dict, chosen: list[str] | None
) -> None:
    """Warn once of raw runs that have no preprocessed image."""
    have = {image.identity for image in images}
    missing = {
        raw.identity: raw.path.name  # echoes are one run
        for raw in (list_images(root) if is_bids(root) else [])
        if raw.identity not in have
        and (chosen is None or raw.entities["sub"] in chosen)
        and all(_is_among(raw, entity, wanted) for entity, wanted in labels.items())
    }
    if missing:
        warnings.warn(
            f"{len(missing)} raw runs have no preprocessed image and are left out: "
            f"{shorten(missing.values())}.",
            stacklevel=3,
        )


def _is_among(image: BidsImage, entity: str, labels: str | Sequence[str] | None) -> bool:
    """Whether an image has one of the labels asked for."""
    if labels is None:
        return True
    labels = [labels] if isinstance(labels, str | int) else labels
    wanted = ({entity: str(label).removeprefix(f"{entity}-")} for label in labels)
    own = plain_entities(image.entities).get(entity)
    return own in [plain_entities(one)[entity] for one in wanted]
