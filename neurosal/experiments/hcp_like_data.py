"""Simulated region series of the seven tasks of the Human Connectome Project, with their truth.

The timing, the responding regions, the differences between subjects and the sources of noise are
those of :func:`neurosal.simulate_hcp`, but at the level of the regions: no volume is made. A region
is the mean of its voxels, so their own noise counts by the root of their number; head motion, which
moves edges through voxels, is left out.

A window holds one block, what came before it and what follows. Where and when it tells its task
from the others is known: the response without noise, less the mean over the tasks.
"""

from typing import NamedTuple

import nibabel as nib
import numpy as np
import pandas as pd
import xarray as xr
from scipy.sparse import csr_array

from neurosal.errors import ArgumentError
from neurosal.labelled import region_coordinates
from neurosal.loaders.simulate_noise import (
    NoiseModel,
    autoregressive,
    drift_courses,
    smooth_weights,
)
from neurosal.loaders.simulate_regions import amplitude_matrix, match_peaks
from neurosal.loaders.simulate_response import run_response, seed_for
from neurosal.loaders.simulate_tasks import RUNS, T_R, TASKS, block_events
from neurosal.parcellation.atlas import Atlas, load_atlas

#: Seconds of a window before the block, and its steps of 0.72 s (42 s).
BEFORE, N_STEPS = 6.0, 58
#: A task's influence lags behind its blocks by this many seconds.
DELAY = 5.0
#: Share of the largest difference from the other tasks from which a cell counts as true.
THRESHOLD = 0.5
BLOCKS_A_RUN = 4
SPACING = 12.0


class Windows(NamedTuple):
    """Windows ``x`` and where the tasks are.

    Attributes
    ----------
    x : xarray.DataArray
        (sample, time, region); ``condition`` on ``sample`` is the task.
    truth : numpy.ndarray of bool
        As ``x``: cells that tell the sample's task from the others.
    on : numpy.ndarray of bool
        (sample, time): a block of the task acts on the step, :data:`DELAY` after its beginning.
    """

    x: xr.DataArray
    truth: np.ndarray
    on: np.ndarray


class Study(NamedTuple):
    """What all subjects share: regions, what neighbours have in common, each task's amplitudes."""

    atlas: Atlas
    near: csr_array
    voxels: np.ndarray
    amplitudes: dict[str, pd.DataFrame]


def make_hcp_like(
    *, seed: int = 0, n_train: int = 12, n_test: int = 4, effect_size: float = 1.0
) -> tuple[Windows, Windows]:
    """Simulate windows of seven tasks; the test windows are of other subjects.

    Each region is standardised by the training windows' mean and standard deviation.

    Parameters
    ----------
    seed : int
        Same seed, same windows.
    n_train, n_test : int
        Subjects to train and to test on.
    effect_size : float
        Response of the strongest regions in percent signal change.

    Returns
    -------
    tuple of Windows and Windows
        Training and test windows.

    Raises
    ------
    ArgumentError
        If there is no subject for either.

    References
    ----------
    Barch et al. (2013), Function in the human connectome: Task-fMRI and individual differences in
    behavior. NeuroImage. https://doi.org/10.1016/j.neuroimage.2013.05.033

    Examples
    --------
    >>> train, test = make_hcp_like(n_train=1, n_test=1)
    >>> train.x.shape[1:], sorted(set(test.x["condition"].values.tolist()))[:2]
    ((58, 160), ['EMOTION', 'GAMBLING'])
    """
    if min(n_train, n_test) < 1:
        raise ArgumentError(f"n_train and n_test must be at least 1. Got {n_train}, {n_test}.")
    study = _study(effect_size)
    clean = {
        (task, run): run_response(
            task,
            run,
            amplitudes=study.amplitudes[task],
            noise=NoiseModel(amplitude_sd=0, block_sd=0, delay_sd=0),
            subject=0,
            seed=0,
        )
        for task in TASKS
        for run in RUNS
    }
    parts = [
        _subject(study, clean, subject=subject, seed=seed) for subject in range(n_train + n_test)
    ]
    train, test = _join(parts[:n_train]), _join(parts[n_train:])
    truth = _true_cells([train, test])
    mean = train.x.mean(("sample", "time"))
    sd = train.x.std(("sample", "time"))
    return tuple(
        part._replace(x=((part.x - mean) / sd).astype(np.float32), truth=mask)
        for part, mask in zip((train, test), truth, strict=True)
    )


def _study(effect_size: float) -> Study:
    """Match the atlas to the tasks and find where its regions lie."""
    atlas = load_atlas("dosenbach160")
    data = np.asanyarray(atlas.labels.dataobj)
    cells = np.argwhere(data > 0)
    frame = pd.DataFrame(nib.affines.apply_affine(atlas.labels.affine, cells))
    groups = frame.groupby(data[tuple(cells.T)])
    ids = atlas.regions["label_id"]
    amplitudes = {}
    for task in TASKS:
        table, _ = match_peaks(task, labels=atlas.labels, regions=atlas.regions)
        table["amplitude"] *= effect_size
        amplitudes[task] = amplitude_matrix(task, table, regions=atlas.regions)
    near = smooth_weights(groups.mean().loc[ids].to_numpy(), spacing=SPACING)
    return Study(atlas, near, groups.size().loc[ids].to_numpy(), amplitudes)


def _subject(study: Study, clean: dict, *, subject: int, seed: int) -> Windows:
    """Simulate all runs of one subject and cut some blocks of each; ``truth`` is not marked yet."""
    parts = []
    for (task, run), expected in clean.items():
        noise = NoiseModel()
        series = run_response(
            task,
            run,
            amplitudes=study.amplitudes[task],
            noise=noise,
            subject=subject,
            seed=seed,
        )
        rng = np.random.default_rng(seed_for(seed, subject, task, run, "regions"))
        series = series + region_noise(study, len(series), noise=noise, rng=rng)
        starts = _starts(task, run, len(series), rng)
        if len(starts):
            parts.append(_cut(study, series, expected, starts, task=task, run=run, name=subject))
    return _join(parts)


def region_noise(
    study: Study, n_volumes: int, *, noise: NoiseModel, rng: np.random.Generator
) -> np.ndarray:
    """Draw what regions show beside the task.

    Parameters
    ----------
    study : Study
        The regions.
    n_volumes : int
        Volumes of the run.
    noise : NoiseModel
        Strength of each source.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        (time, region) in percent signal change.

    Examples
    --------
    >>> study = _study(1.0)
    >>> region_noise(study, 50, noise=NoiseModel(), rng=np.random.default_rng(0)).shape
    (50, 160)
    """
    slow, (n_regions, n_nodes) = noise.slow_autocorrelation, study.near.shape
    nodes = autoregressive(rng, (n_volumes, n_nodes), rho=slow)
    codes = pd.factorize(study.atlas.regions["network"].astype(str))[0]
    networks = autoregressive(rng, (n_volumes, codes.max() + 1), rho=slow)
    whole = autoregressive(rng, (n_volumes, 1), rho=slow)
    own = autoregressive(rng, (n_volumes, n_regions), rho=noise.autocorrelation)
    courses = drift_courses(n_volumes, t_r=T_R)
    drift = courses @ rng.standard_normal((courses.shape[1], n_regions))
    out = noise.smooth_sd * (study.near @ nodes.T).T + noise.network_sd * networks[:, codes]
    out = out + noise.global_sd * whole + noise.voxel_sd / np.sqrt(study.voxels) * own
    return out + noise.drift_sd / np.sqrt(courses.shape[1]) * drift


def _starts(task: str, run: str, n_volumes: int, rng: np.random.Generator) -> np.ndarray:
    """Draw some of the run's blocks whose window lies in the run; give their first steps."""
    events = block_events(task, run).query("kind == 'block'")
    first = np.rint((events["onset"].to_numpy() - BEFORE) / T_R).astype(int)
    first = first[(first >= 0) & (first + N_STEPS <= n_volumes)]
    return np.sort(rng.permutation(first)[:BLOCKS_A_RUN])


def _cut(
    study: Study,
    series: np.ndarray,
    expected: np.ndarray,
    starts: np.ndarray,
    *,
    task: str,
    run: str,
    name: int,
) -> Windows:
    """Cut the windows that begin at ``starts``; ``truth`` holds the response without noise."""
    steps = starts[:, None] + np.arange(N_STEPS)
    names = {"condition": task, "run": run, "subject": f"{900001 + name}"}
    coords = {key: ("sample", [value] * len(steps)) for key, value in names.items()}
    coords |= {"time": np.arange(N_STEPS) * T_R - BEFORE}
    coords |= region_coordinates(study.atlas.regions)
    x = xr.DataArray(series[steps], dims=("sample", "time", "region"), coords=coords)
    x.attrs = {"t_r": T_R, "atlas": study.atlas.name, "label": "task"}
    return Windows(x, expected[steps], _acting(task, run, len(series))[steps])


def _acting(task: str, run: str, n_volumes: int) -> np.ndarray:
    """Mark the steps of a run on which a block acts."""
    events = block_events(task, run).query("kind == 'block'")
    at = np.arange(n_volumes)[:, None] * T_R - events["onset"].to_numpy() - DELAY
    return ((at >= 0) & (at < events["duration"].to_numpy())).any(axis=1)


def _join(parts: list[Windows]) -> Windows:
    """Put windows one after the other."""
    x, truth, on = zip(*parts, strict=True)
    return Windows(xr.concat(x, "sample"), np.concatenate(truth), np.concatenate(on))


def _true_cells(parts: list[Windows]) -> list[np.ndarray]:
    """Mark where each window's response differs from the mean over the tasks."""
    tasks = np.concatenate([part.x["condition"].values for part in parts])
    expected = np.concatenate([part.truth for part in parts])
    means = [expected[tasks == task].mean(axis=0) for task in np.unique(tasks)]
    apart = np.abs(expected - np.mean(means, axis=0))
    mask = apart > THRESHOLD * apart.max(axis=(1, 2), keepdims=True)
    return np.split(mask, [len(parts[0].truth)])
