"""Clusters of neighbouring cells, tested as wholes by mne."""

import warnings

import numpy as np
from scipy import sparse, stats

from neurosal.errors import ArgumentError, check_one_of
from neurosal.inference.signflip import TAILS, check_values

FORMING_P = 0.001
_TFCE_STEP = 0.2
_TIE = 1e-9  # of a mass: what differs by less is rounding


def cluster_test(
    values: np.ndarray,
    adjacency: sparse.sparray | sparse.spmatrix,
    *,
    threshold: float | str | None = None,
    tail: str = "two-sided",
    n_permutations: int = 5000,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Test clusters of neighbouring cells for means over subjects that differ from zero.

    Cells whose t exceeds the threshold join with like-signed neighbours; the mass of a cluster (sum
    of t) is compared with the largest mass of every data set with flipped signs. The p-value is
    that of the cluster as a whole: it says that there is something, not that each of its cells, its
    edges or its first moment are significant. Threshold-free cluster enhancement (TFCE) gives every
    cell its own p-value, which is lower for cells with support around them.

    Parameters
    ----------
    values : numpy.ndarray
        Of shape (subject, cell); finite, and in no cell the same for every subject.
    adjacency : scipy.sparse array
        1 for neighbours, of shape (cell, cell).
    threshold : float, "tfce" or None
        The t that makes a cluster, above 0. None: that of p = .001, each cell by itself; a lower
        threshold finds wider clusters that say less about where. TFCE takes some minutes for
        thousands of cells and flips.
    tail : {"two-sided", "greater", "less"}
        What is looked for: means that differ from zero, are above it, or below.
    n_permutations : int
        The most flips besides the observed data; all of them if there are no more.
    seed : int
        Of the random flips.

    Returns
    -------
    p : numpy.ndarray
        Of shape (cell,), family-wise corrected; 1 outside of clusters. One-sided tests of all flips
        count the observed data twice (as mne does), which is on the safe side.
    clusters : numpy.ndarray of int
        Of shape (cell,): the cluster's number, from 1 for the largest mass; 0 outside, and
        everywhere for TFCE.

    Raises
    ------
    ArgumentError
        If an argument does not fit or mne is not installed.
    DataError
        If there are fewer than two subjects, values are not finite, or a cell is constant.

    References
    ----------
    Maris & Oostenveld (2007), Nonparametric statistical testing of EEG- and MEG-data.
    https://doi.org/10.1016/j.jneumeth.2007.03.024

    Smith & Nichols (2009), Threshold-free cluster enhancement.
    https://doi.org/10.1016/j.neuroimage.2008.03.061

    Woo et al. (2014), Cluster-extent based thresholding in fMRI analyses: pitfalls.
    https://doi.org/10.1016/j.neuroimage.2013.12.058

    Sassenhagen & Draschkow (2019), Cluster-based permutation tests of MEG/EEG data do not establish
    significance of effect latency or location. https://doi.org/10.1111/psyp.13335

    Examples
    --------
    >>> values = np.random.default_rng(0).standard_normal((10, 6)) + [2, 2, 0, 0, 0, 0]
    >>> p, clusters = cluster_test(values, sparse.diags_array([1.0] * 5, offsets=1, shape=(6, 6)))
    >>> clusters.tolist(), bool(p[0] < 0.01)
    ([1, 1, 0, 0, 0, 0], True)
    """
    check_one_of("tail", tail, TAILS)
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 2 or adjacency.shape != (x.shape[1], x.shape[1]):
        raise ArgumentError(
            f"values must have the shape (subject, cell) and adjacency (cell, cell). Got {x.shape} "
            f"and {adjacency.shape}."
        )
    check_values(x)
    x = -x if tail == "less" else x
    two_sided = tail == "two-sided"
    forming = _forming_threshold(threshold, len(x), two_sided=two_sided)
    mne_stats = import_mne_stats()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No clusters found", category=RuntimeWarning)
        t, found, _, null = mne_stats.permutation_cluster_1samp_test(
            x,
            threshold=forming,
            n_permutations=n_permutations + 1,
            tail=0 if two_sided else 1,
            adjacency=_both_ways(adjacency),
            out_type="indices",
            rng=np.random.default_rng(seed),
            verbose="ERROR",
        )
    if isinstance(forming, dict):
        return _p_values(t, null, two_sided=two_sided), np.zeros(x.shape[1], dtype=np.int64)
    cells = [one[0] for one in found]
    masses = np.array([t[one].sum() for one in cells])
    return _by_cell(cells, masses, _p_values(masses, null, two_sided=two_sided), x.shape[1])


def space_time_adjacency(
    regions: sparse.sparray | sparse.spmatrix, n_times: int, n_conditions: int = 1
) -> sparse.csr_array:
    """Join regions with their neighbours, and each region with itself one step away in time.

    Parameters
    ----------
    regions : scipy.sparse array
        1 for neighbours, of shape (region, region).
    n_times : int
        How many time steps there are.
    n_conditions : int
        How many conditions there are; cells of two conditions are no neighbours.

    Returns
    -------
    scipy.sparse.csr_array
        Of shape (cell, cell), where cells are (condition, time, region) in this order.

    Raises
    ------
    ArgumentError
        If mne is not installed.

    Examples
    --------
    >>> space_time_adjacency(sparse.csr_array([[0, 1], [1, 0]]), 2).toarray().astype(int).tolist()
    [[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]]
    """
    one = import_mne_stats().combine_adjacency(n_times, sparse.coo_array(_both_ways(regions)))
    one = sparse.csr_array(one)
    one.setdiag(0)
    one.eliminate_zeros()
    return sparse.csr_array(sparse.block_diag([one] * n_conditions))


def import_mne_stats() -> object:
    """Import mne's statistics, or say how to get them.

    Returns
    -------
    module
        ``mne.stats``.

    Raises
    ------
    ArgumentError
        If mne is not installed.

    Examples
    --------
    >>> import_mne_stats().__name__
    'mne.stats'
    """
    try:
        from mne import stats as mne_stats
    except ImportError as error:
        raise ArgumentError(
            "correction='cluster' needs mne, which is not installed. Install it with: "
            'python -m pip install "neurosal[stats]"; or choose correction="max-t".'
        ) from error
    return mne_stats


def _forming_threshold(threshold: object, n_subjects: int, *, two_sided: bool) -> float | dict:
    """Turn the threshold into what mne takes."""
    if threshold is None:
        return float(stats.t.isf(FORMING_P / (1 + two_sided), n_subjects - 1))
    if isinstance(threshold, str) and threshold == "tfce":
        return {"start": 0, "step": _TFCE_STEP}
    if isinstance(threshold, int | float | np.number) and 0 < threshold < np.inf:
        return float(threshold)
    raise ArgumentError(f"threshold must be a t above 0, 'tfce' or None. Got {threshold!r}.")


def _both_ways(adjacency: sparse.sparray | sparse.spmatrix) -> sparse.coo_array:
    """Make neighbours mutual, as ones."""
    one_way = sparse.csr_array(adjacency) != 0
    return sparse.coo_array(((one_way + one_way.T) != 0).astype(np.float64))


def _p_values(masses: np.ndarray, null: np.ndarray, *, two_sided: bool) -> np.ndarray:
    """Count the data sets whose largest mass reaches each; the observed one is among them.

    Not mne's own p-values: it sums the observed data in another way than the flipped, so that
    flips of a subject that is zero in a whole cluster miss the mass that they tie with.
    """
    size, null = (np.abs(masses), np.abs(null)) if two_sided else (masses, null)
    least = size - _TIE * np.abs(size)
    return np.array([np.mean(null >= one) for one in least])


def _by_cell(
    found: list[np.ndarray], masses: np.ndarray, p_values: np.ndarray, n_cells: int
) -> tuple[np.ndarray, np.ndarray]:
    """Lay the clusters out over the cells, the heaviest first."""
    p, numbers = np.ones(n_cells), np.zeros(n_cells, dtype=np.int64)
    for number, place in enumerate(np.argsort(-np.abs(masses), kind="stable"), start=1):
        p[found[place]], numbers[found[place]] = p_values[place], number
    return p, numbers
