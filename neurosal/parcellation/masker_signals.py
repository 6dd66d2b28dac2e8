"""Region series by a masker of nilearn, and the values of a map."""

import copy
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import region_coordinates
from neurosal.loaders.runs import Run
from neurosal.parcellation.files import READ_ERRORS, read_values
from neurosal.parcellation.maskers import RESAMPLED, MaskerAtlas, as_image, label_ids, uncleaned
from neurosal.parcellation.signals import OUTSIDE_VOLUME, RegionSignals, check_t_r, warn_missing
from neurosal.parcellation.streaming import check_whole

_T_R_ERROR = 0.01  # of the repetition time: what headers round away
_HOLE = 1e-6  # of a region's weight: with more of it NaN, the region is


def masker_series(source: object, atlas: MaskerAtlas, *, t_r: float | None) -> xr.DataArray:
    """Extract a run with a masker.

    Parameters
    ----------
    source : Run, path, image or SurfaceImage
        What the masker takes.
    atlas : MaskerAtlas
        The regions.
    t_r : float or None
        Repetition time in seconds; None takes the run's.

    Returns
    -------
    xarray.DataArray
        Float64 of shape (time, region). A region that has no voxel in the image, or is zero
        throughout, is NaN and named in a warning.

    Raises
    ------
    DataError
        If the masker cannot take the image, or values are not finite.
    ArgumentError
        If the repetition time is unknown, or that of a Run is not what the masker filters with.

    Examples
    --------
    >>> from nilearn.maskers import NiftiLabelsMasker
    >>> from neurosal.parcellation.maskers import atlas_of_masker
    >>> labels = nib.Nifti1Image(np.array([[[0, 1, 2, 2]]], dtype="int32"), np.eye(4))
    >>> atlas = atlas_of_masker(NiftiLabelsMasker(labels, standardize=None))
    >>> bold = nib.Nifti1Image(np.arange(12.0).reshape(1, 1, 4, 3), np.eye(4))
    >>> masker_series(bold, atlas, t_r=2.0).values.tolist()
    [[3.0, 7.5], [4.0, 8.5], [5.0, 9.5]]
    """
    run = source if isinstance(source, Run) else None
    img, name = (run.img, run.label) if run else (source, _name(source))
    t_r = check_t_r(run.t_r if t_r is None and run else t_r or 0.0, name)
    if run:
        _check_filters(atlas, t_r, name)
    check_whole(img)
    values = _extract(img, atlas, atlas.masker, name)
    _check_finite(values, atlas, name)
    values[:, (values == 0).all(axis=0)] = np.nan
    space = run.space if run else atlas.space
    array = xr.DataArray(
        values,
        dims=("time", "region"),
        coords={**region_coordinates(atlas.regions), "time": t_r * np.arange(len(values))},
        name="signal",
        attrs={
            "t_r": t_r,
            "atlas": atlas.name,
            "atlas_hash": atlas.hash,
            "space": space,
            "source": name,
        },
    )
    none = np.empty(0)
    told = RegionSignals(values, none, none, t_r, 0.0, name, space, OUTSIDE_VOLUME)
    warn_missing(array, told, atlas)
    return array


def measure_map(img: object, atlas: MaskerAtlas) -> tuple[np.ndarray, bool]:
    """Extract values of a map with the masker's filters and scaling switched off.

    Parameters
    ----------
    img : nibabel image or nilearn.surface.SurfaceImage
        Of one value a voxel or vertex, or several.
    atlas : MaskerAtlas
        The regions.

    Returns
    -------
    values : numpy.ndarray
        Float64 of shape (frame, region); NaN where a voxel of a region is NaN, or it has none.
    frames : bool
        Whether the image has frames.

    Examples
    --------
    >>> from nilearn.maskers import NiftiLabelsMasker
    >>> from neurosal.parcellation.maskers import atlas_of_masker
    >>> labels = nib.Nifti1Image(np.array([[[0, 1, 2]]], dtype="int32"), np.eye(4))
    >>> measure_map(labels, atlas_of_masker(NiftiLabelsMasker(labels)))
    (array([[1., 2.]]), False)
    """
    name, plain = _name(img), uncleaned(atlas.masker)
    filled, holes = _split_holes(img)
    values = _extract(filled, atlas, plain, name)
    if holes is not None:
        values[np.abs(_extract(holes, atlas, plain, name)) > _HOLE] = np.nan
    voxels = isinstance(img, nib.spatialimages.SpatialImage)
    frames = img.ndim == 4 if voxels else img.data.parts[next(iter(img.data.parts))].ndim == 2
    return values, frames


def _extract(img: object, atlas: MaskerAtlas, masker: object, name: str) -> np.ndarray:
    """Let a copy of a masker work, for some remember what they saw last."""
    worker = copy.copy(masker)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", RESAMPLED)
        try:
            found = np.asarray(worker.transform(as_image(img, worker)), dtype=np.float64)
        except (*READ_ERRORS, TypeError) as error:
            file = f" {img}" if isinstance(img, str | Path) and str(img) != name else " it"
            raise DataError(
                f"{name}: {type(worker).__name__} cannot take{file}: {error}"
            ) from error
    found = found.reshape(-1, found.shape[-1]) if found.ndim else found.reshape(1, 1)
    values = np.full((len(found), len(atlas)), np.nan)
    values[:, _columns(worker, atlas, found.shape[1], name)] = found
    return values


def _check_filters(atlas: MaskerAtlas, t_r: float, name: str) -> None:
    """Refuse filters that were told another repetition time than the run's."""
    settings = {key: getattr(atlas.masker, key, None) for key in ("t_r", "low_pass", "high_pass")}
    told = settings.pop("t_r")
    if told and any(settings.values()) and abs(told - t_r) > _T_R_ERROR * t_r:
        raise ArgumentError(
            f"The masker of {atlas.name} filters with t_r={told:g} s, but {name} has {t_r:g} s: "
            "its cut-offs would be at other frequencies. Set the masker's t_r to that of the runs."
        )


def _check_finite(values: np.ndarray, atlas: MaskerAtlas, name: str) -> None:
    """Refuse regions that are not finite at some times only."""
    bad = ~np.isfinite(values).all(axis=0) & ~np.isnan(values).all(axis=0)
    if bad.any():
        raise DataError(
            f"{name} has NaN or infinite values in {bad.sum()} regions of {atlas.name}, "
            f"{atlas.regions['name'][bad].iloc[0]} among them. Write zeros outside the brain."
        )


def _columns(worker: object, atlas: MaskerAtlas, n_found: int, name: str) -> np.ndarray:
    """Find the region of each column that a masker extracted."""
    if n_found == len(atlas):
        return np.arange(n_found)
    ids = getattr(worker, "region_ids_", None)
    if ids is None:
        raise DataError(
            f"{name}: {type(worker).__name__} extracts {n_found} of its {len(atlas)} regions. "
            "Leave those out of it that lie outside of mask or image."
        )
    kept = [value for key, value in ids.items() if key != "background"]
    rows = {label: row for row, label in enumerate(label_ids(atlas.masker))}
    return np.array([rows[label] for label in kept])


def _split_holes(img: object) -> tuple[object, object]:
    """Set NaN to zero; give where it was, as an image, if there was any."""
    from nilearn.image import new_img_like

    if isinstance(img, nib.spatialimages.SpatialImage):
        data = np.asarray(read_values(img, _name(img)), dtype=np.float32)
        holes = np.isnan(data)
        if not holes.any():
            return img, None
        return new_img_like(img, np.where(holes, 0, data)), new_img_like(img, holes.astype("f4"))
    parts = img.data.parts
    holes = {side: np.isnan(part) for side, part in parts.items()}
    if not any(one.any() for one in holes.values()):
        return img, None
    filled = {side: np.where(holes[side], 0, part) for side, part in parts.items()}
    marks = {side: one.astype(np.float32) for side, one in holes.items()}
    return new_img_like(img, filled), new_img_like(img, marks)


def _name(source: object) -> str:
    """Name an image in messages."""
    return str(source) if isinstance(source, str | Path) else "the image in memory"
