"""Region values as brain volumes, and back.

A map of shape (region,) becomes a 3D image and one of shape (time, region) a 4D image with the
repetition time in its header, so that every viewer shows when as well as where. Values find their
voxels by region name, never by position.
"""

import json
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal import __version__
from neurosal.errors import ArgumentError, DataError
from neurosal.labelled import region_coordinates
from neurosal.parcellation.atlas import Atlas
from neurosal.parcellation.extract import grid_layout, repetition_time
from neurosal.parcellation.files import open_image, shown
from neurosal.parcellation.streaming import Layout, n_volumes, region_means


def to_nifti(
    values: xr.DataArray | np.ndarray,
    atlas: Atlas,
    *,
    reference: nib.spatialimages.SpatialImage | str | Path | None = None,
    t_r: float | None = None,
) -> nib.Nifti1Image:
    """Paint region values into the voxels of their regions.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        Of shape (region,) or (time, region). A labelled array is matched by region name and may
        hold some of the regions only; a plain array needs one column for every region.
    atlas : Atlas
        The regions.
    reference : nibabel image, str, pathlib.Path or None
        Whose grid to use; the labels are resampled to it. None uses the atlas's own.
    t_r : float or None
        Repetition time in seconds; None takes the step of ``time``, or ``values.attrs["t_r"]``.

    Returns
    -------
    nibabel.Nifti1Image
        Float32 of shape (x, y, z) or (x, y, z, time). Voxels outside the regions, and of regions
        that ``values`` leaves out, are 0; a region whose value is NaN is NaN. The header holds
        the repetition time (0 if unknown) and, as ``toffset``, the time of the first volume.

    Raises
    ------
    ArgumentError
        If the shape does not fit, regions are unknown to the atlas, or time steps are uneven.
    DataError
        If no region lies inside ``reference``.

    See Also
    --------
    from_nifti : the way back.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> img = to_nifti(np.arange(320.0).reshape(2, 160), atlas, t_r=0.72)
    >>> img.shape, round(float(img.header["pixdim"][4]), 6)
    ((91, 109, 91, 2), 0.72)
    """
    array = _as_array(values, atlas)
    times, step = _times(array, t_r)
    reference = open_image(reference) if isinstance(reference, str | Path) else reference
    grid = atlas.labels if reference is None else reference
    layout, _ = grid_layout(atlas, grid, "the reference")
    columns = _columns(array, atlas)
    _warn_lost(columns, layout, atlas)
    columns = columns[atlas.rows_of(layout.label_ids)]
    data = _paint(np.atleast_2d(array.values), columns, layout)
    img = nib.Nifti1Image(data if "time" in array.dims else data[..., 0], grid.affine)
    _describe(img, atlas, times, step)
    return img


def from_nifti(
    img: nib.spatialimages.SpatialImage | str | Path, atlas: Atlas, *, t_r: float | None = None
) -> xr.DataArray:
    """Read region values back out of a map.

    Parameters
    ----------
    img : nibabel image, str or pathlib.Path
        Of shape (x, y, z) or (x, y, z, time).
    atlas : Atlas
        The regions; resampled if the image has another grid.
    t_r : float or None
        Repetition time in seconds; None reads the header.

    Returns
    -------
    xarray.DataArray
        Mean over each region's voxels, float64 of shape (region,) or (time, region): exactly the
        float32 values that :func:`to_nifti` wrote. NaN where a region has no voxel or a NaN.
        ``time`` is in seconds, or counts volumes if the header tells no repetition time.

    Raises
    ------
    DataError
        If the file is missing or damaged, or no region lies inside the image.

    See Also
    --------
    neurosal.parcellation.extract.extract_regions : for measured runs; it checks more.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> back = from_nifti(to_nifti(np.arange(160.0), atlas), atlas)
    >>> bool((back == np.arange(160)).all())
    True
    """
    name = str(img) if isinstance(img, str | Path) else "the image"
    img = open_image(img) if isinstance(img, str | Path) else img
    layout, _ = grid_layout(atlas, img, name)
    means = region_means(img, layout).values
    values = np.full((len(means), len(atlas)), np.nan)
    values[:, atlas.rows_of(layout.label_ids)] = means
    array = xr.DataArray(
        values, dims=("time", "region"), coords=region_coordinates(atlas.regions), name="map"
    )
    array.attrs = {"atlas": atlas.name, "atlas_hash": atlas.hash}
    if len(img.shape) < 4:
        return array.isel(time=0)
    step = repetition_time(None, img) if t_r is None else t_r
    start = float(img.header["toffset"]) if "toffset" in img.header else 0.0
    array.attrs |= {"t_r": step} if step else {}
    return array.assign_coords(time=round(start, 6) + np.arange(n_volumes(img)) * (step or 1.0))


def save_map(
    values: xr.DataArray | np.ndarray,
    atlas: Atlas,
    path: str | Path,
    *,
    provenance: dict | None = None,
    reference: nib.spatialimages.SpatialImage | str | Path | None = None,
) -> Path:
    """Write a map as NIfTI with a JSON file beside it that says what it is.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        As :func:`to_nifti` takes it.
    atlas : Atlas
        The regions.
    path : str or pathlib.Path
        The image to write (``.nii.gz`` or ``.nii``); its folder is made if it is not there.
    provenance : dict or None
        Anything about how the map came to be: method, parameters, software, sources.
    reference : nibabel image, str, pathlib.Path or None
        Whose grid to use; None uses the atlas's own.

    Returns
    -------
    pathlib.Path
        The image written.

    Raises
    ------
    ArgumentError
        If the path is of another format, or as :func:`to_nifti` says.
    DataError
        If the folder cannot be written to.

    Examples
    --------
    >>> import tempfile
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_map(np.ones(160), load_atlas("dosenbach160"), folder / "map.nii.gz").name
    'map.nii.gz'
    >>> json.loads((folder / "map.json").read_text())["Atlas"]["Name"]
    'dosenbach160'
    """
    path = Path(path)
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ArgumentError(f"path must end in .nii.gz or .nii. Got {path}.")
    img = to_nifti(values, atlas, reference=reference)
    notes = _sidecar(img, values, atlas, provenance or {})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(img, path)
        path.with_name(f"{stem}.json").write_text(notes, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error}. Choose a folder you may write to, with free space."
        ) from error
    return path


def _as_array(values: xr.DataArray | np.ndarray, atlas: Atlas) -> xr.DataArray:
    """Label a plain array, and bring a labelled one to (time, region) or (region,)."""
    if not isinstance(values, xr.DataArray):
        values = np.asarray(values)
        if values.ndim not in (1, 2) or values.shape[-1] != len(atlas):
            raise ArgumentError(
                "values must have the shape (region,) or (time, region) with the "
                f"{len(atlas)} regions of {atlas.name}. Got {values.shape}."
            )
        names = region_coordinates(atlas.regions)
        return xr.DataArray(values, dims=("time", "region")[-values.ndim :], coords=names)
    if set(values.dims) not in ({"region"}, {"time", "region"}):
        raise ArgumentError(
            "values must have the dimensions (region,) or (time, region). Got "
            f"{values.dims}. Choose or average the others first, e.g. values.mean('sample')."
        )
    return values.transpose(..., "region")


def _columns(array: xr.DataArray, atlas: Atlas) -> np.ndarray:
    """Give, for each region of the atlas, its column in the array; -1 if it is left out."""
    names = [str(name) for name in array["region"].values] if "region" in array.coords else []
    if not names and array.sizes["region"] == len(atlas):
        return np.arange(len(atlas))
    known = atlas.regions["name"].tolist()
    unknown = sorted(set(names) - set(known))
    if unknown or not names or len(set(names)) < len(names):
        told = f"unknown to it: {shown(unknown, 5)}" if unknown else "missing or not unique"
        raise ArgumentError(
            f"The regions of values must be names of the atlas {atlas.name} "
            f"({shown(known, 3)}); they are {told}. Load the atlas the values were made with."
        )
    place = {name: column for column, name in enumerate(names)}
    return np.array([place.get(name, -1) for name in known])


def _warn_lost(columns: np.ndarray, layout: Layout, atlas: Atlas) -> None:
    """Name the regions that have a value but no voxel on the grid."""
    lost = np.setdiff1d(np.flatnonzero(columns >= 0), atlas.rows_of(layout.label_ids))
    if len(lost):
        warnings.warn(
            f"{len(lost)} regions of {atlas.name} have no voxel on the grid of the reference and "
            f"are not in the image: {shown(atlas.regions['name'].iloc[lost])}.",
            stacklevel=3,
        )


def _times(array: xr.DataArray, t_r: float | None) -> tuple[float, float]:
    """Find the time of the first volume and the step between volumes, in seconds."""
    if "time" not in array.dims:
        return 0.0, 0.0
    times = array["time"].values.astype(float) if "time" in array.coords else None
    steps = np.diff(times) if times is not None else np.array([])
    if len(steps) and not np.allclose(steps, steps[0], rtol=1e-3, atol=1e-6):
        raise ArgumentError(
            f"The times of values must be evenly spaced; the steps go from {steps.min():g} to "
            f"{steps.max():g} s. Write each time as its own image."
        )
    if t_r is not None and not (np.isfinite(t_r) and t_r > 0):
        raise ArgumentError(f"t_r must be above 0 s. Got {t_r}.")
    measured = np.mean(steps) if len(steps) else array.attrs.get("t_r", 0.0)
    start = times[0] if times is not None and len(times) else 0.0
    return float(start), float(round(measured, 6) if t_r is None else t_r)


def _paint(values: np.ndarray, columns: np.ndarray, layout: Layout) -> np.ndarray:
    """Fill a volume for each row of values (time, region); column -1 stands for no value."""
    painted = np.where(columns >= 0, values[:, columns], 0).astype(np.float32)
    data = np.zeros((len(values), int(np.prod(layout.shape))), dtype=np.float32)
    data[:, layout.voxels] = np.repeat(painted, layout.sizes, axis=1)
    return data.T.reshape(*layout.shape, len(values), order="F")


def _describe(img: nib.Nifti1Image, atlas: Atlas, start: float, step: float) -> None:
    """Write units, times and the atlas's name into the header."""
    img.header.set_xyzt_units("mm", "sec")
    code = 4 if atlas.space.startswith("MNI152") else 2
    img.set_sform(img.affine, code=code)
    img.set_qform(img.affine, code=code)
    img.header["descrip"] = f"neurosal {__version__}: {atlas.name}"[:79].encode()
    if img.ndim == 4:
        img.header["pixdim"][4] = step
        img.header["toffset"] = start


def _sidecar(img: nib.Nifti1Image, values: object, atlas: Atlas, provenance: dict) -> str:
    """Write down what a map is, as the JSON beside it."""
    notes = {
        "Description": "Region values painted into the voxels of their regions",
        "SpatialReference": atlas.space or "unknown",
        "Atlas": {
            "Name": atlas.name,
            "SHA256": atlas.hash,
            "Source": atlas.source,
            "License": atlas.licence,
            "Citation": atlas.citation,
        },
        "Regions": len(atlas),
        "GeneratedBy": [{"Name": "neurosal", "Version": __version__}],
        "Attributes": dict(getattr(values, "attrs", {})),
        "Provenance": provenance,
    }
    if img.ndim == 4:
        notes["RepetitionTime"] = round(float(img.header["pixdim"][4]), 6)
        notes["StartTime"] = round(float(img.header["toffset"]), 6)
    return json.dumps(notes, indent=2, default=_plain) + "\n"


def _plain(value: object) -> object:
    """Make numpy values and paths fit for JSON."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
