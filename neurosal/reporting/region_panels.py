"""Panels of regions over time, one a condition: the layout of region x time figures."""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from neurosal.reporting import lettering, style
from neurosal.reporting.style import INK, NO_DATA, plain

_UNREAD = "0.95"


@dataclass(frozen=True)
class Look:
    """How every map of one figure is drawn.

    Parameters
    ----------
    colours, limits, extend
        What :func:`neurosal.reporting.style.colour_scale` gives.
    names : list of str
        The regions, from top to bottom.
    networks : numpy.ndarray of str
        The network of each.
    times : numpy.ndarray
        In s from event onset.
    step : float
        Between times.
    height : float
        Of one panel, in inches.
    named : bool
        Whether each region's name is written.
    label : str
        Of the axis of time.
    """

    colours: Colormap
    limits: Normalize
    extend: str
    names: list[str]
    networks: np.ndarray
    times: np.ndarray
    step: float
    height: float
    named: bool
    label: str

    @property
    def ends(self) -> tuple[float, float]:
        """Where the axis of time begins and ends: at the event's onset, if that is not far off."""
        first, last = self.times[0] - self.step / 2, self.times[-1] + self.step / 2
        near = 0 < first <= last - first and self.label == style.TIME_LABEL
        return (-self.step / 2 if near else first), last


def ordered(importance: xr.DataArray) -> xr.DataArray:
    """Bring maps to (condition, time, region), with the regions of a network together.

    Parameters
    ----------
    importance : xarray.DataArray
        Shape (time, region) or (condition, time, region).

    Returns
    -------
    xarray.DataArray
        The same numbers.

    Examples
    --------
    >>> array = xr.DataArray(np.eye(3), dims=("time", "region"),
    ...                      coords={"network": ("region", ["b", "a", "b"])})
    >>> ordered(array)["network"].values.tolist()
    ['b', 'b', 'a']
    """
    maps = style.as_maps(importance)
    return maps.isel(region=style.region_order(maps))


def look_of(
    maps: xr.DataArray, *, scale: str = "auto", vmax: float | None = None, max_names: int = 64
) -> Look:
    """Choose colours, sizes and whether to name the regions.

    Parameters
    ----------
    maps : xarray.DataArray
        What :func:`ordered` gives.
    scale, vmax
        As in :func:`neurosal.reporting.style.colour_scale`.
    max_names : int, default=64
        Up to so many regions are named.

    Returns
    -------
    Look
        For all panels of a figure.

    Examples
    --------
    >>> look_of(ordered(xr.DataArray(np.eye(3), dims=("time", "region")))).names
    ['0', '1', '2']
    """
    colours, limits, extend = style.colour_scale(maps.values, scale=scale, vmax=vmax)
    n = maps.sizes["region"]
    times = maps["time"].values
    named = n <= max_names
    return Look(
        colours=colours,
        limits=limits,
        extend=extend,
        names=[plain(name, longest=32) for name in maps["region"].values],
        networks=style.networks_of(maps),
        times=times.astype(float),
        step=float(np.median(np.diff(times))) if len(times) > 1 else 1.0,
        height=max(0.115 * n, 1.5) if named else float(np.clip(0.03 * n, 3.4, 5.4)),
        named=named,
        label=style.time_label(times),
    )


def panels_of(n: int, look: Look) -> tuple[Figure, np.ndarray]:
    """Lay out one panel a condition: one row of up to five, else two balanced rows.

    Parameters
    ----------
    n : int
        Conditions.
    look : Look
        Of the figure.

    Returns
    -------
    tuple of matplotlib.figure.Figure, numpy.ndarray
        The figure and its axes, shape (row, column).

    Examples
    --------
    >>> look = look_of(ordered(xr.DataArray(np.eye(3), dims=("time", "region"))), max_names=0)
    >>> panels_of(6, look)[1].shape
    (2, 3)
    """
    rows = 1 if n <= 5 or look.named else 2
    columns = -(-n // rows)
    longest = lettering.text_width([plain(name) for name in look.networks], 7.5)
    longest += look.named * lettering.text_width(look.names, 7)
    width = longest / 72 + 1.3 + columns * float(np.clip(7.6 / columns, 1.05, 2.4))
    figure = style.new_figure(max(width, 4.6), rows * (look.height + 0.45) + 0.6)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_map(panel: Axes, values: np.ndarray, look: Look) -> None:
    """Draw one map, with lines between networks; times before the window are left grey.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Where.
    values : numpy.ndarray
        Shape (time, region), or (time, region, 4) of colours.
    look : Look
        Of the figure.

    Examples
    --------
    >>> look = look_of(ordered(xr.DataArray(np.eye(3), dims=("time", "region"))))
    >>> panel = Figure().subplots()
    >>> draw_map(panel, np.eye(3), look)
    >>> panel.images[0].get_array().shape
    (3, 3)
    """
    half = look.step / 2
    extent = (look.times[0] - half, look.times[-1] + half, len(look.names), 0)
    options = {"cmap": look.colours, "norm": look.limits, "interpolation": "nearest"}
    turned = np.ma.masked_invalid(np.swapaxes(values, 0, 1))
    panel.imshow(turned, extent=extent, aspect="auto", **options)
    panel.set_xlim(look.ends)
    panel.set_facecolor(_UNREAD)
    for start, _, _ in groups(look.networks)[1:]:
        panel.plot(extent[:2], [start, start], color=INK, linewidth=0.35, scaley=False)
    panel.spines[:].set_visible(True)
    panel.set_yticks([])
    panel.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))


def groups(networks: np.ndarray) -> list[tuple[int, int, str]]:
    """Find where each network begins and ends.

    Parameters
    ----------
    networks : numpy.ndarray of str
        Of regions in order.

    Returns
    -------
    list of tuple
        First row, row after the last, and name of each network.

    Examples
    --------
    >>> groups(np.array(["a", "a", "b"]))
    [(0, 2, 'a'), (2, 3, 'b')]
    """
    starts = [0, *(np.flatnonzero(networks[1:] != networks[:-1]) + 1)]
    stops = [*starts[1:], len(networks)]
    return [(int(a), int(b), str(networks[a])) for a, b in zip(starts, stops, strict=True)]


def finish(panels: np.ndarray, n: int, look: Look) -> None:
    """Name rows at the left, times at the bottom, and remove panels without a condition.

    Parameters
    ----------
    panels : numpy.ndarray
        Axes of shape (row, column).
    n : int
        How many are in use.
    look : Look
        Of the figure.

    Examples
    --------
    >>> look = look_of(ordered(xr.DataArray(np.eye(3), dims=("time", "region"))))
    >>> figure, panels = panels_of(1, look)
    >>> finish(panels, 1, look)
    >>> panels[0, 0].get_xlabel()
    'Time step'
    """
    columns = panels.shape[1]
    for i, panel in enumerate(panels.flat):
        if i >= n:
            panel.remove()
            continue
        bottom = i + columns >= n
        panel.tick_params(labelbottom=bottom)
        if i % columns == 0:
            _name_rows(panel, look)
    last = n - (len(panels) - 1) * columns
    middle = panels[-1, (last - 1) // 2]
    middle.set_xlabel(look.label, x=0.5 if last % 2 else 1.05)


def time_marks(look: Look, hrf_peak: float | None) -> list[tuple[float, str, str]]:
    """Choose what is marked on the axis of time; near marks become one.

    Parameters
    ----------
    look : Look
        Of the figure.
    hrf_peak : float or None
        When the haemodynamic response to the event's onset is expected to peak, in s.

    Returns
    -------
    list of tuple
        Time (s), marker and label of what is on the axis.

    Examples
    --------
    >>> array = xr.DataArray(np.ones((3, 1)), dims=("time", "region"), coords={"time": [0., 1, 2]})
    >>> [label for _, _, label in time_marks(look_of(ordered(array)), 5.0)]
    ['event onset and window start']
    """
    if look.label != style.TIME_LABEL:
        return []
    first, last = look.ends
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


def mark_times(panel: Axes, marks: list) -> None:
    """Put each mark above the panel, with a dotted line through the map.

    Parameters
    ----------
    panel : matplotlib.axes.Axes
        Where.
    marks : list of tuple
        What :func:`time_marks` gives.

    Examples
    --------
    >>> panel = Figure().subplots()
    >>> mark_times(panel, [(0.0, "v", "event onset")])
    >>> len(panel.lines)
    2
    """
    for time, marker, _ in marks:
        panel.axvline(time, color=INK, linewidth=0.6, linestyle=":")
        panel.plot(
            [time], [1.0], marker, color=INK, markersize=4, clip_on=False,
            transform=panel.get_xaxis_transform(), zorder=5,
        )  # fmt: skip


def time_key(figure: Figure, marks: list, *, missing: bool, more: tuple = ()) -> None:
    """Explain marks and grey rows in one line below the panels.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Where.
    marks : list of tuple
        What :func:`time_marks` gives.
    missing : bool
        Whether there are cells without data.
    more : tuple of matplotlib artists
        Further entries, with their labels.

    Examples
    --------
    >>> figure = Figure(layout="constrained")
    >>> time_key(figure, [(0.0, "v", "event onset")], missing=True)
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['event onset (0 s)', 'no data']
    """
    handles = [
        Line2D([], [], color=INK, marker=marker, ls=":", lw=0.6, ms=4, label=f"{label} ({t:g} s)")
        for t, marker, label in marks
    ]
    if missing:
        handles.append(Patch(color=NO_DATA, label="no data"))
    handles += more
    if handles:
        columns = lettering.legend_columns(figure, [str(one.get_label()) for one in handles])
        figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def map_bar(figure: Figure, panels: list[Axes], look: Look, units: str) -> Colorbar:
    """Draw the one colour bar of some panels, with its unit.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Where.
    panels : list of matplotlib.axes.Axes
        Beside which.
    look : Look
        Of the figure.
    units : str
        Written beside it.

    Returns
    -------
    matplotlib.colorbar.Colorbar
        The bar.

    Examples
    --------
    >>> look = look_of(ordered(xr.DataArray(np.eye(3), dims=("time", "region"))))
    >>> figure, panels = panels_of(1, look)
    >>> map_bar(figure, list(panels.flat), look, "logit").ax.get_ylabel()
    'logit'
    """
    shown = [panel for panel in panels if panel.figure is not None]
    length = min(look.height, 4.5)
    place = {"fraction": 0.04, "pad": 0.015, "aspect": max(length, 2.0) / 0.13}
    place |= {
        "shrink": min(1.0, length / (len({p.get_position().y0 for p in shown}) * look.height))
    }
    mappable = ScalarMappable(look.limits, look.colours)
    bar = figure.colorbar(mappable, ax=shown, extend=look.extend, **place)
    bar.set_label(plain(units, longest=60))
    bar.outline.set_linewidth(0.5)
    return bar


def _name_rows(panel: Axes, look: Look) -> None:
    """Write region names, where they fit, and bracket the networks beside them."""
    offset = 3.0
    if look.named:
        size = min(7.0, 0.92 * 72 * look.height / len(look.names))
        panel.set_yticks(np.arange(len(look.names)) + 0.5, look.names, fontsize=size)
        panel.tick_params(axis="y", length=0, pad=2)
        offset = lettering.text_width(look.names, size) + 8.0
    parts = groups(look.networks)
    if len(parts) == 1 and parts[0][2] == "all regions":
        return
    middles = np.array([(a + b) / 2 for a, b, _ in parts])
    places = lettering.spread(middles, 8.6 / 72 / look.height * len(look.names))
    for part, middle, place in zip(parts, middles, places, strict=True):
        _bracket(panel, look, part, (middle, place), offset)


def _bracket(
    panel: Axes, look: Look, group: tuple, middle_place: tuple[float, float], offset: float
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
