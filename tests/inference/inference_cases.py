"""Maps of simulated groups, and sign flips done slowly and plainly."""

import itertools

import numpy as np
import xarray as xr
from scipy import ndimage, sparse

REGIONS = [f"r{i}" for i in range(20)]
CHAIN = sparse.diags_array([1.0] * 19, offsets=1, shape=(20, 20))


def smooth_noise(rng, n_subjects=12, n_times=8, n_regions=20):
    """Gaussian noise, smooth over time and neighbours, of another size in each subject."""
    x = rng.standard_normal((n_subjects, n_times, n_regions))
    x = ndimage.gaussian_filter(x, (0, 1, 1), mode="wrap")
    return x * rng.uniform(0.5, 2.0, (n_subjects, 1, 1))


def as_maps(values, *, condition=None, attrs=None):
    """Label (subject, time, region) as one window a subject; a dict holds several conditions."""
    if isinstance(values, dict):
        parts = [as_maps(one, condition=name, attrs=attrs) for name, one in values.items()]
        return xr.concat(parts, "sample")
    n, n_times, n_regions = values.shape
    coords = {
        "subject": ("sample", [f"s{i:02d}" for i in range(n)]),
        "time": 0.72 * np.arange(n_times),
        "region": [f"r{i}" for i in range(n_regions)],
        "network": ("region", ["A"] * n_regions),
    }
    if condition is not None:
        coords["condition"] = ("sample", [condition] * n)
    return xr.DataArray(
        values, dims=("sample", "time", "region"), coords=coords, attrs=attrs or {"t_r": 0.72}
    )


def plain_t(x):
    """Student's t of each column."""
    mean = sum(x) / len(x)
    variance = sum((row - mean) ** 2 for row in x) / (len(x) - 1)
    return mean / np.sqrt(variance / len(x))


def every_flip(n):
    """All sign vectors, the observed one (all 1) among them."""
    return np.array(list(itertools.product([1, -1], repeat=n)))


def plain_p_values(x, signs, statistic):
    """p of each cell by itself and by the largest cell; ``signs`` include the observed data."""
    observed = statistic(plain_t(x))
    flipped = np.array([statistic(plain_t(x * one[:, None])) for one in signs])
    near = observed - 1e-9 * np.maximum(1, np.abs(observed))
    alone = (flipped >= near).mean(axis=0)
    largest = (flipped.max(axis=1)[:, None] >= near).mean(axis=0)
    return alone, largest
