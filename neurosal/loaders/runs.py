"""The record that every loader returns, and the checks that every loader makes."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from neurosal.errors import ArgumentError, DataError

UNREADABLE = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error)
SECONDS_PER_UNIT = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}

#: Confounds that measure how far the head moved; they tell frames to scrub, and are not regressed.
DISPLACEMENTS = ("framewise_displacement", "rmsd")


@dataclass(frozen=True)
class Run:
    """One run on disk, wherever it came from.

    Attributes
    ----------
    img : pathlib.Path, dict or nibabel image
        The 4D volume; a ``.dtseries.nii``; or ``{"left": path, "right": path}`` of two
        ``.func.gii`` files.
    events : pandas.DataFrame
        Columns ``onset`` (s from the run's start), ``duration`` (s), ``trial_type``, and those
        that were asked for beside them; by onset.
    t_r : float
        Repetition time in seconds.
    subject, task, run : str
        What the file names say (``run`` is ``"LR"`` or ``"01"``).
    session : str
        The session, or an empty string.
    confounds : pandas.DataFrame or None
        Nuisance regressors, one row a volume.
    space : str
        Name of the space the volume is in (``"MNI152NLin6Asym"``), or an empty string if unknown.
    notes : tuple of str
        What a reader of the report should know of this run (empty event files, ...).
    trial_types : tuple of str
        Types of the task that may be asked for though this run has no such event (an empty event
        file, a type that only other runs have); those of ``events`` need not be repeated.
    rotations : {"radians", "degrees"}
        Unit of the rotations ``rot_x``, ``rot_y``, ``rot_z`` among the confounds.
    start_time : float
        Seconds from the run's start to what the first volume shows: half a repetition time where
        slices were timed to the middle of their volume (``StartTime`` in BIDS).

    Examples
    --------
    >>> events = pd.DataFrame({"onset": [0.0], "duration": [12.0], "trial_type": ["rh"]})
    >>> Run("bold.nii.gz", events, 0.72, subject="100307", task="MOTOR", run="LR").label
    'sub-100307 task-MOTOR run-LR'
    """

    img: Path | dict | object
    events: pd.DataFrame
    t_r: float
    subject: str
    task: str
    run: str = ""
    session: str = ""
    confounds: pd.DataFrame | None = None
    space: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)
    trial_types: tuple[str, ...] = ()
    rotations: str = "radians"
    start_time: float = 0.0

    @property
    def image_name(self) -> str:
        """The image's file, both files of a pair, or what is in memory; for messages."""
        if isinstance(self.img, dict):
            return " and ".join(str(one) for one in self.img.values())
        return str(self.img) if isinstance(self.img, str | Path) else "the image in memory"

    @property
    def label(self) -> str:
        """The run's name for messages: subject, session, task and run."""
        pairs = (
            ("sub", self.subject),
            ("ses", self.session),
            ("task", self.task),
            ("run", self.run),
        )
        return " ".join(f"{key}-{value}" for key, value in pairs if value)


def read_header(path: str | Path) -> tuple[int, float | None]:
    """Read a 4D NIfTI file's header: how many volumes, how far apart.

    Parameters
    ----------
    path : str or pathlib.Path
        A ``.nii`` or ``.nii.gz`` file; its voxels are not read.

    Returns
    -------
    n_volumes : int
        Length of the fourth dimension.
    t_r : float or None
        ``pixdim[4]`` in seconds by the header's own unit of time (seconds where it names none);
        None where the header does not say.

    Raises
    ------
    DataError
        If the file is no NIfTI file or not 4D.

    Examples
    --------
    >>> import tempfile
    >>> image = nibabel.Nifti1Image(np.zeros((2, 2, 2, 5), "float32"), np.eye(4))
    >>> image.header.set_zooms((2, 2, 2, 720))
    >>> image.header.set_xyzt_units("mm", "msec")
    >>> path = tempfile.mkdtemp() + "/bold.nii.gz"
    >>> nibabel.save(image, path)
    >>> read_header(path)
    (5, 0.72)
    """
    try:
        image = nibabel.load(path)
    except UNREADABLE as error:
        raise DataError(
            f"Cannot read {path} as a NIfTI file: {error}. Give a 4D .nii or .nii.gz file."
        ) from error
    if not isinstance(image, nibabel.Nifti1Pair | nibabel.Nifti2Image):
        raise DataError(f"{path} is not a NIfTI volume. Give a 4D .nii or .nii.gz file.")
    if len(image.shape) != 4:
        raise DataError(f"{path} has shape {image.shape}. Give a 4D file: x, y, z, time.")
    return image.shape[3], _header_t_r(image.header)


def _header_t_r(header: nibabel.Nifti1Header) -> float | None:
    """Seconds between volumes as the header has it, None where it has none."""
    try:
        unit = SECONDS_PER_UNIT[header.get_xyzt_units()[1]]
    except KeyError:
        return None
    step = float(str(header.get_zooms()[3]))
    return round(step * unit, 9) if np.isfinite(step) and step > 0 else None


def tidy_events(
    table: pd.DataFrame,
    source: str | Path,
    *,
    event_column: str = "trial_type",
    keep: Sequence[str] = (),
    run_length: float | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Check an event table, sort it, and drop rows without a type.

    An onset may be negative: the event began before the first volume that was kept; and it may
    lie behind the run's end. Windows that would leave the run are dropped by
    :func:`~neurosal.loaders.events.make_windows`.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``onset``, ``duration`` (s) and the one of types; others are left out.
    source : str or pathlib.Path
        The file, for messages.
    event_column : str
        The column that tells the events' types.
    keep : sequence of str
        Further columns to keep (``response_time``), with their names, so that none of them is
        ``onset``, ``duration`` or ``trial_type``; as numbers if all their values are.
    run_length : float, optional
        Length of the run in seconds, to note events behind its end.

    Returns
    -------
    events : pandas.DataFrame
        ``onset`` and ``duration`` as floats, ``trial_type`` as text, by onset; then ``keep``.
    notes : tuple of str
        What was changed, and what is odd.

    Raises
    ------
    DataError
        If a column is missing, an onset is no number, or a duration is negative or no number.
    ArgumentError
        If a column to keep has the name of one of the first three.

    Examples
    --------
    >>> table = pd.DataFrame({"onset": [9, 1], "duration": 2, "trial_type": ["face", None]})
    >>> events, notes = tidy_events(table, "events.tsv")
    >>> events.to_dict("records"), notes
    ([{'onset': 9.0, 'duration': 2.0, 'trial_type': 'face'}],
     ('events.tsv: 1 of 2 rows dropped for want of a trial_type',))
    """
    _check_columns(table, source, event_column, keep)
    notes = [] if len(table) else [f"{source}: no event, so that the run gives no window"]
    types = table[event_column].map(type_name).astype(str)
    typed = table[event_column].notna() & (types != "")
    if not typed.all():
        count = f"{(~typed).sum()} of {len(table)}"
        notes.append(f"{source}: {count} rows dropped for want of a {event_column}")
    table = table[typed]
    events = pd.DataFrame({"onset": _numbers(table["onset"], source)})
    untimed = table["duration"].isna()
    if untimed.any():
        notes.append(f"{source}: {untimed.sum()} events without a duration taken as 0 s long")
    events["duration"] = _numbers(table["duration"].astype(object).mask(untimed, 0), source)
    events["trial_type"] = types[typed]
    for name in keep:
        events[name] = _as_numbers_if_all_are(table[name])
    _check_durations(events, source)
    notes += _odd_times(events, source, run_length)
    return events.sort_values("onset", kind="stable", ignore_index=True), tuple(notes)


def type_name(kind: object) -> str:
    """Write the type of an event as text.

    Parameters
    ----------
    kind : str or number
        As a table has it, or as one asks for it.

    Returns
    -------
    str
        Without blanks around it; a whole number without its ``.0``.

    Examples
    --------
    >>> type_name(" face"), type_name(2), type_name(2.0)
    ('face', '2', '2')
    """
    whole = isinstance(kind, float) and kind.is_integer()
    return str(int(kind) if whole else kind).strip()


def events_of(run: Run) -> pd.DataFrame:
    """Give the events of a run in order, wherever the run is from.

    Parameters
    ----------
    run : Run
        Its ``events`` may be a table of one's own.

    Returns
    -------
    pandas.DataFrame
        ``onset``, ``duration``, ``trial_type``, as :func:`tidy_events` has them.

    Raises
    ------
    DataError
        If they cannot be used.

    Examples
    --------
    >>> table = pd.DataFrame({"onset": [9, 1], "duration": 2, "trial_type": [2, 1]})
    >>> events_of(Run("x.nii", table, 2.0, subject="01", task="t"))["trial_type"].tolist()
    ['1', '2']
    """
    if not isinstance(run.events, pd.DataFrame):
        raise DataError(
            f"{run.label}: events must be a table (pandas.DataFrame) with the columns onset, "
            f"duration and trial_type. Got {run.events!r}."
        )
    return tidy_events(run.events, f"The table of events of {run.label}")[0]


def _check_columns(
    table: pd.DataFrame, source: str | Path, event_column: str, keep: Sequence[str]
) -> None:
    """Say which of the columns is not there, or cannot be kept."""
    for name in keep:
        if name in ("onset", "duration", "trial_type"):
            raise ArgumentError(
                "keep must name columns other than onset, duration and trial_type, which events "
                f"have anyway. Got {name!r}."
            )
    wanted = ("onset", "duration", event_column, *keep)
    missing = [name for name in wanted if name not in table]
    if missing:
        raise DataError(
            f"{source} has no column {', '.join(map(repr, missing))}. Columns found: "
            f"{', '.join(map(repr, table.columns))}. Give a tab-separated table with the columns "
            "onset and duration (seconds) and trial_type, or name the column that tells the "
            "events' types (event_column)."
        )


def _check_durations(events: pd.DataFrame, source: str | Path) -> None:
    """Refuse negative durations."""
    if (events["duration"] < 0).any():
        raise DataError(
            f"{source} has a negative duration ({events['duration'].min():g} s). Durations are "
            "in seconds, 0 or longer: correct the file."
        )


def _odd_times(events: pd.DataFrame, source: str | Path, run_length: float | None) -> list[str]:
    """Notes of events that begin outside the run."""
    notes = []
    if (events["onset"] < 0).any():
        notes.append(f"{source}: {(events['onset'] < 0).sum()} events begin before the run")
    late = 0 if run_length is None else int((events["onset"] >= run_length).sum())
    if late:
        notes.append(
            f"{source}: {late} events begin after the run's end at {run_length:g} s, the last at "
            f"{events['onset'].max():g} s"
        )
    return notes


def _as_numbers_if_all_are(column: pd.Series) -> pd.Series:
    """Turn a column into floats unless some value is no number."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    return column if (numbers.isna() & column.notna()).any() else numbers


def _numbers(column: pd.Series, source: str | Path) -> pd.Series:
    """Turn a column into finite floats, or raise an error with the first value that is none."""
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    wrong = ~np.isfinite(numbers)
    if wrong.any():
        raise DataError(
            f"{source}: column {column.name!r} holds {column[wrong].iloc[0]!r} where a number of "
            "seconds belongs. Correct or remove these rows."
        )
    return numbers


def choose_subjects(
    found: list[str], subjects: object, root: str | Path, *, exclude: object = None
) -> list[str]:
    """Keep the subjects asked for, all of them if none is.

    Parameters
    ----------
    found : list of str
        The subjects on disk.
    subjects : iterable of str, str or None
        Those wanted, with or without ``sub-``.
    root : str or pathlib.Path
        The folder, for messages.
    exclude : iterable of str, str or None
        Those not wanted.

    Returns
    -------
    list of str
        In the order of ``found``.

    Raises
    ------
    ArgumentError
        If one of them is not there, or none is left.

    Examples
    --------
    >>> choose_subjects(["01", "02"], ["sub-02"], "study")
    ['02']
    >>> choose_subjects(["01", "02"], None, "study", exclude="02")
    ['01']
    """
    wanted = list(found) if subjects is None else _among("subjects", subjects, found, root)
    unwanted = [] if exclude is None else _among("exclude", exclude, found, root)
    kept = [subject for subject in found if subject in wanted and subject not in unwanted]
    if not kept and found:
        raise ArgumentError(f"exclude must leave a subject of {shorten(wanted)}. Got {unwanted}.")
    return kept


def _among(name: str, subjects: object, found: list[str], root: str | Path) -> list[str]:
    """Bring names of subjects to a list; an error if one is not there."""
    wanted = [subjects] if isinstance(subjects, str | int) else list(subjects)
    wanted = [str(subject).removeprefix("sub-") for subject in wanted]
    missing = [subject for subject in wanted if subject not in found]
    if missing or (not wanted and name == "subjects"):
        raise ArgumentError(
            f"{name} must be among those in {root}: {shorten(found)}. Got {wanted}."
        )
    return wanted


def shorten(words: object, limit: int = 12) -> str:
    """Join words for a message, only the first few of many.

    Parameters
    ----------
    words : iterable of str
        What to list.
    limit : int
        How many at most.

    Returns
    -------
    str
        Comma-separated.

    Examples
    --------
    >>> shorten(["a", "b", "c"], limit=2)
    'a, b, ... (3 in all)'
    """
    words = [str(word) for word in words]
    if len(words) <= limit:
        return ", ".join(words)
    return f"{', '.join(words[:limit])}, ... ({len(words)} in all)"
