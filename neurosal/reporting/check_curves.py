"""Figures of the checks that change something step by step and draw a curve."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from neurosal.reporting import style
from neurosal.reporting.style import INK, plain
from neurosal.validation.check import Check
from neurosal.validation.temporal_bias import KEPT

#: Width of the figures in inches, and colours, lines and marks of what is compared.
WIDTH = 4.7
LOOKS = (
    {"color": "#0072B2", "ls": "-", "marker": "o"},
    {"color": "#D55E00", "ls": "--", "marker": "s"},
    {"color": "#009E73", "ls": "-.", "marker": "^"},
    {"color": "#CC79A7", "ls": ":", "marker": "D"},
)
CHANCE = "0.72"


@style.styled
def plot_cascade(check: Check) -> Figure:
    """Draw how alike the map stays while layer after layer is drawn anew.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.parameter_randomisation`.

    Returns
    -------
    matplotlib.figure.Figure
        Correlation against what the map is compared with: the network trained again, the network
        after each step of the cascade, and networks randomised in full.

    Examples
    --------
    >>> numbers = xr.Dataset(
    ...     {"retrained": ("measure", [0.9, 0.9]), "cascade": (("layer", "measure"), [[0.1, 0.2]]),
    ...      "randomised": (("draw", "measure"), [[0.1, 0.2], [0.0, 0.1]])},
    ...     coords={"measure": ["size", "signed"], "layer": ["output"]})
    >>> figure = plot_cascade(Check("parameters", "?", "passed", "-", "-", data=numbers))
    >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
    ['trained again', 'output', 'all: 2 draws']
    """
    data = check.data
    layers = [plain(name, longest=22) for name in data["layer"].values]
    n_draws = data.sizes["draw"]
    names = ["trained again", *_cumulative(layers), f"all: {n_draws} draws"]
    figure = style.new_figure(WIDTH, 3.3)
    panel = figure.subplots()
    panel.axhline(0, color="0.6", lw=0.6)
    steps = 1 + np.arange(len(layers))
    for measure, look, shift in zip(_measures(data), LOOKS, (-0.14, 0, 0.14), strict=False):
        one = data.sel(measure=measure)
        marks = {"color": look["color"], "marker": look["marker"], "ms": 5}
        panel.plot(shift, one["retrained"], ls="", **marks)
        panel.plot(steps, one["cascade"], label=_MEASURES[measure], lw=1.3, ls=look["ls"], **marks)
        last = np.full(n_draws, len(names) - 1.0 + shift)
        panel.plot(last, one["randomised"], ls="", mfc="none", **marks)
    panel.axvline(0.5, color="0.8", lw=0.8)
    panel.axvline(len(names) - 1.5, color="0.8", lw=0.8)
    panel.set_xticks(range(len(names)), names, rotation=35, ha="right", rotation_mode="anchor")
    panel.set(ylabel="Correlation with the map", ylim=(min(-0.2, panel.get_ylim()[0]), 1.05))
    panel.set_xlabel("Drawn anew, from the output layer on")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


@style.styled
def plot_positions(check: Check) -> Figure:
    """Draw how well a planted signal is found at each position in time, and where the map looks.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.temporal_bias`.

    Returns
    -------
    matplotlib.figure.Figure
        Recovery against the position of the signal; below, the importance over time for each
        position, with the signal framed.

    Examples
    --------
    >>> numbers = xr.Dataset(
    ...     {"recovery": (("draw", "position"), [[0.9, 0.5]]), "start": ("position", [5.0, 7.0]),
    ...      "profile": (("position", "time"), np.eye(2, 4)), "end": ("position", [6.0, 8.0])},
    ...     coords={"time": [5.0, 6.0, 7.0, 8.0], "position": [5.5, 7.5]})
    >>> check = Check("time", "?", "passed", "-", "-", values={"random": 0.1}, data=numbers)
    >>> plot_positions(check).axes[1].get_xlabel()
    'Time from event onset (s)'
    """
    data, random = check.data, check.values["random"]
    places = data["position"].to_numpy()
    figure = style.new_figure(WIDTH, 3.1 + 0.16 * len(places))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(1.9, 0.6 + 0.2 * len(places)))
    mean = data["recovery"].mean("draw")
    upper.plot(places, mean, lw=1.5, ms=5, label="recovery", **LOOKS[0])
    if data.sizes["draw"] > 1:
        for one in data["recovery"].to_numpy():
            upper.plot(places, one, ls="", marker=".", color=LOOKS[0]["color"], alpha=0.5)
    limit = random + KEPT * (float(mean.max()) - random)
    upper.axhline(limit, color=INK, lw=0.9, ls=":", label="limit: half of the best")
    upper.axhline(random, color="0.5", lw=0.9, ls="--", label="random maps")
    upper.set(ylabel="Recovery (AUPR)", ylim=(0, 1.05))
    figure.legend(loc="outside upper center", ncols=3)
    _profile(figure, lower, data)
    lower.set(xlabel=style.time_label(data["time"].to_numpy()), ylabel="Position")
    return figure


@style.styled
def plot_removals(check: Check) -> Figure:
    """Draw deletion and insertion curves beside those of random orders.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.deletion_insertion`.

    Returns
    -------
    matplotlib.figure.Figure
        The true class's probability against the share of cells removed, or put back.

    Examples
    --------
    >>> numbers = xr.Dataset(
    ...     {"score": (("way", "ranking", "share"), np.ones((1, 1, 2))),
    ...      "random_score": (("way", "draw", "share"), np.ones((1, 3, 2)))},
    ...     coords={"way": ["deletion"], "ranking": ["mean map"], "share": [0.0, 1.0]})
    >>> figure = plot_removals(Check("deletion", "?", "passed", "-", "-", data=numbers))
    >>> figure.axes[0].get_xlabel()
    'Share of cells removed'
    """
    data = check.data
    labels = {"deletion": "Share of cells removed", "insertion": "Share of cells put back"}
    figure = style.new_figure(WIDTH, 2.9)
    panels = figure.subplots(1, data.sizes["way"], sharey=True, squeeze=False)[0]
    for panel, way in zip(panels, data["way"].to_numpy(), strict=True):
        one, share = data.sel(way=way), data["share"].to_numpy()
        low, high = (getattr(one["random_score"], kind)("draw") for kind in ("min", "max"))
        label = f"{data.sizes['draw']} random orders"
        panel.fill_between(share, low, high, color=CHANCE, lw=0, label=label)
        for ranking, look in zip(data["ranking"].to_numpy(), LOOKS, strict=False):
            score = one["score"].sel(ranking=ranking)
            panel.plot(share, score, lw=1.3, ms=3.5, label=ranking, **look)
        panel.xaxis.set_major_formatter(PercentFormatter(1))
        panel.set(xlabel=labels[way], xlim=(0, 1))
        panel.set_title(str(way).capitalize(), fontsize=8, fontweight="bold")
    panels[0].set(ylabel="Probability of the true class", ylim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure


@style.styled
def plot_retraining(check: Check) -> Figure:
    """Draw what accuracy is left when cells are removed and the decoder trained again.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.roar`.

    Returns
    -------
    matplotlib.figure.Figure
        Accuracy of held-out windows against the share of cells removed; small dots are folds.

    Examples
    --------
    >>> accuracy = (("ranking", "fraction", "fold"), [[[0.5, 0.6]]])
    >>> numbers = xr.Dataset(
    ...     {"accuracy": accuracy, "intact_accuracy": ("fold", [0.9, 0.8]),
    ...      "random_accuracy": (("draw", "fraction", "fold"), [[[0.8, 0.8]]])},
    ...     coords={"ranking": ["map"], "fraction": [0.5]})
    >>> figure = plot_retraining(Check("roar", "?", "passed", "-", "-", data=numbers))
    >>> len(figure.axes[0].lines) > 2
    True
    """
    data = check.data
    share = np.concatenate([[0.0], data["fraction"].to_numpy()])
    intact = data["intact_accuracy"].to_numpy()
    rows = {f"first by {name}": data["accuracy"].sel(ranking=name) for name in data["ranking"].data}
    rows["random cells"] = data["random_accuracy"].mean("draw")
    looks = [*LOOKS[: len(rows) - 1], {"color": "0.45", "ls": ":", "marker": "x"}]
    gap = 0.012
    figure = style.new_figure(WIDTH, 3.0)
    panel = figure.subplots()
    for number, ((name, one), look) in enumerate(zip(rows.items(), looks, strict=True)):
        folds = np.column_stack([intact, one.transpose("fold", "fraction").to_numpy()])
        places = share + gap * (number - (len(rows) - 1) / 2) * (share > 0)
        for fold in folds:
            panel.plot(places, fold, ls="", marker=".", ms=3, color=look["color"], alpha=0.35)
        panel.plot(places, folds.mean(axis=0), lw=1.4, ms=5, label=name, **look)
    panel.xaxis.set_major_formatter(PercentFormatter(1))
    panel.yaxis.set_major_formatter(PercentFormatter(1))
    panel.set(xlabel="Share of cells removed before training", ylim=(0, 1.05))
    panel.set(ylabel="Accuracy of held-out windows", xlim=(-0.03, share.max() + 0.05))
    panel.set_xticks(share)
    figure.legend(loc="outside upper center", ncols=3)
    return figure


_MEASURES = {"signed": "with sign", "size": "in size", "rank": "in rank of size"}


def _measures(data: xr.Dataset) -> list[str]:
    """The measures of likeness, those of the verdict first."""
    return [name for name in _MEASURES if name in data["measure"].to_numpy()]


def _cumulative(layers: list[str]) -> list[str]:
    """Name the steps of the cascade: each adds a layer to the steps before it."""
    return [layers[0], *(f"+ {name}" for name in layers[1:])]


def _profile(figure: Figure, panel: Axes, data: xr.Dataset) -> None:
    """Draw the share of importance at each time, a row a position, with the signal framed."""
    time, n = data["time"].to_numpy().astype(float), data.sizes["position"]
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
    left, right = time[0] - step / 2, time[-1] + step / 2
    image = panel.imshow(
        data["profile"].to_numpy(),
        extent=(left, right, n + 0.5, 0.5),
        aspect="auto",
        cmap="viridis",
        vmin=0,
        interpolation="nearest",
    )
    ends = zip(data["start"].to_numpy(), data["end"].to_numpy(), strict=True)
    for row, (start, end) in enumerate(ends, start=1):
        corner, size = (start - step / 2, row - 0.46), (end - start + step, 0.92)
        panel.add_patch(Rectangle(corner, *size, fill=False, ec="#E69F00", lw=1.4))
    panel.set(xlim=(left, right))
    panel.yaxis.set_major_locator(MaxNLocator(min(n, 5), integer=True, min_n_ticks=1))
    bar = figure.colorbar(image, ax=panel, fraction=0.05, pad=0.02)
    bar.set_label("Share of\nimportance", fontsize=7)
    bar.outline.set_linewidth(0.5)
