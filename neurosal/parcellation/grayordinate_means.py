"""Region means of runs on surfaces and grayordinates."""

from dataclasses import dataclass, field

import numpy as np
from nibabel.cifti2 import ParcelsAxis

from neurosal.errors import DataError
from neurosal.loaders.runs import Run
from neurosal.parcellation.files import shown
from neurosal.parcellation.grayordinate_runs import GrayordinateRun, is_grayordinates, open_run
from neurosal.parcellation.grayordinates import (
    GrayordinateAtlas,
    check_same_geometry,
    grayordinate_keys,
    space_of,
    structures_of,
)
from neurosal.parcellation.signals import (
    OUTSIDE_SURFACE,
    RegionSignals,
    check_finite,
    check_header_t_r,
    check_t_r,
)

_FAMILIES = ("fsLR", "fsaverage", "fsnative")


def grayordinate_signals(
    source: object,
    atlas: GrayordinateAtlas,
    *,
    t_r: float | None = None,
    space: str | None = None,
) -> RegionSignals:
    """Average a run over the regions of an atlas of grayordinates.

    Parameters
    ----------
    source : Run, or what :func:`~neurosal.parcellation.grayordinate_runs.open_run` takes
        The run.
    atlas : GrayordinateAtlas
        The regions.
    t_r : float or None
        Repetition time in seconds; None takes the run's, or that in the file.
    space : str or None
        The space of the data; None takes the run's, or reads the file name.

    Returns
    -------
    RegionSignals
        One column for each region of the atlas.

    Raises
    ------
    DataError
        If the run is a volume, is damaged, has another mesh or grid or no structure in common
        with the atlas, or has NaN or infinite values inside a region at some times only.
    ArgumentError
        If the repetition time is unknown.

    Examples
    --------
    >>> import nibabel as nib, pandas as pd
    >>> axis = nib.cifti2.BrainModelAxis.from_surface([0, 2, 3], 4, "CORTEX_LEFT")
    >>> table = pd.DataFrame({"index": [1, 2], "name": ["V1", "V2"]})
    >>> atlas = GrayordinateAtlas([1, 2, 2], axis, table)
    >>> frames = np.array([[5.0, 1, 3], [6, 3, 5]])
    >>> run = nib.Cifti2Image(frames, (nib.cifti2.SeriesAxis(0, 0.72, 2), axis))
    >>> grayordinate_signals(run, atlas).values.tolist()
    [[5.0, 2.0], [6.0, 4.0]]
    """
    run = _opened(source, atlas)
    if t_r is None:
        t_r = source.t_r if isinstance(source, Run) else check_header_t_r(run.t_r, run.name)
    t_r = check_t_r(t_r, run.name)
    space = _space(run, source) if space is None else space
    _check_families(space, atlas, run.name)
    if isinstance(run.axis, ParcelsAxis):
        values, counts, coverage = _from_parcels(run, atlas)
    else:
        values, counts, coverage = _from_grayordinates(run, atlas)
    return RegionSignals(
        values,
        counts,
        coverage,
        t_r=t_r,
        start=run.start,
        name=run.name,
        space=space or atlas.space,
        outside=OUTSIDE_SURFACE,
    )


@dataclass(eq=False)
class _Sums:
    """Sums over the grayordinates of each region, block by block."""

    n_regions: int
    n_times: int
    totals: np.ndarray = field(init=False)
    bad: np.ndarray = field(init=False)
    counts: np.ndarray = field(init=False)  # three rows: present, changing, not zero

    def __post_init__(self) -> None:
        self.totals = np.zeros((self.n_regions, self.n_times))
        self.bad = np.zeros((self.n_regions, self.n_times), dtype=bool)
        self.counts = np.zeros((3, self.n_regions))

    def add(self, block: np.ndarray, rows: np.ndarray) -> None:
        """Add a block (grayordinate, time), given each one's region, or -1."""
        picked = np.flatnonzero(rows >= 0)
        picked = picked[np.argsort(rows[picked], kind="stable")]
        values = block[picked].astype(np.float64)
        there = ~np.isnan(values).all(axis=1)
        values, rows = values[there], rows[picked][there]
        if not len(rows):
            return
        regions, starts = np.unique(rows, return_index=True)
        self.bad[regions] |= np.logical_or.reduceat(~np.isfinite(values), starts, axis=0)
        self.totals[regions] += np.add.reduceat(values, starts, axis=0)
        nonzero = (values != 0).any(axis=1)
        changing = (values != values[:, :1]).any(axis=1) if self.n_times > 1 else nonzero
        for row, mark in enumerate((np.ones(len(rows)), changing, nonzero)):
            self.counts[row] += np.bincount(rows, weights=mark, minlength=self.n_regions)


def _from_grayordinates(run: GrayordinateRun, atlas: GrayordinateAtlas) -> tuple:
    """Average a dense run; give values (time, region), counts and coverage."""
    check_same_geometry(atlas, run.axis, run.name)
    keys = grayordinate_keys(run.axis, run.name)
    place = np.minimum(np.searchsorted(atlas.keys, keys), len(atlas.keys) - 1)
    rows = np.where(atlas.keys[place] == keys, atlas.rows[place], -1)
    if (rows < 0).all():
        raise DataError(
            f"{run.name} and the atlas {atlas.name} have no grayordinate in common: the run has "
            f"{shown(structures_of(run.axis))}, the atlas {shown(structures_of(atlas.axis))}."
        )
    sums, start = _Sums(len(atlas), run.n_times), 0
    for block in run.blocks():
        sums.add(block, rows[start : start + len(block)])
        start += len(block)
    check_finite(sums.bad.T, atlas, run.name)
    present, changing, nonzero = sums.counts
    values = sums.totals / np.where(nonzero > 0, present, np.nan)[:, None]
    return np.ascontiguousarray(values.T), present, changing / atlas.sizes


def _from_parcels(run: GrayordinateRun, atlas: GrayordinateAtlas) -> tuple:
    """Take the series of a run that is parcellated already, by region name and size."""
    sizes = _parcel_sizes(run.axis)
    names = atlas.regions["name"].tolist()
    wrong = [
        name for name, size in zip(names, atlas.sizes, strict=True) if sizes.get(name, size) != size
    ]
    if wrong or not set(names) & set(sizes):
        told = f"differ in size: {shown(wrong, 5)}" if wrong else "have no name in common"
        raise DataError(
            f"{run.name} is parcellated by another atlas than {atlas.name}: their parcels {told} "
            f"({len(sizes)} parcels, {len(atlas)} regions). Give the atlas it was made with, or "
            "the .dtseries.nii."
        )
    data = np.concatenate(list(run.blocks())).astype(np.float64).T
    column = {name: place for place, name in enumerate(run.axis.name)}
    found = np.array([column.get(name, -1) for name in names])
    values = np.where(found >= 0, data[:, found], np.nan)
    gone = np.isnan(values).all(axis=0)
    check_finite(~np.isfinite(values) & ~gone, atlas, run.name)
    changing = (values != values[:1]).any(axis=0) if len(values) > 1 else (values != 0).any(axis=0)
    values[:, (values == 0).all(axis=0)] = np.nan
    return values, np.where(gone, 0, atlas.sizes), np.where(gone, 0.0, changing)


def _parcel_sizes(axis: ParcelsAxis) -> dict[str, int]:
    """Count the vertices and voxels of each parcel."""
    return {
        str(name): len(voxels) + sum(map(len, vertices.values()))
        for name, voxels, vertices in zip(axis.name, axis.voxels, axis.vertices, strict=True)
    }


def _opened(source: object, atlas: GrayordinateAtlas) -> GrayordinateRun:
    """Open a run, or say that a volume does not fit an atlas of grayordinates."""
    img, name = (source.img, source.label) if isinstance(source, Run) else (source, "")
    if is_grayordinates(img):
        return open_run(img, name)
    text = str(img) if isinstance(img, str) or hasattr(img, "__fspath__") else type(img).__name__
    raise DataError(
        f"{name or text} is no run on surfaces or grayordinates, but the atlas {atlas.name} is an "
        "atlas of these. Nothing is resampled between volume and surface here: give the run as "
        ".dtseries.nii, as {'left': ..., 'right': ...} of .func.gii files or as a SurfaceImage, or "
        "take a volume atlas (.nii.gz)."
    )


def _space(run: GrayordinateRun, source: object) -> str:
    """Find the space of the surfaces: what the run or its file name says, or the mesh."""
    told = (source.space if isinstance(source, Run) else "", run.space)
    named = next((space for space in told if space.startswith(_FAMILIES)), "")
    return named or ("" if isinstance(run.axis, ParcelsAxis) else space_of(run.axis))


def _check_families(space: str, atlas: GrayordinateAtlas, name: str) -> None:
    """Refuse an atlas on other surfaces than the run's, where both are known."""
    ours, theirs = (
        next((family for family in _FAMILIES if one.startswith(family)), "")
        for one in (atlas.space, space)
    )
    if ours and theirs and ours != theirs:
        raise DataError(
            f"{name} is on the surfaces of {space}, the atlas {atlas.name} on those of "
            f"{atlas.space}. Take the atlas in {space}, or the data in {atlas.space}."
        )
