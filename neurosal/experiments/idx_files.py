"""Reading the idx files in which MNIST and FashionMNIST are published.

An idx file is a magic number (two zero bytes, the type's code, the number of dimensions), one
big-endian 32-bit size for each dimension, and the values, the last dimension fastest.

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     path = Path(folder) / "t10k-labels-idx1-ubyte"
...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
...     read_idx(path).tolist()
[7, 2, 1]
"""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from neurosal.errors import DataError

UNSIGNED_BYTES = 8


def read_idx(path: str | Path) -> np.ndarray:
    """Read an idx file of unsigned bytes, compressed or not.

    Parameters
    ----------
    path : path-like
        The file; one that begins as gzip does is decompressed, whatever its name.

    Returns
    -------
    numpy.ndarray
        Of uint8, in the shape that the file says.

    Raises
    ------
    DataError
        If the file cannot be read, is no idx file of unsigned bytes, or is cut short or too long.

    References
    ----------
    LeCun, Bottou, Bengio, Haffner (1998), Gradient-based learning applied to document
    recognition. https://doi.org/10.1109/5.726791

    Examples
    --------
    >>> read_idx("nowhere-idx1-ubyte")
    Traceback (most recent call last):
        ...
    neurosal.errors.DataError: nowhere-idx1-ubyte cannot be read: ...
    """
    content = _content(Path(path))
    if len(content) < 4 or content[:2] != b"\x00\x00":
        raise DataError(
            f"{path} is no idx file: it must begin with two zero bytes. Got "
            f"{content[:4].hex(' ') or 'nothing'}. Fetch it anew."
        )
    code, n_dimensions = content[2], content[3]
    if code != UNSIGNED_BYTES:
        raise DataError(f"{path} must hold unsigned bytes (type 0x08). Got type 0x{code:02x}.")
    start = 4 + 4 * n_dimensions
    if len(content) < start:
        raise DataError(f"{path} ends within its sizes, after {len(content)} bytes. Fetch it anew.")
    shape = struct.unpack(f">{n_dimensions}I", content[4:start])
    expected, found = math.prod(shape), len(content) - start
    if found != expected:
        raise DataError(
            f"{path} says that it holds {' x '.join(map(str, shape))} = {expected} values. Got "
            f"{found}: it is damaged. Fetch it anew."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _content(path: Path) -> bytes:
    """Read the file's bytes, decompressed."""
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"{path} cannot be read: {reason}. Fetch it anew.") from error
