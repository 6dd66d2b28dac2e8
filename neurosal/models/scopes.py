"""Blocks that change a global setting of torch and put it back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set torch's random state inside a block and put the old one back after it.

    Parameters
    ----------
    seed : int
        The seed.

    Yields
    ------
    None

    Examples
    --------
    >>> before = torch.get_rng_state()
    >>> with seeded(0):
    ...     _ = torch.rand(1)
    >>> bool((torch.get_rng_state() == before).all())
    True
    """
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with torch.random.fork_rng(devices=range(n_devices)):
        torch.manual_seed(seed)
        yield


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal numbers as zero inside a block: they make recurrent nets many times slower.

    Yields
    ------
    None

    Examples
    --------
    >>> with flushed_denormals():
    ...     _ = torch.ones(1)
    """
    tiny = torch.full((1,), 1e-310, dtype=torch.float64)
    already = (tiny * 1.0).item() == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(already)
