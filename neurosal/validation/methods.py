"""Whether other explanation methods tell the same of a decoder's windows."""

import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.models.samples import DIMENSIONS
from neurosal.parcellation.coverage import covered
from neurosal.saliency.compare import (
    COMPARED,
    Comparison,
    compare_methods,
    counted_steps,
    rank_agreement,
)
from neurosal.saliency.window_decoder import WindowDecoder
from neurosal.validation.twins import balanced_sample

#: Windows that each method explains, if not said otherwise.
N_WINDOWS = 10


def method_agreement(
    decoder: WindowDecoder,
    windows: xr.DataArray,
    *,
    y: object,
    methods: list[str] | tuple[str, ...] | dict[str, dict] = COMPARED,
    n_windows: int = N_WINDOWS,
    seed: int = 0,
) -> Comparison:
    """Explain some windows of a decoder by several methods, and see how far they agree.

    Agreement is over the cells that the decoder is given and that can count: the zeros of
    screening, of padding and after ``at``, which all maps have in common, are no agreement. It says
    nothing of truth: methods can share a fault.

    Parameters
    ----------
    decoder : WindowDecoder
        Fitted.
    windows : xarray.DataArray or array of shape (sample, time, region)
        The windows; regions that some run does not cover are left out. Steps at the end that are
        NaN in every region are padding.
    y : array-like of shape (sample,)
        Their classes, whose scores are explained.
    methods : list of str, or dict of str to dict
        Names of methods of :func:`neurosal.explain`, or each with its own arguments.
    n_windows : int
        How many windows are drawn, as many of each class.
    seed : int
        Of the windows drawn and of methods that draw.

    Returns
    -------
    Comparison
        Maps, zero where cells are screened out; costs; and agreement.

    Raises
    ------
    ArgumentError
        If fewer than two methods are given, the windows are not shaped as the decoder's, or an
        argument does not fit.

    Examples
    --------
    >>> X, y = np.random.default_rng(0).normal(size=(12, 4, 3)), np.tile(["rest", "task"], 6)
    >>> decoder = WindowDecoder(screening_percentile=50).fit(X, y)
    >>> found = method_agreement(decoder, X, y=y, methods=["gradient", "occlusion"], n_windows=4)
    >>> found.maps["occlusion"].shape, list(found.agreement)
    ((4, 4, 3), ['gradient', 'occlusion'])
    """
    labelled, y = _as_fitted(windows, decoder), np.asarray(y)
    chosen = balanced_sample(y, most=n_windows, rng=np.random.default_rng(seed))
    shown, options = decoder.screen(labelled[chosen]), {"target": y[chosen], "seed": seed}
    found = compare_methods(decoder.classifier_, shown, methods=methods, **options)
    given = decoder.screening_.to_numpy()
    maps = {name: one.copy(data=one.to_numpy() * given) for name, one in found.maps.items()}
    own = methods.values() if isinstance(methods, dict) else [{}]
    steps = counted_steps(shown, [one.get("at", "end") for one in own])
    agreement = rank_agreement(maps, steps[:, :, None] & given)
    others = agreement.where(~np.eye(len(agreement), dtype=bool)).mean(axis=1)
    return Comparison(found.table.assign(agreement=others), agreement, maps)


def _as_fitted(windows: object, decoder: WindowDecoder) -> xr.DataArray:
    """Bring windows to the regions of a decoder, padding kept."""
    if not isinstance(windows, xr.DataArray):
        windows = xr.DataArray(np.asarray(windows), dims=DIMENSIONS)
    windows, shape = windows.transpose(*DIMENSIONS), decoder.screening_.shape
    if windows.sizes["region"] != shape[1]:
        windows = covered(windows)
    if windows.shape[1:] != shape:
        raise ArgumentError(
            f"windows must be (time, region) = {shape} each, as those that the decoder was fitted "
            f"on. Got {windows.shape[1:]}, without the regions that some run does not cover."
        )
    return windows
