"""Sign flips: what a mean over subjects would be if each subject's map could as well be its mirror.

A map is flipped as a whole, so that the ties between its cells stay as they are; the largest t over
the cells of each flipped data set gives p-values that hold for all cells together (max-T).
"""

from typing import NamedTuple

import numpy as np

from neurosal.errors import ArgumentError, DataError, check_number, check_one_of

TAILS = ("two-sided", "greater", "less")
_CHUNK = 2**23  # numbers in the largest matrix of flipped means: 64 MiB
_TIE = 1e-9  # of correlations: what differs by less is rounding


class SignFlips(NamedTuple):
    """What :func:`sign_flip_test` finds; arrays have the shape of one subject's values.

    Attributes
    ----------
    t : numpy.ndarray
        Student's t of the mean over subjects.
    p_uncorrected : numpy.ndarray
        The p-value of each cell by itself.
    p_max_t : numpy.ndarray
        Corrected for all cells: the family-wise error is held.
    n_flips : int
        How many data sets were compared, the observed one among them.
    exact : bool
        Whether these are all there are.

    Examples
    --------
    >>> SignFlips(np.zeros(1), np.ones(1), np.ones(1), 8, True).n_flips
    8
    """

    t: np.ndarray
    p_uncorrected: np.ndarray
    p_max_t: np.ndarray
    n_flips: int
    exact: bool


def sign_flip_test(
    values: np.ndarray,
    *,
    tail: str = "two-sided",
    n_permutations: int = 5000,
    seed: int = 0,
    signs: np.ndarray | None = None,
) -> SignFlips:
    """Test whether means over subjects differ from zero, by flipping the signs of subjects.

    The null hypothesis is that the values of each subject, all cells together, are as likely as
    their negatives. Subjects may differ in scale. Nothing is checked here of what the values are:
    values that cannot be negative are significant everywhere, see
    :func:`~neurosal.inference.group.group_test`.

    Parameters
    ----------
    values : numpy.ndarray
        Of shape (subject, ...), one value a subject and cell, for instance (subject, time, region).
        Finite, and in no cell the same for every subject.
    tail : {"two-sided", "greater", "less"}
        What is looked for: means that differ from zero, are above it, or below.
    n_permutations : int
        The most flips besides the observed data. If there are no more than that, each is taken once
        and the test is exact.
    seed : int
        Of the random flips.
    signs : numpy.ndarray or None
        Flips of your own, of shape (flip, subject): 1 and -1, without the observed data (all 1).

    Returns
    -------
    SignFlips
        t, p-values (the observed data counts as one of the flips: p is never 0), number of flips.

    Raises
    ------
    ArgumentError
        If an argument does not fit.
    DataError
        If there are fewer than two subjects, values are not finite, or a cell is constant.

    References
    ----------
    Nichols & Holmes (2002), Nonparametric permutation tests for functional neuroimaging.
    https://doi.org/10.1002/hbm.1058

    Winkler et al. (2014), Permutation inference for the general linear model.
    https://doi.org/10.1016/j.neuroimage.2014.01.060

    Phipson & Smyth (2010), Permutation p-values should never be zero.
    https://doi.org/10.2202/1544-6115.1585

    Examples
    --------
    >>> values = np.random.default_rng(0).standard_normal((10, 4)) + [3, 0, 0, 0]
    >>> result = sign_flip_test(values)
    >>> (result.p_max_t < 0.05).tolist(), result.n_flips, result.exact
    ([True, False, False, False], 512, True)
    """
    check_one_of("tail", tail, TAILS)
    values = np.asarray(values, dtype=np.float64)
    x = values.reshape(len(values), -1)
    check_values(x)
    two_sided = tail == "two-sided"
    if signs is None:
        signs, exact = draw_signs(
            len(x), n_permutations=n_permutations, two_sided=two_sided, seed=seed
        )
    else:
        signs, exact = _own_signs(signs, len(x)), False
    upward = (-x if tail == "less" else x) / np.abs(x).max(axis=0)
    correlations = upward / np.sqrt(len(x) * (upward**2).sum(axis=0))
    observed = correlations.sum(axis=0)
    p, p_max = _p_values(correlations, observed, signs, two_sided=two_sided)
    t = x.mean(axis=0) / (x.std(axis=0, ddof=1) / np.sqrt(len(x)))
    shape = values.shape[1:]
    t, p, p_max = (one.reshape(shape) for one in (t, p, p_max))
    return SignFlips(t, p, p_max, len(signs) + 1, exact)


def draw_signs(
    n_subjects: int, *, n_permutations: int, two_sided: bool, seed: int = 0
) -> tuple[np.ndarray, bool]:
    """List all sign flips but the observed data, or draw some at random if there are too many.

    Parameters
    ----------
    n_subjects : int
        How many signs a flip has.
    n_permutations : int
        The most flips.
    two_sided : bool
        True leaves out the mirror of each flip, whose absolute t is the same.
    seed : int
        Of the random flips.

    Returns
    -------
    tuple of numpy.ndarray and bool
        1 and -1 of shape (flip, subject), and whether these are all.

    Raises
    ------
    ArgumentError
        If ``n_permutations`` is no whole number of at least 1.

    Examples
    --------
    >>> draw_signs(3, n_permutations=9, two_sided=True)[0].tolist()
    [[-1, 1, 1], [1, -1, 1], [-1, -1, 1]]
    """
    check_number("n_permutations", n_permutations, low=1, whole=True)
    free = n_subjects - two_sided
    if free < 60 and 2**free - 1 <= n_permutations:
        bits = np.arange(1, 2**free)[:, None] >> np.arange(n_subjects) & 1
        return (1 - 2 * bits).astype(np.int8), True
    drawn = np.random.default_rng(seed).integers(0, 2, (n_permutations, n_subjects), dtype=np.int8)
    return 2 * drawn - 1, False


def check_values(x: np.ndarray) -> None:
    """Refuse values for which t is not defined.

    Parameters
    ----------
    x : numpy.ndarray
        Of shape (subject, cell).

    Raises
    ------
    DataError
        If there are fewer than two subjects or no cells, values are not finite, or a cell has the
        same value for every subject.

    Examples
    --------
    >>> check_values(np.ones((3, 2)))
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: 2 of 2 cells have the same value for every subject: ...
    """
    if len(x) < 2 or x.shape[1] == 0:
        raise DataError(
            f"values hold {len(x)} subject(s) and {x.shape[1]} cell(s): a test over subjects needs "
            "two subjects and one cell at least."
        )
    if not np.isfinite(x).all():
        raise DataError(
            f"{(~np.isfinite(x)).any(axis=0).sum()} of {x.shape[1]} cells hold NaN or infinite "
            "values. Leave them out."
        )
    constant = constant_cells(x)
    if constant.any():
        raise DataError(
            f"{constant.sum()} of {x.shape[1]} cells have the same value for every subject: their "
            "t is not defined. Leave them out."
        )


def constant_cells(x: np.ndarray) -> np.ndarray:
    """Tell the cells that have the same value for every subject, but for rounding.

    Parameters
    ----------
    x : numpy.ndarray
        Of shape (subject, cell).

    Returns
    -------
    numpy.ndarray of bool
        Of shape (cell,); False where a value is NaN.

    Examples
    --------
    >>> constant_cells(np.array([[0.1 + 0.2, 1], [0.3, 2]])).tolist()
    [True, False]
    """
    return np.ptp(x, axis=0) <= 1e-12 * np.abs(x).max(axis=0)


def _own_signs(signs: np.ndarray, n_subjects: int) -> np.ndarray:
    """Check flips that a user gives."""
    signs = np.asarray(signs)
    fits = signs.ndim == 2 and len(signs) and signs.shape[1] == n_subjects
    if not fits or not np.isin(signs, (-1, 1)).all():
        raise ArgumentError(
            f"signs must hold 1 and -1 in the shape (flip, {n_subjects} subjects). Got shape "
            f"{signs.shape}."
        )
    return signs


def _p_values(
    correlations: np.ndarray, observed: np.ndarray, signs: np.ndarray, *, two_sided: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Count the flips that reach what was observed, cell by cell and by their largest cell.

    The correlation of a subject's signs with its values rises with t, and needs no variance anew.
    """
    size = np.abs(observed) if two_sided else observed
    reached, largest = np.zeros(len(size), dtype=np.int64), np.empty(len(signs))
    rows = max(1, _CHUNK // len(size))
    for start in range(0, len(signs), rows):
        flipped = signs[start : start + rows].astype(np.float64) @ correlations
        if two_sided:
            np.abs(flipped, out=flipped)
        reached += (flipped >= size - _TIE).sum(axis=0)
        largest[start : start + rows] = flipped.max(axis=1)
    above = len(signs) - np.searchsorted(np.sort(largest), size - _TIE, side="left")
    return (1 + reached) / (1 + len(signs)), (1 + above) / (1 + len(signs))
