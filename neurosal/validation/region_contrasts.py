"""Contrasts of each condition with the others, region by region: what a map is compared with."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr
from nilearn.glm.contrasts import compute_fixed_effect_contrast
from nilearn.glm.first_level import make_first_level_design_matrix, mean_scaling, run_glm
from scipy.stats import ttest_ind

from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.loaders.runs import Run, events_of
from neurosal.loaders.scrub import as_mask

Conditions = Mapping[str, Sequence[str] | None]


def glm_contrasts(
    series: Sequence[xr.DataArray],
    runs: Sequence[Run],
    *,
    conditions: Conditions | None = None,
    confounds: Sequence[object] | None = None,
    sample_masks: Sequence[object] | None = None,
    hrf_model: str = "glover",
    high_pass: float = 0.01,
    noise_model: str = "ar1",
) -> xr.DataArray:
    """Contrast each condition with the mean of the others by a general linear model of each run.

    nilearn's: series in percent of their mean, every trial type of the events as a regressor
    (those of no condition too), cosines for drifts, autoregressive noise. Runs are combined by
    fixed effects, over subjects too: the result speaks of these subjects.

    Parameters
    ----------
    series : sequence of xarray.DataArray of shape (time, region)
        The region series of each run as they were extracted, neither centred nor scaled, from
        :func:`neurosal.extract_runs`.
    runs : sequence of Run
        The runs; events and repetition time are used.
    conditions : dict of str to list of str, optional
        As :func:`~neurosal.loaders.events.make_windows` takes them; rest (an empty list) is the
        time without events, the model's baseline. By default every trial type is a condition.
    confounds : sequence of tables of shape (time, confound), optional
        What to regress out of each run; None for a run without.
    sample_masks : sequence of arrays of bool, shape (time,), optional
        True where a frame is kept; scrubbed frames are left out. None for a run without.
    hrf_model : str
        A haemodynamic response of nilearn's, without derivatives.
    high_pass : float
        Slower drifts than this (Hz) are modelled.
    noise_model : str
        ``"ar1"``, ``"ols"`` or another of :func:`nilearn.glm.first_level.run_glm`.

    Returns
    -------
    xarray.DataArray of shape (condition, region)
        z scores; NaN in regions that some run does not cover.

    Raises
    ------
    ArgumentError
        If the lists do not fit each other, or there is one condition only.
    DataError
        If a series is not in the units of the images, or no run has two conditions.

    See Also
    --------
    window_contrasts : from windows alone.

    References
    ----------
    Friston et al. (1994), Statistical parametric maps in functional imaging: a general linear
    approach. https://doi.org/10.1002/hbm.460020402

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> events = pd.DataFrame({"onset": np.arange(0, 160, 20.0), "duration": 10.0,
    ...                        "trial_type": ["face", "house"] * 4})
    >>> run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces")
    >>> one = xr.DataArray(rng.normal(100, 1, (90, 3)), dims=("time", "region"))
    >>> glm_contrasts([one], [run]).sizes
    Frozen({'condition': 2, 'region': 3})
    """
    series, runs = list(series), list(runs)
    confounds, masks = (
        [None] * len(runs) if one is None else list(one) for one in (confounds, sample_masks)
    )
    lengths = [len(one) for one in (series, runs, confounds, masks)]
    if len(set(lengths)) > 1 or not runs:
        raise ArgumentError(
            "series, runs, confounds and sample_masks must be lists of the same length. Got "
            f"{', '.join(map(str, lengths))}."
        )
    values = [np.asarray(one.transpose("time", "region"), dtype=np.float64) for one in series]
    covered = np.all([np.isfinite(one).all(axis=0) for one in values], axis=0)
    named = _pooled(runs, conditions)
    fits = []
    for one, run, table, mask in zip(values, runs, confounds, masks, strict=True):
        design = _design(run, named, len(one), table, hrf_model, high_pass)
        kept = as_mask(mask, len(one), run.label)
        kept = slice(None) if kept is None else kept
        design, scaled = design[kept], _percent(one[kept][:, covered], run)
        fits.append((design, *run_glm(scaled, design.to_numpy(), noise_model=noise_model)))
    out = np.full((len(named), len(covered)), np.nan)
    for row, name in enumerate(named):
        out[row, covered] = _z_scores(fits, name, named)
    coords = {k: v for k, v in series[0].coords.items() if v.dims == ("region",)}
    coords["condition"] = list(named)
    return xr.DataArray(out, dims=("condition", "region"), coords=coords, name="z")


def window_contrasts(windows: xr.DataArray, *, y: object) -> xr.DataArray:
    """Contrast each condition's windows with the others' by a t-test of their means over time.

    For when the series are not at hand. The windows of a run are not independent, so the numbers
    are no test; they order regions by how far their mean signal differs.

    Parameters
    ----------
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows.
    y : array-like of shape (sample,)
        Their classes.

    Returns
    -------
    xarray.DataArray of shape (condition, region)
        Welch's t; NaN in regions that some run does not cover.

    Raises
    ------
    ArgumentError
        If there is one class only, or a class with fewer than two windows.

    See Also
    --------
    glm_contrasts : from region series and events.

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(8, 4, 3)), np.tile(["rest", "task"], 4)
    >>> window_contrasts(X, y=y).sizes
    Frozen({'condition': 2, 'region': 3})
    """
    if not isinstance(windows, xr.DataArray):
        windows = xr.DataArray(np.asarray(windows), dims=("sample", "time", "region"))
    means = windows.mean("time", skipna=False).transpose("sample", "region").to_numpy()
    classes, counts = np.unique(np.asarray(y), return_counts=True)
    if len(classes) < 2 or counts.min() < 2:
        raise ArgumentError(
            "y must hold two classes or more, each with two windows or more. Got "
            f"{dict(zip(classes.tolist(), counts.tolist(), strict=True))}."
        )
    y = np.asarray(y)
    rows = [ttest_ind(means[y == one], means[y != one], equal_var=False)[0] for one in classes]
    coords = {k: v for k, v in windows.coords.items() if v.dims == ("region",)}
    coords["condition"] = classes.astype(str)
    return xr.DataArray(np.stack(rows), dims=("condition", "region"), coords=coords, name="t")


def _pooled(runs: Sequence[Run], conditions: Conditions | None) -> dict[str, list[str]]:
    """Each condition and its trial types; none for rest that is the baseline."""
    known = {kind for run in runs for kind in events_of(run)["trial_type"]}
    if conditions is None:
        conditions = {name: [name] for name in known}
    named = {k: [v] if isinstance(v, str) else list(v or ()) for k, v in conditions.items()}
    if "rest" in known and not named.get("rest", True):
        named["rest"] = ["rest"]
    if len(named) < 2:
        raise ArgumentError(f"conditions must be two or more to contrast. Got {list(named)}.")
    for name, types in named.items():
        if not types and name != "rest":
            raise ArgumentError(f"conditions: {name!r} names no trial type; only 'rest' may.")
        for kind in types:
            check_one_of(f"conditions: a trial type of {name!r}", kind, sorted(known))
    return dict(sorted(named.items()))


def _design(
    run: Run, named: dict, n_frames: int, confounds: object, hrf_model: str, high_pass: float
) -> pd.DataFrame:
    """The design matrix of a run, pooled types under their condition's name."""
    name_of = {kind: name for name, types in named.items() for kind in types}
    events = events_of(run)
    events["trial_type"] = [name_of.get(kind, kind) for kind in events["trial_type"]]
    if confounds is not None:
        confounds = pd.DataFrame(confounds)
        confounds.columns = [f"confound {name}" for name in confounds]
    return make_first_level_design_matrix(
        run.start_time + run.t_r * np.arange(n_frames),
        events,
        hrf_model=hrf_model,
        high_pass=high_pass,
        add_regs=confounds,
    )


def _percent(values: np.ndarray, run: Run) -> np.ndarray:
    """Series in percent of their mean."""
    if (values.mean(axis=0) <= values.std(axis=0)).any():
        raise DataError(
            f"{run.label}: a region's mean is no larger than its standard deviation, so the series "
            "has no percent signal change. Give series as they were extracted, not yet cleaned."
        )
    return mean_scaling(values)[0]


def _z_scores(fits: list[tuple], name: str, named: dict) -> np.ndarray:
    """One condition against the mean of the others, over the runs that have them."""
    usable = []
    for design, labels, results in fits:
        # A condition without trial types is the baseline, which any run has.
        there = [one for one in named if one in design or not named[one]]
        if name in there and len(there) > 1:
            weights = {one: -1 / (len(there) - 1) for one in there} | {name: 1.0}
            usable.append((labels, results, np.array([weights.get(c, 0.0) for c in design])))
    if not usable:
        raise DataError(f"No run has both {name!r} and another condition: nothing to contrast.")
    labels, results, vectors = map(list, zip(*usable, strict=True))
    return compute_fixed_effect_contrast(labels, results, vectors, "t").z_score()
