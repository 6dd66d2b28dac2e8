"""Figures of a decoding study; each function returns a figure that the caller saves.

Colours are told apart by colour-blind readers, axes carry units, and pyplot is not used, so no
figure stays open. See :mod:`neurosal.reporting.heatmaps` for the region x time maps and
:mod:`neurosal.reporting.brains` for the brain mosaics, both of which can be imported from here.
"""

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter
from scipy import stats

from neurosal.errors import ArgumentError
from neurosal.reporting import lettering, style
from neurosal.reporting.brains import plot_brain_mosaic
from neurosal.reporting.heatmaps import plot_region_time, plot_truth_recovery
from neurosal.reporting.style import INK, UNITS, plain

__all__ = [
    "network_means",
    "plot_accuracy",
    "plot_brain_mosaic",
    "plot_confusion",
    "plot_network_timecourses",
    "plot_region_time",
    "plot_top_regions",
    "plot_truth_recovery",
]


@style.styled
def plot_confusion(
    confusion: xr.DataArray | np.ndarray, classes: Sequence[str] | None = None
) -> Figure:
    """Draw a confusion matrix: colour is the share of a true class, with counts below it.

    Parameters
    ----------
    confusion : xarray.DataArray or numpy.ndarray
        Counts of windows, shape (true, predicted).
    classes : sequence of str, optional
        Names of the classes; by default the ``true`` coordinate's.

    Returns
    -------
    matplotlib.figure.Figure
        Square cells; a class without windows is left white.

    Raises
    ------
    ArgumentError
        If the matrix is not square or the names are too few or too many.

    Examples
    --------
    >>> len(plot_confusion(np.array([[3, 1], [0, 4]]), ["rh", "lh"]).axes)
    2
    """
    counts = np.asarray(confusion, dtype=float)
    if classes is None:
        known = isinstance(confusion, xr.DataArray) and "true" in confusion.coords
        classes = confusion["true"].values if known else range(len(counts))
    names = [plain(name, longest=20) for name in classes]
    if counts.shape != (len(names), len(names)):
        raise ArgumentError(
            f"confusion must be square, one row for each of {len(names)} classes. "
            f"Got shape {counts.shape}."
        )
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    cell, margin = max(0.62, 2.4 / len(names)), lettering.text_width(names, 8) / 72
    side = cell * len(names)
    figure = style.new_figure(side + margin + 1.3, side + 0.8 + min(margin, 0.9))
    axes = figure.subplots()
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    ticks = range(len(names))
    rotate = margin > 0.9 * cell
    axes.set_xticks(ticks, names, rotation=40 if rotate else 0, ha="right" if rotate else "center")
    axes.set_yticks(ticks, names)
    axes.set(xlabel="Predicted condition", ylabel="True condition")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, column in np.ndindex(counts.shape):
        _cell_text(axes, (row, column), share[row, column], counts[row, column])
    bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1), fraction=0.045, pad=0.03)
    bar.set_label("Share of the true condition's windows")
    return figure


@style.styled
def plot_accuracy(
    per_fold: Sequence[float],
    *,
    baseline_per_fold: Sequence[float] | None = None,
    chance: float,
    baseline: str = "baseline",
) -> Figure:
    """Draw the accuracy of every fold, the mean, chance, and a baseline on the same folds.

    Parameters
    ----------
    per_fold : sequence of float
        Accuracy of each held-out fold, 0 to 1.
    baseline_per_fold : sequence of float, optional
        The baseline's on the same folds, in the same order; lines join the folds.
    chance : float
        Accuracy of guessing, 0 to 1.
    baseline : str, default="baseline"
        What the baseline is called.

    Returns
    -------
    matplotlib.figure.Figure
        Accuracy in per cent against model.

    Raises
    ------
    ArgumentError
        If there are no folds or the two lists differ in length.

    Examples
    --------
    >>> figure = plot_accuracy([0.8, 0.7], baseline_per_fold=[0.6, 0.7], chance=0.5)
    >>> figure.axes[0].get_ylabel()
    'Accuracy of held-out windows'
    """
    columns = {"network": np.asarray(per_fold, dtype=float)}
    if baseline_per_fold is not None and len(baseline_per_fold):
        columns[fill(plain(baseline, longest=60), 18)] = np.asarray(baseline_per_fold, dtype=float)
    if not len(columns["network"]) or len({len(values) for values in columns.values()}) > 1:
        raise ArgumentError(
            "per_fold and baseline_per_fold must have one number a fold. "
            f"Got {[len(values) for values in columns.values()]} numbers."
        )
    figure = style.new_figure(1.6 + 1.1 * len(columns), 3.0)
    axes = figure.subplots()
    box = {"fc": "white", "ec": "none", "pad": 1}
    jitter = np.linspace(-0.09, 0.09, len(columns["network"])) if len(per_fold) > 1 else [0.0]
    places = np.arange(len(columns))
    for fold, shift in zip(zip(*columns.values(), strict=True), jitter, strict=True):
        axes.plot(places + shift, fold, color="0.75", lw=0.7, zorder=1)
    for i, (name, values) in enumerate(columns.items()):
        colour = style.colour_of(list(columns))[name]
        mean = values.mean()
        axes.scatter(
            i + np.asarray(jitter), values, s=18, color=colour, lw=0, zorder=3, clip_on=False
        )
        axes.hlines(mean, i - 0.22, i + 0.22, color=INK, lw=1.6, zorder=2)
        axes.text(i + 0.25, mean, f"{mean:.1%}", va="center", fontsize=8, bbox=box)
    axes.axhline(chance, color="0.35", lw=0.9, ls="--")
    label = {"ha": "right", "va": "bottom", "fontsize": 7}
    axes.text(len(columns) - 0.28, chance, f"chance {chance:.1%}", **label)
    axes.set_xticks(places, list(columns))
    axes.set(
        xlim=(-0.4, len(columns) - 0.25), ylim=(0, 1.03), ylabel="Accuracy of held-out windows"
    )
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


def network_means(importance: xr.DataArray) -> pd.DataFrame:
    """Average importance over a network's regions, a subject's windows, and then subjects.

    The interval is Student's over subjects, who are independent as windows are not.

    Parameters
    ----------
    importance : xarray.DataArray
        Shape (sample, time, region), with ``condition`` and, if known, ``subject`` on samples.

    Returns
    -------
    pandas.DataFrame
        One row for each condition, network and time (s): ``mean``, half the width of the 95 %
        interval as ``half_width`` (NaN below three subjects) and ``n_subjects``.

    Raises
    ------
    ArgumentError
        If samples have no condition.

    Examples
    --------
    >>> array = xr.DataArray(np.ones((3, 2, 4)), dims=("sample", "time", "region"), coords={
    ...     "condition": ("sample", ["rh"] * 3), "subject": ("sample", ["1", "2", "3"])})
    >>> network_means(array)[["mean", "half_width", "n_subjects"]].values.tolist()
    [[1.0, 0.0, 3.0], [1.0, 0.0, 3.0]]
    """
    if "condition" not in importance.coords:
        raise ArgumentError(
            "importance must have the coordinate 'condition' on sample. "
            f"Got {sorted(map(str, importance.coords))}: give the array that explain() returns."
        )
    tall = _tall(importance)
    keys = ["condition", "network", "time"]
    subjects = tall.groupby([*keys, "subject"], sort=False)["value"].mean().dropna()
    grouped = subjects.groupby(keys, sort=False)
    table = grouped.agg(["mean", "sem", "count"]).reset_index()
    if table.empty:
        raise ArgumentError("importance must have a value that is not NaN. Got none.")
    quantile = stats.t.ppf(0.975, np.maximum(table["count"] - 1, 1))
    table["half_width"] = (quantile * table["sem"]).where(table["count"] >= 3)
    return table.drop(columns="sem").rename(columns={"count": "n_subjects"})


@style.styled
def plot_network_timecourses(
    importance: xr.DataArray, *, units: str = UNITS, columns: int = 3
) -> Figure:
    """Draw each network's mean importance over time, one line a condition.

    Bands are 95 % intervals over subjects (Student's t) where there are three or more.

    Parameters
    ----------
    importance : xarray.DataArray
        Every window's importance, shape (sample, time, region); ``condition`` and ``subject`` on
        samples, ``time`` in s from event onset.
    units : str, default="attribution (logit)"
        Of the importance.
    columns : int, default=3
        Panels in a row.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a network, on shared axes.

    Raises
    ------
    ArgumentError
        If samples have no condition.

    Examples
    --------
    >>> array = xr.DataArray(np.ones((3, 2, 4)), dims=("sample", "time", "region"), coords={
    ...     "condition": ("sample", ["rh"] * 3), "time": [5.0, 6.0]})
    >>> plot_network_timecourses(array).axes[0].get_title()
    'all regions (4)'
    """
    table = network_means(importance)
    sizes = pd.Series(style.networks_of(importance)).value_counts()
    networks = list(dict.fromkeys(table["network"]))
    columns = min(columns, len(networks))
    rows = -(-len(networks) // columns)
    figure = style.new_figure(1.0 + 2.35 * columns, 1.5 * rows + 0.9)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for i, panel in enumerate(panels.flat):
        if i >= len(networks):
            panel.set_visible(False)
            continue
        _courses(panel, table[table["network"] == networks[i]])
        panel.set_title(f"{plain(networks[i], longest=30)} ({sizes[networks[i]]})", loc="center")
        panel.tick_params(labelbottom=i + columns >= len(networks))
    middle = panels[-1, (len(networks) - 1) % columns // 2]
    middle.set_xlabel(style.time_label(importance["time"].values))
    figure.supylabel(plain(f"Mean {units}", longest=60), fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    columns = lettering.legend_columns(figure, labels)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)
    return figure


@style.styled
def plot_top_regions(importance: xr.DataArray, *, n: int = 10, units: str = UNITS) -> Figure:
    """Draw the regions of largest absolute importance of each condition, coloured by network.

    Parameters
    ----------
    importance : xarray.DataArray
        Shape (condition, region), for example the mean over time.
    n : int, default=10
        Regions a condition.
    units : str, default="attribution (logit)"
        Of the importance.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a condition, bars on one scale.

    Raises
    ------
    ArgumentError
        If the dimensions are others.

    Examples
    --------
    >>> array = xr.DataArray([[1.0, -2.0]], dims=("condition", "region"),
    ...                      coords={"condition": ["rh"], "region": ["M1", "V1"]})
    >>> [text.get_text() for text in plot_top_regions(array).axes[0].get_yticklabels()]
    ['V1', 'M1']
    """
    if set(importance.dims) != {"condition", "region"}:
        raise ArgumentError(
            f"importance must be (condition, region). Got {tuple(importance.dims)}: "
            'average over time first, as in importance.mean("time").'
        )
    importance = importance.transpose("condition", "region")
    colours = style.colour_of(style.networks_of(importance))
    n = min(n, importance.sizes["region"])
    columns = min(3, importance.sizes["condition"])
    rows = -(-importance.sizes["condition"] // columns)
    names = [plain(name, longest=26) for name in importance["region"].values]
    width = min(lettering.text_width(names, 6.5) / 72, 1.9)
    figure = style.new_figure(columns * (width + 1.5) + 0.3, rows * (0.14 * n + 0.5) + 0.7)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    shown: set[str] = set()
    for i, panel in enumerate(panels.flat):
        if i >= importance.sizes["condition"]:
            panel.set_visible(False)
            continue
        shown |= _bars(panel, importance[i], n, colours)
        panel.tick_params(labelbottom=i + columns >= importance.sizes["condition"])
    figure.supxlabel(plain(f"Mean over the window: {units}", longest=80), fontsize=8)
    handles = [Patch(color=c, label=plain(name)) for name, c in colours.items() if name in shown]
    columns = lettering.legend_columns(figure, [patch.get_label() for patch in handles])
    figure.legend(handles=handles, loc="outside upper center", ncols=columns)
    return figure


def _cell_text(axes: Axes, cell: tuple[int, int], share: float, count: float) -> None:
    """Write share and count into one cell, in ink that shows on its colour."""
    colour = "white" if share > 0.7 else INK
    look = {"ha": "center", "va": "center", "color": colour}
    row, column = cell
    if np.isfinite(share):
        axes.text(column, row - 0.1, f"{share:.0%}", fontsize=9, **look)
    axes.text(column, row + 0.22, f"{count:g}", fontsize=6.5, **look)


def _tall(importance: xr.DataArray) -> pd.DataFrame:
    """One row for each sample, network and time, regions averaged without those of no data."""
    networks = style.networks_of(importance)
    order = list(dict.fromkeys(networks.tolist()))
    values = np.asarray(importance.transpose("sample", "time", "region").values, dtype=float)
    means = np.stack([_nanmean(values[:, :, networks == name]) for name in order])
    times = importance["time"].values
    n_networks, n_samples, n_times = means.shape
    subject = np.zeros(n_samples, dtype=int)
    if "subject" in importance.coords:
        subject = importance["subject"].values
    return pd.DataFrame(
        {
            "network": np.repeat(order, n_samples * n_times),
            "condition": np.tile(np.repeat(importance["condition"].values, n_times), n_networks),
            "subject": np.tile(np.repeat(subject, n_times), n_networks),
            "time": np.tile(times, n_networks * n_samples),
            "value": means.ravel(),
        }
    )


def _nanmean(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis without NaN; NaN, and no warning, where there is nothing else."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _courses(panel: Axes, table: pd.DataFrame) -> None:
    """Draw one network's line and band for each condition."""
    names = sorted(set(table["condition"]))
    colours, lines = style.colour_of(names), style.line_of(names)
    panel.axhline(0, color="0.6", lw=0.6)
    shade = 0.15 if len(names) < 6 else 0.09
    for name in names:
        part = table[table["condition"] == name].sort_values("time")
        look = {"color": colours[name], "ls": lines[name], "lw": 1.3}
        if len(part) == 1:  # one frame makes no line: marks side by side
            part = part.assign(time=part["time"] + 0.1 * names.index(name))
            look |= {"ls": "", "marker": "o"}
        panel.plot(part["time"], part["mean"], label=plain(name, longest=20), **look)
        if part["half_width"].notna().any():
            low, high = part["mean"] - part["half_width"], part["mean"] + part["half_width"]
            if len(part) == 1:
                panel.vlines(part["time"], low, high, color=colours[name], lw=1.3)
            else:
                panel.fill_between(part["time"], low, high, color=colours[name], alpha=shade, lw=0)
    panel.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    panel.yaxis.set_major_locator(MaxNLocator(4))


def _bars(panel: Axes, values: xr.DataArray, n: int, colours: dict) -> set[str]:
    """Draw one condition's bars, largest on top, and return the networks shown."""
    known = values[np.isfinite(values.values)]
    top = known[np.argsort(-np.abs(known.values), kind="stable")[:n]]
    networks = style.networks_of(top).tolist()
    places = np.arange(top.size)
    panel.barh(places, top.values, color=[colours[name] for name in networks], height=0.75)
    panel.set_yticks(places, [plain(r, longest=26) for r in top["region"].values], fontsize=6.5)
    panel.tick_params(axis="y", length=0)
    panel.invert_yaxis()
    panel.axvline(0, color=INK, lw=0.6)
    panel.set_title(plain(values["condition"].item(), longest=30), fontweight="bold")
    panel.xaxis.set_major_locator(MaxNLocator(3))
    return set(networks)
