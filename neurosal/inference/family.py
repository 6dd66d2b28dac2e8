"""The cells of one family: what can be tested of them, and how."""

import warnings

import numpy as np
import xarray as xr
from scipy import sparse
from scipy.stats import false_discovery_control

from neurosal.errors import DataError
from neurosal.inference.cells import MISSING, TESTED, cell_status, centred
from neurosal.inference.clusters import cluster_test, space_time_adjacency
from neurosal.inference.effects import effect_sizes
from neurosal.inference.settings import Settings
from neurosal.inference.signflip import sign_flip_test
from neurosal.progress import say


def family_test(
    means: xr.DataArray, neighbours: sparse.csr_array | None, settings: Settings
) -> xr.Dataset:
    """Test the cells of one family, which are corrected together.

    Parameters
    ----------
    means : xarray.DataArray
        Of shape (condition, subject, time, region). Subjects without a map of some condition are
        left out, with a warning.
    neighbours : scipy.sparse.csr_array or None
        Of shape (region, region), for clusters.
    settings : Settings
        The choices of the test.

    Returns
    -------
    xarray.Dataset
        The variables of :func:`~neurosal.inference.group.group_test`, dimensions condition, time
        and region.

    Raises
    ------
    DataError
        If there are fewer than two subjects, or no cell can be tested.

    Examples
    --------
    >>> values = np.random.default_rng(0).standard_normal((1, 8, 1, 2)) + [2, 0]
    >>> means = xr.DataArray(values, dims=("condition", "subject", "time", "region"),
    ...     coords={"condition": ["rh"], "subject": np.arange(8)})
    >>> family_test(means, None, Settings())["significant"].values.tolist()
    [[[True, False]]]
    """
    values = _complete_subjects(means).transpose("subject", "condition", "time", "region").values
    status = cell_status(values)
    values = centred(values, status, settings.center)
    status = np.where(status == TESTED, cell_status(values), status)
    cells = (status == TESTED).ravel()
    if not cells.any():
        what = ", ".join(str(name) for name in means["condition"].values if str(name))
        raise DataError(
            f"No cell{what and f' of {what}'} can be tested: each is missing in some subject or "
            "the same in all of them."
        )
    flat = values.reshape(len(values), -1)
    found = _statistics(flat[:, cells], settings)
    if settings.correction == "cluster":
        whole = space_time_adjacency(neighbours, means.sizes["time"], means.sizes["condition"])
        found |= _clusters(flat[:, cells], whole[cells][:, cells], settings, means)
    found["significant"] = found["p"] <= settings.alpha
    out = {name: _spread(one, cells, status.shape) for name, one in found.items()}
    unknown = (status == MISSING) if settings.center is None else (status != TESTED)
    out["mean"] = np.where(unknown, np.nan, values.mean(axis=0))
    data = {name: (("condition", "time", "region"), one) for name, one in out.items()}
    data |= {"status": (("condition", "time", "region"), status)}
    data |= {"n_subjects": ("condition", np.full(len(status), len(values)))}
    coords = {name: one for name, one in means.coords.items() if name != "subject"}
    return xr.Dataset(data, coords=coords)


def _complete_subjects(means: xr.DataArray) -> xr.DataArray:
    """Leave out, with a warning, the subjects without a window of some condition."""
    lacking = means.isnull().all(("time", "region")).any("condition")
    names = [str(name) for name in means["subject"].values[lacking.values]]
    what = " and ".join(str(name) for name in means["condition"].values)
    if names:
        warnings.warn(
            f"{len(names)} subject(s) have no window of {what} and are left out of its test: "
            f"{', '.join(names[:5])}{' ...' if len(names) > 5 else ''}.",
            stacklevel=4,
        )
    kept = means.isel(subject=~lacking.values)
    if kept.sizes["subject"] < 2:
        raise DataError(
            f"{kept.sizes['subject']} subject(s) have maps{f' of {what}' if what else ''}: a test "
            "over subjects needs at least two, and about six to reach p < .05."
        )
    return kept


def _statistics(x: np.ndarray, settings: Settings) -> dict[str, np.ndarray]:
    """Describe and test the cells of x, (subject, cell)."""
    found = effect_sizes(x, alpha=settings.alpha, tail=settings.tail)
    flips = sign_flip_test(
        x, tail=settings.tail, n_permutations=settings.n_permutations, seed=settings.seed
    )
    found["p_uncorrected"] = flips.p_uncorrected
    if settings.correction == "fdr":
        found["p"] = false_discovery_control(found["p_t"])
    else:
        found["p"] = flips.p_max_t if settings.correction == "max-t" else flips.p_uncorrected
    return found


def _clusters(
    x: np.ndarray, adjacency: sparse.csr_array, settings: Settings, means: xr.DataArray
) -> dict[str, np.ndarray]:
    """Test the clusters of the cells of x, (subject, cell)."""
    what = ", ".join(str(name) for name in means["condition"].values)
    task = f"testing clusters{f' of {what}' if what else ''}: {x.shape[1]} cells, "
    say(f"{task}up to {settings.n_permutations} sign flips", show=settings.progress)
    p, number = cluster_test(
        x,
        adjacency,
        threshold=settings.threshold,
        tail=settings.tail,
        n_permutations=settings.n_permutations,
        seed=settings.seed,
    )
    return {"p": p, "cluster": number}


def _spread(found: np.ndarray, cells: np.ndarray, shape: tuple) -> np.ndarray:
    """Put the values of the tested cells in their places."""
    fill = np.nan if found.dtype.kind == "f" else 0
    out = np.full(cells.shape, fill, dtype=found.dtype)
    out[cells] = found
    return out.reshape(shape)
