"""Maps of any atlas as the image that fits it, and as a file with a JSON sidecar."""

from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import xarray as xr

from neurosal.errors import ArgumentError
from neurosal.parcellation.base import RegionAtlas
from neurosal.parcellation.grayordinates import GrayordinateAtlas
from neurosal.parcellation.maskers import MaskerAtlas
from neurosal.projection.grayordinates import KINDS, from_cifti, to_cifti
from neurosal.projection.masked import paint_masker, read_masker
from neurosal.projection.sidecars import write_with_sidecar
from neurosal.projection.volume import from_nifti, to_nifti

if TYPE_CHECKING:
    from nilearn.surface import SurfaceImage

_VOLUME = (".nii.gz", ".nii")
_CIFTI = tuple(f".{kind}.nii" for kind in KINDS)


def to_image(
    values: xr.DataArray | np.ndarray,
    atlas: RegionAtlas,
    reference: nib.spatialimages.SpatialImage | str | Path | None = None,
    *,
    kind: str | None = None,
    t_r: float | None = None,
) -> "nib.Nifti1Image | nib.Cifti2Image | SurfaceImage":
    """Put region values on the brain, as the image that fits the atlas.

    Parameters
    ----------
    values : xarray.DataArray or numpy.ndarray
        Of shape (region,) or (time, region); for grayordinates also (condition, region).
    atlas : Atlas, MapsAtlas, GrayordinateAtlas or MaskerAtlas
        The regions.
    reference : nibabel image, str, pathlib.Path or None
        Whose grid a volume has; None uses the atlas's own. Grayordinates are those of the atlas,
        and a masker's voxels those of the masker, whatever the reference.
    kind : {"pscalar", "ptseries", "dscalar", "dtseries"} or None
        For grayordinates, see :func:`~neurosal.projection.grayordinates.to_cifti`.
    t_r : float or None
        Repetition time in seconds; None takes the step of ``time``, or ``values.attrs["t_r"]``.

    Returns
    -------
    nibabel.Nifti1Image, nibabel.Cifti2Image or nilearn.surface.SurfaceImage
        A CIFTI image for an atlas of grayordinates, what a masker makes of it, else a volume;
        float32.

    Raises
    ------
    ArgumentError
        As :func:`~neurosal.projection.volume.to_nifti` and
        :func:`~neurosal.projection.grayordinates.to_cifti` say.

    See Also
    --------
    from_image : the way back.
    neurosal.projection.surface.to_surface : any labels on surfaces.

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
    if isinstance(atlas, MaskerAtlas):
        return paint_masker(values, atlas, reference, t_r=t_r)
    return to_nifti(values, atlas, reference=reference, t_r=t_r)


def from_image(img: object, atlas: RegionAtlas) -> xr.DataArray:
    """Read region values back out of a map, whatever the atlas.

    Parameters
    ----------
    img : image, str or pathlib.Path
        What :func:`to_image` made, or :func:`save_map` wrote.
    atlas : Atlas, MapsAtlas, GrayordinateAtlas or MaskerAtlas
        The regions.

    Returns
    -------
    xarray.DataArray
        As :func:`~neurosal.projection.volume.from_nifti`,
        :func:`~neurosal.projection.grayordinates.from_cifti` or
        :func:`~neurosal.projection.masked.read_masker` says.

    Raises
    ------
    DataError
        If the image was made with another atlas, or is damaged.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> atlas = load_atlas("dosenbach160")
    >>> bool((from_image(to_image(np.arange(160), atlas), atlas) == np.arange(160)).all())
    True
    """
    if isinstance(atlas, GrayordinateAtlas):
        return from_cifti(img, atlas)
    return read_masker(img, atlas) if isinstance(atlas, MaskerAtlas) else from_nifti(img, atlas)


def map_extension(atlas: RegionAtlas, *, timed: bool = True) -> str:
    """Give the end of the file name of a map.

    Parameters
    ----------
    atlas : Atlas, MapsAtlas, GrayordinateAtlas or MaskerAtlas
        The regions.
    timed : bool
        Whether the map goes over time.

    Returns
    -------
    str
        ``".ptseries.nii"`` or ``".pscalar.nii"`` for an atlas of grayordinates, ``".func.gii"`` or
        ``".shape.gii"`` for a masker of surfaces, else ``".nii.gz"``.

    Examples
    --------
    >>> from neurosal.parcellation.atlas import load_atlas
    >>> map_extension(load_atlas("dosenbach160"))
    '.nii.gz'
    """
    if isinstance(atlas, GrayordinateAtlas):
        return ".ptseries.nii" if timed else ".pscalar.nii"
    if isinstance(atlas, MaskerAtlas) and atlas.on_surface:
        return ".func.gii" if timed else ".shape.gii"
    return ".nii.gz"


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
    atlas : Atlas, MapsAtlas, GrayordinateAtlas or MaskerAtlas
        The regions; of a masker on surfaces see
        :func:`~neurosal.projection.gifti.save_surface_map`.
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
    >>> (folder / "map.json").exists()
    True
    """
    path = Path(path)
    end = _ending(path, atlas)
    kind = end.split(".")[1] if end in _CIFTI else None
    img = to_image(values, atlas, reference, kind=kind, t_r=t_r)
    notes = {"Description": _description(img)}
    options = {"notes": notes, "times": _times_inside(img), "provenance": provenance}
    return write_with_sidecar(img, path, end, values, atlas, **options)


def _ending(path: Path, atlas: RegionAtlas) -> str:
    """Find the end of a file name, and refuse one that does not fit the atlas."""
    end = next((one for one in (*_CIFTI, *_VOLUME) if path.name.endswith(one)), None)
    allowed = _CIFTI if isinstance(atlas, GrayordinateAtlas) else _VOLUME
    if isinstance(atlas, MaskerAtlas) and atlas.on_surface:
        raise ArgumentError(
            f"{atlas.name} is a masker of surfaces: its maps are a file for each hemisphere, "
            "written by save_surface_map or save_maps."
        )
    if end not in allowed:
        raise ArgumentError(
            f"path must end in {' or '.join(allowed)} for a map of {atlas.name}. Got {path}."
        )
    return end


def _description(img: nib.Nifti1Image | nib.Cifti2Image) -> str:
    """Say how values are laid out in an image."""
    if not isinstance(img, nib.Cifti2Image):
        return "Region values painted into the voxels of their regions"
    if isinstance(img.header.get_axis(1), nib.cifti2.ParcelsAxis):
        return "Region values, one for each parcel"
    return "Region values painted on the grayordinates of their regions"


def _times_inside(img: nib.Nifti1Image | nib.Cifti2Image) -> tuple[float, float] | None:
    """Read the time of the first frame and the step, in seconds, if there are frames."""
    if isinstance(img, nib.Cifti2Image):
        first = img.header.get_axis(0)
        series = isinstance(first, nib.cifti2.SeriesAxis)
        return (float(first.start), float(first.step)) if series else None
    if img.ndim < 4:
        return None
    return float(img.header["toffset"]), float(img.header["pixdim"][4])
