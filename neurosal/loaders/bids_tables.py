"""The files beside an image in BIDS, by the inheritance principle: JSON, events, confounds.

A file holds for an image if it lies in its folder or above and its name has no part that the
image's has not; of several the nearest, and then the most specific, wins.
"""

import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from nilearn.interfaces.bids import parse_bids_filename

from neurosal.errors import DataError
from neurosal.loaders.bids_files import plain_entities
from neurosal.loaders.runs import tidy_events

LONGEST_T_R = 100.0  # seconds; beyond that it was written in milliseconds
_CONFOUNDS = ("timeseries", "regressors")


def inherited(
    start: Path, top: Path, entities: dict, suffix: str, extension: str
) -> Iterator[Path]:
    """Find the files that hold for an image, from the top folder down to its own.

    Parameters
    ----------
    start : pathlib.Path
        The image's folder.
    top : pathlib.Path
        The data set's top folder.
    entities : dict of str to str
        The image's; ``run-1`` and ``run-01`` are one.
    suffix, extension : str
        ``"events"`` and ``"tsv"``, ...

    Yields
    ------
    pathlib.Path
        The last of them wins.

    Examples
    --------
    >>> list(inherited(Path("study/sub-01/func"), Path("study"), {}, "events", "tsv"))
    []
    """
    own = plain_entities(entities).items()
    levels = [start, *start.parents]
    for level in reversed(levels[: levels.index(top) + 1]):
        named = []
        for path in level.glob(f"*{suffix}.{extension}") if os.path.isdir(level) else ():
            parsed = parse_bids_filename(path)
            if parsed["suffix"] == suffix and plain_entities(parsed["entities"]).items() <= own:
                named.append((len(parsed["entities"]), path))
        yield from (path for _, path in sorted(named))


def repetition_time(
    image: Path, header: float | None, sidecars: Sequence[Path]
) -> tuple[float, tuple[str, ...]]:
    """Choose between the JSON files and the header.

    Parameters
    ----------
    image : pathlib.Path
        The image, for messages.
    header : float or None
        What its header says, in seconds.
    sidecars : sequence of pathlib.Path
        JSON files; later ones win.

    Returns
    -------
    t_r : float
        Seconds.
    notes : tuple of str
        Where it is from, if that is worth knowing.

    Raises
    ------
    DataError
        If it cannot be a repetition time, or volumes are not evenly spaced.

    Examples
    --------
    >>> repetition_time(Path("bold.nii.gz"), 2.0, [])
    (2.0, ('repetition time from the header',))
    """
    merged, source = _merged(sidecars, "RepetitionTime")
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


def start_time(sidecars: Sequence[Path]) -> float:
    """Read what time the first volume shows: slice timing moves it, fMRIPrep's to the middle.

    Parameters
    ----------
    sidecars : sequence of pathlib.Path
        JSON files; later ones win.

    Returns
    -------
    float
        Seconds from the run's start; 0 if no file tells.

    Raises
    ------
    DataError
        If it cannot be a time in seconds.

    Examples
    --------
    >>> start_time([])
    0.0
    """
    merged, source = _merged(sidecars, "StartTime")
    start = merged.get("StartTime")
    if start in (None, "n/a"):
        return 0.0
    number = isinstance(start, int | float) and not isinstance(start, bool)
    if number and abs(start) <= LONGEST_T_R:
        return float(start)
    raise DataError(
        f"StartTime in {source} must be seconds from the run's start to what the first volume "
        f"shows, at most {LONGEST_T_R:g}. Got {start!r}. Correct or remove it."
    )


def _merged(sidecars: Sequence[Path], key: str) -> tuple[dict, Path | None]:
    """Join JSON files, and name the last that has a key."""
    merged, source = {}, None
    for path in sidecars:
        content = read_json(path)
        merged |= content
        source = path if key in content else source
    return merged, source


def _check_t_r(value: object, source: Path, what: str) -> float:
    """Refuse a repetition time that cannot be one in seconds."""
    try:
        t_r = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        t_r = 0.0
    if 0 < t_r <= LONGEST_T_R:
        return t_r
    hint = f" It looks like milliseconds: write {t_r / 1000:g}." if LONGEST_T_R < t_r < 1e5 else ""
    raise DataError(
        f"{source}: {what} gives the repetition time as {value!r}. It must be in seconds, above 0 "
        f"and at most {LONGEST_T_R:g}.{hint} Set RepetitionTime in the image's JSON file."
    )


def read_json(path: Path) -> dict:
    """Read a JSON object.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    dict
        What it holds.

    Raises
    ------
    DataError
        If it is no JSON, or no object.

    Examples
    --------
    >>> read_json(Path("nowhere.json"))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: Cannot read nowhere.json as JSON: ...
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError, RecursionError) as error:
        raise DataError(f"Cannot read {path} as JSON: {error}. Correct the file.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object. Correct the file.")
    return content


def _read_table(path: Path, dtype: type | None = None) -> pd.DataFrame:
    """Read a tab-separated table; ``n/a`` and empty cells are missing values."""
    missing = ["n/a", "N/A", "NaN", "nan", ""]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", category=pd.errors.ParserWarning)
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
    except pd.errors.ParserWarning as error:
        raise DataError(
            f"{path} has rows with more cells than the header, so that it is unknown which column "
            "is which. Write it without row names, and name every column."
        ) from error
    except (ValueError, OSError) as error:
        raise DataError(
            f"Cannot read {path} as a tab-separated table: {error}. Correct the file."
        ) from error


def has_events(start: Path, root: Path, entities: dict) -> bool:
    """Tell whether there is an event table for an image.

    Parameters
    ----------
    start, root : pathlib.Path
        The raw folder of the image, and the data set's top.
    entities : dict of str to str
        The image's.

    Returns
    -------
    bool
        True if there is one.

    Examples
    --------
    >>> has_events(Path("study/sub-01/func"), Path("study"), {"sub": "01"})
    False
    """
    return next(inherited(start, root, entities, "events", "tsv"), None) is not None


def read_events(
    start: Path,
    root: Path,
    entities: dict,
    image: Path,
    *,
    event_column: str = "trial_type",
    keep: Sequence[str] = (),
    run_length: float | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Read the nearest event table that holds for an image.

    Parameters
    ----------
    start, root : pathlib.Path
        The raw folder of the image, and the data set's top.
    entities : dict of str to str
        The image's.
    image : pathlib.Path
        The image, for messages.
    event_column, keep, run_length
        As :func:`~neurosal.loaders.runs.tidy_events` takes them.

    Returns
    -------
    events : pandas.DataFrame
        Columns ``onset``, ``duration``, ``trial_type`` and ``keep``.
    notes : tuple of str
        What is odd.

    Raises
    ------
    DataError
        If there is none, or it is not as it should be.

    Examples
    --------
    >>> image = Path("study/sub-01/func/sub-01_task-x_bold.nii.gz")
    >>> read_events(image.parent, Path("study"), {"sub": "01", "task": "x"}, image)
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: study/sub-01/func/sub-01_task-x_bold.nii.gz has no events: ...
    """
    tables = list(inherited(start, root, entities, "events", "tsv"))
    if not tables:
        name = re.sub(
            r"(_(space|res|desc|den|cohort|hemi)-[^_]+)|(_bold\.[a-z.]+$)", "", image.name
        )
        raise DataError(f"{image} has no events: {start / name}_events.tsv is not there.")
    return tidy_events(
        _read_table(tables[-1], dtype=str),
        tables[-1],
        event_column=event_column,
        keep=keep,
        run_length=run_length,
    )


def read_confounds(
    folder: Path, entities: dict, n_volumes: int
) -> tuple[pd.DataFrame | None, tuple[str, ...]]:
    """Read the confounds beside an image, or its motion parameters.

    Parameters
    ----------
    folder : pathlib.Path
        The image's folder.
    entities : dict of str to str
        The image's.
    n_volumes : int
        Its frames.

    Returns
    -------
    confounds : pandas.DataFrame of shape (n_volumes, n_confounds), or None
        ``*_desc-confounds_timeseries.tsv`` (or ``_regressors``), or else ``*_motion.tsv``.
    notes : tuple of str
        A table of motion that does not fit.

    Raises
    ------
    DataError
        If a table of confounds has another number of rows.

    Examples
    --------
    >>> read_confounds(Path("nowhere"), {"sub": "01"}, 100)
    (None, ())
    """
    described = entities | {"desc": "confounds"}
    for suffix in _CONFOUNDS:
        for path in list(inherited(folder, folder, described, suffix, "tsv"))[-1:]:
            table = _read_table(path)
            if len(table) != n_volumes:
                raise DataError(
                    f"{path} has {len(table)} rows but the image {n_volumes} volumes. Give the "
                    "confounds of this run, or move the file away."
                )
            return table, ()
    for path in list(inherited(folder, folder, entities, "motion", "tsv"))[-1:]:
        table = _read_table(path)
        if len(table) == n_volumes:
            return table, ()
        return None, (f"{path.name} has {len(table)} rows for {n_volumes} volumes: not used",)
    return None, ()
