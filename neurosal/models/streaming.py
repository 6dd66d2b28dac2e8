"""Training and predicting from windows that stay on disk.

The windows are read a chunk at a time, and a few chunks are held. In training the chunks come in
random order, some of them together, and the samples of those are shuffled: nearly as random as
shuffling all samples, while every chunk is read only once in an epoch.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr
from torch.utils.data import Sampler

from neurosal.errors import ArgumentError, DataError
from neurosal.models.samples import DIMENSIONS, WindowDataset, as_tensors


class StreamedWindows:
    """Windows for ``fit`` and ``predict`` of a classifier that are never in memory as a whole.

    They are read once when this is made, to find the padding and refuse missing values.

    Parameters
    ----------
    windows : xarray.DataArray, numpy.memmap or what else reads slices
        (sample, time, region), such as :func:`~neurosal.loaders.store.open_windows` returns.
        Trailing steps that are NaN in every region are padding.
    chunk : int, optional
        Samples that are read together; by default as they are stored, else 64.
    mixed : int
        Chunks whose samples are shuffled together in training, and that are held.

    Raises
    ------
    ArgumentError
        If the shape does not fit, or a value that is not padding is NaN or infinite.
    DataError
        If a part of the windows cannot be read.

    Examples
    --------
    >>> streamed = StreamedWindows(np.random.default_rng(0).normal(size=(20, 6, 4)), chunk=8)
    >>> streamed.shape, streamed[5:].shape
    ((20, 6, 4), (15, 6, 4))
    """

    def __init__(self, windows: object, *, chunk: int | None = None, mixed: int = 8):
        if isinstance(windows, xr.DataArray) and set(windows.dims) == set(DIMENSIONS):
            windows = windows.transpose(*DIMENSIONS)
        shape = tuple(getattr(windows, "shape", ()))
        if len(shape) != 3 or 0 in shape:
            raise ArgumentError(
                "windows must be an array (samples, time, regions), none of them empty, that reads "
                f"slices. Got {type(windows).__name__} of shape {shape}."
            )
        chunk = _stored_chunk(windows) if chunk is None else chunk
        for name, value in (("chunk", chunk), ("mixed", mixed)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ArgumentError(f"{name} must be a whole number, 1 or more. Got {value!r}.")
        self.windows, self.chunk, self.mixed = windows, chunk, mixed
        self.rows = np.arange(shape[0])
        self.lengths = self._scan()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Samples, time and regions."""
        return (len(self.rows), *self.windows.shape[1:])

    @property
    def ndim(self) -> int:
        """Three."""
        return 3

    @property
    def labelled(self) -> xr.DataArray | None:
        """The labelled array behind the samples, lazily; None if it is a plain array."""
        if not isinstance(self.windows, xr.DataArray):
            return None
        return self.windows.isel(sample=self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: object) -> "StreamedWindows":
        key = key[0] if isinstance(key, tuple) and key[1:] in ((), (Ellipsis,)) else key
        picked = object.__new__(StreamedWindows)
        vars(picked).update(vars(self))
        picked.rows, picked.lengths = self.rows[key], self.lengths[key]
        if picked.rows.ndim != 1:
            raise ArgumentError(f"Give a slice or indices of samples, to pick from. Got {key!r}.")
        return picked

    def as_tensors(
        self, *, dtype: torch.dtype = torch.float32, n_features: int | None = None
    ) -> tuple["LazyRows", torch.Tensor | None]:
        """Give the two that :func:`~neurosal.models.samples.as_tensors` does, the first unread.

        Parameters
        ----------
        dtype : torch.dtype
            Of the tensors that are read.
        n_features : int, optional
            The number of regions that there must be.

        Returns
        -------
        x : LazyRows
            (sample, time, region), zero in the padding.
        lengths : torch.Tensor or None
            (sample,) int64; None if no sample is padded.

        Raises
        ------
        ArgumentError
            If the number of regions differs.

        Examples
        --------
        >>> x, lengths = StreamedWindows(np.ones((20, 6, 4))).as_tensors()
        >>> x[[3, 1]].shape, lengths
        (torch.Size([2, 6, 4]), None)
        """
        if n_features is not None and self.shape[2] != n_features:
            raise ArgumentError(
                f"X has {self.shape[2]} regions, but {n_features} were there when fitted. Use the "
                "same regions in the same order."
            )
        n_steps = int(self.lengths.max())
        x = LazyRows(self, self.rows, n_steps=n_steps, dtype=dtype)
        whole = (self.lengths == self.shape[1]).all()
        return x, None if whole else torch.as_tensor(self.lengths)

    def dataset(self, classes: object, *, dtype: torch.dtype = torch.float32) -> WindowDataset:
        """Make a torch dataset that reads its batches when they are asked for.

        Parameters
        ----------
        classes : array-like
            (sample,) class numbers.
        dtype : torch.dtype
            Of the windows.

        Returns
        -------
        WindowDataset
            Its ``x`` has the :meth:`~LazyRows.sampler` for training.

        Examples
        --------
        >>> data = StreamedWindows(np.ones((20, 6, 4))).dataset([0, 1] * 10)
        >>> data.__getitems__([3, 1])[1]
        tensor([1, 1])
        """
        x, lengths = self.as_tensors(dtype=dtype)
        return WindowDataset(x, torch.as_tensor(np.asarray(classes)), lengths=lengths)

    def _scan(self) -> np.ndarray:
        """Read everything once: how long each sample is, and whether it is all numbers."""
        lengths = []
        for start in range(0, len(self.rows), self.chunk):
            x, ends = _read(self.windows, start, start + self.chunk, dtype=torch.float64)
            lengths.append(np.full(len(x), x.shape[1]) if ends is None else ends.numpy())
        return np.concatenate(lengths)


class LazyRows:
    """Samples that are read when asked for, where a tensor (sample, time, region) would be.

    Parameters
    ----------
    source : StreamedWindows
        Where to read.
    rows : numpy.ndarray
        (sample,) which samples of the source.
    n_steps : int
        Length of the time axis: the longest sample.
    dtype : torch.dtype
        Of the tensors.

    Examples
    --------
    >>> x = LazyRows(StreamedWindows(np.ones((20, 6, 4))), np.arange(20), n_steps=6)
    >>> len(x), x[2:5].shape
    (20, torch.Size([3, 6, 4]))
    """

    def __init__(
        self,
        source: StreamedWindows,
        rows: np.ndarray,
        *,
        n_steps: int,
        dtype: torch.dtype = torch.float32,
    ):
        self.source, self.rows, self.n_steps, self.dtype = source, rows, n_steps, dtype
        self._held: OrderedDict[int, torch.Tensor] = OrderedDict()

    @property
    def shape(self) -> torch.Size:
        """Samples, time and regions."""
        return torch.Size((len(self.rows), self.n_steps, self.source.shape[2]))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: object) -> torch.Tensor:
        rows = self.rows[key.numpy() if isinstance(key, torch.Tensor) else key]
        chunks = rows // self.source.chunk
        out = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype)
        for chunk in dict.fromkeys(chunks.tolist()):
            here = np.flatnonzero(chunks == chunk)
            within = rows[here] - chunk * self.source.chunk
            out[torch.from_numpy(here)] = self._chunk(chunk)[torch.from_numpy(within)]
        return out

    def take(self, indices: object) -> "LazyRows":
        """Pick samples without reading them.

        Parameters
        ----------
        indices : array-like
            Which.

        Returns
        -------
        LazyRows
            Those, in that order.
        """
        rows = self.rows[np.asarray(indices)]
        return LazyRows(self.source, rows, n_steps=self.n_steps, dtype=self.dtype)

    def sampler(self, *, seed: int | None = None) -> "ChunkSampler":
        """Make the order to train in.

        Parameters
        ----------
        seed : int, optional
            As in :class:`ChunkSampler`.

        Returns
        -------
        ChunkSampler
            For a DataLoader.
        """
        return ChunkSampler(self.rows // self.source.chunk, mixed=self.source.mixed, seed=seed)

    def fingerprint(self) -> bytes:
        """Hash the samples, reading all of them.

        Returns
        -------
        bytes
            SHA-256.
        """
        digest = hashlib.sha256(str((tuple(self.shape), self.dtype)).encode())
        for start in range(0, len(self), self.source.chunk):
            digest.update(self[start : start + self.source.chunk].numpy().tobytes())
        return digest.digest()

    def __getstate__(self) -> dict:
        return {**vars(self), "_held": OrderedDict()}

    def _chunk(self, number: int) -> torch.Tensor:
        """Read a chunk, or take it from those that are held."""
        if number not in self._held:
            while len(self._held) >= self.source.mixed:
                self._held.popitem(last=False)
            start = number * self.source.chunk
            x, _ = _read(self.source.windows, start, start + self.source.chunk, dtype=self.dtype)
            short = self.n_steps - x.shape[1]
            x = torch.nn.functional.pad(x, (0, 0, 0, short)) if short > 0 else x[:, : self.n_steps]
            self._held[number] = x
        self._held.move_to_end(number)
        return self._held[number]


class ChunkSampler(Sampler):
    """Samples in random order, those of a few chunks at a time.

    Parameters
    ----------
    chunks : numpy.ndarray
        (sample,) the chunk that each sample is in.
    mixed : int
        Chunks whose samples are shuffled together.
    seed : int, optional
        Of the order; every pass has another. None draws from torch's global generator, as
        torch's own sampler does.

    Examples
    --------
    >>> first_half = list(ChunkSampler(np.array([0, 0, 1, 1]), mixed=1, seed=0))[:2]
    >>> sorted(first_half) in ([0, 1], [2, 3])
    True
    """

    def __init__(self, chunks: np.ndarray, *, mixed: int = 8, seed: int | None = None):
        order = np.argsort(chunks, kind="stable")
        starts = np.flatnonzero(np.diff(chunks[order], prepend=-1))
        self.groups = np.split(order, starts[1:])
        self.mixed, self.seed, self.passes = mixed, seed, 0

    def __len__(self) -> int:
        return sum(map(len, self.groups))

    def __iter__(self) -> Iterator[int]:
        generator = np.random.default_rng(self._entropy())
        shuffled = generator.permutation(len(self.groups))
        for start in range(0, len(shuffled), self.mixed):
            together = [self.groups[number] for number in shuffled[start : start + self.mixed]]
            yield from generator.permutation(np.concatenate(together)).tolist()

    def _entropy(self) -> list[int]:
        """Draw what the next pass's order is made of."""
        if self.seed is None:
            return [int(torch.randint(2**31, ()).item())]
        self.passes += 1
        return [self.seed, self.passes]


def _read(
    windows: object, start: int, stop: int, *, dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Read a slice of the source; an error tells the sample's number in the whole."""
    try:
        return as_tensors(np.asanyarray(windows[start:stop]), dtype=dtype)
    except ArgumentError as error:
        raise ArgumentError(f"Of the samples from {start} on: {error}") from error
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"Cannot read the samples from {start} on: {error}. Copy their files again."
        ) from error


def _stored_chunk(windows: object) -> int:
    """Find how many samples are stored together."""
    stored = getattr(windows, "encoding", {}).get("chunks") or getattr(windows, "chunks", None)
    first = stored[0] if stored else 64
    return int(first[0] if isinstance(first, tuple) else first)
