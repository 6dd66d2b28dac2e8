"""Several methods on the same windows: how far they agree, and what each costs."""

import inspect
import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import rankdata

from neurosal.errors import ArgumentError
from neurosal.saliency.explain import explain
from neurosal.saliency.methods import METHODS, find_method
from neurosal.saliency.network import as_network
from neurosal.saliency.windows import Windows

COMPARED = ("gradient", "gradient_x_input", "integrated_gradients", "smoothgrad", "occlusion")
#: What `explain` takes whatever the method.
SHARED = set(inspect.signature(explain).parameters) - {"model", "x", "method", "method_arguments"}


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
        Rank correlation of absolute importance between every two methods, mean over samples. It
        is over the cells that can count: no padding, and no step after ``at``.
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
        Passed on to :func:`~neurosal.saliency.explain.explain`, such as ``target``; no ``out``.

    Returns
    -------
    Comparison
        Maps, table and agreement; :func:`~neurosal.reporting.plot_method_comparison` draws them.

    Raises
    ------
    ArgumentError
        If fewer than two methods are given, or an argument does not fit. Names and arguments of
        all methods are looked at before the first map is made.

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
    classes = arguments.pop("classes", None)
    asked = {name: arguments | own for name, own in _own_arguments(methods).items()}
    for name, given in asked.items():
        _check(name, given)
    network = as_network(model, classes)
    maps, rows = {}, {}
    for name, given in asked.items():
        maps[name], rows[name] = _measure(network, x, name, given)
    steps = counted_steps(x, [given.get("at", "end") for given in asked.values()])
    agreement = rank_agreement(maps, np.broadcast_to(steps[:, :, None], maps[name].shape))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    others = agreement.where(~np.eye(len(agreement), dtype=bool))
    return Comparison(table.assign(agreement=others.mean(axis=1)), agreement, maps)


def _own_arguments(methods: object) -> dict[str, dict]:
    """Each method's own arguments."""
    names = [methods] if isinstance(methods, str) or not isinstance(methods, Iterable) else methods
    names = list(names)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < 2:
        raise ArgumentError(f"methods must name at least two methods that differ. Got {methods!r}.")
    if not isinstance(methods, dict):
        return {name: {} for name in names}
    for name, own in methods.items():
        if not isinstance(own, dict):
            raise ArgumentError(
                f"methods must give each method a dict of its own arguments. Got {own!r} for "
                f"{name!r}; write {{}} for none."
            )
    return methods


def _check(name: str, arguments: dict) -> None:
    """Refuse what does not fit a method, or does not fit a comparison."""
    if "method" in arguments:
        raise ArgumentError(
            f"method must be left out to compare methods. Got {arguments['method']!r}; list the "
            "methods in 'methods'."
        )
    if arguments.get("out") is not None:
        raise ArgumentError(
            f"out must be left out to compare methods, which have one map each. Got "
            f"{arguments['out']!r}; call explain for each method, with a file of its own."
        )
    if isinstance(arguments.get("at"), str) and arguments["at"] == "all":
        raise ArgumentError("at must be 'end' or a step to compare methods. Got 'all'.")
    find_method(name, {key: arguments[key] for key in arguments.keys() - SHARED})


def _measure(network: object, x: object, name: str, arguments: dict) -> tuple[xr.DataArray, dict]:
    """Explain by one method; count what it sends through the network, and the seconds."""
    started = time.perf_counter()
    maps = explain(network, x, method=name, **arguments)
    seconds = time.perf_counter() - started
    kind = METHODS[name]
    costs = {way: maps.attrs[f"{way}_passes"] for way in ("forward", "backward")}
    return maps, costs | {"seconds": seconds, "signed": kind.signed, "additive": kind.additive}


def counted_steps(x: object, ends: list[str | int]) -> np.ndarray:
    """Mark the steps that can count: no padding, and none after the latest ``at``.

    Parameters
    ----------
    x : array or sequence of arrays
        As :func:`~neurosal.saliency.explain.explain` takes it.
    ends : list of "end" or int
        ``at`` of each method.

    Returns
    -------
    numpy.ndarray of bool
        (sample, time).

    Examples
    --------
    >>> counted_steps([[[1.0], [2.0], [3.0]], [[1.0], [np.nan], [np.nan]]], ["end"]).tolist()
    [[True, True, True], [True, False, False]]
    """
    windows = Windows(x)
    n, steps, _ = windows.shape
    lengths = windows.take(0, n)[1]
    last = max(steps if end == "end" else int(end) + 1 for end in ends)
    ends = np.minimum(steps if lengths is None else lengths.numpy()[:, None], last)
    return np.broadcast_to(np.arange(steps) < ends, (n, steps))


def rank_agreement(maps: dict[str, xr.DataArray], cells: np.ndarray) -> pd.DataFrame:
    """Correlate every two methods' absolute importance by rank, mean over samples.

    Parameters
    ----------
    maps : dict of str to xarray.DataArray
        Method to maps (sample, time, region).
    cells : numpy.ndarray of bool
        (sample, time, region): the cells that count.

    Returns
    -------
    pandas.DataFrame
        (method, method).

    Examples
    --------
    >>> maps = {"a": xr.DataArray([[[1.0, 2.0, 9.0]]]), "b": xr.DataArray([[[3.0, 5.0, 0.0]]])}
    >>> cells = np.array([[[True, True, False]]])
    >>> float(rank_agreement(maps, cells).loc["a", "b"].round(6))
    1.0
    """
    ranks = [_centred_ranks(array.values, cells) for array in maps.values()]
    square = [[float(np.nanmean((a * b).sum(1))) for b in ranks] for a in ranks]
    return pd.DataFrame(square, index=list(maps), columns=list(maps))


def _centred_ranks(maps: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Ranks of each sample's cells that count, zero in others, centred and of unit length.

    NaN where a map is constant in these cells.
    """
    cells = cells.reshape(len(cells), -1)
    values = np.where(cells, np.abs(maps).reshape(cells.shape), -1)  # lowest: shifts the others
    ranks = rankdata(values, axis=1)
    ranks = np.where(cells, ranks - ranks.mean(axis=1, where=cells, keepdims=True), 0)
    norm = np.linalg.norm(ranks, axis=1, keepdims=True)
    return np.divide(ranks, norm, out=np.full_like(ranks, np.nan), where=norm > 0)
