"""Region x time maps: importance of each condition, and importance beside the known truth."""

from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation
from sklearn.metrics import average_precision_score, precision_recall_curve

from neurosal.errors import ArgumentError
from neurosal.reporting import style
from neurosal.reporting.style import INK, NO_DATA, UNITS, plain

TIME_LABEL = "Time from event onset (s)"
_ABSENT, _PRESENT = "#F0F0F0", "#222222"
_DIMENSIONS = ("condition", "time", "region")


@dataclass(frozen=True)
class _Look:
    """How every map of one figure is drawn; ``height`` (inches) is that of one panel."""

    colours: Colormap
    limits: Normalize
    extend: str
    names: list[str]
    networks: np.ndarray
    times: np.ndarray
    step: float
    height: float
    named: bool


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
    maps = _ordered(importance)
    look = _look(maps, scale=scale, vmax=vmax, max_names=max_names)
    figure, panels = _panels(maps.sizes["condition"], look)
    marks = _time_marks(look, hrf_peak)
    for panel, condition in zip(panels.flat, maps, strict=False):
        _draw(panel, condition.values, look)
        _mark(panel, marks)
        panel.set_title(plain(condition["condition"].item(), longest=24), pad=8, fontweight="bold")
    _finish(panels, maps.sizes["condition"], look)
    _colour_bar(figure, list(panels.flat), look, units)
    _key(figure, marks, missing=bool(np.isnan(maps.values).any()))
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
    maps, truth = _ordered(importance), _ordered(_like(truth, importance))
    look = _look(maps, max_names=max_names)
    n = maps.sizes["condition"]
    width = min(2.4 + 1.5 * n, 8.4)
    figure = style.new_figure(width + 2.9, 2 * max(look.height * 0.7, 1.7) + 0.7)
    left, right = figure.subfigures(1, 2, width_ratios=(width, 2.9))
    look = replace(look, height=max(look.height * 0.7, 1.7))
    panels = left.subplots(2, n, squeeze=False)
    binary = ListedColormap([_ABSENT, _PRESENT])
    binary = replace(look, colours=binary, limits=Normalize(0, 1), extend="neither")
    for i in range(n):
        _draw(panels[0, i], maps.values[i], look)
        _draw(panels[1, i], truth.values[i].astype(float), binary)
        panels[0, i].set_title(plain(maps["condition"].values[i], longest=16), fontweight="bold")
    _finish(panels, 2 * n, look)
    _colour_bar(left, list(panels[0]), look, f"Importance: {units}")
    bar = _colour_bar(left, list(panels[1]), binary, "Simulated truth")
    bar.set_ticks([0.25, 0.75], labels=["none", "effect"])
    _curves(right.subplots(), maps, truth, scores or {})
    return figure


def _ordered(importance: xr.DataArray) -> xr.DataArray:
    """Bring a map to (condition, time, region) with networks together."""
    if "condition" not in importance.dims:
        importance = importance.drop_vars("condition", errors="ignore")
        importance = importance.expand_dims(condition=[""])
    if set(importance.dims) != set(_DIMENSIONS) or 0 in importance.shape:
        raise ArgumentError(
            "importance must be (time, region) or (condition, time, region) and not empty. "
            f"Got {dict(importance.sizes)}."
        )
    return importance.transpose(*_DIMENSIONS).isel(region=style.region_order(importance))


def _like(truth: xr.DataArray, importance: xr.DataArray) -> xr.DataArray:
    """Check that the truth has the importance's conditions, times and regions, in its order."""
    for name in _DIMENSIONS:
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


def _look(
    maps: xr.DataArray, *, scale: str = "auto", vmax: float | None = None, max_names: int
) -> _Look:
    """Choose colours, sizes and whether to name the regions."""
    colours, limits, extend = style.colour_scale(maps.values, scale=scale, vmax=vmax)
    n = maps.sizes["region"]
    times = maps["time"].values.astype(float)
    named = n <= max_names
    return _Look(
        colours=colours,
        limits=limits,
        extend=extend,
        names=[plain(name, longest=32) for name in maps["region"].values],
        networks=style.networks_of(maps),
        times=times,
        step=float(np.median(np.diff(times))) if len(times) > 1 else 1.0,
        height=max(0.115 * n, 1.5) if named else float(np.clip(0.03 * n, 3.4, 5.4)),
        named=named,
    )


def _panels(n: int, look: _Look) -> tuple[Figure, np.ndarray]:
    """Lay out one panel a condition: one row of up to five, else two balanced rows."""
    rows = 1 if n <= 5 or look.named else 2
    columns = -(-n // rows)
    longest = style.text_width([plain(name) for name in look.networks], 7.5)
    longest += look.named * style.text_width(look.names, 7)
    width = longest / 72 + 1.3 + columns * float(np.clip(7.6 / columns, 1.05, 2.4))
    figure = style.new_figure(max(width, 4.6), rows * (look.height + 0.45) + 0.6)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _draw(panel: Axes, values: np.ndarray, look: _Look) -> None:
    """Draw one map, (time, region), with white lines between networks."""
    half = look.step / 2
    extent = (look.times[0] - half, look.times[-1] + half, len(look.names), 0)
    look_of = {"cmap": look.colours, "norm": look.limits, "interpolation": "nearest"}
    panel.imshow(np.ma.masked_invalid(values.T), extent=extent, aspect="auto", **look_of)
    for start, _, _ in _groups(look.networks)[1:]:
        panel.axhline(start, color=INK, linewidth=0.35)
    panel.spines[:].set_visible(True)
    panel.set_yticks([])
    panel.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def _groups(networks: np.ndarray) -> list[tuple[int, int, str]]:
    """First row, row after the last, and name of each network."""
    starts = [0, *(np.flatnonzero(networks[1:] != networks[:-1]) + 1)]
    stops = [*starts[1:], len(networks)]
    return [(int(a), int(b), str(networks[a])) for a, b in zip(starts, stops, strict=True)]


def _finish(panels: np.ndarray, n: int, look: _Look) -> None:
    """Name rows at the left, times at the bottom, and remove panels without a condition."""
    columns = panels.shape[1]
    for i, panel in enumerate(panels.flat):
        if i >= n:
            panel.remove()
            continue
        bottom = i + columns >= n
        panel.tick_params(labelbottom=bottom)
        if i % columns == 0:
            _name_rows(panel, look)
    middle = panels[-1, (columns - 1) // 2]
    middle.set_xlabel(TIME_LABEL, x=0.5 if columns % 2 else 1.05)


def _name_rows(panel: Axes, look: _Look) -> None:
    """Write region names, where they fit, and bracket the networks beside them."""
    offset = 3.0
    if look.named:
        size = min(7.0, 0.92 * 72 * look.height / len(look.names))
        panel.set_yticks(np.arange(len(look.names)) + 0.5, look.names, fontsize=size)
        panel.tick_params(axis="y", length=0, pad=2)
        offset = style.text_width(look.names, size) + 8.0
    groups = _groups(look.networks)
    if len(groups) == 1 and groups[0][2] == "all regions":
        return
    middles = np.array([(a + b) / 2 for a, b, _ in groups])
    places = style.spread(middles, 8.6 / 72 / look.height * len(look.names))
    for group, middle, place in zip(groups, middles, places, strict=True):
        _bracket(panel, look, group, (middle, place), offset)


def _bracket(
    panel: Axes, look: _Look, group: tuple, middle_place: tuple[float, float], offset: float
) -> None:
    """Draw one network's coloured bar, and its name with a line to it."""
    start, stop, name = group
    inset = min(0.08 * (stop - start), 0.15)
    colour = style.colour_of(look.networks)[name]
    bar = Line2D([0, 0], [start + inset, stop - inset], color=colour, lw=3, clip_on=False)
    bar.set(transform=_left_of(panel, offset + 1.5), solid_capstyle="butt")
    panel.add_line(bar)
    middle, place = middle_place
    label = name if look.named else f"{name} ({stop - start})"
    panel.annotate(
        plain(label),
        xy=(0, middle),
        xycoords=_left_of(panel, offset + 3.5),
        xytext=(0, place),
        textcoords=_left_of(panel, offset + 12),
        ha="right",
        va="center",
        fontsize=7.5,
        annotation_clip=False,
        arrowprops={"arrowstyle": "-", "lw": 0.5, "color": colour, "shrinkA": 1, "shrinkB": 0},
    )


def _left_of(panel: Axes, points: float) -> object:
    """Coordinates: x in panel widths from ``points`` left of the panel, y in data."""
    shift = ScaledTranslation(-points / 72, 0, panel.get_figure(root=True).dpi_scale_trans)
    return panel.get_yaxis_transform() + shift


def _time_marks(look: _Look, hrf_peak: float | None) -> list[tuple[float, str, str]]:
    """Time (s), marker and label of what is inside the window; near marks become one."""
    first, last = look.times[0] - look.step / 2, look.times[-1] + look.step / 2
    wanted = [(0.0, "v", "event onset"), (float(look.times[0]), ">", "window start")]
    if hrf_peak is not None:
        wanted.append((float(hrf_peak), "o", "expected HRF peak"))
    marks: list[tuple[float, str, str]] = []
    for time, marker, label in wanted:
        if not first <= time <= last:
            continue
        if marks and abs(marks[-1][0] - time) < look.step / 2:
            marks[-1] = (marks[-1][0], marker, f"{marks[-1][2]} and {label}")
        else:
            marks.append((time, marker, label))
    return marks


def _mark(panel: Axes, marks: list) -> None:
    """Put each mark above the panel, with a dotted line through the map."""
    for time, marker, _ in marks:
        panel.axvline(time, color=INK, linewidth=0.6, linestyle=":")
        panel.plot(
            [time], [1.0], marker, color=INK, markersize=4, clip_on=False,
            transform=panel.get_xaxis_transform(), zorder=5,
        )  # fmt: skip


def _key(figure: Figure, marks: list, *, missing: bool) -> None:
    """Explain marks and grey rows in one line below the panels."""
    handles = [
        Line2D([], [], color=INK, marker=marker, ls=":", lw=0.6, ms=4, label=f"{label} ({t:g} s)")
        for t, marker, label in marks
    ]
    if missing:
        handles.append(Patch(color=NO_DATA, label="no data"))
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _colour_bar(figure: Figure, panels: list[Axes], look: _Look, units: str) -> Colorbar:
    """Draw the one colour bar of some panels, with its unit."""
    shown = [panel for panel in panels if panel.figure is not None]
    place = {"fraction": 0.04, "pad": 0.015, "aspect": max(look.height, 2.0) / 0.13}
    mappable = ScalarMappable(look.limits, look.colours)
    bar = figure.colorbar(mappable, ax=shown, extend=look.extend, **place)
    bar.set_label(plain(units, longest=60))
    bar.outline.set_linewidth(0.5)
    return bar


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
