"""What "absent" means: the values that importance is measured against."""

import numpy as np
import torch
import xarray as xr

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.saliency.windows import DIMS, Windows, as_numpy, check_numbers, native_floats


def as_baseline(baseline: object, windows: Windows) -> np.ndarray:
    """Lay a baseline out as the samples are.

    Parameters
    ----------
    baseline : None, "mean" or array-like
        Zero, the mean over the samples, or values that broadcast to (time, region) or have the
        shape of the samples. A DataArray is put in the samples' order of dimensions and regions.
    windows : Windows
        The samples.

    Returns
    -------
    array
        (1 or n, T, N).

    Raises
    ------
    ArgumentError
        If it does not fit the samples.

    Examples
    --------
    >>> as_baseline([1.0, 2.0], Windows(np.zeros((5, 3, 2)))).shape
    (1, 3, 2)
    """
    n, steps, regions = windows.shape
    if baseline is None:
        return np.zeros((1, steps, regions), dtype=np.float32)
    if isinstance(baseline, str):
        check_one_of("baseline", baseline, ["mean"])
        return windows.mean()[None]
    values = _as_array(baseline, windows)
    check_numbers("baseline", values)
    if tuple(values.shape) == (n, steps, regions):
        return values
    if values.ndim <= 2 and _broadcasts(values.shape, (steps, regions)):
        return np.broadcast_to(native_floats(values), (steps, regions))[None].copy()
    raise ArgumentError(
        f"baseline must be None, 'mean', or values that broadcast to (time, region) = "
        f"({steps}, {regions}) or have the shape of x. Got shape {tuple(values.shape)}."
    )


def batch_of(
    baseline: np.ndarray, here: slice, valid: torch.Tensor | None, like: torch.Tensor
) -> torch.Tensor:
    """Read the baseline of a batch: zero in the padding, finite elsewhere.

    Parameters
    ----------
    baseline : array
        (1 or n, T, N).
    here : slice
        Which samples.
    valid : torch.Tensor or None
        Steps that are no padding (B, T); None: all.
    like : torch.Tensor
        Samples (B, T, N), for type and device.

    Returns
    -------
    torch.Tensor
        (1 or B, T, N).

    Raises
    ------
    DataError
        If a valid step holds NaN or infinity.

    Examples
    --------
    >>> x = torch.ones(2, 1, 1)
    >>> batch_of(np.full((1, 1, 1), 3.0), slice(0, 2), None, x).flatten()
    tensor([3.])
    """
    part = native_floats(baseline if len(baseline) == 1 else baseline[here])
    values = torch.as_tensor(part).to(like)
    if valid is not None:
        values = values.where(valid[:, :, None], 0.0)
    if not torch.isfinite(values).all():
        raise DataError(
            f"baseline must be finite where x is no padding. Got NaN or infinity for samples "
            f"{here.start} to {here.stop - 1}. Fill it, for example by baseline='mean'."
        )
    return values


def _as_array(baseline: object, windows: Windows) -> object:
    """Values with a shape; of a DataArray by its names."""
    if isinstance(baseline, xr.DataArray):
        return in_order("baseline", baseline, windows)
    if isinstance(baseline, torch.Tensor):
        return as_numpy(baseline)
    return baseline if hasattr(baseline, "shape") else np.asarray(baseline)


def in_order(name: str, values: xr.DataArray, windows: Windows) -> xr.DataArray:
    """Put dimensions and regions in the samples' order; a dimension that lacks has one value.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    values : xarray.DataArray
        Values along some of the samples' dimensions.
    windows : Windows
        The samples.

    Returns
    -------
    xarray.DataArray
        (time, region), or (sample, time, region).

    Raises
    ------
    ArgumentError
        If dimensions or regions are others than the samples'.

    Examples
    --------
    >>> x = xr.DataArray(np.ones((2, 3, 2)), dims=DIMS, coords={"region": ["a", "b"]})
    >>> own = xr.DataArray([2.0, 1.0], dims="region", coords={"region": ["b", "a"]})
    >>> in_order("baseline", own, Windows(x)).values.tolist()
    [[1.0, 2.0]]
    """
    if not set(values.dims) <= set(DIMS):
        raise ArgumentError(f"{name} must have dimensions among {DIMS}. Got {values.dims}.")
    known = windows.labelled
    if known is not None and all("region" in one.indexes for one in (known, values)):
        if set(values.indexes["region"]) != set(known.indexes["region"]):
            raise ArgumentError(f"{name} must have the regions of x, in any order.")
        values = values.sel(region=known["region"].values)
    wanted = [dim for dim in DIMS if dim in values.dims or dim != "sample"]
    lacking = [dim for dim in wanted if dim not in values.dims]
    return values.expand_dims(lacking).transpose(*wanted)


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Tell whether a shape broadcasts to another."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return all(own in (1, other) for own, other in pairs)
