"""Several methods on the same windows: how far they agree, and what each costs."""

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata

from neurosal.errors import ArgumentError
from neurosal.saliency.explain import explain
from neurosal.saliency.methods import METHODS
from neurosal.saliency.network import as_network

COMPARED = ("gradient", "gradient_x_input", "integrated_gradients", "smoothgrad", "occlusion")


@dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare_methods` found.

    Parameters
    ----------
    table : pandas.DataFrame
        One row a method: ``forward`` and ``backward`` (samples sent through the network and back,
        for each map), ``seconds``, ``signed``, ``additive``, ``agreement`` (mean rank correlation
        with the other methods).
    agreement : pandas.DataFrame
        Rank correlation of absolute importance between every two methods, mean over samples.
    maps : dict of str to xarray.DataArray
        Method to maps (sample, time, region).
    """

    table: pd.DataFrame
    agreement: pd.DataFrame
    maps: dict[str, xr.DataArray]


def compare_methods(
    model: object,
    x: object,
    *,
    methods: list[str] | tuple[str, ...] | dict[str, dict] = COMPARED,
    **arguments: object,
) -> Comparison:
    """Explain the same windows by several methods, and compare maps and costs.

    Parameters
    ----------
    model, x
        As in :func:`~neurosal.saliency.explain.explain`.
    methods : list of str, or dict of str to dict
        Names of methods, or each with its own arguments.
    **arguments
        Passed on to :func:`~neurosal.saliency.explain.explain`, such as ``target``.

    Returns
    -------
    Comparison
        Maps, table and agreement; :func:`~neurosal.reporting.plot_method_comparison` draws them.

    Raises
    ------
    ArgumentError
        If fewer than two methods are given, or an argument does not fit.

    Examples
    --------
    >>> import torch
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2))
    >>> x = np.random.default_rng(0).normal(size=(3, 4, 3))
    >>> found = compare_methods(network, x, target=1,
    ...                         methods=["gradient_x_input", "integrated_gradients"])
    >>> float(found.agreement.loc["gradient_x_input", "integrated_gradients"].round(3))
    1.0
    """
    if isinstance(methods, str) or len(methods) < 2:
        raise ArgumentError(f"methods must name at least two methods. Got {methods!r}.")
    if arguments.get("at") == "all":
        raise ArgumentError("at must be 'end' or a step to compare methods. Got 'all'.")
    own = methods if isinstance(methods, dict) else {name: {} for name in methods}
    network = as_network(model, arguments.pop("classes", None))
    maps, rows = {}, {}
    for name, extra in own.items():
        maps[name], rows[name] = _measure(network, x, name, {**arguments, **extra})
    agreement = _agreement(maps)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    others = agreement.where(~np.eye(len(agreement), dtype=bool))
    return Comparison(table.assign(agreement=others.mean(axis=1)), agreement, maps)


def _measure(network: object, x: object, name: str, arguments: dict) -> tuple[xr.DataArray, dict]:
    """Explain by one method; count what it sends through the network, and the seconds."""
    started = time.perf_counter()
    maps = explain(network, x, method=name, **arguments)
    seconds = time.perf_counter() - started
    kind = METHODS[name]
    costs = {way: maps.attrs[f"{way}_passes"] for way in ("forward", "backward")}
    return maps, costs | {"seconds": seconds, "signed": kind.signed, "additive": kind.additive}


def _agreement(maps: dict[str, xr.DataArray]) -> pd.DataFrame:
    """Mean over samples of the rank correlation of absolute importance."""
    ranks = [_centred_ranks(array.values) for array in maps.values()]
    square = [[float(np.nanmean((a * b).sum(1))) for b in ranks] for a in ranks]
    return pd.DataFrame(square, index=list(maps), columns=list(maps))


def _centred_ranks(maps: np.ndarray) -> np.ndarray:
    """Ranks within each sample, centred and of unit length; NaN where a map is constant."""
    ranks = rankdata(np.abs(maps).reshape(len(maps), -1), axis=1)
    ranks = ranks - ranks.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.divide(ranks, norm, out=np.full_like(ranks, np.nan), where=norm > 0)
