"""Runs in a BIDS data set, raw or preprocessed in fMRIPrep's manner.

The Brain Imaging Data Structure (Gorgolewski et al. 2016, doi:10.1038/sdata.2016.44) keeps the
facts of a run in its file names, in ``*_events.tsv``, and in JSON files that may lie at any level
above the run: the inheritance principle.
"""

import glob
import json
import re
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd
from nilearn.interfaces.bids import get_bids_files, parse_bids_filename

from neurosal.errors import DataError
from neurosal.loaders.runs import Run, choose_subjects, read_header, shorten, tidy_events

NATIVE = "native"
LONGEST_T_R = 100.0  # seconds; beyond that it was written in milliseconds
_RUN_ENTITIES = ("acq", "ce", "rec", "dir", "run")
_CONFOUNDS = ("timeseries", "regressors")


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
    return any(folder.is_dir() for one in patterns for folder in Path(root).glob(one))


def find_bids_runs(
    root: str | Path,
    *,
    task: str,
    space: str | None = None,
    derivatives: str | Path | None = None,
    subjects: list[str] | None = None,
    resolution: str | None = None,
) -> list[Run]:
    """Find the runs of one task in a BIDS data set.

    Parameters
    ----------
    root : str or pathlib.Path
        The raw data set; its ``*_events.tsv`` files are read.
    task : str
        The task's name in the file names.
    space : str, optional
        Which space of the images (``"MNI152NLin6Asym"``); ``"native"`` for those that name none.
        May be left out if all images are in one.
    derivatives : str or pathlib.Path, optional
        Folder with ``*_desc-preproc_bold`` images, absolute or within ``root``. None takes the
        images of ``root`` itself.
    subjects : list of str, optional
        Which subjects, with or without ``sub-``; None takes all.
    resolution : str, optional
        Which ``res-`` of the images. Where there are several and none is chosen, the first by
        name is taken, and noted.

    Returns
    -------
    list of Run
        By file name. ``t_r`` is RepetitionTime from the JSON files by inheritance, or else the
        header's. ``confounds`` is the ``*_desc-confounds_timeseries.tsv`` beside the image as it
        is, or a ``*_motion.tsv`` with a row for each volume. ``run`` joins what the file name
        gives as ``acq``, ``ce``, ``rec``, ``dir`` and ``run``. ``trial_types`` holds the types of
        all runs found.

    Raises
    ------
    ArgumentError
        If a subject is not there.
    DataError
        If the folder is not BIDS, the task or space is not there, images are ambiguous, or a file
        is not as it should be.

    Examples
    --------
    >>> find_bids_runs("nowhere", task="faces")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere is not a folder. Give the top folder of a BIDS data set.
    """
    root = Path(root)
    folder = _image_folder(root, derivatives)
    files = _choose(_list_images(folder, derivatives is not None), "task", task, folder)
    found = sorted({file["entities"]["sub"] for file in files})
    chosen = choose_subjects(found, subjects, folder)
    files = [file for file in files if file["entities"]["sub"] in chosen]
    files = _choose_space(files, space, root if derivatives is None else None)
    if resolution is not None:
        files = _choose(files, "res", resolution, folder)
    files, skipped = _one_resolution(files)
    _check_unique(files)
    if derivatives is not None:
        _warn_unprocessed(root, files, task, None if subjects is None else chosen)
    runs = [_read_run(file, root, folder, skipped) for file in files]
    types = tuple(sorted({kind for run in runs for kind in run.events["trial_type"]}))
    return [replace(run, trial_types=types) for run in runs]


def _image_folder(root: Path, derivatives: str | Path | None) -> Path:
    """Find the folder that holds the images."""
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
        raise DataError(f"{folder} is not BIDS: it holds no sub-*/func or sub-*/ses-*/func folder.")
    return folder


def _list_images(folder: Path, preprocessed: bool) -> list[dict]:
    """List the BOLD images below a folder, their names parsed."""
    filters = [("desc", "preproc")] if preprocessed else None
    paths = get_bids_files(
        glob.escape(str(folder)),
        file_tag="bold",
        file_type="nii*",
        modality_folder="func",
        filters=filters,
    )
    files = [parse_bids_filename(path) for path in paths]
    files = [file for file in files if file["extension"] in ("nii", "nii.gz")]
    if not files:
        wanted = "*_desc-preproc_bold.nii.gz" if preprocessed else "*_bold.nii.gz"
        raise DataError(f"{folder} holds no {wanted} in its sub-*/func folders.")
    return files


def _choose(files: list[dict], entity: str, label: str, folder: Path) -> list[dict]:
    """Keep the files with a label, or list the labels that are there."""
    label = str(label).removeprefix(f"{entity}-")
    kept = [file for file in files if file["entities"].get(entity) == label]
    if not kept:
        there = sorted({file["entities"].get(entity) or "none" for file in files})
        raise DataError(f"{folder} has no images with {entity}-{label}. There: {shorten(there)}.")
    return kept


def _choose_space(files: list[dict], space: str | None, raw: Path | None) -> list[dict]:
    """Keep the images of one space."""
    spaces = sorted({_space(file) or NATIVE for file in files})
    if space is None and len(spaces) > 1:
        raise DataError(
            f"The images are in several spaces: {', '.join(spaces)}. Choose one with space."
        )
    kept = [file for file in files if space is None or (_space(file) or NATIVE) == space]
    if not kept:
        hint = f" The images of {raw} are raw: name a folder with derivatives." if raw else ""
        raise DataError(f"No images are in the space {space!r}. There: {', '.join(spaces)}.{hint}")
    return kept


def _space(file: dict) -> str:
    """Read the space from a parsed file name."""
    return file["entities"].get("space") or ""


def _identity(file: dict) -> tuple[str, str, str]:
    """Subject, session and run, as they tell the runs of a task apart."""
    entities = file["entities"]
    run = "-".join(entities[key] for key in _RUN_ENTITIES if entities.get(key))
    return entities["sub"], entities.get("ses") or "", run


def _one_resolution(files: list[dict]) -> tuple[list[dict], dict[tuple, str]]:
    """Keep the first resolution of each run, and note that there are others."""
    labels: dict[tuple, set] = {}
    for file in files:
        labels.setdefault(_identity(file), set()).add(file["entities"].get("res") or "")
    kept = [
        file
        for file in files
        if (file["entities"].get("res") or "") == min(labels[_identity(file)])
    ]
    notes = {
        key: f"resolution {min(several) or 'unnamed'!r} taken of {sorted(several)}"
        for key, several in labels.items()
        if len(several) > 1
    }
    return kept, notes


def _check_unique(files: list[dict]) -> None:
    """Refuse two images of one run."""
    seen: dict[tuple, str] = {}
    for file in files:
        other = seen.setdefault(_identity(file), file["file_basename"])
        if other != file["file_basename"]:
            raise DataError(
                f"{other} and {file['file_basename']} are images of one run. Keep one: combine "
                "echoes, leave out phase images, and do not store .nii beside .nii.gz."
            )


def _warn_unprocessed(root: Path, files: list[dict], task: str, chosen: list[str] | None) -> None:
    """Warn once of raw runs that have no preprocessed image."""
    if not is_bids(root):
        return
    raw = [
        parse_bids_filename(path)
        for path in get_bids_files(
            glob.escape(str(root)),
            file_tag="bold",
            file_type="nii*",
            modality_folder="func",
            filters=[("task", task)],
        )
    ]
    have = {_identity(file) for file in files}
    missing = [
        file["file_basename"]
        for file in raw
        if _identity(file) not in have and (chosen is None or file["entities"]["sub"] in chosen)
    ]
    if missing:
        warnings.warn(
            f"{len(missing)} raw runs have no preprocessed image and are left out: "
            f"{shorten(missing)}.",
            stacklevel=3,
        )


def _read_run(file: dict, root: Path, folder: Path, skipped: dict[tuple, str]) -> Run:
    """Read all that belongs to one run but its voxels."""
    image, entities = Path(file["file_path"]), file["entities"]
    subject, session, run = _identity(file)
    raw_folder = root / image.parent.relative_to(folder)
    n_volumes, header_t_r = read_header(image)
    sidecars = list(_inherited(raw_folder, root, entities, "bold", "json"))
    if folder != root:
        sidecars += _inherited(image.parent, folder, entities, "bold", "json")
    t_r, notes = _repetition_time(image, header_t_r, sidecars)
    events, event_notes = _read_events(raw_folder, root, entities, image)
    confounds, confound_notes = _read_confounds(image.parent, entities, n_volumes)
    notes += event_notes + confound_notes
    if _identity(file) in skipped:
        notes += (skipped[_identity(file)],)
    return Run(
        image,
        events,
        t_r,
        subject=subject,
        task=entities["task"],
        run=run,
        session=session,
        confounds=confounds,
        space=_space(file),
        notes=notes,
    )


def _inherited(
    start: Path, top: Path, entities: dict, suffix: str, extension: str
) -> Iterable[Path]:
    """Yield the files that hold for an image, from the top folder down to ``start``."""
    levels = [start, *start.parents]
    for level in reversed(levels[: levels.index(top) + 1]):
        named = []
        for path in level.glob(f"*{suffix}.{extension}"):
            parsed = parse_bids_filename(path)
            if parsed["suffix"] == suffix and parsed["entities"].items() <= entities.items():
                named.append((len(parsed["entities"]), path))
        yield from (path for _, path in sorted(named))


def _repetition_time(
    image: Path, header: float | None, sidecars: list[Path]
) -> tuple[float, tuple[str, ...]]:
    """Choose between the JSON files and the header."""
    merged, source = {}, image
    for path in sidecars:
        content = _read_json(path)
        merged |= content
        source = path if "RepetitionTime" in content else source
    if "RepetitionTime" not in merged:
        if "VolumeTiming" in merged:
            raise DataError(
                f"{image} has VolumeTiming, not RepetitionTime: its volumes are not evenly "
                "spaced, and cannot be used."
            )
        return _check_t_r(header, image, "The header"), ("repetition time from the header",)
    t_r = _check_t_r(merged["RepetitionTime"], source, "RepetitionTime")
    if header is not None and abs(header - t_r) > 0.01 * t_r:
        return t_r, (f"repetition time {t_r:g} s by {source.name}, not {header:g} s as the header",)
    return t_r, ()


def _check_t_r(value: object, source: Path, what: str) -> float:
    """Refuse a repetition time that cannot be one in seconds."""
    try:
        t_r = float(value)
    except (TypeError, ValueError):
        t_r = 0.0
    if 0 < t_r <= LONGEST_T_R:
        return t_r
    hint = f" It looks like milliseconds: write {t_r / 1000:g}." if LONGEST_T_R < t_r < 1e5 else ""
    raise DataError(
        f"{source}: {what} gives the repetition time as {value!r}. It must be in seconds, above 0 "
        f"and at most {LONGEST_T_R:g}.{hint} Set RepetitionTime in the image's JSON file."
    )


def _read_json(path: Path) -> dict:
    """Read a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise DataError(f"Cannot read {path} as JSON: {error}. Correct the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object. Correct the file.")
    return content


def _read_table(path: Path, dtype: type | None = None) -> pd.DataFrame:
    """Read a tab-separated table; ``n/a`` and empty cells are missing values."""
    missing = ["n/a", "N/A", "NaN", "nan", ""]
    try:
        return pd.read_csv(
            path,
            sep="\t",
            index_col=False,
            dtype=dtype,
            na_values=missing,
            keep_default_na=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
        )
    except (ValueError, OSError) as error:
        raise DataError(
            f"Cannot read {path} as a tab-separated table: {error}. Correct the file."
        ) from error


def _read_events(
    start: Path, root: Path, entities: dict, image: Path
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read the nearest event table that holds for an image."""
    tables = list(_inherited(start, root, entities, "events", "tsv"))
    if not tables:
        name = re.sub(r"(_(space|res|desc|den|cohort)-[^_]+)|(_bold\.nii(\.gz)?$)", "", image.name)
        raise DataError(f"{image} has no events: {start / name}_events.tsv is not there.")
    return tidy_events(_read_table(tables[-1], dtype=str), tables[-1])


def _read_confounds(
    folder: Path, entities: dict, n_volumes: int
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Read the confounds beside an image, or its motion parameters."""
    described = entities | {"desc": "confounds"}
    for suffix in _CONFOUNDS:
        for path in _inherited(folder, folder, described, suffix, "tsv"):
            table = _read_table(path)
            if len(table) != n_volumes:
                raise DataError(
                    f"{path} has {len(table)} rows but the image {n_volumes} volumes. Give the "
                    "confounds of this run, or move the file away."
                )
            return table, ()
    for path in _inherited(folder, folder, entities, "motion", "tsv"):
        table = _read_table(path)
        if len(table) == n_volumes:
            return table, ()
        return None, (f"{path.name} has {len(table)} rows for {n_volumes} volumes: not used",)
    return None, ()
