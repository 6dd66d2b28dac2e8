"""Taking cells away by rank: what deletion curves and remove-and-retrain have in common.

A cell is a time point of a region. Only cells that a decoder is given (its screening kept them)
are ranked and removed: to find those that are zeroed anyway is no merit of a map. What is removed
is replaced by its mean over the training windows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.saliency.window_decoder import WindowDecoder

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


class Matched(NamedTuple):
    """Maps, windows and classes of the same samples and of the regions decoded.

    Attributes
    ----------
    maps, windows : numpy.ndarray
        (sample, time, region).
    y : numpy.ndarray
        (sample,) classes.
    """

    maps: np.ndarray
    windows: np.ndarray
    y: np.ndarray


def match_maps(maps: object, windows: object, *, y: object, decoder: WindowDecoder) -> Matched:
    """Bring maps and windows to the regions that a decoder was fitted on.

    Parameters
    ----------
    maps, windows : xarray.DataArray or array of shape (sample, time, region)
        Regions that some run does not cover may be among them if both are labelled.
    y : array-like of shape (sample,)
        The windows' classes.
    decoder : WindowDecoder
        Fitted; its regions are taken.

    Returns
    -------
    Matched
        Plain arrays.

    Raises
    ------
    ArgumentError
        If shapes do not fit, or a value is NaN or infinite.

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> match_maps(X, X, y=y, decoder=WindowDecoder().fit(X, y)).maps.shape
    (8, 4, 3)
    """
    arrays, y, shape = {}, np.asarray(y), decoder.screening_.shape
    for name, values in {"maps": maps, "windows": windows}.items():
        if isinstance(values, xr.DataArray) and "region" in decoder.screening_.coords:
            values = values.sel(region=decoder.screening_["region"].to_numpy())
            values = values.transpose("sample", "time", "region")
        arrays[name] = np.asarray(values, dtype=np.float64)
        if arrays[name].shape != (len(y), *shape):
            raise ArgumentError(
                f"{name} must be (sample, time, region) = {(len(y), *shape)}, as y and the "
                f"decoders have them. Got {arrays[name].shape}."
            )
        if not np.isfinite(arrays[name]).all():
            raise ArgumentError(f"{name} must be finite. Got NaN or infinity.")
    return Matched(**arrays, y=y)


def class_free_map(maps: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Average maps to one that knows no class: the mean size of the classes' mean maps.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, time, region).
    y : numpy.ndarray
        (sample,) classes.

    Returns
    -------
    numpy.ndarray
        (time, region), not negative.

    Examples
    --------
    >>> maps = np.array([[[1.0, 2.0]], [[-3.0, 0.0]], [[-1.0, 0.0]]])
    >>> class_free_map(maps, np.array(["a", "b", "b"]))
    array([[1.5, 1. ]])
    """
    return np.mean([np.abs(maps[y == one].mean(axis=0)) for one in np.unique(y)], axis=0)


def rank_cells(importance: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Number cells from the most important, 0, to the least; ties in random order.

    Parameters
    ----------
    importance : numpy.ndarray
        (..., cell).
    rng : numpy.random.Generator
        Breaks the ties.

    Returns
    -------
    numpy.ndarray of int
        The same shape.

    Examples
    --------
    >>> rank_cells(np.array([0.1, 0.9, 0.5]), np.random.default_rng(0))
    array([2, 0, 1])
    """
    order = np.lexsort((rng.random(importance.shape), -importance), axis=-1)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(importance.shape[-1]), axis=-1)
    return ranks


def replace_cells(
    windows: np.ndarray, given: np.ndarray, remove: np.ndarray, fill: np.ndarray
) -> np.ndarray:
    """Replace some of the cells that a decoder is given.

    Parameters
    ----------
    windows : numpy.ndarray
        (sample, time, region).
    given : numpy.ndarray of bool
        (time, region).
    remove : numpy.ndarray of bool
        (cell,) or (sample, cell): which of those given are replaced.
    fill : numpy.ndarray
        (time, region): by what.

    Returns
    -------
    numpy.ndarray
        A copy.

    Examples
    --------
    >>> given = np.array([[True, False, True]])
    >>> replace_cells(np.ones((1, 1, 3)), given, np.array([False, True]), np.zeros((1, 3)))
    array([[[1., 1., 0.]]])
    """
    out = windows.copy()
    out[:, given] = np.where(remove, fill[given], windows[:, given])
    return out


def check_shares(name: str, shares: Sequence[float], *, low: float, high: float) -> np.ndarray:
    """Refuse shares that do not rise within their limits.

    Parameters
    ----------
    name : str
        The argument.
    shares : sequence of float
        Shares of the cells.
    low, high : float
        The limits, both allowed.

    Returns
    -------
    numpy.ndarray
        The shares.

    Raises
    ------
    ArgumentError
        If there are none, or they fall, or leave the limits.

    Examples
    --------
    >>> check_shares("fractions", [0.5, 0.25], low=0, high=1)
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: fractions must rise within 0 and 1. Got [0.5, 0.25].
    """
    values = np.asarray(shares, dtype=float)
    rising = values.ndim == 1 and values.size and (np.diff(values) > 0).all()
    if not rising or values[0] < low or values[-1] > high:
        raise ArgumentError(f"{name} must rise within {low:g} and {high:g}. Got {shares!r}.")
    return values
