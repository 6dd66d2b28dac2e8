"""Beside the map, the contrast of the general linear model: how far they name the same regions."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.stats import rankdata

from neurosal.errors import ArgumentError
from neurosal.loaders.runs import Run
from neurosal.validation.agreement import unit_ranks
from neurosal.validation.check import Check
from neurosal.validation.region_contrasts import Conditions, glm_contrasts
from neurosal.validation.spatial_null import MoranNull

QUESTION = "Does the map name the regions whose mean response differs between the conditions?"
CANNOT_SHOW = (
    "Neither agreement nor difference says that the map is right: a decoder may use patterns over "
    "regions and time that no region shows alone, and need not use all that differ. Where cells "
    "are screened by a test of each one, as by default, part of the agreement is built in."
)


def glm_comparison(
    importance: xr.DataArray,
    series: Sequence[xr.DataArray],
    *,
    runs: Sequence[Run],
    centroids: object = None,
    conditions: Conditions | None = None,
    confounds: Sequence[object] | None = None,
    sample_masks: Sequence[object] | None = None,
    n_null: int = 999,
    seed: int = 0,
) -> Check:
    """Compare a map with the contrasts of a general linear model of the same region series.

    Parameters
    ----------
    importance : xarray.DataArray of shape (condition, time, region)
        The mean map of each condition.
    series : sequence of xarray.DataArray of shape (time, region)
        The region series of each run as they were extracted.
    runs : sequence of Run
        The runs.
    centroids, n_null, seed
        As in :func:`contrast_comparison`.
    conditions, confounds, sample_masks
        As in :func:`~neurosal.validation.region_contrasts.glm_contrasts`.

    Returns
    -------
    Check
        As of :func:`contrast_comparison`.

    Raises
    ------
    ArgumentError, DataError
        If the arguments do not fit each other.

    Examples
    --------
    >>> import pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> events = pd.DataFrame({"onset": np.arange(0, 160, 20.0), "duration": 10.0,
    ...                        "trial_type": ["face", "house"] * 4})
    >>> run = Run("bold.nii.gz", events, 2.0, subject="01", task="faces")
    >>> names = list("abcdef")
    >>> one = xr.DataArray(
    ...     rng.normal(100, 1, (90, 6)), dims=("time", "region"), coords={"region": names})
    >>> importance = xr.DataArray(
    ...     rng.random((2, 3, 6)), dims=("condition", "time", "region"),
    ...     coords={"condition": ["face", "house"], "region": names})
    >>> glm_comparison(importance, [one], runs=[run]).verdict
    'reported'
    """
    asked = {"conditions": conditions, "confounds": confounds, "sample_masks": sample_masks}
    contrasts = glm_contrasts(series, runs, **asked)
    kind = "z of the general linear model's contrast"
    options = {"centroids": centroids, "n_null": n_null, "seed": seed}
    return contrast_comparison(importance, contrasts, kind=kind, **options)


def contrast_comparison(
    importance: xr.DataArray,
    contrasts: xr.DataArray,
    *,
    centroids: object = None,
    kind: str = "contrast",
    n_null: int = 999,
    seed: int = 0,
) -> Check:
    """Correlate, over regions, the size of a map with the size of each condition's contrast.

    A region's importance is the mean over time of the size of the condition's mean map. The
    correlation is Spearman's, for each condition; their mean is compared with maps of chance that
    are as smooth in space: Moran spectral randomisation of the ranks, with the same signs for all
    conditions. Without centroids there is no p-value. Always ``reported``: a map may be true and
    differ from a contrast.

    Parameters
    ----------
    importance : xarray.DataArray of shape (condition, time, region)
        The mean map of each condition.
    contrasts : xarray.DataArray of shape (condition, region)
        From :func:`~neurosal.validation.region_contrasts.glm_contrasts` or
        :func:`~neurosal.validation.region_contrasts.window_contrasts`.
    centroids : array-like of shape (region, 3), optional
        Centres in mm of the regions of ``importance``, from
        :func:`~neurosal.validation.spatial_null.region_centroids`.
    kind : str
        What the contrasts are, for the finding.
    n_null : int
        Maps of chance.
    seed : int
        Of the maps of chance.

    Returns
    -------
    Check
        ``data`` holds ``importance`` and ``contrast``, sizes (condition, region), and
        ``correlation`` (condition), ``p`` (condition) and ``null`` (draw, condition).

    Raises
    ------
    ArgumentError
        If the two share no condition or fewer than 4 regions.

    References
    ----------
    Wagner & Dray (2015), https://doi.org/10.1111/2041-210X.12407

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> coords = {"condition": ["face", "house"], "region": list("abcdefgh")}
    >>> importance = xr.DataArray(
    ...     rng.random((2, 3, 8)), dims=("condition", "time", "region"), coords=coords)
    >>> contrasts = importance.mean("time")
    >>> places = rng.uniform(-60, 60, (8, 3))
    >>> check = contrast_comparison(importance, contrasts, centroids=places)
    >>> round(check.values["rank_correlation"], 6)
    1.0
    """
    sizes, ours, places = _paired(importance, contrasts, centroids)
    first, second = unit_ranks(sizes), unit_ranks(ours)
    found = (first * second).sum(axis=-1)
    data = xr.Dataset(
        {
            "importance": sizes.drop_attrs(),
            "contrast": (("condition", "region"), ours.to_numpy()),
            "correlation": ("condition", found),
        },
    )
    values = {"rank_correlation": float(np.nanmean(found))}
    values["rank_correlation_within_screened"] = _within(sizes.to_numpy(), ours.to_numpy())
    if places is not None:
        known = np.isfinite(found)
        null = np.full((n_null, len(found)), np.nan)
        draws = MoranNull(places).draw(rankdata(sizes[known], axis=-1), n=n_null, seed=seed)
        null[:, known] = _correlations(draws, second[known])
        data["null"] = (("draw", "condition"), null)
        data["p"] = ("condition", _p(null, found))
        values["p_spatial"] = float(_p(null[:, known].mean(axis=1), found[known].mean()))
    return Check(
        name="GLM contrast",
        question=QUESTION,
        verdict="reported",
        finding=_say(values, data, kind, n_null),
        cannot_show=CANNOT_SHOW,
        values=values,
        data=data,
    )


def _paired(
    importance: xr.DataArray, contrasts: xr.DataArray, centroids: object
) -> tuple[xr.DataArray, xr.DataArray, np.ndarray | None]:
    """Sizes of map and contrast in the conditions and regions that both know."""
    sizes = abs(importance).mean("time", skipna=False).transpose("condition", "region")
    names = [str(one) for one in sizes["condition"].to_numpy()]
    known = {str(one) for one in contrasts["condition"].to_numpy()}
    shared = [name for name in names if name in known]
    if not shared:
        raise ArgumentError(
            f"importance and contrasts share no condition: {names} against {sorted(known)}."
        )
    ours = abs(contrasts).assign_coords(condition=contrasts["condition"].astype(str))
    ours = ours.sel(condition=shared).reindex(region=sizes["region"].to_numpy())
    ours = ours.transpose("condition", "region")
    sizes = sizes.assign_coords(condition=names).sel(condition=shared)
    both = (np.isfinite(sizes) & np.isfinite(ours.to_numpy())).all("condition").to_numpy()
    if both.sum() < 4:
        raise ArgumentError(f"importance and contrasts share {both.sum()} regions; 4 are needed.")
    places = None
    if centroids is not None:
        places = np.asarray(centroids, dtype=float)
        if places.shape != (len(both), 3):
            raise ArgumentError(
                f"centroids must be (region, 3), for the {len(both)} regions of importance. Got "
                f"{places.shape}."
            )
        places = places[both]
    return sizes[:, both], ours[:, both], places


def _within(sizes: np.ndarray, ours: np.ndarray) -> float:
    """Mean rank correlation over the regions that have any importance."""
    some = (sizes > 0).any(axis=0)
    if some.sum() < 4:
        return float("nan")
    found = (unit_ranks(sizes[:, some]) * unit_ranks(ours[:, some])).sum(axis=-1)
    return float(np.nanmean(found))


def _correlations(draws: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Correlation of chance maps (draw, condition, region) with centred unit ranks."""
    centred = draws - draws.mean(axis=-1, keepdims=True)
    return (centred * units).sum(axis=-1) / np.linalg.norm(centred, axis=-1)


def _p(null: np.ndarray, found: np.ndarray) -> np.ndarray:
    """How often chance correlates as highly."""
    p = (1 + (null >= found - 1e-12).sum(axis=0)) / (1 + len(null))
    return np.where(np.isfinite(found), p, np.nan)


def _say(values: dict, data: xr.Dataset, kind: str, n_null: int) -> str:
    """Put the numbers into words."""
    found = ", ".join(
        f"{name} {value:.2f}"
        for name, value in zip(data["condition"].values, data["correlation"].values, strict=True)
    )
    chance = "no centroids, so no test against chance"
    if "p_spatial" in values:
        chance = f"p = {values['p_spatial']:.2g} against {n_null} maps of chance as smooth in space"
    return (
        f"Rank correlation of importance with the size of the {kind}, over "
        f"{data.sizes['region']} regions: {values['rank_correlation']:.2f} on average ({found}); "
        f"{chance}. Over the regions with any importance: "
        f"{values['rank_correlation_within_screened']:.2f}."
    )
