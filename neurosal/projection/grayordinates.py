"""Region values as CIFTI-2 files, and back.

There are four kinds. Parcellated files hold one number for each region, which is all there is to
know; dense files repeat it for each vertex and voxel of the region, for programs that show nothing
else. Either holds a series in time, or maps with a name each:

=============== ==================== ===============
values          parcellated          dense
=============== ==================== ===============
region          ``pscalar``          ``dscalar``
condition       ``pscalar``          ``dscalar``
time            ``ptseries``         ``dtseries``
=============== ==================== ===============

Connectome Workbench and nibabel read them all (Glasser et al. 2013,
doi:10.1016/j.neuroimage.2013.04.127). Values find their place by region name, never by position.
"""

import functools
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr
from nibabel.cifti2 import Axis, BrainModelAxis, ParcelsAxis, ScalarAxis, SeriesAxis

from neurosal import __version__
from neurosal.errors import ArgumentError, DataError, check_one_of
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.files import open_any, read_values, shown
from neurosal.parcellation.grayordinates import (
    GrayordinateAtlas,
    check_same_geometry,
    grayordinate_keys,
    structures_of,
)
from neurosal.parcellation.label_files import cifti_axes
from neurosal.projection.values import (
    columns_of,
    find_times,
    label_back,
    label_values,
    values_by_region,
    with_times,
)

KINDS = {
    "pscalar": ("NIFTI_INTENT_CONNECTIVITY_PARCELLATED_SCALAR", "ConnParcelScalr"),
    "ptseries": ("NIFTI_INTENT_CONNECTIVITY_PARCELLATED_SERIES", "ConnParcelSries"),
    "dscalar": ("NIFTI_INTENT_CONNECTIVITY_DENSE_SCALARS", "ConnDenseScalar"),
    "dtseries": ("NIFTI_INTENT_CONNECTIVITY_DENSE_SERIES", "ConnDenseSeries"),
}


def to_cifti(
    values: xr.DataArray | np.ndarray,
    atlas: GrayordinateAtlas,
    *,
    kind: str | None = None,
    t_r: float | None = None,
) -> nib.Cifti2Image:
    """Write region values as a CIFTI-2 image.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        Of shape (region,), (time, region) or (condition, region). A labelled array is matched by
        region name and may hold some of the regions only; a plain array needs one column for
        every region.
    atlas : GrayordinateAtlas
        The regions.
    kind : {"pscalar", "ptseries", "dscalar", "dtseries"} or None
        None takes ``"ptseries"`` for values with a time, else ``"pscalar"``.
    t_r : float or None
        Repetition time in seconds; None takes the step of ``time``, or ``values.attrs["t_r"]``.

    Returns
    -------
    nibabel.Cifti2Image
        Float32, of shape (map or time, region or grayordinate). Maps have the names of the
        conditions. Grayordinates outside the regions, and regions that ``values`` leaves out, are
        0; a region whose value is NaN is NaN.

    Raises
    ------
    ArgumentError
        If shape, kind or times do not fit each other, regions are unknown to the atlas, the
        repetition time of a series is unknown, or the atlas is one of volumes.

    See Also
    --------
    from_cifti : the way back.

    Examples
    --------
    >>> import pandas as pd
    >>> axis = BrainModelAxis.from_surface([0, 2, 3], 4, "CORTEX_LEFT")
    >>> table = pd.DataFrame({"index": [1, 2], "name": ["V1", "V2"]})
    >>> atlas = GrayordinateAtlas([1, 2, 2], axis, table)
    >>> img = to_cifti(np.array([[5.0, 7], [6, 8]]), atlas, t_r=0.72)
    >>> [type(img.header.get_axis(number)).__name__ for number in (0, 1)]
    ['SeriesAxis', 'ParcelsAxis']
    >>> to_cifti(np.array([5.0, 7]), atlas, kind="dscalar").get_fdata().tolist()
    [[5.0, 7.0, 7.0]]
    """
    _check_atlas(atlas)
    kind = _kind_of(values) if kind is None else check_one_of("kind", kind, KINDS)
    array = label_values(values, atlas, first=("time" if "series" in kind else "condition",))
    first = _series(array, t_r, kind) if "series" in kind else _scalars(array)
    data = values_by_region(array, columns_of(array, atlas))
    if kind.startswith("p"):
        second = parcels_axis(atlas)
    else:
        second, rows = atlas.axis, atlas.rows_of(atlas.labels)
        inside = atlas.labels > 0
        data = np.where(inside, data[:, np.where(inside, rows, 0)], np.float32(0))
    img = nib.Cifti2Image(data, (first, second))
    intent, name = KINDS[kind]
    img.nifti_header.set_intent(intent, name=name)
    img.nifti_header["descrip"] = f"neurosal {__version__}: {atlas.name}".encode()[:79]
    return img


def from_cifti(img: nib.Cifti2Image | str | Path, atlas: GrayordinateAtlas) -> xr.DataArray:
    """Read region values back out of a CIFTI-2 map.

    Parameters
    ----------
    img : nibabel.Cifti2Image, str or pathlib.Path
        A ``.pscalar.nii``, ``.ptseries.nii``, ``.dscalar.nii`` or ``.dtseries.nii``.
    atlas : GrayordinateAtlas
        The regions; matched by name in parcellated files, by structure and vertex or voxel index
        in dense ones.

    Returns
    -------
    xarray.DataArray
        Float64 of shape (time, region), (condition, region) or, for a single map, (region,) with
        the map's name as its coordinate ``condition``: exactly the float32 values that
        :func:`to_cifti` wrote. NaN where the file lacks a region or a region holds a NaN; in a
        dense file, otherwise, the mean over each region. ``time`` is in seconds.

    Raises
    ------
    ArgumentError
        If the atlas is one of volumes, or ``img`` is no CIFTI image.
    DataError
        If the file is missing or damaged, holds no such maps, or was made with another atlas.

    See Also
    --------
    neurosal.parcellation.extract.extract_regions : for measured runs; it checks more.

    Examples
    --------
    >>> import pandas as pd
    >>> axis = BrainModelAxis.from_surface([0, 2, 3], 4, "CORTEX_LEFT")
    >>> table = pd.DataFrame({"index": [1, 2], "name": ["V1", "V2"]})
    >>> atlas = GrayordinateAtlas([1, 2, 2], axis, table)
    >>> img = to_cifti(np.array([[5.0, 7], [6, 8]]), atlas, kind="dtseries", t_r=0.72)
    >>> back = from_cifti(img, atlas)
    >>> back.sel(region="V2").values.tolist(), back["time"].values.tolist()
    ([7.0, 8.0], [0.0, 0.72])
    """
    _check_atlas(atlas)
    name = str(img) if isinstance(img, str | Path) else "the CIFTI image"
    img = open_any(img) if isinstance(img, str | Path) else img
    if not isinstance(img, nib.Cifti2Image):
        raise ArgumentError(f"img must be a CIFTI-2 image or file. Got {name}: {type(img)}.")
    axes = cifti_axes(img, name)
    kinds = ", ".join(type(axis).__name__ for axis in axes)
    if len(axes) != 2 or not isinstance(axes[0], ScalarAxis | SeriesAxis):
        raise DataError(f"{name} holds no maps of regions: its axes are {kinds}.")
    if not isinstance(axes[1], BrainModelAxis | ParcelsAxis):
        raise DataError(f"{name} holds no grayordinates or parcels: its axes are {kinds}.")
    read = _of_parcels if isinstance(axes[1], ParcelsAxis) else _of_grayordinates
    values = read(np.atleast_2d(read_values(img, name)), axes[1], atlas, name)
    if isinstance(axes[0], SeriesAxis):
        known = axes[0].unit == "SECOND"
        start, step = (axes[0].start, axes[0].step) if known else (0.0, 0.0)
        return with_times(label_back(values, atlas), float(start), round(float(step), 9))
    array = label_back(values, atlas, frames="condition")
    array = array.assign_coords(condition=np.asarray(axes[0].name, dtype=str))
    return array if len(array) != 1 else array.isel(condition=0)


@functools.lru_cache(maxsize=4)
def parcels_axis(atlas: GrayordinateAtlas) -> ParcelsAxis:
    """Describe the regions of an atlas as CIFTI does: which vertices and voxels each one has.

    Parameters
    ----------
    atlas : GrayordinateAtlas
        The regions.

    Returns
    -------
    nibabel.cifti2.ParcelsAxis
        In the order of the regions, with all surfaces and the voxel grid of the atlas.

    Examples
    --------
    >>> import pandas as pd
    >>> axis = BrainModelAxis.from_surface([0, 2, 3], 4, "CORTEX_LEFT")
    >>> atlas = GrayordinateAtlas([1, 1, 0], axis, pd.DataFrame({"index": [1], "name": ["V1"]}))
    >>> parcels_axis(atlas).vertices[0]["CIFTI_STRUCTURE_CORTEX_LEFT"].tolist()
    [0, 2]
    """
    order = np.argsort(atlas.labels, kind="stable")
    starts = np.searchsorted(atlas.labels[order], atlas.regions["label_id"])
    groups = np.split(order, starts)[1:]
    models = [(one, atlas.axis[group]) for one, group in zip(_names(atlas), groups, strict=True)]
    axis = ParcelsAxis.from_brain_models(models)
    axis.nvertices = dict(atlas.axis.nvertices)
    axis.affine, axis.volume_shape = atlas.axis.affine, atlas.axis.volume_shape
    return axis


def _check_atlas(atlas: RegionAtlas) -> None:
    """Refuse an atlas of volumes."""
    if not isinstance(atlas, GrayordinateAtlas):
        raise ArgumentError(
            f"atlas must be one of grayordinates for CIFTI images. {atlas.name} is one of volumes; "
            "its maps are written with to_nifti and read with from_nifti."
        )


def _names(atlas: RegionAtlas) -> list[str]:
    """List the names of regions in their order."""
    return atlas.regions["name"].astype(str).tolist()


def _kind_of(values: xr.DataArray | np.ndarray) -> str:
    """Take a series for values with a time, else a scalar map."""
    dims = (
        values.dims if isinstance(values, xr.DataArray) else ("time", "region")[-np.ndim(values) :]
    )
    return "ptseries" if "time" in dims else "pscalar"


def _series(array: xr.DataArray, t_r: float | None, kind: str) -> SeriesAxis:
    """Describe the times of a series."""
    if "time" not in array.dims:
        raise ArgumentError(
            f"kind {kind!r} is for values of shape (time, region). Got {array.shape}; take "
            f"{kind.replace('tseries', 'scalar')!r}."
        )
    start, step = find_times(array, t_r)
    if not step:
        raise ArgumentError(
            "The repetition time of values is unknown. Give t_r= in seconds, or values with a "
            "coordinate 'time'."
        )
    return SeriesAxis(start, step, array.sizes["time"], "SECOND")


def _scalars(array: xr.DataArray) -> ScalarAxis:
    """Name the maps by their conditions."""
    if "condition" in array.coords:
        names = [str(name) for name in np.atleast_1d(array["condition"].values).tolist()]
    else:
        names = [f"map {number + 1}" for number in range(array.sizes.get("condition", 1))]
    return ScalarAxis(names)


def _of_grayordinates(
    data: np.ndarray, axis: BrainModelAxis, atlas: GrayordinateAtlas, name: str
) -> np.ndarray:
    """Average dense maps (map, grayordinate) over regions."""
    check_same_geometry(atlas, axis, name)
    keys = grayordinate_keys(axis, name)
    place = np.minimum(np.searchsorted(atlas.keys, keys), len(atlas.keys) - 1)
    inside = np.flatnonzero(atlas.keys[place] == keys)
    if not len(inside):
        raise DataError(
            f"{name} and the atlas {atlas.name} have no grayordinate in common: the file has "
            f"{shown(structures_of(axis))}, the atlas {shown(structures_of(atlas.axis))}."
        )
    rows = atlas.rows[place[inside]]
    counts = np.bincount(rows, minlength=len(atlas))
    sums = [np.bincount(rows, weights=one[inside], minlength=len(atlas)) for one in data]
    return np.array(sums) / np.where(counts > 0, counts, np.nan)


def _of_parcels(
    data: np.ndarray, axis: ParcelsAxis, atlas: GrayordinateAtlas, name: str
) -> np.ndarray:
    """Take parcellated maps (map, parcel) by name, and check that the parcels are the regions."""
    ours, theirs = _members(parcels_axis(atlas)), _members(axis)
    shared = [one for one in ours if one in theirs]
    wrong = [one for one in shared if ours[one] != theirs[one]]
    if wrong or not shared:
        told = f"have other vertices: {shown(wrong, 5)}" if wrong else "have no name in common"
        raise DataError(
            f"{name} was made with another atlas than {atlas.name}: their parcels {told} "
            f"({len(theirs)} parcels, {len(ours)} regions). Load the atlas it was made with."
        )
    column = {one: place for place, one in enumerate(theirs)}
    columns = np.array([column.get(one, -1) for one in ours])
    return np.where(columns >= 0, data[:, columns].astype(np.float64), np.nan)


def _members(axis: Axis) -> dict[str, tuple]:
    """List the vertices and voxels of each parcel in an order that can be compared."""
    found = {}
    for name, voxels, vertices in zip(axis.name, axis.voxels, axis.vertices, strict=True):
        parts = [(side, np.sort(one).tolist()) for side, one in vertices.items() if len(one)]
        cells = sorted(map(tuple, np.asarray(voxels).tolist()))
        found[str(name)] = (sorted(parts), cells)
    return found
