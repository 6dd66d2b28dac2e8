"""Figures of a network's attention and of several methods on the same windows."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from neurosal.errors import ArgumentError
from neurosal.reporting import lettering, style
from neurosal.reporting.region_panels import draw_map, finish, look_of, ordered
from neurosal.reporting.style import INK, plain


@style.styled
def plot_method_comparison(
    maps: Mapping[str, xr.DataArray], agreement: pd.DataFrame, *, max_names: int = 40
) -> Figure:
    """Draw the maps of several methods, each on its own scale, and how far they agree.

    Scales differ because units do: only the pattern can be compared between methods.

    Parameters
    ----------
    maps : dict of str to xarray.DataArray
        Method to map, shape (time, region), or (sample, time, region), of which the mean of the
        absolute values is drawn; as ``compare_methods(...).maps`` are.
    agreement : pandas.DataFrame
        Correlation of every two methods, from -1 to 1, as ``compare_methods(...).agreement`` is.
    max_names : int, default=40
        Up to so many regions are named; more are shown by network alone.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a method, and the matrix of agreement.

    Raises
    ------
    ArgumentError
        If there are fewer than two methods, or the matrix has others.

    Examples
    --------
    >>> one = xr.DataArray(np.eye(3), dims=("time", "region"))
    >>> agreement = pd.DataFrame(np.ones((2, 2)), index=["a", "b"], columns=["a", "b"])
    >>> figure = plot_method_comparison({"a": one, "b": 2 * one}, agreement)
    >>> [axes.get_title(loc="left") for axes in figure.axes[:2]]
    ['a', 'b']
    """
    names = list(maps)
    if len(names) < 2 or list(agreement.index) != names or list(agreement.columns) != names:
        raise ArgumentError(
            "maps and agreement must have the same methods, at least two. Got "
            f"{names} and {list(agreement.index)}."
        )
    shown = [ordered(_one_map(array)) for array in maps.values()]
    looks = [look_of(one, max_names=max_names) for one in shown]
    looks = [look if look.named else replace(look, height=0.62 * look.height) for look in looks]
    width = lettering.text_width(looks[0].names, 7) / 72 if looks[0].named else 0
    width += lettering.text_width([plain(name) for name in looks[0].networks], 7.5) / 72 + 0.4
    side = 0.9 + 0.34 * len(names) + lettering.text_width(names, 7) / 72
    columns = min(len(names), 6)
    rows = -(-len(names) // columns)
    size = (width + 1.5 * columns + side, max(rows * (looks[0].height + 0.6), side) + 0.3)
    figure = style.new_figure(*size)
    left, right = figure.subfigures(1, 2, width_ratios=(size[0] - side, side))
    panels = left.subplots(rows, columns, squeeze=False)
    for panel, name, one, look in zip(panels.flat, names, shown, looks, strict=False):
        draw_map(panel, one.values[0], look)
        panel.set_title(plain(name, longest=24), fontsize=7, fontweight="bold")
        _small_bar(left, panel, look.extend)
    finish(panels, len(names), looks[0])
    _agreement(right.subplots(), agreement)
    return figure


@style.styled
def plot_attention(
    weights: np.ndarray | xr.DataArray,
    *,
    times: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """Draw how input-cell attention is spread over time: each hop, and their mean.

    Parameters
    ----------
    weights : numpy.ndarray or xarray.DataArray
        Shape (hop, time), or (sample, hop, time), of which the mean over samples is drawn with a
        band from the 5th to the 95th percentile of samples; as
        ``InputCellAttention.weights`` and ``return_attention=True`` give them. Weights of a hop
        add up to 1 over time.
    times : numpy.ndarray, optional
        In s from event onset; by default steps are counted.
    title : str, default=""
        Heading of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        Hops over time, and below them the mean over hops beside the level of even attention.

    Raises
    ------
    ArgumentError
        If shapes do not fit, or weights of a hop do not add up to 1.

    References
    ----------
    Ismail et al. (2019), Input-cell attention reduces vanishing saliency of recurrent neural
    networks. https://doi.org/10.48550/arXiv.1910.12370

    Examples
    --------
    >>> figure = plot_attention(np.full((10, 4), 0.25), times=np.array([5.0, 6.0, 7.0, 8.0]))
    >>> figure.axes[1].get_xlabel()
    'Time from event onset (s)'
    """
    values, times = _attention(weights, times)
    n_hops, n_times = values.shape[1:]
    step = float(np.median(np.diff(times))) if n_times > 1 else 1.0
    figure = style.new_figure(4.8, 1.5 + 0.16 * min(n_hops, 30) + 1.2)
    ratio = (0.16 * min(n_hops, 30) + 0.9, 1.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=ratio)
    extent = (times[0] - step / 2, times[-1] + step / 2, n_hops + 0.5, 0.5)
    mean = values.mean(axis=0)
    image = upper.imshow(
        mean, extent=extent, aspect="auto", cmap="viridis", vmin=0, interpolation="nearest"
    )
    upper.set(ylabel="Hop")
    upper.yaxis.set_major_locator(MaxNLocator(min(n_hops, 6), integer=True, min_n_ticks=1))
    bar = figure.colorbar(image, ax=upper, fraction=0.05, pad=0.02)
    bar.set_label("Share of attention")
    bar.outline.set_linewidth(0.5)
    _mean_attention(lower, values.mean(axis=1), times)
    figure.legend(*lower.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    lower.set(xlabel=style.time_label(times), xlim=extent[:2])
    upper.set_title(plain(title, longest=60), fontweight="bold")
    return figure


def _one_map(array: xr.DataArray) -> xr.DataArray:
    """Average absolute maps over samples."""
    return abs(array).mean("sample") if "sample" in array.dims else array


def _small_bar(figure: Figure, panel: Axes, extend: str) -> None:
    """Draw a method's own colour bar above its map; its ends are all it says."""
    image = panel.images[0]
    bar = figure.colorbar(
        image, ax=panel, location="top", fraction=0.04, pad=0.01, aspect=22, extend=extend
    )
    low, high = image.get_clim()
    bar.set_ticks([low, high], labels=[f"{low:.2g}", f"{high:.2g}"])
    bar.ax.tick_params(labelsize=6, length=2, pad=1)
    bar.outline.set_linewidth(0.5)


def _agreement(panel: Axes, agreement: pd.DataFrame) -> None:
    """Draw the matrix of agreement with its numbers."""
    names = [plain(name, longest=24) for name in agreement]
    panel.imshow(agreement.values, vmin=-1, vmax=1, cmap="RdBu_r")
    panel.set_title("Rank correlation\nof absolute importance", fontsize=8)
    panel.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    panel.set_yticks(range(len(names)), names)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(agreement.values):
        ink = "white" if abs(value) > 0.6 else INK
        panel.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=6.5, color=ink)


def _attention(
    weights: np.ndarray | xr.DataArray, times: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Weights as (sample, hop, time), and the times."""
    values = np.asarray(weights, dtype=float)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or not np.allclose(values.sum(axis=2), 1, atol=1e-3):
        raise ArgumentError(
            "weights must be (hop, time) or (sample, hop, time) and add up to 1 over time. "
            f"Got shape {np.shape(weights)}."
        )
    times = np.arange(values.shape[2]) if times is None else np.asarray(times)
    if times.shape != values.shape[2:]:
        raise ArgumentError(
            f"times must have one time for each of {values.shape[2]} steps. Got {times.shape}."
        )
    return values, times


def _mean_attention(panel: Axes, values: np.ndarray, times: np.ndarray) -> None:
    """Draw the mean over hops, its spread over samples, and even attention."""
    colour = style.colour_of(["attention"])["attention"]
    panel.plot(times, values.mean(axis=0), color=colour, marker=".", label="mean over hops")
    if len(values) > 2:
        low, high = np.quantile(values, (0.05, 0.95), axis=0)
        label = "5 to 95 % of windows"
        panel.fill_between(times, low, high, color=colour, alpha=0.2, lw=0, label=label)
    panel.axhline(1 / len(times), color="0.45", ls="--", lw=0.9, label="even attention")
    panel.set(ylim=(0, None), ylabel="Share")
