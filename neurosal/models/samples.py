"""From arrays and lists of windows to padded tensors, and from tensors to batches."""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedShuffleSplit
from torch.utils.data import Dataset

from neurosal.errors import ArgumentError

DIMENSIONS = ("sample", "time", "region")


def as_tensors(
    X: object, *, dtype: torch.dtype = torch.float32, n_features: int | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Turn windows into a zero-padded tensor and the length of each.

    Parameters
    ----------
    X : array, xarray.DataArray, list of arrays or StreamedWindows
        (sample, time, region), or one (time, region) for each sample. Trailing steps that are
        NaN in every region are padding. Streamed windows stay unread.
    dtype : torch.dtype
        Of the tensor.
    n_features : int, optional
        The number of regions that there must be.

    Returns
    -------
    x : torch.Tensor
        (sample, time, region), zero in the padding.
    lengths : torch.Tensor or None
        (sample,) int64; None if no sample is padded.

    Raises
    ------
    ArgumentError
        If the shape does not fit, a value that is not padding is NaN or infinite, or something
        would be lost: a mask, an imaginary part, or values too large for the type.

    Examples
    --------
    >>> x, lengths = as_tensors([np.ones((2, 3)), np.ones((4, 3))])
    >>> x.shape, lengths
    (torch.Size([2, 4, 3]), tensor([2, 4]))
    """
    if hasattr(X, "as_tensors"):
        return X.as_tensors(dtype=dtype, n_features=n_features)
    values = _stack(X)
    if values.ndim != 3 or 0 in values.shape:
        raise ArgumentError(
            "X must be (samples, time, regions), or a list of (time, regions), with none of them "
            f"empty. Got shape {values.shape}."
        )
    if n_features is not None and values.shape[2] != n_features:
        raise ArgumentError(
            f"X has {values.shape[2]} regions, but {n_features} were there when fitted. Use the "
            "same regions in the same order."
        )
    steps = np.arange(1, values.shape[1] + 1)
    lengths = np.where(np.isnan(values).all(axis=2), 0, steps).max(axis=1)
    padding = steps > lengths[:, None]
    if padding.any():
        values = np.where(padding[:, :, None], 0, values)
    _refuse_missing(values, lengths)
    x = torch.tensor(np.ascontiguousarray(values), dtype=dtype)
    if not x.isfinite().all():
        raise ArgumentError(
            f"X holds {np.abs(values).max():.3g}, too large for {dtype}. Scale X (divide by its "
            "standard deviation), or train with precision='float64'."
        )
    if not padding.any():
        return x, None
    return x[:, : lengths.max()].contiguous(), torch.as_tensor(lengths)


def _stack(X: object) -> np.ndarray:
    """Lay samples of any lengths on top of each other, NaN after their ends."""
    if isinstance(X, xr.DataArray):
        labelled = set(X.dims) == set(DIMENSIONS)
        return _floats(X.transpose(*DIMENSIONS) if labelled else X)
    ragged = isinstance(X, Sequence) or (isinstance(X, np.ndarray) and X.dtype == object)
    if not ragged:
        return _floats(X)
    samples = [_floats(sample).astype(float, copy=False) for sample in X]
    if not samples or any(sample.ndim != 2 for sample in samples):
        shapes = sorted({sample.shape for sample in samples})
        raise ArgumentError(f"A list of samples must hold (time, regions) arrays. Got {shapes}.")
    widths = {sample.shape[1] for sample in samples}
    if len(widths) > 1:
        raise ArgumentError(f"All samples need the same regions. Got {sorted(widths)} of them.")
    values = np.full((len(samples), max(map(len, samples)), widths.pop()), np.nan)
    for row, sample in zip(values, samples, strict=True):
        row[: len(sample)] = sample
    return values


def _floats(X: object) -> np.ndarray:
    """Make an array of floats; floats keep their precision."""
    if np.ma.is_masked(X):
        raise ArgumentError(
            "X is a masked array, whose mask would be lost. Fill it: X.filled(numpy.nan) for "
            "trailing steps that are padding, X.filled(0) elsewhere."
        )
    if isinstance(X, torch.Tensor):
        X = X.detach().cpu()
        X = X.float() if X.dtype == torch.bfloat16 else X
    try:
        values = np.asarray(X)
        values = values if values.dtype.kind in "fc" else values.astype(float)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"X must hold numbers (samples, time, regions). Got {type(X).__name__}: {error}."
        ) from error
    if np.iscomplexobj(values):
        raise ArgumentError("X is complex, and networks take real numbers. Give X.real or abs(X).")
    return values


def _refuse_missing(values: np.ndarray, lengths: np.ndarray) -> None:
    """Name the first value that a network could not use."""
    if (lengths == 0).any():
        empty = np.flatnonzero(lengths == 0)
        raise ArgumentError(f"X[{empty[0]}] has no step that is not NaN. Leave the sample out.")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        sample, step, region = bad[0]
        raise ArgumentError(
            f"X[{sample}] is {values[sample, step, region]} at step {step} in region {region}, and "
            f"{len(bad)} value(s) are not finite in all. Only trailing steps may be NaN, in every "
            "region. Fill the gaps or drop those regions."
        )


class WindowDataset(Dataset):
    """Windows that are handed out in batches, without copying sample by sample.

    Parameters
    ----------
    x : torch.Tensor
        (sample, time, region).
    y : torch.Tensor
        (sample,) class numbers.
    lengths : torch.Tensor, optional
        (sample,) number of valid steps.

    Examples
    --------
    >>> data = WindowDataset(torch.zeros(3, 4, 2), torch.tensor([0, 1, 0]))
    >>> batch, classes = data.__getitems__([0, 2])
    >>> batch["x"].shape, classes
    (torch.Size([2, 4, 2]), tensor([0, 0]))
    """

    def __init__(self, x: torch.Tensor, y: torch.Tensor, *, lengths: torch.Tensor | None = None):
        self.x, self.y, self.lengths = x, y, lengths

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[dict, torch.Tensor]:
        batch, classes = self.__getitems__([index])
        return {name: value[0] for name, value in batch.items()}, classes[0]

    def __getitems__(self, indices: list[int]) -> tuple[dict, torch.Tensor]:
        # For tensors, index_select is many times faster than a list in brackets.
        memory = isinstance(self.x, torch.Tensor)
        rows = self.x.index_select(0, torch.tensor(indices)) if memory else self.x[indices]
        batch = {"x": rows}
        if self.lengths is not None:
            batch["lengths"] = self.lengths[indices]
        return batch, self.y[indices]

    def subset(self, indices: np.ndarray) -> "WindowDataset":
        """Take some of the windows.

        Parameters
        ----------
        indices : numpy.ndarray
            Which.

        Returns
        -------
        WindowDataset
            Those, in that order.
        """
        indices = torch.as_tensor(indices)
        x = self.x.take(indices) if hasattr(self.x, "sampler") else self.x[indices]
        lengths = None if self.lengths is None else self.lengths[indices]
        return WindowDataset(x, self.y[indices], lengths=lengths)


def split_dataset(
    data: WindowDataset,
    share: float,
    *,
    groups: object = None,
    seed: int = 0,
    classes: np.ndarray | None = None,
) -> tuple[WindowDataset, WindowDataset | None]:
    """Keep some windows for validation.

    Parameters
    ----------
    data : WindowDataset
        All windows.
    share : float
        Share of the samples, or of the groups; 0 keeps none.
    groups, seed
        Of :func:`split_validation`.
    classes : numpy.ndarray, optional
        The classes' names, for the warning where none of a class's windows is left to train on.

    Returns
    -------
    train : WindowDataset
        What to train on.
    valid : WindowDataset or None
        What to validate on.

    Examples
    --------
    >>> data = WindowDataset(torch.zeros(8, 4, 2), torch.tensor([0, 1] * 4))
    >>> [len(part) for part in split_dataset(data, 0.25)]
    [6, 2]
    """
    if not share:
        return data, None
    y = data.y.numpy()
    train, valid = split_validation(y, share, groups=groups, seed=seed)
    lost = np.setdiff1d(y, y[train])
    if len(lost):
        names = (lost if classes is None else classes[lost]).tolist()
        warnings.warn(
            f"validation={share} takes all windows of class(es) {', '.join(map(repr, names))}, so "
            "none is left to train on. Use validation=0, or groups that hold every class.",
            stacklevel=3,
        )
    return data.subset(train), data.subset(valid)


def split_validation(
    classes: np.ndarray, share: float, *, groups: object = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the samples to validate on; no group is on both sides.

    Parameters
    ----------
    classes : numpy.ndarray
        (sample,) class numbers; kept in proportion where there are enough and no groups.
    share : float
        Share of the samples, or of the groups.
    groups : array-like, optional
        (sample,) what must stay together: runs or subjects.
    seed : int
        Of the random choice.

    Returns
    -------
    train, valid : numpy.ndarray
        Indices, sorted.

    Raises
    ------
    ArgumentError
        If one side would be empty.

    Examples
    --------
    >>> train, valid = split_validation(np.array([0, 1] * 4), 0.25, groups=[1, 1, 2, 2, 3, 3, 4, 4])
    >>> len(train), len(valid)
    (6, 2)
    """
    n_units = len(classes if groups is None else np.unique(np.asarray(groups)))
    if n_units < 2:
        raise ArgumentError(
            f"validation={share} needs at least two groups (or samples) to split. Got {n_units}. "
            "Use validation=0."
        )
    n_valid = min(max(1, round(share * n_units)), n_units - 1)
    if groups is not None:
        splitter = GroupShuffleSplit(1, test_size=n_valid, random_state=seed)
    else:
        counts = np.bincount(classes)
        fits = counts.min() >= 2 and len(counts) <= min(n_valid, n_units - n_valid)
        kind = StratifiedShuffleSplit if fits else ShuffleSplit
        splitter = kind(1, test_size=n_valid, random_state=seed)
    train, valid = next(splitter.split(classes, classes, groups))
    return np.sort(train), np.sort(valid)
