"""Cortical surfaces over time, for print: the still picture of the turning brain."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from neurosal.errors import ArgumentError
from neurosal.parcellation.base import RegionAtlas
from neurosal.projection.values import columns_of
from neurosal.reporting import style
from neurosal.reporting.brain_mesh import brain_mesh
from neurosal.reporting.brains import colour_bar
from neurosal.reporting.style import UNITS, plain
from neurosal.reporting.surface_views import NO_DATA, brain_views, paint


@style.styled
def plot_surface_mosaic(
    importance: xr.DataArray,
    atlas: RegionAtlas,
    *,
    mesh: object = None,
    n_rows: int = 4,
    vmax: float | None = None,
    scale: str = "auto",
    units: str = UNITS,
    title: str = "",
) -> Figure:
    """Draw importance on the cortical surfaces: a row for each stretch of time.

    Times are averaged within ``n_rows`` stretches. Hemispheres are inflated where that surface is
    known; regions off the cortical sheet are balls in a view from above.

    Parameters
    ----------
    importance : xarray.DataArray
        Shape (time, region); ``time`` in s from event onset, regions by the names of the atlas.
    atlas : Atlas, GrayordinateAtlas, MapsAtlas or MaskerAtlas
        The regions; one of volumes must be in MNI space.
    mesh : nilearn.surface.PolyMesh or (left, right) files, optional
        Other surfaces than fsaverage5, see :func:`~neurosal.reporting.brain_mesh.brain_mesh`.
    n_rows : int, default=4
        Rows at most.
    vmax : float, optional
        Upper limit of the scale, in ``units``; give one to share it between conditions.
    scale : {"auto", "signed", "sequential"}, default="auto"
        As in :func:`neurosal.reporting.style.colour_scale`.
    units : str, default="attribution (logit)"
        Written beside the colour bar.
    title : str, default=""
        Heading, such as the condition.

    Returns
    -------
    matplotlib.figure.Figure
        The caller saves it.

    Raises
    ------
    ArgumentError
        If the dimensions or regions do not fit, or the atlas cannot be put on surfaces.

    See Also
    --------
    neurosal.reporting.slider.brain_slider : the same, to be turned and moved in time.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> array = xr.DataArray(np.ones((2, 160)), dims=("time", "region"), coords={
    ...     "time": [5.0, 6.0], "region": atlas.regions["name"]})
    >>> len(plot_surface_mosaic(array, atlas).axes)
    11
    """
    if set(importance.dims) != {"time", "region"} or 0 in importance.shape:
        raise ArgumentError(
            f"importance must be (time, region) and not empty. Got {dict(importance.sizes)}: "
            "select one condition first."
        )
    importance = importance.transpose("time", "region")
    columns, views = columns_of(importance, atlas), brain_views(brain_mesh(atlas, mesh))
    stretches = style.time_stretches(importance["time"].values, n_rows)
    frames = np.stack([importance.values[part].mean(axis=0) for part, _ in stretches])
    colours, limits, extend = style.colour_scale(frames, scale=scale, vmax=vmax)
    tables = np.where(np.isnan(frames)[..., None], NO_DATA, colours(limits(frames))[..., :3])
    figure, boxes = _canvas(views, len(stretches))
    for i, (table, values, (_, label)) in enumerate(zip(tables, frames, stretches, strict=True)):
        full = np.where(columns[:, None] >= 0, table[columns], np.nan)
        size = np.where(columns >= 0, np.abs(values[columns]) / limits.vmax, 0)
        _row(figure, boxes[i], [paint(view, full, size) for view in views], label)
        if i == 0:
            _name_views(figure, boxes[0], views)
    if title:
        height = figure.get_size_inches()[1]
        words = plain(title, longest=60)
        figure.text(0.005, 1 - 0.05 / height, words, va="top", fontweight="bold")
    colour_bar(figure, colours, limits, extend, units)
    return figure


def _canvas(views: tuple, n_rows: int) -> tuple[Figure, list[list[tuple]]]:
    """Lay out a picture a view, as large as width allows, with room for times and bar."""
    shapes = [(view.rows.shape[1], view.rows.shape[0]) for view in views]
    left, right, head, gap = 0.72, 0.95, 0.5, 0.08
    width = 10.0
    each = (width - left - right) / sum(w / h for w, h in shapes)
    height = n_rows * (each + gap) + head
    boxes = []
    for row in range(n_rows):
        x, y, line = left, height - head - (row + 1) * (each + gap) + gap, []
        for w, h in shapes:
            wide = each * w / h
            line.append((x / width, y / height, wide / width, each / height))
            x += wide
        boxes.append(line)
    return Figure(figsize=(width, height)), boxes


def _row(figure: Figure, boxes: list[tuple], pictures: list[np.ndarray], label: str) -> None:
    """Show the views of one stretch of time, and write its time at the left."""
    middle = boxes[0][1] + boxes[0][3] / 2
    figure.text(0.005, middle, label.replace(" to ", " to\n"), va="center", fontsize=8)
    for box, picture in zip(boxes, pictures, strict=True):
        axes = figure.add_axes(box)
        axes.imshow(picture, interpolation="lanczos", aspect="equal")
        axes.set_axis_off()


def _name_views(figure: Figure, boxes: list[tuple], views: tuple) -> None:
    """Write above each column what it shows; left and right in the view from above."""
    for (x, y, wide, high), view in zip(boxes, views, strict=True):
        figure.text(x + wide / 2, y + high, view.title, ha="center", va="bottom", fontsize=7)
        if "above" in view.title:
            for place, letter in ((0.04, "L"), (0.96, "R")):
                middle = y + 0.9 * high
                figure.text(x + place * wide, middle, letter, ha="center", fontsize=7)
