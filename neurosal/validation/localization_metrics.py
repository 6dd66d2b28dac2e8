"""Scores of each sample's map where the true cells are known, and of where in time it lies.

Importance counts by its size: signs are dropped first. All is computed in float64, for all
samples at once; :func:`score_maps` gives every number below. A score means little beside no
other: score maps of random numbers too.

>>> truth = np.zeros((1, 4, 5), dtype=bool)
>>> truth[:, :2] = True
>>> score_maps(truth.astype(float), truth, parts=2)[["weighted_jaccard", "aupr", "share_0"]]
   weighted_jaccard  aupr  share_0
0               1.0   1.0      1.0
"""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from neurosal.errors import ArgumentError


def score_maps(maps: np.ndarray, truth: np.ndarray, *, parts: int = 10) -> pd.DataFrame:
    """Score each sample's map of importance against its true cells.

    Parameters
    ----------
    maps : array-like
        (sample, time, region) importance.
    truth : array-like of bool
        The same shape, or (time, region) for all samples.
    parts : int
        Stretches of time to share the importance among.

    Returns
    -------
    pandas.DataFrame
        One row a sample: ``weighted_jaccard``, ``euclidean``, ``jaccard_top``, ``roc_auc``,
        ``aupr``, ``slope``, ``share_0``, ``share_1``, ...

    Raises
    ------
    ArgumentError
        If shapes do not fit, a number is not finite, or a sample has no true or no false cell.

    References
    ----------
    Ismail et al. (2019), Input-Cell Attention Reduces Vanishing Saliency of Recurrent Neural
    Networks. NeurIPS. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> table = score_maps(rng.random((3, 10, 8)), rng.random((3, 10, 8)) > 0.7)
    >>> table.shape
    (3, 16)
    """
    maps, truth = check_maps(maps, truth)
    table = pd.DataFrame(
        {
            "weighted_jaccard": weighted_jaccard(maps, truth),
            "euclidean": relative_distance(maps, truth),
            "jaccard_top": top_jaccard(maps, truth),
            "roc_auc": roc_auc(maps, truth),
            "aupr": average_precision(maps, truth),
            "slope": vanishing_slope(maps),
        }
    )
    shares = time_shares(maps, parts=parts)
    return table.join(pd.DataFrame(shares, columns=[f"share_{i}" for i in range(parts)]))


def check_maps(maps: object, truth: object) -> tuple[np.ndarray, np.ndarray]:
    """Bring maps and truth into one shape.

    Parameters
    ----------
    maps : array-like
        (sample, time, region).
    truth : array-like of bool
        The same, or (time, region).

    Returns
    -------
    tuple of numpy.ndarray
        Both (sample, time, region): absolute values in float64, and bool.

    Raises
    ------
    ArgumentError
        If they cannot be scored.

    Examples
    --------
    >>> check_maps([[[-2, 1]]], [[True, False]])[0]
    array([[[2., 1.]]])
    """
    maps = np.abs(np.asarray(maps, dtype=np.float64))
    truth = np.asarray(truth).astype(bool)
    if maps.ndim != 3 or truth.shape not in (maps.shape, maps.shape[1:]):
        raise ArgumentError(
            "maps must be (sample, time, region) and truth of the same shape or (time, region). "
            f"Got {maps.shape} and {truth.shape}."
        )
    if not np.isfinite(maps).all():
        raise ArgumentError("maps must be finite. Got NaN or infinity: leave those samples out.")
    truth = np.broadcast_to(truth, maps.shape)
    share = truth.mean(axis=(1, 2))
    if ((share == 0) | (share == 1)).any():
        raise ArgumentError("truth must have a true and a false cell in every sample.")
    return maps, truth


def min_max(maps: np.ndarray) -> np.ndarray:
    """Scale each sample's map to reach from 0 to 1.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, time, region).

    Returns
    -------
    numpy.ndarray
        The same shape; 0 everywhere for a map that is the same everywhere.

    Examples
    --------
    >>> min_max(np.array([[[1.0, 2.0, 5.0]]])).tolist()
    [[[0.0, 0.25, 1.0]]]
    """
    low = maps.min(axis=(1, 2), keepdims=True)
    size = maps.max(axis=(1, 2), keepdims=True) - low
    return np.divide(maps - low, size, out=np.zeros_like(maps), where=size > 0)


def weighted_jaccard(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Sum of the smaller over sum of the larger of truth (0 or 1) and the scaled map.

    Parameters
    ----------
    maps, truth : numpy.ndarray
        (sample, time, region), as :func:`check_maps` gives them.

    Returns
    -------
    numpy.ndarray
        (sample,), 0 to 1.

    Examples
    --------
    >>> weighted_jaccard(np.array([[[0.0, 1.0, 1.0]]]), np.array([[[True, True, False]]]))
    array([0.33333333])
    """
    scaled = min_max(maps)
    smaller, larger = np.minimum(truth, scaled), np.maximum(truth, scaled)
    return smaller.sum(axis=(1, 2)) / larger.sum(axis=(1, 2))


def relative_distance(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Euclidean distance of truth and scaled map, over the length of the truth.

    Parameters
    ----------
    maps, truth : numpy.ndarray
        (sample, time, region), as :func:`check_maps` gives them.

    Returns
    -------
    numpy.ndarray
        (sample,), from 0; a map of nothing has 1.

    Examples
    --------
    >>> relative_distance(np.array([[[0.0, 1.0]]]), np.array([[[True, False]]]))
    array([1.41421356])
    """
    apart = np.square(truth - min_max(maps)).sum(axis=(1, 2))
    return np.sqrt(apart / truth.sum(axis=(1, 2)))


def top_jaccard(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Jaccard index of the true cells and as many cells of highest importance.

    Parameters
    ----------
    maps, truth : numpy.ndarray
        (sample, time, region), as :func:`check_maps` gives them.

    Returns
    -------
    numpy.ndarray
        (sample,), 0 to 1. Of cells that tie at the cut, the share that is true counts.

    Examples
    --------
    >>> top_jaccard(np.array([[[3.0, 2.0, 1.0]]]), np.array([[[True, False, False]]]))
    array([1.])
    """
    values, flags = maps.reshape(len(maps), -1), truth.reshape(len(maps), -1)
    counts = flags.sum(axis=1)
    falling = -np.sort(-values, axis=1)
    cut = falling[np.arange(len(values)), counts - 1][:, None]
    above, tied = values > cut, values == cut
    open_places = counts - above.sum(axis=1)
    hits = (above & flags).sum(axis=1)
    hits = hits + open_places * (tied & flags).sum(axis=1) / tied.sum(axis=1)
    return hits / (2 * counts - hits)


def roc_auc(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Chance that a true cell has more importance than a false one; ties count half.

    Parameters
    ----------
    maps, truth : numpy.ndarray
        (sample, time, region), as :func:`check_maps` gives them.

    Returns
    -------
    numpy.ndarray
        (sample,), 0 to 1; 0.5 by chance.

    Examples
    --------
    >>> roc_auc(np.array([[[3.0, 2.0, 1.0]]]), np.array([[[True, False, True]]]))
    array([0.5])
    """
    values, flags = maps.reshape(len(maps), -1), truth.reshape(len(maps), -1)
    ranks = rankdata(values, axis=1)
    n_true = flags.sum(axis=1)
    n_false = flags.shape[1] - n_true
    above = (ranks * flags).sum(axis=1) - n_true * (n_true + 1) / 2
    return above / (n_true * n_false)


def average_precision(maps: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Average precision (AUPR): precision at each importance, weighted by the gain in recall.

    Parameters
    ----------
    maps, truth : numpy.ndarray
        (sample, time, region), as :func:`check_maps` gives them.

    Returns
    -------
    numpy.ndarray
        (sample,), 0 to 1; the share of true cells by chance.

    Examples
    --------
    >>> average_precision(np.array([[[3.0, 2.0, 1.0]]]), np.array([[[True, False, True]]]))
    array([0.83333333])
    """
    values, flags = maps.reshape(len(maps), -1), truth.reshape(len(maps), -1)
    order = np.argsort(-values, axis=1)
    values = np.take_along_axis(values, order, axis=1)
    flags = np.take_along_axis(flags, order, axis=1)
    precision = flags.cumsum(axis=1) / np.arange(1, flags.shape[1] + 1)
    last = np.ones_like(flags)
    last[:, :-1] = values[:, 1:] != values[:, :-1]
    place = np.where(last, np.arange(flags.shape[1]), flags.shape[1])
    ends = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]
    precision = np.take_along_axis(precision, ends, axis=1)
    return (precision * flags).sum(axis=1) / flags.sum(axis=1)


def time_shares(maps: np.ndarray, *, parts: int = 10) -> np.ndarray:
    """Share of a map's importance that lies in each stretch of time.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, time, region), not negative.
    parts : int
        Stretches, as equal as steps allow.

    Returns
    -------
    numpy.ndarray
        (sample, part), rows sum to 1; zeros for a map of nothing.

    Examples
    --------
    >>> time_shares(np.array([[[1.0], [1.0], [0.0], [2.0]]]), parts=2)
    array([[0.5, 0.5]])
    """
    if not 1 <= parts <= maps.shape[1]:
        raise ArgumentError(f"parts must be 1 to {maps.shape[1]}, the steps. Got {parts!r}.")
    steps = maps.sum(axis=2)
    sums = np.stack([part.sum(axis=1) for part in np.array_split(steps, parts, axis=1)], axis=1)
    total = sums.sum(axis=1, keepdims=True)
    return np.divide(sums, total, out=np.zeros_like(sums), where=total > 0)


def vanishing_slope(maps: np.ndarray) -> np.ndarray:
    """Slope of log importance against the distance from the end: below 0 where it vanishes.

    A step's importance is the sum over its regions. Where even float64 has nothing but zero, the
    smallest number that it has stands in. Maps in float32 are zero long before: make them in
    float64.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, time, region), not negative.

    Returns
    -------
    numpy.ndarray
        (sample,) natural logarithm a step, by least squares; -0.1 loses 10 % with each step back.
        NaN for a single step.

    Examples
    --------
    >>> vanishing_slope(np.exp([[[-0.6], [-0.4], [-0.2], [0.0]]])).round(6)
    array([-0.2])
    """
    logs = np.log(np.maximum(maps.sum(axis=2), np.finfo(np.float64).tiny))
    distance = np.arange(maps.shape[1])[::-1] - (maps.shape[1] - 1) / 2
    if len(distance) == 1:
        return np.full(len(maps), np.nan)
    return (logs - logs.mean(axis=1, keepdims=True)) @ distance / (distance @ distance)
