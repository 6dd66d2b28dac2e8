"""How alike two maps are, class by class: in size, with sign, and in rank.

Most cells of a map are noise. Ranks give each of them a vote, so two maps that agree on every
cell that matters can have a low rank correlation; the linear correlation goes by the cells of high
importance. The share of the variance that two maps have in common, the squared correlation, is
what the checks decide by.
"""

from typing import NamedTuple

import numpy as np

from neurosal.validation.agreement import unit_ranks

MEASURES = ("size", "signed", "rank")


class Likeness(NamedTuple):
    """Correlations of two maps, means over the classes.

    Attributes
    ----------
    size : float
        Linear, of absolute values.
    signed : float
        Linear, of the values.
    rank : float
        Spearman's, of absolute values.
    """

    size: float
    signed: float
    rank: float


def class_means(maps: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Average maps within each class.

    Parameters
    ----------
    maps : numpy.ndarray
        (sample, time, region).
    y : numpy.ndarray
        (sample,) classes.

    Returns
    -------
    numpy.ndarray
        (class, time, region), classes sorted.

    Examples
    --------
    >>> class_means(np.array([[[1.0]], [[3.0]], [[5.0]]]), np.array(["b", "a", "a"])).ravel()
    array([4., 1.])
    """
    return np.stack([maps[y == one].mean(axis=0) for one in np.unique(y)])


def likeness(first: np.ndarray, second: np.ndarray) -> Likeness:
    """Correlate two maps over their cells.

    Parameters
    ----------
    first, second : numpy.ndarray
        (class, ...) the same shape.

    Returns
    -------
    Likeness
        A class in which one of the maps is the same everywhere counts as 0.

    Examples
    --------
    >>> one = np.array([[1.0, -2.0, 0.0, 4.0]])
    >>> likeness(one, -one)
    Likeness(size=1.0, signed=-1.0, rank=1.0)
    """
    a, b = (np.reshape(one, (len(one), -1)).astype(np.float64) for one in (first, second))
    size = _mean_correlation(_units(np.abs(a)), _units(np.abs(b)))
    ranked = _mean_correlation(unit_ranks(np.abs(a)), unit_ranks(np.abs(b)))
    return Likeness(size, _mean_correlation(_units(a), _units(b)), ranked)


def shared_variance(correlation: float) -> float:
    """Square a correlation and keep its sign.

    Parameters
    ----------
    correlation : float
        -1 to 1.

    Returns
    -------
    float
        The share of the variance in common; negative for maps that are opposed.

    Examples
    --------
    >>> shared_variance(-0.5)
    -0.25
    """
    return correlation * abs(correlation)


def _units(values: np.ndarray) -> np.ndarray:
    """Centre each row and give it length 1; NaN where a row is the same everywhere."""
    centred = values - values.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    differs = length > 1e-12 * np.linalg.norm(values, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.full_like(centred, np.nan), where=differs)


def _mean_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over rows of unit vectors' products, rounding errors cut off."""
    found = np.nan_to_num((first * second).sum(axis=1))
    return float(np.clip(found, -1, 1).mean().round(12))
