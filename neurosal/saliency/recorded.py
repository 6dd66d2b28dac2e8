"""What a map's attributes record of the arguments that shaped it."""

from hashlib import blake2b

import numpy as np
import torch

from neurosal.saliency.windows import as_numpy

FEW = 8
"""Entries of a list up to which it is recorded whole."""


def recorded(value: object, default: object = None) -> object:
    """What the attributes record of an argument: numbers and words, of arrays shape and digest.

    Parameters
    ----------
    value : object
        The argument.
    default : object
        What is recorded for None.

    Returns
    -------
    object
        Fit for JSON.

    Examples
    --------
    >>> recorded(np.zeros((2, 3)))
    'given, shape (2, 3), blake2b 8b00a97e'
    """
    if value is None:
        return default
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {name: recorded(part) for name, part in value.items()}
    if isinstance(value, list) and len(value) <= FEW:
        value = tuple(value)
    if isinstance(value, str | bool | int | float | tuple):
        return value
    value = as_numpy(value) if isinstance(value, torch.Tensor) else value
    return f"given, shape {tuple(np.shape(value))}, blake2b {_digest(value)}"


def _digest(value: object) -> str:
    """Eight digits that tell arrays apart, read a part at a time."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    digest, values = blake2b(digest_size=4), np.asarray(value)
    for part in values if values.ndim else [values]:
        kind = str if values.dtype == object else values.dtype
        digest.update(np.ascontiguousarray(part, dtype=kind))
    return digest.hexdigest()
