"""One map for each subject: windows of one brain are no independent observations."""

import warnings

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError, check_one_of

_DIMS = ("sample", "time", "region")


def subject_means(maps: xr.DataArray, conditions: list | None = None) -> xr.DataArray:
    """Average maps within each subject, and within each condition.

    Parameters
    ----------
    maps : xarray.DataArray
        Importance of windows, dimensions sample, time and region, with ``subject`` and, if there
        are conditions, ``condition`` on ``sample``. Read a subject at a time.
    conditions : list or None
        Which conditions; None takes all.

    Returns
    -------
    xarray.DataArray
        Float64 of shape (condition, subject, time, region), without ``condition`` if ``maps`` has
        none. NaN where a subject has no window of a condition, or a region is NaN in all of them;
        a region that is NaN in some windows only is averaged over the others, with a warning.
        ``attrs["n_windows"]`` counts the windows.

    Raises
    ------
    ArgumentError
        If ``maps`` has other dimensions, no subjects, or lacks a condition.
    DataError
        If values are infinite, or a window is NaN in every cell.

    Examples
    --------
    >>> maps = xr.DataArray(np.arange(4.0).reshape(4, 1, 1), dims=_DIMS, coords={
    ...     "subject": ("sample", ["1", "1", "2", "2"]), "region": ["V1"]})
    >>> subject_means(maps)[:, 0, 0].to_series().to_dict()
    {'1': 0.5, '2': 2.5}
    """
    return summarise(maps, conditions)[0]


def summarise(
    maps: xr.DataArray, conditions: list | None = None
) -> tuple[xr.DataArray, dict[object, tuple[float, float]]]:
    """Average maps as :func:`subject_means` does, and note how far their values reach.

    Parameters
    ----------
    maps : xarray.DataArray
        Importance of windows.
    conditions : list or None
        Which conditions; None takes all.

    Returns
    -------
    tuple of xarray.DataArray and dict
        The means, and for each condition (None if there are none) the smallest and the largest
        value of any window and cell.

    Examples
    --------
    >>> maps = xr.DataArray(np.arange(4.0).reshape(4, 1, 1), dims=_DIMS, coords={
    ...     "subject": ("sample", ["1", "1", "2", "2"]), "region": ["V1"]})
    >>> summarise(maps)[1]
    {None: (0.0, 3.0)}
    """
    _check_maps(maps)
    names = _conditions(maps, conditions)
    whose, windows = maps["subject"].values, maps.variable.transpose(*_DIMS)
    subjects = np.unique(whose)
    shape = (len(names), len(subjects), maps.sizes["time"], maps.sizes["region"])
    means, reach = np.full(shape, np.nan), dict.fromkeys(names, (np.inf, -np.inf))
    partial, n_windows = np.zeros(shape[3], dtype=bool), 0
    for i, name in enumerate(names):
        here = True if name is None else maps["condition"].values == name
        for j, subject in enumerate(subjects):
            rows = np.flatnonzero((whose == subject) & here)
            if not len(rows):
                continue
            values = _values(windows, rows, subject)
            n_windows += len(rows)
            known = np.isfinite(values)
            counts = known.sum(axis=0)
            sums = np.where(known, values, 0.0).sum(axis=0)
            means[i, j] = sums / np.where(counts, counts, np.nan)
            partial |= ((counts > 0) & (counts < len(rows))).any(axis=0)
            low, high = np.nanmin(values), np.nanmax(values)
            reach[name] = (min(reach[name][0], float(low)), max(reach[name][1], float(high)))
    _tell_partial(partial, maps)
    out = _labelled(means, maps, names, subjects)
    return out.assign_attrs(n_windows=n_windows), reach


def _check_maps(maps: xr.DataArray) -> None:
    """Refuse what has no subjects."""
    if not isinstance(maps, xr.DataArray) or set(maps.dims) != set(_DIMS):
        got = maps.dims if isinstance(maps, xr.DataArray) else type(maps).__name__
        raise ArgumentError(
            f"maps must be a DataArray with the dimensions {_DIMS}, as explain gives it. Got {got}."
        )
    if "subject" not in maps.coords or maps["subject"].dims != ("sample",):
        raise ArgumentError(
            "maps need the coordinate 'subject' on 'sample': windows of one subject are not "
            "independent, and are averaged first."
        )
    if maps.size == 0:
        raise DataError("maps are empty.")


def _conditions(maps: xr.DataArray, conditions: list | None) -> list:
    """List the conditions asked for, or [None] if maps have none."""
    if "condition" not in maps.coords:
        if conditions is not None:
            raise ArgumentError(
                f"maps have no coordinate 'condition' on 'sample' to find {conditions} in."
            )
        return [None]
    known = np.unique(maps["condition"].values).tolist()
    wanted = known if conditions is None else conditions
    return [check_one_of("condition", name, known) for name in wanted]


def _values(windows: xr.Variable, rows: np.ndarray, subject: object) -> np.ndarray:
    """Read some windows as float64, and refuse those that hold no map."""
    values = windows[rows].to_numpy().astype(np.float64)
    if np.isinf(values).any():
        raise DataError(f"The maps of subject {subject} hold infinite values. Explain again.")
    empty = int(np.isnan(values).all(axis=(1, 2)).sum())
    if empty:
        raise DataError(
            f"{empty} of {len(rows)} maps of subject {subject} are NaN in every cell, as explain "
            "leaves them when it is interrupted. Finish it, or leave these windows out."
        )
    return values


def _tell_partial(partial: np.ndarray, maps: xr.DataArray) -> None:
    """Say which regions were averaged over some of a subject's windows only."""
    if partial.any():
        warnings.warn(
            f"{partial.sum()} region(s) are NaN in some windows of a subject and are averaged over "
            f"its other windows: {name_regions(maps, partial)}.",
            stacklevel=4,
        )


def name_regions(maps: xr.DataArray | xr.Dataset, which: np.ndarray, most: int = 5) -> str:
    """Name some regions for a message.

    Parameters
    ----------
    maps : xarray.DataArray or xarray.Dataset
        Has the dimension ``region``.
    which : numpy.ndarray of bool
        Of shape (region,).
    most : int
        How many to write out.

    Returns
    -------
    str
        Names, or positions if there are none.

    Examples
    --------
    >>> maps = xr.DataArray(np.zeros(3), dims="region", coords={"region": ["a", "b", "c"]})
    >>> name_regions(maps, np.array([True, True, False]), most=1)
    'a ...'
    """
    named = maps["region"].values if "region" in maps.coords else np.arange(maps.sizes["region"])
    names = [str(name) for name in named[which]]
    return ", ".join(names[:most]) + (" ..." if len(names) > most else "")


def _labelled(means: np.ndarray, maps: xr.DataArray, names: list, subjects: object) -> xr.DataArray:
    """Give means the labels of the maps."""
    kept = {
        name: maps[name] for name in maps.coords if not {"sample"} & set(maps[name].dims) and name
    }
    kept = {name: one for name, one in kept.items() if name not in ("subject", "condition")}
    coords = {**kept, "subject": subjects, "condition": ["" if n is None else n for n in names]}
    dims = ("condition", "subject", "time", "region")
    out = xr.DataArray(means, dims=dims, coords=coords, attrs=maps.attrs, name=maps.name)
    return out if names != [None] else out.isel(condition=0, drop=True)
