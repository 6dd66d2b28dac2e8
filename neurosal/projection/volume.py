"""Region values as brain volumes, and back.

A map of shape (region,) becomes a 3D image and one of shape (time, region) a 4D image with the
repetition time in its header, so that every viewer shows when as well as where. Values find their
voxels by region name, never by position.
"""

import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal import __version__
from neurosal.errors import ArgumentError
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.extract import first_time, grid_layout, repetition_time
from neurosal.parcellation.files import as_volume, shown
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.maps import MapsAtlas
from neurosal.parcellation.streaming import n_volumes, region_means
from neurosal.projection.maps import fit_maps, sum_maps
from neurosal.projection.values import (
    columns_of,
    find_times,
    label_back,
    label_values,
    values_by_region,
    with_times,
)


def to_nifti(
    values: xr.DataArray | np.ndarray,
    atlas: Atlas | MapsAtlas,
    *,
    reference: nib.spatialimages.SpatialImage | str | Path | None = None,
    t_r: float | None = None,
) -> nib.Nifti1Image:
    """Paint region values into the voxels of their regions.

    With an atlas of weights each voxel is the sum of all regions' values times their weights
    there, as nilearn's ``NiftiMapsMasker.inverse_transform`` has it: where regions overlap, a
    voxel shows a mixture.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        Of shape (region,) or (time, region). A labelled array is matched by region name and may
        hold some of the regions only; a plain array needs one column for every region.
    atlas : Atlas or MapsAtlas
        The regions.
    reference : nibabel image, str, pathlib.Path or None
        Whose grid to use; labels are resampled to it by nearest neighbour, weights linearly. None
        uses the atlas's own.
    t_r : float or None
        Repetition time in seconds; None takes the step of ``time``, or ``values.attrs["t_r"]``.

    Returns
    -------
    nibabel.Nifti1Image
        Float32 of shape (x, y, z) or (x, y, z, time). Voxels outside the regions, and of regions
        that ``values`` leaves out, are 0; a region whose value is NaN is NaN wherever it has
        weight. The header holds the repetition time (0 if unknown) and, as ``toffset``, the time
        of the first volume.

    Raises
    ------
    ArgumentError
        If the shape does not fit, regions are unknown to the atlas, time steps are uneven, or the
        atlas is one of grayordinates.
    DataError
        If no region lies inside ``reference``.

    See Also
    --------
    from_nifti : the way back.
    neurosal.projection.grayordinates.to_cifti, neurosal.projection.surface.to_surface : for
        grayordinates.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> img = to_nifti(np.arange(320.0).reshape(2, 160), atlas, t_r=0.72)
    >>> img.shape, round(float(img.header["pixdim"][4]), 6)
    ((91, 109, 91, 2), 0.72)
    """
    _check_has_voxels(atlas, "written with to_cifti or to_surface")
    array = label_values(values, atlas)
    times, step = find_times(array, t_r)
    columns = columns_of(array, atlas)
    own = atlas.maps if isinstance(atlas, MapsAtlas) else atlas.labels
    grid = own if reference is None else as_volume(reference, "reference")
    paint = sum_maps if isinstance(atlas, MapsAtlas) else _paint
    data, there = paint(values_by_region(array, columns), atlas, grid)
    _warn_lost((columns >= 0) & ~there, atlas)
    img = nib.Nifti1Image(data if "time" in array.dims else data[..., 0], grid.affine)
    describe_header(img, atlas, times, step)
    return img


def from_nifti(
    img: nib.spatialimages.SpatialImage | str | Path,
    atlas: Atlas | MapsAtlas,
    *,
    t_r: float | None = None,
) -> xr.DataArray:
    """Read region values back out of a map.

    Parameters
    ----------
    img : nibabel image, str or pathlib.Path
        Of shape (x, y, z) or (x, y, z, time).
    atlas : Atlas or MapsAtlas
        The regions; resampled if the image has another grid.
    t_r : float or None
        Repetition time in seconds; None reads the header.

    Returns
    -------
    xarray.DataArray
        Mean over each region's voxels, float64 of shape (region,) or (time, region): exactly the
        float32 values that :func:`to_nifti` wrote. NaN where a region has no voxel or a NaN. With
        an atlas of weights, the values whose weighted sum comes closest to the image: those that
        were written, up to rounding, if no map is a mixture of the others, and NaN for a map
        whose every voxel is NaN. ``time`` is in seconds, or counts volumes if the header tells
        no repetition time.

    Raises
    ------
    ArgumentError
        If the atlas is one of grayordinates.
    DataError
        If the file is missing or damaged, or no region lies inside the image.

    See Also
    --------
    neurosal.parcellation.extract.extract_regions : for measured runs; it checks more.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> back = from_nifti(to_nifti(np.arange(160.0), atlas), atlas)
    >>> bool((back == np.arange(160)).all())
    True
    """
    _check_has_voxels(atlas, "read with from_cifti or from_surface")
    name = str(img) if isinstance(img, str | Path) else "the image"
    img = as_volume(img, "img")
    read = fit_maps if isinstance(atlas, MapsAtlas) else _means
    values = read(img, atlas, name)
    if len(img.shape) < 4:
        return label_back(values, atlas, frames=None)
    step = repetition_time(None, img) if t_r is None else t_r
    n_volumes(img)
    return with_times(label_back(values, atlas), first_time(img), step)


def _check_has_voxels(atlas: RegionAtlas, how: str) -> None:
    """Refuse an atlas of grayordinates, naming what it takes instead."""
    if isinstance(atlas, GrayordinateAtlas):
        raise ArgumentError(
            f"atlas must be one of volumes for NIfTI images. {atlas.name} is one of grayordinates; "
            f"its maps are {how}."
        )


def _paint(
    values: np.ndarray, atlas: Atlas, grid: nib.spatialimages.SpatialImage
) -> tuple[np.ndarray, np.ndarray]:
    """Fill a volume for each row of values (time, region); tell which regions have a voxel."""
    layout, _ = grid_layout(atlas, grid, "the reference")
    rows = atlas.rows_of(layout.label_ids)
    data = np.zeros((len(values), int(np.prod(layout.shape))), dtype=np.float32)
    data[:, layout.voxels] = np.repeat(values[:, rows], layout.sizes, axis=1)
    painted = data.T.reshape(*layout.shape, len(values), order="F")
    return painted, np.isin(np.arange(len(atlas)), rows)


def _means(img: nib.spatialimages.SpatialImage, atlas: Atlas, name: str) -> np.ndarray:
    """Average an image over the voxels of each region; NaN for a region without one."""
    layout, _ = grid_layout(atlas, img, name)
    means = region_means(img, layout).values
    values = np.full((len(means), len(atlas)), np.nan)
    values[:, atlas.rows_of(layout.label_ids)] = means
    return values


def _warn_lost(lost: np.ndarray, atlas: RegionAtlas) -> None:
    """Name the regions that have a value but no voxel on the grid."""
    if lost.any():
        warnings.warn(
            f"{lost.sum()} regions of {atlas.name} have no voxel on the grid of the reference and "
            f"are in no image on it, whatever the condition: {shown(atlas.regions['name'][lost])}.",
            stacklevel=3,
        )


def describe_header(img: nib.Nifti1Image, atlas: RegionAtlas, start: float, step: float) -> None:
    """Write units, times and the atlas's name into the header.

    Parameters
    ----------
    img : nibabel.Nifti1Image
        Changed in place.
    atlas : RegionAtlas
        The regions.
    start, step : float
        Time of the first frame and repetition time in seconds; 0 if unknown.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> img = nib.Nifti1Image(np.zeros((1, 1, 1, 2), "float32"), np.eye(4))
    >>> describe_header(img, load_atlas("dosenbach160"), 5.0, 0.72)
    >>> float(img.header["toffset"]), img.header.get_xyzt_units()
    (5.0, ('mm', 'sec'))
    """
    img.header.set_xyzt_units("mm", "sec")
    code = 4 if atlas.space.startswith("MNI152") else 2
    img.set_sform(img.affine, code=code)
    img.set_qform(img.affine, code=code)
    img.header["descrip"] = f"neurosal {__version__}: {atlas.name}"[:79].encode()
    if img.ndim == 4:
        img.header["pixdim"][4] = step
        img.header["toffset"] = start
