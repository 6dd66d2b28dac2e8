"""Which cells of a group's maps can be tested, and how each subject's map is centred on them."""

import numpy as np

from neurosal.inference.signflip import constant_cells

TESTED, MISSING, CONSTANT = 0, 1, 2
MEANINGS = "tested missing constant"
_ROUNDING = 1e-12  # of a value: what differs from the mean by less does not differ


def cell_status(values: np.ndarray) -> np.ndarray:
    """Tell which cells can be tested.

    Parameters
    ----------
    values : numpy.ndarray
        Of shape (subject, ...).

    Returns
    -------
    numpy.ndarray of int8
        Of the shape of one subject: 0 tested; 1 missing, NaN for some subject (a region outside of
        a field of view); 2 constant, the same for every subject (screened to zero): t is undefined.

    Examples
    --------
    >>> cell_status(np.array([[1.0, np.nan, 0.0], [2.0, 1.0, 0.0]])).tolist()
    [0, 1, 2]
    """
    missing = np.isnan(values).any(axis=0)
    flat = np.where(missing, 0.0, values).reshape(len(values), -1)
    constant = constant_cells(flat).reshape(missing.shape)
    return np.where(missing, MISSING, np.where(constant, CONSTANT, TESTED)).astype(np.int8)


def centred(values: np.ndarray, status: np.ndarray, center: str | None) -> np.ndarray:
    """Subtract from each subject's map its mean over the cells that are tested.

    Parameters
    ----------
    values : numpy.ndarray
        Of shape (subject, condition, time, region).
    status : numpy.ndarray
        What :func:`cell_status` gives.
    center : {None, "map", "time"}
        Nothing, the mean over time and region, or at each time the mean over regions.

    Returns
    -------
    numpy.ndarray
        Of the same shape; cells that are not tested stay as they are.

    Examples
    --------
    >>> values = np.array([[[[1.0, 3.0, 0.0]]], [[[4.0, 8.0, 0.0]]]])
    >>> centred(values, cell_status(values), "map")[:, 0, 0].tolist()
    [[-1.0, 1.0, 0.0], [-2.0, 2.0, 0.0]]
    """
    if center is None:
        return values
    tested = np.broadcast_to(status == TESTED, values.shape)
    over = (2, 3) if center == "map" else (3,)
    sums = np.where(tested, values, 0.0).sum(axis=over, keepdims=True)
    counts = tested.sum(axis=over, keepdims=True)
    apart = values - sums / np.maximum(counts, 1)
    apart = np.where(np.abs(apart) > _ROUNDING * np.abs(values), apart, 0.0)
    return np.where(tested, apart, values)
