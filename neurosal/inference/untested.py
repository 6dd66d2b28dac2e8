"""What a test over subjects could not do, told once for all its conditions."""

import warnings

import numpy as np
import xarray as xr

from neurosal.inference.cells import CONSTANT, MISSING
from neurosal.inference.settings import Settings
from neurosal.inference.subjects import name_regions


def tell_untested(found: xr.Dataset, means: xr.DataArray) -> None:
    """Name the regions with cells that are not tested, and the conditions they are not tested in.

    Parameters
    ----------
    found : xarray.Dataset
        With ``status``, of shape (condition, time, region).
    means : xarray.DataArray
        What was tested, of shape (condition, subject, time, region).

    Warns
    -----
    UserWarning
        Once if cells are missing in some subject, and once if they are constant.

    Examples
    --------
    >>> dims = ("condition", "subject", "time", "region")
    >>> means = xr.DataArray(np.zeros((2, 3, 1, 2)), dims=dims, coords={"condition": ["a", "b"]})
    >>> status = xr.DataArray([[[2, 0]], [[2, 0]]], dims=("condition", "time", "region"))
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     tell_untested(xr.Dataset({"status": status}), means)
    >>> print(caught[0].message)
    2 of 4 cells of a, b have the same value for every subject (screened to zero, for instance)...
    """
    status = found["status"].transpose("condition", "time", "region").values
    missing, constant = status == MISSING, status == CONSTANT
    if missing.any():
        lack, n = _lacking(means)
        warnings.warn(
            f"{missing.any(axis=(0, 1)).sum()} region(s){_of(means, missing)} are NaN in some of "
            f"the subjects ({lack} of {n}) and are not tested there: "
            f"{name_regions(means, missing.any(axis=(0, 1)))}.",
            stacklevel=3,
        )
    if constant.any():
        regions = constant.any(axis=(0, 1))
        some = constant.any(axis=(1, 2))
        warnings.warn(
            f"{constant.sum()} of {constant[some].size} cells{_of(means, constant)} have the same "
            "value for every subject (screened to zero, for instance) and are not tested; they are "
            f"of {regions.sum()} region(s): {name_regions(means, regions)}.",
            stacklevel=3,
        )


def tell_smallest(n_subjects: int, settings: Settings) -> None:
    """Say if no result could be significant.

    Parameters
    ----------
    n_subjects : int
        How many there are, in the condition of fewest.
    settings : Settings
        The choices of the test.

    Warns
    -----
    UserWarning
        If the smallest p-value there is is above ``alpha``.

    Examples
    --------
    >>> tell_smallest(20, Settings())
    """
    smallest = settings.smallest_p(n_subjects)
    if smallest > settings.alpha:
        warnings.warn(
            f"With {n_subjects} subjects and {settings.n_permutations} flips at most, the smallest "
            f"p-value that sign flips can give is {smallest:.3g}: nothing can be significant at "
            f"alpha={settings.alpha:g}. More subjects (or flips) are needed; read effect sizes and "
            "intervals instead.",
            stacklevel=3,
        )


def _of(means: xr.DataArray, cells: np.ndarray) -> str:
    """Name the conditions that some of the cells are of."""
    some = cells.any(axis=(1, 2))
    names = [str(name) for name in means["condition"].values[some] if str(name)]
    return f" of {', '.join(names)}" if names else ""


def _lacking(means: xr.DataArray) -> tuple[int, int]:
    """Count the subjects whose map of some condition lacks some cells but not all; and all."""
    null = means.transpose("condition", "subject", "time", "region").isnull().values
    some, whole = null.any(axis=(2, 3)), null.all(axis=(2, 3))
    return int((some & ~whole).any(axis=0).sum()), int((~whole).any(axis=0).sum())
