"""The regions of windows: which of them every run covers, and their scale."""

import warnings

import numpy as np
import xarray as xr

from neurosal.errors import DataError
from neurosal.loaders.runs import shorten

_CONSTANT = 1e-10  # of a region's mean: what varies less is rounding error


def region_scales(windows: xr.DataArray) -> xr.Dataset:
    """Find the mean and the standard deviation of each region over all windows and frames.

    Parameters
    ----------
    windows : xarray.DataArray
        (sample, time, region).

    Returns
    -------
    xarray.Dataset
        ``mean`` and ``deviation`` (region,); 1 for a region that does not vary.

    Examples
    --------
    >>> windows = xr.DataArray(
    ...     [[[1.0, 4.0]], [[3.0, 4.0]]], dims=("sample", "time", "region"),
    ...     coords={"region": ["V1", "V2"]})
    >>> region_scales(windows)["deviation"].values
    array([1., 1.])
    """
    over = ("sample", "time")
    mean, deviation = windows.mean(over), windows.std(over)
    deviation = deviation.where(deviation > _CONSTANT * abs(mean), 1.0)
    return xr.Dataset({"mean": mean, "deviation": deviation})


def scaled(windows: xr.DataArray, scales: xr.Dataset | None) -> xr.DataArray:
    """Bring regions to a common scale.

    Parameters
    ----------
    windows : xarray.DataArray
        (sample, time, region).
    scales : xarray.Dataset or None
        What :func:`region_scales` found, of these regions at least; None leaves them as they are.

    Returns
    -------
    xarray.DataArray
        (sample, time, region).

    Examples
    --------
    >>> windows = xr.DataArray(
    ...     [[[1.0, 4.0]], [[3.0, 4.0]]], dims=("sample", "time", "region"),
    ...     coords={"region": ["V1", "V2"]})
    >>> scaled(windows, region_scales(windows))[:, 0].values.tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    if scales is None:
        return windows
    own = scales.sel(region=windows["region"].to_numpy())
    values = (windows.to_numpy() - own["mean"].to_numpy()) / own["deviation"].to_numpy()
    return windows.copy(data=values)


def covered(windows: object) -> xr.DataArray:
    """Label windows, and leave out the regions that some run does not cover.

    Parameters
    ----------
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.

    Returns
    -------
    xarray.DataArray
        (sample, time, region), finite.

    See Also
    --------
    measured : says which regions it leaves out.

    Examples
    --------
    >>> covered([[[1.0, np.nan]]]).shape
    (1, 1, 1)
    """
    dims = ("sample", "time", "region")
    if not isinstance(windows, xr.DataArray):
        windows = xr.DataArray(np.asarray(windows), dims=dims)
    windows = windows.transpose(*dims)
    return windows[:, :, np.isfinite(windows.to_numpy()).all(axis=(0, 1))]


def measured(windows: xr.DataArray) -> xr.DataArray:
    """Drop the regions that some run does not cover, with a word about it.

    Parameters
    ----------
    windows : xarray.DataArray
        (sample, time, region).

    Returns
    -------
    xarray.DataArray
        Without missing values.

    Raises
    ------
    DataError
        If no region is left.

    Examples
    --------
    >>> windows = xr.DataArray(
    ...     [[[1.0, 4.0]], [[3.0, 4.0]]], dims=("sample", "time", "region"),
    ...     coords={"region": ["V1", "V2"]})
    >>> measured(windows).sizes["region"]
    2
    """
    kept = covered(windows)
    if not kept.sizes["region"]:
        raise DataError("No region is covered by every run. Check the atlas and the runs' space.")
    names = windows["region"].to_numpy()
    names = names[~np.isin(names, kept["region"].to_numpy())]
    if len(names):
        warnings.warn(
            f"{len(names)} region(s) are not covered by every run and are left out of decoding; "
            f"their importance is NaN: {shorten(names, 5)}.",
            stacklevel=3,
        )
    return kept


def on_all_regions(maps: xr.DataArray, windows: xr.DataArray) -> xr.DataArray:
    """Give regions that were left out their place among all regions, as NaN.

    Parameters
    ----------
    maps : xarray.DataArray
        (sample, time, region) of what :func:`measured` left.
    windows : xarray.DataArray
        (sample, time, region): the windows with all regions, in their order.

    Returns
    -------
    xarray.DataArray
        (sample, time, region), with the attributes of both.

    Examples
    --------
    >>> windows = xr.DataArray(
    ...     [[[1.0, 4.0]], [[3.0, 4.0]]], dims=("sample", "time", "region"),
    ...     coords={"region": ["V1", "V2"]})
    >>> on_all_regions(windows[..., :1], windows)[0, 0].values.tolist()
    [1.0, nan]
    """
    whole = maps.reindex(region=windows["region"].to_numpy())
    regions = {name: one for name, one in windows.coords.items() if one.dims == ("region",)}
    whole = whole.assign_coords(regions)
    whole.attrs = {**windows.attrs, **maps.attrs}
    return whole.transpose("sample", "time", "region")
