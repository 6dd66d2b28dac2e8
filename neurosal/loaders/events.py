"""From events to labelled windows: which frames of a run belong to which condition.

Two blocks of a run that was sampled every 2 s. The response comes about 5 s after its cause, so
each window starts 5 s after the onset of its block; ``time`` counts from the onset:

>>> import pandas as pd
>>> events = pd.DataFrame({"onset": [0.0, 20.0], "duration": 8.0, "trial_type": ["face", "house"]})
>>> run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces")
>>> series = xr.DataArray(
...     np.arange(40.0).reshape(20, 2), dims=("time", "region"),
...     coords={"time": 2.0 * np.arange(20), "region": ["V1", "FFA"]})
>>> windows = make_windows(series, run, window=8)
>>> windows.sizes
Frozen({'sample': 2, 'time': 4, 'region': 2})
>>> windows.time.values
array([ 5.,  7.,  9., 11.])
>>> windows.sel(region="V1").values
array([[ 6.,  8., 10., 12.], [26., 28., 30., 32.]])
"""

import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.labelled import REGION_COLUMNS
from neurosal.loaders.blocks import (
    REST,
    TOLERANCE,
    Block,
    default_window,
    find_blocks,
    parse_conditions,
)
from neurosal.loaders.run_warnings import RunWarning
from neurosal.loaders.runs import Run, shorten
from neurosal.loaders.scrub import as_mask, fill_scrubbed

__all__ = ["Block", "concat_windows", "default_window", "make_windows", "parse_conditions"]

LABELS = ("condition", "task")
MOST_DROPPED = 3  # told one by one; all are in the windows' attributes


def make_windows(
    series: xr.DataArray,
    run: Run,
    *,
    window: float,
    lag: float = 5.0,
    conditions: Mapping[str, Sequence[str] | None] | None = None,
    merge: float | None = None,
    label: str = "condition",
    sample_mask: np.ndarray | Sequence | None = None,
    max_scrubbed: float = 0.3,
) -> xr.DataArray:
    """Cut one window a block out of a run's region series.

    The first frame is the one nearest to ``onset + lag`` (halves go up), and a window holds
    ``window / t_r`` frames, rounded likewise and never none. It thus covers a block as the
    haemodynamic response shows it, ``lag`` later, and may run over into what follows by as much;
    a window of rest likewise, which starts ``lag`` after its gap does.

    Parameters
    ----------
    series : xarray.DataArray of shape (time, region)
        The run's region series; ``time`` in seconds from the run's start.
    run : Run
        Where ``series`` comes from; its events and repetition time are used.
    window : float
        Length of a window in seconds.
    lag : float
        Seconds from a block's onset to the start of its window.
    conditions : dict of str to list of str, optional
        New name to the trial types it pools; None takes every type by its own name. The name
        ``"rest"`` with an empty list or None means the gaps between events of any kind, chosen or
        not, from the first event to the last: one window for each gap of at least ``window``
        seconds. Where the events have a type ``"rest"``, it means those events instead.
    merge : float, optional
        Largest gap in seconds, from the end of one event to the onset of the next, over which
        events of one (pooled) condition are joined in a block. Events of two conditions are never
        joined, nor two events with a chosen one of another condition between them. None joins
        nothing.
    label : {"condition", "task"}
        What ``condition`` says of a window: its condition, or the task of its run, for telling
        tasks apart. Windows of rest are called ``"rest"`` either way.
    sample_mask : array of bool, shape (time,), or of int, optional
        True where a frame of ``series`` is kept, or the indices of those kept; the others are
        scrubbed: bridged by straight lines between the kept frames of the run beside them (see
        :func:`~neurosal.loaders.scrub.fill_scrubbed`) before the windows are cut. None takes the
        mask that :func:`~neurosal.loaders.confounds.clean_series` left with the series, if any.
    max_scrubbed : float
        Largest share of scrubbed frames, 0 to 1, that a window may have; others are dropped.

    Returns
    -------
    xarray.DataArray of shape (sample, time, region)
        Windows by onset. ``sample`` carries ``subject``, ``session``, ``task``, ``run``,
        ``condition`` and ``onset`` (s); ``scrubbed``, how many of its frames are, if there is a
        mask; ``block``, the condition, if the label is the task. ``time`` is ``lag + k * t_r``.
        Attributes beside those of ``series``: ``t_r``, ``window``, ``lag``, ``merge``, ``label``,
        ``dropped`` (one dictionary of run, condition, onset and reason for each window that would
        leave the run or has too many scrubbed frames; also warned of), ``short_blocks``, how many
        of the windows are longer than their block, and ``overlapping``, how many share more than
        half of their frames with one of another condition (warned of).

    Raises
    ------
    ArgumentError
        If a length is not a positive number, or a condition not in the data.
    DataError
        If ``series`` or the mask does not fit ``run``, or the mask keeps no frame.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame({"onset": [0.0, 2.0, 20.0], "duration": 2.0, "trial_type": "face"})
    >>> run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces")
    >>> series = xr.DataArray(
    ...     np.zeros((20, 1)), dims=("time", "region"),
    ...     coords={"time": 2.0 * np.arange(20), "region": ["V1"]})
    >>> windows = make_windows(
    ...     series, run, window=6, conditions={"stimulus": ["face"], "rest": []}, merge=1)
    >>> windows.condition.values, windows.onset.values
    (array(['stimulus', 'rest', 'stimulus'], dtype='<U8'), array([ 0.,  4., 20.]))
    """
    check_lengths(window, lag, merge)
    check_one_of("label", label, LABELS)
    _check_share(max_scrubbed)
    start = _check_series(series, run)
    series, lost = _scrub(series, run, sample_mask)
    n_frames = max(_nearest(window / run.t_r), 1)
    kept, frames, dropped = [], [], []
    for block in find_blocks(run, conditions, merge=merge, shortest_gap=window):
        first = _nearest((block.onset + lag - start) / run.t_r)
        reason = _why_dropped(first, n_frames, lost, max_scrubbed)
        if reason:
            where = {"condition": block.condition, "onset": block.onset}
            dropped.append({"run": run.label, **where, "reason": reason})
        else:
            kept.append(block)
            frames.append(first + np.arange(n_frames))
    _warn_dropped(run, dropped)
    rows = np.asarray(frames, dtype=int).reshape(len(kept), n_frames)
    out = _pick(series, rows).assign_coords(_sample_labels(run, kept, label))
    if "scrubbed" in series.coords:
        out = out.assign_coords(scrubbed=("sample", lost[rows].sum(axis=1)))
    out.attrs = dict(series.attrs) | {
        "t_r": run.t_r,
        "window": float(window),
        "lag": float(lag),
        "merge": None if merge is None else float(merge),
        "label": label,
        "dropped": dropped,
        "short_blocks": sum(block.end - block.onset < window - TOLERANCE for block in kept),
        "overlapping": _count_overlapping(run, kept, rows[:, 0], n_frames),
    }
    return out.assign_coords(time=lag + run.t_r * np.arange(n_frames))


def concat_windows(windows: Sequence[xr.DataArray]) -> xr.DataArray:
    """Put the windows of several runs into one array.

    Parameters
    ----------
    windows : sequence of xarray.DataArray of shape (sample, time, region)
        What :func:`make_windows` returned, run by run, with the same regions and times.

    Returns
    -------
    xarray.DataArray of shape (sample, time, region)
        All samples in the order given. Attributes on which runs disagree are left out, and so are
        parts of ``cleaned``; ``dropped``, ``short_blocks``, ``overlapping`` and the frames
        ``scrubbed`` are summed. Where only some runs have ``scrubbed``, it
        is 0 for the others. A numeric coordinate of the regions on which the runs
        differ (how many voxels a region has) is the smallest of them.

    Raises
    ------
    ArgumentError
        If there is nothing to put together.
    DataError
        If a run's regions, times, repetition time or kind of label differ from the first one's;
        it is named.

    Examples
    --------
    >>> one = xr.DataArray(
    ...     np.zeros((1, 2, 1)), dims=("sample", "time", "region"),
    ...     coords={"time": [5.0, 7.0], "region": ["V1"], "condition": ("sample", ["face"])},
    ...     attrs={"t_r": 2.0, "dropped": []})
    >>> concat_windows([one, one]).sizes["sample"]
    2
    """
    windows = [windows] if isinstance(windows, xr.DataArray) else list(windows)
    if not windows:
        raise ArgumentError("windows must hold at least one array of windows. Got none.")
    first = windows[0]
    for other in windows[1:]:
        _check_alike(first, other)
    if any("scrubbed" in array.coords for array in windows):
        windows = [_with_scrubbed(array) for array in windows]
    varying = _region_minima(windows)
    out = xr.concat(
        [array.drop_vars(varying) for array in windows],
        "sample",
        coords="minimal",
        compat="override",
        join="override",
        combine_attrs="drop_conflicts",
    ).assign_coords(varying)
    out.attrs["dropped"] = [one for array in windows for one in array.attrs.get("dropped", [])]
    for name in ("short_blocks", "overlapping"):
        out.attrs[name] = sum(array.attrs.get(name, 0) for array in windows)
    if all("cleaned" in array.attrs for array in windows):
        out.attrs["cleaned"] = _cleaned_alike([array.attrs["cleaned"] for array in windows])
    return out


def check_lengths(window: float, lag: float, merge: float | None) -> None:
    """Refuse lengths in seconds that are no positive (or, but for the window, zero) numbers.

    Parameters
    ----------
    window, lag, merge
        As :func:`make_windows` takes them.

    Raises
    ------
    ArgumentError
        If one of them is no such number.

    Examples
    --------
    >>> check_lengths(12.0, 5.0, None)
    """
    given = {"window": window, "lag": lag} | ({} if merge is None else {"merge": merge})
    for name, value in given.items():
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0 or (name, value) == ("window", 0):
            allowed = "greater than 0" if name == "window" else "0 or more"
            raise ArgumentError(f"{name} must be a number of seconds, {allowed}. Got {value!r}.")


def _check_share(max_scrubbed: float) -> None:
    """Refuse a share that is none."""
    number = isinstance(max_scrubbed, int | float | np.number)
    if not number or isinstance(max_scrubbed, bool) or not 0 <= max_scrubbed <= 1:
        raise ArgumentError(f"max_scrubbed must be a share from 0 to 1. Got {max_scrubbed!r}.")


def _scrub(series: xr.DataArray, run: Run, sample_mask: object) -> tuple[xr.DataArray, np.ndarray]:
    """Bridge the scrubbed frames; also which these are."""
    if sample_mask is None and "scrubbed" in series.coords:
        return series, np.asarray(series["scrubbed"].values, dtype=bool)
    mask = as_mask(sample_mask, series.sizes["time"], run.label)
    if mask is None:
        return series, np.zeros(series.sizes["time"], dtype=bool)
    return fill_scrubbed(series, mask), ~mask


def _check_series(series: xr.DataArray, run: Run) -> float:
    """Return the time of the first frame; an error if the series cannot be the run's."""
    if series.dims != ("time", "region"):
        raise DataError(
            f"{run.label}: series must have the dimensions ('time', 'region'). Got {series.dims}."
        )
    if "time" not in series.coords or not series.sizes["time"]:
        return 0.0
    times = series["time"].values
    if np.any(np.abs(np.diff(times) - run.t_r) > 0.01 * run.t_r):
        raise DataError(
            f"{run.label}: the frames of series are {np.median(np.diff(times)):g} s apart but the "
            f"run's repetition time is {run.t_r:g} s. Give the series of this run, without gaps."
        )
    return float(times[0])


def _nearest(value: float) -> int:
    """Round to a whole number, halves up."""
    return math.floor(value + 0.5 + 1e-9)


def _why_dropped(first: int, n_frames: int, lost: np.ndarray, max_scrubbed: float) -> str:
    """Why a window cannot be cut, or an empty string."""
    if first < 0:
        return "begins before the run"
    if first + n_frames > len(lost):
        return f"ends {first + n_frames - len(lost)} frames after the run"
    n_lost = int(lost[first : first + n_frames].sum())
    if n_lost > max_scrubbed * n_frames + TOLERANCE:
        return f"has {n_lost} of {n_frames} frames scrubbed"
    return ""


def _warn_dropped(run: Run, dropped: list[dict]) -> None:
    """One warning for all windows of a run that were dropped."""
    if dropped:
        each = (f"{d['condition']} at {d['onset']:g} s {d['reason']}" for d in dropped)
        detail = f"{len(dropped)} windows dropped: {shorten(each, MOST_DROPPED)}"
        warning = RunWarning(run.label, "have windows that were dropped", detail)
        warnings.warn(warning, stacklevel=3)


def _count_overlapping(run: Run, blocks: list[Block], firsts: np.ndarray, n_frames: int) -> int:
    """Count, and warn of, windows mostly in common with one of another condition."""
    shared = np.zeros(len(blocks), dtype=bool)
    for k, block in enumerate(blocks):
        near = np.flatnonzero(2 * np.abs(firsts - firsts[k]) < n_frames)
        shared[k] = any(blocks[other].condition != block.condition for other in near)
    if shared.any():
        each = (
            f"{block.condition} at {block.onset:g} s"
            for block, common in zip(blocks, shared, strict=True)
            if common
        )
        warning = RunWarning(
            run.label,
            "have windows that share much with others",
            f"{shared.sum()} windows share more than half of their frames with one of another "
            f"condition: {shorten(each, 4)}",
            "Choose conditions that do not overlap, pool them, or take a shorter window.",
        )
        warnings.warn(warning, stacklevel=3)
    return int(shared.sum())


def _pick(series: xr.DataArray, rows: np.ndarray) -> xr.DataArray:
    """Pick the frames of every window."""
    plain = series.drop_vars(["time", "scrubbed"], errors="ignore")
    picked = plain.isel(time=xr.DataArray(rows, dims=("sample", "time")))
    return picked.transpose("sample", "time", "region")


def _sample_labels(run: Run, blocks: list[Block], label: str) -> dict:
    """Label the samples of a run."""
    names = {"subject": run.subject, "session": run.session, "task": run.task, "run": run.run}
    coords = {key: ("sample", np.full(len(blocks), value)) for key, value in names.items()}
    own = np.array([block.condition for block in blocks], dtype=str)
    coords["condition"] = ("sample", own)
    coords["onset"] = ("sample", np.array([block.onset for block in blocks], dtype=float))
    if label == "task":
        coords["condition"] = ("sample", np.where(own == REST, REST, run.task).astype(str))
        coords["block"] = ("sample", own)
    return coords


def _run_name(windows: xr.DataArray) -> str:
    """Name an array of windows in a message."""
    if not windows.sizes["sample"]:
        return "a run without windows"
    names = (("sub", "subject"), ("ses", "session"), ("task", "task"), ("run", "run"))
    pairs = ((key, str(windows[name].values[0])) for key, name in names if name in windows.coords)
    return " ".join(f"{key}-{value}" for key, value in pairs if value) or "a run"


def _check_alike(first: xr.DataArray, other: xr.DataArray) -> None:
    """Refuse windows whose regions or times are not those of the first run."""
    where = f"The windows of {_run_name(other)} cannot join those of {_run_name(first)}"
    for name in ("region", *REGION_COLUMNS):
        both = [array.coords[name].values for array in (first, other) if name in array.coords]
        if len(both) == 1 or (both and not np.array_equal(*both)):
            raise DataError(f"{where}: their {name} labels differ. Use one atlas for all runs.")
    labels = [array.attrs.get("label", LABELS[0]) for array in (first, other)]
    if labels[0] != labels[1]:
        raise DataError(f"{where}: they are labelled by {labels[1]}, not by {labels[0]}.")
    t_r = (first.attrs.get("t_r"), other.attrs.get("t_r"))
    if first.sizes["time"] != other.sizes["time"] or not np.allclose(first.time, other.time):
        raise DataError(
            f"{where}: {first.sizes['time']} and {other.sizes['time']} frames, t_r {t_r[0]} and "
            f"{t_r[1]} s. Cut all with the same window, lag and repetition time."
        )
    if None not in t_r and not math.isclose(*t_r, rel_tol=1e-6):
        raise DataError(f"{where}: t_r {t_r[0]} and {t_r[1]} s. Give runs of one repetition time.")


def _with_scrubbed(windows: xr.DataArray) -> xr.DataArray:
    """Windows of a run without a mask have no scrubbed frames."""
    if "scrubbed" in windows.coords:
        return windows
    return windows.assign_coords(scrubbed=("sample", np.zeros(windows.sizes["sample"], dtype=int)))


def _cleaned_alike(cleaned: list[dict]) -> dict:
    """What was done to the series of every run; scrubbed frames are summed."""
    same = {
        name: value
        for name, value in cleaned[0].items()
        if all(name in one and one[name] == value for one in cleaned)
    }
    return same | {"scrubbed": sum(one.get("scrubbed", 0) for one in cleaned)}


def _region_minima(windows: list[xr.DataArray]) -> dict:
    """Find the smallest value, for each region, of numeric coordinates that differ between runs."""
    minima = {}
    for name, coordinate in windows[0].coords.items():
        if coordinate.dims != ("region",) or not np.issubdtype(coordinate.dtype, np.number):
            continue
        stacked = [array.coords[name].values for array in windows if name in array.coords]
        if any(not np.array_equal(values, stacked[0], equal_nan=True) for values in stacked):
            minima[name] = ("region", np.min(stacked, axis=0))
    return minima
