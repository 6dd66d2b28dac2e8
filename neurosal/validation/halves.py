"""Two halves of a study, and whether their maps agree more than by chance."""

from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy.stats import rankdata, spearmanr
from sklearn.base import clone

from neurosal.errors import ArgumentError
from neurosal.parcellation.coverage import covered
from neurosal.progress import track
from neurosal.saliency.window_decoder import WindowDecoder, cross_explain
from neurosal.validation.removal import Folds

_TRIES = 50
_FEWEST = 3


class HalfTest(NamedTuple):
    """What the comparison of halves found.

    Attributes
    ----------
    correlation : float
        Spearman's rank correlation of the halves' values, mean over halvings.
    agreement : float
        What is tested: the part of the correlation that regions differ in within a time point
        and condition; at most 1.
    p : float
        How often chance does as well.
    null : numpy.ndarray
        (draw,) the agreement by chance.
    n_cells : int
        Values compared, mean over halvings.
    """

    correlation: float
    agreement: float
    p: float
    null: np.ndarray
    n_cells: int


def mean_maps(maps: np.ndarray, y: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Average maps within each unit and condition.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, time, region).
    y, units : numpy.ndarray
        (sample,) class and unit (run, subject, half ...).

    Returns
    -------
    numpy.ndarray
        (unit, condition, time, region), units and conditions sorted; NaN where a unit has no
        window of a condition.

    Examples
    --------
    >>> maps = np.array([[[1.0]], [[3.0]], [[5.0]]])
    >>> mean_maps(maps, np.array(["a", "a", "b"]), np.array([0, 0, 1])).ravel()
    array([ 2., nan, nan,  5.])
    """
    classes, names = np.unique(y), np.unique(units)
    out = np.full((len(names), len(classes), *maps.shape[1:]), np.nan)
    for place in np.ndindex(out.shape[:2]):
        chosen = (units == names[place[0]]) & (y == classes[place[1]])
        if chosen.any():
            out[place] = maps[chosen].mean(axis=0)
    return out


def halve(
    groups: np.ndarray, y: np.ndarray, *, n: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Split groups in half at random, each time otherwise, so that each half has every class.

    Parameters
    ----------
    groups, y : numpy.ndarray
        (sample,) groups that stay together, and classes.
    n : int
        The most halvings.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    list of numpy.ndarray
        (sample,) 0 or 1, for each halving; fewer where there are not so many, none where a class
        is in one group only.

    Examples
    --------
    >>> groups = np.array([1, 1, 2, 2])
    >>> half = halve(groups, np.array(list("abab")), n=1, rng=np.random.default_rng(0))[0]
    >>> sorted(half.tolist())
    [0, 0, 1, 1]
    """
    names, out = np.unique(groups), []
    for _ in range(n):
        for _ in range(_TRIES):
            first = rng.choice(names, len(names) // 2, replace=False)
            half = np.isin(groups, first)
            half = (half != half[0]).astype(int)
            known = any(np.array_equal(half, one) for one in out)
            if not known and all(len(np.unique(half[y == one])) == 2 for one in np.unique(y)):
                out.append(half)
                break
    return out


def compare_halves(
    pairs: list[np.ndarray], *, n_flips: int = 999, rng: np.random.Generator
) -> HalfTest:
    """Test whether the maps of two halves agree more than by chance.

    Values are ranked within a half; what the regions of a time point and condition have in common
    is taken away; the products of both halves are added up within each region. By chance
    a region's sum is as often negative as positive: all signs are drawn anew ``n_flips`` times,
    the same for all halvings.

    Parameters
    ----------
    pairs : list of numpy.ndarray
        For each halving (half, condition, time, region); NaN in cells that a half does not have.
        Those that both have are compared.
    n_flips : int
        Draws.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    HalfTest
        p is 1 if fewer than 3 cells can be compared.

    Raises
    ------
    ArgumentError
        If there are no draws.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.normal(size=(1, 4, 40))
    >>> compare_halves([np.stack([truth, truth + 1])], rng=rng).p
    0.001
    """
    if n_flips < 1:
        raise ArgumentError(f"n_flips must be 1 or more. Got {n_flips!r}.")
    shares, correlations, counts = [], [], []
    for pair in pairs:
        both = np.isfinite(pair).all(axis=0)
        if both.sum() >= _FEWEST:
            correlations.append(spearmanr(*pair[:, both])[0])
            counts.append(both.sum())
            shares.append(_region_shares(*pair))
    if not shares:
        return HalfTest(np.nan, np.nan, 1.0, np.full(n_flips, np.nan), 0)
    total = np.mean(shares, axis=0)
    signs = rng.choice([-1.0, 1.0], size=(n_flips, len(total)))
    null, found = signs @ total, total.sum()
    slack = 1e-12 * np.abs(total).sum()
    p = (1 + (null >= found - slack).sum()) / (1 + n_flips)
    correlation = float(np.mean(correlations))
    return HalfTest(correlation, float(found), float(p), null, int(np.mean(counts)))


def _region_shares(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Each region's share in the correlation of two halves, within time and condition.

    Deviations from the mean of few regions depend on each other, and their products would too. So
    one half is centred over the cells compared, which makes the sum right, the other over all its
    own cells of a time point, in all conditions; and the other way round.
    """
    both = np.isfinite(first) & np.isfinite(second)
    loose, exact = [], []
    for values in (first, second):
        own = np.isfinite(values)
        ranks = np.zeros(values.shape)
        ranks[own] = rankdata(values[own])
        loose.append(_centred(ranks, own, (0, 2)) * both)
        exact.append(_centred(ranks, both, 2))
    length = np.linalg.norm(exact[0]) * np.linalg.norm(exact[1])
    products = (exact[0] * loose[1] + loose[0] * exact[1]).sum(axis=(0, 1)) / 2
    return products / length if length > 0 else products


def _centred(values: np.ndarray, known: np.ndarray, axes: tuple[int, ...] | int) -> np.ndarray:
    """Take away the mean of the known cells; 0 in the others."""
    sums = np.where(known, values, 0).sum(axis=axes, keepdims=True)
    counts = np.maximum(known.sum(axis=axes, keepdims=True), 1)
    return np.where(known, values - sums / counts, 0)


def retrained_halves(
    decoder: WindowDecoder,
    windows: object,
    y: np.ndarray,
    groups: np.ndarray,
    *,
    n: int,
    rng: np.random.Generator,
    show: bool = False,
) -> list[np.ndarray]:
    """Train on each half alone, with seeds of their own, and explain the half trained on.

    To explain the other half instead would make the two maps depend on each other: each would
    hold the one half's windows and the other half's decoder.

    Parameters
    ----------
    decoder : WindowDecoder
        Unfitted.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.
    y, groups : numpy.ndarray
        (sample,) classes, and what stays together.
    n : int
        How many halvings.
    rng : numpy.random.Generator
        Source of randomness.
    show : bool
        Show on standard error how far the work is.

    Returns
    -------
    list of numpy.ndarray
        For each halving (half, condition, time, region); NaN in cells that the half's decoder was
        not given.

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> options = {"n": 1, "rng": np.random.default_rng(0)}
    >>> retrained_halves(WindowDecoder(), X, y, np.arange(8) // 2, **options)[0].shape
    (2, 2, 4, 3)
    """
    labelled = covered(windows)
    splits, out = halve(groups, y, n=n, rng=rng), []
    for half in track(splits, "training on halves", total=len(splits), show=show):
        seeds = rng.integers(2**31 - 1, size=2)
        parts = [(labelled[half == side], y[half == side]) for side in (0, 1)]
        fitted = [
            reseed(decoder, int(one)).fit(*part) for one, part in zip(seeds, parts, strict=True)
        ]
        maps = [_own_mean(one, *part) for one, part in zip(fitted, parts, strict=True)]
        out.append(np.stack(maps))
    return out


def _own_mean(decoder: WindowDecoder, windows: xr.DataArray, y: np.ndarray) -> np.ndarray:
    """Mean maps (condition, time, region); NaN in cells that the decoder is not given."""
    maps = mean_maps(decoder.explain(windows, y).to_numpy(), y, np.zeros(len(y)))[0]
    return np.where(decoder.screening_.to_numpy(), maps, np.nan)


def retrained_seeds(
    decoder: WindowDecoder,
    windows: object,
    y: np.ndarray,
    folds: Folds,
    *,
    n: int,
    seed: int,
    show: bool = False,
) -> np.ndarray:
    """Cross-validate and explain with other seeds.

    Parameters
    ----------
    decoder : WindowDecoder
        Unfitted.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.
    y : numpy.ndarray
        (sample,) classes.
    folds : sequence of (train, test)
        Index arrays.
    n : int
        How many seeds.
    seed : int
        From which they are drawn.
    show : bool
        Show on standard error how far the work is.

    Returns
    -------
    numpy.ndarray
        (seed, condition, time, region): mean maps.

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> halves = [(np.arange(4), np.arange(4, 8)), (np.arange(4, 8), np.arange(4))]
    >>> retrained_seeds(WindowDecoder(), X, y, halves, n=1, seed=0).shape
    (1, 2, 4, 3)
    """
    labelled, out = covered(windows), []
    seeds = np.random.default_rng(seed).integers(2**31 - 1, size=n)
    for one in track(seeds, "retraining with another seed", total=n, show=show):
        maps = cross_explain(reseed(decoder, int(one)), labelled, y, folds)[1]
        out.append(mean_maps(maps.to_numpy(), y, np.zeros(len(y)))[0])
    return np.stack(out)


def reseed(decoder: WindowDecoder, seed: int) -> WindowDecoder:
    """Copy a decoder, with another seed for training and explaining.

    Parameters
    ----------
    decoder : WindowDecoder
        Fitted or not.
    seed : int
        The seed.

    Returns
    -------
    WindowDecoder
        Unfitted.

    Examples
    --------
    >>> reseed(WindowDecoder(), 5).random_state
    5
    """
    twin = clone(decoder).set_params(random_state=seed)
    if "classifier__random_state" in twin.get_params():
        twin.set_params(classifier__random_state=seed)
    return twin
