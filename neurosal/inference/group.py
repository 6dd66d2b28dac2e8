"""Does it hold over subjects? Maps of importance tested cell by cell, region x time.

The subject is the unit: windows are averaged within subjects first. All p-values of ``"max-t"`` and
``"cluster"`` come from flipping the signs of whole subjects.
"""

import xarray as xr
from scipy import sparse

from neurosal import __version__
from neurosal.errors import ArgumentError, check_one_of
from neurosal.inference.adjacency import region_adjacency
from neurosal.inference.cells import MEANINGS, MISSING
from neurosal.inference.family import family_test
from neurosal.inference.settings import Settings
from neurosal.inference.subjects import summarise
from neurosal.inference.untested import tell_smallest, tell_untested
from neurosal.parcellation.base import RegionAtlas

_MEANING = {
    "mean": "mean over subjects",
    "ci_low": "lower end of the confidence interval of the mean, each cell by itself",
    "ci_high": "upper end of the confidence interval of the mean, each cell by itself",
    "t": "Student's t of the mean over subjects",
    "dz": "Cohen's dz: mean over standard deviation of subjects",
    "dz_low": "lower end of the confidence interval of dz",
    "dz_high": "upper end of the confidence interval of dz",
    "p_t": "p-value of Student's t, each cell by itself",
    "p_uncorrected": "p-value of sign flips, each cell by itself",
    "p": "corrected p-value",
    "significant": "p is at most alpha",
    "cluster": "number of the cluster, the heaviest first; 0 is none",
    "status": "whether a cell is tested",
}
_FROM_MAPS = ("t_r", "atlas", "atlas_hash", "method", "output", "units", "n_windows")
_ONE_SIGN = 1e-9  # of the largest value: what is smaller is rounding
_SAME = {"coords": "minimal", "compat": "override", "data_vars": "all"}


def group_test(
    maps: xr.DataArray,
    *,
    contrast: str | tuple[str, str] | None = None,
    correction: str = "max-t",
    tail: str = "two-sided",
    alpha: float = 0.05,
    n_permutations: int = 5000,
    center: str | None = None,
    adjacency: RegionAtlas | sparse.sparray | None = None,
    threshold: float | str | None = None,
    family: str = "condition",
    seed: int = 0,
    progress: bool = True,
) -> xr.Dataset:
    """Test which cells (time, region) of a map differ from zero over subjects.

    **The null hypothesis** is that each subject's mean map is as likely as its negative: that the
    mean importance in the population is zero in every cell (for ``contrast=("a", "b")``: that the
    two conditions' maps can be exchanged). A small p-value says that the map is consistent over
    subjects, given the networks that made it. **It does not say that a region is needed to tell the
    conditions apart, nor that the decoder is better than chance**: signed attributions of a network
    at chance, even of an untrained one, need not average to zero, because all subjects share its
    weights and their brains respond alike. Test the accuracy first
    (:func:`~neurosal.inference.decoding.prediction_test`), and see that the map of an untrained and
    of a label-shuffled network does not show the same cells. Networks of cross-validation share
    training subjects; that other networks, trained anew, would show the same is not tested.

    Importance that cannot be negative (absolute gradients, attention) has no such null: its mean is
    above zero whatever happens, and every cell would be significant. Such maps are refused, unless
    two conditions are compared, or ``center`` is given.

    Parameters
    ----------
    maps : xarray.DataArray
        Importance, dimensions sample, time and region, with ``subject`` and, where there are any,
        ``condition`` on ``sample``. Averaged within subject and condition first.
    contrast : None, str or (str, str)
        None tests each condition; a name that one; a pair the difference, first minus second,
        within subjects (paired).
    correction : {"max-t", "cluster", "fdr", "none"}
        For testing many cells. ``"max-t"``: family-wise error, cell by cell. ``"cluster"``:
        family-wise error of clusters of neighbours in atlas and time, see
        :func:`~neurosal.inference.clusters.cluster_test`. ``"fdr"``: false discovery rate of
        Benjamini and Hochberg on the p-values of Student's t (``p_t``), which assume normal means
        but are fine enough for many cells. ``"none"``: sign flips without correction.
    tail : {"two-sided", "greater", "less"}
        What is looked for: means that differ from zero, are above it, or below.
    alpha : float
        The level of ``significant``; intervals are of level ``1 - alpha``.
    n_permutations : int
        The most sign flips; if there are no more than that, each is taken once (exact test).
    center : {None, "map", "time"}
        Subtract from each subject's map its mean over the tested cells, or at each time that over
        regions. The question is then whether a cell counts for more than the average cell (of its
        time), which can be asked of absolute importance too, but with ``tail="greater"`` only:
        such values are skewed, so that sign flips find too many cells below the average (of 300
        simulated studies without effect, up to 26 % had some, but no more than 3 % any above).
        A region may exceed the average because its signal varies more, whatever it tells.
    adjacency : atlas, scipy.sparse array or None
        For ``"cluster"``: the atlas of the maps, or neighbours of shape (region, region) in the
        order of ``maps["region"]``, see :func:`~neurosal.inference.adjacency.region_adjacency`.
    threshold : float, "tfce" or None
        For ``"cluster"``: the t that makes a cluster; None: that of p = .001.
    family : {"condition", "all"}
        Correct within each condition, or over the cells of all conditions together.
    seed : int
        Of the random flips.
    progress : bool
        Say when a cluster test begins, which may take minutes.

    Returns
    -------
    xarray.Dataset
        Dimensions ``time`` and ``region``, with ``condition`` before them if ``contrast`` is None
        and maps have conditions; else the scalar coordinate ``condition`` names what was tested.
        Variables ``mean``, ``ci_low``, ``ci_high``, ``t``, ``dz`` (Cohen's, with ``dz_low`` and
        ``dz_high``), ``p_t``, ``p_uncorrected``, ``p``, ``significant``; ``cluster`` for clusters;
        ``status`` (0 tested, 1 missing in some subject, 2 constant over subjects); and
        ``n_subjects`` for each condition. What is not tested is NaN, but for ``mean``, and a
        warning names it. The attributes hold the settings.

    Raises
    ------
    ArgumentError
        If an argument does not fit, maps are of one sign, or mne is needed and not installed.
    DataError
        If there are fewer than two subjects, or no cell can be tested.

    Warns
    -----
    UserWarning
        If the number of subjects cannot give a p-value as small as ``alpha``.

    References
    ----------
    Nichols & Holmes (2002), Nonparametric permutation tests for functional neuroimaging.
    https://doi.org/10.1002/hbm.1058

    Benjamini & Hochberg (1995), Controlling the false discovery rate.
    https://doi.org/10.1111/j.2517-6161.1995.tb02031.x

    Adebayo et al. (2018), Sanity checks for saliency maps.
    https://doi.org/10.48550/arXiv.1810.03292

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> maps = xr.DataArray(rng.standard_normal((20, 3, 2)), dims=("sample", "time", "region"),
    ...     coords={"subject": ("sample", np.repeat(np.arange(10), 2)), "region": ["V1", "M1"],
    ...             "condition": ("sample", ["lh", "rh"] * 10)})
    >>> maps[1::2, 1, 1] += 3.0
    >>> result = group_test(maps, contrast=("rh", "lh"))
    >>> result["significant"].values.tolist(), result["condition"].item()
    ([[False, False], [False, True], [False, False]], 'rh - lh')
    """
    settings = Settings(
        correction, tail, alpha, n_permutations, center, threshold, family, seed, progress
    )
    means, reach = summarise(maps, _conditions_of(contrast))
    if not isinstance(contrast, tuple | list):
        _refuse_one_sign(reach, maps.attrs, settings)
    means = _questions(means, contrast)
    neighbours = _neighbours(adjacency, means) if correction == "cluster" else None
    families = [means] if family == "all" else [means[[i]] for i in range(len(means))]
    found = []
    for one in families:
        found.append(family_test(one, neighbours, settings))
    joined = xr.concat(found, "condition", join="override", **_SAME) if found[1:] else found[0]
    tell_smallest(int(joined["n_subjects"].min()), settings)
    tell_untested(joined, means)
    if contrast is not None or None in reach:
        joined = joined.isel(condition=0, drop=None in reach)
    return _described(joined, means.attrs, settings)


def thresholded(result: xr.Dataset, *, variable: str = "mean", fill: float = 0.0) -> xr.DataArray:
    """Keep a map where it is significant.

    Parameters
    ----------
    result : xarray.Dataset
        What :func:`group_test` gives.
    variable : str
        Which map, for instance ``"mean"``, ``"t"`` or ``"dz"``.
    fill : float
        What stands in cells that are not significant: 0, or NaN.

    Returns
    -------
    xarray.DataArray
        Of the shape of ``result["mean"]``; NaN in cells that are missing. It projects and plots as
        any map does, a condition at a time.

    Raises
    ------
    ArgumentError
        If there is no such variable.

    Examples
    --------
    >>> import numpy as np
    >>> values = np.random.default_rng(0).standard_normal((10, 1, 2)) + [3, 0]
    >>> maps = xr.DataArray(values, dims=("sample", "time", "region"),
    ...     coords={"subject": ("sample", np.arange(10)), "region": ["V1", "M1"]})
    >>> thresholded(group_test(maps)).round(1).values.tolist()
    [[2.7, 0.0]]
    """
    check_one_of("variable", variable, [name for name in result if "region" in result[name].dims])
    kept = result[variable].where(result["significant"], fill).where(result["status"] != MISSING)
    attrs = {**result.attrs, **result[variable].attrs}
    return kept.rename("map").assign_attrs(attrs)


def _conditions_of(contrast: object) -> list | None:
    """List the conditions that a contrast names."""
    if not isinstance(contrast, tuple | list):
        return None if contrast is None else [contrast]
    if len(contrast) != 2 or contrast[0] == contrast[1]:
        raise ArgumentError(
            f"contrast must be a condition, a pair of two conditions, or None. Got {contrast!r}."
        )
    return list(contrast)


def _questions(means: xr.DataArray, contrast: object) -> xr.DataArray:
    """Bring the maps to what is tested, (condition, subject, time, region)."""
    if "condition" not in means.dims:
        return means.expand_dims(condition=[""])
    if not isinstance(contrast, tuple | list):
        return means
    difference = means[:1].copy(data=means.values[:1] - means.values[1:])
    return difference.assign_coords(condition=[f"{contrast[0]} - {contrast[1]}"])


def _refuse_one_sign(reach: dict, attrs: dict, settings: Settings) -> None:
    """Refuse questions that maps of one sign answer with yes whatever the truth."""
    for name, (low, high) in reach.items():
        largest = max(abs(low), abs(high))
        above, below = low >= -_ONE_SIGN * largest, high <= _ONE_SIGN * largest
        sound = settings.center and settings.tail == ("greater" if above else "less")
        if largest == 0 or not (above or below) or sound:
            continue
        of = "" if name is None else f" of condition {name!r}"
        method = f" (method {attrs['method']!r})" if "method" in attrs else ""
        raise ArgumentError(
            f"The maps{of}{method} have one sign only: their values go from {low:.3g} to "
            f"{high:.3g}. Their mean differs from zero whatever the truth, and sign flips would "
            "call every cell significant. Explain with a signed method "
            "(method='integrated_gradients', target=...), compare two conditions (contrast=('a', "
            "'b')), or ask which cells count for more than the average cell: center='map' or "
            f"center='time' with tail={'greater' if above else 'less'!r}. Got "
            f"center={settings.center!r} and tail={settings.tail!r}."
        )


def _neighbours(adjacency: object, means: xr.DataArray) -> sparse.csr_array:
    """Give the neighbours of the maps' regions."""
    n = means.sizes["region"]
    if isinstance(adjacency, RegionAtlas):
        names = means["region"].values if "region" in means.coords else None
        return region_adjacency(adjacency, regions=names)
    if not sparse.issparse(adjacency) or adjacency.shape != (n, n):
        got = adjacency.shape if sparse.issparse(adjacency) else type(adjacency).__name__
        raise ArgumentError(
            "correction='cluster' needs adjacency=: the atlas of the maps, or a scipy.sparse array "
            f"of shape ({n}, {n}), as region_adjacency(atlas, regions=maps['region']) gives it. "
            f"Got {got}."
        )
    return sparse.csr_array(adjacency)


def _described(result: xr.Dataset, attrs: dict, settings: Settings) -> xr.Dataset:
    """Add the meaning of the variables, and the settings."""
    result = result[[*(name for name in _MEANING if name in result), "n_subjects"]]
    for name in set(result) & set(_MEANING):
        result[name].attrs["long_name"] = _MEANING[name]
    for name in ("mean", "ci_low", "ci_high"):
        result[name].attrs["units"] = str(attrs.get("units", "importance"))
    result["status"].attrs |= {"flag_values": [0, 1, 2], "flag_meanings": MEANINGS}
    n_subjects = int(result["n_subjects"].min())
    test, null = "sign flips of whole subjects", "each subject's map is as likely as its negative"
    if settings.correction == "fdr":
        test, null = "Student's t over subjects", "the mean over subjects is zero"
    result.attrs = {name: attrs[name] for name in _FROM_MAPS if name in attrs} | {
        "test": test,
        "null_hypothesis": null,
        **settings.as_attributes(n_subjects),
        "n_subjects": n_subjects,
        "version": __version__,
    }
    return result
