"""Which regions of an atlas are neighbours."""

import warnings
from collections.abc import Sequence

import numpy as np
from nibabel.affines import apply_affine
from scipy import sparse
from scipy.spatial import cKDTree

from neurosal.errors import ArgumentError, check_number
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.grayordinates import CORTEX, GrayordinateAtlas
from neurosal.parcellation.maps import MapsAtlas
from neurosal.parcellation.surfaces import as_pair


def region_adjacency(
    atlas: RegionAtlas,
    *,
    distance_mm: float | None = None,
    mesh: object = None,
    regions: Sequence[str] | None = None,
) -> sparse.csr_array:
    """Find the regions that touch, or lie close to each other.

    Two regions of a volume touch if a voxel of one has a face in common with a voxel of the other
    (so do the two hemispheres where they meet at the midline); two regions of a surface if an edge
    of the mesh joins them.

    Parameters
    ----------
    atlas : Atlas, MapsAtlas or GrayordinateAtlas
        The regions. Of maps of weights, each voxel belongs to the region of the largest weight.
    distance_mm : float or None
        Regions whose centres (mean position) are no further apart are neighbours too. Atlases of
        spheres, which do not touch, need it; None takes those that touch only.
    mesh : "fsaverage5", nilearn.surface.PolyMesh, tuple or dict
        For grayordinates with a cortex: the surfaces that the atlas is drawn on, as ``(left,
        right)`` files, for instance ``*.midthickness.32k_fs_LR.surf.gii``. Not inflated ones if
        ``distance_mm`` is given. None takes fsaverage5 where the atlas has its size.
    regions : sequence of str or None
        Names of the regions to keep, in the order wanted (that of a map's ``region``); None keeps
        all in the order of the atlas.

    Returns
    -------
    scipy.sparse.csr_array
        1 for neighbours, of shape (region, region), symmetric, 0 on the diagonal. A warning counts
        the regions without a neighbour.

    Raises
    ------
    ArgumentError
        If a name is unknown, the distance is not above 0, or the mesh is missing or of another
        size.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> spheres = load_atlas("dosenbach160")
    >>> neighbours = region_adjacency(spheres, distance_mm=35)
    >>> neighbours.shape, bool((neighbours != neighbours.T).nnz)
    ((160, 160), False)
    """
    check_number("distance_mm", distance_mm, above=0, optional=True)
    parts = list(_parts(atlas, mesh))
    pairs = np.concatenate([touching for touching, _, _ in parts])
    if distance_mm is not None:
        rows, places = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
        pairs = np.concatenate([pairs, _close(rows, places, distance_mm)])
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    both = np.concatenate([pairs, pairs[:, ::-1]])
    joined = sparse.coo_array((np.ones(len(both)), tuple(both.T)), shape=(len(atlas), len(atlas)))
    found = sparse.csr_array((joined.tocsr() > 0).astype(np.float64))
    if regions is not None:
        order = _rows_of_names(atlas, regions)
        found = found[order][:, order]
    _tell_lonely(found, atlas.name)
    return found


def _parts(atlas: RegionAtlas, mesh: object) -> object:
    """Yield for each volume or surface: touching rows, the row of each place, places in mm."""
    if isinstance(atlas, GrayordinateAtlas):
        yield from _grayordinate_parts(atlas, mesh)
        return
    if mesh is not None:
        raise ArgumentError(f"mesh is for atlases of grayordinates. Got it with {atlas.name}.")
    if isinstance(atlas, MapsAtlas):
        largest = np.zeros(atlas.maps.shape[:3])
        rows = np.full(largest.shape, -1)
        for row in range(len(atlas)):  # one at a time: all maps may be gigabytes
            weights = np.abs(atlas.weights(row))
            rows[weights > largest] = row
            np.maximum(largest, weights, out=largest)
        yield _volume_part(rows, atlas.maps.affine)
    elif isinstance(atlas, Atlas):
        labels = np.asarray(atlas.labels.dataobj)
        rows = np.where(labels > 0, atlas.rows_of(labels), -1)
        yield _volume_part(rows, atlas.labels.affine)
    else:
        raise ArgumentError(f"atlas must be one that load_atlas gives. Got {type(atlas).__name__}.")


def _volume_part(rows: np.ndarray, affine: np.ndarray) -> tuple:
    """Find the rows whose voxels share a face; -1 is background."""
    pairs = []
    for axis in range(3):
        moved = np.moveaxis(rows, axis, 0)
        pairs.append(np.stack([moved[:-1].ravel(), moved[1:].ravel()], axis=1))
    inside = np.argwhere(rows >= 0)
    places = apply_affine(affine, inside)
    return _inside(np.concatenate(pairs)), rows[tuple(inside.T)], places


def _inside(pairs: np.ndarray) -> np.ndarray:
    """Keep each pair of two different regions once."""
    kept = (pairs >= 0).all(axis=1) & (pairs[:, 0] != pairs[:, 1])
    return np.unique(pairs[kept], axis=0)


def _grayordinate_parts(atlas: GrayordinateAtlas, mesh: object) -> object:
    """Yield the parts of the two surfaces and of the voxels."""
    axis, inside = atlas.axis, atlas.labels > 0
    surfaces = None
    for side, structure in CORTEX.items():
        here = (axis.name == structure) & inside
        if not here.any():
            continue
        surfaces = surfaces or _surfaces(atlas, mesh)
        yield _surface_part(atlas, here, surfaces.get(side), side)
    voxels = inside & ~np.isin(axis.name, list(CORTEX.values())) & (axis.voxel >= 0).all(axis=1)
    if voxels.any():
        rows = np.full(axis.volume_shape, -1)
        rows[tuple(axis.voxel[voxels].T)] = atlas.rows_of(atlas.labels[voxels])
        yield _volume_part(rows, axis.affine)


def _surfaces(atlas: GrayordinateAtlas, mesh: object) -> dict:
    """Load the meshes of the hemispheres."""
    from nilearn.datasets import load_fsaverage
    from nilearn.surface import PolyMesh

    small = set(atlas.axis.nvertices.values()) == {10242}
    if mesh is None and not small:
        sizes = sorted(set(atlas.axis.nvertices.values()))
        raise ArgumentError(
            f"mesh is needed to know the neighbours of {atlas.name}, whose surfaces have {sizes} "
            "vertices. Give region_adjacency mesh=(left, right): the .surf.gii files that the "
            "atlas is drawn on, for instance *.midthickness.32k_fs_LR.surf.gii; and a group test "
            "what it returns, as adjacency=."
        )
    if mesh is None or (isinstance(mesh, str) and mesh == "fsaverage5"):
        mesh = load_fsaverage("fsaverage5")["pial"]
    return (mesh if isinstance(mesh, PolyMesh) else PolyMesh(**as_pair(mesh, "mesh"))).parts


def _surface_part(atlas: GrayordinateAtlas, here: np.ndarray, surface: object, side: str) -> tuple:
    """Find the rows whose vertices are joined by an edge."""
    vertices = atlas.axis.vertex[here]
    size = atlas.axis.nvertices[CORTEX[side]]
    if surface is None or surface.n_vertices != size:
        got = "no such surface" if surface is None else f"{surface.n_vertices} vertices"
        raise ArgumentError(
            f"mesh has {got} in the {side} hemisphere, the atlas {atlas.name} {size} vertices. "
            "Give the surfaces that the atlas is drawn on."
        )
    rows = np.full(size, -1)
    rows[vertices] = atlas.rows_of(atlas.labels[here])
    edges = np.concatenate([surface.faces[:, pair] for pair in ([0, 1], [1, 2], [2, 0])])
    return _inside(rows[edges]), rows[vertices], np.asarray(surface.coordinates)[vertices]


def _close(rows: np.ndarray, places: np.ndarray, distance_mm: float) -> np.ndarray:
    """Find the rows whose mean places are no further apart than a distance."""
    present, which = np.unique(rows, return_inverse=True)
    counts = np.bincount(which)
    sums = [np.bincount(which, weights=column) for column in places.T]
    centres = np.stack(sums, axis=1) / counts[:, None]
    near = cKDTree(centres).query_pairs(distance_mm, output_type="ndarray")
    return present[near].reshape(-1, 2)


def _rows_of_names(atlas: RegionAtlas, regions: Sequence[str]) -> np.ndarray:
    """Find regions by name."""
    place = {str(name): row for row, name in enumerate(atlas.regions["name"])}
    names = [str(name) for name in np.asarray(regions)]
    unknown = [name for name in names if name not in place]
    if unknown:
        raise ArgumentError(
            f"{len(unknown)} region(s) are not in the atlas {atlas.name}, such as {unknown[:3]}. "
            "Give the atlas that the maps were made with."
        )
    return np.array([place[name] for name in names], dtype=int)


def _tell_lonely(found: sparse.csr_array, name: str) -> None:
    """Count the regions without neighbours."""
    lonely = int((np.diff(found.indptr) == 0).sum())
    if lonely and found.shape[0] > 1:
        warnings.warn(
            f"{lonely} of {found.shape[0]} regions of {name} have no neighbour: their clusters "
            "extend in time only. Regions that do not touch (spheres) need distance_mm=, in mm "
            "between centres.",
            stacklevel=3,
        )
