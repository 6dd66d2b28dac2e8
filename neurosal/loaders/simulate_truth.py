"""What a simulated study knows of itself, and which cells of it tell conditions apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from neurosal.errors import ArgumentError, check_one_of
from neurosal.labelled import load_array


def load_truth(root: str | Path, *, task: str | None = None) -> xr.DataArray | None:
    """Read the planted responses of a simulated study.

    Parameters
    ----------
    root : str or pathlib.Path
        The study's folder, as given to :func:`neurosal.simulate_hcp`.
    task : str, optional
        One of the tasks simulated; None for all of them.

    Returns
    -------
    xarray.DataArray or None
        ``(condition, time, region)``: response in percent signal change at seconds from the
        block's onset; None if the folder holds no simulation (as with measured data).

    Raises
    ------
    ArgumentError
        If the task was not simulated; the message lists those that were.

    Examples
    --------
    >>> load_truth("a_folder_of_measured_data", task="MOTOR") is None
    True
    """
    path = Path(root) / "truth" / "truth.nc"
    if not path.exists():
        return None
    truth = load_array(path)
    if task is None:
        return truth
    check_one_of("task", task, dict.fromkeys(truth["task"].values.tolist()))
    truth = truth.isel(condition=np.flatnonzero(truth["task"].values == task))
    return truth.assign_attrs(task=task)


def truth_mask(
    truth: xr.DataArray,
    *,
    time_s: np.ndarray,
    conditions: dict[str, list[str]] | None = None,
    threshold: float = 0.5,
) -> xr.DataArray:
    """Mark the cells, region by time, whose response tells the compared conditions apart.

    Take the expected response of each class at each time and region, and subtract the mean over
    the classes. What every class shares (the response to the cue, to seeing, to pressing a
    button) cancels; what is left is all that a classifier could go by. A cell of a class is
    marked if the absolute remainder exceeds ``threshold`` times the largest absolute remainder of
    any class, time and region. A region that responds to all classes but one is thereby marked
    for that one, and weak responses, early and late times are left unmarked.

    Parameters
    ----------
    truth : xarray.DataArray
        ``(condition, time, region)``, from :func:`load_truth`.
    time_s : array-like
        Times to give the mask for, seconds from the block's onset (a window's ``time``);
        the truth is interpolated linearly.
    conditions : dict of str to list of str, optional
        The classes compared: name to the conditions merged into it (their mean response); an
        empty list or None is rest, no response. None compares all conditions of the truth.
    threshold : float, default=0.5
        Share of the largest difference, in [0, 1).

    Returns
    -------
    xarray.DataArray
        Boolean ``(condition, time, region)``, one row a class.

    Raises
    ------
    ArgumentError
        If a condition is not in the truth, a time is outside it, or the threshold is not in
        [0, 1).

    Examples
    --------
    >>> truth = xr.DataArray(
    ...     [[[1.0, 1.0]], [[1.0, 0.0]]], dims=("condition", "time", "region"),
    ...     coords={"condition": ["a", "b"], "time": [0.0], "region": ["cue", "own"]})
    >>> truth_mask(truth, time_s=[0.0]).sel(condition="a").values.tolist()
    [[False, True]]
    """
    if not 0 <= threshold < 1:
        raise ArgumentError(f"threshold must be in [0, 1). Got {threshold!r}.")
    classes = _merge(_at_times(truth, time_s), conditions)
    difference = abs(classes - classes.mean("condition"))
    largest = float(difference.max())
    noise_floor = 1e-9 * max(float(abs(classes).max()), 1e-300)
    mask = difference > max(threshold * largest, noise_floor)
    mask.attrs = {"threshold": threshold, "largest_difference": largest}
    return mask


def _at_times(truth: xr.DataArray, time_s: np.ndarray) -> xr.DataArray:
    """The truth at the times asked for."""
    have, want = truth["time"].values, np.atleast_1d(np.asarray(time_s, dtype=float))
    slack = 1e-6
    if want.size == 0 or want.min() < have[0] - slack or want.max() > have[-1] + slack:
        raise ArgumentError(
            f"time_s must lie within {have[0]:g} to {have[-1]:g} s. Got {want.min():g} to "
            f"{want.max():g} s."
            if want.size
            else "time_s must hold one time or more. Got none."
        )
    values = np.empty((truth.sizes["condition"], len(want), truth.sizes["region"]))
    source = truth.transpose("condition", "time", "region").values
    for c, r in np.ndindex(values.shape[0], values.shape[2]):
        values[c, :, r] = np.interp(want, have, source[c, :, r])
    coords = {k: v for k, v in truth.coords.items() if v.dims == ("region",)}
    coords |= {"condition": truth["condition"].values, "time": want}
    return xr.DataArray(values, dims=("condition", "time", "region"), coords=coords)


def _merge(truth: xr.DataArray, conditions: dict[str, list[str]] | None) -> xr.DataArray:
    """Average the conditions of each class; rest is zero."""
    if conditions is None:
        return truth
    if not conditions:
        raise ArgumentError("conditions must name one class or more. Got none.")
    known, parts = truth["condition"].values.tolist(), []
    for members in conditions.values():
        members = [members] if isinstance(members, str) else list(members or [])
        for name in members:
            check_one_of("conditions", name, known)
        part = truth.sel(condition=members).mean("condition") if members else 0 * truth[0]
        parts.append(part.drop_vars("condition", errors="ignore"))
    return xr.concat(parts, dim=pd.Index(list(conditions), name="condition"))
