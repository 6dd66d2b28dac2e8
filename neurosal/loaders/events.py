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
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import REGION_COLUMNS
from neurosal.loaders.runs import Run, shorten

REST = "rest"
TOLERANCE = 1e-6  # seconds by which two times may differ and still be the same


class Block(NamedTuple):
    """One stretch of one condition, in seconds from the run's start."""

    condition: str
    onset: float
    end: float


def make_windows(
    series: xr.DataArray,
    run: Run,
    *,
    window: float,
    lag: float = 5.0,
    conditions: Mapping[str, Sequence[str] | None] | None = None,
    merge: float | None = None,
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

    Returns
    -------
    xarray.DataArray of shape (sample, time, region)
        Windows by onset. ``sample`` carries ``subject``, ``session``, ``task``, ``run``,
        ``condition`` and ``onset`` (s); ``time`` is ``lag + k * t_r``. Attributes beside those of
        ``series``: ``t_r``, ``window``, ``lag``, ``merge``, ``dropped`` (one dictionary of run,
        condition, onset and reason for each window that would leave the run; also warned of) and
        ``short_blocks``, how many of the windows are longer than their block.

    Raises
    ------
    ArgumentError
        If a length is not a positive number, or a condition not in the data.
    DataError
        If ``series`` does not fit ``run``.

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
    _check_lengths(window, lag, merge)
    start = _check_series(series, run)
    blocks = _find_blocks(run, window, conditions, merge)
    n_frames = max(_nearest(window / run.t_r), 1)
    kept, frames, dropped = [], [], []
    for block in blocks:
        first = _nearest((block.onset + lag - start) / run.t_r)
        reason = _why_dropped(first, n_frames, series.sizes["time"])
        if reason:
            where = {"condition": block.condition, "onset": block.onset}
            dropped.append({"run": run.label, **where, "reason": reason})
        else:
            kept.append(block)
            frames.append(first + np.arange(n_frames))
    _warn_dropped(run, dropped)
    out = _stack(series, run, kept, frames, n_frames).assign_coords(
        time=lag + run.t_r * np.arange(n_frames)
    )
    out.attrs = dict(series.attrs) | {
        "t_r": run.t_r,
        "window": float(window),
        "lag": float(lag),
        "merge": None if merge is None else float(merge),
        "dropped": dropped,
        "short_blocks": sum(block.end - block.onset < window - TOLERANCE for block in kept),
    }
    return out


def default_window(
    runs: Iterable[Run],
    conditions: Mapping[str, Sequence[str] | None] | None = None,
    *,
    merge: float | None = None,
) -> float:
    """Find the longest window that no block is shorter than.

    Parameters
    ----------
    runs : iterable of Run
        The runs.
    conditions, merge
        As :func:`make_windows` takes them; gaps at rest do not count.

    Returns
    -------
    float
        Seconds.

    Raises
    ------
    DataError
        If some block has no duration.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame({"onset": [0, 9], "duration": [8, 6], "trial_type": ["a", "b"]})
    >>> run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces")
    >>> default_window([run]), default_window([run], {"a": ["a"]})
    (6.0, 8.0)
    """
    found = ((run, b) for run in runs for b in _find_blocks(run, math.inf, conditions, merge))
    run, shortest = min(found, key=lambda pair: pair[1].end - pair[1].onset, default=(None, None))
    if shortest is None:
        raise DataError("None of the runs has an event of the conditions. Choose other conditions.")
    if shortest.end - shortest.onset <= TOLERANCE:
        raise DataError(
            f"{run.label}: {shortest.condition!r} at {shortest.onset:g} s lasts 0 s, so the length "
            "of the windows cannot be taken from the events. Give window in seconds."
        )
    return round(shortest.end - shortest.onset, 6)


def parse_conditions(words: Iterable[str]) -> dict[str, list[str]]:
    """Read conditions as one writes them on a command line.

    Parameters
    ----------
    words : iterable of str
        ``"face"`` (a trial type by its own name), ``"stimulus=face,house"`` (a new name for one
        or more) or ``"rest"`` (the gaps, unless a trial type is called so).

    Returns
    -------
    dict of str to list of str
        For :func:`make_windows`.

    Raises
    ------
    ArgumentError
        If a word is empty, says nothing after ``=``, or a name comes twice.

    Examples
    --------
    >>> parse_conditions(["stimulus=face,house", "scene", "rest"])
    {'stimulus': ['face', 'house'], 'scene': ['scene'], 'rest': []}
    """
    conditions: dict[str, list[str]] = {}
    for word in words:
        name, equals, listed = (part.strip() for part in word.partition("="))
        types = [part.strip() for part in listed.split(",")] if equals else [name]
        if not name or not all(types):
            raise ArgumentError(
                f"conditions must be words such as 'face', 'stimulus=face,house' or 'rest'. "
                f"Got {word!r}."
            )
        if name in conditions:
            raise ArgumentError(f"conditions must have different names. Got {name!r} twice.")
        conditions[name] = [] if (name, equals) == (REST, "") else types
    return conditions


def concat_windows(windows: Sequence[xr.DataArray]) -> xr.DataArray:
    """Put the windows of several runs into one array.

    Parameters
    ----------
    windows : sequence of xarray.DataArray of shape (sample, time, region)
        What :func:`make_windows` returned, run by run, with the same regions and times.

    Returns
    -------
    xarray.DataArray of shape (sample, time, region)
        All samples in the order given. Attributes on which runs disagree are left out; ``dropped``
        and ``short_blocks`` are summed. A numeric coordinate of the regions on which the runs
        differ (how many voxels a region has) is the smallest of them.

    Raises
    ------
    ArgumentError
        If there is nothing to put together.
    DataError
        If a run's regions, times or repetition time differ from the first one's; it is named.

    Examples
    --------
    >>> one = xr.DataArray(
    ...     np.zeros((1, 2, 1)), dims=("sample", "time", "region"),
    ...     coords={"time": [5.0, 7.0], "region": ["V1"], "condition": ("sample", ["face"])},
    ...     attrs={"t_r": 2.0, "dropped": []})
    >>> concat_windows([one, one]).sizes["sample"]
    2
    """
    windows = list(windows)
    if not windows:
        raise ArgumentError("windows must hold at least one array of windows. Got none.")
    first = windows[0]
    for other in windows[1:]:
        _check_alike(first, other)
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
    out.attrs["short_blocks"] = sum(array.attrs.get("short_blocks", 0) for array in windows)
    return out


def _check_lengths(window: float, lag: float, merge: float | None) -> None:
    """Refuse lengths in seconds that are no positive (or, but for the window, zero) numbers."""
    given = {"window": window, "lag": lag} | ({} if merge is None else {"merge": merge})
    for name, value in given.items():
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0 or (name, value) == ("window", 0):
            allowed = "greater than 0" if name == "window" else "0 or more"
            raise ArgumentError(f"{name} must be a number of seconds, {allowed}. Got {value!r}.")


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


def _find_blocks(
    run: Run, window: float, conditions: Mapping | None, merge: float | None
) -> list[Block]:
    """Find the blocks to cut windows from, by onset."""
    name_of, gaps_wanted = _resolve_conditions(run, conditions)
    blocks: list[Block] = []
    for event in run.events.sort_values("onset", kind="stable").itertuples():
        if event.trial_type not in name_of:
            continue
        name, onset = name_of[event.trial_type], float(event.onset)
        end = onset + float(event.duration)
        last = blocks[-1] if blocks else None
        alike = merge is not None and last is not None and last.condition == name
        if alike and onset - last.end <= merge + TOLERANCE:
            blocks[-1] = last._replace(end=max(last.end, end))
        else:
            blocks.append(Block(name, onset, end))
    if gaps_wanted:
        blocks = sorted([*blocks, *_gaps(run, blocks, window)], key=lambda block: block.onset)
    return blocks


def _resolve_conditions(run: Run, conditions: Mapping | None) -> tuple[dict[str, str], bool]:
    """Trial type to the name of its condition, and whether rest means the gaps."""
    known = list(dict.fromkeys([*run.events["trial_type"], *run.trial_types]))
    if conditions is None:
        return {name: name for name in known}, False
    if not conditions:
        raise ArgumentError("conditions must name at least one condition. Got an empty dict.")
    name_of: dict[str, str] = {}
    gaps_wanted = False
    for name, types in conditions.items():
        types = [types] if isinstance(types, str) else list(types or ())
        if not types and name == REST:
            gaps_wanted = REST not in known
            types = [] if gaps_wanted else [REST]
        elif not types:
            raise ArgumentError(f"conditions: {name!r} names no trial type; only 'rest' may.")
        _check_types(run, name, types, known, name_of)
        name_of |= dict.fromkeys(types, name)
    return name_of, gaps_wanted


def _check_types(run: Run, name: str, types: list, known: list, taken: Mapping) -> None:
    """Refuse trial types that are unknown, or that another condition has."""
    for kind in types:
        if kind not in known:
            raise ArgumentError(
                f"conditions: {name!r} asks for the trial type {kind!r}, which {run.label} does "
                f"not have. It has {shorten(map(repr, sorted(known)), 40)}."
            )
        if kind in taken:
            raise ArgumentError(
                f"conditions: the trial type {kind!r} is in both {taken[kind]!r} and {name!r}. "
                "Put it in one of them."
            )


def _gaps(run: Run, blocks: Iterable[Block], window: float) -> list[Block]:
    """Stretches of at least ``window`` s between events, none inside a joined block."""
    onsets = run.events["onset"]
    spans = list(zip(onsets, onsets + run.events["duration"], strict=True))
    spans += [(block.onset, block.end) for block in blocks]
    gaps, reached = [], None
    for onset, end in sorted(spans):
        if reached is not None and onset - reached >= window - TOLERANCE:
            gaps.append(Block(REST, float(reached), float(onset)))
        reached = end if reached is None else max(reached, end)
    return gaps


def _nearest(value: float) -> int:
    """Round to a whole number, halves up."""
    return math.floor(value + 0.5 + 1e-9)


def _why_dropped(first: int, n_frames: int, n_volumes: int) -> str:
    """Why a window cannot be cut, or an empty string."""
    if first < 0:
        return "begins before the run"
    if first + n_frames > n_volumes:
        return f"ends {first + n_frames - n_volumes} frames after the run"
    return ""


def _warn_dropped(run: Run, dropped: list[dict]) -> None:
    """One warning for all windows of a run that were dropped."""
    if dropped:
        each = (f"{d['condition']} at {d['onset']:g} s {d['reason']}" for d in dropped)
        text = f"{run.label}: {len(dropped)} windows dropped: {shorten(each)}."
        warnings.warn(text, stacklevel=3)


def _stack(
    series: xr.DataArray, run: Run, kept: list[Block], frames: list, n_frames: int
) -> xr.DataArray:
    """Pick the frames of every window and label the samples."""
    rows = np.asarray(frames, dtype=int).reshape(len(kept), n_frames)
    picked = series.drop_vars("time", errors="ignore").isel(
        time=xr.DataArray(rows, dims=("sample", "time"))
    )
    names = {"subject": run.subject, "session": run.session, "task": run.task, "run": run.run}
    coords = {key: ("sample", np.full(len(kept), value)) for key, value in names.items()}
    coords["condition"] = ("sample", np.array([block.condition for block in kept], dtype=str))
    coords["onset"] = ("sample", np.array([block.onset for block in kept], dtype=float))
    return picked.transpose("sample", "time", "region").assign_coords(coords)


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
    t_r = (first.attrs.get("t_r"), other.attrs.get("t_r"))
    if first.sizes["time"] != other.sizes["time"] or not np.allclose(first.time, other.time):
        raise DataError(
            f"{where}: {first.sizes['time']} and {other.sizes['time']} frames, t_r {t_r[0]} and "
            f"{t_r[1]} s. Cut all with the same window, lag and repetition time."
        )
    if None not in t_r and not math.isclose(*t_r, rel_tol=1e-6):
        raise DataError(f"{where}: t_r {t_r[0]} and {t_r[1]} s. Give runs of one repetition time.")


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
