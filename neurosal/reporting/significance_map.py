"""Region x time maps of a test over subjects, with the significant cells marked."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from neurosal.errors import ArgumentError
from neurosal.reporting import style
from neurosal.reporting.region_panels import (
    Look,
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
from neurosal.reporting.style import INK, plain

_FADED = 0.35
_FRAMED = 1.5  # points of height that a row needs to be framed
_LABELS = {"t": "t over subjects", "dz": "Cohen's dz over subjects"}


@style.styled
def plot_significant(
    result: xr.Dataset,
    *,
    variable: str = "mean",
    vmax: float | None = None,
    hrf_peak: float | None = 5.0,
    max_names: int = 64,
    title: str = "",
) -> Figure:
    """Draw a test's region x time map, with significant cells framed and the others pale.

    Nothing is hidden: cells that are not significant keep their colour, mixed with white. Rows too
    thin for frames have full and pale colours only.

    Parameters
    ----------
    result : xarray.Dataset
        What :func:`neurosal.group_test` gives: ``mean`` (or ``t``, ``dz``) and ``significant``, of
        shape (time, region) or (condition, time, region).
    variable : str, default="mean"
        Which map is coloured.
    vmax : float, optional
        Upper limit of the colours; by default the 99.5th percentile.
    hrf_peak : float, optional
        When the haemodynamic response to the event's onset is expected to peak (s); None leaves
        the mark out.
    max_names : int, default=64
        Up to so many regions are named; more are shown by network alone.
    title : str, default=""
        Heading of the figure.

    Returns
    -------
    matplotlib.figure.Figure
        One panel a condition, titled with its number of significant cells.

    Raises
    ------
    ArgumentError
        If a variable is missing or the dimensions are others.

    References
    ----------
    Taylor et al. (2023), Highlight results, don't hide them: enhance interpretation, reduce biases
    and improve reproducibility. https://doi.org/10.1016/j.neuroimage.2023.120138

    Examples
    --------
    >>> cells = xr.DataArray(np.eye(3), dims=("time", "region"), coords={"time": [5., 6., 7.]})
    >>> figure = plot_significant(xr.Dataset({"mean": cells, "significant": cells > 0}))
    >>> figure.axes[0].get_title(loc="left")
    '3 of 9 cells significant'
    """
    if {variable, "significant"} - set(result):
        raise ArgumentError(
            f"result must hold {variable!r} and 'significant', as group_test gives them. Got "
            f"{sorted(map(str, result))}."
        )
    maps, flags = ordered(result[variable]), ordered(result["significant"])
    look = look_of(maps, vmax=vmax, max_names=max_names)
    n = maps.sizes["condition"]
    figure, panels = panels_of(n, look)
    marks = time_marks(look, hrf_peak)
    tested = _tested(result, maps)
    framed = 72 * look.height / len(look.names) >= _FRAMED
    for panel, values, flag, known in zip(panels.flat, maps, flags.values, tested, strict=False):
        flag = flag.astype(bool)
        draw_map(panel, _faded(values.values, flag, look), look)
        if framed:
            _frame(panel, flag, look)
        mark_times(panel, marks)
        _name(panel, values["condition"].item(), flag, known)
    finish(panels, n, look)
    units = result[variable].attrs.get("units", style.UNITS)
    told = _LABELS.get(variable, f"{variable.capitalize()} over subjects: {units}")
    map_bar(figure, list(panels.flat), look, told)
    missing = bool(np.isnan(maps.values).any())
    time_key(figure, marks, missing=False, more=_key(look, variable, framed, missing))
    if title:
        figure.suptitle(plain(title, longest=100), fontsize=10, fontweight="bold")
    return figure


def _key(look: Look, variable: str, framed: bool, missing: bool) -> tuple:
    """Explain frames, pale and grey cells."""
    full = np.array(look.colours(0.85)[:3])
    frame = Line2D([], [], color=INK, lw=1.1, label="significant")
    key = [frame if framed else Patch(color=tuple(full), label="full colour: significant")]
    key += [Patch(color=tuple(1 - _FADED * (1 - full)), label="pale: not significant")]
    if missing:
        key += [Patch(color=style.NO_DATA, label="no data" if variable == "mean" else "not tested")]
    return tuple(key)


def _tested(result: xr.Dataset, maps: xr.DataArray) -> np.ndarray:
    """Which cells of each condition were tested."""
    if "status" in result:
        return ordered(result["status"]).values == 0
    return np.isfinite(maps.values)


def _name(panel: Axes, condition: object, flag: np.ndarray, known: np.ndarray) -> None:
    """Head a panel with its condition and count."""
    name = plain(condition, longest=24)
    count = f"{flag.sum()} of {known.sum()} cells"
    words = f"{name}\n{count}" if name else f"{count} significant"
    panel.set_title(words, pad=8, fontsize=8)


def _faded(values: np.ndarray, flag: np.ndarray, look: Look) -> np.ndarray:
    """Colours of the cells, mixed with white where they are not significant."""
    colours = look.colours(look.limits(np.ma.masked_invalid(values)))
    pale = 1 - _FADED * (1 - colours[..., :3])
    kept = flag | ~np.isfinite(values)
    colours[..., :3] = np.where(kept[..., None], colours[..., :3], pale)
    return colours


def _frame(panel: Axes, flag: np.ndarray, look: Look) -> None:
    """Draw lines where significant cells end."""
    cells = np.pad(flag.T, 1)
    left = look.times[0] - look.step / 2
    lines = []
    for row, column in np.argwhere(cells[:, 1:] != cells[:, :-1]):
        x = left + column * look.step
        lines.append([(x, row - 1), (x, row)])
    for row, column in np.argwhere(cells[1:] != cells[:-1]):
        x = left + (column - 1) * look.step
        lines.append([(x, row), (x + look.step, row)])
    width = float(np.clip(72 * look.height / len(look.names) / 6, 0.5, 1.1))
    panel.add_collection(LineCollection(lines, colors=INK, linewidths=width, capstyle="projecting"))
