"""Runs on surfaces and grayordinates: CIFTI series, pairs of GIFTI files, nilearn's SurfaceImage.

Each becomes a :class:`GrayordinateRun`: which grayordinates there are, and their values in blocks
of a few thousand. A ``.dtseries.nii`` holds the series of one grayordinate after the other, so a
block is read in one piece and the run is never in memory as a whole.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis, ParcelsAxis, SeriesAxis

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.beside import guess_space, read_sidecar
from neurosal.parcellation.files import READ_ERRORS, open_any
from neurosal.parcellation.grayordinates import CORTEX
from neurosal.parcellation.label_files import cifti_axes
from neurosal.parcellation.surfaces import as_pair, check_side

_BLOCK = 4096
_INTENTS = ("NIFTI_INTENT_TIME_SERIES", "NIFTI_INTENT_NONE", "NIFTI_INTENT_NORMAL")


@dataclass(frozen=True, eq=False)
class GrayordinateRun:
    """A run, opened.

    Attributes
    ----------
    axis : nibabel.cifti2.BrainModelAxis or nibabel.cifti2.ParcelsAxis
        The grayordinates, or the parcels of a run that is parcellated already.
    blocks : callable
        Gives an iterator over blocks of shape (grayordinate, time), in the order of the axis.
    n_times : int
        Frames.
    t_r : float
        Repetition time in seconds; 0 if unknown.
    start : float
        Time of the first frame in seconds.
    name : str
        The file, for messages.
    space : str
        The space that the file name tells; empty if none.
    """

    axis: BrainModelAxis | ParcelsAxis
    blocks: Callable[[], Iterator[np.ndarray]]
    n_times: int
    t_r: float
    start: float
    name: str
    space: str


def is_grayordinates(img: object) -> bool:
    """Tell whether a run is on surfaces or grayordinates, by what it is or its file name.

    Parameters
    ----------
    img : anything
        A path, an image, a pair of hemispheres.

    Returns
    -------
    bool
        True for CIFTI and GIFTI files and images, dicts and nilearn's SurfaceImage.

    Examples
    --------
    >>> is_grayordinates("run.dtseries.nii"), is_grayordinates("run.nii.gz")
    (True, False)
    """
    if isinstance(img, str | Path):
        name = str(img).removesuffix(".gz")
        kinds = ("dtseries", "ptseries", "dscalar", "pscalar", "dlabel", "plabel", "dconn", "pconn")
        return name.endswith((".gii", *(f".{kind}.nii" for kind in kinds)))
    return isinstance(img, dict | nib.Cifti2Image | nib.GiftiImage) or _is_surface_image(img)


def open_run(img: object, name: str = "") -> GrayordinateRun:
    """Open a run on surfaces or grayordinates.

    Parameters
    ----------
    img : str, pathlib.Path, nibabel.Cifti2Image, dict or nilearn.surface.SurfaceImage
        A ``.dtseries.nii`` or ``.ptseries.nii``; ``{"left": ..., "right": ...}`` of
        ``.func.gii`` files; or an image of nilearn.
    name : str
        What to call an image in memory in messages.

    Returns
    -------
    GrayordinateRun
        With its values still on disk, where the format allows.

    Raises
    ------
    DataError
        If a file is missing, damaged, or no run.
    ArgumentError
        If ``img`` is none of these.

    Examples
    --------
    >>> axes = SeriesAxis(0, 0.72, 3), BrainModelAxis.from_surface([0, 2], 4, "CORTEX_LEFT")
    >>> run = open_run(nib.Cifti2Image(np.arange(6.0).reshape(3, 2), axes))
    >>> run.t_r, next(run.blocks()).tolist()
    (0.72, [[0.0, 2.0, 4.0], [1.0, 3.0, 5.0]])
    """
    if _is_surface_image(img):
        return _open_parts(img.data.parts, name or "the SurfaceImage in memory")
    if isinstance(img, dict):
        return _open_gifti(as_pair(img, "A run"))
    if isinstance(img, str | Path):
        name = str(img)
        if name.endswith((".gii", ".gii.gz")):
            as_pair(name, "A run")
        img = open_any(name, keep_file_open=True)
    if isinstance(img, nib.Cifti2Image):
        return _open_cifti(img, str(img.get_filename() or name or "the CIFTI image in memory"))
    raise ArgumentError(
        "A run on surfaces or grayordinates must be a .dtseries.nii (uncompressed), {'left': ..., "
        f"'right': ...}} of .func.gii files, or a SurfaceImage. Got {type(img).__name__} {name}."
    )


def _is_surface_image(img: object) -> bool:
    """Tell nilearn's SurfaceImage by its make, without importing nilearn."""
    return hasattr(img, "mesh") and isinstance(getattr(img.data, "parts", None), dict)


def _open_cifti(img: nib.Cifti2Image, name: str) -> GrayordinateRun:
    """Open a dense or parcellated series."""
    axes = cifti_axes(img, name)
    kinds = ", ".join(type(axis).__name__ for axis in axes)
    if len(axes) != 2 or not isinstance(axes[0], SeriesAxis):
        raise DataError(
            f"{name} is no series in time: its axes are {kinds}. Give a .dtseries.nii or "
            ".ptseries.nii (SeriesAxis first)."
        )
    if not isinstance(axes[1], BrainModelAxis | ParcelsAxis):
        raise DataError(f"{name} holds no grayordinates: its axes are {kinds}.")
    in_seconds = axes[0].unit == "SECOND"
    return GrayordinateRun(
        axes[1],
        lambda: _cifti_blocks(img, name),
        len(axes[0]),
        round(float(axes[0].step), 9) if in_seconds else 0.0,
        round(float(axes[0].start), 9) if in_seconds else 0.0,
        name,
        guess_space(img.get_filename()),
    )


def _cifti_blocks(img: nib.Cifti2Image, name: str) -> Iterator[np.ndarray]:
    """Read a few thousand grayordinates at a time, each with all of its frames."""
    try:
        for start in range(0, img.shape[1], _BLOCK):
            yield np.asarray(img.dataobj[:, start : start + _BLOCK]).T
    except READ_ERRORS as error:
        raise DataError(
            f"{name} is damaged or cut short: {error}. Copy or download it again."
        ) from error


def _open_gifti(pair: dict[str, object]) -> GrayordinateRun:
    """Open a pair of functional GIFTI files; the format is read as a whole."""
    names = [str(one) for one in pair.values() if isinstance(one, str | Path)]
    name = "; ".join(names) or "the GIFTI images in memory"
    images = {}
    for side, one in pair.items():
        check_side(one, side)
        images[side] = open_any(one) if isinstance(one, str | Path) else one
        check_side(images[side], side, name=one if isinstance(one, str | Path) else name)
    frames = {side: _frames(img, name) for side, img in images.items()}
    steps = {_gifti_step(img, pair[side]) for side, img in images.items()} - {0.0}
    if len(steps) > 1:
        raise DataError(f"{name} tell different repetition times: {sorted(steps)} s.")
    return _of_frames(frames, name, t_r=steps.pop() if steps else 0.0)


def _frames(img: object, name: str) -> list[np.ndarray]:
    """Take the frames out of a GIFTI image, each of shape (vertex,)."""
    arrays = img.darrays if isinstance(img, nib.GiftiImage) else []
    intents = {nib.nifti1.intent_codes.niistring[one.intent] for one in arrays}
    if not arrays or not intents <= set(_INTENTS):
        raise DataError(
            f"{name} holds no series: its arrays are {sorted(intents) or 'none'}. Give .func.gii "
            "files with one array a frame."
        )
    frames = [np.asarray(one.data) for one in arrays]
    if len(frames) == 1 and frames[0].ndim == 2:
        frames = list(frames[0].T)
    if len({one.shape for one in frames}) > 1 or frames[0].ndim != 1:
        shapes = sorted({one.shape for one in frames})
        raise DataError(f"{name} has frames of several shapes: {shapes}. Write it again.")
    return frames


def _gifti_step(img: nib.GiftiImage, source: object) -> float:
    """Find the repetition time: in the JSON beside the file, or as TimeStep in its metadata."""
    notes = read_sidecar(Path(source)) if isinstance(source, str | Path) else {}
    metas = [meta or {} for meta in (img.meta, *(one.meta for one in img.darrays[:1]))]
    told = [notes.get("RepetitionTime"), *(meta.get("TimeStep") for meta in metas)]
    told = [one for one in told if one is not None]
    try:
        step = float(told[0]) if told else 0.0
    except (TypeError, ValueError) as error:
        raise DataError(f"{source} tells the repetition time as {told[0]!r}: {error}.") from error
    return step / 1000 if step >= 50 else step  # programs write s or ms; no run takes 50 s a frame


def _open_parts(parts: dict[str, np.ndarray], name: str) -> GrayordinateRun:
    """Take the arrays of a SurfaceImage, of shape (vertex, time)."""
    if any(part.ndim != 2 for part in parts.values()):
        shapes = {side: part.shape for side, part in parts.items()}
        raise DataError(f"{name} has parts of shape {shapes}; a run has (vertex, time).")
    return _of_frames({side: parts[side].T for side in CORTEX if side in parts}, name, t_r=0.0)


def _of_frames(frames: dict[str, object], name: str, *, t_r: float) -> GrayordinateRun:
    """Make a run of the frames of each hemisphere, (time, vertex)."""
    counts = {side: len(one) for side, one in frames.items()}
    if len(set(counts.values())) > 1:
        raise DataError(
            f"{name}: the hemispheres have different numbers of frames, {counts}. Give the two "
            "files of one run."
        )
    sizes = {side: len(one[0]) for side, one in frames.items()}
    axes = [
        BrainModelAxis.from_surface(np.arange(size), size, CORTEX[side])
        for side, size in sizes.items()
    ]
    return GrayordinateRun(
        axes[0] if len(axes) == 1 else axes[0] + axes[1],
        lambda: _frame_blocks(frames.values()),
        next(iter(counts.values())),
        t_r,
        0.0,
        name,
        guess_space(name.split("; ")[0]),
    )


def _frame_blocks(hemispheres: object) -> Iterator[np.ndarray]:
    """Cut the frames of each hemisphere into blocks of vertices."""
    for frames in hemispheres:
        for start in range(0, len(frames[0]), _BLOCK):
            yield np.stack([frame[start : start + _BLOCK] for frame in frames], axis=1)
