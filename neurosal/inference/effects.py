"""How large is it? Means over subjects with t, effect sizes and their intervals."""

import numpy as np
from scipy import special, stats

_LARGE = 1000.0  # a t beyond which the noncentral t is a scaled chi, but for 0.0001 of its level


def effect_sizes(
    values: np.ndarray, *, alpha: float = 0.05, tail: str = "two-sided"
) -> dict[str, np.ndarray]:
    """Describe means over subjects.

    Parameters
    ----------
    values : numpy.ndarray
        Of shape (subject, cell), in no cell the same for every subject.
    alpha : float
        The intervals are two-sided and of level ``1 - alpha``, each cell by itself.
    tail : {"two-sided", "greater", "less"}
        Of ``p_t``.

    Returns
    -------
    dict of str to numpy.ndarray
        Of shape (cell,): ``mean`` with ``ci_low`` and ``ci_high``; ``t`` and ``p_t`` of Student's
        one-sample test; Cohen's ``dz`` (mean over standard deviation) with ``dz_low`` and
        ``dz_high``, from the noncentral t distribution.

    References
    ----------
    Cumming & Finch (2001), A primer on the understanding, use, and calculation of confidence
    intervals that are based on central and noncentral distributions.
    https://doi.org/10.1177/0013164401614002

    Examples
    --------
    >>> found = effect_sizes(np.array([[1.0], [2.0], [3.0]]))
    >>> {name: round(float(value[0]), 2) for name, value in found.items()}
    {'mean': 2.0, 'ci_low': -0.48, 'ci_high': 4.48, 't': 3.46, 'p_t': 0.07, 'dz': 2.0, ...}
    """
    test = stats.ttest_1samp(values, 0.0, axis=0, alternative=tail)
    both = test if tail == "two-sided" else stats.ttest_1samp(values, 0.0, axis=0)
    interval = both.confidence_interval(1 - alpha)
    n = len(values)
    low, high = (_noncentrality(n - 1, p, both.statistic) for p in (1 - alpha / 2, alpha / 2))
    return {
        "mean": values.mean(axis=0),
        "ci_low": interval.low,
        "ci_high": interval.high,
        "t": test.statistic,
        "p_t": test.pvalue,
        "dz": test.statistic / np.sqrt(n),
        "dz_low": low / np.sqrt(n),
        "dz_high": high / np.sqrt(n),
    }


def _noncentrality(df: int, p: float, t: np.ndarray) -> np.ndarray:
    """Find the noncentrality for which t is the quantile of p.

    scipy takes time in proportion to t, minutes a cell where subjects differ by rounding only.
    """
    large = np.abs(t) > _LARGE
    found = special.nctdtrinc(df, p, np.where(large, 0.0, t))
    tail = stats.chi2.isf(np.where(t > 0, p, 1 - p), df)
    return np.where(large, t * np.sqrt(tail / df), found)
