"""Where an atlas's regions are on the cortical surfaces that figures and page draw.

Everything is drawn on the folded and inflated surfaces of fsaverage5, which nilearn carries. Labels
of a volume are sampled between the pial and the white surface, and vertices that meet none take the
nearest within 3 mm, so that spheres that lie off the sheet show; of weighted maps each voxel goes
to the map that is strongest there. Labels of fsaverage surfaces of any density share vertices with
fsaverage5, and those of fsLR 32k come over by the nearest vertex on the sphere (Van Essen et al.
2012, doi:10.1093/cercor/bhr291). Regions below the cortex, in the cerebellum or off the sheet
become balls of their volume (radius 2 to 9 mm) at their centres.
"""

import functools
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.grayordinates import CORTEX, GrayordinateAtlas
from neurosal.projection.surface import to_surface
from neurosal.reporting.brains import choose_view
from neurosal.reporting.region_labels import as_labels

REACH = 3.0
_SHARED = 10242
_SAMPLED = (
    "Regions of the volume are sampled between the pial and white surfaces of fsaverage5; cortex "
    f"within {REACH:g} mm of a region belongs to it too."
)
_TABLE = Path(__file__).parent / "data" / "fslr32k_on_fsaverage5.npz"
_DEEP = re.compile(
    r"subcort|cerebell|thalam|caudate|putamen|pallid|accumbens|(?<!para)hippocamp|amygdal|"
    r"brain.?stem|basal.?ganglia",
    re.IGNORECASE,
)


@dataclass(frozen=True, eq=False)
class Side:
    """One hemisphere.

    Parameters
    ----------
    points, inflated : numpy.ndarray
        Vertices of the folded and the inflated surface in mm, shape (vertex, 3); ``inflated`` is
        None where it is not known.
    faces : numpy.ndarray
        Three vertices each, shape (face, 3).
    sulcus : numpy.ndarray
        0 (crown of a gyrus) to 1 (floor of a sulcus), shape (vertex,).
    rows : numpy.ndarray
        Row of the atlas's table at each vertex, or -1.
    """

    points: np.ndarray
    inflated: np.ndarray | None
    faces: np.ndarray
    sulcus: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, eq=False)
class BrainMesh:
    """Two hemispheres with the regions on them, and the regions that are elsewhere.

    Parameters
    ----------
    sides : dict of str to Side
        ``"left"`` and ``"right"``.
    balls : pandas.DataFrame
        ``row`` (of the atlas's table), ``x``, ``y``, ``z`` and ``radius`` in mm.
    lost : numpy.ndarray
        Rows of regions that are neither on the surfaces nor balls.
    note : str
        How regions came onto the surfaces, in one sentence.
    """

    sides: dict[str, Side]
    balls: pd.DataFrame
    lost: np.ndarray
    note: str


def brain_mesh(atlas: RegionAtlas, mesh: object = None) -> BrainMesh:
    """Put an atlas's regions on cortical surfaces.

    Parameters
    ----------
    atlas : Atlas, GrayordinateAtlas, MapsAtlas or MaskerAtlas
        The regions; one of volumes must be in MNI space.
    mesh : nilearn.surface.PolyMesh, tuple or dict, optional
        Surfaces, or ``(left, right)`` files of them, with as many vertices as an atlas of
        grayordinates, or in the space of one of volumes. By default fsaverage5.

    Returns
    -------
    BrainMesh
        Surfaces, regions and balls.

    Raises
    ------
    ArgumentError
        If the atlas does not fit the surfaces; the message says why.

    See Also
    --------
    neurosal.projection.to_surface : values on surfaces, for other programs.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> found = brain_mesh(load_atlas("dosenbach160"))
    >>> sorted(found.sides), len(found.balls) > 20, len(found.lost)
    (['left', 'right'], True, 0)
    """
    if isinstance(mesh, dict | list):
        mesh = tuple(mesh[side] for side in CORTEX) if isinstance(mesh, dict) else tuple(mesh)
    return _brain_mesh(atlas, mesh)


@functools.lru_cache(maxsize=2)
def _brain_mesh(atlas: RegionAtlas, mesh: object) -> BrainMesh:
    """Do what :func:`brain_mesh` says, once for an atlas and its surfaces."""
    labels, origin, note = as_labels(atlas)
    if mesh is not None:
        sides, found = _given_sides(labels, mesh), "Regions are on the surfaces that were given."
    elif isinstance(labels, GrayordinateAtlas):
        rows, found = _shared_rows(labels)
        sides = _fsaverage5(rows)
    else:
        _check_space(labels)
        sides, found = _fsaverage5(_sampled_rows(labels)), _SAMPLED
    deep = _deep_rows(labels)
    for side in sides.values():
        side.rows[np.isin(side.rows, deep)] = -1
    painted = np.unique(np.concatenate([side.rows for side in sides.values()]))
    balls = _balls(*_voxels(labels), np.setdiff1d(np.arange(len(labels)), painted))
    for side in sides.values():
        side.rows[:] = np.append(origin, -1)[side.rows]
    balls["row"] = origin[balls["row"].to_numpy(dtype=int)]
    shown = np.concatenate([np.append(origin, -1)[painted], balls["row"]])
    lost = np.setdiff1d(np.arange(len(atlas)), shown)
    return BrainMesh(sides, balls, lost, " ".join(filter(None, (note, found))))


def _check_space(atlas: Atlas) -> None:
    """Refuse an atlas that is not in MNI space."""
    if choose_view(atlas.labels, space=atlas.space) == "native":
        raise ArgumentError(
            f"The atlas {atlas.name} is not in MNI space ({atlas.space or 'space unknown'}), so "
            "its regions cannot be put on fsaverage5. Give mesh= surfaces in its space."
        )


def _fsaverage5(rows: dict[str, np.ndarray]) -> dict[str, Side]:
    """Put rows on the surfaces that nilearn carries; the inflated ones moved side by side."""
    from nilearn.datasets import load_fsaverage, load_fsaverage_data

    meshes = load_fsaverage("fsaverage5")
    depth = load_fsaverage_data(mesh="fsaverage5", data_type="sulcal").data.parts
    sides = {}
    for name, row in rows.items():
        pial, inflated = meshes["pial"].parts[name], meshes["inflated"].parts[name].coordinates
        inner = inflated[:, 0].max() if name == "left" else inflated[:, 0].min()
        moved = inflated - np.array([inner + (2 if name == "left" else -2), 0, 0])
        sulcus = np.clip((depth[name] + 1) / 2, 0, 1)
        sides[name] = Side(pial.coordinates, moved, pial.faces, sulcus, row)
    return sides


def _given_sides(atlas: RegionAtlas, mesh: object) -> dict[str, Side]:
    """Put rows on surfaces of the user's."""
    img = _painted(atlas, mesh)
    sides = {}
    for name, part in img.mesh.parts.items():
        rows = img.data.parts[name].astype(int) - 1
        flat = np.full(len(rows), 0.35)
        sides[name] = Side(part.coordinates, None, part.faces, flat, rows)
    return sides


def _painted(atlas: RegionAtlas, mesh: object) -> object:
    """Paint each region's row, counted from 1, on surfaces."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have no vertex on the surfaces")
        return to_surface(np.arange(1.0, len(atlas) + 1), atlas, mesh=mesh)


def _sampled_rows(atlas: Atlas) -> dict[str, np.ndarray]:
    """Sample a volume's labels on fsaverage5; the medial wall has no region."""
    from nilearn.datasets import load_fsaverage

    meshes = load_fsaverage("fsaverage5")
    xyz, owner = _voxels(atlas)[:2]
    cortical = ~np.isin(owner, _deep_rows(atlas))
    hemisphere = atlas.regions["hemisphere"].to_numpy()
    rows = {}
    try:
        parts = _painted(atlas, "fsaverage5").data.parts
    except DataError:  # an atlas of nothing but deep regions meets no vertex
        parts = {name: np.zeros(_SHARED) for name in CORTEX}
    for name, part in parts.items():
        row = part.astype(int) - 1
        here = cortical & (hemisphere[owner] != {"left": "R", "right": "L"}[name])
        if here.any():
            outer, inner = (meshes[kind].parts[name] for kind in ("pial", "white_matter"))
            middle = (outer.coordinates + inner.coordinates) / 2
            distance, nearest = cKDTree(xyz[here]).query(middle, distance_upper_bound=REACH)
            near = np.append(owner[here], -1)[nearest]
            row = np.where((row < 0) & (distance <= REACH), near, row)
        rows[name] = np.where(_table()[f"{name}_cortex"], row, -1)
    return rows


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, np.ndarray]:
    """Read which fsLR vertex each fsaverage5 vertex is nearest to, and which are cortex."""
    with np.load(_TABLE, allow_pickle=False) as stored:
        return {name: stored[name].astype(bool if "_" in name else int) for name in stored}


def _shared_rows(atlas: GrayordinateAtlas) -> tuple[dict[str, np.ndarray], str]:
    """Bring the rows of an atlas of surfaces to fsaverage5."""
    rows, note = {}, ""
    for name, structure in CORTEX.items():
        row = np.full(_SHARED, -1)
        if structure in atlas.axis.nvertices:
            own = np.full(atlas.axis.nvertices[structure], -1)
            here = (atlas.axis.name == structure) & (atlas.labels > 0)
            own[atlas.axis.vertex[here]] = atlas.rows_of(atlas.labels[here])
            places, note = _places(atlas, name, len(own))
            row = own[places]
        rows[name] = row
    if not note:
        raise ArgumentError(f"The atlas {atlas.name} has no cortical surface to be drawn.")
    return rows, note


def _places(atlas: GrayordinateAtlas, name: str, size: int) -> tuple[np.ndarray, str]:
    """Say which of a surface's vertices belongs to each vertex of fsaverage5."""
    if size == 32492:
        note = "Regions of fsLR 32k are drawn on fsaverage5, each vertex as the nearest one."
        return _table()[name], note
    if size in (10242, 40962) or (size == 163842 and atlas.space.startswith("fsaverage")):
        return np.arange(_SHARED), "Regions are drawn on fsaverage5."
    if size in (642, 2562):
        from nilearn.datasets import load_fsaverage

        sphere = load_fsaverage("fsaverage5")["sphere"].parts[name].coordinates
        return cKDTree(sphere[:size]).query(sphere)[1], "Regions are drawn on fsaverage5."
    raise ArgumentError(
        f"The surfaces of {atlas.name} have {size} vertices ({atlas.space or 'space unknown'}); "
        "fsaverage (642 to 163842) and fsLR (32492) can be drawn without more. Give mesh= surfaces "
        "with as many vertices."
    )


def _deep_rows(atlas: RegionAtlas) -> np.ndarray:
    """Rows of regions that their names or networks place below the cortex or in the cerebellum."""
    told = atlas.regions["name"].astype(str) + " " + atlas.regions["network"].astype(str)
    return np.flatnonzero(told.str.contains(_DEEP))


def _voxels(atlas: RegionAtlas) -> tuple[np.ndarray, np.ndarray, float]:
    """Positions (mm) and rows of the labelled voxels, and the volume of one in mm³."""
    if isinstance(atlas, GrayordinateAtlas):
        here = (atlas.axis.voxel[:, 0] >= 0) & (atlas.labels > 0)
        if not here.any():
            return np.empty((0, 3)), np.empty(0, int), 1.0
        places, affine, labels = atlas.axis.voxel[here], atlas.axis.affine, atlas.labels[here]
    else:
        data, affine = np.asarray(atlas.labels.dataobj), atlas.labels.affine
        places = np.argwhere(data > 0)
        labels = data[tuple(places.T)]
    xyz = nib.affines.apply_affine(affine, places)
    return xyz, atlas.rows_of(labels), abs(float(np.linalg.det(affine[:3, :3])))


def _balls(xyz: np.ndarray, owner: np.ndarray, volume: float, wanted: np.ndarray) -> pd.DataFrame:
    """Give each region a ball of its volume (2 to 9 mm); one on each side if it lies on both."""
    found = []
    for row in wanted[np.isin(wanted, owner)]:
        points = xyz[owner == row]
        halves = [points[points[:, 0] < 0], points[points[:, 0] >= 0]]
        apart = all(len(half) and abs(half[:, 0].mean()) > 6 for half in halves)
        for part in halves if apart else [points]:
            radius = np.clip(np.cbrt(len(part) * volume * 3 / (4 * np.pi)), 2, 9)
            found.append((row, *part.mean(axis=0), radius))
    return pd.DataFrame(found, columns=["row", "x", "y", "z", "radius"]).astype({"row": int})
