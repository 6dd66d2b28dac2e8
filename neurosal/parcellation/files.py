"""Open images with messages that name the file."""

import zlib
from collections.abc import Iterable
from pathlib import Path
from xml.parsers.expat import ExpatError

import nibabel as nib
import numpy as np
from nibabel.cifti2.cifti2 import Cifti2HeaderError
from nibabel.filebasedimages import FileBasedImage, ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from neurosal.errors import ArgumentError, DataError

READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)
_XML_ERRORS = (ExpatError, Cifti2HeaderError, KeyError, IndexError, AttributeError, TypeError)


def open_any(path: str | Path, **options: object) -> FileBasedImage:
    """Open whatever nibabel reads: a volume, a CIFTI or a GIFTI file.

    Parameters
    ----------
    path : str or pathlib.Path
        The file.
    **options
        For :func:`nibabel.load`, such as ``keep_file_open``.

    Returns
    -------
    nibabel image
        Of volumes and CIFTI files, the values are still on disk.

    Raises
    ------
    DataError
        If the file is missing or damaged.

    Examples
    --------
    >>> open_any("nowhere.dtseries.nii")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: There is no file nowhere.dtseries.nii.
    """
    if not Path(path).is_file():
        raise DataError(f"There is no file {path}.")
    try:
        return nib.load(path, **options)
    except (*READ_ERRORS, *_XML_ERRORS) as error:
        raise DataError(
            f"Cannot read {path} as an image: {error}. Copy or download it again."
        ) from error


def open_image(path: str | Path) -> nib.spatialimages.SpatialImage:
    """Open an image without reading its voxels.

    Parameters
    ----------
    path : str or pathlib.Path
        Any volume that nibabel reads.

    Returns
    -------
    nibabel image
        With its values still on disk; the file stays open while volumes are read in turn.

    Raises
    ------
    DataError
        If the file is missing, damaged or no image.

    Examples
    --------
    >>> open_image("nowhere.nii.gz")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: There is no file nowhere.nii.gz.
    """
    img = open_any(path)
    if not isinstance(img, nib.spatialimages.SpatialImage) or len(img.shape) < 3:
        kind = type(img).__name__
        raise DataError(f"{path} is no volume image ({kind}). Give a .nii.gz or .nii of voxels.")
    return img


def as_volume(img: object, name: str) -> nib.spatialimages.SpatialImage:
    """Open an image of voxels, or take the one given.

    Parameters
    ----------
    img : nibabel image, str or pathlib.Path
        The image.
    name : str
        The argument's name, for the message.

    Returns
    -------
    nibabel image
        With its values still on disk if it is a file.

    Raises
    ------
    DataError
        If the file is missing, damaged or no image.
    ArgumentError
        If it is neither path nor image.

    Examples
    --------
    >>> as_volume(np.ones((2, 2, 2)), "reference")
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: reference must be a path or a nibabel image of voxels. Got ...
    """
    if isinstance(img, str | Path):
        return open_image(img)
    if isinstance(img, nib.spatialimages.SpatialImage):
        return img
    raise ArgumentError(
        f"{name} must be a path or a nibabel image of voxels. Got {type(img).__name__}. An array "
        "becomes one with its affine: nibabel.Nifti1Image(array, affine)."
    )


def read_values(img: nib.spatialimages.SpatialImage, name: str = "") -> np.ndarray:
    """Read all values of an image.

    Parameters
    ----------
    img : nibabel image
        An open image.
    name : str
        What to call an image in memory in messages.

    Returns
    -------
    numpy.ndarray
        The scaled values.

    Raises
    ------
    DataError
        If the file ends early or is damaged.

    Examples
    --------
    >>> read_values(nib.Nifti1Image(np.ones((1, 1, 2)), np.eye(4))).sum()
    np.float64(2.0)
    """
    try:
        return np.asanyarray(img.dataobj)
    except READ_ERRORS as error:
        raise DataError(
            f"{img.get_filename() or name} is damaged or cut short: {error}."
        ) from error


def shown(values: Iterable, limit: int = 8) -> str:
    """List the first few values for a message.

    Parameters
    ----------
    values : iterable
        Names or numbers.
    limit : int
        How many to show.

    Returns
    -------
    str
        The values, and how many more there are.

    Examples
    --------
    >>> shown(range(10), 3)
    '0, 1, 2 and 7 more'
    """
    values = [str(value) for value in values]
    rest = len(values) - limit
    return ", ".join(values[:limit]) + (f" and {rest} more" if rest > 0 else "")
