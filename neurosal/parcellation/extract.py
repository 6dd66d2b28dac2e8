"""From a run to region time series: volumes, grayordinates, surfaces, probabilistic maps."""

import functools
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.loaders.runs import Run
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.beside import guess_space
from neurosal.parcellation.files import open_image
from neurosal.parcellation.grayordinate_means import grayordinate_signals
from neurosal.parcellation.grayordinate_runs import is_grayordinates
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.grids import check_spaces, share_inside
from neurosal.parcellation.maps import MapsAtlas, maps_signals
from neurosal.parcellation.masker_signals import masker_series
from neurosal.parcellation.maskers import MaskerAtlas
from neurosal.parcellation.signals import (
    OUTSIDE_VOLUME,
    RegionSignals,
    check_finite,
    check_header_t_r,
    check_t_r,
    warn_missing,
)
from neurosal.parcellation.streaming import Layout, RegionMeans, n_volumes, region_means

_SECONDS = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6, "unknown": 1.0}


def extract_regions(
    source: Run | str | Path | nib.spatialimages.SpatialImage | nib.Cifti2Image | dict,
    atlas: Atlas | GrayordinateAtlas | MapsAtlas | MaskerAtlas,
    *,
    t_r: float | None = None,
    space: str | None = None,
) -> xr.DataArray:
    """Average a run over the regions of an atlas.

    Compressed NIfTI files are read once, volume by volume, CIFTI files by blocks of grayordinates,
    with sums in double precision. A volume atlas on another grid is resampled to the run (nearest
    neighbour), never the run to the atlas; surfaces are never resampled. Of a probabilistic atlas
    the signals are fitted by least squares, as nilearn's ``NiftiMapsMasker`` does.

    Parameters
    ----------
    source : Run, str, pathlib.Path, nibabel image, dict or nilearn.surface.SurfaceImage
        The run: an image of shape (x, y, z, time). With an atlas of grayordinates a
        ``.dtseries.nii``, ``{"left": ..., "right": ...}`` of ``.func.gii`` files or a
        SurfaceImage; a ``.ptseries.nii`` if it was made with this atlas. With a masker, what it
        takes.
    atlas : Atlas, GrayordinateAtlas, MapsAtlas or MaskerAtlas
        The regions.
    t_r : float or None
        Repetition time in seconds; None takes the run's, or that of the image.
    space : str or None
        The space of the data; None takes the run's, or reads the file name.

    Returns
    -------
    xarray.DataArray
        Float64 of shape (time, region), with ``time`` in s from the run's start and, on
        ``region``, ``network``, ``hemisphere``, ``label_id``, ``n_voxels`` (voxels and vertices
        in the run) and ``coverage``: the share of the region's voxels and vertices that lie inside
        the image and change over time (in a single volume: are not zero). A region of which
        nothing lies inside the image, or that is zero throughout, is NaN and named in a warning.
        A vertex that is NaN throughout is taken as not in the run. Maskers tell neither
        ``n_voxels`` nor ``coverage``.

    Raises
    ------
    DataError
        If the file is missing, damaged, no run, in another space than the atlas, on another mesh
        or without any voxel in common with it, has NaN or infinite values inside a region, or
        gives a repetition time that must be in milliseconds.
    ArgumentError
        If the repetition time is unknown.

    See Also
    --------
    neurosal.projection.volume.to_nifti : the way back.

    Examples
    --------
    >>> import pandas as pd
    >>> labels = nib.Nifti1Image(np.array([[[0, 1, 2, 2]]], dtype="int16"), np.eye(4))
    >>> table = pd.DataFrame({"index": [1, 2], "name": ["V1", "V2"]})
    >>> bold = nib.Nifti1Image(np.arange(12.0).reshape(1, 1, 4, 3), np.eye(4))
    >>> series = extract_regions(bold, Atlas(labels, table), t_r=2.0)
    >>> series.sel(region="V2").values, series["time"].values
    (array([7.5, 8.5, 9.5]), array([0., 2., 4.]))
    """
    if isinstance(atlas, MaskerAtlas):
        return _timed(masker_series(source, atlas, t_r=t_r or _header_t_r(source)), source)
    if isinstance(atlas, GrayordinateAtlas):
        signals = grayordinate_signals(source, atlas, t_r=t_r, space=space)
    else:
        signals = _volume_signals(source, atlas, t_r, space)
    array = signals.labelled(atlas)
    warn_missing(array, signals, atlas)
    return _timed(array, source)


def _timed(array: xr.DataArray, source: object) -> xr.DataArray:
    """Count the times of a run from where its first volume is."""
    if not isinstance(source, Run) or not source.start_time:
        return array
    times = array["time"] - array["time"][0]
    return array.assign_coords(time=source.start_time + times.values)


def repetition_time(source: object, img: nib.spatialimages.SpatialImage) -> float:
    """Find the repetition time: the run's, or that of the image header.

    Parameters
    ----------
    source : Run or anything else
        A :class:`~neurosal.loaders.runs.Run` knows its ``t_r``.
    img : nibabel image
        The header's fourth voxel size and its unit are read.

    Returns
    -------
    float
        Seconds; 0 if the header does not tell.

    Examples
    --------
    >>> img = nib.Nifti1Image(np.zeros((1, 1, 1, 2)), np.eye(4))
    >>> img.header.set_zooms((1, 1, 1, 720))
    >>> img.header.set_xyzt_units("mm", "msec")
    >>> repetition_time(None, img)
    0.72
    """
    if isinstance(source, Run):
        return source.t_r
    zooms = img.header.get_zooms()
    return round(float(zooms[3]) * _time_unit(img), 6) if len(zooms) > 3 else 0.0


def first_time(img: nib.spatialimages.SpatialImage) -> float:
    """Find the time of the first volume, as the header tells it.

    Parameters
    ----------
    img : nibabel image
        The header's ``toffset`` and the unit of time are read.

    Returns
    -------
    float
        Seconds; 0 if the header does not tell.

    Examples
    --------
    >>> img = nib.Nifti1Image(np.zeros((1, 1, 1, 2)), np.eye(4))
    >>> img.header["toffset"] = 5000
    >>> img.header.set_xyzt_units("mm", "msec")
    >>> first_time(img)
    5.0
    """
    told = "toffset" in img.header
    return round(float(img.header["toffset"]) * _time_unit(img), 6) if told else 0.0


def _time_unit(img: nib.spatialimages.SpatialImage) -> float:
    """Give the unit of time of a header in seconds; 0 if it is none of time."""
    default = "msec" if isinstance(img, nib.MGHImage) else "sec"
    unit = getattr(img.header, "get_xyzt_units", lambda: ("mm", default))()[1]
    return _SECONDS.get(unit, 0.0)


def _header_t_r(source: object) -> float | None:
    """Read the repetition time of an image of voxels; None of a run or anything else."""
    if isinstance(source, str | Path) and not is_grayordinates(source):
        source = open_image(source)
    if not isinstance(source, nib.spatialimages.SpatialImage):
        return None
    return check_header_t_r(repetition_time(None, source), str(source.get_filename()))


def grid_layout(
    atlas: Atlas, img: nib.spatialimages.SpatialImage, name: str = "the image"
) -> tuple[Layout, np.ndarray]:
    """Lay the regions of an atlas out on the grid of an image; kept for the next run on it.

    Parameters
    ----------
    atlas : Atlas
        The regions.
    img : nibabel image
        3D or 4D; only its shape and affine are used.
    name : str
        The image's name, for messages.

    Returns
    -------
    tuple
        The :class:`~neurosal.parcellation.streaming.Layout` of the regions that have a voxel on
        the grid, and for every region of the atlas the share of it inside the grid.

    Raises
    ------
    DataError
        If no region lies inside the image.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> layout, inside = grid_layout(atlas, atlas.labels)
    >>> len(layout.label_ids), inside.min()
    (160, np.float64(1.0))
    """
    corner = np.round(img.affine[:3, 3], 1).tolist()
    if not abs(np.linalg.det(img.affine)) > 1e-9:
        raise DataError(
            f"The affine of {name} is singular: {img.affine[:3].tolist()}. Write it again with "
            "the right sform or qform."
        )
    layout, inside = _layout(atlas, tuple(img.shape[:3]), np.asarray(img.affine, float).tobytes())
    if not len(layout.label_ids):
        raise DataError(
            f"No region of {atlas.name} lies inside {name} (shape {img.shape[:3]}, corner at "
            f"{corner} mm). Check that the image is in the "
            f"space of the atlas ({atlas.space or 'unknown'}) and that its affine is right."
        )
    return layout, inside


@functools.lru_cache(maxsize=8)
def _layout(atlas: Atlas, shape: tuple, affine: bytes) -> tuple[Layout, np.ndarray]:
    """Do the work of grid_layout once for an atlas and a grid."""
    grid = nib.Nifti1Image(np.broadcast_to(np.uint8(0), shape), np.frombuffer(affine).reshape(4, 4))
    labels = atlas.resample_to(grid)
    shares = share_inside(atlas.labels, grid)
    inside = np.array([shares[label] for label in atlas.regions["label_id"]])
    return Layout.of(np.asarray(labels.dataobj)), inside


def _volume_signals(
    source: object, atlas: Atlas | MapsAtlas, t_r: float | None, space: str | None
) -> RegionSignals:
    """Average a volume over labels, or fit maps to it."""
    img, name, run_space = _open(source, atlas)
    space = run_space if space is None else space
    if len(img.shape) < 4:
        raise DataError(f"{name} is 3D, of shape {img.shape}; a run is 4D (x, y, z, time).")
    if t_r is None:
        known = repetition_time(source, img)
        t_r = known if isinstance(source, Run) else check_header_t_r(known, name)
    t_r = check_t_r(t_r, name)
    if isinstance(atlas, MapsAtlas):
        n_volumes(img)
        return maps_signals(img, atlas, t_r=t_r, space=space, name=name)
    check_spaces(space, atlas, name)
    layout, inside = grid_layout(atlas, img, name)
    means = region_means(img, layout)
    column = atlas.rows_of(layout.label_ids)
    values = np.full((len(means.values), len(atlas)), np.nan)
    values[:, column] = means.values
    _check_finite(means, column, atlas, name)
    values[:, column[means.zero]] = np.nan
    n_voxels, signal = np.zeros(len(atlas), dtype=int), np.zeros(len(atlas))
    n_voxels[column], signal[column] = layout.sizes, means.signal
    return RegionSignals(
        values,
        n_voxels,
        signal * inside,
        t_r=t_r,
        start=0.0,
        name=name,
        space=space or atlas.space,
        outside=OUTSIDE_VOLUME,
    )


def _check_finite(means: RegionMeans, column: np.ndarray, atlas: Atlas, name: str) -> None:
    """Refuse NaN and infinite values in the regions that the run has."""
    bad = np.zeros((len(means.values), len(atlas)), dtype=bool)
    bad[:, column] = ~np.isfinite(means.values)
    check_finite(bad, atlas, name)


def _open(source: object, atlas: RegionAtlas) -> tuple[nib.spatialimages.SpatialImage, str, str]:
    """Open a run, path or image; give its name and space as well."""
    img = source.img if isinstance(source, Run) else source
    if is_grayordinates(img):
        name = source.label if isinstance(source, Run) else img
        raise DataError(
            f"{name} is on surfaces or grayordinates, but {atlas.name} is an atlas of volumes. "
            "Nothing is resampled between volume and surface here: take an atlas of the run's "
            "grayordinates (Atlas.from_files('x.dlabel.nii'), or of two .label.gii or .annot "
            "files), or give the run as a volume (.nii.gz)."
        )
    if isinstance(img, str | Path):
        path, img = img, open_image(img)
    elif isinstance(img, nib.spatialimages.SpatialImage):
        path = img.get_filename()
    else:
        raise ArgumentError(
            "source must be a Run, a path, a nibabel image, {'left': ..., 'right': ...} or a "
            f"SurfaceImage. Got {type(img).__name__}."
        )
    if isinstance(source, Run):
        return img, str(path or source.label), source.space
    return img, str(path or "the image in memory"), guess_space(path)
