"""What a decoder can be given (runs, images, arrays), and how each becomes labelled windows.

============================ =========================================== ====================
given                        a window is                                 labels
============================ =========================================== ====================
list of :class:`Run`         what follows an event, cut from the run     the run's events
list of 3D images            one image (one frame)                       ``y``
one 4D image                 one volume of it (one frame)                ``y``
list of 4D images            one image, all its frames                   ``y``
(sample, time, region)       one sample                                  ``y``
(sample, region)             one row (one frame)                         ``y``
============================ =========================================== ====================

Surface images count as 3D with one value a vertex, and as 4D with several. To cut windows out of
long images by their events, make runs of them: ``Run(img, events, t_r, subject=..., task=...)``.

The regions of runs are brought to mean 0 and standard deviation 1 within each run; those of images
over all windows that a decoder is fitted on, and new images by the same numbers; arrays are taken
as they are. So images of runs or subjects that differ in level need to be cleaned beforehand
(:func:`nilearn.image.clean_img`), or be given as runs.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import xarray as xr
from scipy import sparse
from sklearn.utils import InputTags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array, check_consistent_length, check_X_y

from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import SAMPLE_COLUMNS, region_coordinates
from neurosal.loaders.runs import Run, shorten
from neurosal.parcellation.atlas import load_atlas
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.grayordinate_runs import is_grayordinates
from neurosal.parcellation.image_windows import DIMENSIONS, check_not_empty, image_windows
from neurosal.parcellation.maskers import atlas_of_masker, is_masker
from neurosal.parcellation.tables import complete_table
from neurosal.pipeline import extract_windows

#: What images and runs are parcellated with if nothing is said.
DEFAULT_ATLAS = "dosenbach160"
_VOLUMES = (str, Path, nib.spatialimages.SpatialImage)


@dataclass
class ImageTags(InputTags):
    """scikit-learn's tags of what an estimator can be fitted on, and nilearn's of images."""

    three_d_array: bool = True
    niimg_like: bool = True
    surf_img: bool = True


def kind_of(X: object) -> str:
    """Tell what a decoder was given.

    Parameters
    ----------
    X : anything
        Runs, images or arrays.

    Returns
    -------
    str
        ``"runs"``, ``"images"`` or ``"arrays"``.

    Examples
    --------
    >>> kind_of(["bold.nii.gz"]), kind_of(np.zeros((4, 2))), kind_of([[0.0, 1.0]])
    ('images', 'arrays', 'arrays')
    """
    first = X[0] if isinstance(X, list | tuple) and len(X) else X
    if isinstance(first, Run) or (isinstance(X, list | tuple) and not len(X)):
        return "runs"
    image = isinstance(first, _VOLUMES) or is_grayordinates(first)
    return "images" if image and not sparse.issparse(first) else "arrays"


def atlas_for(atlas: object, X: object) -> RegionAtlas | None:
    """Load the atlas for what a decoder was given; a masker is fitted on the first image.

    Parameters
    ----------
    atlas : None or what :func:`neurosal.load_atlas` takes
        None takes ``dosenbach160`` for runs and images, and nothing for arrays.
    X : runs, images or arrays
        What :func:`read_windows` takes.

    Returns
    -------
    Atlas, GrayordinateAtlas, MapsAtlas, MaskerAtlas or None
        The regions.

    Examples
    --------
    >>> atlas_for(None, np.zeros((4, 2))) is None
    True
    """
    if kind_of(X) == "arrays":
        return None if atlas is None else load_atlas(atlas)
    first = first_image(X)
    check_not_empty(first)
    if is_masker(atlas):
        return atlas_of_masker(atlas, first)
    return load_atlas(DEFAULT_ATLAS if atlas is None else atlas)


def first_image(X: object) -> object:
    """Find the first image of what a decoder was given.

    Parameters
    ----------
    X : runs, images or arrays
        What :func:`read_windows` takes.

    Returns
    -------
    path, image, dict or None
        The image; None of arrays.

    Examples
    --------
    >>> first_image(["a.nii.gz", "b.nii.gz"])
    'a.nii.gz'
    """
    if kind_of(X) == "arrays" or not len(X if isinstance(X, list | tuple) else [X]):
        return None
    first = X[0] if isinstance(X, list | tuple) else X
    return first.img if isinstance(first, Run) else first


def read_windows(
    X: object,
    y: object = None,
    groups: object = None,
    *,
    atlas: RegionAtlas | None = None,
    group_name: str = "run",
    cutting: Mapping | None = None,
    like: xr.DataArray | None = None,
    progress: bool = False,
) -> xr.DataArray:
    """Bring runs, images or arrays to labelled windows.

    Parameters
    ----------
    X : Run, list of Run, image, list of images, or array
        See the table at the head of this module. Images are paths, nibabel images or nilearn's
        SurfaceImages. A labelled array may hold regions that are NaN throughout a sample; its
        coordinates are kept.
    y : array-like of shape (sample,), optional
        The class of each window of images and arrays; by default the coordinate ``condition``,
        if there is one.
    groups : array-like of shape (sample,), optional
        The run or subject of each window of images and arrays.
    atlas : RegionAtlas, optional
        The regions; may be left out for arrays.
    group_name : {'run', 'subject'}
        What ``groups`` says.
    cutting : mapping, optional
        For runs: arguments of :func:`neurosal.extract_windows`.
    like : xarray.DataArray, optional
        Windows whose length and regions (without missing values) are wanted; the regions of plain
        arrays are theirs.
    progress : bool
        Tell on standard error how far the work is.

    Returns
    -------
    xarray.DataArray
        (sample, time, region) with the coordinates of the data model; ``condition`` only if the
        labels are known, ``onset`` NaN where it is not. ``time`` counts frames, in whole numbers,
        where the repetition time is unknown.

    Raises
    ------
    ArgumentError
        If shapes, labels, groups or regions do not fit.
    DataError
        If an image cannot be used.

    Examples
    --------
    >>> windows = read_windows(np.zeros((4, 2)), ["rest", "task"] * 2, [1, 1, 2, 2])
    >>> windows.sizes["time"], windows["run"].values.tolist()
    (1, ['1', '1', '2', '2'])
    """
    kind = kind_of(X)
    if kind == "runs":
        if y is not None or groups is not None:
            raise ArgumentError("y and groups are for images and arrays: runs have their events.")
        X = [X] if isinstance(X, Run) else X
        windows = extract_windows(X, atlas, verbose=progress, **(cutting or {}))
    else:
        images = kind == "images"
        windows = (
            image_windows(X, atlas, progress=progress) if images else _of_array(X, atlas, like)
        )
        windows = _with_samples(windows, y, groups, group_name)
    return windows if like is None else _alike(windows, like)


def check_classes(windows: xr.DataArray, *, least: int = 2) -> np.ndarray:
    """Give the class of each window; refuse what cannot be told apart.

    Parameters
    ----------
    windows : xarray.DataArray
        What :func:`read_windows` returns.
    least : int
        How many classes there must be.

    Returns
    -------
    numpy.ndarray of shape (sample,)
        The classes.

    Raises
    ------
    ArgumentError
        If labels are missing, or there is one class only.

    Examples
    --------
    >>> check_classes(read_windows(np.zeros((2, 1)), ["rest", "task"])).tolist()
    ['rest', 'task']
    """
    if "condition" not in windows.coords:
        raise ArgumentError(
            "SaliencyDecoder requires y to be passed, but the target y is None. Give the class of "
            "each window, an array with the coordinate 'condition', or runs with their events."
        )
    y = windows["condition"].to_numpy()
    with _as_arguments():
        check_classification_targets(y)
    if len(np.unique(y)) < least:
        raise ArgumentError(
            f"There is one class only, {str(y[0])!r}, in {len(y)} window(s): there is nothing to "
            "tell apart. Give windows of two conditions at least."
        )
    return y


def _alike(windows: xr.DataArray, like: xr.DataArray) -> xr.DataArray:
    """Pick the regions that a decoder was fitted on; refuse windows of another length."""
    steps = like.sizes["time"]
    if windows.sizes["time"] != steps:
        raise ArgumentError(
            f"The windows have {windows.sizes['time']} frames, but {steps} were there when fitted. "
            "Give windows of the same length and repetition time."
        )
    wanted = like["region"].to_numpy()[~np.isnan(like).any(("sample", "time")).to_numpy()]
    absent = sorted(set(wanted) - set(windows["region"].to_numpy()))
    if absent:
        raise ArgumentError(
            f"X lacks region(s) that were there when fitted: {shorten(absent, 5)}. Use the same "
            "atlas."
        )
    picked = windows.sel(region=wanted)
    lost = wanted[np.isnan(picked).any(("sample", "time")).to_numpy()]
    if len(lost):
        raise DataError(
            f"Region(s) {shorten(lost, 5)} are outside the field of view of a new run, but the "
            "decoder was fitted with them. Fit again without these regions."
        )
    return picked


def _of_array(X: object, atlas: RegionAtlas | None, like: xr.DataArray | None) -> xr.DataArray:
    """Label an array, or check one that is labelled."""
    if isinstance(X, xr.DataArray):
        return _check_labelled(X, atlas)
    with _as_arguments():
        kinds = [np.float64, np.float32]
        options = {"allow_nd": True, "input_name": "X", "estimator": "SaliencyDecoder"}
        values = check_array(X, dtype=kinds, **options)
    if values.ndim > 3 or 0 in values.shape:
        raise ArgumentError(f"X must be {DIMENSIONS} or (sample, region). Got {values.shape}.")
    values = values[:, None] if values.ndim == 2 else values
    table = _regions_of(X, values.shape[2], atlas, like)
    return xr.DataArray(values, dims=DIMENSIONS, coords=table)


def _regions_of(
    X: object, n_regions: int, atlas: RegionAtlas | None, like: xr.DataArray | None
) -> dict:
    """Find what the columns of a plain array are: the fitted regions, the atlas's, or numbers."""
    if like is not None:
        wanted = like.sizes["region"]
        if n_regions != wanted:
            raise ArgumentError(
                f"X has {n_regions} features, but SaliencyDecoder is expecting {wanted} features "
                "as input: the regions it was fitted on, in their order."
            )
        return {name: one.variable for name, one in like.coords.items() if one.dims == ("region",)}
    if atlas is None:
        return region_coordinates(_plain_table(X, n_regions))
    if n_regions != len(atlas):
        raise ArgumentError(
            f"X has {n_regions} regions, the atlas {atlas.name} {len(atlas)}. Give the regions of "
            "the atlas in its order, a labelled array, or no atlas."
        )
    return region_coordinates(atlas.regions)


def _plain_table(X: object, n_regions: int) -> pd.DataFrame:
    """Name regions by the columns of a table, or number them."""
    names = [f"region {number + 1}" for number in range(n_regions)]
    if isinstance(X, pd.DataFrame):
        names = [str(column) for column in X.columns]
    return complete_table(pd.DataFrame({"index": range(1, n_regions + 1), "name": names}))


def _check_labelled(X: xr.DataArray, atlas: RegionAtlas | None) -> xr.DataArray:
    """Bring a labelled array into order, and refuse values or regions that do not fit."""
    if set(X.dims) != set(DIMENSIONS) or 0 in X.shape:
        raise ArgumentError(f"X must have the dimensions {DIMENSIONS}. Got {dict(X.sizes)}.")
    X = X.transpose(*DIMENSIONS)
    X = X if np.issubdtype(X.dtype, np.floating) else X.astype(float)
    known = atlas is not None and X.sizes["region"] == len(atlas)
    if "region" not in X.coords:
        table = atlas.regions if known else _plain_table(None, X.sizes["region"])
        X = X.assign_coords(region_coordinates(table))
    names = X["region"].to_numpy().astype(str)
    unknown = sorted(set(names) - set(atlas.regions["name"])) if atlas is not None else []
    if unknown or len(set(names)) < len(names):
        told = f"unknown to {atlas.name}: {shorten(unknown, 5)}" if unknown else "not unique"
        raise ArgumentError(f"The regions of X are {told}. Give the atlas they were made with.")
    absent = np.isnan(X).all("time")
    if not np.isfinite(X.where(~absent, 0)).all():
        raise ArgumentError(
            "X contains NaN or infinity. A region may only be NaN throughout a sample, where its "
            "run does not cover it. Fill the gaps or drop those regions."
        )
    return X


def _with_samples(
    windows: xr.DataArray, y: object, groups: object, group_name: str
) -> xr.DataArray:
    """Complete what the data model says of samples and times."""
    n = windows.sizes["sample"]
    known = dict.fromkeys(set(SAMPLE_COLUMNS) - {"onset", "condition"}, np.full(n, ""))
    known["onset"] = np.full(n, np.nan)
    coords = {name: ("sample", one) for name, one in known.items() if name not in windows.coords}
    with _as_arguments():
        if y is not None:
            y = check_X_y(np.zeros((n, 1)), y, estimator="SaliencyDecoder")[1]
            coords["condition"] = ("sample", _plain_labels(y))
        if groups is not None:
            check_consistent_length(windows.to_numpy(), groups)
            coords[group_name] = ("sample", np.asarray(groups).astype(str))
    if "time" not in windows.coords:
        coords["time"] = np.arange(windows.sizes["time"])
    return windows.assign_coords(coords)


def _plain_labels(y: np.ndarray) -> np.ndarray:
    """Give labels the type that they have; tables hold text as objects."""
    return np.array(y.tolist()) if y.dtype == object else y


@contextmanager
def _as_arguments() -> Iterator[None]:
    """Turn what scikit-learn refuses into an error of this package."""
    try:
        yield
    except ValueError as error:
        raise ArgumentError(str(error)) from error
