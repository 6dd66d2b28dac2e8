"""Probabilistic atlases: a map of weights for each region, as DiFuMo and MSDL have them.

Signals are those of nilearn's ``NiftiMapsMasker``: the least-squares weights with which the maps
add up to each volume. Regions may overlap, so a region's series is no mean.
"""

import functools
import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np
import pandas as pd

from neurosal.errors import DataError
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.files import read_values, shown
from neurosal.parcellation.grids import check_spaces, same_grid
from neurosal.parcellation.signals import OUTSIDE_VOLUME, RegionSignals, check_finite
from neurosal.parcellation.streaming import check_whole
from neurosal.parcellation.tables import complete_table


@dataclass(frozen=True, eq=False)
class MapsAtlas(RegionAtlas):
    """A map of weights for each region, with a table of the regions.

    Parameters
    ----------
    maps : nibabel image
        Weights of shape (x, y, z, region).
    regions : pandas.DataFrame
        Columns ``label_id`` (or ``index``): the position of the map, from 1; ``name`` (unique);
        and, if known, ``network`` and ``hemisphere``.
    name : str
        The atlas's name.
    space : str
        The space the maps are in (``"MNI152NLin6Asym"``); empty if unknown.
    source, licence, citation : str
        Where it comes from, under which terms, and the paper to cite.
    approximate : bool
        True if the maps fit any MNI152 space.

    Raises
    ------
    DataError
        If there is not one row for each map, a map is empty, or weights are not finite.

    Examples
    --------
    >>> maps = nib.Nifti1Image(np.ones((2, 2, 2, 3), "float32"), np.eye(4))
    >>> table = pd.DataFrame({"index": [1, 2, 3], "name": ["a", "b", "c"]})
    >>> len(MapsAtlas(maps, table, name="mine"))
    3
    """

    maps: nib.spatialimages.SpatialImage
    regions: pd.DataFrame
    name: str = "atlas"
    space: str = ""
    source: str = ""
    licence: str = ""
    citation: str = ""
    approximate: bool = False

    def __post_init__(self) -> None:
        table = complete_table(self.regions, source=f"The table of {self.name}")
        ids = table["label_id"].tolist()
        shape = tuple(self.maps.shape)
        if len(shape) != 4 or ids != list(range(1, shape[3] + 1)):
            raise DataError(
                f"The maps of {self.name} have shape {shape}, its table {len(ids)} regions "
                f"({shown(ids, 4)}). The table needs one row for each map, and as label ids the "
                "positions of the maps from 1."
            )
        object.__setattr__(self, "regions", table)
        self._check_weights()

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) over weights, affine and table: equal atlases, equal hashes."""
        digest = hashlib.sha256(str(tuple(self.maps.shape)).encode())
        for row in range(len(self)):
            digest.update(np.ascontiguousarray(self.weights(row), "<f4"))
        digest.update(np.ascontiguousarray(self.maps.affine, "<f8"))
        digest.update(self.table_text())
        return digest.hexdigest()

    def weights(self, row: int) -> np.ndarray:
        """Give the map of one region.

        Parameters
        ----------
        row : int
            The region's row in ``regions``.

        Returns
        -------
        numpy.ndarray
            Weights of shape (x, y, z).

        Examples
        --------
        >>> maps = nib.Nifti1Image(np.ones((2, 2, 2, 1), "float32"), np.eye(4))
        >>> MapsAtlas(maps, pd.DataFrame({"id": [1], "name": ["a"]})).weights(0).sum()
        np.float32(8.0)
        """
        return np.asarray(self.maps.dataobj[..., row])

    def _check_weights(self) -> None:
        """Read all weights once, so that a damaged file is found at once."""
        data = read_values(self.maps, self.name)
        sums = [np.abs(data[..., row]).sum(dtype=np.float64) for row in range(len(self))]
        wrong = ~np.isfinite(sums) | (np.array(sums) == 0)
        if wrong.any():
            raise DataError(
                f"The maps of {shown(self.regions['name'][wrong])} in {self.name} are empty or "
                "hold NaN or infinite weights. Leave them out of image and table."
            )
        object.__setattr__(self, "maps", nib.Nifti1Image(_plain(data), self.maps.affine))


def maps_signals(
    img: nib.spatialimages.SpatialImage, atlas: MapsAtlas, *, t_r: float, space: str, name: str
) -> RegionSignals:
    """Extract the signals of maps by least squares, as nilearn's ``NiftiMapsMasker`` does.

    Parameters
    ----------
    img : nibabel image
        The run, of shape (x, y, z, time); it is read as a whole. The maps are resampled
        (linearly) to its grid.
    atlas : MapsAtlas
        The regions.
    t_r : float
        Repetition time in seconds.
    space, name : str
        The run's space and its name, for messages.

    Returns
    -------
    RegionSignals
        ``n_voxels`` counts voxels of weight above 0 in the run; ``coverage`` is the share of the
        weight that lies in voxels of the run that change over time.

    Raises
    ------
    DataError
        If no map lies inside the image, or voxels of a map are NaN or infinite.

    Examples
    --------
    >>> weights = np.array([[[[1.0, 0], [1, 0], [0, 1], [0, 0]]]], "float32")
    >>> table = pd.DataFrame({"index": [1, 2], "name": ["a", "b"]})
    >>> atlas = MapsAtlas(nib.Nifti1Image(weights, np.eye(4)), table)
    >>> bold = nib.Nifti1Image(np.arange(12.0).reshape(1, 1, 4, 3), np.eye(4))
    >>> maps_signals(bold, atlas, t_r=2.0, space="", name="x").values.round(6).tolist()
    [[1.5, 6.0], [2.5, 7.0], [3.5, 8.0]]
    """
    from nilearn.maskers import NiftiMapsMasker

    check_spaces(space, atlas, name)
    grid = (tuple(img.shape[:3]), np.asarray(img.affine, float).tobytes())
    maps, inside = _on_grid(atlas, *grid)
    if maps is None:
        corner = np.round(img.affine[:3, 3], 1).tolist()
        raise DataError(
            f"No map of {atlas.name} lies inside {name} (shape {img.shape[:3]}, corner at {corner} "
            f"mm). Check that the image is in the space of the atlas ({atlas.space or 'unknown'}) "
            "and that its affine is right."
        )
    check_whole(img)
    data = read_values(img, name)
    data = _plain(data.reshape(*data.shape[:3], -1))
    n_voxels, live = _check_voxels(data, maps, atlas, name)
    if not live.any():
        raise DataError(
            f"No map of {atlas.name} lies on voxels of {name} that are not zero or constant. Check "
            f"that both are in the same space ({atlas.space or 'unknown'}), and the affine."
        )
    masker = NiftiMapsMasker(maps, standardize=None, resampling_target="data")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = masker.fit_transform(nib.Nifti1Image(data, img.affine)).astype(np.float64)
    values = np.where(live > 0, values, np.nan)
    return RegionSignals(
        values,
        n_voxels,
        live * inside,
        t_r=t_r,
        start=0.0,
        name=name,
        space=space or atlas.space,
        outside=OUTSIDE_VOLUME,
    )


@functools.lru_cache(maxsize=1)
def _on_grid(
    atlas: MapsAtlas, shape: tuple, affine: bytes
) -> tuple[nib.Nifti1Image | None, np.ndarray]:
    """Resample maps to a grid; give them with the share of each map's weight inside it."""
    from nilearn.image import resample_img
    from nilearn.image.resampling import BoundingBoxError

    grid = nib.Nifti1Image(np.broadcast_to(np.uint8(0), shape), np.frombuffer(affine).reshape(4, 4))
    if same_grid(atlas.maps, grid):
        return atlas.maps, np.ones(len(atlas))
    to_grid = np.linalg.inv(grid.affine) @ atlas.maps.affine
    voxels = np.indices(atlas.maps.shape[:3]).reshape(3, -1).T
    places = nib.affines.apply_affine(to_grid, voxels)
    inside = ((places > -0.5) & (places < np.array(shape) - 0.5)).all(axis=1)
    shares = []
    for row in range(len(atlas)):
        weights = np.abs(atlas.weights(row)).ravel()
        shares.append(weights[inside].sum(dtype=float) / weights.sum(dtype=float))
    if not any(shares):
        return None, np.array(shares)
    target = {"target_affine": grid.affine, "target_shape": shape}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Resampling binary images")
        try:
            maps = resample_img(atlas.maps, interpolation="linear", **target)
        except BoundingBoxError:
            maps = None
    return maps, np.array(shares)


def _check_voxels(
    data: np.ndarray, maps: nib.Nifti1Image, atlas: MapsAtlas, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Count each map's voxels, and its share of weight in voxels that change over time."""
    finite = np.isfinite(data).all(axis=3)
    changing = (data != data[..., :1]).any(axis=3) if data.shape[3] > 1 else data[..., 0] != 0
    counts, live, bad = [], [], np.zeros((data.shape[3], len(atlas)), dtype=bool)
    for row in range(len(atlas)):
        weights = np.abs(np.asarray(maps.dataobj[..., row]))
        here = weights > 0
        total = weights.sum(dtype=float)
        counts.append(here.sum())
        live.append(weights[changing].sum(dtype=float) / total if total else 0.0)
        if (here & ~finite).any():
            bad[:, row] = ~np.isfinite(data[here & ~finite]).all(axis=0)
    check_finite(bad, atlas, name)
    return np.array(counts), np.array(live)


def _plain(data: np.ndarray) -> np.ndarray:
    """Bring data to native floats that nilearn reads, singly precise unless they are doubles."""
    return np.asarray(data, dtype=np.float64 if data.dtype == np.float64 else np.float32)
