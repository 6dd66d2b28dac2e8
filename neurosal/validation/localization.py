"""Known-truth recovery: how well a map finds the cells that carry the information."""

import numpy as np
import xarray as xr
from sklearn.metrics import average_precision_score

from neurosal.errors import ArgumentError

RANDOM_MAPS = 50


def truth_recovery(
    importance: xr.DataArray, truth: xr.DataArray, *, seed: int = 0
) -> dict[str, object]:
    """Score a map of importance against the true cells by average precision (AUPR).

    The map is ranked by its absolute value; regions that are NaN are left out. Beside each score
    stands the mean score of uniform random maps, for a score means little without it.

    Parameters
    ----------
    importance : xarray.DataArray
        (condition, time, region).
    truth : xarray.DataArray of bool
        The same shape and coordinates: True where the condition can be told from the others.
    seed : int
        Seed of the random maps.

    Returns
    -------
    dict
        ``truth_aupr`` and ``truth_aupr_random`` (means over conditions), and
        ``truth_aupr_per_condition``.

    Raises
    ------
    ArgumentError
        If the two do not share their conditions, time points and regions, or nothing is true.

    References
    ----------
    Ismail et al. (2020), Benchmarking deep learning interpretability in time series predictions.
    https://doi.org/10.48550/arXiv.2010.13924

    Examples
    --------
    >>> truth = xr.DataArray(
    ...     np.eye(4, dtype=bool)[None], dims=("condition", "time", "region"),
    ...     coords={"condition": ["rh"], "region": list("abcd")})
    >>> truth_recovery(truth.astype(float), truth)["truth_aupr"]
    1.0
    """
    importance, truth = importance.transpose(*truth.dims), truth.astype(bool)
    _check_match(importance, truth)
    rng = np.random.default_rng(seed)
    scores, by_chance = {}, []
    for condition in truth["condition"].to_numpy():
        flags = truth.sel(condition=condition).to_numpy().ravel()
        values = np.abs(importance.sel(condition=condition).to_numpy().ravel())
        known = np.isfinite(values)
        if not flags[known].any():
            continue
        scores[str(condition)] = float(average_precision_score(flags[known], values[known]))
        draws = rng.random((RANDOM_MAPS, known.sum()))
        by_chance.append([average_precision_score(flags[known], draw) for draw in draws])
    if not scores:
        raise ArgumentError("truth is False everywhere: there is nothing to recover.")
    return {
        "truth_aupr": float(np.mean(list(scores.values()))),
        "truth_aupr_random": float(np.mean(by_chance)),
        "truth_aupr_per_condition": scores,
    }


def _check_match(importance: xr.DataArray, truth: xr.DataArray) -> None:
    """Refuse two arrays whose cells are not the same cells."""
    for name in ("condition", "region"):
        ours, theirs = importance[name].to_numpy(), truth[name].to_numpy()
        if not np.array_equal(ours, theirs):
            raise ArgumentError(
                f"importance and truth differ in {name}: {list(ours)[:5]} ... against "
                f"{list(theirs)[:5]} .... Give both for the same {name}s, in the same order."
            )
    if importance.sizes["time"] != truth.sizes["time"]:
        raise ArgumentError(
            f"importance has {importance.sizes['time']} time points, truth "
            f"{truth.sizes['time']}. Give both for the same time points."
        )
