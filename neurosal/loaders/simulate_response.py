"""When the regions respond: blocks and cues through the canonical haemodynamic response.

A response is the boxcar of a block convolved with the response to a brief event (Glover 1999) and
scaled so that its peak is the amplitude of the region.

References
----------
Glover (1999) https://doi.org/10.1006/nimg.1998.0419
"""

from functools import cache
from zlib import crc32

import numpy as np
import pandas as pd
import xarray as xr
from nilearn.glm.first_level import glover_hrf

from neurosal.labelled import region_coordinates
from neurosal.loaders.simulate_noise import NoiseModel
from neurosal.loaders.simulate_tasks import T_R, TASKS, block_events, task_conditions

TRUTH_SECONDS = 45.0
_STEP = 0.01


def block_response(time_s: np.ndarray, duration: float) -> np.ndarray:
    """Convolve a boxcar with the canonical haemodynamic response.

    Parameters
    ----------
    time_s : numpy.ndarray
        Seconds since the block began, any shape.
    duration : float
        Length of the block in seconds.

    Returns
    -------
    numpy.ndarray
        The response, its highest value scaled to 1, shape of ``time_s``.

    Examples
    --------
    >>> block_response(np.array([-1.0, 0.0, 4.0, 10.0, 20.0]), 12.0).round(2).tolist()
    [0.0, 0.0, 0.24, 0.99, -0.3]
    """
    grid, step_response = _step_response()

    def boxcar(at: np.ndarray) -> np.ndarray:
        return np.interp(at, grid, step_response) - np.interp(at - duration, grid, step_response)

    return boxcar(np.asarray(time_s, dtype=float)) / boxcar(np.arange(0, 64, _STEP)).max()


@cache
def _step_response() -> tuple[np.ndarray, np.ndarray]:
    """The response to a block without end, on a fine grid of seconds."""
    kernel = glover_hrf(t_r=_STEP, oversampling=1, time_length=32.0)
    return np.arange(len(kernel) + 1) * _STEP, np.concatenate([[0.0], np.cumsum(kernel)])


def expected_response(
    task: str, amplitudes: pd.DataFrame, *, regions: pd.DataFrame
) -> xr.DataArray:
    """Give the noise-free response to one block of each condition, and its cue.

    Parameters
    ----------
    task : str
        One of the seven tasks.
    amplitudes : pandas.DataFrame
        From :func:`~neurosal.loaders.simulate_regions.amplitude_matrix`, in percent signal change.
    regions : pandas.DataFrame
        The atlas's region table.

    Returns
    -------
    xarray.DataArray
        ``(condition, time, region)`` in percent signal change; ``time`` in seconds from the
        block's onset in its event file, 0 to 45 s in steps of 0.72 s. The block stands alone:
        what earlier blocks leave behind is not part of it. The coordinate ``task`` lies on
        ``condition``.

    Examples
    --------
    >>> from neurosal.loaders.simulate_regions import amplitude_matrix
    >>> regions = pd.DataFrame(
    ...     {"label_id": [7], "name": ["A"], "network": ["N"], "hemisphere": ["L"]})
    >>> table = pd.DataFrame({"condition": ["t"], "label_id": [7], "amplitude": [1.0]})
    >>> amplitudes = amplitude_matrix("MOTOR", table, regions=regions)
    >>> truth = expected_response("MOTOR", amplitudes, regions=regions)
    >>> round(float(truth.sel(condition="t").max()), 2)
    1.0
    """
    design, conditions = TASKS[task], task_conditions(task)
    times = np.arange(0, TRUTH_SECONDS, T_R)
    cue = np.zeros_like(times)
    if design.cue:
        since_cue = times if design.cue_inside else times + design.cue
        cue = block_response(since_cue, design.cue)
    values = [
        np.outer(block_response(times, design.durations[name]), amplitudes.loc[name])
        + np.outer(cue, amplitudes.loc["cue"])
        for name in conditions
    ]
    coords = {"condition": conditions, "time": times, **region_coordinates(regions)}
    coords["task"] = ("condition", [task] * len(conditions))
    return xr.DataArray(np.stack(values), dims=("condition", "time", "region"), coords=coords)


def run_response(
    task: str,
    run: str,
    *,
    amplitudes: pd.DataFrame,
    noise: NoiseModel,
    subject: int,
    seed: int,
) -> np.ndarray:
    """Compute what the task does to each region in one run of one subject.

    Parameters
    ----------
    task, run : str
        One of the seven tasks; ``"LR"`` or ``"RL"``.
    amplitudes : pandas.DataFrame
        From :func:`~neurosal.loaders.simulate_regions.amplitude_matrix`, in percent signal change.
    noise : NoiseModel
        Of which ``amplitude_sd``, ``block_sd`` and ``delay_sd`` are used.
    subject, seed : int
        Number of the subject and of the study, from 0.

    Returns
    -------
    numpy.ndarray
        ``(time, region)`` in percent signal change, float64. A subject's delay and amplitudes
        (one a condition and region) are the same in all runs; each block varies by a factor.

    Examples
    --------
    >>> from neurosal.loaders.simulate_regions import amplitude_matrix
    >>> table = pd.DataFrame({"condition": ["t"], "label_id": [1], "amplitude": [1.0]})
    >>> amplitudes = amplitude_matrix("MOTOR", table, regions=pd.DataFrame({"label_id": [1]}))
    >>> parts = {"noise": NoiseModel(), "subject": 0, "seed": 0}
    >>> run_response("MOTOR", "LR", amplitudes=amplitudes, **parts).shape
    (284, 1)
    """
    person = np.random.default_rng(seed_for(seed, subject))
    delay = noise.delay_sd * person.standard_normal()
    ours = np.random.default_rng(seed_for(seed, subject, task))
    own = amplitudes.to_numpy() * _around_one(ours, noise.amplitude_sd, amplitudes.shape)
    each = np.random.default_rng(seed_for(seed, subject, task, run, "blocks"))
    events = block_events(task, run).query("kind != 'trial'")
    gains = _around_one(each, noise.block_sd, len(events))
    times = np.arange(TASKS[task].n_volumes) * T_R
    out = np.zeros((len(times), amplitudes.shape[1]))
    for event, gain in zip(events.itertuples(), gains, strict=True):
        course = block_response(times - event.onset - delay, event.duration)
        out += gain * np.outer(course, own[amplitudes.index.get_loc(event.trial_type)])
    return out


def seed_for(seed: int, subject: int, *names: str) -> np.random.SeedSequence:
    """Give each subject, task and run random numbers of its own.

    Parameters
    ----------
    seed, subject : int
        Number of the study and of the subject, from 0.
    *names : str
        What else tells the stream apart (task, run, purpose).

    Returns
    -------
    numpy.random.SeedSequence
        The same for the same arguments, whatever else is simulated.

    Examples
    --------
    >>> seed_for(0, 1, "MOTOR").spawn_key == seed_for(0, 1, "WM").spawn_key
    False
    """
    return np.random.SeedSequence(seed, spawn_key=(subject, *(crc32(n.encode()) for n in names)))


def _around_one(rng: np.random.Generator, sd: float, shape: tuple | int) -> np.ndarray:
    """Lognormal factors whose mean is one."""
    return rng.lognormal(-(sd**2) / 2, sd, shape)
