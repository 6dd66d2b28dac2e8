"""Region x time maps: importance of each condition, and importance beside the known truth."""

from dataclasses import replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from neurosal.errors import ArgumentError
from neurosal.reporting import style
from neurosal.reporting.region_panels import (
    draw_map,
    finish,
    look_of,
    map_bar,
    mark_times,
    ordered,
    panels_of,
    time_key,
    time_marks,
)
from neurosal.reporting.style import UNITS, plain

_ABSENT, _PRESENT = "#F0F0F0", "#222222"


@style.styled
def plot_region_time(
    importance: xr.DataArray,
    *,
    units: str = UNITS,
    scale: str = "auto",
    vmax: float | None = None,
    hrf_peak: float | None = 5.0,
    max_names: int = 64,
    title: str = "",
) -> Figure:
    """Draw importance as a region x time map, one panel a condition, on one colour scale.

    Regions are grouped by network. Grey rows are regions without data.

    Parameters
    ----------
    importance : xarray.DataArray
        Shape (time, region) or (condition, time, region); ``time`` in s from event onset.
    units : str, default="attribution (logit)"
        Written beside the colour bar.
    scale : {"auto", "signed", "sequential"}, default="auto"
        As in :func:`neurosal.reporting.style.colour_scale`.
    vmax : float, optional
        Upper limit of the scale, in ``units``; by default the 99.5th percentile.
    hrf_peak : float, optional
        When the haemodynamic response to the event's onset is expected to peak (s), marked where
        it is inside the window; None leaves the mark out.
    max_names : int, default=64
        Up to so many regions are named; more are shown by network alone.
    title : str, default=""
        Heading of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        The caller saves it.

    Raises
    ------
    ArgumentError
        If the dimensions are others or nothing is in them.

    Examples
    --------
    >>> array = xr.DataArray(np.eye(3), dims=("time", "region"), coords={"time": [5., 6., 7.]})
    >>> len(plot_region_time(array).axes)
    2
    """
    maps = ordered(importance)
    look = look_of(maps, scale=scale, vmax=vmax, max_names=max_names)
    figure, panels = panels_of(maps.sizes["condition"], look)
    marks = time_marks(look, hrf_peak)
    for panel, condition in zip(panels.flat, maps, strict=False):
        draw_map(panel, condition.values, look)
        mark_times(panel, marks)
        panel.set_title(plain(condition["condition"].item(), longest=24), pad=8, fontweight="bold")
    finish(panels, maps.sizes["condition"], look)
    map_bar(figure, list(panels.flat), look, units)
    time_key(figure, marks, missing=bool(np.isnan(maps.values).any()))
    if title:
        figure.suptitle(plain(title, longest=100), fontsize=10, fontweight="bold")
    return figure


@style.styled
def plot_truth_recovery(
    importance: xr.DataArray,
    truth: xr.DataArray,
    *,
    scores: dict | None = None,
    units: str = UNITS,
    max_names: int = 40,
) -> Figure:
    """Draw importance above the known truth, and how well the one ranks the other.

    Entries are ranked by absolute importance. The area under the precision-recall curve is average
    precision; a random map's is the share of true entries.

    Parameters
    ----------
    importance : xarray.DataArray
        Shape (condition, time, region).
    truth : xarray.DataArray of bool
        Which entries carry the effect, with the same conditions, times and regions.
    scores : dict, optional
        Condition to area under the curve, to be written instead of the one computed here.
    units : str, default="attribution (logit)"
        Of the importance.
    max_names : int, default=40
        Up to so many regions are named.

    Returns
    -------
    matplotlib.figure.Figure
        Importance in the upper row, truth in the lower one, curves at the right.

    Raises
    ------
    ArgumentError
        If the two do not share conditions, times and regions.

    References
    ----------
    Saito & Rehmsmeier (2015), The precision-recall plot is more informative than the ROC plot
    when evaluating binary classifiers on imbalanced datasets.
    https://doi.org/10.1371/journal.pone.0118432

    Examples
    --------
    >>> shape = dict(dims=("condition", "time", "region"), coords={"condition": ["rh"]})
    >>> truth = xr.DataArray(np.eye(3)[None] > 0, **shape)
    >>> len(plot_truth_recovery(xr.DataArray(np.eye(3)[None], **shape), truth).axes)
    5
    """
    maps, truth = ordered(importance), ordered(_like(truth, importance))
    look = look_of(maps, max_names=max_names)
    n = maps.sizes["condition"]
    width = min(2.4 + 1.5 * n, 8.4)
    figure = style.new_figure(width + 2.9, 2 * max(look.height * 0.7, 1.7) + 0.7)
    left, right = figure.subfigures(1, 2, width_ratios=(width, 2.9))
    look = replace(look, height=max(look.height * 0.7, 1.7))
    panels = left.subplots(2, n, squeeze=False)
    binary = ListedColormap([_ABSENT, _PRESENT])
    binary = replace(look, colours=binary, limits=Normalize(0, 1), extend="neither")
    for i in range(n):
        draw_map(panels[0, i], maps.values[i], look)
        draw_map(panels[1, i], truth.values[i].astype(float), binary)
        panels[0, i].set_title(plain(maps["condition"].values[i], longest=16), fontweight="bold")
    finish(panels, 2 * n, look)
    map_bar(left, list(panels[0]), look, f"Importance: {units}")
    bar = map_bar(left, list(panels[1]), binary, "Simulated truth")
    bar.set_ticks([0.25, 0.75], labels=["none", "effect"])
    _curves(right.subplots(), maps, truth, scores or {})
    return figure


def _like(truth: xr.DataArray, importance: xr.DataArray) -> xr.DataArray:
    """Check that the truth has the importance's conditions, times and regions, in its order."""
    for name in ("condition", "time", "region"):
        same = truth.sizes.get(name) == importance.sizes.get(name)
        if same and name in truth.coords and name in importance.coords and name != "time":
            same = set(truth[name].values.tolist()) == set(importance[name].values.tolist())
        if not same:
            raise ArgumentError(
                f"truth must have the {name}s of importance. Got {dict(truth.sizes)} beside "
                f"{dict(importance.sizes)}: select the shared {name}s first."
            )
    shared = [name for name in ("condition", "region") if name in truth.indexes]
    shared = {name: importance[name] for name in shared if name in importance.indexes}
    return truth.sel(shared).assign_coords(
        {name: importance[name] for name in importance.coords if name in ("time", "network")}
    )


def _curves(panel: Axes, maps: xr.DataArray, truth: xr.DataArray, scores: dict) -> None:
    """Draw a precision-recall curve a condition, and the level of a random map."""
    names = [str(name) for name in maps["condition"].values]
    colours, lines = style.colour_of(names), style.line_of(names)
    shares = []
    for name, values, true in zip(names, maps.values, truth.values.astype(bool), strict=True):
        known = np.isfinite(values)
        true, size = true[known], np.abs(values[known])
        if not true.any():
            continue
        precision, recall, _ = precision_recall_curve(true, size)
        area = scores.get(name, average_precision_score(true, size))
        look = {"color": colours[name], "ls": lines[name], "where": "post"}
        panel.step(recall, precision, label=f"{plain(name, longest=16)}: {area:.2f}", **look)
        shares.append(float(true.mean()))
    if shares:
        label = f"random map: {np.mean(shares):.2f}"
        panel.axhline(np.mean(shares), color="0.45", lw=1, ls=(0, (1, 1)), label=label)
    panel.set(xlabel="Recall", ylabel="Precision", xlim=(0, 1), ylim=(0, 1.02))
    panel.set(box_aspect=1, anchor="N")
    panel.set_title("Ranking of true entries", fontweight="bold")
    panel.legend(
        title="Area under the curve", loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2
    )
