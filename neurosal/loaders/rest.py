"""Series measured from rest, for telling tasks apart.

A run is of one task, and cleaning takes its mean away: what the task does throughout is gone with
it. Measured from the frames between the blocks instead, activity during one task can be compared
with that during another, as a contrast of task and fixation does.
"""

import warnings

import numpy as np
import xarray as xr

from neurosal.errors import DataError
from neurosal.loaders.run_warnings import RunWarning
from neurosal.loaders.runs import Run, events_of

RESTING = ("rest", "fixation", "fix", "baseline")  # trial types that are no task
SHORTEST = 10.0  # seconds of rest that a run must have to be measured from it
_FADING = 3.0  # seconds, beyond the lag, until the response to an event has faded


def rest_frames(run: Run, times: np.ndarray, *, lag: float = 5.0) -> np.ndarray:
    """Mark the frames at rest: no event now, nor within the lag and three seconds before.

    Parameters
    ----------
    run : Run
        Its events of every type are heeded, but for those called rest, fixation, fix or baseline.
    times : numpy.ndarray of shape (time,)
        Seconds from the run's start.
    lag : float
        The haemodynamic delay in seconds.

    Returns
    -------
    numpy.ndarray of bool, shape (time,)
        True at rest.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame({"onset": [4.0], "duration": [2.0], "trial_type": ["face"]})
    >>> run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces")
    >>> rest_frames(run, np.arange(0.0, 14.0, 2.0), lag=1.0).tolist()
    [True, True, False, False, False, True, True]
    """
    resting = np.ones(len(times), dtype=bool)
    for event in events_of(run).itertuples():
        if event.trial_type.lower() not in RESTING:
            faded = event.onset + event.duration + lag + _FADING
            resting &= (times < event.onset) | (times >= faded)
    return resting


def measure_from_rest(series: xr.DataArray, run: Run, *, lag: float = 5.0) -> xr.DataArray:
    """Subtract the mean of the frames at rest.

    Parameters
    ----------
    series : xarray.DataArray of shape (time, region)
        One run's cleaned region series. Scrubbed frames do not count.
    run : Run
        The run.
    lag : float
        The haemodynamic delay in seconds.

    Returns
    -------
    xarray.DataArray of shape (time, region)
        The series, with an attribute ``measured_from``: ``"rest"``, or ``"run mean"`` for a run
        that has less than 10 s of rest, which stays as it was and is warned of.

    Raises
    ------
    DataError
        If the series has no times.

    See Also
    --------
    rest_frames : which frames are at rest.

    Examples
    --------
    >>> import pandas as pd
    >>> events = pd.DataFrame({"onset": [12.0], "duration": [8.0], "trial_type": ["face"]})
    >>> run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces")
    >>> values, times = [[1.0]] * 6 + [[3.0]] * 4, np.arange(0.0, 20.0, 2.0)
    >>> series = xr.DataArray(values, dims=("time", "region"), coords={"time": times})
    >>> measure_from_rest(series, run).values.ravel().tolist()
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 2.0, 2.0, 2.0]
    """
    if "time" not in series.coords:
        raise DataError(f"{run.label}: series has no coordinate 'time' (s from the run's start).")
    resting = rest_frames(run, series["time"].values, lag=lag)
    if "scrubbed" in series.coords:
        resting &= ~series["scrubbed"].values
    seconds = resting.sum() * run.t_r
    if seconds < SHORTEST:
        warning = RunWarning(
            run.label,
            "have too little rest to be measured from",
            f"{seconds:.3g} s of rest",
            "Their windows are measured from the run's mean instead, which alone may tell their "
            "task from those measured from rest.",
        )
        warnings.warn(warning, stacklevel=2)
        return series.assign_attrs(measured_from="run mean")
    measured = series - series[resting].mean("time")
    return measured.assign_attrs(series.attrs | {"measured_from": "rest"})
