"""Region values through a masker of nilearn, and back."""

import warnings
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal.parcellation.extract import first_time, repetition_time
from neurosal.parcellation.files import as_volume, shown
from neurosal.parcellation.masker_signals import measure_map
from neurosal.parcellation.maskers import MaskerAtlas
from neurosal.projection.values import (
    columns_of,
    find_times,
    label_back,
    label_values,
    values_by_region,
    with_times,
)
from neurosal.projection.volume import describe_header

if TYPE_CHECKING:
    from nilearn.surface import SurfaceImage


def paint_masker(
    values: xr.DataArray | np.ndarray,
    atlas: MaskerAtlas,
    reference: object = None,
    *,
    t_r: float | None = None,
) -> "nib.Nifti1Image | SurfaceImage":
    """Put region values on the brain by a masker's ``inverse_transform``.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        Of shape (region,) or (time, region). A labelled array is matched by region name and may
        hold some of the regions only, the others are 0; a plain array needs one column for every
        region.
    atlas : MaskerAtlas
        The regions.
    reference : nibabel image, str, pathlib.Path or None
        For spheres without a ``mask_img``: whose grid to use.
    t_r : float or None
        Repetition time in seconds; None takes the step of ``time``, or ``values.attrs["t_r"]``.

    Returns
    -------
    nibabel.Nifti1Image or nilearn.surface.SurfaceImage
        Float32; NaN where a region is.

    Raises
    ------
    ArgumentError
        If the shape does not fit, regions are unknown, or there is no grid to paint on.

    See Also
    --------
    read_masker : the way back.

    Examples
    --------
    >>> from nilearn.maskers import NiftiLabelsMasker
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> labels = nib.Nifti1Image(np.array([[[0, 1, 2]]], dtype="int32"), np.eye(4))
    >>> atlas = load_atlas(NiftiLabelsMasker(labels, standardize=None))
    >>> paint_masker(np.array([5.0, 7.0]), atlas).get_fdata().tolist()
    [[[0.0, 5.0, 7.0]]]
    """
    array = label_values(values, atlas)
    start, step = find_times(array, t_r)
    columns = columns_of(array, atlas)
    painted = values_by_region(array, columns)
    img = atlas.paint(painted if "time" in array.dims else painted[0], reference)
    if isinstance(img, nib.spatialimages.SpatialImage):
        img = nib.Nifti1Image(img.get_fdata(dtype=np.float32), img.affine)
        describe_header(img, atlas, start, step)
    return img


def read_masker(
    img: object, atlas: MaskerAtlas, *, t_r: float | None = None, start: float | None = None
) -> xr.DataArray:
    """Read region values out of a map by a masker, without any cleaning.

    Parameters
    ----------
    img : nibabel image, str, pathlib.Path or nilearn.surface.SurfaceImage
        Of one value a voxel or vertex, or several.
    atlas : MaskerAtlas
        The regions.
    t_r, start : float or None
        Repetition time and time of the first frame in seconds; None reads the header of an image
        of voxels, and counts frames of surfaces.

    Returns
    -------
    xarray.DataArray
        What the masker extracts, float64 of shape (region,) or (time, region); NaN where voxels of
        a region are NaN, or it has none.

    Raises
    ------
    DataError
        If the file is missing or damaged, or the masker cannot take the image.
    ArgumentError
        If it is no image.

    Examples
    --------
    >>> from nilearn.maskers import NiftiLabelsMasker
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> labels = nib.Nifti1Image(np.array([[[0, 1, 2]]], dtype="int32"), np.eye(4))
    >>> atlas = load_atlas(NiftiLabelsMasker(labels, standardize="zscore_sample"))
    >>> read_masker(paint_masker(np.array([5.0, 7.0]), atlas), atlas).values.tolist()
    [5.0, 7.0]
    """
    img = img if hasattr(img, "mesh") else as_volume(img, "img")
    values, frames = measure_map(img, atlas)
    lost = np.isnan(values).all(axis=0)
    if lost.any():
        warnings.warn(
            f"{lost.sum()} regions of {atlas.name} are NaN in the image or have no voxel there: "
            f"{shown(atlas.regions['name'][lost])}.",
            stacklevel=2,
        )
    if not frames:
        return label_back(values, atlas, frames=None)
    voxels = isinstance(img, nib.spatialimages.SpatialImage)
    start = (first_time(img) if voxels else 0.0) if start is None else start
    step = (repetition_time(None, img) if voxels else 0.0) if t_r is None else t_r
    return with_times(label_back(values, atlas), start, step)
