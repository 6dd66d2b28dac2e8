"""Grids and spaces: when two images share them, and how labels move between grids."""

import logging

import nibabel as nib
import numpy as np

from neurosal.errors import DataError

logger = logging.getLogger("neurosal")
_told: set[tuple] = set()


def same_grid(
    first: nib.spatialimages.SpatialImage, second: nib.spatialimages.SpatialImage
) -> bool:
    """Tell whether two images have the same voxels.

    Parameters
    ----------
    first, second : nibabel image
        3D or 4D.

    Returns
    -------
    bool
        True if the first three sizes are equal and the affines within 0.0001 mm.

    Examples
    --------
    >>> img = nib.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4))
    >>> same_grid(img, nib.Nifti1Image(np.zeros((2, 2, 2, 9)), np.eye(4)))
    True
    """
    return first.shape[:3] == second.shape[:3] and np.allclose(
        first.affine, second.affine, rtol=0, atol=1e-4
    )


def resample_labels(
    labels: nib.Nifti1Image, img: nib.spatialimages.SpatialImage
) -> nib.Nifti1Image:
    """Bring labels to the grid of an image by nearest neighbour; says so once for a pair of grids.

    Parameters
    ----------
    labels : nibabel.Nifti1Image
        Label ids of shape (x, y, z).
    img : nibabel image
        3D or 4D; only its shape and affine are used.

    Returns
    -------
    nibabel.Nifti1Image
        32-bit label ids of shape ``img.shape[:3]``; 0 where no label lies.

    Examples
    --------
    >>> labels = nib.Nifti1Image(np.array([[[5, 0]]], dtype="int32"), np.eye(4))
    >>> finer = nib.Nifti1Image(np.zeros((2, 2, 4)), np.diag([0.5, 0.5, 0.5, 1]))
    >>> np.unique(resample_labels(labels, finer).dataobj).tolist()
    [0, 5]
    """
    from nibabel.processing import resample_from_to

    _tell_once(labels, img)
    grid = (img.shape[:3], img.affine)
    return resample_from_to(labels, grid, order=0, mode="grid-constant", cval=0)


def check_spaces(data_space: str, atlas: object, source: str) -> None:
    """Refuse an atlas that is in another space than the data, where both are known.

    Parameters
    ----------
    data_space : str
        The space of the data; empty if unknown.
    atlas : Atlas
        Its ``space`` is compared; an approximate one fits any MNI152 space.
    source : str
        The data's name, for the message.

    Raises
    ------
    DataError
        If the spaces differ.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> atlas = SimpleNamespace(name="mine", space="MNI152NLin6Asym", approximate=False)
    >>> check_spaces("MNI152NLin2009cAsym", atlas, "bold.nii.gz")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: bold.nii.gz is in the space MNI152NLin2009cAsym, the atlas mine in
    MNI152NLin6Asym. ...
    """
    if not data_space or not atlas.space or data_space == atlas.space:
        return
    if atlas.approximate and data_space.startswith("MNI152") and atlas.space.startswith("MNI152"):
        return
    raise DataError(
        f"{source} is in the space {data_space}, the atlas {atlas.name} in {atlas.space}. Take "
        f"the atlas in {data_space}, or the data in {atlas.space}; if they are the same space "
        f"under two names, load the atlas with space={data_space!r} (--atlas-space)."
    )


def share_inside(labels: nib.Nifti1Image, img: nib.spatialimages.SpatialImage) -> dict[int, float]:
    """Tell for each label which share of its voxels has its centre inside an image's grid.

    Parameters
    ----------
    labels : nibabel.Nifti1Image
        Label ids of shape (x, y, z).
    img : nibabel image
        The image that may cover a part of them only.

    Returns
    -------
    dict
        Label id to share, from 0 to 1.

    Examples
    --------
    >>> labels = nib.Nifti1Image(np.array([[[5, 5]]], dtype="int32"), np.eye(4))
    >>> share_inside(labels, nib.Nifti1Image(np.zeros((1, 1, 1)), np.eye(4)))
    {5: 0.5}
    """
    ids = np.asarray(labels.dataobj)
    voxels = np.argwhere(ids)
    to_img = np.linalg.inv(img.affine) @ labels.affine
    places = nib.affines.apply_affine(to_img, voxels)
    inside = ((places > -0.5) & (places < np.array(img.shape[:3]) - 0.5)).all(axis=1)
    present, which = np.unique(ids[tuple(voxels.T)], return_inverse=True)
    shares = np.bincount(which, weights=inside) / np.bincount(which)
    return dict(zip(present.tolist(), shares.tolist(), strict=True))


def _tell_once(labels: nib.Nifti1Image, img: nib.spatialimages.SpatialImage) -> None:
    """Log that labels are resampled, once for each pair of grids in a process."""
    pair = tuple((one.shape[:3], np.round(one.affine, 4).tobytes()) for one in (labels, img))
    if pair not in _told:
        _told.add(pair)
        logger.warning(
            "The atlas is resampled (nearest neighbour) from its grid %s, %s mm, to the data's "
            "%s, %s mm.",
            *(text for one in (labels, img) for text in _grid(one)),
        )


def _grid(img: nib.spatialimages.SpatialImage) -> tuple[str, str]:
    """Write a grid's shape and voxel sizes for a message."""
    sizes = nib.affines.voxel_sizes(img.affine)
    return "x".join(map(str, img.shape[:3])), "x".join(f"{size:.3g}" for size in sizes)
