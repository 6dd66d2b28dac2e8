"""Weighted sums of an atlas's maps, and the weights back by least squares."""

import functools
import warnings

import nibabel as nib
import numpy as np

from neurosal.errors import DataError
from neurosal.parcellation.files import read_values
from neurosal.parcellation.grids import same_grid
from neurosal.parcellation.maps import MapsAtlas


def sum_maps(
    values: np.ndarray, atlas: MapsAtlas, grid: nib.spatialimages.SpatialImage
) -> tuple[np.ndarray, np.ndarray]:
    """Add up maps, each times its region's value.

    Parameters
    ----------
    values : numpy.ndarray
        Of shape (time, region).
    atlas : MapsAtlas
        The maps; resampled linearly if they are on another grid.
    grid : nibabel image
        Whose voxels to fill.

    Returns
    -------
    tuple of numpy.ndarray
        Float32 of shape (x, y, z, time), where NaN reaches as far as the map of its region; and
        for each region whether its map has a voxel on the grid.

    Raises
    ------
    DataError
        If no map reaches into the grid.

    Examples
    --------
    >>> import pandas as pd
    >>> maps = nib.Nifti1Image(np.array([[[[1.0, 0], [1, 2]]]], "float32"), np.eye(4))
    >>> atlas = MapsAtlas(maps, pd.DataFrame({"index": [1, 2], "name": ["a", "b"]}))
    >>> sum_maps(np.array([[3.0, 5.0]]), atlas, maps)[0].ravel().tolist()
    [3.0, 13.0]
    """
    maps = _weights_on(atlas, grid, "the reference")
    out = np.zeros((*grid.shape[:3], len(values)))
    there = np.zeros(len(atlas), dtype=bool)
    for row in range(len(atlas)):
        inside = np.nonzero(maps[..., row])
        there[row] = len(inside[0]) > 0
        out[inside] += maps[(*inside, row)][:, None] * values[:, row].astype(np.float64)
    return out.astype(np.float32), there


def fit_maps(img: nib.spatialimages.SpatialImage, atlas: MapsAtlas, name: str) -> np.ndarray:
    """Find the values whose weighted sum of maps comes closest to an image.

    Parameters
    ----------
    img : nibabel image
        Of shape (x, y, z) or (x, y, z, time); NaN voxels are left out.
    atlas : MapsAtlas
        The maps; resampled linearly if they are on another grid.
    name : str
        The image, for messages.

    Returns
    -------
    numpy.ndarray
        Float64 of shape (time, region); NaN for a map without a voxel that is not NaN.

    Raises
    ------
    DataError
        If no map reaches into the image, or the file is damaged.

    Examples
    --------
    >>> import pandas as pd
    >>> maps = nib.Nifti1Image(np.array([[[[1.0, 0], [1, 2]]]], "float32"), np.eye(4))
    >>> atlas = MapsAtlas(maps, pd.DataFrame({"index": [1, 2], "name": ["a", "b"]}))
    >>> painted = nib.Nifti1Image(np.array([[[3.0, 13.0]]]), np.eye(4))
    >>> fit_maps(painted, atlas, "map.nii.gz").round(9).tolist()
    [[3.0, 5.0]]
    """
    maps = _weights_on(atlas, img, name)
    data = read_values(img, name)
    data = data.reshape(*data.shape[:3], -1)
    finite = np.isfinite(data)
    patterns, which = np.unique(finite.reshape(-1, data.shape[3]), axis=1, return_inverse=True)
    values = np.empty((data.shape[3], len(atlas)))
    for number, pattern in enumerate(patterns.T):
        frames = np.flatnonzero(which.ravel() == number)
        values[frames] = _solve(maps, data[..., frames], pattern.reshape(data.shape[:3]))
    return values


def _solve(maps: np.ndarray, data: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Solve the normal equations over the voxels inside, summed slab by slab in float64."""
    n_regions = maps.shape[3]
    products, targets = np.zeros((n_regions, n_regions)), np.zeros((n_regions, data.shape[3]))
    for slab, frames, mask in zip(maps, data, inside, strict=True):
        weights = slab[mask].astype(np.float64)
        products += weights.T @ weights
        targets += weights.T @ frames[mask].astype(np.float64)
    known = np.diag(products) > 0
    values = np.full((data.shape[3], n_regions), np.nan)
    solved = np.linalg.lstsq(products[np.ix_(known, known)], targets[known], rcond=None)[0]
    values[:, known] = solved.T
    return values


def _weights_on(atlas: MapsAtlas, grid: nib.spatialimages.SpatialImage, name: str) -> np.ndarray:
    """Give the maps on a grid, of shape (x, y, z, region)."""
    if same_grid(atlas.maps, grid):
        return np.asarray(atlas.maps.dataobj)
    affine = np.asarray(grid.affine, float)
    maps = _resampled(atlas, tuple(grid.shape[:3]), affine.tobytes())
    if not maps.any():
        raise DataError(
            f"No map of {atlas.name} lies inside {name} (shape {grid.shape[:3]}, corner at "
            f"{affine[:3, 3].round(1).tolist()} mm). Check that it is in the space of the atlas "
            f"({atlas.space or 'unknown'}) and that its affine is right."
        )
    return maps


@functools.lru_cache(maxsize=1)
def _resampled(atlas: MapsAtlas, shape: tuple, affine: bytes) -> np.ndarray:
    """Resample maps once for an atlas and a grid."""
    from nilearn.image import resample_img
    from nilearn.image.resampling import BoundingBoxError

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Resampling binary images")
        try:
            maps = resample_img(
                atlas.maps,
                target_affine=np.frombuffer(affine).reshape(4, 4),
                target_shape=shape,
                interpolation="linear",
            )
        except BoundingBoxError:
            return np.zeros((*shape, len(atlas)), dtype=np.float32)
    return np.asarray(maps.dataobj)
