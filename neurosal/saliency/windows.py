"""The samples that are explained, a batch at a time, whatever they came in.

An array, a labelled array, a memory-mapped file or a list of sequences of different lengths: only
the batch at hand is copied. Trailing steps that are NaN in every region are padding.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import torch
import xarray as xr

from neurosal.errors import ArgumentError, DataError

DIMS = ("sample", "time", "region")
LOOKED_AT = 256
"""Samples that are looked at together."""


class Windows:
    """Samples (n, T, N) that are read in slices.

    Parameters
    ----------
    x : xarray.DataArray, array-like or list of arrays
        Samples (sample, time, region), or a list of (T_i, N).

    Raises
    ------
    ArgumentError
        If there are no three dimensions, no samples, or no numbers.

    Examples
    --------
    >>> windows = Windows([np.ones((2, 3)), np.ones((4, 3))])
    >>> windows.shape
    (2, 4, 3)
    >>> windows.take(0, 2)[1]
    tensor([2, 4])
    """

    def __init__(self, x: object):
        if isinstance(x, xr.Dataset | np.ma.MaskedArray):
            raise ArgumentError(
                f"x must be an array without a mask. Got {type(x).__name__}; take one variable of "
                "a Dataset, fill a masked array, and mark trailing padding by NaN."
            )
        self.labelled = x if isinstance(x, xr.DataArray) else None
        if self.labelled is not None:
            if set(x.dims) != set(DIMS):
                raise ArgumentError(
                    f"x must have the dimensions {DIMS}. Got {x.dims}; rename or expand_dims."
                )
            self.labelled = x = x.transpose(*DIMS)
        elif isinstance(x, list | tuple):
            x = _pad(x)
        elif isinstance(x, torch.Tensor):
            x = as_numpy(x)
        self.values = x if hasattr(x, "shape") else np.asarray(x)
        self.shape = tuple(self.values.shape)
        if len(self.shape) != 3 or 0 in self.shape:
            raise ArgumentError(
                f"x must be (sample, time, region), none of them empty. Got shape {self.shape}."
            )
        check_numbers("x", self.values)

    def __len__(self) -> int:
        """Number of samples."""
        return self.shape[0]

    def take(
        self, start: int, stop: int, *, device: object = "cpu", dtype: torch.dtype | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Copy some samples, padding set to zero.

        Parameters
        ----------
        start, stop : int
            Which samples.
        device : torch.device or str
            Where to.
        dtype : torch.dtype or None
            As which type; None: as it is.

        Returns
        -------
        tuple of torch.Tensor and torch.Tensor or None
            Samples (B, T, N), and valid steps (B,) where any sample has padding.

        Raises
        ------
        DataError
            If a valid step holds NaN or infinity.

        Examples
        --------
        >>> Windows(np.ones((3, 2, 2))).take(1, 3)[0].shape
        torch.Size([2, 2, 2])
        """
        values = native_floats(self.values[start:stop])
        lengths = None if all_finite(values) else self._clear_padding(values, start)
        x = torch.as_tensor(values, dtype=dtype).to(device)
        return x, None if lengths is None else torch.as_tensor(lengths, device=device)

    def check(self) -> None:
        """Look at all samples before the first is explained, so that no work is lost for the last.

        Raises
        ------
        DataError
            If a valid step holds NaN or infinity.

        Examples
        --------
        >>> Windows(np.ones((3, 2, 2))).check()
        """
        if hasattr(self.values, "chunks") and self.values.chunks is not None:
            return  # To look at what dask computes would be to compute it twice.
        for start in range(0, len(self), LOOKED_AT):
            part = np.asarray(self.values[start : start + LOOKED_AT])
            if not all_finite(part):
                self._clear_padding(native_floats(part), start)

    def coordinates(self) -> dict:
        """Coordinates for a map: those of a labelled array, integers otherwise.

        Returns
        -------
        dict
            For :class:`xarray.DataArray`.

        Examples
        --------
        >>> list(Windows(np.ones((3, 2, 2))).coordinates())
        ['sample', 'time', 'region']
        """
        own = {} if self.labelled is None else dict(self.labelled.coords)
        counted = {
            name: np.arange(size)
            for name, size in zip(DIMS, self.shape, strict=True)
            if name not in own
        }
        return own | counted

    def mean(self) -> np.ndarray:
        """Mean over the samples, padding left out.

        Returns
        -------
        numpy.ndarray
            (T, N); zero at steps that no sample has.

        Examples
        --------
        >>> Windows([[[1.0]], [[3.0], [5.0]]]).mean().ravel()
        array([2., 5.])
        """
        total, seen = np.zeros(self.shape[1:]), np.zeros((self.shape[1], 1))
        for start in range(0, self.shape[0], LOOKED_AT):
            x, lengths = self.take(start, start + LOOKED_AT)
            total += x.double().sum(0).numpy()
            ends = np.full(len(x), x.shape[1]) if lengths is None else lengths.numpy()
            seen += (np.arange(x.shape[1])[:, None] < ends).sum(1, keepdims=True)
        return total / np.maximum(seen, 1)

    def _clear_padding(self, values: np.ndarray, start: int) -> np.ndarray | None:
        """Set padding to zero in place; return the valid steps (B,), None if all of them are."""
        padding = np.isnan(values).all(axis=2)
        lengths = values.shape[1] - np.cumprod(padding[:, ::-1], axis=1).sum(axis=1)
        values[np.arange(values.shape[1]) >= lengths[:, None]] = 0
        self._check(values, lengths, start)
        return None if (lengths == values.shape[1]).all() else lengths

    def _check(self, values: np.ndarray, lengths: np.ndarray, start: int) -> None:
        """Refuse samples with NaN, infinity or no step at all."""
        if (lengths == 0).any():
            raise DataError(
                f"x has no valid step in sample {start + int(np.argmin(lengths))}: all of it is "
                "NaN. Leave it out."
            )
        bad = ~np.isfinite(values)
        if bad.any():
            sample, step, region = (int(index) for index in np.argwhere(bad)[0])
            name = region if self.labelled is None else self.labelled[DIMS[2]].values[region]
            raise DataError(
                f"x must be finite. Got {values[sample, step, region]} at sample "
                f"{start + sample}, step {step}, region {name!r} ({int(bad.sum())} such values in "
                "this batch). Leave out or fill such regions; only trailing steps that are NaN in "
                "every region count as padding."
            )


def check_numbers(name: str, values: object) -> None:
    """Refuse arrays of text, dates, objects or complex numbers.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    values : array-like
        Has a ``dtype`` of numpy.

    Raises
    ------
    ArgumentError
        If these are no real numbers.

    Examples
    --------
    >>> check_numbers("x", np.array(["a"]))
    Traceback (most recent call last):
        ...
    neurosal.errors.ArgumentError: x must hold real numbers. Got the type <U1; convert it with ...
    """
    if np.dtype(values.dtype).kind not in "biuf":
        raise ArgumentError(
            f"{name} must hold real numbers. Got the type {values.dtype}; convert it with "
            "astype(float)."
        )


def native_floats(values: object) -> np.ndarray:
    """Copy numbers as torch takes them: floating point, in this machine's byte order.

    Parameters
    ----------
    values : array-like
        Numbers of any type and layout, also of dask.

    Returns
    -------
    numpy.ndarray
        At least float32.

    Examples
    --------
    >>> native_floats(np.arange(3, dtype=">f8")[::-1]).dtype
    dtype('float64')
    """
    return np.array(values, dtype=np.result_type(values.dtype, "f4"), order="C")


def all_finite(values: np.ndarray | torch.Tensor) -> bool:
    """Tell in one pass whether numbers are surely all finite.

    Parameters
    ----------
    values : numpy.ndarray or torch.Tensor
        Numbers.

    Returns
    -------
    bool
        True if all are finite. False if one is not, or if their sum is too large to tell.

    Examples
    --------
    >>> all_finite(np.ones(3)), all_finite(np.array([1.0, np.nan]))
    (True, False)
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(float(values.sum())))


def chances_of(
    x: torch.Tensor, lengths: torch.Tensor | None, *, seed: int
) -> tuple[tuple[int, ...], torch.Tensor]:
    """Make of each sample's values and ``seed`` what its noise is drawn from.

    So a sample has the same noise in whatever order, batch or company it comes, and so has a
    region, unless another one has just the same values.

    Parameters
    ----------
    x : torch.Tensor
        Samples (B, T, N).
    lengths : torch.Tensor or None
        Valid steps (B,).
    seed : int
        The user's seed.

    Returns
    -------
    seeds : tuple of int
        Random seeds (B,), which do not change with the order of the regions.
    ranks : torch.Tensor
        (B, N) the place of each region among the drawn numbers.

    Examples
    --------
    >>> x = torch.tensor([[[1.0, 2.0]], [[2.0, 1.0]]])
    >>> seeds, ranks = chances_of(x, None, seed=0)
    >>> seeds[0] == seeds[1], ranks.tolist()
    (True, [[1, 0], [0, 1]])
    """
    ends = [x.shape[1]] * len(x) if lengths is None else lengths.tolist()
    seeds, ranks = [], np.empty((len(x), x.shape[2]), dtype=np.int64)
    for regions, end, rank in zip(as_numpy(x.transpose(1, 2)), ends, ranks, strict=True):
        regions = np.ascontiguousarray(regions[:, :end])
        order = np.argsort(regions.view(f"V{regions[0].nbytes}")[:, 0], kind="stable")
        rank[order] = np.arange(len(order))
        digest = blake2b(regions[order].tobytes() + str(seed).encode(), digest_size=7).digest()
        seeds.append(int.from_bytes(digest, "little"))
    return tuple(seeds), torch.from_numpy(ranks)


def as_numpy(x: torch.Tensor) -> np.ndarray:
    """Copy a tensor to numpy; bfloat16, which numpy does not have, becomes float32.

    Parameters
    ----------
    x : torch.Tensor
        Any shape, on any device.

    Returns
    -------
    numpy.ndarray
        The same numbers.

    Examples
    --------
    >>> as_numpy(torch.ones(2, dtype=torch.bfloat16)).dtype
    dtype('float32')
    """
    x = x.detach().cpu()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


def _pad(sequences: Sequence) -> np.ndarray:
    """Stack sequences (T_i, N), shorter ones padded with NaN."""
    try:
        arrays = [as_numpy(s) if isinstance(s, torch.Tensor) else s for s in sequences]
        arrays = [np.asarray(array, dtype=float) for array in arrays]
    except (ValueError, TypeError) as error:
        raise ArgumentError(f"x must be a list of arrays of numbers. {error}.") from error
    if not arrays or any(a.ndim != 2 or a.shape[1] != arrays[0].shape[1] for a in arrays):
        raise ArgumentError(
            "x must be a list of arrays (time, region) with one number of regions. Got shapes "
            f"{[a.shape for a in arrays[:5]]}."
        )
    out = np.full((len(arrays), max(map(len, arrays)), arrays[0].shape[1]), np.nan)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out
