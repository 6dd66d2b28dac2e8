"""Region values on cortical surfaces as nilearn's ``SurfaceImage``, and back.

An atlas of grayordinates is painted on its own vertices. The labels of a volume atlas are sampled
once between the pial and the white surface, each vertex taking the label it meets most often, and
the vertices are painted by label: so a vertex shows the value of one region and never a mixture. A
region of one hemisphere is painted on that hemisphere only.
"""

import functools
import warnings
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.files import shown
from neurosal.parcellation.grayordinates import CORTEX, GrayordinateAtlas
from neurosal.parcellation.surfaces import as_pair
from neurosal.projection.values import (
    columns_of,
    label_back,
    label_values,
    values_by_region,
    with_times,
)

if TYPE_CHECKING:
    from nilearn.surface import SurfaceImage

_REACH = 4.0  # mm around the vertices that labels are sampled from
_LARGEST = 1000.0  # mm that a mesh may extend over


def to_surface(
    values: xr.DataArray | np.ndarray,
    atlas: GrayordinateAtlas | Atlas,
    *,
    mesh: object = "fsaverage5",
) -> "SurfaceImage":
    """Paint region values on the vertices of the two cortical surfaces.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        Of shape (region,) or (time, region). A labelled array is matched by region name and may
        hold some of the regions only; a plain array needs one column for every region.
    atlas : GrayordinateAtlas or Atlas
        The regions. A volume atlas must be in MNI152 space for ``"fsaverage5"``, and in the space
        of the mesh for another one.
    mesh : "fsaverage5", nilearn.surface.PolyMesh, tuple or dict
        The surfaces: the pial ones that nilearn carries, any mesh with as many vertices as the
        atlas, or ``(left, right)`` files of one.

    Returns
    -------
    nilearn.surface.SurfaceImage
        Float32 of shape (vertex,) or (vertex, time) a hemisphere. Vertices outside the regions,
        and of regions that ``values`` leaves out, are 0; a region whose value is NaN is NaN.

    Raises
    ------
    ArgumentError
        If the shape does not fit, regions or the mesh are unknown, the mesh has another number of
        vertices than the atlas, or the atlas has no cortex, is one of weights, or is known to be
        in another space than ``"fsaverage5"``.

    See Also
    --------
    from_surface : the way back.
    nilearn.surface.vol_to_surf : samples the labels of a volume atlas.

    Examples
    --------
    >>> import pandas as pd
    >>> axis = nib.cifti2.BrainModelAxis.from_surface([0, 1, 9], 10242, "CORTEX_LEFT")
    >>> atlas = GrayordinateAtlas([1, 2, 2], axis, pd.DataFrame({"id": [1, 2], "name": ["a", "b"]}))
    >>> img = to_surface(np.array([5.0, 7.0]), atlas)
    >>> img.data.parts["left"][[0, 1, 2, 9]].tolist()
    [5.0, 7.0, 0.0, 7.0]
    """
    from nilearn.surface import PolyMesh, SurfaceImage

    outer, inner = _surfaces(mesh, atlas)
    parts = paint_vertices(values, atlas, outer, inner)
    return SurfaceImage(PolyMesh(**{side: outer.parts[side] for side in parts}), parts)


def paint_vertices(
    values: xr.DataArray | np.ndarray,
    atlas: GrayordinateAtlas | Atlas,
    outer: object = None,
    inner: object = None,
) -> dict[str, np.ndarray]:
    """Paint region values on vertices, wherever these lie.

    Parameters
    ----------
    values, atlas
        As :func:`to_surface` takes them.
    outer, inner : nilearn.surface.PolyMesh or None
        The mesh, and that of the white surface below it where it is known. An atlas of
        grayordinates needs neither: without them all of its own vertices are painted.

    Returns
    -------
    dict of str to numpy.ndarray
        Float32 of shape (vertex,) or (vertex, time) for ``"left"`` and ``"right"``.

    Examples
    --------
    >>> import pandas as pd
    >>> axis = nib.cifti2.BrainModelAxis.from_surface([0, 1, 3], 4, "CORTEX_LEFT")
    >>> atlas = GrayordinateAtlas([1, 2, 2], axis, pd.DataFrame({"id": [1, 2], "name": ["a", "b"]}))
    >>> paint_vertices(np.array([5.0, 7.0]), atlas)["left"].tolist()
    [5.0, 7.0, 0.0, 7.0]
    """
    array = label_values(values, atlas)
    columns = columns_of(array, atlas)
    painted = values_by_region(array, columns)
    rows = _rows(atlas, outer, inner)
    _warn_lost(columns, rows, atlas)
    parts = {}
    for side, row in rows.items():
        part = np.where(row >= 0, painted[:, row], np.float32(0)).T
        parts[side] = np.ascontiguousarray(part if "time" in array.dims else part[:, 0])
    return parts


def from_surface(
    img: "SurfaceImage",
    atlas: GrayordinateAtlas | Atlas,
    *,
    mesh: object = "fsaverage5",
    t_r: float | None = None,
    start: float = 0.0,
) -> xr.DataArray:
    """Read region values back out of a map on surfaces.

    Parameters
    ----------
    img : nilearn.surface.SurfaceImage
        Of shape (vertex,) or (vertex, time).
    atlas : GrayordinateAtlas or Atlas
        The regions.
    mesh : "fsaverage5", nilearn.surface.PolyMesh, tuple or dict
        For a volume atlas: the mesh that :func:`to_surface` was given.
    t_r : float or None
        Repetition time in seconds, which surface images do not hold; None counts frames.
    start : float
        Time of the first frame in seconds.

    Returns
    -------
    xarray.DataArray
        Mean over each region's vertices, float64 of shape (region,) or (time, region): exactly
        the float32 values that :func:`to_surface` wrote. NaN where a region has no vertex or a
        NaN.

    Raises
    ------
    ArgumentError
        If the image has another number of vertices than the atlas, or ``t_r`` is not above 0.

    Examples
    --------
    >>> import pandas as pd
    >>> axis = nib.cifti2.BrainModelAxis.from_surface([0, 1, 9], 10242, "CORTEX_LEFT")
    >>> atlas = GrayordinateAtlas([1, 2, 2], axis, pd.DataFrame({"id": [1, 2], "name": ["a", "b"]}))
    >>> from_surface(to_surface(np.array([5.0, 7.0]), atlas), atlas).values.tolist()
    [5.0, 7.0]
    """
    if t_r is not None and not (np.isfinite(t_r) and t_r > 0):
        raise ArgumentError(f"t_r must be above 0 s. Got {t_r}.")
    outer, inner = (
        (img.mesh, None) if isinstance(atlas, GrayordinateAtlas) else _surfaces(mesh, atlas)
    )
    rows = _rows(atlas, outer, inner)
    sizes = {side: len(part) for side, part in img.data.parts.items()}
    wanted = {side: len(row) for side, row in rows.items()}
    if any(wanted.get(side, size) != size for side, size in sizes.items()):
        raise ArgumentError(f"img has {sizes} vertices, the mesh of {atlas.name} {wanted}.")
    sides = [side for side in rows if side in sizes]
    joined = np.concatenate([rows[side] for side in sides])
    data = np.concatenate([np.asarray(img.data.parts[side], dtype=float) for side in sides])
    inside = joined >= 0
    counts = np.bincount(joined[inside], minlength=len(atlas))
    frames = data.reshape(len(data), -1)[inside].T
    sums = [np.bincount(joined[inside], weights=one, minlength=len(atlas)) for one in frames]
    values = np.array(sums) / np.where(counts > 0, counts, np.nan)
    if data.ndim == 1:
        return label_back(values, atlas, frames=None)
    return with_times(label_back(values, atlas), start, t_r or 0.0)


def _surfaces(mesh: object, atlas: RegionAtlas) -> tuple:
    """Give a mesh, and that of the white surface below it where it is known."""
    from nilearn.surface import PolyMesh

    if isinstance(mesh, PolyMesh):
        return mesh, None
    if isinstance(mesh, str) and mesh == "fsaverage5":
        _check_space(atlas)
        return _fsaverage5()
    if isinstance(mesh, dict | tuple | list):
        return PolyMesh(**as_pair(mesh, "mesh")), None
    raise ArgumentError(
        "mesh must be 'fsaverage5', a nilearn PolyMesh, or (left, right) files of one. Got "
        f"{mesh!r}. nilearn downloads other sizes, as PolyMesh: "
        "nilearn.datasets.load_fsaverage('fsaverage6')['pial']."
    )


def _check_space(atlas: RegionAtlas) -> None:
    """Refuse a volume that is known to lie elsewhere than fsaverage5."""
    if isinstance(atlas, Atlas) and atlas.space and not atlas.space.upper().startswith("MNI"):
        raise ArgumentError(
            f"The atlas {atlas.name} is in the space {atlas.space}, fsaverage5 in MNI152. Give "
            "mesh= surfaces in its space; if it is in MNI152, load it with that name as space=."
        )


@functools.lru_cache(maxsize=1)
def _fsaverage5() -> tuple:
    """Load the pial and white surfaces that nilearn carries."""
    from nilearn.datasets import load_fsaverage

    meshes = load_fsaverage("fsaverage5")
    return meshes["pial"], meshes["white_matter"]


def _rows(atlas: RegionAtlas, outer: object, inner: object) -> dict[str, np.ndarray]:
    """Give for each hemisphere the region's row at each vertex, or -1."""
    if isinstance(atlas, GrayordinateAtlas):
        return _own_rows(atlas, outer)
    if isinstance(atlas, Atlas):
        return _sampled_rows(atlas, outer, inner)
    raise ArgumentError(
        f"atlas must be one of labels for maps on surfaces. {atlas.name} is one of weights; sample "
        "its volume instead: SurfaceImage.from_volume(mesh, to_nifti(values, atlas))."
    )


def _own_rows(atlas: GrayordinateAtlas, mesh: object) -> dict[str, np.ndarray]:
    """Read the regions of the vertices of an atlas of grayordinates."""
    rows = {}
    for side, structure in CORTEX.items():
        if structure not in atlas.axis.nvertices or (mesh is not None and side not in mesh.parts):
            continue
        size = atlas.axis.nvertices[structure]
        given = size if mesh is None else mesh.parts[side].n_vertices
        if size != given:
            raise ArgumentError(
                f"mesh has {given} vertices in the {side} hemisphere, the atlas {atlas.name} "
                f"{size} ({atlas.space or 'of an unknown space'}). Give mesh= the surfaces that "
                "the atlas is drawn on, as a PolyMesh or (left, right) files."
            )
        here = (atlas.axis.name == structure) & (atlas.labels > 0)
        rows[side] = np.full(size, -1)
        rows[side][atlas.axis.vertex[here]] = atlas.rows_of(atlas.labels[here])
    if not rows:
        of = "" if mesh is None else f" of the mesh ({', '.join(mesh.parts)})"
        raise ArgumentError(f"The atlas {atlas.name} has no cortical surface{of}.")
    return rows


@functools.lru_cache(maxsize=4)
def _sampled_rows(atlas: Atlas, outer: object, inner: object) -> dict[str, np.ndarray]:
    """Sample the labels of a volume atlas at each vertex, once for an atlas and a mesh."""
    from nilearn.surface import vol_to_surf

    sides = atlas.regions["hemisphere"].to_numpy()
    rows = {}
    for side, part in outer.parts.items():
        below = inner.parts[side] if inner is not None else None
        labels = _box_around(atlas.labels, part, below)
        found = vol_to_surf(labels, part, inner_mesh=below, interpolation="nearest_most_frequent")
        found = found.astype(np.int64)
        row = np.minimum(atlas.rows_of(found), len(atlas) - 1)
        other = sides[row] == {"left": "R", "right": "L"}[side]
        rows[side] = np.where((found == 0) | other, -1, row)
    if all((row < 0).all() for row in rows.values()):
        raise DataError(
            f"No region of {atlas.name} meets the mesh. Check that the mesh is in the space of the "
            f"atlas ({atlas.space or 'unknown'})."
        )
    return rows


def _box_around(labels: nib.Nifti1Image, part: object, below: object) -> nib.Nifti1Image:
    """Cut or pad labels with background to the box of every vertex and its surroundings."""
    points = np.concatenate([mesh.coordinates for mesh in (part, below) if mesh is not None])
    extent = np.ptp(points, axis=0)
    if not (extent < _LARGEST).all():
        raise ArgumentError(
            f"mesh must have coordinates in mm. It extends over {extent.round(1).tolist()} mm."
        )
    places = nib.affines.apply_affine(np.linalg.inv(labels.affine), points)
    reach = np.ceil(_REACH / nib.affines.voxel_sizes(labels.affine)).astype(int)
    start = np.floor(places.min(axis=0)).astype(int) - reach
    stop = np.ceil(places.max(axis=0)).astype(int) + reach + 1
    box = np.zeros(stop - start, dtype=np.int32)
    low, high = np.maximum(start, 0), np.minimum(stop, labels.shape)
    if (low < high).all():
        from_, to = _slices(low, high), _slices(low - start, high - start)
        box[to] = np.asarray(labels.dataobj)[from_]
    return nib.Nifti1Image(box, labels.affine @ nib.affines.from_matvec(np.eye(3), start))


def _slices(low: np.ndarray, high: np.ndarray) -> tuple[slice, ...]:
    """Give the slices from one corner to another."""
    return tuple(map(slice, low, high))


def _warn_lost(columns: np.ndarray, rows: dict[str, np.ndarray], atlas: RegionAtlas) -> None:
    """Name the regions that have a value but no vertex."""
    painted = np.unique(np.concatenate(list(rows.values())))
    lost = np.setdiff1d(np.flatnonzero(columns >= 0), painted)
    if len(lost):
        warnings.warn(
            f"{len(lost)} regions of {atlas.name} have no vertex on the surfaces and are not in "
            f"the map: {shown(atlas.regions['name'].iloc[lost])}.",
            stacklevel=4,
        )
