"""Region means of a 4D image, one volume at a time.

A compressed NIfTI file is decompressed once, from front to back, into a buffer of one volume; the
voxels of all regions are picked in the order of their labels and summed in double precision by one
``numpy.add.reduceat``. So a run needs the memory of a volume, not of the run. What this does not
cover (other formats and compressions, long floats) nibabel reads, again volume by volume.
"""

import gzip
import os
from collections.abc import Iterator
from dataclasses import dataclass

import nibabel as nib
import numpy as np

from neurosal.errors import DataError
from neurosal.parcellation.files import READ_ERRORS

try:
    from isal import igzip, isal_zlib
except ImportError:
    _open_gzip, _GZIP_ERRORS = gzip.open, READ_ERRORS
else:
    _open_gzip, _GZIP_ERRORS = igzip.open, (*READ_ERRORS, isal_zlib.error)

_BLOCK = 32
_CHUNK = 1 << 20


@dataclass(frozen=True, eq=False)
class Layout:
    """Which voxels of a grid belong to which region, in the order of the labels.

    Attributes
    ----------
    label_ids : numpy.ndarray
        The labels present on the grid, rising, of shape (region,).
    voxels : numpy.ndarray
        Positions in a volume flattened with the first axis fastest, grouped by label.
    starts : numpy.ndarray
        Where each label's group starts in ``voxels``, of shape (region,).
    sizes : numpy.ndarray
        Voxels of each label, of shape (region,).
    shape : tuple of int
        The grid, (x, y, z).

    Examples
    --------
    >>> Layout.of(np.array([[[0, 7, 3, 7]]])).sizes.tolist()
    [1, 2]
    """

    label_ids: np.ndarray
    voxels: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    shape: tuple[int, int, int]

    @classmethod
    def of(cls, labels: np.ndarray) -> "Layout":
        """Sort the voxels of a label volume by label.

        Parameters
        ----------
        labels : numpy.ndarray
            Whole numbers of shape (x, y, z); 0 is background.

        Returns
        -------
        Layout
            The order of its voxels.

        Examples
        --------
        >>> Layout.of(np.array([[[0, 7, 3, 7]]])).label_ids.tolist()
        [3, 7]
        """
        flat = labels.ravel(order="F")
        inside = np.flatnonzero(flat)
        voxels = inside[np.argsort(flat[inside], kind="stable")]
        ids, starts, sizes = np.unique(flat[voxels], return_index=True, return_counts=True)
        return cls(ids, voxels, starts, sizes, labels.shape)


@dataclass(frozen=True, eq=False)
class RegionMeans:
    """What one pass over an image tells of its regions.

    Attributes
    ----------
    values : numpy.ndarray
        Mean over each region's voxels, float64 of shape (time, region).
    signal : numpy.ndarray
        Share of each region's voxels that change over time (in a single volume: that are not
        zero), of shape (region,).
    zero : numpy.ndarray
        True for regions whose every voxel is zero throughout, of shape (region,).
    """

    values: np.ndarray
    signal: np.ndarray
    zero: np.ndarray


def region_means(img: nib.spatialimages.SpatialImage, layout: Layout) -> RegionMeans:
    """Average an image over regions, volume by volume.

    Parameters
    ----------
    img : nibabel image
        Of shape (x, y, z), or (x, y, z, time) with further axes of length 1 only.
    layout : Layout
        The regions, on the image's own grid.

    Returns
    -------
    RegionMeans
        One row a volume; a 3D image has one.

    Raises
    ------
    DataError
        If the file is cut short, damaged, longer than its header says, or of complex numbers.

    Examples
    --------
    >>> img = nib.Nifti1Image(np.arange(8.0).reshape(1, 1, 4, 2), np.eye(4))
    >>> region_means(img, Layout.of(np.array([[[0, 7, 3, 7]]]))).values.tolist()
    [[4.0, 4.0], [5.0, 5.0]]
    """
    if 0 in img.shape:
        raise DataError(f"{_name(img)} has shape {img.shape}: it holds no volume.")
    volumes, slope, inter = _volumes(img, layout.voxels)
    values = np.empty((n_volumes(img), len(layout.label_ids)))
    first = still = None
    for index, picked in enumerate(volumes):
        np.add.reduceat(picked.astype(np.float64), layout.starts, out=values[index])
        if first is None:
            first, still = picked.copy(), np.arange(len(picked))
        else:
            still = still[picked[still] == first[still]]
    values /= layout.sizes
    if (slope, inter) != (1.0, 0.0):
        values = values * slope + inter
    return RegionMeans(values, *_signal(first * slope + inter, still, len(values), layout))


def n_volumes(img: nib.spatialimages.SpatialImage) -> int:
    """Count the volumes of an image; axes of length 1 do not matter.

    Parameters
    ----------
    img : nibabel image
        At least 3D.

    Returns
    -------
    int
        The product of the sizes after the third.

    Raises
    ------
    DataError
        If more than one of those axes is longer than 1.

    Examples
    --------
    >>> n_volumes(nib.Nifti1Image(np.zeros((2, 2, 2, 5, 1)), np.eye(4)))
    5
    """
    longer = [size for size in img.shape[3:] if size != 1]
    if len(longer) > 1:
        raise DataError(
            f"{_name(img)} has shape {img.shape}; a run has the axes x, y, z and time. Split it "
            "into one 4D image a run."
        )
    return int(np.prod(img.shape[3:], dtype=int))


def check_whole(img: object) -> None:
    """Read a compressed file to its end, where its checksum is; nibabel stops at the last voxel.

    Parameters
    ----------
    img : nibabel image, str, pathlib.Path or anything else
        What is no compressed file is not looked at.

    Raises
    ------
    DataError
        If the file is damaged.

    Examples
    --------
    >>> check_whole(nib.Nifti1Image(np.ones((1, 1, 1)), np.eye(4)))
    """
    path = img if isinstance(img, str | os.PathLike) else _file_of(img)
    if not os.fspath(path).endswith((".gz", ".mgz")) or not os.path.isfile(path):
        return
    try:
        with _open_gzip(path, "rb") as stream:
            while stream.read(_CHUNK):
                pass
    except _GZIP_ERRORS as error:
        raise DataError(
            f"{path} is damaged or cut short: {error}. Copy or download it again."
        ) from error


def _file_of(img: object) -> str:
    """Give the file that an image's values are still in; empty if there is none."""
    file = getattr(getattr(img, "dataobj", None), "file_like", "")
    return os.fspath(file) if isinstance(file, str | os.PathLike) else ""


def _signal(first: np.ndarray, still: np.ndarray, n_times: int, layout: Layout) -> tuple:
    """Tell each region's share of voxels with signal, and whether it is zero throughout."""
    constant = np.zeros(len(first), dtype=bool)
    constant[still] = True
    zero = constant & (first == 0)
    silent = zero if n_times == 1 else constant
    counts = np.add.reduceat(np.stack([silent, zero]).astype(np.int64), layout.starts, axis=1)
    return 1 - counts[0] / layout.sizes, counts[1] == layout.sizes


def _volumes(img: nib.spatialimages.SpatialImage, voxels: np.ndarray) -> tuple:
    """Choose how to read: an iterator over picked raw values, with slope and intercept."""
    proxy = img.dataobj
    kind = np.dtype(img.get_data_dtype() if nib.is_proxy(proxy) else proxy.dtype)
    if kind.kind not in "iufb":
        raise DataError(
            f"{_name(img)} holds {kind} values; a run holds plain numbers (of complex data, give "
            "the magnitude)."
        )
    if not nib.is_proxy(proxy):
        return _from_memory(np.asarray(proxy), voxels), 1.0, 0.0
    if isinstance(img, nib.Nifti1Pair) and kind.itemsize <= 8:
        path = _file_of(img)
        scale = (float(proxy.slope), float(proxy.inter))
        if path.endswith(".gz"):
            return _from_gzip(path, proxy, voxels), *scale
        if path.endswith((".nii", ".img")):
            return _from_file(path, proxy, voxels), *scale
    return _from_proxy(img, voxels), 1.0, 0.0


def _from_gzip(path: str, proxy: object, voxels: np.ndarray) -> Iterator[np.ndarray]:
    """Decompress a file once and pick each volume's voxels as it passes by."""
    n_voxels, total = int(np.prod(proxy.shape[:3])), int(np.prod(proxy.shape[3:], dtype=int))
    buffer = bytearray(n_voxels * proxy.dtype.itemsize)
    volume = np.frombuffer(buffer, dtype=proxy.dtype)
    try:
        with _open_gzip(path, "rb") as stream:
            stream.read(proxy.offset)
            for index in range(total):
                _fill(stream, memoryview(buffer), path, index, total)
                yield volume[voxels]
            _check_rest(len(stream.read(len(buffer))), len(buffer), path, total)
    except DataError:
        raise
    except _GZIP_ERRORS as error:
        raise DataError(
            f"{path} is damaged or cut short: {error}. Copy or download it again."
        ) from error


def _fill(stream: object, buffer: memoryview, path: str, index: int, total: int) -> None:
    """Read exactly one volume."""
    filled = 0
    while filled < len(buffer):
        count = stream.readinto(buffer[filled:])
        if not count:
            raise DataError(
                f"{path} ends after {index} of the {total} volumes that its header announces. "
                "Copy or download it again."
            )
        filled += count


def _check_rest(n_bytes: int, volume_bytes: int, path: str, total: int) -> None:
    """Refuse a file that goes on for another volume or more."""
    if n_bytes >= volume_bytes:
        raise DataError(
            f"{path} goes on after the {total} volumes that its header announces: header and "
            "data disagree. Write the file again with the right header."
        )


def _from_file(path: str, proxy: object, voxels: np.ndarray) -> Iterator[np.ndarray]:
    """Pick voxels out of an uncompressed file, read volume by volume."""
    n_voxels, total = int(np.prod(proxy.shape[:3])), int(np.prod(proxy.shape[3:], dtype=int))
    volume_bytes = n_voxels * proxy.dtype.itemsize
    there = os.path.getsize(path) - proxy.offset
    if there < volume_bytes * total:
        raise DataError(
            f"{path} ends after {max(there, 0) // volume_bytes} of the {total} volumes that its "
            "header announces. Copy or download it again."
        )
    _check_rest(there - volume_bytes * total, volume_bytes, path, total)
    with open(path, "rb") as stream:
        stream.seek(proxy.offset)
        for _ in range(total):
            yield np.fromfile(stream, dtype=proxy.dtype, count=n_voxels)[voxels]


def _from_memory(data: np.ndarray, voxels: np.ndarray) -> Iterator[np.ndarray]:
    """Pick voxels out of an array, by blocks of volumes where time is the fastest axis."""
    places = np.unravel_index(voxels, data.shape[:3], order="F")
    flat = data.reshape(*data.shape[:3], -1, order="A")
    step = _BLOCK if data.flags.c_contiguous else 1
    for start in range(0, flat.shape[3], step):
        yield from np.ascontiguousarray(flat[..., start : start + step][places].T)


def _from_proxy(img: nib.spatialimages.SpatialImage, voxels: np.ndarray) -> Iterator[np.ndarray]:
    """Let nibabel read and scale one volume at a time."""
    path = img.get_filename()
    proxy = nib.load(path, keep_file_open=True).dataobj if path else img.dataobj
    sizes = img.shape[3:]
    try:
        for index in range(int(np.prod(sizes, dtype=int))):
            at = np.unravel_index(index, sizes, order="F") if sizes else ()
            volume = np.asarray(proxy[(..., *map(int, at))])
            yield volume.ravel(order="F")[voxels]
    except READ_ERRORS as error:
        raise DataError(f"{_name(img)} is damaged or cut short: {error}.") from error


def _name(img: nib.spatialimages.SpatialImage) -> str:
    """Name an image for a message."""
    return str(img.get_filename() or "The image in memory")
