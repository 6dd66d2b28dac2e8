"""Images as windows: each image a window, or each volume of one image.

Runs are cut by their events (:mod:`neurosal.loaders.events`); here the images are the windows
already, as nilearn's decoders have them.
"""

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import REGION_COLUMNS
from neurosal.loaders.runs import shorten
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.extract import extract_regions, repetition_time
from neurosal.parcellation.files import open_image, read_values
from neurosal.parcellation.grayordinate_runs import is_grayordinates
from neurosal.progress import track

DIMENSIONS = ("sample", "time", "region")


def image_windows(X: object, atlas: RegionAtlas, *, progress: bool = False) -> xr.DataArray:
    """Parcellate images, each of them a window or its volumes windows of one frame.

    Parameters
    ----------
    X : image or list of images
        What :func:`~neurosal.parcellation.extract.extract_regions` takes. One image makes a window
        of each volume. Of a list, each image is a window with all its frames; an image of shape
        (x, y, z), or with one value a vertex, has one.
    atlas : Atlas, GrayordinateAtlas, MapsAtlas or MaskerAtlas
        The regions.
    progress : bool
        Tell on standard error how far the work is.

    Returns
    -------
    xarray.DataArray
        (sample, time, region): region values as they were measured. ``time`` in seconds from the
        first frame, where images of several frames tell their repetition time.

    Raises
    ------
    ArgumentError
        If the images have different numbers of frames.
    DataError
        If an image is empty or cannot be used.

    Examples
    --------
    >>> import pandas as pd
    >>> from neurosal.parcellation.atlas import Atlas
    >>> labels = nib.Nifti1Image(np.array([[[0, 1, 2, 2]]], dtype="int16"), np.eye(4))
    >>> atlas = Atlas(labels, pd.DataFrame({"index": [1, 2], "name": ["V1", "V2"]}))
    >>> bold = nib.Nifti1Image(np.arange(1, 13.0).reshape(1, 1, 4, 3), np.eye(4))
    >>> image_windows(bold, atlas).shape, image_windows([bold, bold], atlas).shape
    ((3, 1, 2), (2, 3, 2))
    """
    if not isinstance(X, list | tuple):
        series = _series(X, atlas)
        return _stack([series[[row]] for row in range(series.sizes["time"])])
    shown = track(X, "parcellating images", total=len(X), show=progress)
    return _stack([_series(img, atlas) for img in shown])


def check_not_empty(img: object) -> None:
    """Refuse an image without voxels, vertices or frames.

    Parameters
    ----------
    img : image or anything else
        What has no shape is not looked at.

    Raises
    ------
    DataError
        If a dimension has no length.

    Examples
    --------
    >>> check_not_empty(nib.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4)))
    """
    shape = getattr(img, "shape", None)
    if isinstance(shape, tuple) and 0 in shape:
        raise DataError(f"{_file_of(img)} is empty: its shape is {shape}.")


def _stack(series: Sequence[xr.DataArray]) -> xr.DataArray:
    """Make each (time, region) a sample."""
    lengths = sorted({one.sizes["time"] for one in series})
    if len(lengths) > 1:
        raise ArgumentError(
            f"The images have {shorten(lengths)} frames: all windows must be of one length. To "
            "cut windows out of long images, give runs: Run(img, events, t_r, subject=..., "
            "task=...)."
        )
    first = series[0]
    coords = {name: first[name].variable for name in ("region", *REGION_COLUMNS)}
    if lengths[0] > 1 and "t_r" in first.attrs:
        coords["time"] = first["time"].variable
    values = np.stack([one.to_numpy() for one in series])
    return xr.DataArray(values, dims=DIMENSIONS, coords=coords, attrs=dict(first.attrs))


def _series(img: object, atlas: RegionAtlas) -> xr.DataArray:
    """Parcellate one image; without ``t_r`` where nothing tells it."""
    img = open_image(img) if isinstance(img, str | Path) and not is_grayordinates(img) else img
    check_not_empty(img)
    if isinstance(img, nib.spatialimages.SpatialImage):
        if img.ndim == 3:
            return _untimed(extract_regions(_as_run(img), atlas, t_r=1.0))
        known = repetition_time(None, img)
        series = extract_regions(img, atlas, t_r=known or 1.0)
        return series if known else _untimed(series)
    if hasattr(img, "mesh"):
        return _untimed(extract_regions(_with_frames(img), atlas, t_r=1.0))
    return extract_regions(img, atlas)


def _untimed(series: xr.DataArray) -> xr.DataArray:
    """Forget a repetition time that was made up."""
    series.attrs.pop("t_r")
    return series


def _as_run(img: nib.spatialimages.SpatialImage) -> nib.Nifti1Image:
    """Give a volume a dimension of frames; it keeps its name for messages."""
    data = read_values(img, _file_of(img))[..., None]
    longer = nib.Nifti1Image(data, img.affine, dtype=data.dtype)
    if img.get_filename():
        longer.set_filename(str(img.get_filename()))
    return longer


def _with_frames(img: object) -> object:
    """Give a surface image of one value a vertex a dimension of frames."""
    from nilearn.surface import SurfaceImage

    parts = {side: part.reshape(len(part), -1) for side, part in img.data.parts.items()}
    return SurfaceImage(img.mesh, parts)


def _file_of(img: object) -> str:
    """Name an image in messages."""
    return str(getattr(img, "get_filename", lambda: None)() or "the image in memory")
