"""Atlases of grayordinates: vertices of the two cortical surfaces and, in CIFTI, voxels too.

A grayordinate is a vertex or a voxel of a named structure, as in CIFTI-2 (Glasser et al. 2013,
doi:10.1016/j.neuroimage.2013.04.127). An atlas gives each a label; a run is matched to it by
structure and vertex or voxel index, never by position, so that files with other structures, in
another order, or of one surface only fit without a thought. A pair of GIFTI or FreeSurfer files is
the same thing with every vertex of both surfaces.
"""

import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
import pandas as pd
from nibabel.cifti2 import BrainModelAxis

from neurosal.errors import DataError
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.tables import complete_table, fit_table

CORTEX = {"left": "CIFTI_STRUCTURE_CORTEX_LEFT", "right": "CIFTI_STRUCTURE_CORTEX_RIGHT"}
_SPACES = {
    **dict.fromkeys((32492, 59292, 7842, 4002), "fsLR"),
    **dict.fromkeys((642, 2562, 10242, 40962), "fsaverage"),
}


@dataclass(frozen=True, eq=False)
class GrayordinateAtlas(RegionAtlas):
    """A label for each of a set of grayordinates, with a table of the regions.

    Parameters
    ----------
    labels : array_like
        Whole numbers of shape (grayordinate,); 0 is background.
    axis : nibabel.cifti2.BrainModelAxis
        Which vertex or voxel of which structure each label belongs to.
    regions : pandas.DataFrame
        Columns ``label_id`` (or ``index``), ``name`` (unique), and, if known, ``network``,
        ``hemisphere`` and ``colour`` (``#rrggbb``). A hemisphere that neither column nor name
        tells is that of the structures the region lies in.
    name : str
        The atlas's name.
    space : str
        The space of the surfaces (``"fsLR"``, ``"fsaverage"``); empty takes it from the number of
        vertices, where that is telling.
    source, licence, citation : str
        Where it comes from, under which terms, and the paper to cite.

    Raises
    ------
    DataError
        If labels, axis and table do not fit each other, or names occur twice.

    Examples
    --------
    >>> axis = BrainModelAxis.from_surface([0, 2, 3], 4, "CORTEX_LEFT")
    >>> table = pd.DataFrame({"index": [1, 2], "name": ["V1", "V2"]})
    >>> atlas = GrayordinateAtlas([1, 2, 2], axis, table, name="mine")
    >>> atlas.regions["hemisphere"].tolist(), atlas.sizes.tolist()
    (['L', 'L'], [1, 2])
    """

    labels: np.ndarray
    axis: BrainModelAxis
    regions: pd.DataFrame
    name: str = "atlas"
    space: str = ""
    source: str = ""
    licence: str = ""
    citation: str = ""

    def __post_init__(self) -> None:
        labels = _whole_labels(self.labels, self.axis, self.name)
        source = f"The table of {self.name}"
        regions = _with_colours(complete_table(self.regions, source=source), self.regions)
        unit = "vertex or voxel"
        regions = fit_table(np.unique(labels), regions, self.name, unit=unit)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "regions", _with_sides(regions, labels, self.axis))
        object.__setattr__(self, "space", self.space or space_of(self.axis))

    @cached_property
    def keys(self) -> np.ndarray:
        """One number for each labelled grayordinate, as :func:`grayordinate_keys`; rising."""
        return self._sorted[0]

    @cached_property
    def rows(self) -> np.ndarray:
        """The row of ``regions`` that each of ``keys`` belongs to."""
        return self._sorted[1]

    @cached_property
    def sizes(self) -> np.ndarray:
        """The number of grayordinates of each region, of shape (region,)."""
        return np.bincount(self.rows, minlength=len(self))

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) over grayordinates, labels and table; their order is no matter."""
        digest = hashlib.sha256(np.ascontiguousarray(self.keys, "<i8"))
        digest.update(np.ascontiguousarray(self.regions["label_id"].to_numpy()[self.rows], "<i8"))
        digest.update(str(sorted(self.axis.nvertices.items())).encode())
        if self.axis.affine is not None:
            digest.update(np.ascontiguousarray(self.axis.affine, "<f8"))
        digest.update(self.table_text())
        return digest.hexdigest()

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Sort the labelled grayordinates by key; give keys and rows."""
        inside = np.flatnonzero(self.labels)
        keys = grayordinate_keys(self.axis, self.name)[inside]
        order = np.argsort(keys)
        return keys[order], self.rows_of(self.labels[inside][order])


def grayordinate_keys(axis: BrainModelAxis, name: str = "the file") -> np.ndarray:
    """Number grayordinates by structure and vertex or voxel index, the same in every file.

    Parameters
    ----------
    axis : nibabel.cifti2.BrainModelAxis
        The grayordinates.
    name : str
        The file, for messages.

    Returns
    -------
    numpy.ndarray
        64-bit integers of shape (grayordinate,).

    Raises
    ------
    DataError
        If one grayordinate occurs twice, or an index is outside its surface or volume.

    Examples
    --------
    >>> first = BrainModelAxis.from_surface([2, 0], 4, "CORTEX_LEFT")
    >>> second = BrainModelAxis.from_surface([0, 1], 4, "CORTEX_LEFT")
    >>> bool(grayordinate_keys(first)[1] == grayordinate_keys(second)[0])
    True
    """
    structures, which = np.unique(axis.name, return_inverse=True)
    codes = np.array([zlib.crc32(str(one).encode()) & 0x3FFFFF for one in structures], np.int64)
    limits = np.array([axis.nvertices.get(str(one), -1) for one in structures])[which]
    on_surface = limits >= 0
    index = np.where(on_surface, axis.vertex, 0).astype(np.int64)
    wrong = on_surface & ((index < 0) | (index >= limits))
    if not on_surface.all():
        voxels = axis.voxel[~on_surface].T
        inside = (voxels >= 0) & (voxels < np.array(axis.volume_shape)[:, None])
        wrong[np.flatnonzero(~on_surface)[~inside.all(axis=0)]] = True
        index[~on_surface] = np.ravel_multi_index(voxels, axis.volume_shape, mode="clip")
    keys = (codes[which] << 40) | (~on_surface).astype(np.int64) << 39 | index
    twice = len(keys) - len(np.unique(keys))
    if wrong.any() or twice:
        raise DataError(
            f"{name} has {wrong.sum()} vertices or voxels outside of their surface or volume, and "
            f"{twice} that occur twice. Write the file again with each of them once."
        )
    return keys


def structures_of(axis: BrainModelAxis) -> list[str]:
    """Name the structures of an axis for a message.

    Parameters
    ----------
    axis : nibabel.cifti2.BrainModelAxis
        The grayordinates.

    Returns
    -------
    list of str
        In their order, without CIFTI's prefix.

    Examples
    --------
    >>> structures_of(BrainModelAxis.from_surface([0], 4, "CORTEX_LEFT"))
    ['CORTEX_LEFT']
    """
    names, first = np.unique(axis.name, return_index=True)
    return [str(name).removeprefix("CIFTI_STRUCTURE_") for name in names[np.argsort(first)]]


def space_of(axis: BrainModelAxis) -> str:
    """Tell the space of surfaces from their number of vertices, where only one has that many.

    Parameters
    ----------
    axis : nibabel.cifti2.BrainModelAxis
        The grayordinates.

    Returns
    -------
    str
        ``"fsLR"``, ``"fsaverage"`` or an empty string (163842 vertices may be either).

    Examples
    --------
    >>> space_of(BrainModelAxis.from_surface([0], 32492, "CORTEX_LEFT"))
    'fsLR'
    """
    spaces = {_SPACES.get(number, "") for number in axis.nvertices.values()}
    return spaces.pop() if len(spaces) == 1 else ""


def check_same_geometry(atlas: GrayordinateAtlas, axis: BrainModelAxis, name: str) -> None:
    """Refuse a run whose surfaces or voxel grid are not those of the atlas.

    Parameters
    ----------
    atlas : GrayordinateAtlas
        The regions.
    axis : nibabel.cifti2.BrainModelAxis
        The run's grayordinates.
    name : str
        The run, for messages.

    Raises
    ------
    DataError
        If a surface has another number of vertices, or the voxels are of another grid.

    Examples
    --------
    >>> axis = BrainModelAxis.from_surface([0, 2], 4, "CORTEX_LEFT")
    >>> atlas = GrayordinateAtlas([1, 1], axis, pd.DataFrame({"id": [1], "name": ["V1"]}))
    >>> finer = BrainModelAxis.from_surface([0, 2], 9, "CORTEX_LEFT")
    >>> check_same_geometry(atlas, finer, "run.dtseries.nii")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: run.dtseries.nii has 9 vertices in CORTEX_LEFT, the atlas atlas 4.
    ...
    """
    remedy = "Nothing is resampled between meshes or grids here: take the atlas in the space and "
    remedy += "density of the run, or resample one of them (wb_command, neuromaps)."
    for structure in set(atlas.axis.nvertices) & set(axis.nvertices):
        theirs, ours = axis.nvertices[structure], atlas.axis.nvertices[structure]
        if theirs != ours:
            short = str(structure).removeprefix("CIFTI_STRUCTURE_")
            raise DataError(
                f"{name} has {theirs} vertices in {short}, the atlas {atlas.name} {ours}. {remedy}"
            )
    grids = [(one.volume_shape, one.affine) for one in (axis, atlas.axis)]
    if any(shape is None for shape, _ in grids):
        return
    if grids[0][0] != grids[1][0] or not np.allclose(grids[0][1], grids[1][1], rtol=0, atol=1e-3):
        texts = [
            f"{shape}, corner {affine[:3, 3].tolist()} mm, voxels of "
            f"{nib.affines.voxel_sizes(affine).round(3).tolist()} mm"
            for shape, affine in grids
        ]
        raise DataError(
            f"The voxels of {name} are on another grid ({texts[0]}) than those of the atlas "
            f"{atlas.name} ({texts[1]}). {remedy}"
        )


def _whole_labels(labels: object, axis: BrainModelAxis, name: str) -> np.ndarray:
    """Read labels as 32-bit integers, one a grayordinate, or say why they are none."""
    labels = np.asarray(labels)
    if labels.shape != (len(axis),):
        raise DataError(
            f"The labels of {name} have shape {labels.shape}; one is needed for each of the "
            f"{len(axis)} grayordinates."
        )
    if not np.isfinite(labels).all() or (labels != np.rint(labels)).any():
        raise DataError(f"The labels of {name} are not whole numbers. Give a label file.")
    if len(labels) and (labels.min() < 0 or labels.max() >= 2**31):
        raise DataError(
            f"The labels of {name} go from {labels.min()} to {labels.max()}; they must be from 0 "
            "(background) to 2147483647."
        )
    return labels.astype(np.int32)


def _with_colours(regions: pd.DataFrame, given: pd.DataFrame) -> pd.DataFrame:
    """Carry a colour column over to the completed table, by label id."""
    if not {"colour", "label_id"} <= set(given):
        return regions
    colours = dict(zip(given["label_id"].astype(int), given["colour"], strict=True))
    return regions.assign(colour=[colours[label] for label in regions["label_id"]])


def _with_sides(regions: pd.DataFrame, labels: np.ndarray, axis: BrainModelAxis) -> pd.DataFrame:
    """Fill in the hemisphere of regions that lie in structures of one side only."""
    sides = np.array(["", "L", "R"])
    names, which = np.unique(axis.name, return_inverse=True)
    code = np.array([name.endswith("_LEFT") + 2 * name.endswith("_RIGHT") for name in names])
    filled = []
    for label, side in zip(regions["label_id"], regions["hemisphere"], strict=True):
        found = set() if side else set(code[np.unique(which[labels == label])])
        filled.append(str(sides[found.pop()]) if len(found) == 1 else side)
    return regions.assign(hemisphere=filled)
