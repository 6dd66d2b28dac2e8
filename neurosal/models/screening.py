"""Univariate screening: which cells (time, region) a classifier is given at all."""

import warnings

import numpy as np
from sklearn.feature_selection import f_classif

from neurosal.errors import ArgumentError


def screening_mask(X: object, y: object, *, percentile: float = 20.0) -> np.ndarray:
    """Find the cells whose values differ most between the classes, by analysis of variance.

    Use training windows only: a mask that has seen the held-out windows spoils the accuracy. Set
    the other cells to zero, in training and afterwards; the importance of what is set to zero is
    zero.

    Parameters
    ----------
    X : array of shape (sample, time, region)
        Windows without missing values.
    y : array of shape (sample,)
        Their classes.
    percentile : float
        Share of the cells to keep, in percent.

    Returns
    -------
    numpy.ndarray of bool, shape (time, region)
        True where a cell is kept.

    Raises
    ------
    ArgumentError
        If ``percentile`` is not above 0 and at most 100.

    See Also
    --------
    nilearn.decoding.Decoder : its ``screening_percentile`` does the same for voxels.

    Examples
    --------
    >>> X = np.zeros((4, 1, 2))
    >>> X[:, 0, 1] = [0, 1, 10, 11]
    >>> screening_mask(X, ["rest", "rest", "task", "task"], percentile=50)
    array([[False,  True]])
    """
    check_percentile(percentile)
    values = np.asarray(X)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        scores = np.nan_to_num(f_classif(values.reshape(len(values), -1), np.asarray(y))[0])
    n_kept = max(1, round(scores.size * percentile / 100))
    mask = np.zeros(scores.size, dtype=bool)
    mask[np.argsort(-scores, kind="stable")[:n_kept]] = True
    return mask.reshape(values.shape[1:])


def check_percentile(percentile: float) -> None:
    """Refuse a share of cells that cannot be kept.

    Parameters
    ----------
    percentile : float
        In percent.

    Raises
    ------
    ArgumentError
        If it is not above 0 and at most 100.

    Examples
    --------
    >>> check_percentile(0)
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: screening percentile must be above 0 and at most 100. Got 0.
    """
    if not 0 < percentile <= 100:
        raise ArgumentError(
            f"screening percentile must be above 0 and at most 100. Got {percentile!r}."
        )
