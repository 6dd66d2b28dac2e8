"""The pattern of a linear model as a reference: which cells carry what it reads out."""

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.models.folds import baseline_classifier
from neurosal.parcellation.coverage import covered
from neurosal.validation.agreement import unit_ranks
from neurosal.validation.check import Check

QUESTION = "Does the map name the cells that a linear model's pattern names?"
CANNOT_SHOW = (
    "The pattern shows which cells vary with what the linear model reads out, be they used by the "
    "network or not; it knows no pattern that is not linear. It is the same for all windows of a "
    "condition. Where cells are screened by a test of each one, as by default, part of the "
    "agreement is built in."
)
#: Of the largest variance of scores: what is smaller is rounding, in float32 too.
_SPANNED = 1e-8


def haufe_comparison(
    importance: xr.DataArray, windows: xr.DataArray, *, y: object, model: object = None
) -> Check:
    """Correlate the size of a map with the size of a linear model's pattern, over cells.

    Parameters
    ----------
    importance : xarray.DataArray of shape (condition, time, region)
        The mean map of each condition.
    windows : xarray.DataArray of shape (sample, time, region)
        The windows.
    y : array-like of shape (sample,)
        Their classes.
    model : scikit-learn linear classifier, optional
        As in :func:`linear_patterns`.

    Returns
    -------
    Check
        Always ``reported``. ``data`` holds ``importance`` and ``pattern`` (condition, time,
        region), with their signs, and ``correlation`` (condition).

    Raises
    ------
    ArgumentError
        If the two do not share conditions, time points and regions.

    References
    ----------
    Haufe et al. (2014), On the interpretation of weight vectors of linear models in multivariate
    neuroimaging. https://doi.org/10.1016/j.neuroimage.2013.10.067

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(40, 3, 5)), np.tile(["rest", "task"], 20)
    >>> X[1::2, 1, 2] += 3
    >>> patterns = linear_patterns(X, y=y)
    >>> round(haufe_comparison(patterns, X, y=y).values["rank_correlation"], 6)
    1.0
    """
    patterns = linear_patterns(windows, y=y, model=model)
    ours = importance.transpose("condition", "time", "region")
    ours = ours.assign_coords(condition=ours["condition"].to_numpy().astype(str))
    if "region" in patterns.coords and "region" in ours.coords:
        ours = ours.sel(region=patterns["region"].to_numpy())
    if not np.array_equal(ours["condition"], patterns["condition"]) or ours.shape != patterns.shape:
        raise ArgumentError(
            "importance must have the conditions, time points and regions of the windows: "
            f"{patterns['condition'].values.tolist()} and {patterns.shape[1:]}. Got "
            f"{ours['condition'].values.tolist()} and {ours.shape[1:]}."
        )
    sizes = [np.abs(one.to_numpy()).reshape(len(one), -1) for one in (ours, patterns)]
    found = (unit_ranks(sizes[0]) * unit_ranks(sizes[1])).sum(axis=-1)
    within = _within(*sizes)
    named = ", ".join(
        f"{k} {v:.2f}" for k, v in zip(patterns["condition"].values, found, strict=True)
    )
    finding = (
        f"Rank correlation of importance with the size of a linear model's pattern, over "
        f"{sizes[0].shape[1]} cells: {np.nanmean(found):.2f} on average ({named}); over the cells "
        f"with any importance: {within:.2f}."
    )
    data = xr.Dataset(
        {"importance": ours.drop_attrs(), "pattern": patterns, "correlation": ("condition", found)}
    )
    values = {"rank_correlation": float(np.nanmean(found))}
    return Check(
        name="linear pattern",
        question=QUESTION,
        verdict="reported",
        finding=finding,
        cannot_show=CANNOT_SHOW,
        values=values | {"rank_correlation_within_screened": within},
        data=data,
    )


def linear_patterns(windows: object, *, y: object, model: object = None) -> xr.DataArray:
    """Fit a linear model to flattened windows and turn its weights into patterns.

    Weights also say how to cancel noise, so a cell without any signal can weigh much; patterns say
    how each cell changes with what the model reads out.

    Parameters
    ----------
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows; regions with missing values are left out.
    y : array-like of shape (sample,)
        Their classes.
    model : scikit-learn linear classifier, optional
        Unfitted, with ``decision_function``; by default logistic regression on standardised cells,
        :func:`~neurosal.models.folds.baseline_classifier`.

    Returns
    -------
    xarray.DataArray of shape (condition, time, region)
        In the windows' units for each unit of the class's score.

    References
    ----------
    Haufe et al. (2014), https://doi.org/10.1016/j.neuroimage.2013.10.067

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> linear_patterns(X, y=y).sizes
    Frozen({'condition': 2, 'time': 4, 'region': 3})
    """
    labelled, y = covered(windows), np.asarray(y)
    flat = labelled.to_numpy().reshape(len(labelled), -1)
    model = (baseline_classifier() if model is None else model).fit(flat, y)
    scores = model.decision_function(flat)
    patterns = haufe_pattern(flat, scores)
    if scores.ndim == 1:
        patterns = np.hstack([-patterns, patterns])
    coords = {k: v for k, v in labelled.coords.items() if "sample" not in v.dims}
    return xr.DataArray(
        patterns.T.reshape(-1, *labelled.shape[1:]),
        dims=("condition", "time", "region"),
        coords=coords | {"condition": model.classes_.astype(str)},
        name="pattern",
    )


def haufe_pattern(data: object, scores: object) -> np.ndarray:
    """Patterns of a linear model, A = Cov(X) W Cov(s)^-1, from data and scores s = X W.

    Cov(X) W is Cov(X, s), so the weights themselves are not needed. Scores that depend on each
    other (those of all classes may add up to 0) are inverted in the space that they span.

    Parameters
    ----------
    data : array-like of shape (sample, feature)
        The data.
    scores : array-like of shape (sample,) or (sample, score)
        What the model made of them.

    Returns
    -------
    numpy.ndarray of shape (feature, score)
        The patterns.

    Raises
    ------
    ArgumentError
        If the numbers of samples differ.

    References
    ----------
    Haufe et al. (2014), https://doi.org/10.1016/j.neuroimage.2013.10.067

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> signal, noise = rng.normal(size=(2, 100_000))
    >>> data = np.stack([signal + noise, noise], axis=1)
    >>> haufe_pattern(data, data @ [1, -1]).round(1).ravel().tolist()
    [1.0, 0.0]
    """
    values, reads = np.asarray(data, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    reads = reads.reshape(len(reads), -1)
    if values.ndim != 2 or len(values) != len(reads):
        raise ArgumentError(
            f"data (sample, feature) and scores must have the same samples. Got {values.shape} "
            f"and {np.shape(scores)}."
        )
    values, reads = values - values.mean(axis=0), reads - reads.mean(axis=0)
    spread = np.linalg.pinv(reads.T @ reads, rcond=_SPANNED, hermitian=True)
    return values.T @ reads @ spread


def _within(sizes: np.ndarray, ours: np.ndarray) -> float:
    """Mean rank correlation over the cells that have any importance."""
    some = (sizes > 0).any(axis=0)
    if some.sum() < 2:
        return float("nan")
    found = (unit_ranks(sizes[:, some]) * unit_ranks(ours[:, some])).sum(axis=-1)
    return float(np.nanmean(found))
