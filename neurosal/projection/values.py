"""What every way of projecting does first: match values to regions by name, and times to frames."""

import warnings

import numpy as np
import pandas as pd
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.labelled import region_coordinates
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.files import shown


def label_values(
    values: xr.DataArray | np.ndarray, atlas: RegionAtlas, *, first: tuple[str, ...] = ("time",)
) -> xr.DataArray:
    """Label a plain array, and bring a labelled one to (region,) or (frame, region).

    Parameters
    ----------
    values : xarray.DataArray, numpy.ndarray, pandas.Series or pandas.DataFrame
        Of shape (region,), or with one dimension more. The index of a series and the columns of a
        frame name the regions, unless they only count.
    atlas : RegionAtlas
        The regions; a plain array needs one column for each.
    first : tuple of str
        Names that the dimension before ``region`` may have; the first is that of plain arrays.

    Returns
    -------
    xarray.DataArray
        With ``region`` as the last dimension.

    Raises
    ------
    ArgumentError
        If the shape or the dimensions do not fit.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> label_values(np.ones((2, 160)), load_atlas("dosenbach160")).dims
    ('time', 'region')
    """
    shapes = " or ".join(["(region,)", *(f"({one}, region)" for one in first)])
    if isinstance(values, pd.Series | pd.DataFrame):
        values = _of_pandas(values, first[0])
    if not isinstance(values, xr.DataArray):
        values = np.asarray(values)
        if values.ndim not in (1, 2) or values.shape[-1] != len(atlas):
            raise ArgumentError(
                f"values must have the shape {shapes} with the {len(atlas)} regions of "
                f"{atlas.name}. Got {values.shape}."
            )
        dims = (first[0], "region")[-values.ndim :]
        return xr.DataArray(values, dims=dims, coords=region_coordinates(atlas.regions))
    if set(values.dims) not in ({"region"}, *({one, "region"} for one in first)):
        raise ArgumentError(
            f"values must have the dimensions {shapes}. Got {values.dims}. Choose or average the "
            "others first, e.g. values.mean('sample')."
        )
    return values.transpose(..., "region")


def _of_pandas(values: pd.Series | pd.DataFrame, first: str) -> xr.DataArray | np.ndarray:
    """Keep the names of regions, which a plain array would lose with their order."""
    names = values.axes[-1]
    if isinstance(names, pd.RangeIndex):
        return values.to_numpy()
    dims = (first, "region")[-values.ndim :]
    return xr.DataArray(values.to_numpy(), dims=dims, coords={"region": names.astype(str)})


def columns_of(array: xr.DataArray, atlas: RegionAtlas) -> np.ndarray:
    """Give, for each region of the atlas, its column in the array; -1 if it is left out.

    Parameters
    ----------
    array : xarray.DataArray
        Values with a dimension ``region``.
    atlas : RegionAtlas
        The regions.

    Returns
    -------
    numpy.ndarray
        Whole numbers of shape (region,).

    Raises
    ------
    ArgumentError
        If names are unknown to the atlas, missing, or not unique.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> columns_of(label_values(np.ones(160), atlas)[[1, 0]], atlas)[:3].tolist()
    [1, 0, -1]
    """
    names = [str(name) for name in array["region"].values] if "region" in array.coords else []
    if not names and array.sizes["region"] == len(atlas):
        return np.arange(len(atlas))
    known = atlas.regions["name"].tolist()
    unknown = sorted(set(names) - set(known))
    if unknown or not names or len(set(names)) < len(names):
        told = f"unknown to it: {shown(unknown, 5)}" if unknown else "missing or not unique"
        raise ArgumentError(
            f"The regions of values must be names of the atlas {atlas.name} "
            f"({shown(known, 3)}); they are {told}. Load the atlas the values were made with."
        )
    place = {name: column for column, name in enumerate(names)}
    columns = np.array([place.get(name, -1) for name in known])
    _warn_of_another(array, columns, atlas)
    return columns


def _warn_of_another(array: xr.DataArray, columns: np.ndarray, atlas: RegionAtlas) -> None:
    """Say so if but a part of the regions is there, under other label ids than the atlas's.

    Names of a coarse parcellation recur in a finer one (all of Schaefer's 100 in his 400), where
    they are other regions.
    """
    rows = np.flatnonzero(columns >= 0)
    if len(rows) == len(atlas) or getattr(array.coords.get("label_id"), "dims", ()) != ("region",):
        return
    theirs = array["label_id"].values[columns[rows]]
    ours = atlas.regions["label_id"].to_numpy()[rows]
    other = np.flatnonzero(theirs != ours)
    if len(other):
        first = other[0]
        warnings.warn(
            f"values hold {len(rows)} of the {len(atlas)} regions of {atlas.name}, under other "
            f"ids ({atlas.regions['name'].iloc[rows[first]]!r} has label_id {theirs[first]} in "
            f"values and {ours[first]} in the atlas): they may be of another atlas that has the "
            "same names for other regions. Load the atlas the values were made with.",
            stacklevel=4,
        )


def values_by_region(array: xr.DataArray, columns: np.ndarray) -> np.ndarray:
    """Bring values to the order of the atlas.

    Parameters
    ----------
    array : xarray.DataArray
        Of shape (region,) or (frame, region).
    columns : numpy.ndarray
        What :func:`columns_of` gives.

    Returns
    -------
    numpy.ndarray
        Float32 of shape (frame, region); 0 for regions that are left out.

    Examples
    --------
    >>> values_by_region(xr.DataArray([5.0, 7.0], dims="region"), np.array([1, -1, 0])).tolist()
    [[7.0, 0.0, 5.0]]
    """
    rows = np.atleast_2d(array.values)
    return np.where(columns >= 0, rows[:, columns], 0).astype(np.float32)


def find_times(array: xr.DataArray, t_r: float | None) -> tuple[float, float]:
    """Find the time of the first frame and the step between frames.

    Parameters
    ----------
    array : xarray.DataArray
        With or without a dimension ``time``.
    t_r : float or None
        Repetition time in seconds; None takes the step of ``time``, or ``array.attrs["t_r"]``.

    Returns
    -------
    tuple of float
        Start and step in seconds; the step is 0 if unknown.

    Raises
    ------
    ArgumentError
        If the times are not evenly spaced, or ``t_r`` is not above 0.

    Examples
    --------
    >>> find_times(xr.DataArray([1.0, 2.0], dims="time", coords={"time": [5.0, 5.72]}), None)
    (5.0, 0.72)
    """
    if "time" not in array.dims:
        return 0.0, 0.0
    times = array["time"].values.astype(float) if "time" in array.coords else None
    steps = np.diff(times) if times is not None else np.array([])
    if len(steps) and not (np.allclose(steps, steps[0], rtol=1e-3, atol=1e-6) and steps[0] > 0):
        raise ArgumentError(
            f"The times of values must be evenly spaced and rising; the steps go from "
            f"{steps.min():g} to {steps.max():g} s. Write each time as its own image."
        )
    if t_r is not None and not (np.isfinite(t_r) and t_r > 0):
        raise ArgumentError(f"t_r must be above 0 s. Got {t_r}.")
    measured = np.mean(steps) if len(steps) else array.attrs.get("t_r", 0.0)
    start = times[0] if times is not None and len(times) else 0.0
    return float(start), float(round(measured, 6) if t_r is None else t_r)


def label_back(
    values: np.ndarray, atlas: RegionAtlas, *, frames: str | None = "time"
) -> xr.DataArray:
    """Label values that were read out of an image.

    Parameters
    ----------
    values : numpy.ndarray
        Of shape (frame, region).
    atlas : RegionAtlas
        The regions, one for each column.
    frames : str or None
        What the frames are; None drops the dimension of a single one.

    Returns
    -------
    xarray.DataArray
        Float64, with the coordinates of the regions.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> label_back(np.ones((1, 160)), load_atlas("dosenbach160"), frames=None).dims
    ('region',)
    """
    array = xr.DataArray(
        values.astype(np.float64),
        dims=(frames or "time", "region"),
        coords=region_coordinates(atlas.regions),
        attrs={"atlas": atlas.name, "atlas_hash": atlas.hash},
        name="map",
    )
    return array if frames else array.isel(time=0)


def with_times(array: xr.DataArray, start: float, step: float) -> xr.DataArray:
    """Put times on frames.

    Parameters
    ----------
    array : xarray.DataArray
        With a dimension ``time``.
    start, step : float
        In seconds; with a step of 0 (unknown) frames are counted.

    Returns
    -------
    xarray.DataArray
        With the coordinate ``time`` and, if known, ``attrs["t_r"]``.

    Examples
    --------
    >>> with_times(xr.DataArray([1.0, 2.0], dims="time"), 5.0, 0.72)["time"].values.tolist()
    [5.0, 5.72]
    """
    times = round(start, 6) + np.arange(array.sizes["time"]) * (step or 1.0)
    attrs = {**array.attrs, **({"t_r": step} if step else {})}
    return array.assign_coords(time=times).assign_attrs(attrs)
