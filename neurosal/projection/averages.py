"""Means of windows' maps: per condition, per subject, or per any other coordinate."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from neurosal.errors import ArgumentError, check_one_of


def mean_maps(
    maps: xr.DataArray, by: str | Sequence[str] = ("condition",)
) -> dict[tuple, xr.DataArray]:
    """Average maps over the windows of each condition, subject, or both.

    Parameters
    ----------
    maps : xarray.DataArray
        Of shape (sample, time, region), or (sample, region).
    by : str or sequence of str
        Coordinates on ``sample``: one mean for each combination that occurs, e.g.
        ``("subject", "condition")``.

    Returns
    -------
    dict of tuple to xarray.DataArray
        What the windows have in common (a value for each name in ``by``) to their mean, of shape
        (time, region), with these values as coordinates and how many windows there were as
        attribute ``n_windows``. In sorted order.

    Raises
    ------
    ArgumentError
        If ``maps`` has no such coordinate on ``sample``.

    Examples
    --------
    >>> maps = xr.DataArray(
    ...     [[[1.0]], [[3.0]], [[7.0]]], dims=("sample", "time", "region"),
    ...     coords={"region": ["V1"], "subject": ("sample", ["01", "01", "02"])})
    >>> {key: mean.item() for key, mean in mean_maps(maps, "subject").items()}
    {('01',): 2.0, ('02',): 7.0}
    """
    if not isinstance(maps, xr.DataArray):
        raise ArgumentError(
            "maps must be an xarray.DataArray with names of windows and regions, such as explain "
            f"gives. Got {type(maps).__name__}."
        )
    names = [by] if isinstance(by, str) else list(by)
    known = [name for name, one in maps.coords.items() if one.dims == ("sample",)]
    if "sample" not in maps.dims or not names or set(names) - set(known):
        raise ArgumentError(
            f"by must name coordinates on 'sample' of the maps ({', '.join(map(str, known))}). "
            f"Got {by!r} for maps of dimensions {maps.dims}."
        )
    table = pd.DataFrame({name: maps[name].to_numpy() for name in names})
    found = table.groupby(names, sort=True, dropna=False).indices
    pairs = ((key if isinstance(key, tuple) else (key,), rows) for key, rows in found.items())
    return {key: _mean(maps, rows, dict(zip(names, key, strict=True))) for key, rows in pairs}


def mean_by_condition(maps: xr.DataArray, conditions: Sequence | None = None) -> xr.DataArray:
    """Average maps over the windows of each condition, into one array.

    Parameters
    ----------
    maps : xarray.DataArray
        Of shape (sample, time, region) with ``condition`` on ``sample``.
    conditions : sequence, optional
        Which, and in which order; by default all of them, sorted.

    Returns
    -------
    xarray.DataArray
        Of shape (condition, time, region), conditions as text, with the attributes of ``maps``.

    Examples
    --------
    >>> maps = xr.DataArray(
    ...     [[[1.0]], [[3.0]], [[7.0]]], dims=("sample", "time", "region"),
    ...     coords={"region": ["V1"], "condition": ("sample", ["lh", "lh", "rh"])})
    >>> mean_by_condition(maps).sel(condition="lh").item()
    2.0
    """
    means = {key[0]: mean for key, mean in mean_maps(maps, "condition").items()}
    names = list(means) if conditions is None else np.asarray(conditions).tolist()
    for name in names:
        check_one_of("conditions", name, means)
    index = pd.Index([str(name) for name in names], name="condition")
    plain = [means[name].drop_vars("condition") for name in names]
    options = {"coords": "minimal", "compat": "override", "join": "override"}
    joined = xr.concat(plain, index, **options)
    joined.attrs = dict(maps.attrs)
    return joined


def _mean(maps: xr.DataArray, rows: np.ndarray, labels: dict) -> xr.DataArray:
    """Average some windows and say which."""
    mean = maps.isel(sample=rows).mean("sample", keep_attrs=True)
    return mean.assign_coords(labels).assign_attrs(n_windows=len(rows))
