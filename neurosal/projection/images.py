"""Maps of any atlas as the image that fits it, and as a file with a JSON sidecar."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal import __version__
from neurosal.errors import ArgumentError, DataError
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.projection.grayordinates import KINDS, to_cifti
from neurosal.projection.volume import to_nifti

_VOLUME = (".nii.gz", ".nii")
_CIFTI = tuple(f".{kind}.nii" for kind in KINDS)


def to_image(
    values: xr.DataArray | np.ndarray,
    atlas: RegionAtlas,
    reference: nib.spatialimages.SpatialImage | str | Path | None = None,
    *,
    kind: str | None = None,
    t_r: float | None = None,
) -> nib.Nifti1Image | nib.Cifti2Image:
    """Put region values on the brain, as the image that fits the atlas.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        Of shape (region,) or (time, region); for grayordinates also (condition, region).
    atlas : Atlas, MapsAtlas or GrayordinateAtlas
        The regions.
    reference : nibabel image, str, pathlib.Path or None
        Whose grid a volume has; None uses the atlas's own. Grayordinates are those of the atlas,
        whatever the reference.
    kind : {"pscalar", "ptseries", "dscalar", "dtseries"} or None
        For grayordinates, see :func:`~neurosal.projection.grayordinates.to_cifti`.
    t_r : float or None
        Repetition time in seconds; None takes the step of ``time``, or ``values.attrs["t_r"]``.

    Returns
    -------
    nibabel.Nifti1Image or nibabel.Cifti2Image
        A CIFTI image for an atlas of grayordinates, else a volume; float32.

    Raises
    ------
    ArgumentError
        As :func:`~neurosal.projection.volume.to_nifti` and
        :func:`~neurosal.projection.grayordinates.to_cifti` say.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> type(to_image(np.ones(160), load_atlas("dosenbach160"))).__name__
    'Nifti1Image'
    """
    if isinstance(atlas, GrayordinateAtlas):
        return to_cifti(values, atlas, kind=kind, t_r=t_r)
    if kind is not None:
        raise ArgumentError(
            f"kind is for atlases of grayordinates. Got {kind!r} with {atlas.name}."
        )
    return to_nifti(values, atlas, reference=reference, t_r=t_r)


def map_extension(atlas: RegionAtlas) -> str:
    """Give the end of the file name of a map over time.

    Parameters
    ----------
    atlas : Atlas, MapsAtlas or GrayordinateAtlas
        The regions.

    Returns
    -------
    str
        ``".ptseries.nii"`` for an atlas of grayordinates, else ``".nii.gz"``.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> map_extension(load_atlas("dosenbach160"))
    '.nii.gz'
    """
    return ".ptseries.nii" if isinstance(atlas, GrayordinateAtlas) else ".nii.gz"


def save_map(
    values: xr.DataArray | np.ndarray,
    atlas: RegionAtlas,
    path: str | Path,
    *,
    provenance: dict | None = None,
    reference: nib.spatialimages.SpatialImage | str | Path | None = None,
    t_r: float | None = None,
) -> Path:
    """Write a map as NIfTI or CIFTI with a JSON file beside it that says what it is.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        As :func:`to_image` takes it.
    atlas : Atlas, MapsAtlas or GrayordinateAtlas
        The regions.
    path : str or pathlib.Path
        The image to write; its folder is made if it is not there. Volumes end in ``.nii.gz`` or
        ``.nii``; grayordinates in ``.ptseries.nii``, ``.pscalar.nii``, ``.dtseries.nii`` or
        ``.dscalar.nii``, which tells what is written.
    provenance : dict or None
        Anything about how the map came to be: method, parameters, software, sources.
    reference : nibabel image, str, pathlib.Path or None
        Whose grid a volume has; None uses the atlas's own.
    t_r : float or None
        Repetition time in seconds; None takes that of ``values``.

    Returns
    -------
    pathlib.Path
        The image written.

    Raises
    ------
    ArgumentError
        If the path is of another format, or as :func:`to_image` says.
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
    end = _ending(path, atlas)
    kind = end.split(".")[1] if end in _CIFTI else None
    img = to_image(values, atlas, reference, kind=kind, t_r=t_r)
    notes = _sidecar(img, values, atlas, provenance or {})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(img, path)
        path.with_name(f"{path.name.removesuffix(end)}.json").write_text(notes, encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"Cannot write {path}: {error}. Choose a folder you may write to, with free space."
        ) from error
    return path


def _ending(path: Path, atlas: RegionAtlas) -> str:
    """Find the end of a file name, and refuse one that does not fit the atlas."""
    gray = isinstance(atlas, GrayordinateAtlas)
    end = next((one for one in (*_CIFTI, *_VOLUME) if path.name.endswith(one)), None)
    allowed = _CIFTI if gray else _VOLUME
    if end not in allowed:
        raise ArgumentError(
            f"path must end in {' or '.join(allowed)} for a map of {atlas.name}. Got {path}."
        )
    return end


def _sidecar(img: object, values: object, atlas: RegionAtlas, provenance: dict) -> str:
    """Write down what a map is, as the JSON beside it."""
    notes = {
        "Description": _description(img),
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
    start, step = _times_inside(img)
    if step is not None:
        notes["RepetitionTime"] = round(step, 6)
        notes["StartTime"] = round(start, 6)
    return json.dumps(notes, indent=2, default=_plain) + "\n"


def _description(img: nib.Nifti1Image | nib.Cifti2Image) -> str:
    """Say how values are laid out in an image."""
    if not isinstance(img, nib.Cifti2Image):
        return "Region values painted into the voxels of their regions"
    if isinstance(img.header.get_axis(1), nib.cifti2.ParcelsAxis):
        return "Region values, one for each parcel"
    return "Region values painted on the grayordinates of their regions"


def _times_inside(img: nib.Nifti1Image | nib.Cifti2Image) -> tuple[float | None, float | None]:
    """Read the time of the first frame and the step, in seconds, if there are frames."""
    if isinstance(img, nib.Cifti2Image):
        first = img.header.get_axis(0)
        series = isinstance(first, nib.cifti2.SeriesAxis)
        return (float(first.start), float(first.step)) if series else (None, None)
    if img.ndim < 4:
        return None, None
    return float(img.header["toffset"]), float(img.header["pixdim"][4])


def _plain(value: object) -> object:
    """Make numpy values and paths fit for JSON."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else str(value)
