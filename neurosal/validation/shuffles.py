"""The accuracy of given predictions under labels shuffled within runs, the one way it is done here.

Labels are shuffled within runs only, so that what runs have in common (drift, a subject's level)
is the same under the null hypothesis.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from neurosal.errors import ArgumentError, check_number

_BLOCK = 64  # shuffles drawn at once
_SLACK = 1e-12  # accuracies that differ by less are the same


def shuffled_accuracy(
    predicted: object,
    y: object,
    runs: object,
    *,
    cross_validated: bool = True,
    n_permutations: int = 10_000,
    seed: int = 0,
) -> xr.Dataset:
    """Compare the accuracy of predictions with that under labels shuffled within runs.

    Parameters
    ----------
    predicted : array-like of shape (sample,)
        Held-out predictions.
    y : array-like of shape (sample,)
        True labels.
    runs : array-like of shape (sample,)
        Within what labels are shuffled, unique over subjects.
    cross_validated : bool
        Whether the labels of some predictions trained others: then the accuracies of the shuffles
        are widened by the square root of two about chance, see
        :func:`neurosal.inference.prediction_test`.
    n_permutations : int
        How many shuffles.
    seed : int
        Of the shuffles.

    Returns
    -------
    xarray.Dataset
        ``observed`` accuracy, ``chance`` (its expectation), ``p`` and ``null`` (permutation,).

    Raises
    ------
    ArgumentError
        If the arrays differ in length, or no run has two labels to exchange.

    Examples
    --------
    >>> y = np.tile(["lh", "rh"], 12)
    >>> found = shuffled_accuracy(y, y, np.repeat([1, 2, 3], 8))
    >>> found["observed"].item(), found["chance"].item(), found["p"].item() < 0.001
    (1.0, 0.5, True)
    """
    (predicted, y), codes = checked_labels(y, runs, predicted, n_permutations=n_permutations)
    chance = _chance(predicted, y, codes)
    orders = shuffled_orders(codes, n_permutations, seed=seed)
    right = np.array([np.mean(y[order] == predicted) for order in orders])
    null = chance + (right - chance) * (np.sqrt(2) if cross_validated else 1.0)
    observed = float(np.mean(predicted == y))
    data = {"observed": observed, "chance": chance, "p": share_reaching(null, observed)}
    return xr.Dataset(data | {"null": ("permutation", null)})


def checked_labels(
    y: object, runs: object, *more: object, n_permutations: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Bring labels to arrays and number the runs, or say what does not fit.

    Parameters
    ----------
    y : array-like of shape (sample,)
        Labels.
    runs : array-like of shape (sample,)
        Runs.
    *more : array-like of shape (sample,)
        What has one value for each sample, too.
    n_permutations : int
        How many shuffles are asked for.

    Returns
    -------
    arrays : list of numpy.ndarray
        ``more``, then ``y``.
    codes : numpy.ndarray of int
        The number of each sample's run.

    Raises
    ------
    ArgumentError
        If the arrays differ in length or have no class in common, no run has two labels to
        exchange, or nothing is shuffled.

    Examples
    --------
    >>> checked_labels(["a", "b"], ["LR", "LR"], n_permutations=1)[1].tolist()
    [0, 0]
    """
    check_number("n_permutations", n_permutations, low=1, whole=True)
    codes = np.unique(np.asarray(runs), return_inverse=True)[1]
    arrays = [np.asarray(one) for one in (*more, y)]
    shapes = [one.shape for one in (*arrays, codes)]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1:
        raise ArgumentError(
            "Labels, predictions and runs must have one value for each sample. Got the shapes "
            f"{', '.join(map(str, shapes))}."
        )
    mixed = pd.Series(arrays[-1]).groupby(codes).nunique() > 1
    if not mixed.any():
        raise ArgumentError(
            "Each run has windows of one condition only: within runs there is nothing to exchange. "
            "Give runs= larger units within which the labels could have come in another order."
        )
    *others, labels = (one.tolist() for one in arrays)
    for one in others:
        if not set(one) & set(labels):
            raise ArgumentError(
                f"Predictions and labels have no class in common: {one[0]!r} and the like against "
                f"{labels[0]!r}. Give both as the same names or numbers."
            )
    return arrays, codes


def shuffled_orders(codes: np.ndarray, n: int, *, seed: int) -> Iterator[np.ndarray]:
    """Yield orders of the samples in which each stays within its run.

    Parameters
    ----------
    codes : numpy.ndarray of int
        The number of each sample's run.
    n : int
        How many orders.
    seed : int
        Of the shuffles.

    Yields
    ------
    numpy.ndarray of int
        (sample,) positions.

    Examples
    --------
    >>> order = next(shuffled_orders(np.array([0, 0, 1, 1]), 1, seed=0))
    >>> sorted(order[:2].tolist()), sorted(order[2:].tolist())
    ([0, 1], [2, 3])
    """
    rng = np.random.default_rng(seed)
    places = np.argsort(codes, kind="stable")
    for start in range(0, n, _BLOCK):
        draws = rng.random((min(_BLOCK, n - start), len(codes)))
        orders = np.empty(draws.shape, dtype=np.int64)
        orders[:, places] = np.argsort(codes + draws, axis=1)
        yield from orders


def share_reaching(null: np.ndarray, observed: float) -> float:
    """Count one plus the shuffles that reach the score, over one plus all.

    Parameters
    ----------
    null : numpy.ndarray
        Scores of the shuffles.
    observed : float
        The score.

    Returns
    -------
    float
        The p-value, above 0.

    References
    ----------
    Phipson & Smyth (2010), Permutation p-values should never be zero.
    https://doi.org/10.2202/1544-6115.1585

    Examples
    --------
    >>> share_reaching(np.array([0.4, 0.5, 0.6]), 0.6)
    0.5
    """
    return float((1 + (null >= observed - _SLACK).sum()) / (1 + len(null)))


def _chance(predicted: np.ndarray, y: np.ndarray, codes: np.ndarray) -> float:
    """Expect the accuracy over all orders within runs."""
    expected = 0.0
    for code in np.unique(codes):
        true, guess = (pd.Series(one[codes == code]).value_counts() for one in (y, predicted))
        expected += float((true * guess.reindex(true.index).fillna(0)).sum() / true.sum())
    return expected / len(y)
