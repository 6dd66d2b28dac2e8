"""Figures of the checks that compare numbers: rows of marks, beside what chance gives."""

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from neurosal.reporting import style
from neurosal.reporting.check_curves import CHANCE, LOOKS, WIDTH
from neurosal.reporting.style import INK, plain
from neurosal.validation.check import Check
from neurosal.validation.signal_size import LIMIT

_PANELS = 3  # in a row of small panels
_POINTS = 4000  # drawn of a scatter; more are thinned out evenly


@style.styled
def plot_chance(check: Check) -> Figure:
    """Draw the accuracy beside those under shuffled labels, and each run's.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.above_chance`.

    Returns
    -------
    matplotlib.figure.Figure
        Counts of shuffles by accuracy; below, a dot for each run or subject.

    Examples
    --------
    >>> numbers = xr.Dataset({"null": ("permutation", [0.5, 0.6]), "accuracy": ("group", [0.8])})
    >>> told = {"values": {"accuracy": 0.8, "chance": 0.5}, "data": numbers}
    >>> figure = plot_chance(Check("accuracy", "?", "passed", "-", "-", **told))
    >>> figure.axes[1].get_xlabel()
    'Accuracy of held-out windows'
    """
    null, each = check.data["null"].to_numpy(), check.data["accuracy"].to_numpy()
    figure = style.new_figure(WIDTH, 2.7)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    upper.hist(null, bins=_edges(null), color=CHANCE, label=f"{len(null)} shuffles")
    line = {"color": LOOKS[0]["color"], "lw": 1.8}
    upper.axvline(check.values["accuracy"], label="the decoder", **line)
    upper.axvline(check.values["chance"], color=INK, lw=0.9, ls="--", label="chance")
    upper.set(ylabel="Shuffles")
    upper.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    _spread_dots(lower, each, 0, color=LOOKS[0]["color"])
    lower.axvline(check.values["accuracy"], **line)
    lower.axvline(check.values["chance"], color=INK, lw=0.9, ls="--")
    lower.set(xlabel="Accuracy of held-out windows", xlim=(min(0.0, null.min()), 1.03))
    lower.set(ylim=(-0.7, 0.7), yticks=[0], yticklabels=["each run\nor subject"])
    lower.xaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


@style.styled
def plot_recovery(check: Check) -> Figure:
    """Draw how well the map and maps made without a decoder find the known truth.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.known_truth`.

    Returns
    -------
    matplotlib.figure.Figure
        AUPR, a row for each condition.

    Examples
    --------
    >>> numbers = xr.Dataset({"aupr": (("map", "condition"), [[0.9], [0.4]])},
    ...     coords={"map": ["map", "signal"], "condition": ["rh"]})
    >>> check = Check("truth", "?", "passed", "-", "-", values={"aupr_random": 0.1}, data=numbers)
    >>> [text.get_text() for text in plot_recovery(check).axes[0].get_yticklabels()]
    ['rh']
    """
    found = check.data["aupr"]
    names = [str(name) for name in found["condition"].to_numpy()]
    told = {"map": "the map", "signal": "mean absolute signal"}
    rows = {told.get(name, name): found.sel(map=name).to_numpy() for name in found["map"].data}
    random = check.values["aupr_random"]
    figure, panel = _row_figure(names, rows)
    panel.axvline(random, color=INK, lw=0.9, ls="--", label="random maps")
    panel.set(xlabel="Area under the precision-recall curve (AUPR)", xlim=(0, 1.03))
    _key(figure, panel)
    return figure


@style.styled
def plot_pictures(check: Check) -> Figure:
    """Draw how alike the map is to pictures of the signal that need no decoder.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.signal_size`.

    Returns
    -------
    matplotlib.figure.Figure
        Rank correlation, a row for each picture; dots are conditions.

    Examples
    --------
    >>> numbers = xr.Dataset({"correlation": (("picture", "class"), [[0.2, 0.4]])},
    ...     coords={"picture": ["standard deviation"], "class": ["a", "b"]})
    >>> figure = plot_pictures(Check("signal", "?", "passed", "-", "-", data=numbers))
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['standard deviation']
    """
    found = check.data["correlation"]
    names = [_wrapped(name) for name in found["picture"].to_numpy()]
    figure, panel = _row_figure(names, {"mean": found.mean("class").to_numpy()})
    for row, values in enumerate(found.to_numpy()):
        _spread_dots(panel, values, row, color="0.45", label=None if row else "each condition")
    panel.axvline(LIMIT, color=INK, lw=0.9, ls=":", label=f"limit: mean of {LIMIT:g}")
    panel.axvline(0, color="0.6", lw=0.6)
    low = min(-0.1, float(found.min()) - 0.05)
    panel.set(xlabel="Rank correlation with the map's size", xlim=(low, 1.03))
    _key(figure, panel)
    return figure


@style.styled
def plot_shuffled_labels(check: Check) -> Figure:
    """Draw how alike the map is to those of decoders trained on shuffled labels, and these.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.label_permutation`.

    Returns
    -------
    matplotlib.figure.Figure
        Correlation, a row for each measure; below, the mean size of the map and of those of
        shuffled labels, on one colour scale.

    Examples
    --------
    >>> maps = (("class", "time", "region"), np.ones((2, 3, 4)))
    >>> numbers = xr.Dataset(
    ...     {"retrained": ("measure", [0.9]), "permuted": (("draw", "measure"), [[0.1], [0.0]]),
    ...      "own_map": maps, "permuted_map": maps}, coords={"measure": ["signed"]})
    >>> figure = plot_shuffled_labels(Check("labels", "?", "passed", "-", "-", data=numbers))
    >>> [axes.get_title() for axes in figure.axes[1:3]]
    ['The map', 'Shuffled labels']
    """
    data = check.data
    names = {"signed": "with sign", "size": "in size", "rank": "in rank of size"}
    shown = [name for name in names if name in data["measure"].to_numpy()]
    figure = style.new_figure(WIDTH, 4.2)
    upper, lower = figure.subfigures(2, 1, height_ratios=(0.75 + 0.22 * len(shown), 2.6))
    panel = upper.subplots()
    again = data["retrained"].sel(measure=shown).to_numpy()
    _marks(panel, [names[name] for name in shown], {"decoder trained again": again})
    for row, name in enumerate(shown):
        label = None if row else f"{data.sizes['draw']} trained on shuffled labels"
        values = data["permuted"].sel(measure=name).to_numpy()
        _spread_dots(panel, values, row, color=LOOKS[1]["color"], label=label)
    panel.axvline(0, color="0.6", lw=0.6)
    panel.set(xlabel="Correlation with the map", xlim=(min(-0.3, panel.get_xlim()[0]), 1.05))
    upper.legend(loc="outside upper center", ncols=2)
    _two_maps(lower, data)
    return figure


@style.styled
def plot_agreement(check: Check) -> Figure:
    """Draw how far mean maps of parts of the data agree, and halves beside chance.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.reliability`.

    Returns
    -------
    matplotlib.figure.Figure
        Correlation, a row for each kind of part; below, the agreement of halves and its range by
        chance.

    Examples
    --------
    >>> level = {name: ("level", [0.5]) for name in ("icc", "icc_agreement", "rank_correlation")}
    >>> numbers = xr.Dataset(
    ...     level | {"n_units": ("level", [8]), "half_agreement": ("halves", [0.4]),
    ...              "null": (("halves", "draw"), [[0.0, 0.1]])},
    ...     coords={"level": ["subject"], "halves": ["of the maps"]})
    >>> figure = plot_agreement(Check("reliability", "?", "passed", "-", "-", data=numbers))
    >>> [text.get_text() for text in figure.axes[0].get_yticklabels()]
    ['8 subjects']
    """
    data = check.data
    counts = zip(data["n_units"].to_numpy(), data["level"].to_numpy(), strict=True)
    names = [f"{int(n)} {level}s" for n, level in counts]
    parts = {"ICC(3,1)": "icc", "ICC(2,1)": "icc_agreement"}
    rows = {name: data[key].to_numpy() for name, key in parts.items()}
    rows["rank correlation"] = data["rank_correlation"].to_numpy()
    halves = [f"halves {name}" for name in data["halves"].to_numpy()]
    each = data["leave_one_out"].to_numpy() if "leave_one_out" in data else None
    more = 0 if each is None else 1
    sizes = (len(names) + more, len(halves))
    figure = style.new_figure(WIDTH, 1.9 + 0.3 * sum(sizes))
    ratios = (sizes[0] + 0.6, sizes[1] + 0.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=ratios)
    _marks(upper, [*names, *["each subject\nwith the others"][:more]], rows)
    if each is not None:
        _spread_dots(upper, each, len(names), color="0.45")
    upper.set(xlabel="Agreement of mean maps")
    upper.axvline(0, color="0.6", lw=0.6)
    _beside_chance(lower, halves, data["half_agreement"].to_numpy(), data["null"].to_numpy())
    lower.set(xlabel="Agreement of regions between halves")
    upper.tick_params(labelbottom=True)
    _key(figure, upper, lower)
    return figure


@style.styled
def plot_scatter(check: Check) -> Figure:
    """Draw importance against a contrast or a linear model's pattern, a panel for each condition.

    Parameters
    ----------
    check : Check
        Of :func:`neurosal.validation.contrast_comparison` or
        :func:`neurosal.validation.haufe_comparison`.

    Returns
    -------
    matplotlib.figure.Figure
        Sizes, a dot for each region or cell, each condition's rank correlation above.

    Examples
    --------
    >>> sizes = (("condition", "region"), [[1.0, 2.0, 3.0]])
    >>> numbers = xr.Dataset(
    ...     {"importance": sizes, "contrast": sizes, "correlation": ("condition", [1.0])},
    ...     coords={"condition": ["rh"]})
    >>> figure = plot_scatter(Check("contrast", "?", "reported", "-", "-", data=numbers))
    >>> figure.axes[0].get_title()
    'rh: 1.00'
    """
    data = check.data
    other = "contrast" if "contrast" in data else "pattern"
    labels = {"contrast": "Size of the contrast", "pattern": "Size of the linear model's pattern"}
    conditions = data["condition"].to_numpy()
    columns = min(_PANELS, len(conditions))
    rows = -(-len(conditions) // columns)
    figure = style.new_figure(WIDTH, 0.6 + 1.35 * rows)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel in panels.flat[len(conditions) :]:
        panel.set_visible(False)
    for number, (panel, name) in enumerate(zip(panels.flat, conditions, strict=False)):
        one = data.sel(condition=name)
        x, y = (np.abs(one[key].to_numpy().ravel()) for key in (other, "importance"))
        chosen = np.linspace(0, len(x) - 1, min(len(x), _POINTS)).astype(int)
        size = 9 if len(x) <= 500 else 3
        panel.scatter(x[chosen], y[chosen], s=size, lw=0, alpha=0.5, color=LOOKS[0]["color"])
        head = f"{plain(name, longest=16)}: {float(one['correlation']):.2f}"
        panel.set_title(head, fontsize=8, loc="center")
        panel.tick_params(labelbottom=number + columns >= len(conditions))
        panel.xaxis.set_major_locator(MaxNLocator(3))
        panel.yaxis.set_major_locator(MaxNLocator(3))
    figure.supxlabel(labels[other], fontsize=8)
    figure.supylabel("Size of the importance", fontsize=8)
    return figure


def _edges(values: np.ndarray, most: int = 30) -> np.ndarray:
    """Edges of bars that hold equally many of the evenly spaced values there can be."""
    known = np.unique(values.round(9))
    step = float(np.diff(known).min()) if len(known) > 1 else 0.01
    places = round((known[-1] - known[0]) / step) + 1
    width = step * -(-places // most)
    return known[0] - step / 2 + width * np.arange(int(np.ceil(places * step / width)) + 1)


def _row_figure(names: Sequence[str], rows: Mapping[str, np.ndarray]) -> tuple[Figure, Axes]:
    """Make a figure with a row for each name and a mark for each kind of number."""
    lines = sum(name.count("\n") + 1 for name in names)
    figure = style.new_figure(WIDTH, 1.3 + 0.2 * max(lines, 1.3 * len(names)))
    panel = figure.subplots()
    _marks(panel, names, rows)
    return figure, panel


def _marks(panel: Axes, names: Sequence[str], rows: Mapping[str, np.ndarray]) -> None:
    """Draw a mark for each kind of number in each row; rows without numbers stay free."""
    for (label, values), look in zip(rows.items(), LOOKS, strict=False):
        marks = {"color": look["color"], "marker": look["marker"], "ls": ""}
        panel.plot(values, range(len(values)), ms=6, label=label, zorder=3, **marks)
    panel.hlines(range(len(names)), 0, 1, color="0.9", lw=0.8, zorder=0)
    panel.set_yticks(range(len(names)), [str(name) for name in names])
    panel.set_ylim(len(names) - 0.5, -0.5)
    panel.tick_params(axis="y", length=0)


def _spread_dots(
    panel: Axes, values: np.ndarray, row: float, *, color: str, label: str | None = None
) -> None:
    """Draw small dots in a row, spread over its height in a fixed order."""
    heights = row + 0.28 * np.cos(2.4 * np.arange(len(values)))
    panel.plot(values, heights, ls="", marker="o", ms=3, mew=0, alpha=0.7, color=color, label=label)


def _beside_chance(panel: Axes, names: Sequence[str], found: np.ndarray, nulls: np.ndarray) -> None:
    """Draw what was found beside 95 % and all of what chance gave."""
    for row, null in enumerate(nulls):
        known = null[np.isfinite(null)]
        if not len(known):
            continue
        low, high = np.quantile(known, (0.025, 0.975))
        label = None if row else "95 % of chance (line: all)"
        panel.plot([known.min(), known.max()], [row, row], color=CHANCE, lw=1.5, zorder=1)
        panel.barh(row, high - low, left=low, height=0.4, color=CHANCE, label=label, zorder=2)
    _marks(panel, names, {})
    marks = {"marker": "D", "ms": 6, "ls": "", "color": INK, "zorder": 3}
    panel.plot(found, range(len(names)), label="found", **marks)
    panel.axvline(0, color="0.6", lw=0.6)


def _two_maps(figure: Figure, data: xr.Dataset) -> None:
    """Draw the mean size of the map and of those of shuffled labels."""
    maps = {"The map": abs(data["own_map"]), "Shuffled labels": data["permuted_map"]}
    maps = {name: one.mean("class").transpose("region", "time") for name, one in maps.items()}
    colours, limits, extend = style.colour_scale(
        np.stack([one.to_numpy() for one in maps.values()])
    )
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (name, one) in zip(panels, maps.items(), strict=True):
        look = {"cmap": colours, "norm": limits, "aspect": "auto", "interpolation": "nearest"}
        image = panel.imshow(one.to_numpy(), **look)
        panel.set_title(name, fontsize=8, fontweight="bold", loc="center")
        panel.set(xlabel="Time point of the window")
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panels[0].set(ylabel="Region, in the atlas's order")
    bar = figure.colorbar(image, ax=list(panels), fraction=0.05, pad=0.02, extend=extend)
    bar.set_label("Mean size over conditions", fontsize=7)
    bar.outline.set_linewidth(0.5)


def _key(figure: Figure, *panels: Axes) -> None:
    """Put one legend of all panels above them, each label once."""
    known: dict = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    figure.legend(known.values(), known, loc="outside upper center", ncols=3)


def _wrapped(name: object) -> str:
    """Break a long name into two lines."""
    words = plain(name, longest=60).split()
    if len(" ".join(words)) <= 22:
        return " ".join(words)
    half = -(-len(words) // 2)
    return "\n".join([" ".join(words[:half]), " ".join(words[half:])])
