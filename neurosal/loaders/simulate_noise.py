"""Noise as scanners and bodies make it, one volume at a time.

A simulated voxel is its baseline times one plus the sum, in percent, of: the task response; voxel
noise, autocorrelated and stronger in grey matter; slow spontaneous fluctuations shared by
neighbours, by the regions of a network, and by the whole brain, which averaging over a region
does not take away; scanner drift below 0.01 Hz; and head motion, which moves the baseline's edges
through the voxels (minus its spatial gradient times the displacement, the first-order term of
Friston et al. 1996). Only one volume of the brain is ever held in memory.

References
----------
Friston et al. (1996) https://doi.org/10.1002/mrm.1910350312
Jenkinson et al. (2002), frame-to-frame displacement, https://doi.org/10.1006/nimg.2002.1132
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from scipy.sparse import csr_array

from neurosal.errors import ArgumentError
from neurosal.loaders.simulate_scene import Scene

NODE_SPACING, DRIFT_SPACING, HEAD_RADIUS = 12.0, 36.0, 80.0
UNIT = 8


@dataclass(frozen=True)
class NoiseModel:
    """How strong each source of noise and of variation is; percent of the baseline signal.

    Attributes
    ----------
    voxel_sd : float
        Voxel noise in grey matter, % (60 % of it in white matter).
    autocorrelation : float
        Lag-1 autocorrelation of voxel noise, in [0, 1).
    smooth_sd, network_sd, global_sd : float
        Fluctuations shared by neighbours (about 12 mm), by a network, and by the brain, %.
    slow_autocorrelation : float
        Lag-1 autocorrelation of those shared fluctuations, in [0, 1).
    drift_sd : float
        Drift slower than 0.01 Hz, %.
    motion_leak : float
        Share of head motion that realignment leaves in the data; 0 for none.
    amplitude_sd, block_sd : float
        Spread of the response's logarithm over subjects and regions, and over blocks.
    delay_sd : float
        Spread of the response's delay over subjects, s.

    Examples
    --------
    >>> NoiseModel(voxel_sd=1.0).autocorrelation
    0.4
    """

    voxel_sd: float = 1.2
    autocorrelation: float = 0.4
    smooth_sd: float = 0.3
    network_sd: float = 0.2
    global_sd: float = 0.2
    slow_autocorrelation: float = 0.7
    drift_sd: float = 0.3
    motion_leak: float = 0.1
    amplitude_sd: float = 0.3
    block_sd: float = 0.2
    delay_sd: float = 0.5

    def __post_init__(self):
        for spec in fields(self):
            value = getattr(self, spec.name)
            top = 1.0 if "autocorrelation" in spec.name else np.inf
            if not 0 <= value < top:
                limit = "in [0, 1)" if top == 1 else "zero or more and finite"
                raise ArgumentError(f"{spec.name} must be {limit}. Got {value!r}.")


def autoregressive(rng: np.random.Generator, shape: tuple[int, int], *, rho: float) -> np.ndarray:
    """Draw stationary first-order autoregressive series of unit variance.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : tuple of int
        ``(time, series)``.
    rho : float
        Lag-1 autocorrelation, in [0, 1).

    Returns
    -------
    numpy.ndarray
        float32 array of ``shape``.

    Examples
    --------
    >>> x = autoregressive(np.random.default_rng(0), (20000, 1), rho=0.5)[:, 0]
    >>> round(float(np.corrcoef(x[1:], x[:-1])[0, 1]), 1)
    0.5
    """
    return np.stack(list(autoregressive_rows(rng, shape, rho=rho)))


def autoregressive_rows(
    rng: np.random.Generator, shape: tuple[int, int], *, rho: float
) -> Iterator[np.ndarray]:
    """Draw what :func:`autoregressive` draws, one row after the other.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    shape : tuple of int
        ``(time, series)``.
    rho : float
        Lag-1 autocorrelation, in [0, 1).

    Yields
    ------
    numpy.ndarray
        float32 array of length ``shape[1]``.

    Examples
    --------
    >>> len(list(autoregressive_rows(np.random.default_rng(0), (3, 2), rho=0.5)))
    3
    """
    innovation = np.float32(np.sqrt(1 - rho**2))
    state = rng.standard_normal(shape[1], dtype=np.float32)
    yield state
    for _ in range(shape[0] - 1):
        state = np.float32(rho) * state + innovation * rng.standard_normal(
            shape[1], dtype=np.float32
        )
        yield state


def smooth_weights(coordinates: np.ndarray, *, spacing: float) -> csr_array:
    """Interpolate from a coarse lattice of nodes to voxels, keeping unit variance.

    Parameters
    ----------
    coordinates : numpy.ndarray
        Voxel positions in mm, ``(voxel, 3)``.
    spacing : float
        Distance between nodes in mm.

    Returns
    -------
    scipy.sparse.csr_array
        ``(voxel, node)``, float32; each row has Euclidean norm one, so independent unit-variance
        series on the nodes become unit-variance series that neighbouring voxels share.

    Examples
    --------
    >>> weights = smooth_weights(np.array([[0.0, 0, 0], [3.0, 0, 0], [90.0, 0, 0]]), spacing=12.0)
    >>> (weights @ weights.T).toarray()[0].round(2)
    array([1.  , 0.95, 0.  ], dtype=float32)
    """
    cell = (coordinates - coordinates.min(axis=0)) / spacing
    low, part = np.floor(cell).astype(np.int64), cell - np.floor(cell)
    shape = low.max(axis=0) + 2
    rows, columns, values = [], [], []
    for corner in np.ndindex(2, 2, 2):
        rows.append(np.arange(len(cell)))
        columns.append(np.ravel_multi_index((low + corner).T, shape))
        values.append(np.prod(np.where(corner, part, 1 - part), axis=1))
    values = np.array(values)
    values = (values / np.linalg.norm(values, axis=0)).ravel().astype(np.float32)
    used, columns = np.unique(np.concatenate(columns), return_inverse=True)
    return csr_array((values, (np.concatenate(rows), columns)), shape=(len(cell), len(used)))


def drift_courses(n_volumes: int, *, t_r: float, cutoff: float = 0.01) -> np.ndarray:
    """Give the cosines slower than a cut-off that scanner drift is made of.

    Parameters
    ----------
    n_volumes : int
        Volumes in the run.
    t_r : float
        Seconds between volumes.
    cutoff : float, default=0.01
        Highest frequency in Hz.

    Returns
    -------
    numpy.ndarray
        ``(time, cosine)``, each of unit variance, the slowest first; at least one.

    Examples
    --------
    >>> drift_courses(284, t_r=0.72).shape
    (284, 4)
    """
    count = max(1, int(2 * n_volumes * t_r * cutoff))
    phase = np.pi * (np.arange(n_volumes) + 0.5) / n_volumes
    return np.sqrt(2) * np.cos(np.outer(phase, np.arange(1, count + 1)))


def draw_motion(rng: np.random.Generator, n_volumes: int, *, t_r: float) -> np.ndarray:
    """Draw the head's position over a run: wandering, breathing and a few jerks.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n_volumes : int
        Volumes in the run.
    t_r : float
        Seconds between volumes.

    Returns
    -------
    numpy.ndarray
        ``(time, 6)``: translations in x, y, z (mm) and rotations about x, y, z (degrees), zero at
        the first volume.

    Examples
    --------
    >>> motion = draw_motion(np.random.default_rng(0), 100, t_r=0.72)
    >>> motion.shape, motion[0].tolist()
    ((100, 6), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    """
    scale = rng.lognormal(0, 0.3) * np.array([0.6, 1.0, 1.2, 1.0, 0.5, 0.5])
    steps = 0.012 * rng.standard_normal((n_volumes, 6))
    for start in rng.integers(1, n_volumes, size=rng.poisson(n_volumes / 120)):
        jerk = 0.15 * rng.standard_normal(6)
        steps[start] += jerk
        steps[min(start + 3, n_volumes - 1)] -= 0.8 * jerk
    seconds = np.arange(n_volumes) * t_r
    breath = 0.03 * np.sin(2 * np.pi * rng.uniform(0.2, 0.35) * seconds + rng.uniform(0, 2 * np.pi))
    path = np.cumsum(steps, axis=0)
    path[:, 1:4] += breath[:, None]
    return (path - path[0]) * scale


def movement_tables(motion: np.ndarray) -> dict[str, np.ndarray]:
    """Derive the movement files of a run from the head's position.

    Parameters
    ----------
    motion : numpy.ndarray
        ``(time, 6)``, mm and degrees.

    Returns
    -------
    dict of str to numpy.ndarray
        ``Movement_Regressors`` (position and its backward differences, 12 columns),
        ``Movement_Regressors_dt`` (the same without mean and linear trend) and
        ``Movement_RelativeRMS`` (frame-to-frame displacement in mm over a sphere of 80 mm).

    Examples
    --------
    >>> tables = movement_tables(draw_motion(np.random.default_rng(0), 50, t_r=0.72))
    >>> tables["Movement_Regressors"].shape
    (50, 12)
    """
    change = np.diff(motion, axis=0, prepend=motion[:1])
    both = np.hstack([motion, change])
    line = np.stack([np.ones(len(both)), np.linspace(-1, 1, len(both))], axis=1)
    trend = line @ np.linalg.lstsq(line, both, rcond=None)[0]
    turned = np.sum(np.deg2rad(change[:, 3:]) ** 2, axis=1)
    rms = np.sqrt(np.sum(change[:, :3] ** 2, axis=1) + 2 * HEAD_RADIUS**2 / 5 * turned)
    return {
        "Movement_Regressors": both,
        "Movement_Regressors_dt": both - trend,
        "Movement_RelativeRMS": rms[:, None],
    }


def simulate_volumes(
    scene: Scene,
    response: np.ndarray,
    *,
    motion: np.ndarray,
    noise: NoiseModel,
    rng: np.random.Generator,
    t_r: float,
) -> Iterator[np.ndarray]:
    """Make a run, volume by volume.

    Parameters
    ----------
    scene : Scene
        The brain.
    response : numpy.ndarray
        ``(time, region)``, percent signal change.
    motion : numpy.ndarray
        ``(time, 6)``, mm and degrees.
    noise : NoiseModel
        Strength of each source.
    rng : numpy.random.Generator
        Source of randomness.
    t_r : float
        Seconds between volumes.

    Yields
    ------
    numpy.ndarray
        One volume as a flat float32 array, x fastest, zero outside the brain, in multiples of 8
        of a baseline of up to 10,000 (whole steps make small files). The array is used again for
        the next volume.

    Examples
    --------
    >>> import nibabel, pandas
    >>> from neurosal.loaders.simulate_scene import make_scene
    >>> image = nibabel.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
    >>> table = pandas.DataFrame({"label_id": [1], "name": ["A"], "network": ["N"]})
    >>> scene = make_scene(image, table, voxel_size=12.0)
    >>> volumes = simulate_volumes(scene, np.zeros((5, 1)), motion=np.zeros((5, 6)),
    ...     noise=NoiseModel(), rng=np.random.default_rng(0), t_r=0.72)
    >>> len([v for v in volumes])
    5
    """
    n_volumes = len(response)
    local = smooth_weights(scene.coordinates, spacing=NODE_SPACING)
    drift, cosines = _drift(scene, noise, rng, drift_courses(n_volumes, t_r=t_r))
    slow = noise.slow_autocorrelation
    networks = autoregressive(rng, (n_volumes, scene.network.max() + 1), rho=slow)
    whole = autoregressive(rng, (n_volumes, 1), rho=slow)[:, 0]
    nodes = autoregressive_rows(rng, (n_volumes, local.shape[1]), rho=slow)
    voxels = autoregressive_rows(rng, (n_volumes, len(scene.inside)), rho=noise.autocorrelation)
    fixed = np.hstack([drift, noise.motion_leak * scene.shift]).astype(np.float32)
    courses = np.hstack([cosines, motion]).astype(np.float32)
    planted = np.pad(response, ((0, 0), (0, 1))).astype(np.float32)
    shared = 0.3 + 0.7 * scene.grey
    strength = noise.voxel_sd * (0.6 + 0.4 * scene.grey)
    volume = np.zeros(int(np.prod(scene.shape)), dtype=np.float32)
    for t, (node, voxel) in enumerate(zip(nodes, voxels, strict=True)):
        spontaneous = (
            noise.smooth_sd * (local @ node) + noise.network_sd * networks[t][scene.network]
        )
        spontaneous += noise.global_sd * whole[t]
        percent = planted[t][scene.region] + shared * spontaneous + strength * voxel
        percent += fixed @ courses[t]
        volume[scene.inside] = UNIT * np.rint(scene.baseline / UNIT * (1 + percent / 100))
        yield volume


def _drift(
    scene: Scene, noise: NoiseModel, rng: np.random.Generator, cosines: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Smooth maps for the cosines, slower ones stronger, of the asked standard deviation."""
    coarse = smooth_weights(scene.coordinates, spacing=DRIFT_SPACING)
    falling = 1 / np.arange(1, cosines.shape[1] + 1)
    falling *= noise.drift_sd / np.linalg.norm(falling)
    maps = coarse @ rng.standard_normal((coarse.shape[1], cosines.shape[1]), dtype=np.float32)
    return maps * falling, cosines
