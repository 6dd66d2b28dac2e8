"""Brain mosaics over time, on the MNI template where the image is in that space."""

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from nibabel.spatialimages import SpatialImage
from nilearn import image, plotting
from nilearn.datasets import load_mni152_brain_mask, load_mni152_template

from neurosal.errors import ArgumentError, check_one_of
from neurosal.reporting import style
from neurosal.reporting.style import INK, UNITS, plain

_GRID = 3
_FAINT = 0.02
_APART = 9.0  # mm between cuts, at least
_WORTH = 0.01  # of the best slice's sum: a slice of less is not worth a place
_PLAIN = 0.1  # of the scale: what is less is too pale to choose a slice for
_AXIAL = (-36, -16, 4, 22, 42, 60)
_SAGITTAL = (-42, 4, 42)


@style.styled
def plot_brain_mosaic(
    img4d: SpatialImage,
    *,
    times_s: Sequence[float] | None = None,
    space: str = "",
    n_rows: int = 4,
    vmax: float | None = None,
    scale: str = "auto",
    units: str = UNITS,
    title: str = "",
    view: str = "auto",
) -> Figure:
    """Draw an importance image over time: a row for each stretch of time, a column a slice.

    Frames are averaged within ``n_rows`` stretches of time; cuts of the template go through the
    largest values. Values below 2 % of the scale are transparent on the template, and so is zero
    on slices of the image itself.

    Parameters
    ----------
    img4d : nibabel image
        3D, or 4D with one frame a time point.
    times_s : sequence of float, optional
        Time of each frame, in s from event onset; by default counted from zero by the header's
        time step.
    space : str, default=""
        Name of the image's space if known; one that begins with ``"MNI"`` is drawn on the template,
        another one as it is. If empty, position and extent decide.
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
    view : {"auto", "template", "glass", "native"}, default="auto"
        ``"template"``: cuts of the MNI template. ``"glass"``: projections, for an image of part of
        the brain. ``"native"``: the image's own slices. ``"auto"``: see :func:`choose_view`.

    Returns
    -------
    matplotlib.figure.Figure
        The caller saves it.

    Raises
    ------
    ArgumentError
        If the image is not 3D or 4D, or ``times_s`` does not fit it.

    See Also
    --------
    nilearn.plotting.plot_stat_map : draws each row.

    Examples
    --------
    >>> from nibabel import Nifti1Image
    >>> slab = Nifti1Image(np.ones((40, 20, 1, 2), dtype="float32"), np.eye(4))
    >>> plot_brain_mosaic(slab, times_s=[5.0, 7.5]).texts[0].get_text()
    "slices of the image's own grid, no template"
    """
    check_one_of("view", view, ["auto", "template", "glass", "native"])
    data, times = _frames(img4d, times_s)
    view = choose_view(img4d, space=space) if view == "auto" else view
    stretches = style.time_stretches(times, n_rows)
    frames = np.stack([data[..., part].mean(axis=3) for part, _ in stretches], axis=3)
    labels = [label for _, label in stretches]
    colours, limits, extend = style.colour_scale(frames, scale=scale, vmax=vmax)
    colours = colours.with_extremes(bad="none")
    draw = {"template": _template_rows, "glass": _glass_rows, "native": _native_rows}[view]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="empty mask")
        figure = draw(img4d, frames, labels, colours, limits)
    note = {
        "template": "",
        "glass": "projections of the part of the brain in the image",
        "native": "slices of the image's own grid, no template",
    }[view]
    heading = " \u2013 ".join(part for part in (plain(title, longest=60), note) if part)
    if heading:
        inches = figure.get_size_inches()
        figure.text(0.05 / inches[0], 1 - 0.05 / inches[1], heading, va="top", fontweight="bold")
    colour_bar(figure, colours, limits, extend, units)
    return figure


def choose_view(img: SpatialImage, *, space: str = "") -> str:
    """Say how an image can be drawn honestly.

    Parameters
    ----------
    img : nibabel image
        3D or 4D.
    space : str, default=""
        Name of its space if known.

    Returns
    -------
    {"template", "glass", "native"}
        ``"template"`` if the image is in MNI space and its grid holds at least 80 % of the brain;
        ``"glass"`` if it holds less; ``"native"`` if it is in another space. Without ``space``, an
        image counts as MNI unless its header names the scanner's coordinates, it has fewer than
        eight slices some way, or more than a fifth of its non-zero voxels are outside the brain.

    Examples
    --------
    >>> from nibabel import Nifti1Image
    >>> choose_view(Nifti1Image(np.ones((40, 20, 1), dtype="float32"), np.eye(4)))
    'native'
    """
    if space and not space.upper().startswith("MNI"):
        return "native"
    brain = load_mni152_brain_mask(resolution=_GRID)
    points = image.coord_transform(*np.nonzero(brain.get_fdata()), brain.affine)
    voxels = np.stack(image.coord_transform(*points, np.linalg.inv(img.affine)))
    shape = np.array(img.shape[:3])[:, None]
    held = float(np.all((voxels > -0.5) & (voxels < shape - 0.5), axis=0).mean())
    if not space and not _looks_like_mni(img, brain):
        return "native"
    return "template" if held >= 0.8 else "glass"


def _looks_like_mni(img: SpatialImage, brain: SpatialImage) -> bool:
    """Guess from header, extent and position whether an image is in MNI space."""
    code = int(img.header["sform_code"]) if "sform_code" in img.header else 0
    if code == 1 or min(img.shape[:3]) < 8:
        return False
    data = np.asanyarray(img.dataobj)
    filled = np.nonzero(np.any(data != 0, axis=3) if data.ndim == 4 else data != 0)
    if not len(filled[0]):
        return True
    points = image.coord_transform(*filled, img.affine)
    where = np.stack(image.coord_transform(*points, np.linalg.inv(brain.affine)))
    where = np.rint(where).astype(int)
    inside = np.all((where >= 0) & (where < np.array(brain.shape)[:, None]), axis=0)
    mask = brain.get_fdata() > 0
    return float(mask[tuple(where[:, inside])].sum() / len(inside)) >= 0.8


def _frames(img: SpatialImage, times_s: Sequence[float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Data as (x, y, z, time), and the time of each frame."""
    if len(img.shape) not in (3, 4):
        raise ArgumentError(f"img4d must be a 3D or 4D image. Got shape {img.shape}.")
    data = np.asarray(img.dataobj, dtype=np.float32)
    data = data[..., None] if data.ndim == 3 else data
    if times_s is None:
        step = img.header.get_zooms()[3] if len(img.shape) == 4 else 1.0
        times_s = np.arange(data.shape[3]) * float(step)
    if len(times_s) != data.shape[3]:
        raise ArgumentError(
            f"times_s must have one time for each of {data.shape[3]} frames. Got {len(times_s)}."
        )
    return data, np.asarray(times_s)


def _canvas(n_rows: int, row_height: float) -> tuple[Figure, list]:
    """Lay out a wide axis a row, with room for labels at the left and the bar at the right."""
    head = 0.36
    height = n_rows * row_height + head
    figure = Figure(figsize=(10.0, height))
    boxes = [
        (0.07, 1 - (head + (i + 1) * row_height) / height, 0.845, 0.97 * row_height / height)
        for i in range(n_rows)
    ]
    return figure, boxes


def _label(figure: Figure, box: tuple, text: str) -> None:
    """Write a row's time at its left."""
    figure.text(0.005, box[1] + box[3] / 2, text.replace(" to ", " to\n"), va="center", fontsize=8)


def _template_rows(
    img: SpatialImage, frames: np.ndarray, labels: list[str], colours: Colormap, limits: Normalize
) -> Figure:
    """Draw axial and sagittal cuts on the MNI template."""
    known = image.new_img_like(img, np.nan_to_num(frames))
    grid = load_mni152_brain_mask(resolution=_GRID)
    coarse = image.resample_to_img(known, grid, interpolation="nearest")
    axial, sagittal = _best_cuts(coarse, least=_PLAIN * limits.vmax)
    figure, boxes = _canvas(len(labels), 1.14)
    look = {
        "bg_img": load_mni152_template(resolution=2), "cmap": colours, "vmin": limits.vmin,
        "vmax": limits.vmax, "threshold": _FAINT * limits.vmax, "figure": figure,
        "colorbar": False, "annotate": False, "black_bg": False, "draw_cross": False,
        "resampling_interpolation": "nearest",
    }  # fmt: skip
    for i, ((x, y, w, h), label) in enumerate(zip(boxes, labels, strict=True)):
        _label(figure, (x, y, w, h), label)
        parts = (("z", axial, x, 0.605 * w), ("x", sagittal, x + 0.61 * w, 0.39 * w))
        for direction, cuts, left, width in parts:
            axes = figure.add_axes((left, y, width, h))
            frame = image.index_img(coarse, i)
            display = plotting.plot_stat_map(
                frame, display_mode=direction, cut_coords=cuts, axes=axes, **look
            )
            if i == 0:
                _name_cuts(display.axes, direction)
    return figure


def _best_cuts(img: SpatialImage, *, least: float) -> tuple[tuple, tuple]:
    """Choose axial and sagittal cuts through the largest mean absolute values above the least."""
    size = np.abs(img.get_fdata())
    size = np.where(size >= least, size, 0).mean(axis=3)
    usual = {2: _AXIAL, 0: _SAGITTAL}
    return tuple(_cuts_along(size, img.affine, axis, spots) for axis, spots in usual.items())


def _cuts_along(size: np.ndarray, affine: np.ndarray, axis: int, usual: tuple) -> tuple:
    """Choose as many cuts as is usual: slices that show most, then usual ones apart from them.

    A slice is worth the sum of its values; those near a chosen one are out.
    """
    left = np.moveaxis(size, axis, 0).copy()
    gap = max(1, round(_APART / abs(affine[axis, axis])))
    floor = _WORTH * left.sum(axis=(1, 2)).max()
    places = affine[axis, axis] * np.arange(len(left)) + affine[axis, 3]
    chosen: list[float] = []
    while len(chosen) < len(usual):
        worth = left.sum(axis=(1, 2))
        best = int(worth.argmax())
        if worth[best] <= floor:
            break
        chosen.append(float(places[best]))
        left[max(best - gap, 0) : best + gap + 1] = 0
    while len(chosen) < len(usual):
        away = [min((abs(spot - one) for one in chosen), default=np.inf) for spot in usual]
        chosen.append(float(usual[int(np.argmax(away))]))
    return tuple(sorted(chosen))


def _name_cuts(cuts: dict, direction: str) -> None:
    """Write each cut's coordinate above it, and left and right at the first axial one."""
    for place, (coordinate, cut) in enumerate(cuts.items()):
        text = {"transform": cut.ax.transAxes, "fontsize": 7, "color": INK}
        name = f"{direction} = {coordinate:g}"
        cut.ax.text(0.5, 1.01, name, ha="center", va="bottom", **text)
        if direction == "z" and place == 0:
            cut.ax.text(0.02, 0.97, "L", va="top", **text)
            cut.ax.text(0.98, 0.97, "R", ha="right", va="top", **text)


def _glass_rows(
    img: SpatialImage, frames: np.ndarray, labels: list[str], colours: Colormap, limits: Normalize
) -> Figure:
    """Draw projections on an outline of the brain."""
    figure, boxes = _canvas(len(labels), 1.5)
    for i, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        _label(figure, box, label)
        frame = image.new_img_like(img, np.nan_to_num(frames[..., i]))
        plotting.plot_glass_brain(
            frame, display_mode="lyrz", figure=figure,
            axes=figure.add_axes(box), colorbar=False, annotate=i == 0, plot_abs=False,
            cmap=colours, vmin=limits.vmin, vmax=limits.vmax, threshold=_FAINT * limits.vmax,
        )  # fmt: skip
    return figure


def _native_rows(
    img: SpatialImage, frames: np.ndarray, labels: list[str], colours: Colormap, limits: Normalize
) -> Figure:
    """Draw the image's own slices along its third axis, spread over those that hold anything."""
    cuts = _filled_slices(frames, most=8)
    single = len(cuts) == 1
    rows, columns = (1, len(labels)) if single else (len(labels), len(cuts))
    size = np.array(frames.shape[:2]) * np.asarray(img.header.get_zooms()[:2], dtype=float)
    width = min(8.6 / columns, 2.6 * size[0] / size[1])
    height = width * size[1] / size[0]
    figure = Figure(figsize=(max(width * columns, 3.2) + 1.3, max(rows * (height + 0.06) + 0.5, 2)))
    right = 1 - 0.95 / figure.get_size_inches()[0]
    top = 1 - 0.45 / figure.get_size_inches()[1]
    panels = figure.subplots(
        rows, columns, squeeze=False,
        gridspec_kw={"left": 0.05, "right": right, "top": top, "bottom": 0.02, "wspace": 0.05},
    )  # fmt: skip
    for i, j in np.ndindex(rows, columns):
        frame, cut = (j, cuts[0]) if single else (i, cuts[j])
        values = frames[:, :, cut, frame]
        aspect = size[1] / size[0] * values.shape[0] / values.shape[1]
        panels[i, j].imshow(
            np.where(values == 0, np.nan, values).T, origin="lower", cmap=colours, norm=limits,
            aspect=aspect, interpolation="nearest",
        )  # fmt: skip
        panels[i, j].set(xticks=[], yticks=[], facecolor="0.92")
        panels[i, j].spines[:].set_visible(False)
        heading = labels[j] if single else f"slice {cut}" if i == 0 else ""
        panels[i, j].set_title(heading, fontsize=7, loc="center")
        panels[i, j].set_ylabel("" if single or j else labels[i], fontsize=7)
    return figure


def _filled_slices(frames: np.ndarray, *, most: int) -> np.ndarray:
    """Choose slices of the third axis, evenly among those that are not empty."""
    filled = np.flatnonzero((np.nan_to_num(frames) != 0).any(axis=(0, 1, 3)))
    filled = filled if len(filled) else np.arange(frames.shape[2])
    picked = np.linspace(0, len(filled) - 1, min(most, len(filled))).round().astype(int)
    return filled[picked]


def colour_bar(
    figure: Figure, colours: Colormap, limits: Normalize, extend: str, units: str
) -> None:
    """Draw a mosaic's shared colour bar at the right edge.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        With an inch left free at the right.
    colours, limits, extend
        What :func:`neurosal.reporting.style.colour_scale` gives.
    units : str
        Written beside the bar.

    Examples
    --------
    >>> figure = Figure(figsize=(10, 4))
    >>> colour_bar(figure, *style.colour_scale(np.array([1.0])), "logit")
    >>> figure.axes[0].get_ylabel()
    'logit'
    """
    width, height = figure.get_size_inches()
    length = min(0.8, 2.6 / height)
    axes = figure.add_axes((1 - 0.78 / width, 0.48 - length / 2, 0.1 / width, length))
    bar = figure.colorbar(ScalarMappable(limits, colours), cax=axes, extend=extend)
    bar.set_label(plain(units, longest=60), fontsize=7, color=INK)
    bar.outline.set_linewidth(0.5)
