"""Atlases of every kind as labels, one region at each place, so that they can be drawn."""

from collections.abc import Iterator

import nibabel as nib
import numpy as np
from nibabel.cifti2 import BrainModelAxis
from nilearn.datasets import load_mni152_template
from scipy.spatial import cKDTree

from neurosal.errors import ArgumentError
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.maps import MapsAtlas
from neurosal.parcellation.maskers import MaskerAtlas

#: Share of a map's own peak from which on a place can belong to it.
SHARE = 0.25
_STRONGEST = (
    "The regions are weighted maps: each place is given to the map that is strongest there as a "
    f"share of its own peak, from {SHARE:.0%} of the peak up."
)
_AT_ONCE = 16


def as_labels(atlas: RegionAtlas) -> tuple[Atlas | GrayordinateAtlas, np.ndarray, str]:
    """Give an atlas as labels.

    Parameters
    ----------
    atlas : Atlas, GrayordinateAtlas, MapsAtlas or MaskerAtlas
        The regions; spheres of a masker are painted on the 2 mm template.

    Returns
    -------
    labels : Atlas or GrayordinateAtlas
        Those of the regions that hold a place.
    rows : numpy.ndarray of int
        Row in the given atlas's table of each region of ``labels``.
    note : str
        What was done, in a sentence; empty for an atlas of labels.

    Raises
    ------
    ArgumentError
        If the atlas is of another kind or no region holds a place.

    Examples
    --------
    >>> import pandas as pd
    >>> maps = nib.Nifti1Image(np.array([[[[1.0, 0], [0.4, 8], [0, 1]]]], "float32"), np.eye(4))
    >>> atlas = MapsAtlas(maps, pd.DataFrame({"index": [1, 2], "name": ["a", "b"]}))
    >>> labels, rows, note = as_labels(atlas)
    >>> np.asarray(labels.labels.dataobj).ravel().tolist(), rows.tolist()
    ([1, 2, 0], [0, 1])
    """
    if isinstance(atlas, Atlas | GrayordinateAtlas):
        return atlas, np.arange(len(atlas)), ""
    if isinstance(atlas, MapsAtlas):
        frames = (np.asarray(atlas.maps.dataobj[..., row]) for row in range(len(atlas)))
        return *_of_volume(_strongest(frames), atlas.maps.affine, atlas), _STRONGEST
    if isinstance(atlas, MaskerAtlas):
        if hasattr(atlas.masker, "seeds_"):
            return *_of_volume(*_spheres(atlas.masker), atlas), ""
        first = atlas.paint(np.arange(1.0, len(atlas) + 1))
        own = hasattr(atlas.masker, "labels_img_")
        if not isinstance(first, nib.spatialimages.SpatialImage):
            sides = first.data.parts if own else _strongest_sides(atlas)
            return *_of_surface(sides, atlas), "" if own else _STRONGEST
        if own:
            return *_of_volume(np.rint(first.get_fdata()).astype(np.int32), first.affine, atlas), ""
        volumes = (img.get_fdata(dtype=np.float32) for img in _painted(atlas))
        frames = (volume[..., i] for volume in volumes for i in range(volume.shape[3]))
        return *_of_volume(_strongest(frames), first.affine, atlas), _STRONGEST
    raise ArgumentError(f"atlas must be one that load_atlas gives. Got {type(atlas).__name__}.")


def _spheres(masker: object) -> tuple[np.ndarray, np.ndarray]:
    """Number, from 1, of the sphere at each voxel of the 2 mm template, the nearest centre's."""
    grid = load_mni152_template(resolution=2)
    places = np.indices(grid.shape).reshape(3, -1).T
    xyz = nib.affines.apply_affine(grid.affine, places)
    distance, nearest = cKDTree(np.asarray(masker.seeds_, dtype=float)).query(xyz)
    inside = distance <= max(masker.radius or 0.0, 2.0)
    return np.where(inside, nearest + 1, 0).astype(np.int32).reshape(grid.shape), grid.affine


def _painted(atlas: MaskerAtlas) -> Iterator:
    """Paint a few regions at a time, each as a frame of its own."""
    each = np.eye(len(atlas), dtype=np.float32)
    for start in range(0, len(atlas), _AT_ONCE):
        yield atlas.paint(each[start : start + _AT_ONCE])


def _strongest(frames: Iterator[np.ndarray]) -> np.ndarray:
    """Number, from 1, of the frame that is largest at each place as a share of its own peak."""
    labels, best = None, None
    for number, frame in enumerate(frames, start=1):
        share = np.abs(frame).astype(np.float32)
        share /= max(float(share.max()), np.finfo(np.float32).tiny)
        if labels is None:
            labels, best = np.zeros(share.shape, np.int32), np.full(share.shape, SHARE, np.float32)
        labels[share > best] = number
        best = np.maximum(best, share)
    return labels


def _of_volume(
    labels: np.ndarray, affine: np.ndarray, atlas: RegionAtlas
) -> tuple[Atlas, np.ndarray]:
    """Make an atlas of labels in a volume."""
    rows = _present(labels, atlas)
    table = atlas.regions.iloc[rows].assign(label_id=rows + 1)
    image = nib.Nifti1Image(labels, affine)
    return Atlas(image, table, name=atlas.name, space=atlas.space), rows


def _strongest_sides(atlas: MaskerAtlas) -> dict[str, np.ndarray]:
    """Number, from 1, of the map that is strongest at each vertex."""
    parts = [img.data.parts for img in _painted(atlas)]
    joined = {side: np.concatenate([part[side] for part in parts], axis=1) for side in parts[0]}
    return {side: _strongest(iter(values.T)) for side, values in joined.items()}


def _of_surface(
    sides: dict[str, np.ndarray], atlas: MaskerAtlas
) -> tuple[GrayordinateAtlas, np.ndarray]:
    """Make an atlas of grayordinates of labels on surfaces."""
    axis = None
    for side, values in sides.items():
        size = len(values)
        one = BrainModelAxis.from_surface(np.arange(size), size, f"CORTEX_{side.upper()}")
        axis = one if axis is None else axis + one
    labels = np.rint(np.concatenate(list(sides.values()))).astype(int)
    rows = _present(labels, atlas)
    table = atlas.regions.iloc[rows].assign(label_id=rows + 1)
    return GrayordinateAtlas(labels, axis, table, name=atlas.name, space=atlas.space), rows


def _present(labels: np.ndarray, atlas: RegionAtlas) -> np.ndarray:
    """Rows of the regions that hold a place."""
    rows = np.unique(labels[labels > 0]).astype(int) - 1
    if not len(rows):
        raise ArgumentError(f"No region of {atlas.name} holds a place that could be drawn.")
    return rows
