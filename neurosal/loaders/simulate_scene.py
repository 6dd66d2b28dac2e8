"""The brain that simulated runs share: template, grey matter and atlas on one grid."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np
import pandas as pd
from nilearn import datasets, image
from scipy import ndimage

HCP_ORIGIN = (90.0, -126.0, -72.0)
HCP_SPAN = (180.0, 216.0, 180.0)
BASELINE = 10000.0


@dataclass(frozen=True)
class Scene:
    """The brain that all runs share; ``voxel`` counts those in the brain, x fastest.

    Attributes
    ----------
    affine : numpy.ndarray
        Of the grid, mm.
    shape : tuple of int
        Of the grid.
    inside : numpy.ndarray
        Flat indices (x fastest) of the voxels in the brain.
    baseline : numpy.ndarray
        Signal without noise, ``(voxel,)``.
    grey : numpy.ndarray
        Share of grey matter, 0 to 1, ``(voxel,)``.
    region : numpy.ndarray
        Row of the region table, or its length where there is none, ``(voxel,)``.
    network : numpy.ndarray
        Index of the network of the nearest region, ``(voxel,)``.
    shift : numpy.ndarray
        Percent change of the signal for 1 mm along and 1 degree about x, y, z, ``(voxel, 6)``.
    coordinates : numpy.ndarray
        mm, ``(voxel, 3)``.
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    inside: np.ndarray
    baseline: np.ndarray
    grey: np.ndarray
    region: np.ndarray
    network: np.ndarray
    shift: np.ndarray
    coordinates: np.ndarray


def make_scene(labels: nib.Nifti1Image, regions: pd.DataFrame, *, voxel_size: float) -> Scene:
    """Lay template, grey matter and atlas onto the grid to simulate on.

    Parameters
    ----------
    labels : nibabel.Nifti1Image
        Integer labels in MNI space.
    regions : pandas.DataFrame
        The atlas's region table.
    voxel_size : float
        Edge of a voxel in mm.

    Returns
    -------
    Scene
        Everything about the brain that does not change from run to run.

    Examples
    --------
    >>> image = nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4))
    >>> table = pd.DataFrame(
    ...     {"label_id": [1], "name": ["A"], "network": ["N"], "hemisphere": ["L"]})
    >>> make_scene(image, table, voxel_size=12.0).shape
    (16, 19, 16)
    """
    affine = nib.affines.from_matvec(np.diag([-voxel_size, voxel_size, voxel_size]), HCP_ORIGIN)
    shape = tuple(int(span / voxel_size + 1e-6) + 1 for span in HCP_SPAN)

    def lay(source: nib.Nifti1Image, how: str) -> np.ndarray:
        target = {"target_affine": affine, "target_shape": shape, "interpolation": how}
        return image.resample_img(source, **target).get_fdata(dtype=np.float32)

    rows = _region_rows(lay(labels, "nearest"), regions)
    brain = (lay(datasets.load_mni152_brain_mask(2), "nearest") > 0) | (rows < len(regions))
    template = lay(datasets.load_mni152_template(2), "linear")
    volume = np.where(brain, BASELINE * np.clip(template, 0.3, 1.0), 0.0).astype(np.float32)
    grey = np.clip(lay(datasets.load_mni152_gm_template(2), "linear"), 0, 1)
    codes = np.append(pd.factorize(regions["network"].astype(str))[0], 0)
    nearest = ndimage.distance_transform_edt(
        rows == len(regions), sampling=voxel_size, return_distances=False, return_indices=True
    )
    inside = np.flatnonzero(brain.ravel(order="F"))
    cells = np.stack(np.unravel_index(inside, shape, order="F"))
    where, coordinates = tuple(cells), nib.affines.apply_affine(affine, cells.T)
    return Scene(
        affine=affine,
        shape=shape,
        inside=inside,
        baseline=volume[where],
        grey=grey[where],
        region=rows[where],
        network=codes[rows[tuple(nearest)]][where],
        shift=_motion_maps(volume, affine, where, coordinates),
        coordinates=coordinates,
    )


def _region_rows(values: np.ndarray, regions: pd.DataFrame) -> np.ndarray:
    """Turn label numbers into rows of the region table; the table's length for none."""
    ids = regions["label_id"].to_numpy().astype(np.int64)
    values = np.rint(values).astype(np.int64)
    lookup = np.full(max(values.max(), ids.max()) + 1, len(ids))
    lookup[ids] = np.arange(len(ids))
    return lookup[np.maximum(values, 0)]


def _motion_maps(
    volume: np.ndarray, affine: np.ndarray, where: tuple, coordinates: np.ndarray
) -> np.ndarray:
    """Minus the baseline's gradient times the displacement of each motion parameter, in %."""
    slope = [
        g[where] / step for g, step in zip(np.gradient(volume), np.diag(affine)[:3], strict=True)
    ]
    slope = np.stack(slope, axis=1) / volume[where][:, None]
    turn = np.cross(coordinates, slope) * np.deg2rad(1.0)
    return (-100.0 * np.hstack([slope, turn])).astype(np.float32)
