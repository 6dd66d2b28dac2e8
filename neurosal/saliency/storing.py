"""Where maps are put as they are made: in memory, or in a file that gets its name at the end."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from neurosal.errors import ArgumentError
from neurosal.saliency.windows import Windows


class Storage:
    """Room for maps.

    Parameters
    ----------
    out : path-like or None
        A ``.npy`` file; None: memory.
    windows : Windows
        The samples, which must not be in that file.

    Attributes
    ----------
    maps : numpy.ndarray
        The maps, once they are made.

    Raises
    ------
    ArgumentError
        If the file cannot be made, or is the samples' own.

    Examples
    --------
    >>> storage = Storage(None, Windows(np.ones((1, 2, 3))))
    >>> with storage.room((1, 2, 3), torch.float32) as maps:
    ...     maps[:] = 0
    >>> storage.maps.shape
    (1, 2, 3)
    """

    def __init__(self, out: object, windows: Windows):
        self.path = None if out is None else _checked(out)
        own = getattr(windows.values, "filename", None)
        if self.path and own and Path(own).resolve() == self.path.resolve():
            raise ArgumentError(f"out must be another file than that of x. Got {str(out)!r}.")

    @contextmanager
    def room(self, shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[np.ndarray]:
        """Give room for the maps inside a block; a file is NaN until they are made.

        Parameters
        ----------
        shape : tuple of int
            Of the maps.
        dtype : torch.dtype
            The network's.

        Yields
        ------
        numpy.ndarray
            To be filled in.
        """
        kind = np.float64 if dtype == torch.float64 else np.float32
        if self.path is None:
            self.maps = np.empty(shape, dtype=kind)
            yield self.maps
            return
        part = self.path.with_name(f"{self.path.name}.part")
        maps = np.lib.format.open_memmap(part, mode="w+", dtype=kind, shape=shape)
        maps[...] = np.nan
        whole = False
        try:
            yield maps
            whole = True
        finally:
            if not whole and not np.isfinite(maps[0]).any():
                part.unlink()  # Nothing is done yet.
        maps.flush()
        del maps
        part.replace(self.path)
        self.maps = np.load(self.path, mmap_mode="r+", allow_pickle=False)


def _checked(out: object) -> Path:
    """Refuse what is no name for a file of maps."""
    if not isinstance(out, str | os.PathLike) or Path(out).suffix != ".npy":
        raise ArgumentError(f"out must be the name of a .npy file. Got {out!r}.")
    if not Path(out).parent.is_dir():
        raise ArgumentError(f"out must be in a folder that exists. Got {str(out)!r}.")
    return Path(out)
