"""How far several maps of the same cells agree: intraclass and rank correlation."""

from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from neurosal.errors import ArgumentError


class Intraclass(NamedTuple):
    """Intraclass correlations of single raters.

    Attributes
    ----------
    agreement : float
        ICC(2,1): raters drawn at random, who should give the same numbers.
    consistency : float
        ICC(3,1): each rater may have a level of its own.
    """

    agreement: float
    consistency: float


def intraclass_correlation(ratings: object) -> Intraclass:
    """Intraclass correlation of maps, one a rater, over their cells.

    Maps of two runs may differ in their overall level without telling different stories, so
    ``consistency``, ICC(3,1), is the one to read first; scale counts in both.

    Parameters
    ----------
    ratings : array-like of shape (cell, rater)
        Values without gaps.

    Returns
    -------
    Intraclass
        ICC(2,1) and ICC(3,1); NaN if no cell differs from another.

    Raises
    ------
    ArgumentError
        If there are fewer than two cells or raters, or a value is not finite.

    References
    ----------
    Shrout & Fleiss (1979), Intraclass correlations: uses in assessing rater reliability.
    https://doi.org/10.1037/0033-2909.86.2.420

    Examples
    --------
    >>> found = intraclass_correlation([[1, 2], [3, 4], [5, 6]])
    >>> round(found.agreement, 2), round(found.consistency, 2)
    (0.89, 1.0)
    """
    values = np.asarray(ratings, dtype=np.float64)
    if values.ndim != 2 or min(values.shape) < 2 or not np.isfinite(values).all():
        raise ArgumentError(
            "ratings must be finite and (cell, rater), two or more of each. Got shape "
            f"{values.shape}."
        )
    n, k = values.shape
    cells, raters = values.mean(axis=1), values.mean(axis=0)
    between = k * cells.var(ddof=1)
    levels = n * raters.var(ddof=1)
    left = values - cells[:, None] - raters + values.mean()
    error = np.square(left).sum() / ((n - 1) * (k - 1))
    if between + error == 0:
        return Intraclass(np.nan, np.nan)
    apart = between - error
    agreement = apart / (between + (k - 1) * error + k * (levels - error) / n)
    return Intraclass(float(agreement), float(apart / (between + (k - 1) * error)))


def rank_correlations(maps: object) -> np.ndarray:
    """Spearman's rank correlation between every two maps.

    Parameters
    ----------
    maps : array-like of shape (map, cell)
        Values without gaps.

    Returns
    -------
    numpy.ndarray of shape (map, map)
        NaN for a map that is the same everywhere.

    Examples
    --------
    >>> float(rank_correlations([[1, 2, 3], [10, 20, 70]])[0, 1].round(6))
    1.0
    """
    units = unit_ranks(maps)
    return np.clip(units @ units.T, -1, 1)


def leave_one_out(maps: object) -> np.ndarray:
    """Rank correlation of each map with the mean of the others.

    Parameters
    ----------
    maps : array-like of shape (map, cell)
        Two or more maps, one a subject.

    Returns
    -------
    numpy.ndarray of shape (map,)
        NaN for a map that is the same everywhere.

    Raises
    ------
    ArgumentError
        If there are fewer than two maps.

    Examples
    --------
    >>> leave_one_out([[1, 2, 3], [1, 2, 4], [1, 3, 2]]).round(2).tolist()
    [1.0, 0.87, 0.5]
    """
    values = np.asarray(maps, dtype=np.float64)
    if values.ndim != 2 or len(values) < 2:
        raise ArgumentError(f"maps must be two or more, (map, cell). Got shape {values.shape}.")
    others = (values.sum(axis=0) - values) / (len(values) - 1)
    return np.clip((unit_ranks(values) * unit_ranks(others)).sum(axis=1), -1, 1)


def unit_ranks(maps: object) -> np.ndarray:
    """Ranks within each map, centred and of unit length.

    Parameters
    ----------
    maps : array-like of shape (..., cell)
        Values.

    Returns
    -------
    numpy.ndarray
        The same shape; NaN for a map that is the same everywhere.

    Examples
    --------
    >>> unit_ranks([5.0, 1.0, 3.0]).round(3).tolist()
    [0.707, -0.707, 0.0]
    """
    ranks = rankdata(maps, axis=-1)
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(ranks, axis=-1, keepdims=True)
    return np.divide(ranks, length, out=np.full_like(ranks, np.nan), where=length > 0)
