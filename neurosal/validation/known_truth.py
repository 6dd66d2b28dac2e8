"""How well the map finds cells that are known to carry the information, in simulated studies."""

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.validation.check import Check
from neurosal.validation.likeness import class_means
from neurosal.validation.localization import truth_recovery

QUESTION = "Does the map find the cells that are known to carry the information?"
#: Differences of AUPR below this are no differences.
MARGIN = 0.01


def known_truth(
    maps: xr.DataArray, windows: xr.DataArray, *, y: object, truth: xr.DataArray, seed: int = 0
) -> Check:
    """Score a map against the true cells, beside maps that need no decoder.

    The score is the area under the curve of precision and recall (AUPR, average precision), mean
    over classes. Beside it stand those of random maps, of the mean absolute signal (of each class
    and of all windows), and of the best map that is the same for all classes: the share of the
    classes in which a cell is true, which only who knows the truth can draw.

    Parameters
    ----------
    maps : xarray.DataArray of shape (sample, time, region)
        The maps to be checked.
    windows : xarray.DataArray of shape (sample, time, region)
        The windows.
    y : array-like of shape (sample,)
        Their classes.
    truth : xarray.DataArray of bool, shape (condition, time, region)
        From :func:`neurosal.loaders.simulate.truth_mask`.
    seed : int
        Of the random maps.

    Returns
    -------
    Check
        Flagged unless the AUPR is above those of random maps and of the mean absolute signal, and
        not below that of the signal of each class, which can be right where classes differ by
        activation. ``data`` holds ``aupr`` (map, condition), ``importance`` and ``truth``.

    Raises
    ------
    ArgumentError
        If a class or region has no truth, or nothing is true.

    References
    ----------
    Ismail et al. (2020), Benchmarking deep learning interpretability in time series predictions.
    https://doi.org/10.48550/arXiv.2010.13924

    Examples
    --------
    >>> y, rng = np.repeat(["a", "b", "c"], 10), np.random.default_rng(0)
    >>> truth = xr.DataArray(
    ...     np.arange(12).reshape(1, 3, 4) % 3 == np.arange(3)[:, None, None],
    ...     dims=("condition", "time", "region"),
    ...     coords={"condition": list("abc"), "region": list("wxyz")})
    >>> X = xr.DataArray(rng.normal(size=(30, 3, 4)), dims=("sample", "time", "region"),
    ...     coords={"region": list("wxyz")})
    >>> known_truth(X.copy(data=truth.sel(condition=y)), X, y=y, truth=truth).verdict
    'passed'
    """
    y = np.array([str(one) for one in np.asarray(y)])
    classes, truth = np.unique(y), _matching(truth, y, windows)
    sizes = np.abs(windows.transpose("sample", "time", "region").to_numpy())
    own = class_means(maps.transpose("sample", "time", "region").to_numpy(), y)
    by_class = class_means(sizes, y)
    shared = truth.to_numpy().mean(axis=0)
    drawn = {
        "map": own,
        "signal of each class": by_class,
        "signal": np.broadcast_to(sizes.mean(axis=0), own.shape),
        "best for all classes": np.broadcast_to(shared, own.shape),
    }
    scores, table = {}, {}
    for name, values in drawn.items():
        found = truth_recovery(truth.copy(data=values), truth, seed=seed)
        scores[name] = found["truth_aupr"]
        per_class = found["truth_aupr_per_condition"]
        table[name] = [per_class.get(one, np.nan) for one in classes]
    scores["random"] = found["truth_aupr_random"]
    data = xr.Dataset(
        {
            "aupr": (("map", "condition"), np.array(list(table.values()))),
            "importance": (truth.dims, own),
            "truth": truth.drop_attrs(),
        },
        coords={"map": list(table)},
    )
    return _judge(scores, data)


def _matching(truth: xr.DataArray, y: np.ndarray, windows: xr.DataArray) -> xr.DataArray:
    """The truth of these classes, time points and regions."""
    named = truth.assign_coords(condition=[str(one) for one in truth["condition"].to_numpy()])
    lacking = set(np.unique(y)) - set(named["condition"].to_numpy())
    if lacking or truth.sizes["time"] != windows.sizes["time"]:
        raise ArgumentError(
            "truth must have the classes and time points of the windows: "
            f"{np.unique(y).tolist()}, {windows.sizes['time']} points. Got "
            f"{named['condition'].values.tolist()}, {truth.sizes['time']} points."
        )
    if "region" in windows.coords and "region" in named.coords:
        absent = set(windows["region"].to_numpy()) - set(named["region"].to_numpy())
        if absent:
            raise ArgumentError(f"truth lacks the region(s) {', '.join(sorted(absent)[:5])}.")
        named = named.sel(region=windows["region"].to_numpy())
    picked = named.sel(condition=np.unique(y)).transpose("condition", "time", "region")
    return picked.astype(bool).reset_coords(drop=True)


def _judge(scores: dict[str, float], data: xr.Dataset) -> Check:
    """Say how the map stands beside the others."""
    beats = scores["map"] > max(scores["random"], scores["signal"]) + MARGIN
    beats = beats and scores["map"] >= scores["signal of each class"] - MARGIN
    said = "No map made without a decoder" if beats else "A map made without a decoder"
    finding = (
        f"AUPR {scores['map']:.2f}; random maps {scores['random']:.2f}, mean absolute signal "
        f"{scores['signal']:.2f}, of each class {scores['signal of each class']:.2f}, best map "
        f"that is the same for all classes {scores['best for all classes']:.2f}. {said} finds "
        f"{'more' if beats else 'as much'} of the truth."
    )
    keys = {name: f"aupr_{name.replace(' ', '_')}" for name in scores}
    return Check(
        name="known truth",
        question=QUESTION,
        verdict="passed" if beats else "flagged",
        finding=finding,
        cannot_show=(
            "Only simulated data have a known truth: what holds there need not hold for measured "
            "data, whose noise, haemodynamics and effects are unlike the simulated ones."
        ),
        values={keys[name]: float(value) for name, value in scores.items()},
        data=data,
    )
