"""Frames with too much head motion: how far the head moved, which frames to keep, how to bridge.

A frame is scrubbed if the head moved by more than a threshold since the frame before. Scrubbed
frames do not take part in cleaning (:func:`~neurosal.loaders.confounds.clean_series`), and are
bridged linearly so that time stays even; a window with too many of them is left out
(:func:`~neurosal.loaders.events.make_windows`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.loaders.runs import DISPLACEMENTS, Run, shorten

HEAD_RADIUS = 50.0  # mm; a rotation moves a point on a sphere of this size
LARGEST_TURN = 0.5  # radians; more than any head turns within a run
_TRANSLATIONS, _ROTATIONS = ([f"{kind}_{axis}" for axis in "xyz"] for kind in ("trans", "rot"))


def framewise_displacement(run: Run, *, rotations: str | None = None) -> pd.Series:
    """Tell how far the head moved from each frame to the next.

    The first of these that the run's confounds have: ``framewise_displacement``, fMRIPrep's;
    ``rmsd``, the relative root mean square displacement (Jenkinson et al. 2002,
    doi:10.1006/nimg.2002.1132), which the HCP has as ``Movement_RelativeRMS.txt`` and which is
    about half as large for the same motion; or else Power's sum of the absolute changes of the six
    motion parameters, rotations taken as arcs on a sphere of 50 mm (Power et al. 2012,
    doi:10.1016/j.neuroimage.2011.10.018).

    Parameters
    ----------
    run : Run
        A run with confounds.
    rotations : {"radians", "degrees"}, optional
        Unit of ``rot_x``, ``rot_y``, ``rot_z``; None takes ``run.rotations``.

    Returns
    -------
    pandas.Series of shape (n_volumes,)
        Millimetres; 0 at the first frame. Its name tells the measure: ``framewise_displacement``,
        ``rmsd`` or ``power``.

    Raises
    ------
    DataError
        If the run has no such confounds, values are missing, or rotations said to be in radians
        can only be degrees.

    Examples
    --------
    >>> moved = pd.DataFrame(0.0, index=range(3), columns=[*_TRANSLATIONS, *_ROTATIONS])
    >>> moved.loc[1:, "trans_x"], moved.loc[2, "rot_z"] = 0.3, 0.01
    >>> run = Run("x.nii", pd.DataFrame(), 2.0, subject="1", task="t", confounds=moved)
    >>> framewise_displacement(run).tolist()
    [0.0, 0.3, 0.5]
    """
    table = _confounds(run)
    named = next((name for name in DISPLACEMENTS if name in table), None)
    if named is not None:
        distance = pd.to_numeric(table[named], errors="coerce").astype(float).copy()
        distance.iloc[:1] = distance.iloc[:1].fillna(0.0)
    else:
        distance = _power(run, table, check_rotations(rotations or run.rotations))
    if not np.isfinite(distance).all():
        where = np.flatnonzero(~np.isfinite(distance))
        raise DataError(
            f"{run.label}: the displacement {distance.name!r} is missing at the frames "
            f"{shorten(where)} (from 0). Correct the confounds, or do not scrub."
        )
    return distance.reset_index(drop=True)


def check_rotations(unit: str) -> str:
    """Return the unit of rotations if there is such a unit.

    Parameters
    ----------
    unit : str
        ``"radians"`` (fMRIPrep, FSL, SPM) or ``"degrees"`` (HCP, AFNI).

    Returns
    -------
    str
        ``unit``, unchanged.

    Raises
    ------
    ArgumentError
        If it is another.

    Examples
    --------
    >>> check_rotations("degrees")
    'degrees'
    """
    return check_one_of("rotations", unit, ("radians", "degrees"))


def scrub_mask(run: Run, scrub_mm: float, *, rotations: str | None = None) -> np.ndarray:
    """Mark the frames to keep: those that the head reached by a small enough move.

    Parameters
    ----------
    run : Run
        A run with confounds.
    scrub_mm : float
        Largest displacement of a frame that is kept, in mm, by the measure that
        :func:`framewise_displacement` finds. 0.5 is common for Power's, 0.25 for ``rmsd``.
    rotations : {"radians", "degrees"}, optional
        Unit of the rotations; None takes ``run.rotations``.

    Returns
    -------
    numpy.ndarray of bool, shape (n_volumes,)
        True where a frame is kept.

    Raises
    ------
    ArgumentError
        If the threshold is no positive number.
    DataError
        If the displacement is unknown.

    Examples
    --------
    >>> moved = pd.DataFrame({"framewise_displacement": [np.nan, 0.1, 0.7]})
    >>> run = Run("x.nii", pd.DataFrame(), 2.0, subject="1", task="t", confounds=moved)
    >>> scrub_mask(run, 0.5).tolist()
    [True, True, False]
    """
    number = isinstance(scrub_mm, int | float | np.number) and not isinstance(scrub_mm, bool)
    if not number or not 0 < scrub_mm < np.inf:
        raise ArgumentError(
            f"scrub_mm must be a number of millimetres greater than 0. Got {scrub_mm!r}."
        )
    return framewise_displacement(run, rotations=rotations).to_numpy() <= scrub_mm


def as_mask(
    sample_mask: np.ndarray | Sequence | None, n_frames: int, where: str = "The run"
) -> np.ndarray | None:
    """Bring a mask of frames to booleans.

    Parameters
    ----------
    sample_mask : array of bool, shape (n_frames,), or of int, or None
        True where a frame is kept, or the indices of the frames kept, as nilearn has it.
    n_frames : int
        Frames of the run.
    where : str
        The run's name, for messages.

    Returns
    -------
    numpy.ndarray of bool, shape (n_frames,), or None
        True where a frame is kept.

    Raises
    ------
    DataError
        If the mask does not fit the run, or keeps nothing.

    Examples
    --------
    >>> as_mask([0, 2], 3).tolist()
    [True, False, True]
    """
    if sample_mask is None:
        return None
    given = np.asarray(sample_mask)
    if given.dtype == bool and given.shape == (n_frames,):
        mask = given.copy()
    elif given.ndim == 1 and np.issubdtype(given.dtype, np.integer) and _within(given, n_frames):
        mask = np.zeros(n_frames, dtype=bool)
        mask[given] = True
    else:
        raise DataError(
            f"{where}: sample_mask must be {n_frames} booleans, one a frame, or the rising indices "
            f"of the frames kept. Got {given.dtype} of shape {given.shape}."
        )
    if not mask.any():
        raise DataError(
            f"{where}: all {n_frames} frames are scrubbed. Raise the threshold, or leave the run "
            "out."
        )
    return mask


def fill_scrubbed(series: xr.DataArray, mask: np.ndarray) -> xr.DataArray:
    """Bridge scrubbed frames by straight lines between the kept ones beside them.

    Before the first and after the last kept frame its values are repeated.

    Parameters
    ----------
    series : xarray.DataArray of shape (time, region)
        One run's region series.
    mask : numpy.ndarray of bool, shape (time,)
        True where a frame is kept.

    Returns
    -------
    xarray.DataArray of shape (time, region)
        The series; a boolean coordinate ``scrubbed`` on ``time`` marks the frames bridged.

    Examples
    --------
    >>> series = xr.DataArray([[0.0], [99.0], [4.0]], dims=("time", "region"))
    >>> filled = fill_scrubbed(series, np.array([True, False, True]))
    >>> filled.values.ravel().tolist(), filled.scrubbed.values.tolist()
    ([0.0, 2.0, 4.0], [False, True, False])
    """
    values = np.array(series.values, dtype=np.float64)
    kept, lost = np.flatnonzero(mask), np.flatnonzero(~mask)
    for column in values.T:
        column[lost] = np.interp(lost, kept, column[kept])
    return series.copy(data=values).assign_coords(scrubbed=("time", ~mask))


def _within(indices: np.ndarray, n_frames: int) -> bool:
    """Whether all indices are those of frames, in order; a mask of zeros and ones is not."""
    return bool(((indices >= 0) & (indices < n_frames)).all() and (np.diff(indices) > 0).all())


def _confounds(run: Run) -> pd.DataFrame:
    """The run's confounds, or an error that says what scrubbing needs."""
    if run.confounds is None:
        raise DataError(
            f"{run.label}: no confounds were found beside {run.image_name}, so it is unknown how "
            "the head moved. Put the table of motion beside the run, or do not scrub."
        )
    return run.confounds


def _power(run: Run, table: pd.DataFrame, unit: str) -> pd.Series:
    """Power's framewise displacement from six motion parameters."""
    missing = [name for name in (*_TRANSLATIONS, *_ROTATIONS) if name not in table]
    if missing:
        raise DataError(
            f"{run.label}: scrubbing needs a column {' or '.join(map(repr, DISPLACEMENTS))}, or "
            f"all six motion parameters; missing: {', '.join(missing)}. Columns found: "
            f"{shorten(table.columns)}."
        )
    turns = table[_ROTATIONS].to_numpy(dtype=float)
    if unit == "degrees":
        turns = np.deg2rad(turns)
    elif np.nanmax(np.ptp(turns, axis=0), initial=0.0) > LARGEST_TURN:
        raise DataError(
            f"{run.label}: the rotations differ by up to {np.ptp(turns, axis=0).max():.3g} within "
            "the run, which cannot be radians. Give rotations='degrees'."
        )
    moves = table[_TRANSLATIONS].to_numpy(dtype=float)
    steps = np.abs(np.diff(np.hstack([moves, HEAD_RADIUS * turns]), axis=0)).sum(axis=1)
    return pd.Series(np.concatenate([[0.0], steps]), name="power")
